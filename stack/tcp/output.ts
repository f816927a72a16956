/**
 * What a connection sends: SYN, data, FIN, ACK, probes. Called once a burst for every connection in the output list;
 * what is allowed to go is decided by windows, Nagle, the scoreboard and the fields that recovery and timers have set.
 *
 *   outputConnection ─► sendSyn                syn.ts
 *                    ─► upkeepPathMtu          what was learned of the path
 *                    ─► sendTailProbe          tailProbeDue
 *                    ─► sendLost               what the scoreboard says is lost, in order of sequence
 *                    ─► sendData               new data
 *                    ─► sendProbe              probePending (persist timer)
 *                    ─► sendAck                if nothing has carried it, and its SACK blocks, yet
 *                    ─► timers
 *
 * Calls: send-queue.ts (gather), segment-output.ts, scoreboard.ts, timer-arming.ts. Does not know recovery.ts.
 */
import { elapsed } from '../clock.ts'
import { DELAYED_ACK_MS, SEGMENTS_IN_FLIGHT_MAX } from '../limits.ts'
import { FLAG_ACK, FLAG_FIN, FLAG_PSH } from '../wire/tcp.ts'
import { noteWindowUse } from './congestion/validation.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { paceAllows, paceSent } from './pacing.ts'
import { probePayload, probeSent, upkeepPathMtu } from './path-mtu.ts'
import { recordLeft } from './records.ts'
import { appendRun, runBytes } from './runs.ts'
import { NO_SEGMENT, pipeBytes } from './scoreboard.ts'
import { segmentGather, writeSegment } from './segment-output.ts'
import { mayFill, maySendSmall, noteSent, pushesEnd } from './send-policy.ts'
import { acceptableSequence, clearGather, gatherSegment } from './send-queue.ts'
import { setSendWait, WAIT_BUSY, WAIT_QUEUE, WAIT_WINDOW } from './send-waits.ts'
import { seqAdd, seqDiff, seqLess, seqMax } from './seq.ts'
import {
  ACK_DELAYED,
  ACK_NOW,
  LOSS_TIMER_CORK,
  LOSS_TIMER_PERSIST,
  LOSS_TIMER_PROBE,
  LOSS_TIMER_REORDER,
  STATE_CLOSED,
  STATE_SYN_RECEIVED,
  STATE_SYN_SENT,
} from './states.ts'
import { sendSyn } from './syn.ts'
import {
  armCork,
  armDelayedAck,
  armPersist,
  armProbeOrRetransmission,
  armRetransmission,
  isLossTimerArmed,
} from './timer-arming.ts'

/** A constant of this module is not read through another one's cell at each use. */
const gather = segmentGather

export function outputConnection(context: TcpContext, c: Connection): void {
  if (c.state === STATE_CLOSED) return
  if (c.state === STATE_SYN_SENT || c.state === STATE_SYN_RECEIVED) {
    if (c.synPending !== 0) sendSyn(context, c)
    // RFC 7413 4.2.2: replies go at once. They are not repeated before the SYN-ACK is acknowledged: the timer is its own.
    if (c.fastOpenPending !== 0) sendData(context, c)
    if (c.ackPending >= ACK_NOW && c.state === STATE_SYN_RECEIVED) sendAck(context, c)
    return
  }
  if (c.mtuProbeBytes !== 0 || c.pathMtuGeneration !== context.pathMtus.generation) upkeepPathMtu(context, c)
  const sndNxt = c.sndNxt
  if (c.tailProbeDue !== 0) sendTailProbe(context, c)
  sendWaiting(context, c)
  if (c.probePending !== 0) sendProbe(context, c)
  if (c.ackPending >= ACK_NOW) sendAck(context, c)
  else if (c.ackPending === ACK_DELAYED) armDelayedAck(context, c)
  if (c.segmentHead !== NO_SEGMENT) {
    const waited = c.lossTimer === LOSS_TIMER_PERSIST || c.lossTimer === LOSS_TIMER_CORK
    const stale = waited || (c.lossTimer === LOSS_TIMER_PROBE && c.sndNxt !== sndNxt)
    if (stale || !isLossTimerArmed(context, c)) armProbeOrRetransmission(context, c)
  } else if (hasUnsent(c) && !isLossTimerArmed(context, c)) {
    if (c.corked !== 0 && c.corkDue === 0 && c.sndWnd > 0) armCork(context, c)
    else armPersist(context, c)
  }
}

