/**
 * What a connection sends: SYN, data, FIN, ACK, probes. Called once a burst for every connection in the output list;
 * what is allowed to go is decided by windows, Nagle and the fields that recovery.ts and timers.ts have set.
 *
 *   outputConnection ─► sendSyn
 *                    ─► sendHeadAgain          retransmitHead (recovery.ts)
 *                    ─► sendData               new data, or everything again behind a time-out
 *                    ─► sendProbe              probePending (persist timer)
 *                    ─► sendAck                if nothing has carried it yet
 *                    ─► timers
 *
 * Calls: send-queue.ts (gather), frame.ts, timers.ts (arm). Does not know recovery.ts.
 */
import { FLAG_ACK, FLAG_FIN, FLAG_PSH, FLAG_SYN, TCP_HEADER_BYTES } from '../wire/tcp.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { beginSegment, finishSegment } from './frame.ts'
import { maximumSegmentSize } from './handshake.ts'
import {
  sackBlocksMax,
  sackOptionLength,
  synOptionsLength,
  TIMESTAMPS_PADDED_BYTES,
  writeSack,
  writeSynOptions,
  writeTimestamps,
} from './options.ts'
import { collectSackBlocks } from './reassembly.ts'
import { WINDOW_FIELD_MAX, windowField } from './receive-queue.ts'
import { cancelTiming, startTiming } from './rtt.ts'
import { clearGather, Gather, gatherSegment, rewindToHead } from './send-queue.ts'
import { seqAdd, seqDiff, seqLess, seqMax } from './seq.ts'
import { ACK_DELAYED, ACK_NONE, ACK_NOW, STATE_CLOSED, STATE_SYN_RECEIVED, STATE_SYN_SENT } from './states.ts'
import {
  armDelayedAck,
  armPersist,
  armRetransmission,
  disarmDelayedAck,
  isRetransmissionArmed,
} from './timer-arming.ts'

const gather = new Gather()
const sackBlocks = new Int32Array(8)
/** RFC 2018 3: blocks beside timestamps. */
const SACK_BLOCKS_MAX = 4

export function outputConnection(context: TcpContext, c: Connection): void {
  if (c.state === STATE_CLOSED) return
  if (c.state === STATE_SYN_SENT || c.state === STATE_SYN_RECEIVED) {
    if (c.synPending !== 0) sendSyn(context, c)
    else if (c.ackPending === ACK_NOW && c.state === STATE_SYN_RECEIVED) sendAck(context, c)
    return
  }
  if (c.retransmitHead !== 0) sendHeadAgain(context, c)
  sendData(context, c)
  if (c.probePending !== 0) sendProbe(context, c)
  if (c.ackPending === ACK_NOW) sendAck(context, c)
  else if (c.ackPending === ACK_DELAYED) armDelayedAck(context, c)
  if (c.sndUna !== c.sndNxt) {
    if (c.persisting !== 0 || !isRetransmissionArmed(context, c)) armRetransmission(context, c)
  } else if (hasUnsent(c) && !isRetransmissionArmed(context, c)) armPersist(context, c)
}

/** SYN of an active open, SYN-ACK of a passive one; first time and again. */
function sendSyn(context: TcpContext, c: Connection): void {
  const passive = c.state === STATE_SYN_RECEIVED
  // A SYN-ACK carries what the SYN asked for (RFC 7323 2.2, 3.2; RFC 2018 2).
  const timestamps = passive ? c.timestampsOn !== 0 : context.timestamps
  const scale = !context.windowScaling || (passive && c.sendScale < 0) ? -1 : c.receiveScale
  const sack = passive ? c.sackOn !== 0 : context.sack
  const options = synOptionsLength(scale, sack, timestamps)
  const at = beginSegment(context, c, TCP_HEADER_BYTES + options)
  c.synPending = 0
  armRetransmission(context, c)
  if (at < 0) return // no buffer: the timer tries again
  const window = Math.min(seqDiff(c.rcvAdvertised, c.rcvNxt), WINDOW_FIELD_MAX)
  writeSynOptions(
    context.transmitter.view,
    at + TCP_HEADER_BYTES,
    maximumSegmentSize(context, c),
    scale,
    sack,
    timestamps,
    timestampNow(context, c),
    passive ? c.tsRecent : 0,
  )
  const flags = passive ? FLAG_SYN | FLAG_ACK : FLAG_SYN
  finishSegment(context, at, c, c.iss, passive ? c.rcvNxt : 0, flags, window, options, 0, 0)
  context.ipv4.end()
  if (c.backoff > 0) context.counters.retransmitted++
  else startTiming(c, seqAdd(c.iss, 1), context.nowUs32)
  c.lastAckSent = c.rcvNxt
  c.ackPending = ACK_NONE
}

