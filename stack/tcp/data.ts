/**
 * The payload and the FIN of an acceptable segment (RFC 9293 3.10.7.4, seventh and eighth step). The payload becomes
 * one metadata line on the arrival buffer; no byte is copied.
 *
 *   in order      -> receive queue, then whatever it connects with in the reassembly queue
 *   out of order  -> reassembly queue
 *
 * Called by: input.ts. Calls: receive-queue.ts, reassembly.ts, acknowledge.ts, close.ts.
 */
import { NO_META, W_ARRIVAL_HIGH, W_ARRIVAL_LOW } from '../../storage/layout.ts'
import type { ReceivedPacket } from '../packet.ts'
import { FLAG_FIN, FLAG_RST } from '../wire/tcp.ts'
import {
  acknowledge,
  acknowledgeBefore,
  acknowledgeBehindGap,
  acknowledgeDisorder,
  acknowledgeInOrder,
} from './acknowledge.ts'
import { CLOSE_ABORTED } from './application.ts'
import { endConnection, enterTimeWait } from './close.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { reportDuplicate } from './dsack.ts'
import { receiveEcn } from './ecn.ts'
import { drainReassembly, insertOutOfOrder } from './reassembly.ts'
import { appendReceived, holdsTooMuch } from './receive-queue.ts'
import { measureRoundTrip } from './receive-tuning.ts'
import type { Segment } from './segment.ts'
import { maximumSegmentSize, optionsBytes } from './segment-size.ts'
import { seqAdd, seqDiff } from './seq.ts'
import { copyToShared, shallShare } from './shared-buffer.ts'
import { sendReset } from './stateless.ts'
import {
  ACK_DELAYED,
  ACK_NOW,
  NEWS_RECEIVE,
  RECEIVE_FINISHED,
  RECEIVE_REFUSED,
  STATE_CLOSE_WAIT,
  STATE_CLOSING,
  STATE_ESTABLISHED,
  STATE_FIN_WAIT_1,
  STATE_FIN_WAIT_2,
} from './states.ts'

export function receiveData(context: TcpContext, c: Connection, segment: Segment): void {
  if (c.receiveFinished !== 0 && isRefused(context, c, segment)) return
  acknowledgeBefore(context, c, segment)
  if (segment.payloadLength > 0) receiveEcn(context, c, segment)
  trimToWindow(context, c, segment)
  if ((segment.flags & FLAG_FIN) !== 0) {
    c.peerFinKnown = 1
    c.peerFin = seqAdd(segment.sequence, segment.payloadLength)
  }
  if (segment.payloadLength > 0) receivePayload(context, c, segment)
  if (c.peerFinKnown !== 0) {
    if (c.rcvNxt === c.peerFin) receiveFin(context, c)
    else acknowledge(context, c, ACK_NOW) // data before the FIN is missing
  }
}

/** @returns false if it is the FIN of a peer whose data nobody wants any more */
function isRefused(context: TcpContext, c: Connection, segment: Segment): boolean {
  if (c.receiveFinished === RECEIVE_REFUSED) {
    if (segment.payloadLength === 0) return false
    // RFC 9293 3.6.1, RFC 2525 2.17: the peer has to know. As to one who sends to nobody (3.10.7.1, Linux tcp_rcv_state_process).
    sendReset(context, segment, segment.acknowledgement, 0, FLAG_RST)
    endConnection(context, c, CLOSE_ABORTED)
    return true
  }
  // Behind a FIN there is nothing: a peer gone wrong. What it sent before and again was refused by its number.
  context.counters.dropData++
  return true
}

/**
 * Cuts off what was received before, and what lies beyond the window that was offered. But if nothing waits to be read the
 * segment is taken whole: it is one, and its sender would have to send the rest of it again (Linux tcp_sequence).
 */
function trimToWindow(context: TcpContext, c: Connection, segment: Segment): void {
  const old = seqDiff(c.rcvNxt, segment.sequence)
  const beyond = seqDiff(seqAdd(segment.sequence, segment.payloadLength), c.rcvAdvertised)
  if (old <= 0 && beyond <= 0) return
  if (old > 0) {
    const cut = Math.min(old, segment.payloadLength)
    reportDuplicate(c, segment.sequence, seqAdd(segment.sequence, cut)) // RFC 2883 4.1.1
    context.counters.duplicateBytes += cut
    segment.payloadOffset += cut
    segment.payloadLength -= cut
    segment.sequence = seqAdd(segment.sequence, old)
    acknowledgeDisorder(context, c)
  }
  if (beyond > 0 && c.receiveQueuedBytes === 0 && segment.sequence === c.rcvNxt)
    c.rcvAdvertised = seqAdd(c.rcvAdvertised, beyond + (segment.flags & FLAG_FIN))
  else if (beyond > 0) {
    segment.payloadLength = Math.max(segment.payloadLength - beyond, 0)
    segment.flags &= ~FLAG_FIN
    acknowledge(context, c, ACK_NOW)
  }
  if (segment.payloadLength > 0)
    segment.payloadSum = context.sumView(segment.buffer, segment.payloadOffset, segment.payloadLength)
}

