/**
 * When an ACK leaves (RFC 9293 3.8.6.3, RFC 5681 4.2).
 *
 *   clean       with the burst's end, one for all that it brought, if that was two full segments or more; else delayed.
 *               So does Linux behind GRO
 *   watchful    for every second full segment, and for each that is out of order, before the burst's next segment is
 *               worked off; the last one with the burst's end
 *   behind a gap  the first three segments have ACKs of their own; of those that go on where the one before ended the
 *               last one's says it all, so that the burst's rest has one (Linux SACK compression)
 *
 * One ACK a burst is cheap, and as long as nothing is lost it says all that there is to say. Where frames are lost ACKs
 * are, too, and with such a one the news of a whole window: the sender stands still until its timer fires. So a
 * connection is watchful while its peer's window opens (quickAcks), and for WATCHFUL_SEGMENTS behind each sign of loss
 * or reordering: a segment out of order, or one that came twice.
 *
 * A connection that answers its peer within the time that an ACK may be delayed is a conversation (Linux ping-pong mode):
 * the ACK of what comes next can ride on the answer to it, and waits for it (converse, output.ts).
 *
 * The last ACK of a burst waits for its end in any case: it may ride on data, and knows what the application has read.
 *
 * Called by: data.ts, input.ts. Calls: output.ts.
 */
import { ACK_EVERY_SEGMENTS, DUPLICATE_ACKS, WATCHFUL_SEGMENTS } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { sendAck } from './output.ts'
import type { Segment } from './segment.ts'
import { ACK_DELAYED, ACK_NOW, ACK_OWN } from './states.ts'

/** Another segment is going to be worked off: an ACK that is not to speak for it goes before. */
export function acknowledgeBefore(context: TcpContext, c: Connection, segment: Segment): void {
  if (c.ackPending === ACK_OWN && segment.isPart === 0) sendAck(context, c)
}

/** @param urgency ACK_; the highest holds */
export function acknowledge(context: TcpContext, c: Connection, urgency: number): void {
  if (urgency > c.ackPending) c.ackPending = urgency
  context.queueOutput(c)
}

/** A segment came in order; c.ackBytes counts it. */
export function acknowledgeInOrder(context: TcpContext, c: Connection): void {
  const watchful = c.quickAcks > 0 || c.watchfulSegments > 0
  if (c.watchfulSegments > 0) c.watchfulSegments--
  const second = c.ackBytes >= ACK_EVERY_SEGMENTS * c.peerSegmentBytes
  if (watchful) acknowledge(context, c, second ? ACK_OWN : ACK_NOW)
  else acknowledge(context, c, second ? ACK_NOW : ACK_DELAYED)
}

/** A segment filled a gap (RFC 5681 4.2), or came twice (RFC 2883 4). */
export function acknowledgeDisorder(context: TcpContext, c: Connection): void {
  c.watchfulSegments = WATCHFUL_SEGMENTS
  acknowledge(context, c, ACK_OWN)
}

/** A segment came out of order. */
export function acknowledgeBehindGap(context: TcpContext, c: Connection, sequence: number, end: number): void {
  if (c.rcvNxt !== c.gapStart) {
    c.gapStart = c.rcvNxt
    c.gapAcks = 0
  }
  c.gapAcks++
  // Where it begins another block, the burst may bring more blocks than an ACK has room for.
  const joins = c.gapAcks > DUPLICATE_ACKS && sequence === c.gapEnd && c.sackOn !== 0 && c.dsackPending === 0
  c.gapEnd = end
  c.watchfulSegments = WATCHFUL_SEGMENTS
  acknowledge(context, c, joins ? ACK_NOW : ACK_OWN)
}
