/**
 * A TCP segment comes in (RFC 9293 3.10.7). Checks in strict order, cheapest first, one counter a reason:
 *
 *   tcpInput ─► checksum ─► table ─► nobody: listenInput, or RST
 *                                ─► TIME-WAIT row: timeWaitInput
 *                                ─► connection: synSentInput
 *                                               connectionInput: PAWS, sequence, RST, SYN, ACK (ack.ts), data (data.ts)
 *
 * Called by: tcp.ts, once per segment. Only marks what is to be sent or told; that happens at the end of the burst.
 */
import { NO_META } from '../../storage/layout.ts'
import { elapsed } from '../clock.ts'
import { PAWS_AGE_MS } from '../limits.ts'
import type { ReceivedPacket } from '../packet.ts'
import { FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, FLAG_URG, TCP_HEADER_BYTES } from '../wire/tcp.ts'
import { processAck } from './ack.ts'
import { acknowledge, acknowledgeBefore, acknowledgeDisorder } from './acknowledge.ts'
import { CLOSE_REFUSED, CLOSE_RESET } from './application.ts'
import { challengeAck } from './challenge.ts'
import { endConnection } from './close.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { receiveData, receiveRest } from './data.ts'
import { reportDuplicate } from './dsack.ts'
import { noteInvalid, repeatNegotiation } from './ecn.ts'
import { endSynData } from './fast-open-client.ts'
import { segmentSumIsRight } from './frame.ts'
import { establish, negotiate } from './handshake.ts'
import { listenInput } from './listen.ts'
import { reserveOption } from './path-mtu.ts'
import { sampleHandshake } from './rtt.ts'
import { Segment } from './segment.ts'
import { seqAdd, seqDiff, seqInWindow, seqLess } from './seq.ts'
import { NO_SLOT } from './slots.ts'
import { sendResetFor, sendTimeWaitAck } from './stateless.ts'
import { ACK_NOW, FAST_OPEN_NONE, STATE_ESTABLISHED, STATE_SYN_RECEIVED, STATE_SYN_SENT } from './states.ts'
import { heardPeer } from './timer-arming.ts'

const segment = new Segment()

/** @returns true if the arrival buffer's reference was taken over */
export function tcpInput(context: TcpContext, packet: ReceivedPacket): boolean {
  const counters = context.counters
  counters.received++
  if (packet.length < TCP_HEADER_BYTES) {
    counters.dropShort++
    return false
  }
  if (!segmentSumIsRight(packet)) {
    counters.dropChecksum++
    return false
  }
  if (packet.rest !== NO_META) return partsInput(context, packet)
  if (!segment.read(packet)) {
    counters.dropShort++
    return false
  }
  dispatch(context)
  return segment.bufferTaken !== 0
}

/**
 * A segment that came in several buffers, because of fragments or in a long frame. Its first part is worked off as a
 * segment of its own. If it was taken in order the rest follows as it lies; else part by part, as if the peer had sent
 * smaller segments. The last one has the FIN. The header must lie in the first part (RFC 1858 3).
 */
function partsInput(context: TcpContext, packet: ReceivedPacket): boolean {
  const restBytes = packet.length - packet.firstLength
  if (packet.firstLength < TCP_HEADER_BYTES) {
    context.counters.dropShort++
    return false
  }
  packet.length = packet.firstLength
  packet.sum = packet.firstSum
  if (!segment.read(packet)) {
    context.counters.dropShort++
    return false
  }
  segment.wholeLength += restBytes
  const fin = segment.flags & FLAG_FIN
  const flags = segment.flags & ~(FLAG_FIN | FLAG_SYN)
  const sequence = seqAdd(segment.sequence, segment.sequenceLength - fin)
  segment.flags &= ~FLAG_FIN
  dispatch(context)
  const firstTaken = segment.bufferTaken !== 0
  const c = connectionOf(context)
  if (firstTaken && c !== undefined && receiveRest(context, c, packet, segment.payloadLength, sequence, restBytes)) {
    if (fin === 0) return true
    segment.readEnd(seqAdd(sequence, restBytes))
    segment.flags = flags | fin
    dispatch(context)
  } else restInput(context, packet, sequence, flags, fin)
  return firstTaken
}

