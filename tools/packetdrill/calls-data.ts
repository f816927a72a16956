/** Calls that read and write: read, readv, recv, recvfrom, recvmsg, write, writev, send, sendto, sendmsg. */
import { type Attempt, type Call, type CallResult, done, failed } from './call.ts'
import { withSocket } from './calls-connection.ts'
import { CONSTANTS } from './numbers.ts'
import type { ScriptProcess } from './process.ts'
import type { Value } from './script.ts'
import type { ScriptSocket } from './script-socket.ts'

const MSG_PEEK = CONSTANTS.get('MSG_PEEK')!
const MSG_TRUNC = CONSTANTS.get('MSG_TRUNC')!
const MSG_DONTWAIT = CONSTANTS.get('MSG_DONTWAIT')!
const MSG_WAITALL = CONSTANTS.get('MSG_WAITALL')!
const MSG_NOSIGNAL = CONSTANTS.get('MSG_NOSIGNAL')!
/** What reading and writing know; the others make a script unsupported. */
export const READ_FLAGS = MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT | MSG_WAITALL
const MSG_MORE = CONSTANTS.get('MSG_MORE')!
export const WRITE_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE

/** read(fd, buffer, length) */
export function read(process: ScriptProcess, call: Call): Attempt {
  return reading(process, call, call.number(2), 0)
}

/** readv(fd, vector, count) */
export function readv(process: ScriptProcess, call: Call): Attempt {
  return reading(process, call, call.vectorBytes(call.argument(1)), 0)
}

/** recv(fd, buffer, length, flags) */
export function recv(process: ScriptProcess, call: Call): Attempt {
  return reading(process, call, call.number(2), call.number(3))
}

/** recvfrom(fd, buffer, length, flags, address, length) */
export function recvfrom(process: ScriptProcess, call: Call): Attempt {
  return reading(process, call, call.number(2), call.number(3))
}

/** recvmsg(fd, message, flags); of control messages only TCP_CM_INQ, which says what is left to read. */
export function recvmsg(process: ScriptProcess, call: Call): Attempt {
  const attempt = reading(process, call, messageBytes(call), call.number(2))
  const hint = hintOf(call)
  if (hint === undefined) return attempt
  const socket = process.socket(call.number(0))
  return () => {
    const result = attempt()
    if (result !== undefined && socket !== undefined) call.expectOutput(hint, socket.hintedBytes, 'TCP_CM_INQ')
    return result
  }
}

/** The value of TCP_CM_INQ that a message's control expects. */
function hintOf(call: Call): Value | undefined {
  const control = call.structOf(call.argument(1)).get('msg_control')
  if (control === undefined || control.kind === 'ellipsis') return undefined
  const only = control.kind === 'list' && control.items.length === 1 ? call.structOf(control.items[0]!) : undefined
  const type = only?.get('cmsg_type')
  if (type?.kind !== 'symbol' || type.name !== 'TCP_CM_INQ')
    return call.unsupported('control messages other than TCP_CM_INQ')
  return only!.get('cmsg_data')
}

/** write(fd, buffer, length) */
export function write(process: ScriptProcess, call: Call): Attempt {
  return writing(process, call, call.number(2), 0)
}

/** writev(fd, vector, count) */
export function writev(process: ScriptProcess, call: Call): Attempt {
  return writing(process, call, call.vectorBytes(call.argument(1)), 0)
}

/** send(fd, buffer, length, flags) */
export function send(process: ScriptProcess, call: Call): Attempt {
  return writing(process, call, call.number(2), call.number(3))
}

/** sendto(fd, buffer, length, flags, address, length) */
export function sendto(process: ScriptProcess, call: Call): Attempt {
  return writing(process, call, call.number(2), call.number(3))
}

/** sendmsg(fd, message, flags) */
export function sendmsg(process: ScriptProcess, call: Call): Attempt {
  if (call.structOf(call.argument(1)).has('msg_control')) call.unsupported('control messages that are sent')
  return writing(process, call, messageBytes(call), call.number(2))
}

function messageBytes(call: Call): number {
  const fields = call.structOf(call.argument(1))
  const vector = fields.get('msg_iov')
  return vector === undefined ? 0 : call.vectorBytes(vector)
}

function reading(process: ScriptProcess, call: Call, bytes: number, flags: number): Attempt {
  if ((flags & ~READ_FLAGS) !== 0) call.unsupported(`these flags of ${call.action.name}`)
  const peek = (flags & MSG_PEEK) !== 0
  const all = (flags & MSG_WAITALL) !== 0
  return withSocket(process, call, (socket) => {
    if (all && !peek && socket.availableBytes < bytes && !socket.atEnd && !mayNotWait(socket, flags)) return undefined
    return socket.read(bytes, peek) ?? wouldBlock(socket, flags)
  })
}

function writing(process: ScriptProcess, call: Call, bytes: number, flags: number): Attempt {
  if ((flags & ~WRITE_FLAGS) !== 0) call.unsupported(`these flags of ${call.action.name}`)
  let left = bytes
  return withSocket(process, call, (socket) => {
    const result = socket.write(left, (flags & MSG_MORE) !== 0)
    if (result === undefined) return left === bytes ? wouldBlock(socket, flags) : undefined
    if (result.value < 0) return left === bytes ? result : done(bytes - left)
    left -= result.value
    return left === 0 || mayNotWait(socket, flags) ? done(bytes - left) : undefined
  })
}

function mayNotWait(socket: ScriptSocket, flags: number): boolean {
  return socket.nonBlocking || (flags & MSG_DONTWAIT) !== 0
}

function wouldBlock(socket: ScriptSocket, flags: number): CallResult | undefined {
  return mayNotWait(socket, flags) ? failed('EAGAIN') : undefined
}
