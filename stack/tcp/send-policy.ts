/**
 * Whether a small segment may leave now: silly windows, Nagle and cork. Each holds data back for the sake of fuller segments,
 * and each has something that lets it go in the end: an ACK, the persist timer, the cork's ceiling.
 *
 * Called by: output.ts, before each segment with new data; Connection (cork).
 */
import type { Connection } from './connection.ts'
import { seqLess, seqLessEqual } from './seq.ts'

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
  if (c.corked !== 0) return c.corkDue !== 0
  if (c.noDelay !== 0 || c.sndNxt === c.sndUna) return true
  return !isSmallInFlight(c) || seqLess(c.sndNxt, c.sndMax)
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