/** The parts behind the first one, each as a segment. */
function restInput(context: TcpContext, packet: ReceivedPacket, first: number, flags: number, fin: number): void {
  const { pool } = context
  let sequence = first
  while (packet.rest !== NO_META) {
    // The first part was refused, or has ended the connection: no other is worth an answer.
    if (connectionOf(context) === undefined) return
    const line = packet.rest
    segment.readPart(pool, line, sequence)
    packet.rest = pool.next(line)
    segment.flags = packet.rest === NO_META ? flags | fin : flags
    sequence = seqAdd(sequence, segment.payloadLength)
    pool.retainBuffer(segment.buffer)
    pool.release(line)
    dispatch(context)
    if (segment.bufferTaken === 0) pool.releaseBuffer(segment.buffer)
  }
}

/** Whose segment it is; undefined: nobody's, or of a connection in TIME-WAIT. */
function connectionOf(context: TcpContext): Connection | undefined {
  const slot = context.demux.lookup(segment)
  return slot === NO_SLOT || slot >= context.connectionsMax ? undefined : context.connections[slot]
}

/** To whom it belongs. */
function dispatch(context: TcpContext): void {
  if ((segment.flags & FLAG_URG) !== 0) context.counters.urgentIgnored++
  const slot = context.demux.lookup(segment)
  if (slot === NO_SLOT) noConnection(context)
  else if (slot >= context.connectionsMax) timeWaitInput(context, context.timeWaits.rowOfSlot(slot))
  else {
    const c = context.connections[slot]!
    c.segmentsIn += 1 - segment.isPart
    if (segment.payloadLength > 0) c.dataSegmentsIn += 1 - segment.isPart
    if (c.state === STATE_SYN_SENT) synSentInput(context, c)
    else connectionInput(context, c)
  }
}

/** RFC 9293 3.10.7.1, 3.10.7.2. */
function noConnection(context: TcpContext): void {
  const listener = context.listeners.get(segment.localPort)
  if (listener !== undefined) {
    const c = listenInput(context, listener, segment)
    if (c !== undefined) connectionInput(context, c)
    return
  }
  context.counters.dropNoConnection++
  sendResetFor(context, segment)
}

/** RFC 9293 3.10.7.3. */
function synSentInput(context: TcpContext, c: Connection): void {
  const flags = segment.flags
  const acknowledged = (flags & FLAG_ACK) !== 0
  // First: the ACK. Only our SYN can be acknowledged, and data that went with it; and only its timestamp be echoed.
  if (acknowledged && (!acknowledgesSyn(c) || echoesAnother(context, c))) {
    context.counters.dropAck++
    sendResetFor(context, segment)
    return
  }
  if ((flags & FLAG_RST) !== 0) {
    if (!acknowledged) {
      context.counters.dropReset++
      return
    }
    context.counters.resetsReceived++
    endConnection(context, c, CLOSE_REFUSED)
    return
  }
  if ((flags & FLAG_SYN) === 0) {
    context.counters.dropNoAck++
    return
  }
  negotiate(context, c, segment)
  c.lastHeardMs = context.nowMs
  if (!acknowledged) {
    // Simultaneous open: our SYN again, now with an ACK, and without what it said of Fast Open.
    c.fastOpenOption = FAST_OPEN_NONE
    c.state = STATE_SYN_RECEIVED
    c.synPending = 1
    context.queueOutput(c)
    return
  }
  const echoMs = segment.hasTimestamps !== 0 ? (context.nowMs + c.tsOffset - segment.timestampEcho) | 0 : -1
  sampleHandshake(c, context.nowUs32, echoMs)
  c.sndUna = seqAdd(c.iss, 1)
  c.bytesAcked = 1
  establish(context, c)
  reserveOption(context, c)
  endSynData(context, c, segment)
  c.ackPending = ACK_NOW
  context.queueOutput(c)
  c.application.onAccept(c)
  if (c.state !== STATE_ESTABLISHED) return
  // RFC 9293 3.10.7.3, fifth: what came with the SYN-ACK.
  segment.sequence = c.rcvNxt
  segment.flags &= ~FLAG_SYN
  if (segment.payloadLength > 0 || (segment.flags & FLAG_FIN) !== 0) receiveData(context, c, segment)
}

