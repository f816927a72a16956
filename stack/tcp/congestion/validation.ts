/**
 * Congestion window validation (RFC 2861, as Linux has it; RFC 7661): a window that was not used for a while says nothing
 * about the path as it is now.
 */
import type { Connection } from '../connection.ts'
import { pipeBytes } from '../scoreboard.ts'
import { seqDiff, seqLess } from '../seq.ts'
import { initialWindow } from './slow-start.ts'

/**
 * Output has sent what it could: was the window full, or how much of it was in flight at most, in this window of data
 * (RFC 7661 4.3; Linux tcp_cwnd_validate)?
 */
export function noteWindowUse(c: Connection): void {
  const full = c.congestionLimited !== 0 || pipeBytes(c) >= c.congestionWindow
  const flight = seqDiff(c.sndNxt, c.sndUna)
  const begins = !seqLess(c.sndUna, c.windowUseSequence)
  if (!begins && !full && (c.windowFull !== 0 || flight <= c.windowPeakBytes)) return
  c.windowFull = full ? 1 : 0
  c.windowPeakBytes = flight
  c.windowUseSequence = c.sndNxt
}

/** Whether the window may grow: it was full, or slow start needs it for twice of what was in flight. */
export function isWindowUsed(c: Connection): boolean {
  if (c.windowFull !== 0) return true
  return c.congestionWindow < c.slowStartThreshold && c.congestionWindow < 2 * c.windowPeakBytes
}

/** Nothing was sent for `idleMs`: the window halves for every time-out of silence, down to the restart window (RFC 5681 4.1). */
export function validateAfterIdle(c: Connection, idleMs: number): void {
  if (idleMs <= c.rtoMs) return
  const restart = Math.min(initialWindow(c), c.congestionWindow)
  // RFC 2861 3: the threshold remembers where the window was.
  c.slowStartThreshold = Math.max(c.slowStartThreshold, (c.congestionWindow >> 1) + (c.congestionWindow >> 2))
  const halvings = Math.min(Math.trunc(idleMs / c.rtoMs), 30)
  c.congestionWindow = Math.max(c.congestionWindow >> halvings, restart)
}
