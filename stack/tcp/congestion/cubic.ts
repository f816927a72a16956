/**
 * CUBIC (RFC 9438): after a reduction the window grows back along a cubic curve of time, flat around the window at which
 * packets were lost, and independent of the round trip.
 *
 *   window
 *          Wmax ┈┈┈┈┈┈┈┈┈┈┈┈╭────────╮┈┈┈╱┈┈      W(t) = C (t - K)^3 + Wmax       (1)
 *                       ╭───╯            ╱        K = cbrt((Wmax - Wstart) / C)    (2)
 *               ╭──────╯                          C = 0.4 segments / s^3
 *        Wstart │←───────── K ─────→│             never below what Reno would have (4.3)
 *
 * Windows are bytes, times milliseconds; fractions of a byte are kept in cubicCredit.
 */
import { CUBIC_BETA, CUBIC_C } from '../../limits.ts'
import type { Connection } from '../connection.ts'
import type { CongestionControl } from './congestion.ts'
import { beginSlowStart, clampWindow, slowStart } from './slow-start.ts'
import { isWindowUsed, validateAfterIdle } from './validation.ts'

/** RFC 9438 4.3: growth that makes a flow with this beta as fast as Reno. */
const ALPHA = (3 * (1 - CUBIC_BETA)) / (1 + CUBIC_BETA)
/** RFC 9438 4.2: the target of one round trip. */
const TARGET_GROWTH_MAX = 1.5

export class Cubic implements CongestionControl {
  readonly name = 'cubic'
  private readonly hystart: boolean

  /** @param hystart leaves slow start when round trips grow (RFC 9406) */
  constructor(hystart: boolean) {
    this.hystart = hystart
  }

  initialize(c: Connection): void {
    beginSlowStart(c)
    c.cubicEpochOn = 0
    c.cubicMaxBytes = 0
    c.cubicMaxBeforeBytes = 0
  }

  onAck(c: Connection, deliveredBytes: number, rttUs: number): void {
    // RFC 9438 5.8: while the application is what limits, the curve stands still.
    if (!isWindowUsed(c)) return
    if (c.congestionWindow < c.slowStartThreshold) {
      slowStart(c, deliveredBytes, rttUs, this.hystart)
      return
    }
    const nowMs = c.context.nowMs
    if (c.cubicEpochOn === 0) beginEpoch(c, nowMs)
    avoidCongestion(c, deliveredBytes, (nowMs - c.cubicEpochMs) | 0)
  }

  onLoss(c: Connection): void {
    const window = c.congestionWindow
    c.cubicEpochOn = 0
    c.cubicMaxBeforeBytes = c.cubicMaxBytes
    // RFC 9438 4.7, fast convergence: a flow that lost below its last maximum makes room for others.
    c.cubicMaxBytes = window < c.cubicMaxBytes ? Math.trunc((window * (1 + CUBIC_BETA)) / 2) : window
    // RFC 9438 4.6; the window, not the flight: it was validated, and does not grow unused.
    c.slowStartThreshold = Math.max(Math.trunc(window * CUBIC_BETA), 2 * c.sendMss)
    c.cubicPriorBytes = window
  }

  onTimeout(c: Connection): void {
    // RFC 9438 4.8; a second time-out of the same segment keeps the threshold (RFC 5681 (4)).
    if (c.backoff === 0) this.onLoss(c)
  }

  /** RFC 9438 4.9: the curve starts anew from what was restored. */
  onUndo(c: Connection): void {
    c.cubicEpochOn = 0
    c.cubicMaxBytes = c.cubicMaxBeforeBytes
  }

  onRestart(c: Connection, idleMs: number): void {
    validateAfterIdle(c, idleMs)
    // RFC 9438 5.8: silence is no time of growth.
    c.cubicEpochMs = (c.cubicEpochMs + idleMs) | 0
  }
}

/** RFC 9438 4.2: congestion avoidance begins at the window as it is. */
function beginEpoch(c: Connection, nowMs: number): void {
  const window = c.congestionWindow
  c.cubicEpochOn = 1
  c.cubicEpochMs = nowMs
  c.cubicCredit = 0
  c.cubicRenoBytes = window
  c.cubicRenoCredit = 0
  if (window >= c.cubicMaxBytes) {
    c.cubicMaxBytes = window
    c.cubicPlateauMs = 0
  } else c.cubicPlateauMs = Math.round(1000 * Math.cbrt((c.cubicMaxBytes - window) / c.sendMss / CUBIC_C))
}

function avoidCongestion(c: Connection, deliveredBytes: number, elapsedMs: number): void {
  const window = c.congestionWindow
  const reno = growReno(c, deliveredBytes)
  if (cubicWindow(c, elapsedMs) < reno) {
    c.congestionWindow = clampWindow(Math.max(window, reno)) // RFC 9438 4.3, the Reno-friendly region
    return
  }
  const ahead = cubicWindow(c, elapsedMs + Math.trunc(c.srttUs / 1000))
  const target = Math.min(Math.max(ahead, window), window * TARGET_GROWTH_MAX)
  // RFC 9438 4.4, 4.5: (target - cwnd) / cwnd for each segment that was acknowledged.
  c.cubicCredit += (target - window) * deliveredBytes
  const growth = Math.trunc(c.cubicCredit / window)
  c.cubicCredit -= growth * window
  c.congestionWindow = clampWindow(window + growth)
}

/** RFC 9438 (1), in bytes. */
function cubicWindow(c: Connection, elapsedMs: number): number {
  const t = (elapsedMs - c.cubicPlateauMs) / 1000
  return CUBIC_C * t * t * t * c.sendMss + c.cubicMaxBytes
}

/** RFC 9438 (4): what Reno would have by now. */
function growReno(c: Connection, deliveredBytes: number): number {
  const alpha = c.cubicRenoBytes < c.cubicPriorBytes ? ALPHA : 1
  c.cubicRenoCredit += alpha * c.sendMss * deliveredBytes
  const growth = Math.trunc(c.cubicRenoCredit / c.congestionWindow)
  c.cubicRenoCredit -= growth * c.congestionWindow
  c.cubicRenoBytes += growth
  return c.cubicRenoBytes
}
