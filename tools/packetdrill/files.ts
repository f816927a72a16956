/**
 * Files that a script sends: known by the command that made them, `dd ... of=/tmp/file`, by name and length. Their bytes
 * are zeros, as all payload is.
 *
 * Called by: commands.ts (makes them), calls.ts (open, sendfile).
 */
import { type Attempt, type Call, done, failed } from './call.ts'
import { withSocket } from './calls-connection.ts'
import type { ScriptProcess } from './process.ts'

const UNITS: Readonly<Record<string, number>> = { '': 1, c: 1, k: 1024, K: 1024, M: 1 << 20 }

/** An open file: the next read is at `at`. */
export class ScriptFile {
  readonly bytes: number
  at = 0

  constructor(bytes: number) {
    this.bytes = bytes
  }
}

/** `dd bs=1 count=5 if=/dev/zero of=/tmp/file`. @returns its name and length; undefined if it is something else */
export function fileOf(words: readonly string[]): { readonly name: string; readonly bytes: number } | undefined {
  const operands = new Map(words.map((word) => word.split('=', 2) as [string, string]))
  const name = operands.get('of')
  const size = numberOf(operands.get('bs') ?? '512') * numberOf(operands.get('count') ?? '')
  return name === undefined || operands.get('if') !== '/dev/zero' || Number.isNaN(size)
    ? undefined
    : { name, bytes: size }
}

function numberOf(text: string): number {
  const [, digits, unit] = /^(\d+)([ckKM]?)$/.exec(text) ?? []
  return digits === undefined ? Number.NaN : Number(digits) * UNITS[unit!]!
}

/** open("name", O_RDONLY) */
export function open(process: ScriptProcess, call: Call): Attempt {
  const name = call.argument(0)
  const bytes = name.kind === 'text' ? process.settings.files.get(name.value) : undefined
  if (bytes === undefined) call.unsupported('files that no dd has made')
  return () => done(process.open(call, new ScriptFile(bytes!)))
}

/** sendfile(socket, file, [offset], bytes) */
export function sendfile(process: ScriptProcess, call: Call): Attempt {
  const offset = call.argument(2)
  const bytes = call.number(3)
  return withSocket(process, call, (socket) => {
    const file = process.file(call.number(1))
    if (file === undefined) return failed('EBADF')
    const at = offset.kind === 'list' ? call.numberOf(call.boxed(2)) : file.at
    const result = socket.write(Math.min(bytes, Math.max(file.bytes - at, 0)), 0)
    if (result === undefined) return socket.nonBlocking ? failed('EAGAIN') : undefined
    if (offset.kind !== 'list' && result.value > 0) file.at += result.value
    return result
  })
}
