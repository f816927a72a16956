/**
 * The send queue, which is the retransmission queue too: a chain of views from the first unacknowledged byte to the
 * last queued one. Lines are freed when the peer has acknowledged the last byte of their view.
 *
 *   sendHead ─► view ─► view ─► view ─► view ◄─ sendTail
 *     └ sendHeadOffset      ▲
 *       bytes acked         └ sendNextMeta, sendNextOffset: where sndNxt lies
 *
 * Segments are made of whole views where possible, because a whole view brings its sum along. A view is split only
 * if it is longer than a segment, or if the peer's window forces it.
 *
 * Called by: Connection.send, ack.ts (acknowledge), output.ts (gather).
 */

import { TX_FRAME_DESCRIPTORS_MAX } from '../../drivers/device.ts'
import { appendSum } from '../../storage/checksum.ts'
import { NO_META } from '../../storage/layout.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { setSendWait, WAIT_BUSY, WAIT_NOTHING } from './send-waits.ts'
import { seqAdd, seqDiff, seqLess } from './seq.ts'
import {
  NEWS_SEND_SPACE,
  STATE_CLOSE_WAIT,
  STATE_CLOSED,
  STATE_ESTABLISHED,
  STATE_SYN_RECEIVED,
  STATE_SYN_SENT,
} from './states.ts'

/** Views of one segment; one descriptor is the header's. */
const GATHER_MAX = TX_FRAME_DESCRIPTORS_MAX - 1

/** The views of the segment being built; one long-lived object. */
export class Gather {
  readonly buffers = new Int32Array(GATHER_MAX)
  readonly offsets = new Int32Array(GATHER_MAX)
  readonly lengths = new Int32Array(GATHER_MAX)
  count = 0
  /** Payload bytes and their Internet sum. */
  bytes = 0
  sum = 0
  /** Where the queue goes on behind the segment. */
  nextMeta = NO_META
  nextOffset = 0
}

/** Appends a chain; its lines are the queue's from now on. Empty views are freed at once. */
export function enqueueSend(context: TcpContext, c: Connection, chain: number): void {
  const pool = context.pool
  if (!maySend(c)) {
    pool.releaseChain(chain)
    return
  }
  let bytes = 0
  let meta = chain
  while (meta !== NO_META) {
    const length = pool.dataLength(meta)
    const next = pool.next(meta)
    if (length === 0) pool.release(meta)
    else {
      pool.setNext(meta, NO_META)
      if (c.sendTail === NO_META) c.sendHead = meta
      else pool.setNext(c.sendTail, meta)
      c.sendTail = meta
      if (c.sendNextMeta === NO_META) {
        c.sendNextMeta = meta
        c.sendNextOffset = 0
      }
      bytes += length
    }
    meta = next
  }
  if (bytes === 0) return
  c.sendEnd = (c.sendEnd + bytes) | 0
  c.sendQueuedBytes += bytes
  if (c.sendWait === WAIT_NOTHING) setSendWait(context, c, WAIT_BUSY)
  context.queueOutput(c)
}

/** Data is taken in every state from which it can still go out, and before the handshake is over (RFC 9293 3.10.2). */
function maySend(c: Connection): boolean {
  if (c.finQueued !== 0 || c.lingering !== 0 || c.state === STATE_CLOSED) return false
  return (
    c.state === STATE_ESTABLISHED ||
    c.state === STATE_CLOSE_WAIT ||
    c.state === STATE_SYN_SENT ||
    c.state === STATE_SYN_RECEIVED
  )
}

/** Frees the views of `bytes` acknowledged bytes at the head; remembers a partly acknowledged one. */
export function acknowledgeSent(context: TcpContext, c: Connection, bytes: number): void {
  const pool = context.pool
  const before = c.sendQueuedBytes
  c.sendQueuedBytes -= bytes
  // An acknowledgement may pass sndNxt by what went with the SYN: the cursor goes along.
  const moved = seqDiff(c.sndUna, c.sndNxt) > 0
  let left = bytes + c.sendHeadOffset
  let meta = c.sendHead
  while (meta !== NO_META) {
    const length = pool.dataLength(meta)
    if (left < length) break
    left -= length
    meta = pool.release(meta)
  }
  c.sendHead = meta
  c.sendHeadOffset = left
  if (meta === NO_META) {
    c.sendTail = NO_META
    setSendWait(context, c, WAIT_NOTHING)
  }
  if (moved) {
    c.sendNextMeta = meta
    c.sendNextOffset = left
  }
  if (before > c.sendLowMarkBytes && c.sendQueuedBytes <= c.sendLowMarkBytes) context.queueNews(c, NEWS_SEND_SPACE)
}

/**
 * Collects the views of a segment of at most `limit` bytes from a place in the queue.
 * @param mss a full segment: only views longer than this are split, unless the first does not fit otherwise
 */
export function gatherSegment(
  context: TcpContext,
  gather: Gather,
  meta: number,
  offset: number,
  limit: number,
  mss: number,
): void {
  const pool = context.pool
  let bytes = 0
  let sum = 0
  let count = 0
  while (meta !== NO_META && count < GATHER_MAX && bytes < limit) {
    const viewLength = pool.dataLength(meta)
    const left = viewLength - offset
    let take = left
    if (take > limit - bytes) {
      if (count > 0 && viewLength <= mss) break
      take = limit - bytes
    }
    const buffer = pool.buffer(meta)
    const start = pool.dataOffset(meta) + offset
    const viewSum = take === viewLength ? pool.sum(meta) : context.sumView(buffer, start, take)
    sum = appendSum(sum, bytes, viewSum)
    gather.buffers[count] = buffer
    gather.offsets[count] = start
    gather.lengths[count] = take
    count++
    bytes += take
    if (take < left) {
      offset += take
      break
    }
    meta = pool.next(meta)
    offset = 0
  }
  gather.count = count
  gather.bytes = bytes
  gather.sum = sum
  gather.nextMeta = meta
  gather.nextOffset = offset
}

/** An empty segment: nothing but the header. */
export function clearGather(gather: Gather): void {
  gather.count = 0
  gather.bytes = 0
  gather.sum = 0
}

/**
 * The number for a segment without data: behind everything that was sent, but never right of the peer's window, where the
 * segment would be refused and with it what it acknowledges. A window that has shrunk makes the
 * difference: two ends that are both full would not hear each other (Linux tcp_acceptable_seq).
 */
export function acceptableSequence(c: Connection): number {
  const edge = seqAdd(c.sndUna, c.sndWnd)
  return seqLess(edge, c.sndMax) ? edge : c.sndMax
}

/** Frees everything that is queued. */
export function releaseSendQueue(context: TcpContext, c: Connection): void {
  context.pool.releaseChain(c.sendHead)
  c.sendHead = NO_META
  c.sendTail = NO_META
  c.sendNextMeta = NO_META
  c.sendHeadOffset = 0
  c.sendQueuedBytes = 0
}
