/**
 * How long a connection has had something to send, and how much of that the peer's window, or too short a send queue, has held
 * it back: Linux's tcpi_busy_time, tcpi_rwnd_limited and tcpi_sndbuf_limited. Changes are noted where the send queue fills and empties and where the window ends a
 * round of sending; nothing is done per packet.
 *
 *   nothing queued ─► busy ◄─► the window is in the way        all acknowledged ─► nothing queued
 *
 * Called by: send-queue.ts, output.ts, Connection.awaitSpace. Read by: info.ts.
 */
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'

/* Connection.sendWait. */
export const WAIT_NOTHING = 0
export const WAIT_BUSY = 1
export const WAIT_WINDOW = 2
/** All that is queued has left, the window has room, and the application has more, but no room in the queue. */
export const WAIT_QUEUE = 3

/** From now on. */
export function setSendWait(context: TcpContext, c: Connection, wait: number): void {
  if (c.sendWait === wait) return
  const passedMs = (context.nowMs - c.sendWaitMs) | 0
  if (c.sendWait !== WAIT_NOTHING) c.busyMs += passedMs
  if (c.sendWait === WAIT_WINDOW) c.windowWaitMs += passedMs
  if (c.sendWait === WAIT_QUEUE) c.queueWaitMs += passedMs
  c.sendWait = wait
  c.sendWaitMs = context.nowMs
}

/** Milliseconds up to now; WAIT_BUSY stands for all of them. */
export function waitedMs(context: TcpContext, c: Connection, wait: number): number {
  const runningMs = (context.nowMs - c.sendWaitMs) | 0
  if (wait === WAIT_BUSY) return c.busyMs + (c.sendWait === WAIT_NOTHING ? 0 : runningMs)
  return (wait === WAIT_WINDOW ? c.windowWaitMs : c.queueWaitMs) + (c.sendWait === wait ? runningMs : 0)
}
