/**
 * epoll_create, epoll_ctl, epoll_wait over the script's sockets: level-triggered, edge-triggered (EPOLLET), once
 * (EPOLLONESHOT).
 *
 * Called by: calls.ts. Calls: readiness (calls-poll.ts).
 */
import { type Attempt, type Call, done, failed } from './call.ts'
import { readiness } from './calls-poll.ts'
import { CONSTANTS } from './numbers.ts'
import type { ScriptProcess } from './process.ts'
import type { Value } from './script.ts'
import type { ScriptSocket } from './script-socket.ts'

const ALWAYS = CONSTANTS.get('EPOLLERR')! | CONSTANTS.get('EPOLLHUP')!
const ONE_SHOT = CONSTANTS.get('EPOLLONESHOT')!
const EDGE = CONSTANTS.get('EPOLLET')!
const US_PER_MS = 1000
const NEVER_SEEN = -1

interface Interest {
  readonly socket: ScriptSocket
  readonly events: number
  /** What epoll_wait gives back: fd, ptr, u32 or u64 of the structure. */
  readonly data: number
  /** Of an edge-triggered one: the socket's happenings when it was told last. */
  seen: number
  /** A one-shot one was told. */
  over: boolean
}

/** What epoll_create makes: descriptors by number. */
export class Epoll {
  readonly interests = new Map<number, Interest>()

  /** What is to be told now, at most `most`, and marks it as told. */
  take(most: number): { readonly events: number; readonly data: number }[] {
    const told: { events: number; data: number }[] = []
    for (const interest of this.interests.values()) {
      if (told.length === most) break
      const events = interest.over ? 0 : readiness(interest.socket) & (interest.events | ALWAYS)
      const edge = (interest.events & EDGE) !== 0
      if (events === 0 || (edge && interest.seen === interest.socket.happenings)) continue
      interest.seen = interest.socket.happenings
      interest.over = (interest.events & ONE_SHOT) !== 0
      told.push({ events, data: interest.data })
    }
    return told
  }
}

/** epoll_create(size), epoll_create1(flags) */
export function epollCreate(process: ScriptProcess, call: Call): Attempt {
  return () => done(process.open(call, new Epoll()))
}

/** epoll_ctl(epfd, EPOLL_CTL_ADD, fd, {events=EPOLLIN, fd=4}) */
export function epollControl(process: ScriptProcess, call: Call): Attempt {
  const operation = call.symbol(1)
  const descriptor = call.number(2)
  const event = operation === 'EPOLL_CTL_DEL' ? undefined : call.structOf(call.argument(3))
  return () => {
    const epoll = process.epoll(call.number(0))
    const socket = process.socket(descriptor)
    if (epoll === undefined || socket === undefined) return failed('EBADF')
    const known = epoll.interests.has(descriptor)
    if (known === (operation === 'EPOLL_CTL_ADD')) return failed(known ? 'EEXIST' : 'ENOENT')
    if (event === undefined) epoll.interests.delete(descriptor)
    else {
      const events = call.numberOf(event.get('events') ?? { kind: 'number', value: 0 })
      epoll.interests.set(descriptor, { socket, events, data: dataOf(call, event), seen: NEVER_SEEN, over: false })
    }
    return done(0)
  }
}

/** epoll_wait(epfd, {events=EPOLLIN, fd=4}, most, timeout) */
export function epollWait(process: ScriptProcess, call: Call): Attempt {
  const argument = call.argument(1)
  const expected = argument.kind === 'list' ? argument.items : [argument]
  const most = call.number(2)
  const timeoutMs = call.number(3)
  const { network } = process
  const endUs = timeoutMs < 0 ? Number.POSITIVE_INFINITY : network.scriptUs + timeoutMs * US_PER_MS
  process.wakeUs = endUs
  return () => {
    const epoll = process.epoll(call.number(0))
    if (epoll === undefined) return failed('EBADF')
    const told = epoll.take(most)
    if (told.length === 0 && network.scriptUs < endUs) return undefined
    told.forEach(({ events, data }, index) => {
      const item = expected[index]
      if (item === undefined || item.kind === 'ellipsis') return
      const fields = call.structOf(item)
      call.expectOutput(fields.get('events') ?? { kind: 'ellipsis' }, events, `events of entry ${index + 1}`)
      if (dataOf(call, fields) !== data) call.expectOutput({ kind: 'number', value: dataOf(call, fields) }, data, 'fd')
    })
    return done(told.length)
  }
}

function dataOf(call: Call, fields: ReadonlyMap<string, Value>): number {
  const value = fields.get('fd') ?? fields.get('ptr') ?? fields.get('u32') ?? fields.get('u64')
  return value === undefined ? 0 : call.numberOf(value)
}