/** What was lost, then what is new; the other way round when recovery wants to see whether anything was lost at all. */
function sendWaiting(context: TcpContext, c: Connection): void {
  if (c.holdRetransmissions !== 0) {
    c.holdRetransmissions = 0
    const sndNxt = c.sndNxt
    sendData(context, c)
    if (c.sndNxt !== sndNxt) return
  }
  c.congestionLimited = 0
  const sndNxt = c.sndNxt
  if (sendLost(context, c)) sendData(context, c)
  if (c.sndNxt !== sndNxt || c.congestionLimited !== 0) noteWindowUse(c)
}

/** Everything that windows and Nagle let go. */
function sendData(context: TcpContext, c: Connection): void {
  const restarts = c.sndUna === c.sndMax && hasUnsent(c) && c.sndWnd > 0 && c.lastSentMs !== 0
  if (restarts && context.tuning.slowStartAfterIdle)
    context.congestion.onRestart(c, elapsed(context.nowMs, c.lastSentMs))
  if (c.mtuProbeOn !== 0) sendMtuProbe(context, c)
  if (c.sendWait >= WAIT_WINDOW) setSendWait(context, c, WAIT_BUSY)
  for (;;) {
    const unsent = seqDiff(c.sendEnd, c.sndNxt)
    if (unsent < 0) return // the FIN has been sent
    const peerLeft = seqDiff(seqAdd(c.sndUna, c.sndWnd), c.sndNxt)
    const congestionLeft = c.congestionWindow + c.beyondWindowBytes - pipeBytes(c)
    const usable = Math.min(peerLeft, congestionLeft)
    if (unsent === 0) {
      // Only the FIN is left; it takes a number, and so a byte of the peer's window.
      if (c.finQueued !== 0 && peerLeft > 0) emit(context, c, FLAG_ACK | FLAG_FIN, 0)
      else if (c.spaceAwaited !== 0 && usable > 0 && c.sendWait === WAIT_BUSY) setSendWait(context, c, WAIT_QUEUE)
      return
    }
    if (usable <= 0 || c.segmentCount >= SEGMENTS_IN_FLIGHT_MAX) {
      if (congestionLeft <= 0) c.congestionLimited = 1
      else if (peerLeft <= 0) setSendWait(context, c, WAIT_WINDOW)
      return
    }
    if (c.beyondWindowBytes === 0 && !paceAllows(context, c)) {
      c.congestionLimited = 1
      return
    }
    const record = recordLeft(c)
    const run = runBytes(context, c, usable, Math.min(unsent, record))
    if (run > 0 && gatherRun(context, c, run)) {
      if (!emitData(context, c, unsent, record, peerLeft, c.sendMss)) return
      continue
    }
    const full = Math.min(c.sendMss, unsent, record)
    // Behind a cork full segments are wanted, views split or not.
    const whole = c.corked !== 0 || c.fullSegments !== 0 ? 0 : c.sendMss
    gatherSegment(context, gather, c.sendNextMeta, c.sendNextOffset, full, whole)
    if (gather.bytes > usable) {
      if (usable === congestionLeft) c.congestionLimited = 1
      else setSendWait(context, c, WAIT_WINDOW)
      if (!mayFill(c, usable, peerLeft)) return
      gatherSegment(context, gather, c.sendNextMeta, c.sendNextOffset, usable, whole)
    } else if (!maySendSmall(c, gather.bytes, unsent)) return
    if (!emitData(context, c, unsent, record, peerLeft, 0)) return
  }
}

/** Gathers a run of up to `limit` bytes. False: its views are so small that one frame takes hardly a segment of them. */
function gatherRun(context: TcpContext, c: Connection, limit: number): boolean {
  gatherSegment(context, gather, c.sendNextMeta, c.sendNextOffset, limit, 0)
  if (gather.bytes === limit) return true
  const whole = gather.bytes - (gather.bytes % c.sendMss)
  if (whole <= c.sendMss) return false
  if (whole < gather.bytes) gatherSegment(context, gather, c.sendNextMeta, c.sendNextOffset, whole, 0)
  return true
}

/**
 * Sends the gathered data with the flags it has.
 * @param unsent bytes that wait, @param record of these up to the end of what is one record
 * @param segmentBytes of each segment of a run, or 0
 */
function emitData(
  context: TcpContext,
  c: Connection,
  unsent: number,
  record: number,
  peerLeft: number,
  segmentBytes: number,
): boolean {
  const last = gather.bytes === unsent
  const push = (last && pushesEnd(c)) || gather.bytes === record
  const fin = last && c.finQueued !== 0 && gather.bytes < peerLeft
  return emit(context, c, FLAG_ACK | (push ? FLAG_PSH : 0) | (fin ? FLAG_FIN : 0), segmentBytes)
}

