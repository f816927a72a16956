/**
 * Segments that came out of order: lines linked through nextFragment, sorted by sequence number, without overlap.
 * While a line is here, word W_VERSION_LOW holds the sequence number of its first byte.
 *
 *   rcvNxt …gap…  head [seq, seq+len) ─► [ ) ─► … ─► tail
 *
 * Most segments come behind everything that waits, so inserting at the tail takes constant time. Bytes that are there
 * already win over new copies; a new segment that covers a whole line replaces it.
 *
 * The queue counts for nothing in the window and may be thrown away: the peer still has the data
 * (RFC 2018 8: a receiver may renege). releaseReassembly does so when the pool runs dry.
 *
 * Called by: data.ts. Calls: pool, and sumView when a view is trimmed.
 */
import { NO_META, W_VERSION_LOW } from '../../storage/layout.ts'
import { REASSEMBLY_BUFFERS_MAX } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { reportDuplicate } from './dsack.ts'
import { appendReceived } from './receive-queue.ts'
import { seqAdd, seqDiff } from './seq.ts'

/**
 * Puts a line with bytes from `sequence` on into the queue; the line is the queue's, or freed if it brings nothing new.
 */
export function insertOutOfOrder(context: TcpContext, c: Connection, meta: number, sequence: number): void {
  const pool = context.pool
  if (c.reassemblyBuffers >= REASSEMBLY_BUFFERS_MAX) {
    context.counters.dropNoMemory++
    pool.release(meta)
    return
  }
  pool.set(meta, W_VERSION_LOW, sequence)
  c.reassemblyLatest = sequence
  if (c.reassemblyHead === NO_META) {
    c.reassemblyHead = meta
    c.reassemblyTail = meta
    c.reassemblyBuffers = 1
    return
  }
  if (seqDiff(sequence, lineEnd(context, c.reassemblyTail)) >= 0) {
    pool.setNext(c.reassemblyTail, meta)
    c.reassemblyTail = meta
    c.reassemblyBuffers++
    return
  }
  insertBetween(context, c, meta, sequence)
}

/** Moves the lines that rcvNxt has reached to the receive queue. */
export function drainReassembly(context: TcpContext, c: Connection): void {
  const pool = context.pool
  let meta = c.reassemblyHead
  while (meta !== NO_META) {
    const sequence = pool.get(meta, W_VERSION_LOW)
    const overlap = seqDiff(c.rcvNxt, sequence)
    if (overlap < 0) break
    const next = pool.next(meta)
    pool.setNext(meta, NO_META)
    c.reassemblyBuffers--
    const length = pool.dataLength(meta)
    if (overlap >= length) {
      context.counters.duplicateBytes += length
      pool.release(meta)
    } else {
      if (overlap > 0) trimFront(context, meta, overlap)
      appendReceived(context, c, meta, length - overlap)
    }
    meta = next
  }
  c.reassemblyHead = meta
  if (meta === NO_META) c.reassemblyTail = NO_META
}

/** Throws the queue away. */
export function releaseReassembly(context: TcpContext, c: Connection): void {
  context.pool.releaseChain(c.reassemblyHead)
  c.reassemblyHead = NO_META
  c.reassemblyTail = NO_META
  c.reassemblyBuffers = 0
}

/**
 * SACK blocks (RFC 2018 4): the block with the latest segment first, then the others from the left.
 * @param first blocks that are there already: a duplicate SACK goes before all others (RFC 2883 4)
 * @returns number of blocks in `blocks`, pairs of edges
 */
export function collectSackBlocks(
  context: TcpContext,
  c: Connection,
  blocks: Int32Array,
  first: number,
  max: number,
): number {
  const pool = context.pool
  let count = first + 1 // the first place is kept for the latest
  let latest = false
  let meta = c.reassemblyHead
  while (meta !== NO_META && (count < max || !latest)) {
    const left = pool.get(meta, W_VERSION_LOW)
    let right = lineEnd(context, meta)
    meta = pool.next(meta)
    while (meta !== NO_META && pool.get(meta, W_VERSION_LOW) === right) {
      right = lineEnd(context, meta)
      meta = pool.next(meta)
    }
    if (!latest && seqDiff(c.reassemblyLatest, left) >= 0 && seqDiff(c.reassemblyLatest, right) < 0) {
      latest = true
      blocks[first * 2] = left
      blocks[first * 2 + 1] = right
    } else if (count < max) {
      blocks[count * 2] = left
      blocks[count * 2 + 1] = right
      count++
    }
  }
  if (latest) return count
  // The latest was a duplicate of what has been delivered: the others move up.
  for (let edge = first * 2; edge < (count - 1) * 2; edge++) blocks[edge] = blocks[edge + 2]!
  return count - 1
}

function lineEnd(context: TcpContext, meta: number): number {
  return seqAdd(context.pool.get(meta, W_VERSION_LOW), context.pool.dataLength(meta))
}

/** The general case: somewhere before the tail's end. */
function insertBetween(context: TcpContext, c: Connection, meta: number, sequence: number): void {
  const pool = context.pool
  let before = NO_META
  let after = c.reassemblyHead
  while (after !== NO_META && seqDiff(pool.get(after, W_VERSION_LOW), sequence) <= 0) {
    before = after
    after = pool.next(after)
  }
  if (before !== NO_META) {
    const overlap = seqDiff(lineEnd(context, before), sequence)
    if (overlap > 0) reportDuplicate(c, sequence, seqAdd(sequence, Math.min(overlap, pool.dataLength(meta))))
    if (overlap >= pool.dataLength(meta)) {
      context.counters.duplicateBytes += pool.dataLength(meta)
      pool.release(meta)
      return
    }
    if (overlap > 0) {
      trimFront(context, meta, overlap)
      pool.set(meta, W_VERSION_LOW, seqAdd(sequence, overlap))
    }
  }
  const end = lineEnd(context, meta)
  // Lines that the new one covers whole are replaced by it; the first that sticks out keeps its bytes.
  while (after !== NO_META && seqDiff(lineEnd(context, after), end) <= 0) {
    context.counters.duplicateBytes += pool.dataLength(after)
    reportDuplicate(c, pool.get(after, W_VERSION_LOW), lineEnd(context, after))
    after = pool.release(after)
    c.reassemblyBuffers--
  }
  if (after !== NO_META) {
    const overlap = seqDiff(end, pool.get(after, W_VERSION_LOW))
    if (overlap > 0) {
      reportDuplicate(c, pool.get(after, W_VERSION_LOW), end)
      trimBack(context, meta, overlap)
    }
  }
  pool.setNext(meta, after)
  if (before === NO_META) c.reassemblyHead = meta
  else pool.setNext(before, meta)
  if (after === NO_META) c.reassemblyTail = meta
  c.reassemblyBuffers++
}

function trimFront(context: TcpContext, meta: number, bytes: number): void {
  const pool = context.pool
  context.counters.duplicateBytes += bytes
  setView(context, meta, pool.dataOffset(meta) + bytes, pool.dataLength(meta) - bytes)
}

function trimBack(context: TcpContext, meta: number, bytes: number): void {
  context.counters.duplicateBytes += bytes
  setView(context, meta, context.pool.dataOffset(meta), context.pool.dataLength(meta) - bytes)
}

function setView(context: TcpContext, meta: number, offset: number, length: number): void {
  context.pool.setData(meta, offset, length)
  context.pool.setSum(meta, context.sumView(context.pool.buffer(meta), offset, length))
}
