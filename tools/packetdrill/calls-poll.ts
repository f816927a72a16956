/** poll([{fd=3, events=POLLIN, revents=POLLIN}], count, timeout) */
import { type Attempt, type Call, done } from './call.ts'
import { CONSTANTS } from './numbers.ts'
import type { ScriptProcess } from './process.ts'
import type { ScriptSocket } from './script-socket.ts'

const IN = CONSTANTS.get('POLLIN')!
const OUT = CONSTANTS.get('POLLOUT')!
const ERROR = CONSTANTS.get('POLLERR')!
const HANGUP = CONSTANTS.get('POLLHUP')!
const INVALID = CONSTANTS.get('POLLNVAL')!
const READ_NORMAL = CONSTANTS.get('POLLRDNORM')!
const WRITE_NORMAL = CONSTANTS.get('POLLWRNORM')!
const READ_HANGUP = CONSTANTS.get('POLLRDHUP')!

const US_PER_MS = 1000

/** What is true of a socket, as Linux's tcp_poll says it; epoll's bits are the same. */
export function readiness(socket: ScriptSocket): number {
  if (socket.isListening) return socket.accepted.waiting.length > 0 ? IN | READ_NORMAL : 0
  if (socket.role === 'fresh') return OUT | HANGUP | WRITE_NORMAL
  let bits = 0
  if (socket.error !== '' || socket.errors.notices.length > 0) bits |= ERROR
  if (socket.role === 'over' || (socket.atEnd && socket.writeEnded)) bits |= HANGUP
  if (socket.atEnd) bits |= IN | READ_NORMAL | READ_HANGUP
  if (socket.availableBytes > 0) bits |= IN | READ_NORMAL
  if (socket.writeEnded || socket.error !== '' || socket.checkRoom()) bits |= OUT | WRITE_NORMAL
  return bits
}

export function poll(process: ScriptProcess, call: Call): Attempt {
  const entries = call.list(0).map((item) => {
    const fields = call.structOf(item)
    const field = (name: string) => fields.get(name) ?? { kind: 'number' as const, value: 0 }
    return {
      socket: process.socket(call.numberOf(field('fd'))),
      events: call.numberOf(field('events')),
      returned: field('revents'),
    }
  })
  const timeoutMs = call.number(2)
  const { network } = process
  const endUs = timeoutMs < 0 ? Number.POSITIVE_INFINITY : network.scriptUs + timeoutMs * US_PER_MS
  process.wakeUs = endUs
  return () => {
    const found = entries.map(({ socket, events }) =>
      socket === undefined ? INVALID : readiness(socket) & (events | ERROR | HANGUP),
    )
    const ready = found.filter((bits) => bits !== 0).length
    if (ready === 0 && network.scriptUs < endUs) return undefined
    for (let index = 0; index < entries.length; index++)
      call.expectOutput(entries[index]!.returned, found[index]!, `revents of entry ${index + 1}`)
    return done(ready)
  }
}
