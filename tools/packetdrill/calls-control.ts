/** Calls that ask and set: setsockopt, getsockopt, fcntl, ioctl. */
import { seqDiff } from '../../stack/tcp/seq.ts'
import { type Attempt, type Call, done, failed } from './call.ts'
import { withSocket } from './calls-connection.ts'
import { ERROR_NUMBERS } from './errno.ts'
import { ScriptFailure } from './errors.ts'
import { CONSTANTS } from './numbers.ts'
import { getSocketOption, isSocketOption, setSocketOption } from './options.ts'
import type { ScriptProcess } from './process.ts'

const O_RDWR = CONSTANTS.get('O_RDWR')!
const O_NONBLOCK = CONSTANTS.get('O_NONBLOCK')!
const KEY_BYTES = 16
const CONGESTION_CONTROLS = ['cubic', 'reno']

/** setsockopt(fd, level, name, [value], length) */
export function setsockopt(process: ScriptProcess, call: Call): Attempt {
  const name = call.symbol(2)
  const value = call.argument(3)
  if (name === 'TCP_CONGESTION') return setCongestion(process, call)
  if (name === 'SO_LINGER') return setLinger(process, call)
  if (name === 'TCP_FASTOPEN_KEY') return setFastOpenKey(process, call)
  if (!isSocketOption(name)) call.unsupported(`the socket option ${name}`)
  const number = value.kind === 'list' ? call.numberOf(call.boxed(3)) : call.numberOf(value)
  return withSocket(process, call, (socket) => {
    const error = setSocketOption(socket, name, number)
    return error === undefined ? done(0) : failed(error)
  })
}

/** Every connection of a host has the same control: asking for that one is granted. */
function setCongestion(process: ScriptProcess, call: Call): Attempt {
  const value = call.argument(3)
  const text = value.kind === 'list' ? call.boxed(3) : value
  const name = text.kind === 'text' ? text.value : ''
  if (!CONGESTION_CONTROLS.includes(name) || name !== congestionOf(process))
    call.unsupported(`the congestion control '${name}' for one socket`)
  return withSocket(process, call, () => done(0))
}

/** 16 bytes as a text. */
function setFastOpenKey(process: ScriptProcess, call: Call): Attempt {
  const value = call.argument(3)
  const text = value.kind === 'text' ? value.value : call.unsupported('a key that is no text')
  return withSocket(process, call, (socket) => {
    if (call.number(4) !== KEY_BYTES || text.length !== KEY_BYTES) return failed('EINVAL')
    socket.accepted.setFastOpenKey(Buffer.from(text, 'latin1'))
    return done(0)
  })
}

/** {onoff=1, linger=0} */
function setLinger(process: ScriptProcess, call: Call): Attempt {
  const fields = call.structOf(call.argument(3))
  const on = call.numberOf(fields.get('onoff') ?? fields.get('l_onoff') ?? { kind: 'number', value: 0 })
  const seconds = call.numberOf(fields.get('linger') ?? fields.get('l_linger') ?? { kind: 'number', value: 0 })
  return withSocket(process, call, (socket) => {
    socket.lingerS = on === 0 ? -1 : seconds
    return done(0)
  })
}

/** getsockopt(fd, level, name, [value], [length]) */
export function getsockopt(process: ScriptProcess, call: Call): Attempt {
  const name = call.symbol(2)
  if (name === 'TCP_CONGESTION') return getCongestion(process, call)
  if (name === 'TCP_INFO' && call.argument(3).kind === 'ellipsis') return withSocket(process, call, () => done(0))
  if (!isSocketOption(name)) call.unsupported(`the socket option ${name}`)
  return withSocket(process, call, (socket) => {
    const actual = name === 'SO_ERROR' ? ERROR_NUMBERS.get(socket.takeError())! : getSocketOption(socket, name)
    const expected = call.argument(3).kind === 'ellipsis' ? call.argument(3) : call.boxed(3)
    if (expected.kind === 'symbol' && ERROR_NUMBERS.has(expected.name)) {
      if (ERROR_NUMBERS.get(expected.name) !== actual)
        throw new ScriptFailure(call.line, `${name}: expected ${expected.name}, got ${actual}`)
    } else call.expectOutput(expected, actual, name)
    return done(0)
  })
}

function congestionOf(process: ScriptProcess): string {
  return process.settings.tcp.congestion ?? 'cubic'
}

function getCongestion(process: ScriptProcess, call: Call): Attempt {
  const value = call.argument(3)
  const expected = value.kind === 'list' ? call.boxed(3) : value
  return withSocket(process, call, () => {
    const congestion = congestionOf(process)
    if (expected.kind === 'text' && expected.value !== congestion)
      throw new ScriptFailure(call.line, `TCP_CONGESTION: expected ${expected.value}, got ${congestion}`)
    return done(0)
  })
}

/** fcntl(fd, F_GETFL), fcntl(fd, F_SETFL, flags) */
export function fcntl(process: ScriptProcess, call: Call): Attempt {
  const command = call.symbol(1)
  if (command !== 'F_GETFL' && command !== 'F_SETFL') call.unsupported(`fcntl with ${command}`)
  return withSocket(process, call, (socket) => {
    if (command === 'F_GETFL') return done(O_RDWR | (socket.nonBlocking ? O_NONBLOCK : 0))
    socket.nonBlocking = (call.number(2) & O_NONBLOCK) !== 0
    return done(0)
  })
}

/** ioctl(fd, SIOCINQ, [bytes]): what waits to be read; SIOCOUTQ: to be acknowledged; SIOCOUTQNSD: to be sent. */
export function ioctl(process: ScriptProcess, call: Call): Attempt {
  const request = call.symbol(1)
  if (request === 'FIONREAD' || request === 'SIOCINQ')
    return withSocket(process, call, (socket) => {
      call.expectOutput(call.boxed(2), socket.availableBytes, request)
      return done(0)
    })
  if (request === 'TIOCOUTQ' || request === 'SIOCOUTQ' || request === 'SIOCOUTQNSD')
    return withSocket(process, call, (socket) => {
      const c = socket.connection
      const from = c === undefined ? 0 : request === 'SIOCOUTQNSD' ? c.sndNxt : c.sndUna
      call.expectOutput(call.boxed(2), c === undefined ? 0 : Math.max(seqDiff(c.sendEnd, from), 0), request)
      return done(0)
    })
  return call.unsupported(`ioctl with ${request}`)
}
