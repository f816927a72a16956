/**
 * The receive queue, lines in order that wait for the application, and the window that follows from it.
 *
 *   window = min( receiveWindowBytes - queued bytes,          receive-tuning.ts
 *                 (free buffers - reserve) * WINDOW_BYTES_PER_BUFFER )
 *
 * A one-byte segment holds a whole buffer, so memory is counted in buffers: as the pool runs dry all windows close,
 * and retention becomes back-pressure instead of lost frames. A promise is kept: the right edge never moves left.
 *
 * Called by: data.ts (append), Connection.takeReceived, segment-output.ts (window).
 */
import { NO_META } from '../../storage/layout.ts'
import { MSS_DEFAULT, PRESSURE_RESERVES, UNREAD_LINES_UNDER_PRESSURE, WINDOW_BYTES_PER_BUFFER } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { growReceiveWindow } from './receive-tuning.ts'
import { seqAdd, seqDiff } from './seq.ts'
import { joinViews, releaseShared } from './shared-buffer.ts'
import { ACK_NOW, STATE_ESTABLISHED, STATE_FIN_WAIT_1, STATE_FIN_WAIT_2 } from './states.ts'

/** Largest number in the window field. */
export const WINDOW_FIELD_MAX = 65_535
/** Growth of the window that is worth a segment of its own. */
const WINDOW_UPDATE_FACTOR = 2

/** Appends a line with the bytes at rcvNxt and moves rcvNxt behind them. */
export function appendReceived(context: TcpContext, c: Connection, meta: number, length: number): void {
  c.receiveQueuedBytes += length
  c.bytesReceived += length
  c.rcvNxt = (c.rcvNxt + length) | 0
  const tail = c.receiveTail
  if (tail !== NO_META && joinViews(context.pool, tail, meta)) return
  if (tail === NO_META) c.receiveHead = meta
  else context.pool.setNext(tail, meta)
  c.receiveTail = meta
  c.receiveQueuedLines++
}

/** The queue's chain, now the caller's; of a chain longer than `limitBytes` the lines in front, with that many bytes or a little more. */
export function takeReceived(context: TcpContext, c: Connection, limitBytes: number): number {
  const head = c.receiveHead
  if (head === NO_META) return NO_META
  if (c.receiveQueuedBytes <= limitBytes) {
    c.receiveHead = NO_META
    c.receiveTail = NO_META
    c.receiveQueuedBytes = 0
    c.receiveQueuedLines = 0
    if (c.reassemblyLines === 0) releaseShared(context, c)
  } else cutReceiveQueue(context, c, limitBytes)
  if (c.lingering !== 0) {
    context.queueOutput(c) // application.ts rule 3: when everything is taken it can be closed
    return head
  }
  growReceiveWindow(context, c)
  offerWindow(context, c)
  return head
}

/** Parts the queue behind the line with byte `limitBytes`. */
function cutReceiveQueue(context: TcpContext, c: Connection, limitBytes: number): void {
  const pool = context.pool
  let last = c.receiveHead
  let bytes = pool.dataLength(last)
  let lines = 1
  while (bytes < limitBytes) {
    last = pool.next(last)
    bytes += pool.dataLength(last)
    lines++
  }
  c.receiveHead = pool.next(last)
  pool.setNext(last, NO_META)
  if (c.receiveHead === NO_META) c.receiveTail = NO_META
  c.receiveQueuedBytes -= bytes
  c.receiveQueuedLines -= lines
}

/** Tells the peer at once if the window has opened far enough. */
export function offerWindow(context: TcpContext, c: Connection): void {
  if (c.state !== STATE_ESTABLISHED && c.state !== STATE_FIN_WAIT_1 && c.state !== STATE_FIN_WAIT_2) return
  // A peer that has room is told by the ACKs of what it sends: only twice the room is worth a segment (Linux tcp_cleanup_rbuf).
  const available = availableBytes(context, c)
  const offered = seqDiff(c.rcvAdvertised, c.rcvNxt)
  if (available < WINDOW_UPDATE_FACTOR * offered) return
  // RFC 9293 3.8.6.2.2: and never less than a segment, or half of the buffer.
  if (available - offered < Math.min(fullSegment(c), c.receiveWindowBytes >> 1)) return
  c.ackPending = ACK_NOW
  context.queueOutput(c)
}

/**
 * The window field for the next segment; moves rcvAdvertised. Not for SYNs, whose window is not scaled.
 */
export function windowField(context: TcpContext, c: Connection): number {
  const offered = seqDiff(c.rcvAdvertised, c.rcvNxt)
  const available = availableBytes(context, c)
  // RFC 9293 3.8.6.2.2: open by a segment, or half of the buffer, or not at all. Never move left (3.8.6).
  const worthwhile = available - offered >= Math.min(fullSegment(c), c.receiveWindowBytes >> 1)
  if (available < fullSegment(c) && available < c.receiveWindowBytes) context.closedWindows.add(c.slot)
  const scale = c.receiveScale
  // Rounded down when it opens, up when it stays: the edge must not move left by less than a unit either. But what is
  // rounded up adds up, segment by segment; beyond an eighth of the window it is rounded down (RFC 7323 2.4 allows for it).
  let field = (offered + (1 << scale) - 1) >> scale
  const most = c.receiveWindowBytes + (c.receiveWindowBytes >> 3)
  if (c.receiveQueuedBytes + (field << scale) > most) field = offered >> scale
  if (worthwhile && available >> scale > field) field = available >> scale
  if (field > WINDOW_FIELD_MAX) field = WINDOW_FIELD_MAX
  const edge = seqAdd(c.rcvNxt, field << scale)
  if (seqDiff(edge, c.rcvAdvertised) > 0) c.rcvAdvertised = edge
  return field
}

/** Bytes that could be offered now. */
export function availableBytes(context: TcpContext, c: Connection): number {
  const buffers = context.pool.freeBuffers - context.reserveBuffers
  if (buffers <= 0 || holdsTooMuch(context, c.receiveQueuedLines)) return 0
  const left = c.receiveWindowBytes - c.receiveQueuedBytes
  if (left <= 0) return 0
  const fromPool = buffers * WINDOW_BYTES_PER_BUFFER
  return Math.min(fromPool, left)
}

/**
 * Whether others need the buffers more: the pool runs low, and `lines` lines of this connection wait unread. What it was
 * promised is then refused (RFC 2018 8 and Linux tcp_data_queue do the same); the peer sends it again. So those that do
 * not read cannot stop those that do.
 */
export function holdsTooMuch(context: TcpContext, lines: number): boolean {
  const free = context.pool.freeBuffers
  if (free >= PRESSURE_RESERVES * context.reserveBuffers) return false
  return lines >= (free < context.reserveBuffers ? 1 : UNREAD_LINES_UNDER_PRESSURE)
}

/** Frees what waits. */
export function releaseReceiveQueue(context: TcpContext, c: Connection): void {
  context.pool.releaseChain(c.receiveHead)
  c.receiveHead = NO_META
  c.receiveTail = NO_META
  c.receiveQueuedBytes = 0
  c.receiveQueuedLines = 0
}

/** What a full segment from the peer brings; a peer that sends byte by byte is not to see its window open so. */
function fullSegment(c: Connection): number {
  return c.peerSegmentBytes > 0 ? Math.max(c.peerSegmentBytes, MSS_DEFAULT) : c.sendMss
}
