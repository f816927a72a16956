/**
 * What a connection knows of itself, as the fields of Linux's struct tcp_info (include/uapi/linux/tcp.h): names are those
 * of the structure in camel case (tcpi_snd_cwnd is sndCwnd), numbers have its units, so that tools and scripts which read
 * the one can read the other. Fields that Linux has and this stack has no number for are absent.
 *
 * Segments are counted where Linux counts packets. What can be had by walking the segments in flight is not counted
 * while packets flow; so a call costs as much as there is in flight.
 *
 * Called by: applications, tools, tests. Never by the stack.
 */
import { elapsed } from '../clock.ts'
import { DELAYED_ACK_MS } from '../limits.ts'
import { FIELD_CAPABLE_0, FIELD_CAPABLE_1, FIELD_CONGESTED } from './accurate-ecn-option.ts'
import { THRESHOLD_START } from './congestion/slow-start.ts'
import type { Connection } from './connection.ts'
import { pacingRate } from './pacing.ts'
import { currentRtoMs } from './rtt.ts'
import { NO_SEGMENT } from './scoreboard.ts'
import { maximumSegmentSize } from './segment-size.ts'
import { WAIT_BUSY, WAIT_QUEUE, WAIT_WINDOW, waitedMs } from './send-waits.ts'
import { seqDiff } from './seq.ts'
import {
  LOSS_TIMER_PERSIST,
  RECOVERY_FAST,
  RECOVERY_NONE,
  STATE_CLOSE_WAIT,
  STATE_CLOSED,
  STATE_CLOSING,
  STATE_ESTABLISHED,
  STATE_FIN_WAIT_1,
  STATE_FIN_WAIT_2,
  STATE_LAST_ACK,
  STATE_SYN_RECEIVED,
  STATE_SYN_SENT,
} from './states.ts'

/* tcpi_ca_state. */
export const CA_OPEN = 0
export const CA_DISORDER = 1
/** A reduction without loss, for ECN. */
export const CA_CWR = 2
export const CA_RECOVERY = 3
export const CA_LOSS = 4

/* Bits of tcpi_options. */
export const OPTION_TIMESTAMPS = 1
export const OPTION_SACK = 2
export const OPTION_WINDOW_SCALE = 4
export const OPTION_ECN = 8
/** The peer's packets can be marked. */
export const OPTION_ECN_SEEN = 16
/** All the data of the SYN was taken, by whichever side got it (RFC 7413). */
export const OPTION_SYN_DATA = 32

/** tcpi_snd_ssthresh before the first loss: Linux's TCP_INFINITE_SSTHRESH. */
export const THRESHOLD_UNKNOWN = 0x7fffffff
/** tcpi_min_rtt before the first sample. */
export const RTT_UNKNOWN = 0xffffffff

/** tcpi_state of each STATE_ (Linux net/tcp_states.h). */
const LINUX_STATES = new Map([
  [STATE_ESTABLISHED, 1],
  [STATE_SYN_SENT, 2],
  [STATE_SYN_RECEIVED, 3],
  [STATE_FIN_WAIT_1, 4],
  [STATE_FIN_WAIT_2, 5],
  [STATE_CLOSED, 7],
  [STATE_CLOSE_WAIT, 8],
  [STATE_LAST_ACK, 9],
  [STATE_CLOSING, 11],
])

/** An all-zero record: tcpInfo fills it, again and again. */
export class TcpInfo {
  state = 0
  caState = 0
  /** Time-outs, and unanswered window probes, since the last progress. */
  retransmits = 0
  probes = 0
  backoff = 0
  /** OPTION_ bits. */
  options = 0
  sndWscale = 0
  rcvWscale = 0

  /** Microseconds, backoff included. */
  rto = 0
  /** Microseconds by which an ACK may be delayed. */
  ato = 0
  sndMss = 0
  /** The largest payload that came. */
  rcvMss = 0