/** Everything that windows and Nagle let go. */
function sendData(context: TcpContext, c: Connection): void {
  c.congestionLimited = 0
  const idle = c.sndUna === c.sndMax && ((context.nowMs - c.lastSentMs) | 0) > c.rtoMs
  if (idle && c.lastSentMs !== 0) context.congestion.onIdle(c) // RFC 5681 4.1
  for (;;) {
    const unsent = seqDiff(c.sendEnd, c.sndNxt)
    if (unsent < 0) return // the FIN has been sent
    const peerLeft = seqDiff(seqAdd(c.sndUna, c.sndWnd), c.sndNxt)
    const congestionLeft = c.congestionWindow + c.limitedTransmitBytes - seqDiff(c.sndNxt, c.sndUna)
    const usable = Math.min(peerLeft, congestionLeft)
    if (unsent === 0) {
      // Only the FIN is left; it takes a number, and so a byte of the peer's window.
      if (c.finQueued !== 0 && peerLeft > 0) emit(context, c, c.sndNxt, FLAG_ACK | FLAG_FIN)
      return
    }
    if (usable <= 0) {
      if (congestionLeft <= 0) c.congestionLimited = 1
      return
    }
    const full = Math.min(c.sendMss, unsent)
    gatherSegment(context, gather, c.sendNextMeta, c.sendNextOffset, full, c.sendMss)
    if (gather.bytes > usable) {
      if (usable === congestionLeft) c.congestionLimited = 1
      if (!mayFill(c, usable, peerLeft)) return
      gatherSegment(context, gather, c.sendNextMeta, c.sendNextOffset, usable, c.sendMss)
    } else if (!nagleAllows(c, unsent)) return
    const last = gather.bytes === unsent
    const fin = last && c.finQueued !== 0 && gather.bytes < peerLeft
    if (!emit(context, c, c.sndNxt, FLAG_ACK | (last ? FLAG_PSH : 0) | (fin ? FLAG_FIN : 0))) return
  }
}

/** RFC 9293 3.8.6.2.1: a window smaller than the segment is used only if it is large for this peer. */
function mayFill(c: Connection, usable: number, peerLeft: number): boolean {
  if (usable < peerLeft) return usable >= c.sendMss // the congestion window is what limits
  return usable >= c.sendMss || usable >= c.sndWndMax >> 1 || c.probePending !== 0
}

/** RFC 9293 3.7.4: no small segment at the end of the queue while data is in flight. */
function nagleAllows(c: Connection, unsent: number): boolean {
  if (gather.bytes < unsent || gather.bytes >= c.sendMss) return true
  if (c.noDelay !== 0 || c.finQueued !== 0) return true
  return c.sndNxt === c.sndUna || seqLess(c.sndNxt, c.sndMax)
}

/** Recovery found the first segment lost. */
function sendHeadAgain(context: TcpContext, c: Connection): void {
  c.retransmitHead = 0
  if (c.sndUna === c.sndMax) return
  const sent = seqDiff(c.sndMax, c.sndUna)
  const queued = seqDiff(c.sendEnd, c.sndUna)
  if (queued > 0) {
    const limit = Math.min(c.sendMss, sent, queued)
    gatherSegment(context, gather, c.sendHead, c.sendHeadOffset, limit, c.sendMss)
  }
  const bytes = queued > 0 ? gather.bytes : 0
  const fin = c.finQueued !== 0 && bytes === queued && sent > queued
  // The cursor stays where it is: this segment lies left of it.
  const nextMeta = c.sendNextMeta
  const nextOffset = c.sendNextOffset
  const sndNxt = c.sndNxt
  emit(context, c, c.sndUna, FLAG_ACK | FLAG_PSH | (fin ? FLAG_FIN : 0))
  if (!seqLess(sndNxt, c.sndNxt)) {
    c.sndNxt = sndNxt
    c.sendNextMeta = nextMeta
    c.sendNextOffset = nextOffset
  }
  armRetransmission(context, c)
}

