/** Challenge ACKs (RFC 5961): what looks like an attack, or like a peer that has restarted, is asked back, at a limited rate. */
import { elapsed } from '../clock.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { ACK_NOW } from './states.ts'

export function challengeAck(context: TcpContext, c: Connection): void {
  if (elapsed(context.nowMs, context.challengeSinceMs) >= 1000) {
    context.challengeSinceMs = context.nowMs
    context.challengeAcksLeft = context.tuning.challengeAcksPerSecond
  }
  if (context.challengeAcksLeft === 0) return
  context.challengeAcksLeft--
  context.counters.challengeAcks++
  c.ackPending = ACK_NOW
  context.queueOutput(c)
}
