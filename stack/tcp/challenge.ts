/** Challenge ACKs (RFC 5961): what looks like an attack, or like a peer that has restarted, is asked back, at a limited rate. */
import { elapsed } from '../clock.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { ACK_NOW } from './states.ts'

export function challengeAck(context: TcpContext, c: Connection): void {
  if (elapsed(context.nowMs, context.challengeSinceMs) >= 1000) {
    context.challengeSinceMs = context.nowMs
    context.challengeAcksLeft = drawLimit(context)
  }
  if (context.challengeAcksLeft === 0) return
  context.challengeAcksLeft--
  context.counters.challengeAcks++
  c.ackPending = ACK_NOW
  context.queueOutput(c)
}

/**
 * From half of the limit up to one and a half. If it were known, a stranger who has a connection of his own could count by the
 * challenges that he gets how many another connection has taken, and so find its numbers (CVE-2016-5696; Linux does the same).
 */
function drawLimit(context: TcpContext): number {
  const limit = context.tuning.challengeAcksPerSecond
  return limit === 0 ? 0 : Math.ceil(limit / 2) + ((context.random.next() >>> 0) % limit)
}