function acknowledgesSyn(c: Connection): boolean {
  return seqDiff(segment.acknowledgement, c.iss) > 0 && !seqLess(c.sndMax, segment.acknowledgement)
}

/** A timestamp that none of our SYNs had (RFC 7323 3.2; Linux tcp_rcv_synsent_state_process). */
function echoesAnother(context: TcpContext, c: Connection): boolean {
  if (segment.hasTimestamps === 0 || !context.timestamps || segment.timestampEcho === 0) return false
  const ageMs = (context.nowMs + c.tsOffset - segment.timestampEcho) | 0
  return ageMs < 0 || ageMs > ((context.nowMs - c.progressMs) | 0)
}

/** RFC 9293 3.10.7.4: every state from SYN-RECEIVED on. */
function connectionInput(context: TcpContext, c: Connection): void {
  const flags = segment.flags
  if (c.state === STATE_SYN_RECEIVED && (flags & FLAG_SYN) !== 0 && segment.sequence === c.irs) {
    if ((flags & FLAG_ACK) === 0) {
      // The SYN again: our SYN-ACK was lost.
      repeatNegotiation(c, segment)
      c.synPending = 1
      context.queueOutput(c)
      return
    }
    // Simultaneous open: the peer's SYN-ACK. Its SYN is known, its ACK is what counts.
    segment.sequence = c.rcvNxt
    segment.flags = flags & ~FLAG_SYN
    if (c.sendScale > 0) segment.window >>= c.sendScale // RFC 7323 2.2: that of a SYN is not scaled
  }
  const timed = segment.hasTimestamps !== 0 && c.timestampsOn !== 0
  if (timed && isOldByTimestamp(context, c)) {
    context.counters.dropPaws++
    acknowledgeInvalid(context, c)
    return
  }
  if (!isAcceptable(c)) {
    context.counters.dropSequence++
    if ((flags & FLAG_RST) === 0) acknowledgeInvalid(context, c)
    return
  }
  if (timed) recordTimestamp(context, c)
  if ((flags & FLAG_RST) !== 0) {
    resetInput(context, c)
    return
  }
  if ((segment.flags & FLAG_SYN) !== 0) {
    context.counters.dropSyn++ // RFC 5961 4.2
    noteInvalid(context, c, segment, true)
    challengeAck(context, c)
    return
  }
  if ((flags & FLAG_ACK) === 0) {
    context.counters.dropNoAck++
    return
  }
  heardPeer(context, c)
  if (!processAck(context, c, segment)) return
  if (segment.payloadLength > 0 || (segment.flags & FLAG_FIN) !== 0) receiveData(context, c, segment)
}

/** PAWS, RFC 7323 5.3 (R1); a tsRecent older than 24 days proves nothing (5.5). RST is exempt (5.2). */
function isOldByTimestamp(context: TcpContext, c: Connection): boolean {
  if (((segment.timestampValue - c.tsRecent) | 0) >= 0 || (segment.flags & FLAG_RST) !== 0) return false
  return elapsed(context.nowMs, c.tsRecentMs) < PAWS_AGE_MS
}

/**
 * RFC 7323 4.3 and 5.3 (R3): the timestamp of the segment that spans the last ACK sent is the one to echo. What lies left
 * of the window does not count (R2): a needless retransmission would have PAWS refuse what was sent before it and comes
 * behind it. And only with an ACK that the peer can have sent (RFC 5961 5.2), for a blind guess would have it refuse all.
 */
function recordTimestamp(context: TcpContext, c: Connection): void {
  const left = seqDiff(c.lastAckSent, segment.sequence)
  if (left < 0 || left > c.receiveLimitBytes || (segment.flags & (FLAG_RST | FLAG_ACK)) !== FLAG_ACK) return
  const acked = seqDiff(segment.acknowledgement, c.sndUna)
  if (acked < -c.sndWndMax || seqLess(c.sndMax, segment.acknowledgement)) return
  c.tsRecent = segment.timestampValue
  c.tsRecentMs = context.nowMs
}

