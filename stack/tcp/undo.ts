/**
 * Taking back a reduction that proves needless: nothing was lost, it was late.
 *
 *   Eifel (RFC 3522, RFC 4015)   the ACK echoes a time from before the first retransmission
 *   D-SACK (RFC 3708)            every retransmission has arrived a second time, or there was none (one burst brought both
 *                                the sign of the loss and what was late)
 *   F-RTO (RFC 5682)             recovery.ts sees it, and calls undo
 *
 * Called by: recovery.ts. c.repairSegments, repairsSent and repairMs are counted by output.ts.
 */
import type { Connection } from './connection.ts'
import type { Delivery } from './delivery.ts'
import { seqLess } from './seq.ts'
import { RECOVERY_FAST, RECOVERY_NONE } from './states.ts'

/** A reduction is about to be made: keeps what it changes. @param state the recovery that begins */
export function rememberWindow(c: Connection, state: number): void {
  c.undoOn = state
  c.undoSequence = c.sndUna
  c.undoWindow = c.congestionWindow
  c.undoThreshold = c.slowStartThreshold
  // What was sent again before and is still on its way counts with this reduction's repairs, as in Linux: its ACK echoes a
  // time from before them, and proves nothing.
  c.repairSegments = Math.ceil(c.retransmittedBytes / c.sendMss)
  c.repairsSent = c.repairSegments
}

/** A retransmission has arrived a second time. */
export function countDuplicate(c: Connection, delivery: Delivery): void {
  if (c.undoOn === RECOVERY_NONE || delivery.dsack === 0 || c.repairSegments === 0) return
  if (seqLess(delivery.dsackLeft, c.undoSequence) || seqLess(c.recoverSequence, delivery.dsackRight)) return
  const segments = Math.round(((delivery.dsackRight - delivery.dsackLeft) | 0) / c.sendMss)
  c.repairSegments = Math.max(c.repairSegments - Math.max(segments, 1), 0)
}

/** All that was sent again was needless; or what counted as lost has come before it was sent again. */
export function allWasDuplicate(c: Connection): boolean {
  if (c.undoOn === RECOVERY_NONE || c.repairSegments !== 0) return false
  return c.repairsSent !== 0 || (c.recoveryState === RECOVERY_FAST && c.lostBytes === 0)
}

/** This ACK was caused by something sent before the first retransmission (RFC 3522 3.2 step 5). */
export function echoesOriginal(c: Connection, delivery: Delivery): boolean {
  if (c.undoOn === RECOVERY_NONE || c.repairsSent === 0) return false
  return delivery.hasEcho !== 0 && ((delivery.echoMs - c.repairMs) | 0) < 0
}

/** RFC 4015 3.2, without its limit to the initial window: what was in flight before was carried. */
export function restoreWindow(c: Connection): void {
  c.congestionWindow = Math.max(c.congestionWindow, c.undoWindow)
  c.slowStartThreshold = Math.max(c.slowStartThreshold, c.undoThreshold)
  c.undoOn = RECOVERY_NONE
}