  /* Segments in flight: all; SACKed; counted as lost, sent again or not; sent again and on their way. */
  unacked = 0
  sacked = 0
  lost = 0
  retrans = 0

  /* Milliseconds since. */
  lastDataSent = 0
  lastDataRecv = 0
  lastAckRecv = 0

  /** Bytes. */
  pmtu = 0
  /** Bytes: the receive window when nothing waits. */
  rcvSsthresh = 0
  /** Microseconds, 0: not measured; and most bytes read in that time. */
  rcvRtt = 0
  rcvSpace = 0
  /** Microseconds. */
  rtt = 0
  rttvar = 0
  /** Bytes a second at which segments are, or would be, paced; Infinity: not known. */
  pacingRate = 0
  /** Segments; THRESHOLD_UNKNOWN: none yet. */
  sndSsthresh = 0
  /** Segments. */
  sndCwnd = 0
  advmss = 0
  /** Segments by which the path was seen to reorder, at least 3. */
  reordering = 0
  /** Times that reordering was seen. */
  reordSeen = 0

  /** Microseconds with something to send; of these, those in which the peer's window, or too short a send queue, was in the way. */
  busyTime = 0
  rwndLimited = 0
  sndbufLimited = 0

  /** Segments sent again, SYNs among them. */
  totalRetrans = 0
  /** Sequence numbers acknowledged by the peer; bytes received in order. */
  bytesAcked = 0
  bytesReceived = 0
  /** Payload sent, retransmissions included; retransmissions alone. */
  bytesSent = 0
  bytesRetrans = 0
  segsOut = 0
  segsIn = 0
  dataSegsOut = 0
  dataSegsIn = 0
  /** Bytes queued that were never sent. */
  notsentBytes = 0
  /** Microseconds; RTT_UNKNOWN: none yet. */
  minRtt = 0
  /** Segments known to have arrived, the SYN among them. */
  delivered = 0
  /** Of these, those whose ACKs echoed a mark. */
  deliveredCe = 0
  /** RFC 9768: bytes that arrived in each ECN field, there and here; ACE_ and OPTION_ failures, what was seen of its option. */
  deliveredE1Bytes = 0
  deliveredE0Bytes = 0
  deliveredCeBytes = 0
  receivedE1Bytes = 0
  receivedE0Bytes = 0
  receivedCeBytes = 0
  accecnFailMode = 0
  accecnOptSeen = 0
  dsackDups = 0
  /** The peer's window, bytes. */
  sndWnd = 0
}

