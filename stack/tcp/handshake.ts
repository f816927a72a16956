/**
 * From SYN to established: what both sides offer, what follows from what they offered, and the numbers that a
 * connection starts with. Passive opens come from listen.ts, active ones from connect in tcp.ts.
 */
import { isIpv4Pair } from '../ip.ts'
import {
  MSS_DEFAULT,
  MSS_DEFAULT_IPV6,
  QUICK_ACKS,
  RECEIVE_LIMIT_BYTES,
  RTO_AFTER_SYN_LOSS_MS,
  WINDOW_SCALE_MAX,
} from '../limits.ts'
import type { ConnectionOptions } from './application.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { negotiateEcn } from './ecn.ts'
import { initializePathMtu } from './path-mtu.ts'
import { availableBytes, WINDOW_FIELD_MAX } from './receive-queue.ts'
import { beginReceiveTuning, initializeReceiveWindow } from './receive-tuning.ts'
import { initializeRtt } from './rtt.ts'
import type { Segment } from './segment.ts'
import { initializeSendLimit } from './send-tuning.ts'
import { seqAdd, seqDiff } from './seq.ts'
import { STATE_ESTABLISHED } from './states.ts'
import { armKeepAlive, disarmLossTimer } from './timer-arming.ts'

/** Everything that does not depend on the peer. The addresses are set. */
export function initializeConnection(context: TcpContext, c: Connection, options: ConnectionOptions): void {
  context.initialSequence.generate(c, context.nowUs)
  setInitialSequence(c, context.initialSequence.sequence)
  c.tsOffset = context.initialSequence.timestampOffset
  c.receiveLimitBytes = options.receiveLimitBytes ?? RECEIVE_LIMIT_BYTES
  initializeSendLimit(c, options)
  c.noDelay = options.noDelay === true ? 1 : 0
  c.fullSegments = options.fullSegments === true ? 1 : 0
  c.keepAliveOn = options.keepAlive === true ? 1 : 0
  c.keepAliveIdleMs = options.keepAliveIdleMs ?? context.tuning.keepAliveIdleMs
  c.keepAliveIntervalMs = options.keepAliveIntervalMs ?? context.tuning.keepAliveIntervalMs
  c.keepAliveProbesMax = options.keepAliveProbes ?? context.tuning.keepAliveProbes
  c.userTimeoutMs = options.userTimeoutMs ?? 0
  c.announcedMss = options.mss ?? 0
  c.synRetriesMax = options.synRetries ?? context.tuning.synRetries
  const tuned = options.receiveTuning ?? options.receiveLimitBytes === undefined
  initializeReceiveWindow(c, tuned && context.tuning.receiveTuning)
  c.receiveScale = context.windowScaling ? scaleFor(c.receiveLimitBytes) : 0
  c.quickAcks = QUICK_ACKS
  c.progressMs = context.nowMs
  c.lastHeardMs = context.nowMs
  c.lastDataMs = context.nowMs
  c.peerMss = defaultMss(c)
  c.sendMss = c.peerMss
  c.pathMtu = context.mtu
  // The SYN of an active open offers what its own options allow; negotiation may take them back.
  c.timestampsOn = context.timestamps ? 1 : 0
  c.sackOn = context.sack ? 1 : 0
  initializeRtt(c)
}

/** The number of our SYN; everything in the send sequence space starts behind it. */
export function setInitialSequence(c: Connection, iss: number): void {
  c.iss = iss
  c.sndUna = iss
  c.sndNxt = seqAdd(iss, 1)
  c.sndMax = c.sndNxt
  c.sendEnd = c.sndNxt
  c.recoverSequence = iss
  c.smallEnd = iss
}

/** Takes over what the peer's SYN, with or without ACK, says. */
export function negotiate(context: TcpContext, c: Connection, segment: Segment): void {
  c.irs = segment.sequence
  c.rcvNxt = seqAdd(segment.sequence, 1)
  c.lastAckSent = c.rcvNxt
  c.rcvAdvertised = seqAdd(c.rcvNxt, Math.min(availableBytes(context, c), WINDOW_FIELD_MAX)) // not scaled in a SYN: RFC 7323 2.2
  c.timestampsOn = context.timestamps && segment.hasTimestamps !== 0 ? 1 : 0
  if (c.timestampsOn !== 0) {
    c.tsRecent = segment.timestampValue
    c.tsRecentMs = context.nowMs
  }
  c.sackOn = context.sack && segment.sackPermitted !== 0 ? 1 : 0
  negotiateEcn(context, c, segment)
  // RFC 7323 2.2: both sides scale, or none.
  const scaling = context.windowScaling && segment.windowScale >= 0
  c.sendScale = scaling ? segment.windowScale : -1
  if (!scaling) c.receiveScale = 0
  // More than the window field can say would never be offered, and always look like a window to be opened.
  c.receiveLimitBytes = Math.min(c.receiveLimitBytes, WINDOW_FIELD_MAX << c.receiveScale)
  c.receiveWindowBytes = Math.min(c.receiveWindowBytes, c.receiveLimitBytes)
  c.peerMss = segment.mss === 0 ? defaultMss(c) : segment.mss // RFC 9293 MUST-15
  initializePathMtu(context, c)
  c.sndWnd = segment.window // RFC 7323 2.2: the window of a SYN is not scaled
  c.sndWndMax = c.sndWnd
  c.sndWl1 = segment.sequence
  c.sndWl2 = c.sndUna
  beginReceiveTuning(context, c)
}

/** The handshake is over. */
export function establish(context: TcpContext, c: Connection): void {
  c.state = STATE_ESTABLISHED
  c.lastDataMs = context.nowMs
  c.deliveredSegments = 1 // the SYN, as Linux counts
  // What is queued and did not go with the SYN goes now: a conversation, whose ACKs ride on data (acknowledge.ts).
  if (seqDiff(c.sendEnd, c.sndMax) > 0) c.quickAcks = 0
  if (c.sendScale < 0) c.sendScale = 0
  if (c.backoff > 0 && c.srttUs === 0) c.rtoMs = RTO_AFTER_SYN_LOSS_MS // RFC 6298 (5.7)
  c.backoff = 0
  disarmLossTimer(context, c)
  if (c.fastOpenPending === 0) context.congestion.initialize(c)
  context.counters.established++
  if (c.keepAliveOn !== 0) armKeepAlive(context, c, c.keepAliveIdleMs)
}

/** Of a peer that announces nothing (RFC 9293 3.7.1). */
function defaultMss(c: Connection): number {
  return isIpv4Pair(c) ? MSS_DEFAULT : MSS_DEFAULT_IPV6
}

/** The handshake of a connection that Fast Open has accepted is over, or will never be. */
export function endFastOpen(c: Connection): void {
  if (c.fastOpenPending === 0) return
  c.fastOpenPending = 0
  c.listener!.fastOpenPending--
}

/** Smallest scale with which the window field can say `bytes`. */
function scaleFor(bytes: number): number {
  let scale = 0
  while (scale < WINDOW_SCALE_MAX && bytes >>> scale > WINDOW_FIELD_MAX) scale++
  return scale
}
