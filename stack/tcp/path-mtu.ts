/**
 * The size of a full segment, as far as the path decides it: what routers say (RFC 1191, RFC 8201), and what probing has
 * found where routers say nothing (RFC 4821, RFC 8899), in the manner of Linux's tcp_mtu_probing:
 *
 *   time-outs of a long segment ─► black hole: back to a base that gets through          mtuLow = base
 *   data goes by itself         ─► one segment longer than the others now and then       mtuLow < probe <= mtuHigh
 *        acknowledged ─► mtuLow = probe          lost, and nothing but it ─► mtuHigh = probe - 1, and no congestion
 *   mtuHigh - mtuLow small      ─► found; other connections to the same destination learn of it, for ten minutes
 *
 * Sizes are those of IP packets, so that they do not depend on options:
 *
 *   sendMss = min(peer's MSS, path, mtuLow if probing) less headers and the options of every segment
 *
 * Invariants:
 *  1. mtuLow <= mtuHigh <= the path's MTU, and nothing longer than mtuLow is sent but one probe at a time.
 *  2. A lost probe never changes the congestion window (RFC 4821 7.7).
 *
 * Called by: handshake.ts, tcp.ts (too big), timers.ts (black hole), recovery.ts (lost probe), output.ts (upkeep, when).
 */
import { isMapped } from '../address.ts'
import {
  BLACK_HOLE_TIMEOUTS,
  IPV6_MTU_MIN,
  MTU_PROBE_BASE_MSS,
  MTU_PROBE_FOLLOWERS,
  MTU_PROBE_PRECISION_BYTES,
  MTU_PROBE_WINDOW_SEGMENTS,
  PATH_MTU_MIN,
} from '../limits.ts'
import { optionReserve } from './accurate-ecn-option.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Delivery } from './delivery.ts'
import { NO_SEGMENT, pipeBytes } from './scoreboard.ts'
import { headersBytes, maximumSegmentSize, optionsBytes } from './segment-size.ts'
import { seqAdd, seqDiff, seqLess } from './seq.ts'
import { RECOVERY_NONE } from './states.ts'

/** Linux tcp_mtu_probing 0, 1, 2. */
export type MtuProbing = 'off' | 'on-black-hole' | 'always'

/** The peer's MSS is known: starts from what is known of the path. */
export function initializePathMtu(context: TcpContext, c: Connection): void {
  c.pathMtu = lookup(context, c)
  c.pathMtuGeneration = context.pathMtus.generation
  if (context.mtuProbing === 'always' && c.sackOn !== 0) startProbing(context, c)
  updateSendMss(context, c)
}

/** A router says that segments of ours, which are in flight, are too big. @returns true if it is believed */
export function lowerPathMtu(context: TcpContext, c: Connection, mtu: number): boolean {
  const before = c.sendMss
  if (!learn(context, c, mtu)) return false
  refreshPathMtu(context, c)
  return c.sendMss < before
}

/** Before sending: takes over what has been learned meanwhile, by the probe or by others. */
export function upkeepPathMtu(context: TcpContext, c: Connection): void {
  if (c.mtuProbeBytes !== 0 && !seqLess(c.sndUna, c.mtuProbeEnd)) {
    c.mtuLow = Math.max(c.mtuLow, Math.min(c.mtuProbeBytes, c.mtuHigh))
    c.mtuProbeBytes = 0
    context.counters.mtuProbesAcknowledged++
    tellOthers(context, c)
    updateSendMss(context, c)
  }
  if (c.pathMtuGeneration !== context.pathMtus.generation) refreshPathMtu(context, c)
}

/**
 * The retransmission timer expired once more. Long segments that never arrive, where nobody says why, fall into a black
 * hole (RFC 2923 2.1): from now on shorter ones are sent.
 */
export function detectBlackHole(context: TcpContext, c: Connection): void {
  if (c.mtuProbeBytes !== 0) endProbe(context, c, c.sndUna === c.mtuProbeStart)
  if (context.mtuProbing === 'off' || c.sackOn === 0 || c.segmentHead === NO_SEGMENT) return
  if (c.backoff + 1 < BLACK_HOLE_TIMEOUTS || c.sndWnd === 0) return // behind a shut window nothing vanishes
  const bytes = context.scoreboard.length(c.segmentHead) + allHeadersBytes(c)
  const least = pathMtuMin(c)
  if (bytes <= least) return
  context.counters.mtuBlackHoles++
  // A link may itself be no longer than the base; then the base is what does not get through.
  const baseFails = c.mtuProbeOn !== 0 || bytes <= baseBytes(c)
  if (c.mtuProbeOn === 0) startProbing(context, c)
  if (baseFails) c.mtuLow = Math.max(c.mtuLow >> 1, least)
  c.mtuHigh = Math.max(Math.min(c.mtuHigh, bytes - 1), c.mtuLow)
  updateSendMss(context, c)
}

/**
 * Something was lost: the probe, and nothing else? That is what it was sent for, and no congestion.
 * @returns true if there is nothing else to answer
 */
export function onlyProbeWasLost(context: TcpContext, c: Connection, delivery: Delivery): boolean {
  if (c.mtuProbeBytes === 0) return false
  const payload = seqDiff(c.mtuProbeEnd, c.mtuProbeStart)
  const only = c.sndUna === c.mtuProbeStart && delivery.lostBytes === payload && c.lostBytes === payload
  // Among other losses it says nothing of the path.
  endProbe(context, c, only)
  return only
}

