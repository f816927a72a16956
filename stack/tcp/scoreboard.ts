/**
 * The scoreboard: what is known of every segment in flight (RFC 6675 3, RFC 8985 5.2). How segments lie and are linked
 * stands in segment-table.ts; here is what happens to them, and the sums over a connection's:
 *
 *   pipe = flight - sackedBytes - lostBytes + retransmittedBytes       (RFC 6675 4, SetPipe)
 *
 * Invariants:
 *  1. The segments of a connection cover [sndUna, sndNxt) without gap or overlap.
 *  2. SACKED excludes LOST and RETRANSMITTED. LOST without RETRANSMITTED: waits to be sent again.
 *  3. In the list by time stand exactly those that are neither SACKED nor waiting to be sent again.
 *  4. No segment left of c.lossHint waits to be sent again.
 *
 * Called by: output.ts (sent), ack.ts (acknowledged), sack.ts, rack.ts and recovery.ts (lost).
 */
import type { Connection } from './connection.ts'
import type { Delivery } from './delivery.ts'
import { rackDelivered } from './rack-state.ts'
import {
  LOST,
  NO_SEGMENT,
  OFFSET_MASK,
  PUSHED,
  REPEATED,
  RETRANSMITTED,
  S_END,
  S_META,
  S_NEXT,
  S_OFFSET_FLAGS,
  S_SENT_US,
  S_START,
  S_TIME_NEXT,
  SACKED,
  SegmentTable,
  WORDS_SHIFT,
} from './segment-table.ts'
import { seqDiff, seqLess, seqLessEqual } from './seq.ts'

export { NO_SEGMENT }

export class Scoreboard extends SegmentTable {
  /* --- sending --- */

  /** A segment [start, end) with new data leaves; its first byte lies at `offset` of line `meta`. @param repeated a part of it was sent before; @param pushed with PSH */
  append(
    c: Connection,
    start: number,
    end: number,
    meta: number,
    offset: number,
    nowUs32: number,
    repeated: boolean,
    pushed: boolean,
  ): void {
    const segment = this.allocate()
    const at = segment << WORDS_SHIFT
    const words = this.words
    words[at + S_NEXT] = NO_SEGMENT
    words[at + S_START] = start
    words[at + S_END] = end
    words[at + S_SENT_US] = nowUs32
    words[at + S_META] = meta
    words[at + S_OFFSET_FLAGS] = offset | (repeated ? REPEATED : 0) | (pushed ? PUSHED : 0)
    if (c.segmentTail === NO_SEGMENT) c.segmentHead = segment
    else words[(c.segmentTail << WORDS_SHIFT) + S_NEXT] = segment
    c.segmentTail = segment
    c.segmentCount++
    this.linkTime(c, segment)
  }

  /** The segment is sent again. */
  retransmitted(c: Connection, segment: number, nowUs32: number): void {
    const at = segment << WORDS_SHIFT
    const words = this.words
    const flags = words[at + S_OFFSET_FLAGS]!
    // A tail probe repeats what is on its way already.
    if ((flags & LOST) === 0 || (flags & RETRANSMITTED) !== 0) this.unlinkTime(c, segment)
    if ((flags & RETRANSMITTED) === 0) c.retransmittedBytes += this.length(segment)
    words[at + S_OFFSET_FLAGS] = flags | RETRANSMITTED | REPEATED
    words[at + S_SENT_US] = nowUs32
    this.linkTime(c, segment)
  }

  /** Cuts a segment in two at sequence number `cut`, whose byte lies at `offset` of line `meta`. */
  split(c: Connection, segment: number, cut: number, meta: number, offset: number): void {
    const rest = this.allocate()
    const words = this.words
    const at = segment << WORDS_SHIFT
    const restAt = rest << WORDS_SHIFT
    const flags = words[at + S_OFFSET_FLAGS]! & ~OFFSET_MASK
    words[restAt + S_NEXT] = words[at + S_NEXT]!
    words[restAt + S_START] = cut
    words[restAt + S_END] = words[at + S_END]!
    words[restAt + S_SENT_US] = words[at + S_SENT_US]!
    words[restAt + S_META] = meta
    words[restAt + S_OFFSET_FLAGS] = flags | offset
    words[at + S_NEXT] = rest
    words[at + S_END] = cut
    words[at + S_OFFSET_FLAGS]! &= ~PUSHED
    if (c.segmentTail === segment) c.segmentTail = rest
    c.segmentCount++
    if ((flags & LOST) === 0 || (flags & RETRANSMITTED) !== 0) this.linkTimeAfter(c, rest, segment)
  }

