/** Reno: slow start and congestion avoidance (RFC 5681 3.1), counted in bytes (RFC 3465). */
import { INITIAL_WINDOW_SEGMENTS } from '../../limits.ts'
import type { Connection } from '../connection.ts'
import { seqLess } from '../seq.ts'
import type { CongestionControl } from './congestion.ts'

/** Slow start until the first loss (RFC 5681 3.1: arbitrarily high). */
const THRESHOLD_START = 0x3fffffff

export class Reno implements CongestionControl {
  readonly name = 'reno'

  initialize(c: Connection): void {
    c.congestionWindow = initialWindow(c)
    c.slowStartThreshold = THRESHOLD_START
    c.congestionAcked = 0
  }

  onAck(c: Connection, deliveredBytes: number): void {
    // RFC 7661 4.3: a window that was not used says nothing about the path.
    if (c.congestionLimited === 0) return
    if (c.congestionWindow < c.slowStartThreshold) {
      // Every delivered byte counts, as in Linux: an ACK may stand for a whole burst. Without SACK, while a time-out is
      // being repaired, an ACK may cover what was never lost: one segment an ACK (RFC 3465 2.3).
      const repairing = c.sackOn === 0 && seqLess(c.sndUna, c.recoverSequence)
      const growth = repairing ? Math.min(deliveredBytes, c.sendMss) : deliveredBytes
      c.congestionWindow = clampWindow(c.congestionWindow + growth)
      return
    }
    // RFC 5681 (3): one segment per window of delivered bytes.
    c.congestionAcked += deliveredBytes
    if (c.congestionAcked < c.congestionWindow) return
    c.congestionAcked -= c.congestionWindow
    c.congestionWindow = clampWindow(c.congestionWindow + c.sendMss)
  }

  onLoss(c: Connection, inFlight: number): void {
    c.slowStartThreshold = threshold(c, inFlight)
    c.congestionAcked = 0
  }

  onTimeout(c: Connection, inFlight: number): void {
    // RFC 5681 (4): once per loss event; a second time-out of the same segment keeps the threshold.
    if (c.backoff === 0) c.slowStartThreshold = threshold(c, inFlight)
    c.congestionAcked = 0
  }

  onUndo(): void {}

  onIdle(c: Connection): void {
    c.congestionWindow = Math.min(c.congestionWindow, initialWindow(c))
  }
}

function initialWindow(c: Connection): number {
  return INITIAL_WINDOW_SEGMENTS * c.sendMss
}

/** RFC 5681 (4). */
function threshold(c: Connection, inFlight: number): number {
  return Math.max(inFlight >> 1, 2 * c.sendMss)
}

/** Never beyond what a window can say (RFC 7323 2.3). */
function clampWindow(bytes: number): number {
  return Math.min(bytes, THRESHOLD_START)
}
