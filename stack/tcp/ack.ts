/**
 * The ACK field of an acceptable segment (RFC 9293 3.10.7.4, fifth step) and its SACK blocks: works them into the
 * scoreboard, frees what the peer has, takes round-trip samples, feeds recovery, moves the send window, and the states
 * that wait for the ACK of our FIN.
 *
 * Called by: input.ts. Calls: sack.ts, send-queue.ts, scoreboard.ts, rtt.ts, the recovery of the context, close.ts.
 */
import { FLAG_FIN, FLAG_RST } from '../wire/tcp.ts'
import { challengeAck } from './challenge.ts'
import { enterClosed, enterFinWait2, enterTimeWait } from './close.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { receiveEcho } from './ecn.ts'
import { endFastOpen, establish } from './handshake.ts'
import { isAccepting } from './listen.ts'
import { sampleHandshake, sampleRtt } from './rtt.ts'
import { processSack } from './sack.ts'
import type { Segment } from './segment.ts'
import { acknowledgeSent } from './send-queue.ts'
import { growSendLimit } from './send-tuning.ts'
import { seqAdd, seqDiff, seqLess } from './seq.ts'
import { sendReset } from './stateless.ts'
import {
  LOSS_TIMER_PERSIST,
  STATE_CLOSING,
  STATE_ESTABLISHED,
  STATE_FIN_WAIT_1,
  STATE_LAST_ACK,
  STATE_SYN_RECEIVED,
} from './states.ts'
import { disarmLossTimer, rearmLossTimer } from './timer-arming.ts'

/** @returns false if the segment is done with: refused, or the connection has ended */
export function processAck(context: TcpContext, c: Connection, segment: Segment): boolean {
  const ack = segment.acknowledgement
  const establishes = c.state === STATE_SYN_RECEIVED
  if (establishes && !acknowledgeSyn(context, c, segment)) return false
  if (seqLess(c.sndMax, ack)) {
    // RFC 9293: acknowledges what was never sent.
    context.counters.dropAck++
    challengeAck(context, c)
    return false
  }
  const acked = seqDiff(ack, c.sndUna)
  if (acked < 0) {
    // RFC 5961 5.2: older than the largest window can explain.
    if (-acked <= c.sndWndMax) {
      if (segment.sackBlocks > 0 && c.sackOn !== 0) processOldSack(context, c, segment)
      return true
    }
    context.counters.dropAck++
    challengeAck(context, c)
    return false
  }
  const { delivery } = context
  delivery.begin(context, c, segment)
  const deliveredBefore = c.deliveredSegments
  if (segment.sackBlocks > 0 && c.sackOn !== 0) processSack(context, c, segment, delivery)
  if (acked > 0) acknowledgeNew(context, c, ack, acked)
  else if (!establishes && isDuplicate(c, segment)) delivery.duplicate = 1
  if (c.ecnOn !== 0) receiveEcho(context, c, segment, delivery, c.deliveredSegments - deliveredBefore, establishes)
  if (acked > 0 || delivery.duplicate !== 0 || delivery.sackedBytes > 0 || delivery.dsack !== 0) {
    sampleRtt(c, delivery)
    context.recovery.onAck(c, delivery)
    growSendLimit(context, c)
    if (acked > 0) c.backoff = 0
    rearmLossTimer(context, c, acked > 0)
    context.queueOutput(c)
  }
  updateWindow(context, c, segment)
  if (acked > 0 && c.finQueued !== 0 && ack === seqAdd(c.sendEnd, 1)) return finAcknowledged(context, c)
  return true
}

/** An ACK that was overtaken: its number says nothing, but its blocks may still tell of an arrival (RFC 2018 5). */
function processOldSack(context: TcpContext, c: Connection, segment: Segment): void {
  const { delivery } = context
  delivery.begin(context, c, segment)
  processSack(context, c, segment, delivery)
  if (delivery.sackedBytes === 0 && delivery.dsack === 0) return
  context.recovery.onAck(c, delivery)
  rearmLossTimer(context, c, false)
  context.queueOutput(c)
}

