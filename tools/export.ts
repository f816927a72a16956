/**
 * `packrat export FILE --out X.pcapng`: the stored packets as a capture. Every entry's own frames, with the headers they
 * came with, at the times they arrived; see stored-frames.ts for what did not arrive as a frame, docs/export.md for the
 * comments beside the packets.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { DIRECTION_INBOUND, DIRECTION_UNKNOWN, PcapngWriter } from '../drivers/pcapng.ts'
import { CorruptionError, PackratError } from '../storage/errors.ts'
import { NO_META } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import { EXIT_OK, EXIT_PROBLEM, type Flag, runCommand, text, UsageError } from './arguments.ts'
import { corruptText } from './damage.ts'
import { keyText, percentEncode } from './kv/key-codec.ts'
import { type OpenedStore, openForReading } from './open-store.ts'
import { isSameFile } from './same-file.ts'
import { StoredFrames } from './stored-frames.ts'

const command = {
  name: 'packrat export',
  summary: 'the stored packets as a capture for Wireshark: their own headers, their own arrival times',
  operands: [{ name: 'FILE', help: 'the region; no daemon may be serving it' }],
  flags: {
    out: text('X.pcapng', 'the capture to write; needed'),
    prefix: text('TEXT', 'only keys that begin so'),
    since: time('only values that arrived at this time or later, ns since the epoch'),
    until: time('only values that arrived before this time, ns since the epoch'),
  },
}

function time(help: string): Flag<bigint | undefined> {
  return {
    placeholder: 'NS',
    help,
    shownDefault: '',
    absent: undefined,
    read: (value) => (/^\d{1,19}$/.test(value) ? BigInt(value) : undefined),
    expects: 'a whole number of nanoseconds',
  }
}

interface Selection {
  readonly prefix: string | undefined
  readonly since: bigint | undefined
  readonly until: bigint | undefined
}

/** Collects the frames of the chosen entries; damaged ones are named and left out. */
function select({ store }: OpenedStore, chosen: Selection): { frames: StoredFrames; records: number; corrupt: number } {
  const frames = new StoredFrames(store.pool)
  let records = 0
  let corrupt = 0
  const range = chosen.prefix === undefined ? {} : { prefix: new Uint8Array(Buffer.from(chosen.prefix)) }
  for (const { key, meta, arrival } of store.entries(range)) {
    if (chosen.since !== undefined && arrival < chosen.since) continue
    if (chosen.until !== undefined && arrival >= chosen.until) continue
    const faulty = store.verify(meta)
    if (faulty === NO_META) {
      frames.add(meta)
      records++
      continue
    }
    corrupt++
    const fault = new CorruptionError(key, faulty, store.pool.buffer(faulty), 'it fails its check')
    console.error(`packrat export: key ${keyText(key) ?? percentEncode(key)} is left out: ${fault.message}`)
  }
  // Without its key an entry is in no list; a capture that is a backup must not lack it in silence.
  for (const entry of store.report.corrupt) {
    if (entry.key !== undefined) continue
    corrupt++
    console.error(`packrat export: CORRUPT, and left out: ${corruptText(entry)}`)
  }
  return { frames, records, corrupt }
}

/** Opens the capture; never the region itself. @throws PackratError */
function openCapture(path: string, region: string): number {
  let descriptor: number
  try {
    descriptor = openSync(path, 'a')
  } catch (error) {
    throw cannotWrite(path, error)
  }
  if (!fstatSync(descriptor).isFile()) {
    closeSync(descriptor)
    throw new UsageError(`--out '${path}' is no regular file; name one`)
  }
  if (isSameFile(path, region)) {
    closeSync(descriptor)
    throw new UsageError(`--out '${path}' is the region itself; name another file`)
  }
  ftruncateSync(descriptor)
  return descriptor
}

function cannotWrite(path: string, error: unknown): PackratError {
  return new PackratError('CAPTURE', `cannot write ${path}: ${(error as Error).message}`, { cause: error })
}

function writeAll(descriptor: number, chunk: Uint8Array): void {
  for (let at = 0; at < chunk.length; ) at += writeSync(descriptor, chunk, at)
}

/** @returns frames written */
function writeCapture(descriptor: number, file: string, pool: Pool, stored: StoredFrames): number {
  const writer = new PcapngWriter((chunk) => writeAll(descriptor, chunk))
  writer.writeSection({ application: 'packrat export', comment: `stored packets of ${file}` })
  const wire = writer.writeInterface({ name: 'packrat', description: `${pool.storedBuffers} stored buffers` })
  let frames = 0
  for (const { low, high, prefix, pieces, length, comment } of stored.frames()) {
    const direction = prefix.length === 0 ? DIRECTION_INBOUND : DIRECTION_UNKNOWN
    writer.beginPacket(wire, low, high, length, direction, comment)
    writer.append(prefix, 0, prefix.length)
    for (const piece of pieces) writer.append(piece.bytes, piece.start, piece.length)
    writer.endPacket()
    frames++
  }
  writer.flush()
  return frames
}

export const exportFrames = (argv: string[]): number | Promise<number> =>
  runCommand(command, argv, (flags, [file]) => {
    if (flags.out === undefined) throw new UsageError('--out is missing; write --out X.pcapng')
    const opened = openForReading(file!)
    try {
      const { frames, records, corrupt } = select(opened, flags)
      const descriptor = openCapture(flags.out, file!)
      try {
        const written = writeCapture(descriptor, file!, opened.store.pool, frames)
        console.log(`${records} records, ${written} frames written to ${flags.out}`)
      } catch (error) {
        unlinkSync(flags.out)
        throw cannotWrite(flags.out, error)
      } finally {
        closeSync(descriptor)
      }
      return corrupt > 0 ? EXIT_PROBLEM : EXIT_OK
    } finally {
      opened.region.close()
    }
  })