/** Fills `into` with the state of a connection. @returns `into` */
export function tcpInfo(c: Connection, into: TcpInfo): TcpInfo {
  const { context } = c
  into.state = LINUX_STATES.get(c.state)!
  into.caState = congestionState(c)
  into.retransmits = c.lossTimer === LOSS_TIMER_PERSIST ? 0 : c.backoff
  into.probes = c.probesUnanswered
  into.backoff = c.backoff
  into.options = optionBits(c)
  into.sndWscale = Math.max(c.sendScale, 0)
  into.rcvWscale = c.receiveScale
  into.rto = currentRtoMs(c) * 1000
  into.ato = DELAYED_ACK_MS * 1000
  into.sndMss = c.sendMss
  into.rcvMss = c.peerSegmentBytes
  countInFlight(c, into)
  into.lastDataSent = elapsed(context.nowMs, c.lastSentMs)
  into.lastDataRecv = elapsed(context.nowMs, c.lastDataMs)
  into.lastAckRecv = elapsed(context.nowMs, c.lastHeardMs)
  into.pmtu = c.pathMtu
  into.rcvSsthresh = c.receiveWindowBytes
  into.rcvRtt = c.receiveRttUs
  into.rcvSpace = c.receiveSpaceBytes
  into.pacingRate = pacingRate(c)
  into.rtt = c.srttUs
  into.rttvar = c.rttVarianceUs
  const unknown = c.slowStartThreshold === THRESHOLD_START
  into.sndSsthresh = unknown ? THRESHOLD_UNKNOWN : Math.trunc(c.slowStartThreshold / c.sendMss)
  into.sndCwnd = Math.trunc(c.congestionWindow / c.sendMss)
  into.advmss = maximumSegmentSize(context, c)
  into.reordering = c.reorderingSegments
  into.reordSeen = c.reorderingsSeen
  into.busyTime = waitedMs(context, c, WAIT_BUSY) * 1000
  into.rwndLimited = waitedMs(context, c, WAIT_WINDOW) * 1000
  into.sndbufLimited = waitedMs(context, c, WAIT_QUEUE) * 1000
  into.totalRetrans = c.totalRetransmitted
  into.bytesAcked = c.bytesAcked
  into.bytesReceived = c.bytesReceived
  into.bytesSent = c.bytesSent
  into.bytesRetrans = c.bytesRetransmitted
  into.segsOut = c.segmentsOut
  into.segsIn = c.segmentsIn
  into.dataSegsOut = c.dataSegmentsOut
  into.dataSegsIn = c.dataSegmentsIn
  into.notsentBytes = Math.max(seqDiff(c.sendEnd, c.sndNxt), 0)
  into.minRtt = c.minRttUs === 0 ? RTT_UNKNOWN : c.minRttUs
  into.delivered = c.deliveredSegments
  into.deliveredCe = c.deliveredMarkedSegments
  countAccurately(c, into)
  into.dsackDups = c.duplicateSacks
  into.sndWnd = c.sndWnd
  return into
}

function congestionState(c: Connection): number {
  if (c.recoveryState === RECOVERY_FAST) return CA_RECOVERY
  if (c.recoveryState !== RECOVERY_NONE) return CA_LOSS
  if (c.ecnReducing !== 0) return CA_CWR
  return c.sackedBytes > 0 || c.duplicateAcks > 0 ? CA_DISORDER : CA_OPEN
}

function countAccurately(c: Connection, into: TcpInfo): void {
  const a = c.accurateEcn
  into.deliveredE1Bytes = a?.deliveredBytes[FIELD_CAPABLE_1] ?? 0
  into.deliveredE0Bytes = a?.deliveredBytes[FIELD_CAPABLE_0] ?? 0
  into.deliveredCeBytes = a?.deliveredBytes[FIELD_CONGESTED] ?? 0
  into.receivedE1Bytes = a?.receivedBytes[FIELD_CAPABLE_1] ?? 0
  into.receivedE0Bytes = a?.receivedBytes[FIELD_CAPABLE_0] ?? 0
  into.receivedCeBytes = a?.receivedBytes[FIELD_CONGESTED] ?? 0
  into.accecnFailMode = a?.failures ?? 0
  into.accecnOptSeen = a?.optionSeen ?? 0
}

function optionBits(c: Connection): number {
  const scaling = c.receiveScale > 0 || c.sendScale > 0
  return (
    (c.timestampsOn !== 0 ? OPTION_TIMESTAMPS : 0) |
    (c.sackOn !== 0 ? OPTION_SACK : 0) |
    (scaling ? OPTION_WINDOW_SCALE : 0) |
    (c.ecnOn !== 0 ? OPTION_ECN : 0) |
    (c.ecnSeen !== 0 ? OPTION_ECN_SEEN : 0) |
    (c.synDataTaken !== 0 ? OPTION_SYN_DATA : 0)
  )
}

function countInFlight(c: Connection, into: TcpInfo): void {
  const { scoreboard } = c.context
  into.unacked = c.segmentCount
  into.sacked = 0
  into.lost = 0
  into.retrans = 0
  for (let segment = c.segmentHead; segment !== NO_SEGMENT; segment = scoreboard.next(segment)) {
    if (scoreboard.isSacked(segment)) into.sacked++
    if (scoreboard.isLost(segment)) into.lost++
    if (scoreboard.isRepeat(segment)) into.retrans++
  }
}