/**
 * RFC 9293 table 6, with two allowances: an empty segment may stand exactly at the right edge, where a peer that has
 * filled the window acknowledges from; and a probe into a closed window is accepted for its ACK, without its byte, a FIN
 * with it.
 */
function isAcceptable(c: Connection): boolean {
  const window = seqDiff(c.rcvAdvertised, c.rcvNxt)
  const length = segment.sequenceLength
  const distance = seqDiff(segment.sequence, c.rcvNxt)
  if (length === 0) return distance >= 0 && distance <= window
  if (window === 0) {
    if (distance !== 0 || (segment.flags & FLAG_SYN) !== 0) return false
    // A FIN alone needs no room, and comes again and again until it is taken (Linux tcp_data_queue).
    if (segment.payloadLength === 0) return true
    segment.payloadLength = 0
    segment.flags &= ~FLAG_FIN
    c.ackPending = ACK_NOW
    c.context.queueOutput(c)
    return true
  }
  return (distance >= 0 && distance < window) || seqInWindow(seqAdd(segment.sequence, length - 1), c.rcvNxt, window)
}

/** An ACK tells the peer where we are; empty segments get one at most every 500 ms, so that two ends cannot ping-pong. */
function acknowledgeInvalid(context: TcpContext, c: Connection): void {
  if (segment.sequenceLength === 0) {
    if (elapsed(context.nowMs, c.invalidAckMs) < context.tuning.invalidAckIntervalMs) return
    c.invalidAckMs = context.nowMs
    acknowledge(context, c, ACK_NOW)
    return
  }
  acknowledgeBefore(context, c, segment)
  noteInvalid(context, c, segment, (segment.flags & FLAG_SYN) !== 0)
  context.counters.duplicateBytes += segment.payloadLength
  // What lies right of rcvNxt was refused for another reason.
  const end = seqAdd(segment.sequence, segment.payloadLength)
  reportDuplicate(c, segment.sequence, seqLess(end, c.rcvNxt) ? end : c.rcvNxt)
  acknowledgeDisorder(context, c)
}

/** RFC 5961 3.2: only the exact next number resets; anything else in the window is asked back. */
function resetInput(context: TcpContext, c: Connection): void {
  if (segment.sequence !== c.rcvNxt) {
    context.counters.dropReset++
    challengeAck(context, c)
    return
  }
  context.counters.resetsReceived++
  const refused = c.state === STATE_SYN_RECEIVED && c.listener === undefined
  endConnection(context, c, refused ? CLOSE_REFUSED : CLOSE_RESET)
}

/** RFC 9293 3.10.7.4 for TIME-WAIT, RFC 1337, RFC 6191. */
function timeWaitInput(context: TcpContext, row: number): void {
  const rows = context.timeWaits
  const flags = segment.flags
  if ((flags & FLAG_RST) !== 0) {
    context.counters.dropReset++ // RFC 1337 fix F1: nobody ends TIME-WAIT early
    return
  }
  const withTimestamps = rows.timestampsOn[row] !== 0 && segment.hasTimestamps !== 0
  const newer = withTimestamps && ((segment.timestampValue - rows.tsRecent[row]!) | 0) > 0
  if ((flags & FLAG_SYN) !== 0 && (flags & FLAG_ACK) === 0) {
    // RFC 6191 2: a new incarnation, if its timestamp or its number is beyond the old one's.
    const same = withTimestamps && segment.timestampValue === rows.tsRecent[row]
    if (newer || ((same || !withTimestamps) && seqLess(rows.rcvNxt[row]!, segment.sequence))) {
      rows.remove(row)
      context.counters.timeWaitsReused++
      noConnection(context)
      return
    }
  }
  if ((flags & FLAG_FIN) !== 0 && seqAdd(segment.sequence, segment.sequenceLength) === rows.rcvNxt[row])
    rows.restart(row, context.nowMs)
  if (segment.sequenceLength > 0 || segment.sequence !== rows.rcvNxt[row]) sendTimeWaitAck(context, segment, row)
}