  /* --- what arrived --- */

  /** Everything left of sndUna has arrived: forgets it. The send queue has been moved on already. */
  acknowledge(c: Connection, delivery: Delivery): void {
    const ack = c.sndUna
    const words = this.words
    let segment = c.segmentHead
    while (segment !== NO_SEGMENT) {
      const at = segment << WORDS_SHIFT
      if (!seqLess(words[at + S_START]!, ack)) break
      if (seqLess(ack, words[at + S_END]!)) {
        this.acknowledgePart(c, segment, ack, delivery)
        break
      }
      const flags = words[at + S_OFFSET_FLAGS]!
      if ((flags & SACKED) === 0) this.arrived(c, segment, delivery)
      else {
        c.sackedBytes -= this.length(segment)
        c.sackedSegments--
      }
      const next = words[at + S_NEXT]!
      if (c.sackHint === segment) c.sackHint = NO_SEGMENT
      if (c.lossHint === segment) c.lossHint = next
      this.give(segment)
      c.segmentCount--
      segment = next
    }
    c.segmentHead = segment
    if (segment === NO_SEGMENT) {
      c.segmentTail = NO_SEGMENT
      c.rackValid = 0 // times of long ago cannot be compared
    }
  }

  /** The receiver holds [left, right), which lies in flight: marks the segments that are covered whole. */
  sack(c: Connection, left: number, right: number, delivery: Delivery): void {
    const words = this.words
    let segment = c.segmentHead
    const hint = c.sackHint
    if (hint !== NO_SEGMENT && seqLessEqual(words[(hint << WORDS_SHIFT) + S_START]!, left)) segment = hint
    while (segment !== NO_SEGMENT && seqLess(words[(segment << WORDS_SHIFT) + S_START]!, left))
      segment = this.step(segment)
    if (segment === NO_SEGMENT) return
    const first = segment
    let last = NO_SEGMENT
    while (segment !== NO_SEGMENT && seqLessEqual(words[(segment << WORDS_SHIFT) + S_END]!, right)) {
      const at = segment << WORDS_SHIFT
      if ((words[at + S_OFFSET_FLAGS]! & SACKED) !== 0) {
        const far = words[at + S_TIME_NEXT]!
        last = seqLessEqual(words[(far << WORDS_SHIFT) + S_END]!, right) ? far : segment
      } else {
        this.arrived(c, segment, delivery)
        const length = this.length(segment)
        delivery.sackedBytes += length
        c.sackedBytes += length
        c.sackedSegments++
        words[at + S_OFFSET_FLAGS] = (words[at + S_OFFSET_FLAGS]! & ~(LOST | RETRANSMITTED)) | SACKED
        words[at + S_TIME_NEXT] = segment
        last = segment
      }
      segment = words[(last << WORDS_SHIFT) + S_NEXT]!
    }
    if (last === NO_SEGMENT) return
    words[(first << WORDS_SHIFT) + S_TIME_NEXT] = last
    c.sackHint = first
  }

  /** The receiver has thrown away what it had announced (RFC 2018 8): SACKs count for nothing. */
  forgetSacks(c: Connection): void {
    let before = NO_SEGMENT
    for (let segment = c.segmentHead; segment !== NO_SEGMENT; segment = this.next(segment)) {
      const at = (segment << WORDS_SHIFT) + S_OFFSET_FLAGS
      if ((this.words[at]! & SACKED) === 0) continue
      this.words[at]! &= ~SACKED
      this.linkByTime(c, segment, before)
      before = segment
    }
    c.sackedBytes = 0
    c.sackedSegments = 0
    c.sackHint = NO_SEGMENT
  }

  /* --- what is lost --- */

  /** @returns bytes that count as lost now and did not before */
  markLost(c: Connection, segment: number): number {
    const at = segment << WORDS_SHIFT
    const words = this.words
    const flags = words[at + S_OFFSET_FLAGS]!
    if ((flags & SACKED) !== 0) return 0
    const length = this.length(segment)
    if ((flags & RETRANSMITTED) !== 0) c.retransmittedBytes -= length
    else if ((flags & LOST) !== 0) return 0
    if ((flags & LOST) === 0) c.lostBytes += length
    words[at + S_OFFSET_FLAGS] = (flags & ~RETRANSMITTED) | LOST
    this.unlinkTime(c, segment)
    const hint = c.lossHint
    if (hint === NO_SEGMENT || seqLess(words[at + S_START]!, words[(hint << WORDS_SHIFT) + S_START]!))
      c.lossHint = segment
    return length
  }