function receivePayload(context: TcpContext, c: Connection, segment: Segment): void {
  const length = segment.payloadLength
  const inOrder = segment.sequence === c.rcvNxt
  // What closes a gap is not to be refused because of what waits behind the gap.
  const lines = c.receiveQueuedLines + (inOrder ? 0 : c.reassemblyLines)
  if (holdsTooMuch(context, lines)) {
    context.counters.dropUnread++
    acknowledge(context, c, ACK_NOW)
    return
  }
  let meta = shallShare(context, c, length) ? copyToShared(context, c, segment) : NO_META
  if (meta === NO_META) meta = viewOf(context, segment)
  if (meta === NO_META) {
    context.counters.dropNoMemory++
    return
  }
  context.pool.set(meta, W_ARRIVAL_LOW, context.arrivalLow)
  context.pool.set(meta, W_ARRIVAL_HIGH, context.arrivalHigh)
  c.lastDataMs = context.nowMs
  if (segment.wholeLength > c.peerSegmentBytes) notePeerSegment(context, c, segment)
  measureRoundTrip(context, c, segment)
  if (!inOrder) {
    context.counters.receivedOutOfOrder++
    insertOutOfOrder(context, c, meta, segment.sequence)
    acknowledgeBehindGap(context, c, segment.sequence, seqAdd(segment.sequence, length))
    return
  }
  context.counters.receivedInOrder += 1 - segment.isPart
  appendReceived(context, c, meta, length)
  context.queueNews(c, NEWS_RECEIVE)
  c.ackBytes += length
  if (c.reassemblyRoot !== NO_META) {
    drainReassembly(context, c)
    acknowledgeDisorder(context, c)
  } else acknowledgeInOrder(context, c)
}

/**
 * The other lines of a segment whose first part was taken: if that was in order, and nothing waits behind, they go to
 * the receive queue as they are.
 * @param firstBytes of the first part; if no more waits to be read the segment may be larger than the window
 * @returns false: they have to be looked at one by one
 */
export function receiveRest(
  context: TcpContext,
  c: Connection,
  packet: ReceivedPacket,
  firstBytes: number,
  sequence: number,
  bytes: number,
): boolean {
  if (sequence !== c.rcvNxt || c.reassemblyRoot !== NO_META || c.receiveFinished !== 0) return false
  const beyond = bytes - seqDiff(c.rcvAdvertised, sequence)
  if (beyond > 0 && c.receiveQueuedBytes > firstBytes) return false
  if (holdsTooMuch(context, c.receiveQueuedLines + packet.restLines)) return false
  if (beyond > 0) c.rcvAdvertised = seqAdd(c.rcvAdvertised, beyond)
  const { pool } = context
  for (let line = packet.rest; line !== NO_META; ) {
    const next = pool.next(line)
    pool.setNext(line, NO_META)
    pool.set(line, W_ARRIVAL_LOW, context.arrivalLow)
    pool.set(line, W_ARRIVAL_HIGH, context.arrivalHigh)
    appendReceived(context, c, line, pool.dataLength(line))
    line = next
  }
  packet.rest = NO_META
  packet.restLines = 0
  c.ackBytes += bytes
  acknowledgeInOrder(context, c)
  return true
}

/**
 * How long the peer's segments are. None is longer than we have asked for: what is was joined of several, in buffers that each
 * hold one or more.
 */
function notePeerSegment(context: TcpContext, c: Connection, segment: Segment): void {
  const most = maximumSegmentSize(context, c) - optionsBytes(c)
  const bytes = segment.wholeLength <= most ? segment.wholeLength : Math.min(segment.payloadLength, most)
  c.peerSegmentBytes = Math.max(c.peerSegmentBytes, bytes)
}

/** A line on the arrival buffer, or NO_META. */
function viewOf(context: TcpContext, segment: Segment): number {
  const sum = segment.payloadSum | (segment.frameOffset << 16)
  const meta = context.pool.createView(segment.buffer, segment.payloadOffset, segment.payloadLength, sum)
  if (meta !== NO_META) segment.bufferTaken = 1
  return meta
}

/** Everything before the FIN is there. */
function receiveFin(context: TcpContext, c: Connection): void {
  c.rcvNxt = seqAdd(c.rcvNxt, 1)
  const shut = seqDiff(c.rcvNxt, c.rcvAdvertised) > 0
  if (shut) c.rcvAdvertised = c.rcvNxt
  c.receiveFinished = RECEIVE_FINISHED
  // Nothing comes behind it that a sender could repair otherwise: no duplicate is worth telling of (Linux tcp_fin).
  c.dsackPending = 0
  context.queueNews(c, NEWS_RECEIVE)
  // The application most likely closes too, now: the ACK may ride on our FIN (Linux tcp_fin). A peer that has sent nothing, but in its SYN, is answered at once.
  const mayWait = c.state === STATE_ESTABLISHED && c.dataSegmentsIn > 0 && !shut
  acknowledge(context, c, mayWait ? ACK_DELAYED : ACK_NOW)
  switch (c.state) {
    case STATE_ESTABLISHED:
      c.state = STATE_CLOSE_WAIT
      break
    case STATE_FIN_WAIT_1: // its ACK would have moved us to FIN-WAIT-2
      c.state = STATE_CLOSING
      break
    case STATE_FIN_WAIT_2:
      enterTimeWait(context, c, true)
      break
  }
}