/** The ACK of our SYN: established (RFC 9293 3.10.7.4, SYN-RECEIVED). */
function acknowledgeSyn(context: TcpContext, c: Connection, segment: Segment): boolean {
  const ack = segment.acknowledgement
  if (seqDiff(ack, c.iss) <= 0 || seqLess(c.sndMax, ack)) {
    context.counters.dropAck++
    sendReset(context, segment, ack, 0, FLAG_RST)
    return false
  }
  const known = c.fastOpenPending !== 0
  if (!known && c.listener !== undefined && !isAccepting(context, c.listener)) return false
  sampleHandshake(c, context.nowUs32, echoAge(context, c, segment))
  c.sndUna = seqAdd(c.iss, 1)
  establish(context, c)
  c.sndWnd = segment.window << c.sendScale
  if (known) endFastOpen(c)
  else if (c.listener !== undefined) {
    c.halfOpen = 0
    c.listener.halfOpen--
    c.listener.accepted++
  }
  if (c.finQueued !== 0) c.state = STATE_FIN_WAIT_1 // shutdown was called meanwhile
  context.queueOutput(c)
  if (!known) c.application.onAccept(c)
  return c.state !== 0
}

function acknowledgeNew(context: TcpContext, c: Connection, ack: number, acked: number): void {
  c.sndUna = ack
  context.ip.confirm(c)
  // The FIN's number is no byte of the queue.
  const bytes = seqDiff(ack, c.sendEnd) > 0 ? acked - 1 : acked
  acknowledgeSent(context, c, bytes)
  if (seqLess(c.sndNxt, ack)) c.sndNxt = ack
  context.delivery.ackedBytes = acked
  c.bytesAcked += acked
  context.scoreboard.acknowledge(c, context.delivery)
  c.progressMs = context.nowMs
}

/** RFC 5681 2: nothing new, nothing in it, the window as before, while data is in flight (a window probe is not). */
function isDuplicate(c: Connection, segment: Segment): boolean {
  return (
    c.sndUna !== c.sndNxt &&
    segment.payloadLength === 0 &&
    (segment.flags & FLAG_FIN) === 0 &&
    segment.window << c.sendScale === c.sndWnd
  )
}

/** RFC 9293 3.10.7.4: only from a segment that is not older than the last one that set the window. */
function updateWindow(context: TcpContext, c: Connection, segment: Segment): void {
  const newer = seqLess(c.sndWl1, segment.sequence)
  if (!newer && !(c.sndWl1 === segment.sequence && !seqLess(segment.acknowledgement, c.sndWl2))) return
  const window = segment.window << c.sendScale
  c.sndWl1 = segment.sequence
  c.sndWl2 = segment.acknowledgement
  if (window === c.sndWnd) return
  if (window > c.sndWnd) {
    if (c.lossTimer === LOSS_TIMER_PERSIST) {
      c.backoff = 0
      disarmLossTimer(context, c)
    }
    context.queueOutput(c)
  }
  c.sndWnd = window
  if (window > c.sndWndMax) c.sndWndMax = window
}

/** @returns false if that was the end of the connection */
function finAcknowledged(context: TcpContext, c: Connection): boolean {
  switch (c.state) {
    case STATE_FIN_WAIT_1:
      enterFinWait2(context, c)
      return true
    case STATE_CLOSING:
      enterTimeWait(context, c, false)
      return false
    case STATE_LAST_ACK:
      enterClosed(context, c)
      return false
    default:
      return c.state >= STATE_ESTABLISHED
  }
}

/** Age of the timestamp that the peer echoes, or -1. */
function echoAge(context: TcpContext, c: Connection, segment: Segment): number {
  if (segment.hasTimestamps === 0 || c.timestampsOn === 0) return -1
  return (context.nowMs + c.tsOffset - segment.timestampEcho) | 0
}