/** A segment that is longer than the others, to see whether it arrives (RFC 4821 7.4), where there is occasion. */
function sendMtuProbe(context: TcpContext, c: Connection): void {
  const payload = probePayload(context, c)
  if (payload === 0 || payload > recordLeft(c)) return
  gatherSegment(context, gather, c.sendNextMeta, c.sendNextOffset, payload, 0)
  // Of too many small views no long segment can be made.
  if (gather.bytes === payload && emit(context, c, FLAG_ACK, 0)) probeSent(context, c, payload)
}

/**
 * Everything that counts as lost, as far as the windows let it go (RFC 6675 5 (C)).
 * @returns true if nothing is left waiting, so that new data may go
 */
function sendLost(context: TcpContext, c: Connection): boolean {
  const { scoreboard } = context
  for (;;) {
    const segment = scoreboard.nextLost(c)
    if (segment === NO_SEGMENT) return true
    if (c.congestionWindow - pipeBytes(c) < Math.min(scoreboard.length(segment), c.sendMss)) {
      c.congestionLimited = 1
      return false
    }
    if (!paceAllows(context, c)) return false
    // A peer that has shrunk its window gets only the first segment, which asks it (RFC 9293 3.8.6).
    const first = segment === c.segmentHead
    if (!first && isBeyondWindow(c, scoreboard.end(segment))) return false
    if (!sendAgain(context, c, segment)) return false
    if (c.repairsSent++ === 0) c.repairMs = context.nowMs
    c.repairSegments++
    if (first && c.lossTimer !== LOSS_TIMER_REORDER) armRetransmission(context, c)
  }
}

/** One segment of the scoreboard, or as much of it as a segment takes by now. @returns false if there was no buffer */
function sendAgain(context: TcpContext, c: Connection, segment: number): boolean {
  const { scoreboard } = context
  const start = scoreboard.start(segment)
  const end = scoreboard.end(segment)
  const fin = seqDiff(end, c.sendEnd) > 0
  const payload = seqDiff(end, start) - (fin ? 1 : 0)
  if (payload > 0) {
    const limit = Math.min(payload, c.sendMss)
    gatherSegment(context, gather, scoreboard.meta(segment), scoreboard.offset(segment), limit, c.sendMss)
  } else clearGather(gather)
  const whole = gather.bytes === payload
  const push = whole && scoreboard.isPushed(segment)
  const flags = FLAG_ACK | (push ? FLAG_PSH : 0) | (fin && whole ? FLAG_FIN : 0)
  if (!writeSegment(context, c, start, flags, false, 0)) return false
  if (!whole) scoreboard.split(c, segment, seqAdd(start, gather.bytes), gather.nextMeta, gather.nextOffset)
  scoreboard.retransmitted(c, segment, context.nowUs32)
  countRetransmission(context, c, gather.bytes)
  paceSent(context, c, gather.bytes)
  c.prrOutBytes += gather.bytes
  c.lastSentMs = context.nowMs
  return true
}

/** RFC 8985 7.3: a new segment, whatever the congestion window says; without one, the last segment again. */
function sendTailProbe(context: TcpContext, c: Connection): void {
  c.tailProbeDue = 0
  if (c.segmentHead === NO_SEGMENT) return
  const sndNxt = c.sndNxt
  c.beyondWindowBytes = Math.max(pipeBytes(c) + c.sendMss - c.congestionWindow, 0)
  sendData(context, c)
  c.beyondWindowBytes = 0
  c.tailProbeRepeats = c.sndNxt === sndNxt ? 1 : 0
  if (c.tailProbeRepeats !== 0) {
    if (isBeyondWindow(c, c.sndNxt)) {
      armRetransmission(context, c)
      return
    }
    if (!sendAgain(context, c, c.segmentTail)) return
    if (c.repairsSent === 0) c.repairMs = context.nowMs
  }
  context.counters.tailProbes++
  c.tailProbeOn = 1
  c.tailProbeStart = c.sndUna
  c.tailProbeEnd = c.sndNxt
  armRetransmission(context, c)
}

