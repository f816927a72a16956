/**
 * RACK: a segment is lost if one that was sent later has arrived, and a reordering window has passed (RFC 8985 6.2).
 *
 *   sent ──────► deemed lost at  sent + RACK.rtt + window      window: 0, until reordering was seen
 *                                                              then RACK.reo_wnd_mult * min_RTT / 4, at most SRTT
 *
 * Called by: recovery.ts, after the ACK was worked into the scoreboard, and when the reordering timer fires.
 */
import { DUPLICATE_ACKS, REORDER_WINDOW_MULTIPLIER_MAX, REORDER_WINDOW_RECOVERIES } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { Delivery } from './delivery.ts'
import { sentAfter } from './rack-state.ts'
import { NO_SEGMENT, type Scoreboard } from './scoreboard.ts'
import { seqLess } from './seq.ts'
import { RECOVERY_NONE } from './states.ts'

/** RFC 8985 6.2 step 4: a duplicate SACK says that the window was too small; at most once a round trip. */
export function adaptReorderWindow(c: Connection, delivery: Delivery): void {
  if (c.rackDsackRoundOn !== 0 && !seqLess(c.sndUna, c.rackDsackRound)) c.rackDsackRoundOn = 0
  if (delivery.dsack === 0 || c.rackDsackRoundOn !== 0) return
  c.rackDsackRoundOn = 1
  c.rackDsackRound = c.sndNxt
  // A path that duplicates says so in every round trip; the product with a round trip has to stay an int32 (Linux: 255).
  c.rackWindowMultiplier = Math.min(c.rackWindowMultiplier + 1, REORDER_WINDOW_MULTIPLIER_MAX)
  c.rackWindowRecoveries = REORDER_WINDOW_RECOVERIES
}

/** A recovery has ended: 16 without duplicate SACKs make the window small again. */
export function relaxReorderWindow(c: Connection): void {
  if (c.rackWindowRecoveries === 0) return
  c.rackWindowRecoveries--
  if (c.rackWindowRecoveries === 0) c.rackWindowMultiplier = 1
}

/**
 * RFC 8985 6.2 step 5: marks what is lost.
 * @returns microseconds until the next segment may count as lost; 0 if none is waiting for that
 */
export function rackDetectLoss(c: Connection, scoreboard: Scoreboard, nowUs32: number, delivery: Delivery): number {
  if (c.rackValid === 0) return 0
  const limitUs = c.rackRttUs + reorderWindowUs(c)
  let timeoutUs = 0
  let segment = c.timeHead
  while (segment !== NO_SEGMENT) {
    const sentUs = scoreboard.sentUs(segment)
    if (!sentAfter(c.rackSentUs, c.rackEnd, sentUs, scoreboard.end(segment))) break
    const next = scoreboard.timeNext(segment)
    const leftUs = (sentUs + limitUs - nowUs32) | 0
    if (leftUs <= 0) delivery.lostBytes += scoreboard.markLost(c, segment)
    else timeoutUs = leftUs // sent later than all before: the longest
    segment = next
  }
  return timeoutUs
}

/** RFC 8985 6.3: at a time-out the first segment is lost, and what RACK would call lost; not what was sent just now. */
export function rackMarkTimedOut(c: Connection, scoreboard: Scoreboard, nowUs32: number): void {
  if (c.rackValid === 0) {
    scoreboard.markAllLost(c)
    return
  }
  const limitUs = c.rackRttUs + reorderWindowUs(c)
  let segment = c.timeHead
  while (segment !== NO_SEGMENT) {
    const next = scoreboard.timeNext(segment)
    if (((scoreboard.sentUs(segment) + limitUs - nowUs32) | 0) > 0) break
    scoreboard.markLost(c, segment)
    segment = next
  }
  if (c.segmentHead !== NO_SEGMENT) scoreboard.markLost(c, c.segmentHead)
}

/** RFC 8985 6.2 step 4. */
function reorderWindowUs(c: Connection): number {
  if (c.reorderingsSeen === 0 && (c.recoveryState !== RECOVERY_NONE || c.sackedSegments >= DUPLICATE_ACKS)) return 0
  return Math.min((c.rackWindowMultiplier * c.minRttUs) >> 2, c.srttUs)
}
