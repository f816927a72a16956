/**
 * Receive-window auto-tuning (dynamic right-sizing, Fisk and Feng 2001; as in Linux): the window grows with what the
 * application reads in a round trip, so that it never limits a sender whose data is read, and a connection that is not read
 * is never promised more than it began with.
 *
 *   data arrives  ─► measureRoundTrip     the round trip as a receiver sees it
 *   data is read  ─► growReceiveWindow    once a round trip: twice what was read, and ahead of a sender in slow start
 *
 * Bounds: the connection's limit, and a share of the buffers that are free. It only grows (RFC 9293 3.8.6: a receiver
 * SHOULD NOT shrink the window). A limit that the application sets itself switches it off, as SO_RCVBUF does.
 *
 * Called by: data.ts, receive-queue.ts, handshake.ts.
 */
import { elapsed } from '../clock.ts'
import {
  INITIAL_WINDOW_SEGMENTS,
  RECEIVE_TUNING_POOL_SHARE,
  RECEIVE_TUNING_SPARE_SEGMENTS,
  RECEIVE_WINDOW_START_BYTES,
  RTO_MAX_MS,
  WINDOW_BYTES_PER_BUFFER,
} from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Segment } from './segment.ts'
import { seqAdd, seqDiff, seqLess } from './seq.ts'

/** @param tuned false: the whole limit is offered from the start */
export function initializeReceiveWindow(c: Connection, tuned: boolean): void {
  c.receiveTuned = tuned ? 1 : 0
  c.receiveWindowBytes = tuned ? Math.min(RECEIVE_WINDOW_START_BYTES, c.receiveLimitBytes) : c.receiveLimitBytes
}

/** The handshake fixes where counting begins. */
export function beginReceiveTuning(context: TcpContext, c: Connection): void {
  c.receiveSpaceBytes = INITIAL_WINDOW_SEGMENTS * c.sendMss
  c.receiveSpaceStart = c.rcvNxt
  c.receiveSpaceUs32 = context.nowUs32
  beginRoundTrip(context, c)
}

/** A segment with new data came. */
export function measureRoundTrip(context: TcpContext, c: Connection, segment: Segment): void {
  if (segment.hasTimestamps !== 0 && c.timestampsOn !== 0) measureEcho(context, c, segment)
  else if (!seqLess(c.rcvNxt, c.receiveRttEnd)) {
    // Without timestamps: what was offered then has arrived now. That takes a round trip or longer; the least counts.
    const sampleUs = Math.max(elapsed(context.nowUs32, c.receiveRttUs32), 1)
    if (c.receiveRttUs === 0 || sampleUs < c.receiveRttUs) c.receiveRttUs = sampleUs
    beginRoundTrip(context, c)
  }
}

/** The application has taken data. */
export function growReceiveWindow(context: TcpContext, c: Connection): void {
  if (c.receiveTuned === 0 || c.receiveRttUs === 0) return
  if (elapsed(context.nowUs32, c.receiveSpaceUs32) < c.receiveRttUs) return
  const taken = seqAdd(c.rcvNxt, -c.receiveQueuedBytes)
  const read = seqDiff(taken, c.receiveSpaceStart)
  c.receiveSpaceStart = taken
  c.receiveSpaceUs32 = context.nowUs32
  const before = c.receiveSpaceBytes
  if (read <= before) return
  c.receiveSpaceBytes = read
  // Twice, because a sender in slow start sends twice as much in the next round trip; and more if the rate itself grows.
  let window = 2 * read + RECEIVE_TUNING_SPARE_SEGMENTS * Math.max(c.peerSegmentBytes, c.sendMss)
  window += 2 * Math.trunc((window * (read - before)) / before)
  const share = Math.trunc(context.pool.freeBuffers / RECEIVE_TUNING_POOL_SHARE) * WINDOW_BYTES_PER_BUFFER
  window = Math.min(window, c.receiveLimitBytes, share)
  if (window > c.receiveWindowBytes) c.receiveWindowBytes = window
}

/** A full segment echoes an ACK of ours: one sample an echo, smoothed; clocks of 1 ms call nothing shorter. */
function measureEcho(context: TcpContext, c: Connection, segment: Segment): void {
  if (segment.timestampEcho === c.receiveRttEcho || segment.payloadLength < c.peerSegmentBytes) return
  c.receiveRttEcho = segment.timestampEcho
  const ageMs = (context.nowMs + c.tsOffset - segment.timestampEcho) | 0
  if (ageMs < 0 || ageMs > RTO_MAX_MS) return
  const sampleUs = Math.max(ageMs, 1) * 1000
  if (c.receiveRttUs === 0 || sampleUs < c.receiveRttUs) c.receiveRttUs = sampleUs
  else c.receiveRttUs += (sampleUs - c.receiveRttUs) >> 3
}

function beginRoundTrip(context: TcpContext, c: Connection): void {
  c.receiveRttUs32 = context.nowUs32
  c.receiveRttEnd = seqAdd(c.rcvNxt, c.receiveWindowBytes)
}