/** The persist timer fired and the window did not take anything: one byte beyond it (RFC 9293 3.8.6.1). */
function sendProbe(context: TcpContext, c: Connection): void {
  c.probePending = 0
  if (c.sndNxt !== c.sndUna || !hasUnsent(c)) return
  rewindToHead(c)
  const sequence = c.sndUna
  const sndNxt = c.sndNxt
  let flags = FLAG_ACK
  if (c.sendEnd === sequence) flags |= FLAG_FIN
  else gatherSegment(context, gather, c.sendHead, c.sendHeadOffset, 1, c.sendMss)
  emit(context, c, sequence, flags)
  // The byte counts as sent, for its ACK, but not as in flight: it is the timer's business.
  c.sndNxt = sndNxt
  rewindToHead(c)
  cancelTiming(c)
  context.counters.zeroWindowProbes++
}

/** A segment that makes a live peer answer: a number left of its window (RFC 9293 3.8.4). */
export function sendKeepAlive(context: TcpContext, c: Connection): void {
  clearGather(gather)
  writeAndPush(context, c, seqAdd(c.sndUna, -1), FLAG_ACK)
  context.counters.keepAliveProbes++
}

function sendAck(context: TcpContext, c: Connection): void {
  clearGather(gather)
  writeAndPush(context, c, c.sndMax, FLAG_ACK)
}

/**
 * Sends the gathered payload at `sequence` and moves sndNxt behind it.
 * @returns false if there was no buffer for the header
 */
function emit(context: TcpContext, c: Connection, sequence: number, flags: number): boolean {
  const withData = seqDiff(c.sendEnd, sequence) > 0
  if (!withData) clearGather(gather)
  if (!writeAndPush(context, c, sequence, flags)) return false
  if (withData) {
    c.sendNextMeta = gather.nextMeta
    c.sendNextOffset = gather.nextOffset
  }
  const end = seqAdd(sequence, gather.bytes + (flags & FLAG_FIN))
  if (seqLess(sequence, c.sndMax)) {
    context.counters.retransmitted++
    cancelTiming(c)
  } else {
    if (c.sndUna === c.sndMax) c.progressMs = context.nowMs
    startTiming(c, end, context.nowUs32)
  }
  c.lastSentMs = context.nowMs
  c.sndNxt = end
  c.sndMax = seqMax(c.sndMax, end)
  return true
}

/** Header, options and the gathered views. Every segment carries the ACK and the window (RFC 9293 3.8.6.3). */
function writeAndPush(context: TcpContext, c: Connection, sequence: number, flags: number): boolean {
  const tsBytes = c.timestampsOn !== 0 ? TIMESTAMPS_PADDED_BYTES : 0
  let blocks = 0
  if (c.sackOn !== 0 && c.reassemblyBuffers > 0 && gather.bytes === 0) {
    const max = Math.min(sackBlocksMax(tsBytes), SACK_BLOCKS_MAX)
    blocks = collectSackBlocks(context, c, sackBlocks, max)
  }
  const options = tsBytes + sackOptionLength(blocks)
  const at = beginSegment(context, c, TCP_HEADER_BYTES + options + gather.bytes)
  if (at < 0) return false
  const tx = context.transmitter
  if (tsBytes > 0) writeTimestamps(tx.view, at + TCP_HEADER_BYTES, timestampNow(context, c), c.tsRecent)
  if (blocks > 0) writeSack(tx.view, at + TCP_HEADER_BYTES + tsBytes, sackBlocks, blocks)
  const window = windowField(context, c)
  finishSegment(context, at, c, sequence, c.rcvNxt, flags, window, options, gather.bytes, gather.sum)
  const last = gather.count - 1
  for (let index = 0; index <= last; index++)
    tx.push(gather.buffers[index]!, gather.offsets[index]!, gather.lengths[index]!, index < last)
  context.ipv4.end()
  acknowledged(context, c)
  return true
}

/** The segment just written has carried the ACK. */
function acknowledged(context: TcpContext, c: Connection): void {
  c.lastAckSent = c.rcvNxt
  c.ackBytes = 0
  if (c.quickAcks > 0 && c.ackPending !== ACK_NONE) c.quickAcks--
  c.ackPending = ACK_NONE
  disarmDelayedAck(context, c)
}

function hasUnsent(c: Connection): boolean {
  return seqDiff(seqAdd(c.sendEnd, c.finQueued), c.sndNxt) > 0
}

/** TSval: milliseconds, with an offset of the connection's own (RFC 7323 5.4). */
function timestampNow(context: TcpContext, c: Connection): number {
  return (context.nowMs + c.tsOffset) | 0
}
