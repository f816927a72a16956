/**
 * Writes one segment of a connection: header, options with SACK blocks and Accurate ECN's, checksum, and the views that
 * were gathered for it. Every segment says all that there is to say of what was received.
 *
 * Called by: output.ts, which decides what is sent, and gathers. Calls: frame.ts, options.ts, receive-queue.ts.
 */
import { FLAG_FIN, TCP_HEADER_BYTES } from '../wire/tcp.ts'
import { noteOptionSent, OptionFit } from './accurate-ecn-option.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { ecnFlags, mayBeMarked } from './ecn.ts'
import { beginSegment, finishSegment, markCapable, timestampNow } from './frame.ts'
import {
  SACK_PADDED_BYTES,
  sackBlocksMax,
  sackOptionLength,
  TIMESTAMPS_PADDED_BYTES,
  writeSack,
  writeTimestamps,
} from './options.ts'
import { collectSackBlocks } from './reassembly.ts'
import { windowField } from './receive-queue.ts'
import { Gather } from './send-queue.ts'
import { ACK_NONE } from './states.ts'
import { disarmDelayedAck } from './timer-arming.ts'

/** RFC 2018 3: blocks beside timestamps. */
const SACK_BLOCKS_MAX = 4

/** The views that the next segment takes along. */
const gather = new Gather()

export { gather as segmentGather }

const sackBlocks = new Int32Array(2 * SACK_BLOCKS_MAX)
const fit = new OptionFit()

/**
 * Header, options and the gathered views. Every segment carries the ACK and the window (RFC 9293 3.8.6.3).
 * @param fresh data that was never sent before: what ECN may mark
 * @param segmentBytes of each segment of a run, or 0
 */
export function writeSegment(
  context: TcpContext,
  c: Connection,
  sequence: number,
  flags: number,
  fresh: boolean,
  segmentBytes: number,
): boolean {
  const tsBytes = c.timestampsOn !== 0 ? TIMESTAMPS_PADDED_BYTES : 0
  const withBlocks = hasSackBlocks(c)
  const duplicate = c.dsackPending
  let blocks = withBlocks ? gatherBlocks(context, c, tsBytes) : 0
  const a = c.accurateEcn
  let accurateBytes = 0
  if (a !== undefined) {
    fit.choose(context, c, a, tsBytes, blocks, gather.bytes)
    blocks = fit.blocks
    accurateBytes = fit.bytes
  }
  const options = tsBytes + accurateBytes + sackOptionLength(blocks)
  const at = beginSegment(context, c, TCP_HEADER_BYTES + options + gather.bytes)
  if (at < 0) return false
  const tx = context.transmitter
  if (tsBytes > 0) writeTimestamps(tx.view, at + TCP_HEADER_BYTES, timestampNow(context, c), c.tsRecent)
  if (blocks > 0) writeSack(tx.view, at + TCP_HEADER_BYTES + tsBytes + accurateBytes, sackBlocks, blocks)
  if (a !== undefined) {
    fit.write(tx.view, at + TCP_HEADER_BYTES + tsBytes, a)
    noteOptionSent(context, a, fit.fields, blocks > 0 ? duplicate : 0)
  }
  const window = windowField(context, c)
  if (c.ecnOn !== 0 && mayBeMarked(c, fresh)) markCapable(context, at)
  finishSegment(
    context,
    at,
    c,
    sequence,
    c.rcvNxt,
    flags | ecnFlags(c, fresh, gather.bytes === 0 && (flags & FLAG_FIN) === 0),
    window,
    options,
    gather.bytes,
    gather.sum,
    segmentBytes,
  )
  const last = gather.count - 1
  for (let index = 0; index <= last; index++)
    tx.push(gather.buffers[index]!, gather.offsets[index]!, gather.lengths[index]!, index < last)
  context.ip.end()
  const segments = segmentBytes > 0 ? Math.ceil(gather.bytes / segmentBytes) : 1
  if (segmentBytes > 0) context.counters.runsSent++
  c.segmentsOut += segments
  if (gather.bytes > 0) {
    c.dataSegmentsOut += segments
    c.bytesSent += gather.bytes
  }
  c.lastAckSent = c.rcvNxt
  // Data that leaves no room for SACK blocks does not say all that is to be said.
  if (!withBlocks || blocks > 0) acknowledged(context, c)
  return true
}

/** Duplicate SACK and SACK blocks, as many as fit beside the payload. @returns how many */
function gatherBlocks(context: TcpContext, c: Connection, tsBytes: number): number {
  // A segment without data may have as many as the options take.
  const room = gather.bytes === 0 ? SACK_BLOCKS_MAX : (c.sendMss - gather.bytes - SACK_PADDED_BYTES) >> 3
  const max = Math.min(sackBlocksMax(tsBytes), SACK_BLOCKS_MAX, room)
  if (max <= 0) return 0
  const first = c.dsackPending
  if (first !== 0) {
    sackBlocks[0] = c.dsackLeft
    sackBlocks[1] = c.dsackRight
    c.dsackPending = 0
  }
  return c.reassemblyLines > 0 ? collectSackBlocks(context, c, sackBlocks, first, max) : first
}

/** The segment just written has carried the ACK. */
function acknowledged(context: TcpContext, c: Connection): void {
  c.ackBytes = 0
  if (c.quickAcks > 0 && c.ackPending !== ACK_NONE) c.quickAcks--
  c.ackPending = ACK_NONE
  disarmDelayedAck(context, c)
}

/** An ACK without data has to say more than its number. */
function hasSackBlocks(c: Connection): boolean {
  return c.sackOn !== 0 && (c.reassemblyLines > 0 || c.dsackPending !== 0)
}