  /** Everything that is not SACKed (RFC 6675 5.1, RFC 8985 6.3). */
  markAllLost(c: Connection): void {
    for (let segment = c.segmentHead; segment !== NO_SEGMENT; segment = this.next(segment)) this.markLost(c, segment)
  }

  /** Everything with more than `mss` bytes: a router refused it. */
  markLongerLost(c: Connection, mss: number): void {
    for (let segment = c.segmentHead; segment !== NO_SEGMENT; segment = this.next(segment))
      if (this.length(segment) > mss) this.markLost(c, segment)
  }

  /** What counted as lost is on its way after all; it goes back to its place by time. */
  unmarkLost(c: Connection): void {
    const words = this.words
    let before = NO_SEGMENT
    for (let segment = c.segmentHead; segment !== NO_SEGMENT; segment = this.next(segment)) {
      const at = segment << WORDS_SHIFT
      const flags = words[at + S_OFFSET_FLAGS]!
      if ((flags & LOST) === 0) continue
      words[at + S_OFFSET_FLAGS] = flags & ~LOST
      if ((flags & RETRANSMITTED) !== 0) continue
      this.linkByTime(c, segment, before)
      before = segment
    }
    c.lostBytes = 0
    c.lossHint = NO_SEGMENT
  }

  /** The first segment that waits to be sent again, or NO_SEGMENT. */
  nextLost(c: Connection): number {
    if (c.lostBytes === 0) return NO_SEGMENT
    let segment = c.lossHint
    while (segment !== NO_SEGMENT) {
      const flags = this.words[(segment << WORDS_SHIFT) + S_OFFSET_FLAGS]!
      if ((flags & (LOST | RETRANSMITTED)) === LOST) break
      segment = this.step(segment)
    }
    c.lossHint = segment
    return segment
  }

  /** The connection ends. */
  release(c: Connection): void {
    let segment = c.segmentHead
    while (segment !== NO_SEGMENT) {
      const next = this.next(segment)
      this.give(segment)
      segment = next
    }
    c.segmentHead = NO_SEGMENT
    c.segmentTail = NO_SEGMENT
    c.segmentCount = 0
    c.timeHead = NO_SEGMENT
    c.timeTail = NO_SEGMENT
    c.sackHint = NO_SEGMENT
    c.lossHint = NO_SEGMENT
    c.sackedBytes = 0
    c.sackedSegments = 0
    c.lostBytes = 0
    c.retransmittedBytes = 0
  }

  /* --- inside --- */

  /** A segment that was not SACKed before has arrived: out of all accounts. */
  private arrived(c: Connection, segment: number, delivery: Delivery): void {
    const at = segment << WORDS_SHIFT
    const words = this.words
    const flags = words[at + S_OFFSET_FLAGS]!
    const length = this.length(segment)
    if ((flags & LOST) !== 0) c.lostBytes -= length
    if ((flags & RETRANSMITTED) !== 0) c.retransmittedBytes -= length
    if ((flags & LOST) === 0 || (flags & RETRANSMITTED) !== 0) this.unlinkTime(c, segment)
    delivery.deliveredBytes += length
    c.deliveredSegments++
    const repeated = (flags & REPEATED) !== 0
    const end = words[at + S_END]!
    if (repeated) delivery.retransmissionAcked = 1
    else {
      delivery.noteAge((delivery.nowUs32 - words[at + S_SENT_US]!) | 0)
      if (!seqLess(c.recoverSequence, end)) delivery.originalArrived = 1
    }
    rackDelivered(c, delivery, end, words[at + S_SENT_US]!, repeated)
  }

  /** The ACK ends inside of a segment: the rest of it is a segment of its own. */
  private acknowledgePart(c: Connection, segment: number, ack: number, delivery: Delivery): void {
    const at = segment << WORDS_SHIFT
    const words = this.words
    const flags = words[at + S_OFFSET_FLAGS]!
    const part = seqDiff(ack, words[at + S_START]!)
    if ((flags & SACKED) !== 0) c.sackedBytes -= part
    else delivery.deliveredBytes += part
    if ((flags & LOST) !== 0) c.lostBytes -= part
    if ((flags & RETRANSMITTED) !== 0) c.retransmittedBytes -= part
    words[at + S_START] = ack
    words[at + S_META] = c.sendHead
    words[at + S_OFFSET_FLAGS] = (flags & ~OFFSET_MASK) | c.sendHeadOffset
  }
}

/** Bytes that are believed to be in the network (RFC 6675 4). */
export function pipeBytes(c: Connection): number {
  return seqDiff(c.sndNxt, c.sndUna) - c.sackedBytes - c.lostBytes + c.retransmittedBytes
}
