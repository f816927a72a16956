/** recvmsg with MSG_ERRQUEUE: a notice of the error queue as control messages, which the script spells out. */
import { type Attempt, type Call, done, failed } from './call.ts'
import { withSocket } from './calls-connection.ts'
import type { Notice } from './error-queue.ts'
import { ScriptFailure } from './errors.ts'
import { CONSTANTS } from './numbers.ts'
import type { ScriptProcess } from './process.ts'
import type { Value } from './script.ts'

const MSG_ERRQUEUE = CONSTANTS.get('MSG_ERRQUEUE')!
const MSG_TRUNC = CONSTANTS.get('MSG_TRUNC')!
const US_PER_S = 1_000_000
const NS_PER_US = 1000
const NUMBER_FIELDS = ['errno', 'origin', 'code', 'info', 'data'] as const
const NOTHING: Value = { kind: 'ellipsis' }

/** Never blocks: an empty queue is EAGAIN. */
export function receiveError(process: ScriptProcess, call: Call): Attempt {
  const control = call.structOf(call.argument(1)).get('msg_control') ?? NOTHING
  return withSocket(process, call, (socket) => {
    const notice = socket.errors.notices.shift()
    if (notice === undefined) return failed('EAGAIN')
    call.expectMessageFlags(1, notice.hasPacket ? MSG_ERRQUEUE | MSG_TRUNC : MSG_ERRQUEUE)
    if (control.kind !== 'list') return done(0)
    const messages = (notice.atUs < 0 ? 0 : 1) + 1
    if (control.items.length !== messages)
      throw new ScriptFailure(call.line, `expected ${control.items.length} control messages, got ${messages}`)
    for (const item of control.items) checkMessage(call, notice, call.structOf(item), process.toleranceUs)
    return done(0)
  })
}

function checkMessage(call: Call, notice: Notice, message: ReadonlyMap<string, Value>, toleranceUs: number): void {
  const type = message.get('cmsg_type') ?? NOTHING
  const name = type.kind === 'symbol' ? type.name : ''
  const data = message.get('cmsg_data') ?? NOTHING
  if (data.kind === 'ellipsis') return
  const fields = call.structOf(data)
  const field = (key: string) => fields.get(key) ?? NOTHING
  if (name === 'SCM_TIMESTAMPING') {
    const expectedUs = call.numberOf(field('scm_sec')) * US_PER_S + call.numberOf(field('scm_nsec')) / NS_PER_US
    if (Math.abs(expectedUs - notice.atUs) > toleranceUs)
      throw new ScriptFailure(call.line, `timestamp: expected ${expectedUs} µs, got ${notice.atUs} µs`)
  } else if (name === 'IP_RECVERR' || name === 'IPV6_RECVERR') {
    for (const key of NUMBER_FIELDS) call.expectOutput(field(`ee_${key}`), notice[key], `ee_${key}`)
    call.expectOutput(field('ee_type'), 0, 'ee_type')
  } else call.unsupported(`the control message ${name}`)
}
