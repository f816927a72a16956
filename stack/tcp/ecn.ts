/**
 * Explicit congestion notification (RFC 3168, and with more precise feedback RFC 9768: accurate-ecn.ts): routers mark packets instead of dropping them, the receiver echoes the
 * mark, the sender reduces its window.
 *
 *   SYN       ECE + CWR ─────────►  SYN-ACK  ECE                      both sides have it (6.1.1)
 *   data      ECT(0), marked CE ──► ACK      ECE … until CWR comes    (6.1.3)
 *   data      CWR, once, with the first new data behind the reduction (6.1.2; the reduction itself: recovery.ts)
 *
 * ECT(0) stands on new data only: a lost retransmission, ACK or probe would tell nobody of the congestion that it met
 * (6.1.4, 6.1.5, 6.1.6).
 *
 * Called by: handshake.ts, input.ts, ack.ts, data.ts, segment-output.ts, syn.ts.
 */
import { FLAG_ACK, FLAG_CWR, FLAG_ECE } from '../wire/tcp.ts'
import {
  ACE_FLAGS,
  aceFlags,
  asksAccurately,
  beginAccurate,
  countArrival,
  noteSynAgain,
  readFeedback,
  readLastAck,
  reflectAgain,
  reflectedFlags,
} from './accurate-ecn.ts'
import { ACE_SEND_FAILS, OPTION_SEND_FAILS } from './accurate-ecn-option.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Delivery } from './delivery.ts'
import { reserveOption } from './path-mtu.ts'
import type { Segment } from './segment.ts'
import { seqDiff } from './seq.ts'
import { ACK_NOW } from './states.ts'

/* The two bits of the IP header (RFC 3168 5). */
export const ECN_NOT_CAPABLE = 0
export const ECN_CAPABLE = 2 // ECT(0)
export const ECN_CONGESTED = 3 // CE

/* Tuning.ecn, as Linux's tcp_ecn. */
export const ECN_OFF = 0
/** Asked for, and accepted. */
export const ECN_ASK = 1
/** Accepted when the peer asks. */
export const ECN_ACCEPT = 2
/** The same of RFC 9768: asked for and accepted; accepted, while RFC 3168 is asked for; accepted. */
export const ECN_ASK_ACCURATELY = 3
export const ECN_ACCEPT_ACCURATELY_ASK = 4
export const ECN_ACCEPT_ACCURATELY = 5

/* Connection.ecnOn. */
export const ECN_CLASSIC = 1
export const ECN_ACCURATE = 2

const SETUP_FLAGS = FLAG_ECE | FLAG_CWR
/** SYNs that ask for RFC 9768, and SYN-ACKs that agree, before one without the bits is tried (RFC 9768 3.1.4.1, 3.1.4.2). */
const ACCURATE_TRIES = 2

/** What a SYN or SYN-ACK of ours says. */
export function synEcnFlags(context: TcpContext, c: Connection, passive: boolean): number {
  const { ecn, ecnFallback } = context.tuning
  if (passive) {
    if (c.ecnOn !== ECN_ACCURATE) return c.ecnOn !== 0 ? FLAG_ECE : 0
    if (c.backoff < ACCURATE_TRIES) return reflectedFlags(c.accurateEcn!)
    c.accurateEcn!.failures |= ACE_SEND_FAILS
    return 0
  }
  if (ecn === ECN_ASK_ACCURATELY) return c.backoff < ACCURATE_TRIES || !ecnFallback ? ACE_FLAGS : 0
  // RFC 3168 6.1.1.1: a SYN that was lost may have been dropped for its bits; the next one has none.
  return asksClassically(ecn) && (c.backoff === 0 || !ecnFallback) ? SETUP_FLAGS : 0
}

function asksClassically(ecn: number): boolean {
  return ecn === ECN_ASK || ecn === ECN_ACCEPT_ACCURATELY_ASK
}

/** The peer's SYN, or SYN-ACK, decides (RFC 3168 6.1.1, RFC 9768 3.1.1 and 3.1.2). */
export function negotiateEcn(context: TcpContext, c: Connection, segment: Segment): void {
  const answered = (segment.flags & FLAG_ACK) !== 0
  c.ecnOn = agreement(context.tuning.ecn, segment.flags, answered)
  if (c.ecnOn === ECN_ACCURATE) beginAccurate(c, segment, answered, !context.tuning.ecnFallback)
}

