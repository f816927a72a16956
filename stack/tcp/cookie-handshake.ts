/**
 * The handshake without memory: SYN-ACKs with cookies go out while a listener's backlog is full, and the ACK that brings
 * one back makes the connection, as if its SYN had just been seen (RFC 4987 3.6). A SYN costs no buffer, no slot, no timer.
 *
 * Called by: listen.ts. Calls: syn-cookies.ts, handshake.ts, syn.ts.
 */
import { elapsed } from '../clock.ts'
import { MSS_DEFAULT, SYN_COOKIES_BELIEVED_MS } from '../limits.ts'
import { FLAG_AE, FLAG_CWR, FLAG_ECE, FLAG_SYN } from '../wire/tcp.ts'
import type { Application } from './application.ts'
import { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { copyEndpoints } from './demux.ts'
import { initializeConnection, negotiate, setInitialSequence } from './handshake.ts'
import type { Listener } from './listen.ts'
import type { Segment } from './segment.ts'
import { seqAdd, seqDiff } from './seq.ts'
import { NO_SLOT } from './slots.ts'
import { STATE_SYN_RECEIVED } from './states.ts'
import { writeSyn } from './syn.ts'
import { COOKIES_OFF, type CookieOptions, cookieTime, readCookieTime } from './syn-cookies.ts'

const ECN_FLAGS = FLAG_ECE | FLAG_CWR
const NOBODY: Application = { onAccept() {}, onReceive() {}, onSendSpace() {}, onClose() {} }
const remembered: CookieOptions = { windowScale: -1, sack: false, ecn: false }

/** The connection that answers SYNs: filled, written from, and overwritten by the next one. It is in no table. */
export function createCookieConnection(context: TcpContext): Connection {
  return new Connection(context, NO_SLOT, NOBODY)
}

/** Answers a SYN and forgets it. */
export function answerWithCookie(context: TcpContext, listener: Listener, segment: Segment): void {
  const c = context.cookieConnection
  copyEndpoints(c, segment)
  // A cookie remembers RFC 3168 at best, and what asks for RFC 9768 without AE (3.1.2) nothing of that.
  segment.flags &= ~FLAG_AE
  if ((segment.flags & ECN_FLAGS) !== ECN_FLAGS) segment.flags &= ~ECN_FLAGS
  // What only the timestamp can remember is not agreed on without one.
  if (!context.timestamps || segment.hasTimestamps === 0) forgetOptions(segment)
  initializeConnection(context, c, listener.options)
  negotiate(context, c, segment)
  c.state = STATE_SYN_RECEIVED
  c.iss = context.synCookies.make(c, c.irs, segment.mss === 0 ? MSS_DEFAULT : segment.mss, context.nowUs)
  const time = cookieTime(context.nowMs, c.sendScale, c.sackOn !== 0, c.ecnOn !== 0)
  c.tsOffset = seqAdd(c.tsOffset, seqDiff(time, context.nowMs))
  listener.cookiesSent = 1
  listener.cookiesMs = context.nowMs
  context.counters.cookiesSent++
  writeSyn(context, c)
}

/** Whether an ACK to this listener may bring a cookie. Where none was sent lately, guessing is pointless. */
export function expectsCookie(context: TcpContext, listener: Listener): boolean {
  if (context.tuning.synCookies === COOKIES_OFF || listener.cookiesSent === 0) return false
  return elapsed(context.nowMs, listener.cookiesMs) < SYN_COOKIES_BELIEVED_MS
}

/** The segment size that the cookie of an ACK remembers, or 0 if it has none. */
export function cookieOf(context: TcpContext, segment: Segment): number {
  const cookie = seqAdd(segment.acknowledgement, -1)
  return context.synCookies.check(segment, seqAdd(segment.sequence, -1), cookie, context.nowUs)
}

/**
 * Puts a new connection where its SYN would have put it; the segment is the ACK, and is unchanged when this returns.
 * @param mss what cookieOf has returned
 */
export function restoreHandshake(
  context: TcpContext,
  c: Connection,
  listener: Listener,
  segment: Segment,
  mss: number,
): void {
  const { sequence, flags } = segment
  initializeConnection(context, c, listener.options)
  setInitialSequence(c, seqAdd(segment.acknowledgement, -1))
  segment.sequence = seqAdd(sequence, -1)
  segment.flags = FLAG_SYN
  segment.mss = mss
  forgetOptions(segment)
  if (context.timestamps && segment.hasTimestamps !== 0) {
    readCookieTime(remembered, seqDiff(segment.timestampEcho, c.tsOffset))
    segment.windowScale = remembered.windowScale
    segment.sackPermitted = remembered.sack ? 1 : 0
    if (remembered.ecn) segment.flags |= ECN_FLAGS
  }
  negotiate(context, c, segment)
  c.state = STATE_SYN_RECEIVED
  segment.sequence = sequence
  segment.flags = flags
  context.counters.cookiesAccepted++
}

function forgetOptions(segment: Segment): void {
  segment.windowScale = -1
  segment.sackPermitted = 0
  segment.flags &= ~ECN_FLAGS
}
