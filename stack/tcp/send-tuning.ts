/**
 * Send-queue auto-tuning (Semke, Mahdavi and Mathis 1998; as Linux's tcp_sndbuf_expand): what the application may queue
 * grows with the congestion window, so that it never limits a path that takes more, and a connection whose peer does not
 * read is never given more than it began with.
 *
 *   congestion window grows ─► limit: twice the window, one in flight and one that waits for its ACKs
 *                           ─► low mark: half of that, as always
 *
 * Bounds: SEND_LIMIT_BYTES, and a share of the lines that are free: each view in the queue takes one. It only grows. A
 * limit or a mark that the application sets itself switches it off, as SO_SNDBUF does.
 *
 * Called by: handshake.ts, ack.ts.
 */
import { SEND_LIMIT_BYTES, SEND_LIMIT_START_BYTES, SEND_TUNING_POOL_SHARE, WINDOW_BYTES_PER_BUFFER } from '../limits.ts'
import type { ConnectionOptions } from './application.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { NEWS_SEND_SPACE } from './states.ts'

export function initializeSendLimit(c: Connection, options: ConnectionOptions): void {
  c.sendTuned = options.sendLimitBytes === undefined && options.sendLowMarkBytes === undefined ? 1 : 0
  c.sendLimitBytes = options.sendLimitBytes ?? SEND_LIMIT_START_BYTES
  c.sendLowMarkBytes = options.sendLowMarkBytes ?? c.sendLimitBytes >> 1
}

/** An ACK was processed. */
export function growSendLimit(context: TcpContext, c: Connection): void {
  if (c.sendTuned === 0 || 2 * c.congestionWindow <= c.sendLimitBytes) return
  const share = Math.trunc(context.pool.freeMetas / SEND_TUNING_POOL_SHARE) * WINDOW_BYTES_PER_BUFFER
  const limit = Math.min(2 * c.congestionWindow, SEND_LIMIT_BYTES, share)
  if (limit <= c.sendLimitBytes) return
  const lowMarkBefore = c.sendLowMarkBytes
  c.sendLimitBytes = limit
  c.sendLowMarkBytes = limit >> 1
  // The mark has risen over the queue: nothing else would say that there is room.
  if (c.sendQueuedBytes > lowMarkBefore && c.sendQueuedBytes <= c.sendLowMarkBytes)
    context.queueNews(c, NEWS_SEND_SPACE)
}