function agreement(ecn: number, flags: number, answered: boolean): number {
  if (ecn === ECN_OFF) return 0
  const bits = flags & SETUP_FLAGS
  if (!answered) {
    if (ecn >= ECN_ASK_ACCURATELY && asksAccurately(flags)) return ECN_ACCURATE
    return bits === SETUP_FLAGS ? ECN_CLASSIC : 0
  }
  const ace = flags & ACE_FLAGS
  if (ecn === ECN_ASK_ACCURATELY) {
    // All bits in a SYN-ACK come from one that returns what it does not know.
    if (ace === 0 || ace === ACE_FLAGS) return 0
    return ace === FLAG_ECE ? ECN_CLASSIC : ECN_ACCURATE
  }
  return asksClassically(ecn) && bits === FLAG_ECE ? ECN_CLASSIC : 0
}

/** A SYN of the peer's came again before its handshake was over. */
export function repeatNegotiation(c: Connection, segment: Segment): void {
  if (c.ecnOn === ECN_ACCURATE) noteSynAgain(c.accurateEcn!, segment)
}

/** A segment without place in the sequence space is answered: one with SYN, or one that came before. */
export function noteInvalid(context: TcpContext, c: Connection, segment: Segment, syn: boolean): void {
  if (c.ecnOn !== ECN_ACCURATE) return
  const a = c.accurateEcn!
  if (syn) {
    reflectAgain(a, segment)
    return
  }
  if (seqDiff(segment.sequence, c.rcvNxt) + segment.payloadLength < 0) return
  // Twice in spite of an ACK that told so, with the option: it seems to be what does not get through (RFC 9768 3.2.3.2.2).
  if (a.optionWithDuplicate !== 0 && segment.sequence === c.dsackLeft) a.failures |= OPTION_SEND_FAILS
  countArrival(context, c, segment, segment.payloadLength)
}

/** A segment with data came that lies in the window (RFC 3168 6.1.3; 6.1.5: what lies outside of it does not count). */
export function receiveEcn(context: TcpContext, c: Connection, segment: Segment): void {
  if (c.ecnOn === 0) return
  if (c.ecnOn === ECN_ACCURATE) {
    if (segment.isPart === 0) countArrival(context, c, segment, segment.wholeLength)
    return
  }
  if ((segment.flags & FLAG_CWR) !== 0) c.ecnEcho = 0
  if (segment.ecn === ECN_NOT_CAPABLE) return
  c.ecnSeen = 1
  if (segment.ecn !== ECN_CONGESTED) return
  context.counters.congestionMarks++
  if (c.ecnEcho !== 0) return
  c.ecnEcho = 1
  c.ackPending = ACK_NOW // a sender with a small window has no second segment to wait for
}

/**
 * What an ACK, whose numbers are worked in, says of marks: delivery.echo asks for a reduction.
 * @param packets that it says have arrived; @param last it is the last one of the handshake
 */
export function receiveEcho(
  context: TcpContext,
  c: Connection,
  segment: Segment,
  delivery: Delivery,
  packets: number,
  last: boolean,
): void {
  if (c.ecnOn === ECN_CLASSIC) {
    if ((segment.flags & FLAG_ECE) === 0) return
    delivery.echo = 1
    c.deliveredMarkedSegments += packets
    return
  }
  if (segment.payloadLength === 0 && segment.isPart === 0) countArrival(context, c, segment, 0)
  if (last) {
    readLastAck(c, c.accurateEcn!, segment, !context.tuning.ecnFallback)
    reserveOption(context, c)
    return
  }
  const marks = readFeedback(c, segment, delivery, packets)
  reserveOption(context, c)
  if (marks === 0) return
  c.deliveredMarkedSegments += marks
  delivery.echo = 1
}

/** Flags of every segment behind the handshake. @param fresh it carries data for the first time; @param pure nothing but an ACK */
export function ecnFlags(c: Connection, fresh: boolean, pure: boolean): number {
  if (c.ecnOn === 0) return 0
  if (c.ecnOn === ECN_ACCURATE) return aceFlags(c.accurateEcn!, pure)
  let flags = c.ecnEcho !== 0 ? FLAG_ECE : 0
  if (fresh && c.ecnReduced !== 0) {
    c.ecnReduced = 0
    flags |= FLAG_CWR
  }
  return flags
}

/** Whether routers may mark the segment. */
export function mayBeMarked(c: Connection, fresh: boolean): boolean {
  return c.ecnOn === ECN_ACCURATE ? c.accurateEcn!.marksAreTold : fresh
}
