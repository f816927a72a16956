/** Calls that read and write: read, readv, recv, recvfrom, recvmsg, write, writev, send, sendto, sendmsg. */
import { type Attempt, type Call, type CallResult, done, failed } from './call.ts'
import { addressOf, withSocket } from './calls-connection.ts'
import { receiveError } from './calls-errors.ts'
import { DatagramSocket } from './datagram-socket.ts'
import { CONSTANTS } from './numbers.ts'
import type { ScriptProcess } from './process.ts'
import type { Value } from './script.ts'
import type { ScriptSocket } from './script-socket.ts'

const MSG_PEEK = CONSTANTS.get('MSG_PEEK')!
const MSG_TRUNC = CONSTANTS.get('MSG_TRUNC')!
const MSG_DONTWAIT = CONSTANTS.get('MSG_DONTWAIT')!
const MSG_WAITALL = CONSTANTS.get('MSG_WAITALL')!
const MSG_NOSIGNAL = CONSTANTS.get('MSG_NOSIGNAL')!
const MSG_MORE = CONSTANTS.get('MSG_MORE')!
const MSG_EOR = CONSTANTS.get('MSG_EOR')!
const MSG_ERRQUEUE = CONSTANTS.get('MSG_ERRQUEUE')!
const MSG_ZEROCOPY = CONSTANTS.get('MSG_ZEROCOPY')!
const MSG_FASTOPEN = CONSTANTS.get('MSG_FASTOPEN')!
/** What reading and writing know; the others make a script unsupported. */
export const READ_FLAGS = MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT | MSG_WAITALL | MSG_ERRQUEUE
export const WRITE_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_EOR | MSG_ZEROCOPY | MSG_FASTOPEN
/** Linux MAX_SKB_FRAGS: pieces of memory that one packet buffer names. */
const PIECES_MAX = 17

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
  if ((call.number(2) & MSG_ERRQUEUE) !== 0) return receiveError(process, call)
  const attempt = reading(process, call, messageBytes(call), call.number(2))
  const hint = hintOf(call)
  const socket = process.socket(call.number(0))
  return () => {
    const result = attempt()
    if (result === undefined || socket === undefined) return result
    if (hint !== undefined) call.expectOutput(hint, socket.hintedBytes, 'TCP_CM_INQ')
    // A stream has nothing to say there (Linux tcp_recvmsg); a call that fails says nothing.
    if (result.value >= 0 && !(socket instanceof DatagramSocket)) call.expectMessageFlags(1, 0)
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
  const vector = call.structOf(call.argument(1)).get('msg_iov')
  const flags = call.number(2)
  if (vector?.kind !== 'list' || (flags & MSG_ZEROCOPY) === 0 || vector.items.length <= PIECES_MAX)
    return writing(process, call, messageBytes(call), flags)
  return writingPieces(process, call, vector.items, flags)
}

/** Without a copy every piece of memory stays one: a packet buffer that names as many as it can is full, and a segment ends. */
function writingPieces(process: ScriptProcess, call: Call, pieces: readonly Value[], flags: number): Attempt {
  return withSocket(process, call, (socket) => {
    let written = 0
    for (let at = 0; at < pieces.length; at += PIECES_MAX) {
      const items = pieces.slice(at, at + PIECES_MAX)
      const last = at + PIECES_MAX >= pieces.length
      const result = socket.write(call.vectorBytes({ kind: 'list', items }), last ? flags : MSG_EOR)
      if (result === undefined || result.value < 0) return written > 0 ? done(written) : (result ?? failed('EAGAIN'))
      written += result.value
    }
    return done(written)
  })
}

function messageBytes(call: Call): number {
  const fields = call.structOf(call.argument(1))
  const vector = fields.get('msg_iov')
  return vector === undefined ? 0 : call.vectorBytes(vector)
}

function reading(process: ScriptProcess, call: Call, bytes: number, flags: number): Attempt {
  if ((flags & ~READ_FLAGS) !== 0) call.unsupported(`these flags of ${call.action.name}`)
  if (call.isNull(1) && bytes > 0) return () => failed('EFAULT')
  const peek = (flags & MSG_PEEK) !== 0
  const all = (flags & MSG_WAITALL) !== 0
  return withSocket(process, call, (socket) => {
    if (all && !peek && socket.availableBytes < bytes && !socket.atEnd && !mayNotWait(socket, flags)) return undefined
    return socket.read(bytes, peek) ?? wouldBlock(socket, flags)
  })
}

function writing(process: ScriptProcess, call: Call, bytes: number, flags: number): Attempt {
  if ((flags & ~WRITE_FLAGS) !== 0) call.unsupported(`these flags of ${call.action.name}`)
  if (call.isNull(1) && bytes > 0) return () => failed('EFAULT')
  const opensFast = (flags & MSG_FASTOPEN) !== 0
  const place = opensFast ? destination(call) : undefined
  if (opensFast && place === undefined) return () => failed('EOPNOTSUPP')
  let left = bytes
  let opening = false
  return withSocket(process, call, (socket) => {
    const opens = opening ? undefined : (socket.takeDeferred() ?? (socket.isOpen ? undefined : place))
    if (opens !== undefined) {
      process.current = socket
      const opened = socket.openWith(bytes, opens.address, opens.port, !mayNotWait(socket, flags), flags)
      if (opened.value < 0) return opened
      left -= opened.value
      opening = true
      if (mayNotWait(socket, flags)) return opened.value > 0 ? opened : failed('EINPROGRESS')
    }
    // All of it may have gone with the SYN; the call returns when that was answered (Linux does so).
    if (opening) {
      const connected = socket.connected()
      if (connected === undefined || connected.value < 0 || left === 0)
        return connected === undefined || connected.value < 0 ? connected : done(bytes)
    }
    const result = socket.write(left, flags)
    if (result === undefined) return left === bytes ? wouldBlock(socket, flags) : undefined
    if (result.value < 0) return left === bytes ? result : done(bytes - left)
    left -= result.value
    return left === 0 || mayNotWait(socket, flags) ? done(bytes - left) : undefined
  })
}

/** Where MSG_FASTOPEN connects to: an argument of sendto, a field of a message; undefined: AF_UNSPEC. */
function destination(call: Call): { readonly address: string; readonly port: number } | undefined {
  const value =
    call.action.name === 'sendmsg'
      ? (call.structOf(call.argument(1)).get('msg_name') ?? { kind: 'ellipsis' as const })
      : call.argument(4)
  if (value.kind === 'symbol' && value.name === 'AF_UNSPEC') return undefined
  const { host, port } = addressOf(call, value)
  return { address: host, port }
}

function mayNotWait(socket: ScriptSocket, flags: number): boolean {
  return socket.nonBlocking || (flags & MSG_DONTWAIT) !== 0
}

function wouldBlock(socket: ScriptSocket, flags: number): CallResult | undefined {
  return mayNotWait(socket, flags) ? failed('EAGAIN') : undefined
}