/** Payload of a probe that may be sent now, or 0. */
export function probePayload(context: TcpContext, c: Connection): number {
  if (c.mtuProbeOn === 0 || c.mtuProbeBytes !== 0 || c.recoveryState !== RECOVERY_NONE) return 0
  if (c.mtuHigh - c.mtuLow < MTU_PROBE_PRECISION_BYTES) return 0
  if (c.sackedSegments > 0 || c.lostBytes > 0 || c.congestionWindow < MTU_PROBE_WINDOW_SEGMENTS * c.sendMss) return 0
  // The first is as long as can be, for most paths take that; then halves of what is unknown (RFC 4821 7.3).
  const bytes = c.mtuHigh === ceiling(context, c) ? c.mtuHigh : (c.mtuLow + c.mtuHigh + 1) >> 1
  const payload = bytes - allHeadersBytes(c)
  // Behind the probe segments must follow, or its loss would have to wait for the timer.
  const needed = payload + MTU_PROBE_FOLLOWERS * c.sendMss
  const windowLeft = seqDiff(seqAdd(c.sndUna, c.sndWnd), c.sndNxt)
  const unsent = seqDiff(c.sendEnd, c.sndNxt)
  return unsent >= needed && windowLeft >= needed && c.congestionWindow - pipeBytes(c) >= payload ? payload : 0
}

/** The probe has left, as the segment that ends at sndNxt. */
export function probeSent(context: TcpContext, c: Connection, payload: number): void {
  c.mtuProbeBytes = payload + allHeadersBytes(c)
  c.mtuProbeEnd = c.sndNxt
  c.mtuProbeStart = seqAdd(c.sndNxt, -payload)
  context.counters.mtuProbesSent++
}

/** @param tooLong whether that is why it did not arrive */
function endProbe(context: TcpContext, c: Connection, tooLong: boolean): void {
  const bytes = c.mtuProbeBytes
  c.mtuProbeBytes = 0
  if (!tooLong) return
  context.counters.mtuProbesLost++
  c.mtuHigh = Math.max(Math.min(c.mtuHigh, bytes - 1), c.mtuLow)
  tellOthers(context, c)
}

/** What was found need not be found again by the next connection. */
function tellOthers(context: TcpContext, c: Connection): void {
  if (c.mtuHigh - c.mtuLow < MTU_PROBE_PRECISION_BYTES && c.mtuHigh < ceiling(context, c)) learn(context, c, c.mtuLow)
}

/** Takes over what is known of the destination. */
function refreshPathMtu(context: TcpContext, c: Connection): void {
  const before = c.pathMtu
  c.pathMtu = lookup(context, c)
  c.pathMtuGeneration = context.pathMtus.generation
  if (c.pathMtu === before) return
  if (c.mtuProbeOn !== 0) {
    // Wider: what was found has become too old, and is looked for again.
    c.mtuHigh = c.pathMtu > before ? ceiling(context, c) : Math.min(c.mtuHigh, c.pathMtu)
    c.mtuLow = Math.min(c.mtuLow, c.mtuHigh)
  }
  updateSendMss(context, c)
}

function startProbing(context: TcpContext, c: Connection): void {
  c.mtuProbeOn = 1
  c.mtuHigh = ceiling(context, c)
  c.mtuLow = Math.min(baseBytes(c), c.mtuHigh)
}

/** Accurate ECN's option may have become one of every segment, or may be so no more. */
export function reserveOption(context: TcpContext, c: Connection): void {
  const a = c.accurateEcn
  if (a === undefined) return
  const bytes = optionReserve(context, a)
  if (bytes === a.reservedBytes) return
  a.reservedBytes = bytes
  updateSendMss(context, c)
}

function updateSendMss(context: TcpContext, c: Connection): void {
  const mtu = c.mtuProbeOn !== 0 ? Math.min(c.mtuLow, c.pathMtu) : c.pathMtu
  const mss = Math.min(c.peerMss, maximumSegmentSize(context, c), mtu - headersBytes(c))
  c.sendMss = mss - optionsBytes(c)
}

/** The longest packet that link, path and peer take. */
function ceiling(context: TcpContext, c: Connection): number {
  return Math.min(c.pathMtu, Math.min(c.peerMss, maximumSegmentSize(context, c)) + headersBytes(c))
}

function baseBytes(c: Connection): number {
  return Math.max(MTU_PROBE_BASE_MSS + allHeadersBytes(c), pathMtuMin(c))
}

function allHeadersBytes(c: Connection): number {
  return headersBytes(c) + optionsBytes(c)
}

function pathMtuMin(c: Connection): number {
  return isMapped(c.remoteAddress0, c.remoteAddress1, c.remoteAddress2) ? PATH_MTU_MIN : IPV6_MTU_MIN
}

function lookup(context: TcpContext, c: Connection): number {
  return context.pathMtus.lookup(c.remoteAddress0, c.remoteAddress1, c.remoteAddress2, c.remoteAddress3)
}

function learn(context: TcpContext, c: Connection, mtu: number): boolean {
  return context.pathMtus.lower(c.remoteAddress0, c.remoteAddress1, c.remoteAddress2, c.remoteAddress3, mtu)
}
