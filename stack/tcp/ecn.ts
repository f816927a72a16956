/**
 * Explicit congestion notification (RFC 3168): routers mark packets instead of dropping them, the receiver echoes the
 * mark, the sender reduces its window.
 *
 *   SYN       ECE + CWR ─────────►  SYN-ACK  ECE                      both sides have it (6.1.1)
 *   data      ECT(0), marked CE ──► ACK      ECE … until CWR comes    (6.1.3)
 *   data      CWR, once, with the first new data behind the reduction (6.1.2; the reduction itself: recovery.ts)
 *
 * ECT(0) stands on new data only: a lost retransmission, ACK or probe would tell nobody of the congestion that it met
 * (6.1.4, 6.1.5, 6.1.6).
 *
 * Called by: handshake.ts, output.ts, data.ts.
 */
import { FLAG_ACK, FLAG_CWR, FLAG_ECE } from '../wire/tcp.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Segment } from './segment.ts'
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

const SETUP_FLAGS = FLAG_ECE | FLAG_CWR

/** What a SYN or SYN-ACK of ours says. */
export function synEcnFlags(context: TcpContext, c: Connection, passive: boolean): number {
  if (passive) return c.ecnOn !== 0 ? FLAG_ECE : 0
  // RFC 3168 6.1.1.1: a SYN that was lost may have been dropped for its bits; the next one has none.
  return context.tuning.ecn === ECN_ASK && c.backoff === 0 ? SETUP_FLAGS : 0
}

/** The peer's SYN, or SYN-ACK, decides (RFC 3168 6.1.1). */
export function negotiateEcn(context: TcpContext, c: Connection, segment: Segment): void {
  const bits = segment.flags & SETUP_FLAGS
  const { ecn } = context.tuning
  // Both bits in a SYN-ACK come from one that returns what it does not know.
  const agreed = (segment.flags & FLAG_ACK) !== 0 ? ecn === ECN_ASK && bits === FLAG_ECE : bits === SETUP_FLAGS
  c.ecnOn = ecn !== ECN_OFF && agreed ? 1 : 0
}

/** A segment with data came that lies in the window (RFC 3168 6.1.3; 6.1.5: what lies outside of it does not count). */
export function receiveEcn(context: TcpContext, c: Connection, segment: Segment): void {
  if (c.ecnOn === 0) return
  if ((segment.flags & FLAG_CWR) !== 0) c.ecnEcho = 0
  if (segment.ecn === ECN_NOT_CAPABLE) return
  c.ecnSeen = 1
  if (segment.ecn !== ECN_CONGESTED) return
  context.counters.congestionMarks++
  if (c.ecnEcho !== 0) return
  c.ecnEcho = 1
  c.ackPending = ACK_NOW // a sender with a small window has no second segment to wait for
}

/** Flags of every segment behind the handshake. @param fresh it carries data for the first time */
export function ecnFlags(c: Connection, fresh: boolean): number {
  if (c.ecnOn === 0) return 0
  let flags = c.ecnEcho !== 0 ? FLAG_ECE : 0
  if (fresh && c.ecnReduced !== 0) {
    c.ecnReduced = 0
    flags |= FLAG_CWR
  }
  return flags
}
