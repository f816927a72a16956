/**
 * How long a connection has had something to send, and how much of that the peer's window has held it back: Linux's
 * tcpi_busy_time and tcpi_rwnd_limited. Changes are noted where the send queue fills and empties and where the window ends a
 * round of sending; nothing is done per packet.
 *
 *   nothing queued ─► busy ◄─► the window is in the way        all acknowledged ─► nothing queued
 *
 * Called by: send-queue.ts, output.ts. Read by: info.ts.
 */
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'

/* Connection.sendWait. */
export const WAIT_NOTHING = 0
export const WAIT_BUSY = 1
export const WAIT_WINDOW = 2

/** From now on. */
export function setSendWait(context: TcpContext, c: Connection, wait: number): void {
  if (c.sendWait === wait) return
  const passedMs = (context.nowMs - c.sendWaitMs) | 0
  if (c.sendWait !== WAIT_NOTHING) c.busyMs += passedMs
  if (c.sendWait === WAIT_WINDOW) c.windowWaitMs += passedMs
  c.sendWait = wait
  c.sendWaitMs = context.nowMs
}

/** Milliseconds up to now, in any of the waits from `wait` on. */
export function waitedMs(context: TcpContext, c: Connection, wait: number): number {
  const before = wait === WAIT_WINDOW ? c.windowWaitMs : c.busyMs
  return c.sendWait >= wait ? before + ((context.nowMs - c.sendWaitMs) | 0) : before
}
