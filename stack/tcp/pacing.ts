/**
 * Pacing: segments leave one after the other at a rate a little above what the window and the round trip give, instead of in
 * bursts as ACKs come in. As in Linux: twice the rate in slow start, 1.2 times after it; the first segments of a connection
 * are not paced; a sender that comes late makes good at most half of a gap.
 *
 *   paceUs32        when the next segment may leave
 *   context.paced   connections that wait for that; context.paceDeadlineUs is the earliest of them
 *
 * The timer wheel ticks once a millisecond, gaps are shorter: so the deadline is one number, in microseconds, that
 * Host.nextDeadlineUs knows of. When it has come all that wait are asked again.
 *
 * Called by: output.ts (before and after a segment), tcp.ts (a turn begins), info.ts. Off unless options say otherwise.
 */
import { INITIAL_WINDOW_SEGMENTS, PACING_AVOIDANCE_PERCENT, PACING_SLOW_START_PERCENT } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'

/** Bytes a second; Infinity before a round trip is known. */
export function pacingRate(c: Connection): number {
  if (c.srttUs === 0) return Number.POSITIVE_INFINITY
  // Linux tcp_update_pacing_rate: up to half of the threshold the window still doubles.
  const slowStart = c.congestionWindow < c.slowStartThreshold >> 1
  const percent = slowStart ? PACING_SLOW_START_PERCENT : PACING_AVOIDANCE_PERCENT
  return ((c.congestionWindow * percent) / 100 / c.srttUs) * 1_000_000
}

/** Whether a segment may leave now; if not, the connection is asked again when it may. */
export function paceAllows(context: TcpContext, c: Connection): boolean {
  if (!isPaced(context, c)) return true
  const waitUs = (c.paceUs32 - context.nowUs32) | 0
  // No gap is longer than a round trip: beyond that lies a time of long ago.
  if (waitUs <= 0 || waitUs > c.srttUs) return true
  context.paced.add(c.slot)
  context.paceDeadlineUs = Math.min(context.paceDeadlineUs, context.nowUs + waitUs)
  return false
}

/** A segment has left. */
export function paceSent(context: TcpContext, c: Connection, bytes: number): void {
  if (!isPaced(context, c)) return
  const gapUs = Math.ceil((bytes * 1_000_000) / pacingRate(c))
  const lateUs = (context.nowUs32 - c.paceUs32) | 0
  const creditUs = lateUs > 0 ? Math.min(lateUs, gapUs >> 1) : 0
  c.paceUs32 = (context.nowUs32 + gapUs - creditUs) | 0
}

/** The deadline may have come: those that wait are asked again. */
export function resumePaced(context: TcpContext): void {
  if (context.nowUs < context.paceDeadlineUs) return
  context.paceDeadlineUs = Number.POSITIVE_INFINITY
  const count = context.paced.takeBatch()
  for (let index = 0; index < count; index++) {
    const c = context.connections[context.paced.batch[index]!]
    if (c !== undefined) context.queueOutput(c)
  }
}

function isPaced(context: TcpContext, c: Connection): boolean {
  return context.tuning.pacing && c.srttUs !== 0 && c.dataSegmentsOut >= INITIAL_WINDOW_SEGMENTS
}
