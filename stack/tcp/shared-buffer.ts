/**
 * Small segments that nobody reads are copied together, so that a flood of one-byte segments does not hold a buffer a
 * byte. Each connection has at most one buffer that it fills from the front; lines view parts of it.
 *
 *   shared buffer   [ line a | line b | line b, extended … │ free ]
 *                                                          └ c.sharedUsed
 *
 * Only small segments, and only once many lines wait or the pool runs low: whoever reads what it gets sees its segments
 * in the buffers they arrived in, uncopied. Bytes copied are counted.
 *
 * Invariants:
 *  1. The connection holds a reference of its own to the buffer as long as it fills it; lines hold theirs.
 *  2. Bytes from c.sharedUsed on are in no line's view; only this file writes them.
 *
 * Called by: data.ts (a segment arrives), reassembly.ts (a gap is closed), receive-queue.ts (join, release), close.ts (release).
 */
import { appendSum } from '../../storage/checksum.ts'
import { BUFFER_BYTES, NO_BUFFER, NO_FRAME, NO_META, W_ARRIVAL_HIGH, W_ARRIVAL_LOW } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { COALESCE_LINES, COALESCE_POOL_SHARE, COALESCE_SEGMENT_BYTES_MAX } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Segment } from './segment.ts'

/** Whether the segment's payload shall be copied instead of keeping its buffer. */
export function shallShare(context: TcpContext, c: Connection, length: number): boolean {
  if (length > COALESCE_SEGMENT_BYTES_MAX) return false
  const lines = c.receiveQueuedLines + c.reassemblyLines
  if (lines >= COALESCE_LINES) return true
  const { pool } = context
  return lines > 0 && pool.freeBuffers < Math.trunc(pool.totalBuffers / COALESCE_POOL_SHARE)
}

/** A line with a copy of the segment's payload in the shared buffer; NO_META if there is no line or no buffer. */
export function copyToShared(context: TcpContext, c: Connection, segment: Segment): number {
  return copy(context, c, segment.buffer, segment.payloadOffset, segment.payloadLength, segment.payloadSum)
}

/**
 * A line goes from the out-of-order queue behind the receive queue's `tail`. What came in the wrong order lies in the
 * wrong order in the shared buffer: it is copied once more, so that it becomes one line with its neighbours.
 * @returns the line to append
 */
export function gatherLine(context: TcpContext, c: Connection, tail: number, meta: number): number {
  const { pool } = context
  const length = pool.dataLength(meta)
  if (tail === NO_META || isNextTo(pool, tail, meta) || !shallShare(context, c, length)) return meta
  const gathered = copy(context, c, pool.buffer(meta), pool.dataOffset(meta), length, pool.sum(meta))
  if (gathered === NO_META) return meta
  pool.set(gathered, W_ARRIVAL_LOW, pool.get(meta, W_ARRIVAL_LOW))
  pool.set(gathered, W_ARRIVAL_HIGH, pool.get(meta, W_ARRIVAL_HIGH))
  pool.release(meta)
  return gathered
}

function copy(context: TcpContext, c: Connection, buffer: number, offset: number, length: number, sum: number): number {
  const { pool } = context
  if (c.sharedBuffer !== NO_BUFFER && c.sharedUsed + length > BUFFER_BYTES) releaseShared(context, c)
  if (c.sharedBuffer === NO_BUFFER) {
    c.sharedBuffer = pool.allocateBuffer()
    c.sharedUsed = 0
    if (c.sharedBuffer === NO_BUFFER) return NO_META
  }
  const meta = pool.createView(c.sharedBuffer, c.sharedUsed, length, sum | (NO_FRAME << 16))
  if (meta === NO_META) return NO_META
  pool.retainBuffer(c.sharedBuffer)
  const source = pool.bufferBytes(buffer)
  const from = pool.bufferStart(buffer) + offset
  const target = pool.bufferBytes(c.sharedBuffer)
  const to = pool.bufferStart(c.sharedBuffer) + c.sharedUsed
  for (let index = 0; index < length; index++) target[to + index] = source[from + index]!
  c.sharedUsed += length
  context.counters.coalescedBytes += length
  return meta
}

/**
 * Makes one line of two whose bytes follow each other in the stream and lie side by side in one buffer.
 * @returns false if they do not; true if `meta` is in `tail` now, and free
 */
export function joinViews(pool: Pool, tail: number, meta: number): boolean {
  if (!isNextTo(pool, tail, meta)) return false
  const length = pool.dataLength(tail)
  pool.setSum(tail, appendSum(pool.sum(tail), length, pool.sum(meta)))
  pool.setData(tail, pool.dataOffset(tail), length + pool.dataLength(meta))
  pool.release(meta)
  return true
}

/** Whether `meta` begins in the very buffer where `tail` ends. */
function isNextTo(pool: Pool, tail: number, meta: number): boolean {
  return (
    pool.buffer(tail) === pool.buffer(meta) && pool.dataOffset(meta) === pool.dataOffset(tail) + pool.dataLength(tail)
  )
}

/** The connection fills its buffer no further. */
export function releaseShared(context: TcpContext, c: Connection): void {
  if (c.sharedBuffer === NO_BUFFER) return
  context.pool.releaseBuffer(c.sharedBuffer)
  c.sharedBuffer = NO_BUFFER
}
