/**
 * Round-trip time and the retransmission time-out (RFC 6298), in the Linux profile: the variance term is at least
 * RTO_MIN_MS, so that a steady path does not time out on the first delayed ACK.
 *
 * Samples: one segment at a time is timed, in microseconds, never one that was sent twice (Karn, RFC 6298 (3)).
 * While nothing can be timed because everything is a retransmission, timestamps give samples (RFC 7323 4).
 */
import { RTO_INITIAL_MS, RTO_MAX_MS, RTO_MIN_MS } from '../limits.ts'
import type { Connection } from './connection.ts'
import { seqLess } from './seq.ts'

export function initializeRtt(c: Connection): void {
  c.srttUs = 0
  c.rttVarianceUs = 0
  c.rtoMs = RTO_INITIAL_MS // RFC 6298 (2.1)
  c.backoff = 0
  c.rttTiming = 0
}

/** A segment with new data is sent at sequence number `sequence` .. `end`. */
export function startTiming(c: Connection, end: number, nowUs32: number): void {
  if (c.rttTiming !== 0) return
  c.rttTiming = 1
  c.rttSequence = end
  c.rttStartUs32 = nowUs32
}

/** Something is sent again: what is timed could be acknowledged by either copy (Karn). */
export function cancelTiming(c: Connection): void {
  c.rttTiming = 0
}

/** `acknowledgement` covers new data. @param echoMs age of the echoed timestamp, or -1 */
export function sampleRtt(c: Connection, acknowledgement: number, nowUs32: number, echoMs: number): void {
  if (c.rttTiming !== 0) {
    if (seqLess(acknowledgement, c.rttSequence)) return
    c.rttTiming = 0
    updateRtt(c, (nowUs32 - c.rttStartUs32) | 0)
  } else if (echoMs >= 0 && c.backoff > 0) updateRtt(c, Math.min(echoMs, RTO_MAX_MS) * 1000)
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
export function currentRtoMs(c: Connection): number {
  return Math.min(c.rtoMs * 2 ** Math.min(c.backoff, 10), RTO_MAX_MS)
}
