/**
 * Slow start, common to all congestion controls: RFC 5681 3.1 counted in bytes (RFC 3465), and HyStart++ (RFC 9406), which
 * leaves it before packets are lost, when round trips grow.
 *
 *   slow start ──► round trip grew by RttThresh ──► conservative slow start (a quarter of the growth)
 *        ▲                                              │   │
 *        └────── round trip fell again ─────────────────┘   └── 5 rounds ──► congestion avoidance
 *
 * RFC 9406 4.3 limits the growth by one ACK to L segments where nothing is paced. Not so here: one ACK may stand for a
 * whole burst of the peer's, and what it delivered has left the network.
 */
import {
  HYSTART_CONSERVATIVE_DIVISOR,
  HYSTART_CONSERVATIVE_ROUNDS,
  HYSTART_RTT_DIVISOR,
  HYSTART_SAMPLES,
  HYSTART_THRESHOLD_US_MAX,
  HYSTART_THRESHOLD_US_MIN,
  INITIAL_WINDOW_SEGMENTS,
  WINDOW_MAX_BYTES,
} from '../../limits.ts'
import type { Connection } from '../connection.ts'
import { seqLess } from '../seq.ts'

/** Slow start until the first loss (RFC 5681 3.1: arbitrarily high). */
export const THRESHOLD_START = WINDOW_MAX_BYTES
/** No sample yet. */
const NO_RTT = 0x7fffffff

export function beginSlowStart(c: Connection): void {
  c.congestionWindow = initialWindow(c)
  c.slowStartThreshold = THRESHOLD_START
  c.congestionAcked = 0
  c.hystartLastUs = NO_RTT
  c.hystartCurrentUs = NO_RTT
  c.hystartRoundEnd = c.sndUna // whatever the initial number is: any other end may lie half the number space ahead
}

/** @param rttUs round trip of what was delivered, or -1; @param hystart only before the first loss (RFC 9406 4.3) */
export function slowStart(c: Connection, deliveredBytes: number, rttUs: number, hystart: boolean): void {
  // Without SACK, while a time-out is being repaired, an ACK may cover what was never lost: one segment an ACK (RFC 3465 2.3).
  const repairing = c.sackOn === 0 && seqLess(c.sndUna, c.recoverSequence)
  let growth = repairing ? Math.min(deliveredBytes, c.sendMss) : deliveredBytes
  if (hystart && c.slowStartThreshold === THRESHOLD_START) {
    watchRoundTrips(c, rttUs)
    if (c.hystartRounds > 0) growth = Math.ceil(growth / HYSTART_CONSERVATIVE_DIVISOR)
  }
  c.congestionWindow = clampWindow(c.congestionWindow + growth)
}

export function initialWindow(c: Connection): number {
  return INITIAL_WINDOW_SEGMENTS * c.sendMss
}

/** Never beyond what a window can say (RFC 7323 2.3). */
export function clampWindow(bytes: number): number {
  return Math.min(bytes, WINDOW_MAX_BYTES)
}

/** RFC 9406 4.2: a round ends when what was sent at its start is acknowledged. */
function watchRoundTrips(c: Connection, rttUs: number): void {
  if (!seqLess(c.sndUna, c.hystartRoundEnd)) beginRound(c)
  if (c.slowStartThreshold !== THRESHOLD_START || rttUs < 0) return
  if (rttUs < c.hystartCurrentUs) c.hystartCurrentUs = rttUs
  c.hystartSamples++
  if (c.hystartSamples < HYSTART_SAMPLES || c.hystartLastUs === NO_RTT) return
  if (c.hystartRounds > 0) {
    // The growth was a passing one: back to slow start.
    if (c.hystartCurrentUs < c.hystartBaselineUs) c.hystartRounds = 0
    return
  }
  const eighth = Math.trunc(c.hystartLastUs / HYSTART_RTT_DIVISOR)
  const thresholdUs = Math.max(HYSTART_THRESHOLD_US_MIN, Math.min(eighth, HYSTART_THRESHOLD_US_MAX))
  if (c.hystartCurrentUs < c.hystartLastUs + thresholdUs) return
  c.hystartBaselineUs = c.hystartCurrentUs
  c.hystartRounds = 1
}

function beginRound(c: Connection): void {
  c.hystartRoundEnd = c.sndNxt
  c.hystartLastUs = c.hystartCurrentUs
  c.hystartCurrentUs = NO_RTT
  c.hystartSamples = 0
  if (c.hystartRounds === 0) return
  c.hystartRounds++
  if (c.hystartRounds > HYSTART_CONSERVATIVE_ROUNDS) c.slowStartThreshold = c.congestionWindow
}
