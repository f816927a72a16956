/**
 * TCP Fast Open, the client's side (RFC 7413 4.2.1): data that is queued before the SYN leaves goes with it, to a server
 * that has given a cookie before; else the SYN asks for one.
 *
 *   connect({fastOpen}) ─► beginFastOpen      cookie known: synDataLimit bytes may go with the SYN
 *   output: syn.ts      ─► SYN, cookie, data  the data counts as sent for its ACK only
 *   SYN-ACK             ─► endSynData         acknowledges SYN and data: done
 *                                             less of it: the rest is sent again at once (4.2.1)
 *
 * A SYN that is repeated is a plain one: middleboxes may drop what they do not know (4.1.3.1).
 *
 * Called by: tcp.ts, syn.ts, input.ts. Calls: fast-open-cache.ts, send-queue.ts.
 */
import type { AddressPair } from '../address.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { OPTIONS_MAX } from './options.ts'
import { endRecordAt } from './records.ts'
import type { Segment } from './segment.ts'
import { maximumSegmentSize } from './segment-size.ts'
import { acknowledgeSent } from './send-queue.ts'
import { seqAdd, seqDiff, seqLess } from './seq.ts'
import { FAST_OPEN_EXPERIMENTAL, FAST_OPEN_NONE, FAST_OPEN_STANDARD } from './states.ts'

/** A connection is about to be opened. @param withoutCookie data goes even if the server has given no cookie */
export function beginFastOpen(context: TcpContext, c: Connection, withoutCookie: boolean): void {
  const cache = context.fastOpenCache
  const row = cache.find(c)
  if (!context.tuning.fastOpenClient || cache.isPaused(row, context.nowMs)) return
  const known = cache.cookieLength(row) > 0
  if (known || !withoutCookie)
    c.fastOpenOption = cache.isExperimental(row) ? FAST_OPEN_EXPERIMENTAL : FAST_OPEN_STANDARD
  if (!known && !withoutCookie) return
  const announced = maximumSegmentSize(context, c)
  const size = Math.min(announced, cache.segmentSize(row) || announced)
  // Room for all options that there can be: what grows on the way is dropped (Linux does so, too).
  c.synDataLimit = Math.max(size - OPTIONS_MAX, 0)
}

/** Whether a connection to there could open with data. */
export function knowsCookie(context: TcpContext, e: AddressPair): boolean {
  const cache = context.fastOpenCache
  const row = cache.find(e)
  return context.tuning.fastOpenClient && cache.cookieLength(row) > 0 && !cache.isPaused(row, context.nowMs)
}

/** The SYN-ACK is there: what it says of the cookie, and of the data that went with the SYN. The SYN is acknowledged. */
export function endSynData(context: TcpContext, c: Connection, segment: Segment): void {
  const repeated = c.totalRetransmitted > 0
  const first = seqAdd(c.iss, 1)
  const sent = seqDiff(c.sndMax, first)
  const acked = seqDiff(segment.acknowledgement, first)
  if (c.fastOpenOption !== FAST_OPEN_NONE || c.synDataLimit > 0) {
    const lost = repeated && segment.fastOpenBytes < 0 && sent > 0 && acked === 0
    const asked = c.fastOpenOption === FAST_OPEN_EXPERIMENTAL ? 'experimental' : 'standard'
    // An unsolicited cookie is none (Linux).
    if (c.fastOpenOption === FAST_OPEN_NONE) segment.fastOpenBytes = -1
    context.fastOpenCache.learn(segment, context.nowMs, lost, repeated || c.synDataLimit > 0 ? undefined : asked)
  }
  c.fastOpenOption = FAST_OPEN_NONE
  c.synDataLimit = 0
  c.synDataTaken = sent > 0 && acked === sent ? 1 : 0
  // What was not taken goes again as it went, in segments of its own (Linux keeps the packet).
  if (acked < sent) endRecordAt(c, c.sndMax)
  if (acked === 0) return
  c.sndUna = segment.acknowledgement
  acknowledgeSent(context, c, acked)
  if (seqLess(c.sndNxt, c.sndUna)) c.sndNxt = c.sndUna
  c.bytesAcked += acked
}
