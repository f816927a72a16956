/** Reno: slow start and congestion avoidance (RFC 5681 3.1), counted in bytes (RFC 3465). */
import type { Connection } from '../connection.ts'
import type { CongestionControl } from './congestion.ts'
import { beginSlowStart, clampWindow, slowStart } from './slow-start.ts'
import { isWindowUsed, validateAfterIdle } from './validation.ts'

export class Reno implements CongestionControl {
  readonly name = 'reno'
  private readonly hystart: boolean

  /** @param hystart leaves slow start when round trips grow (RFC 9406) */
  constructor(hystart: boolean) {
    this.hystart = hystart
  }

  initialize(c: Connection): void {
    beginSlowStart(c)
  }

  onAck(c: Connection, deliveredBytes: number, rttUs: number): void {
    // RFC 7661 4.3: a window that was not used says nothing about the path.
    if (!isWindowUsed(c)) return
    if (c.congestionWindow < c.slowStartThreshold) {
      slowStart(c, deliveredBytes, rttUs, this.hystart)
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

  onRestart(c: Connection, idleMs: number): void {
    validateAfterIdle(c, idleMs)
  }
}

/** RFC 5681 (4). */
function threshold(c: Connection, inFlight: number): number {
  return Math.max(inFlight >> 1, 2 * c.sendMss)
}
