/**
 * Congestion window validation (RFC 2861, as Linux has it; RFC 7661): a window that was not used for a while says nothing
 * about the path as it is now.
 */
import type { Connection } from '../connection.ts'
import { initialWindow } from './slow-start.ts'

/** Nothing was sent for `idleMs`: the window halves for every time-out of silence, down to the restart window (RFC 5681 4.1). */
export function validateAfterIdle(c: Connection, idleMs: number): void {
  if (idleMs <= c.rtoMs) return
  const restart = Math.min(initialWindow(c), c.congestionWindow)
  // RFC 2861 3: the threshold remembers where the window was.
  c.slowStartThreshold = Math.max(c.slowStartThreshold, (c.congestionWindow >> 1) + (c.congestionWindow >> 2))
  const halvings = Math.min(Math.trunc(idleMs / c.rtoMs), 30)
  c.congestionWindow = Math.max(c.congestionWindow >> halvings, restart)
}
