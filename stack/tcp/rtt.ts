/**
 * Round-trip time and the retransmission time-out (RFC 6298), in the Linux profile: the variance term is at least
 * RTO_MIN_MS, so that a steady path does not time out on the first delayed ACK.
 *
 * Samples: every ACK that brings something sent once only, never something that was sent twice (Karn, RFC 6298 (3));
 * for that, timestamps give samples (RFC 7323 4). Microseconds, from the arrival of the ACK's burst.
 */
import { RTO_INITIAL_MS, RTO_MAX_MS, RTO_MIN_MS } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { Delivery } from './delivery.ts'
import { updateMinRtt } from './rack-state.ts'

export function initializeRtt(c: Connection): void {
  c.srttUs = 0
  c.rttVarianceUs = 0
  c.rtoMs = RTO_INITIAL_MS // RFC 6298 (2.1)
  c.backoff = 0
  c.synTiming = 0
}

/** Our SYN, or SYN-ACK, is acknowledged. @param echoMs age of the echoed timestamp, or -1 */
export function sampleHandshake(c: Connection, nowUs32: number, echoMs: number): void {
  if (c.synTiming !== 0) {
    const rttUs = (nowUs32 - c.synSentUs32) | 0
    updateRtt(c, rttUs)
    // A SYN is short: without it a probe as short would seem to come back too early to be the one that was sent last.
    updateMinRtt(c, c.context.nowMs, rttUs)
  } else if (echoMs >= 0) sampleEcho(c, echoMs)
}

export function sampleRtt(c: Connection, delivery: Delivery): void {
  if (delivery.rttUs >= 0 && delivery.retransmissionAcked === 0) updateRtt(c, delivery.rttUs)
  else if (delivery.hasEcho !== 0 && delivery.ackedBytes > 0) {
    const ageMs = (delivery.nowMs - delivery.echoMs) | 0
    if (ageMs >= 0) sampleEcho(c, ageMs)
  }
}

function sampleEcho(c: Connection, ageMs: number): void {
  updateRtt(c, Math.min(ageMs, RTO_MAX_MS) * 1000)
}

/** RFC 6298 (2.2), (2.3). */
function updateRtt(c: Connection, rttUs: number): void {
  if (rttUs < 1) rttUs = 1
  if (c.srttUs === 0) {
    c.srttUs = rttUs
    c.rttVarianceUs = rttUs >> 1
  } else {
    const error = Math.abs(c.srttUs - rttUs)
    c.rttVarianceUs += (error - c.rttVarianceUs) >> 2 // beta = 1/4
    c.srttUs += (rttUs - c.srttUs) >> 3 // alpha = 1/8
    if (c.srttUs < 1) c.srttUs = 1
  }
  const varianceMs = Math.max(Math.ceil((4 * c.rttVarianceUs) / 1000), RTO_MIN_MS)
  c.rtoMs = Math.min(Math.ceil(c.srttUs / 1000) + varianceMs, RTO_MAX_MS)
}

/** The time-out with its backoff (RFC 6298 (5.5)). */
export function currentRtoMs(c: Connection, backoff = c.backoff): number {
  return Math.min(c.rtoMs * 2 ** Math.min(backoff, 10), c.context.tuning.rtoMaxMs)
}
