/**
 * Whether a small segment may leave now: silly windows, Nagle and cork. Each holds data back for the sake of fuller segments,
 * and each has something that lets it go in the end: an ACK, the persist timer, the cork's ceiling.
 *
 * Called by: output.ts, before each segment with new data; Connection (cork).
 */
import type { Connection } from './connection.ts'
import { seqLess, seqLessEqual } from './seq.ts'

/* Connection.corked: bits. */
/** Until it is taken away (Linux TCP_CORK). */
export const CORK_SET = 1
/** The application has said with its last data that more comes (Linux MSG_MORE): until then, or until an ACK. */
export const CORK_MORE = 2

/* Connection.corkDue: what waits goes once, because it has waited long enough; because of noDelay. */
export const CORK_OVERDUE = 1
export const CORK_LIFTED = 2

/** RFC 9293 3.8.6.2.1: a window smaller than the segment is used only if it is large for this peer. */
export function mayFill(c: Connection, usable: number, peerLeft: number): boolean {
  if (usable < peerLeft) return usable >= c.sendMss // the congestion window is what limits
  return usable >= c.sendMss || usable >= c.sndWndMax >> 1 || c.probePending !== 0
}

/**
 * RFC 9293 3.7.4 in Minshall's variant, as Linux has it: a small segment at the end of the queue waits only while another
 * small one is in flight, so that a large write whose last part is small does not wait for an ACK of full segments.
 * @param bytes payload of the segment; @param unsent what waits altogether
 */
export function maySendSmall(c: Connection, bytes: number, unsent: number): boolean {
  if (bytes < unsent || bytes >= c.sendMss || c.finQueued !== 0) return true
  if (isCorked(c)) return c.corkDue !== 0
  if (c.noDelay !== 0 || c.sndNxt === c.sndUna) return true
  return !isSmallInFlight(c) || seqLess(c.sndNxt, c.sndMax)
}

/** MSG_MORE holds until the next ACK: Linux forgets about it there. */
function isCorked(c: Connection): boolean {
  return (c.corked & CORK_SET) !== 0 || (c.corked !== 0 && c.corkSequence === c.sndUna)
}

/** Whether the end of all that is queued is worth PSH (RFC 9293 3.9.1.2): not if the application has said that more comes. */
export function pushesEnd(c: Connection): boolean {
  return (c.corked & CORK_MORE) === 0 || c.corkDue === CORK_OVERDUE
}

/** A segment with new data was sent. @param end behind its last byte */
export function noteSent(c: Connection, bytes: number, end: number): void {
  if (bytes >= c.sendMss) return
  c.smallEnd = end
  c.corkDue = 0
}

function isSmallInFlight(c: Connection): boolean {
  return seqLess(c.sndUna, c.smallEnd) && seqLessEqual(c.smallEnd, c.sndNxt)
}
