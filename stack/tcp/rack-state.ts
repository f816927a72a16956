/**
 * What RACK remembers (RFC 8985 5.3), kept up as segments arrive: the segment that was sent last among those that have
 * arrived, its round trip, whether the path reorders, and the least round trip.
 *
 * All times are those at which the burst with the ACK arrived, never those of processing.
 *
 * Called by: scoreboard.ts, for each segment that arrives; rtt.ts, for the handshake. Read by: rack.ts, tail-probe.ts.
 */
import { elapsed } from '../clock.ts'
import { MIN_RTT_WINDOW_MS, REORDERING_SEGMENTS_MAX } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { Delivery } from './delivery.ts'
import { seqDiff, seqLess } from './seq.ts'

/** RFC 8985 6.2, steps 1 to 3. @param repeated the segment was sent more than once */
export function rackDelivered(c: Connection, delivery: Delivery, end: number, sentUs: number, repeated: boolean): void {
  const rttUs = (delivery.nowUs32 - sentUs) | 0
  if (repeated) {
    // Step 2: which copy has arrived? Not the last one, if it is too young, or if the echo is older.
    if (c.minRttUs > 0 && rttUs < c.minRttUs) return
    const sentMs = (delivery.nowMs - Math.ceil(rttUs / 1000)) | 0
    // An ACK echoes what advanced it (RFC 7323 4.3): of a segment that was only SACKed the echo says nothing.
    const isAcknowledged = !seqLess(c.sndUna, end)
    if (isAcknowledged && delivery.hasEcho !== 0 && ((delivery.echoMs - sentMs) | 0) < 0) return
  } else {
    updateMinRtt(c, delivery.nowMs, rttUs)
    // Step 3: left of what an ACK before this one has reported; what one ACK reports has no order.
    if (delivery.hasFack !== 0 && seqLess(end, delivery.fack)) noteReordering(c, delivery, end)
  }
  if (c.rackFackValid === 0 || seqLess(c.rackFack, end)) {
    c.rackFackValid = 1
    c.rackFack = end
  }
  // RFC 8985 6.2 step 2 takes the round trip of every segment, the time only of the one that was sent last.
  c.rackRttUs = rttUs
  if (c.rackValid !== 0 && !sentAfter(sentUs, end, c.rackSentUs, c.rackEnd)) return
  c.rackValid = 1
  c.rackSentUs = sentUs
  c.rackEnd = end
}

/** One ACK counts once; and how far apart they came (Linux tcp_check_sack_reordering). */
function noteReordering(c: Connection, delivery: Delivery, end: number): void {
  if (delivery.reordered === 0) c.reorderingsSeen++
  delivery.reordered = 1
  const segments = Math.ceil(seqDiff(delivery.fack, end) / c.sendMss) + 1
  if (segments > c.reorderingSegments) c.reorderingSegments = Math.min(segments, REORDERING_SEGMENTS_MAX)
}

/** RFC 8985 5.2: the order of transmissions; those of one burst have one time, and go by their numbers. */
export function sentAfter(sentUs: number, end: number, otherUs: number, otherEnd: number): boolean {
  return seqLess(otherUs, sentUs) || (otherUs === sentUs && seqLess(otherEnd, end))
}

/** Step 1: the least of the last two windows, so that a path that has become longer is believed in the end. */
export function updateMinRtt(c: Connection, nowMs: number, rttUs: number): void {
  const sample = Math.max(rttUs, 1)
  if (elapsed(nowMs, c.minRttSinceMs) >= MIN_RTT_WINDOW_MS) {
    c.minRttSinceMs = nowMs
    c.minRttBeforeUs = c.minRttWindowUs
    c.minRttWindowUs = 0
  }
  if (c.minRttWindowUs === 0 || sample < c.minRttWindowUs) c.minRttWindowUs = sample
  c.minRttUs = c.minRttBeforeUs === 0 ? c.minRttWindowUs : Math.min(c.minRttWindowUs, c.minRttBeforeUs)
}