/** The persist timer fired and the window did not take anything: one byte beyond it (RFC 9293 3.8.6.1), or a question without one. */
function sendProbe(context: TcpContext, c: Connection): void {
  c.probePending = 0
  if (c.sndNxt !== c.sndUna || !hasUnsent(c)) return
  if (context.tuning.windowProbeBytes === 0) {
    if (c.probesUnanswered === 1 && c.backoff === 1) c.progressMs = context.nowMs
    ask(context, c)
  } else if (!sendProbeByte(context, c)) return
  context.counters.zeroWindowProbes++
}

/** The byte counts as sent, for its ACK, but not as in flight: it is the timer's business. */
function sendProbeByte(context: TcpContext, c: Connection): boolean {
  const sequence = c.sndUna
  const isFin = c.sendEnd === sequence
  if (isFin) clearGather(gather)
  else gatherSegment(context, gather, c.sendHead, c.sendHeadOffset, 1, c.sendMss)
  if (!writeSegment(context, c, sequence, isFin ? FLAG_ACK | FLAG_FIN : FLAG_ACK, false, 0)) return false
  if (c.sndMax === sequence) c.progressMs = context.nowMs
  else countRetransmission(context, c, gather.bytes)
  c.sndMax = seqMax(c.sndMax, seqAdd(sequence, 1))
  return true
}

/** RFC 9293 3.8.4. */
export function sendKeepAlive(context: TcpContext, c: Connection): void {
  ask(context, c)
  context.counters.keepAliveProbes++
}

/** A segment that makes a live peer answer: empty, with a number left of its window (RFC 9293 3.10.7.4, first step). */
function ask(context: TcpContext, c: Connection): void {
  clearGather(gather)
  writeSegment(context, c, seqAdd(c.sndUna, -1), FLAG_ACK, false, 0)
}

/** An ACK of its own, with all that there is to say. */
export function sendAck(context: TcpContext, c: Connection): void {
  clearGather(gather)
  writeSegment(context, c, acceptableSequence(c), FLAG_ACK, false, 0)
}

/**
 * Sends the gathered payload, or nothing but the FIN, at sndNxt and moves sndNxt behind it.
 * @param segmentBytes the payload is a run of segments of so many bytes; 0: it is one segment
 * @returns false if there was no buffer for the header
 */
function emit(context: TcpContext, c: Connection, flags: number, segmentBytes: number): boolean {
  const sequence = c.sndNxt
  const meta = c.sendNextMeta
  const offset = c.sendNextOffset
  const withData = seqDiff(c.sendEnd, sequence) > 0
  if (!withData) clearGather(gather)
  const repeated = seqLess(sequence, c.sndMax) // went with the SYN, or begins with the byte of a window probe
  if (!writeSegment(context, c, sequence, flags, withData && !repeated, segmentBytes)) return false
  if (withData) {
    c.sendNextMeta = gather.nextMeta
    c.sendNextOffset = gather.nextOffset
    if (c.quickAcks > 0) converse(context, c)
  }
  const end = seqAdd(sequence, gather.bytes + (flags & FLAG_FIN))
  if (repeated) countRetransmission(context, c, gather.bytes)
  else if (c.sndUna === c.sndMax) c.progressMs = context.nowMs
  const pushed = (flags & FLAG_PSH) !== 0
  if (segmentBytes > 0) appendRun(context, c, sequence, meta, offset, gather.bytes, end, pushed)
  else context.scoreboard.append(c, sequence, end, meta, offset, context.nowUs32, repeated, pushed)
  if (!repeated) noteSent(c, gather.bytes, end)
  paceSent(context, c, gather.bytes)
  c.prrOutBytes += gather.bytes
  c.lastSentMs = context.nowMs
  c.sndNxt = end
  c.sndMax = seqMax(c.sndMax, end)
  return true
}

/** @param bytes payload that was sent before */
function countRetransmission(context: TcpContext, c: Connection, bytes: number): void {
  context.counters.retransmitted++
  c.totalRetransmitted++
  c.bytesRetransmitted += bytes
}

/** Data is sent: an answer to what the peer has sent says that ACKs can wait for the next one. */
function converse(context: TcpContext, c: Connection): void {
  if (c.dataSegmentsIn > 0 && elapsed(context.nowMs, c.lastDataMs) < DELAYED_ACK_MS) c.quickAcks = 0
}

/** Sent when the peer's window was larger. */
function isBeyondWindow(c: Connection, end: number): boolean {
  return seqLess(seqAdd(c.sndUna, c.sndWnd), end)
}

function hasUnsent(c: Connection): boolean {
  return seqDiff(seqAdd(c.sendEnd, c.finQueued), c.sndNxt) > 0
}
