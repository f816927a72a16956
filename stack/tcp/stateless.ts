/**
 * Segments that no connection sends: RST in answer to what belongs nowhere, ACK and RST out of TIME-WAIT.
 *
 * Called by: input.ts, listen.ts, close.ts, timers.ts. Calls: frame.ts.
 */
import { FLAG_ACK, FLAG_RST, TCP_HEADER_BYTES } from '../wire/tcp.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Endpoints } from './demux.ts'
import { beginSegment, finishSegment, markCapable } from './frame.ts'
import { TIMESTAMPS_PADDED_BYTES, writeTimestamps } from './options.ts'
import { WINDOW_FIELD_MAX } from './receive-queue.ts'
import type { Segment } from './segment.ts'
import { seqDiff } from './seq.ts'

/** RFC 9293 3.10.7.1: the reset takes its number from the ACK field, or acknowledges what the segment took. */
export function sendResetFor(context: TcpContext, segment: Segment): void {
  if ((segment.flags & FLAG_RST) !== 0) return
  if ((segment.flags & FLAG_ACK) !== 0) sendReset(context, segment, segment.acknowledgement, 0, FLAG_RST)
  else {
    const end = (segment.sequence + segment.sequenceLength) | 0
    sendReset(context, segment, 0, end, FLAG_RST | FLAG_ACK)
  }
}

export function sendReset(
  context: TcpContext,
  e: Endpoints,
  sequence: number,
  acknowledgement: number,
  flags: number,
): void {
  const at = beginSegment(context, e, TCP_HEADER_BYTES)
  if (at < 0) return
  finishSegment(context, at, e, sequence, acknowledgement, flags, 0, 0, 0, 0)
  context.ip.end()
  context.counters.resetsSent++
}

/** The RST of a connection that gives up: with timestamps where it has them (RFC 7323 3.2: SHOULD). */
export function sendConnectionReset(context: TcpContext, c: Connection, sequence: number): void {
  const options = c.timestampsOn !== 0 ? TIMESTAMPS_PADDED_BYTES : 0
  const at = beginSegment(context, c, TCP_HEADER_BYTES + options)
  if (at < 0) return
  if (options > 0)
    writeTimestamps(context.transmitter.view, at + TCP_HEADER_BYTES, (context.nowMs + c.tsOffset) | 0, c.tsRecent)
  // A window says nothing here, but is what a middlebox that checks for one expects (Linux tcp_send_active_reset).
  const window = Math.min(Math.max(seqDiff(c.rcvAdvertised, c.rcvNxt), 0) >>> c.receiveScale, WINDOW_FIELD_MAX)
  finishSegment(context, at, c, sequence, c.rcvNxt, FLAG_RST | FLAG_ACK, window, options, 0, 0)
  context.ip.end()
  context.counters.resetsSent++
}

/** An ACK out of a TIME-WAIT row. */
export function sendTimeWaitAck(context: TcpContext, e: Endpoints, row: number): void {
  const rows = context.timeWaits
  const options = rows.timestampsOn[row] !== 0 ? TIMESTAMPS_PADDED_BYTES : 0
  const at = beginSegment(context, e, TCP_HEADER_BYTES + options)
  if (at < 0) return
  if (options > 0)
    writeTimestamps(
      context.transmitter.view,
      at + TCP_HEADER_BYTES,
      (context.nowMs + rows.tsOffset[row]!) | 0,
      rows.tsRecent[row]!,
    )
  if (rows.marked[row] !== 0) markCapable(context, at)
  finishSegment(context, at, e, rows.sndNxt[row]!, rows.rcvNxt[row]!, FLAG_ACK, 0, options, 0, 0)
  context.ip.end()
}
