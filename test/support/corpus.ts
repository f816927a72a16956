/**
 * A corpus of frames as text that a reviewer can read and diff: the name of a frame in a line of its own, then its bytes in
 * indented lines of 32; lines that start with '#' say what the file is.
 */
import { readFileSync } from 'node:fs'

export interface NamedFrame {
  name: string
  frame: Uint8Array
}

const LINE_BYTES = 32

export function formatCorpus(title: string, frames: readonly NamedFrame[]): string {
  const lines = [`# ${title}`]
  for (const { name, frame } of frames) {
    lines.push(name)
    for (let at = 0; at < frame.length; at += LINE_BYTES)
      lines.push(`  ${Buffer.from(frame.subarray(at, at + LINE_BYTES)).toString('hex')}`)
  }
  return `${lines.join('\n')}\n`
}

export function readCorpus(path: string): NamedFrame[] {
  const frames: { name: string; hex: string }[] = []
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    if (line.startsWith('  ')) frames.at(-1)!.hex += line.slice(2)
    else frames.push({ name: line, hex: '' })
  }
  return frames.map(({ name, hex }) => ({ name, frame: Uint8Array.from(Buffer.from(hex, 'hex')) }))
}
