/**
 * The table behind the scoreboard: segments of all connections, eight int32 words each, linked twice: by sequence number,
 * and by the time of the last transmission.
 *
 *   by sequence   c.segmentHead ─► [sndUna ‥) ─► [ ‥ ) ─► … ─► [ ‥ sndNxt) ◄─ c.segmentTail
 *   by time       c.timeHead ─► sent first ─► … ─► sent last ◄─ c.timeTail      only what may still arrive
 *
 *   next │ start │ end │ sent µs │ meta │ offset + flags │ time next │ time previous
 *
 * Of a SACKed segment, which is in no list by time, `time next` is a shortcut: a segment up to which everything is
 * SACKed. So an ACK that repeats a long block costs a step or two, and not the block's length.
 *
 * What the flags mean for each other, and the sums over them, is the scoreboard's business (scoreboard.ts, which extends
 * this); here they are read, segments are found, linked and given back.
 */
import type { Connection } from './connection.ts'
import { seqLess, seqLessEqual } from './seq.ts'

export const NO_SEGMENT = -1

export const WORDS_SHIFT = 3
export const S_NEXT = 0
export const S_START = 1
export const S_END = 2
export const S_SENT_US = 3
export const S_META = 4
/** Offset in the line u16 | flags << 16. */
export const S_OFFSET_FLAGS = 5
export const S_TIME_NEXT = 6
export const S_TIME_PREVIOUS = 7

export const OFFSET_MASK = 0xffff
export const SACKED = 1 << 16
export const LOST = 1 << 17
/** Sent again, and that copy is on its way. */
export const RETRANSMITTED = 1 << 18
/** Sent more than once. */
export const REPEATED = 1 << 19
/** Its last byte was pushed (PSH). */
export const PUSHED = 1 << 20

const SEGMENTS_START = 1024

export class SegmentTable {
  protected words = new Int32Array(SEGMENTS_START << WORDS_SHIFT)
  private free = NO_SEGMENT

  constructor() {
    this.addFree(0, SEGMENTS_START)
  }

  /* --- reading --- */

  next(segment: number): number {
    return this.words[(segment << WORDS_SHIFT) + S_NEXT]!
  }

  timeNext(segment: number): number {
    return this.words[(segment << WORDS_SHIFT) + S_TIME_NEXT]!
  }

  start(segment: number): number {
    return this.words[(segment << WORDS_SHIFT) + S_START]!
  }

  end(segment: number): number {
    return this.words[(segment << WORDS_SHIFT) + S_END]!
  }

  length(segment: number): number {
    const at = segment << WORDS_SHIFT
    return (this.words[at + S_END]! - this.words[at + S_START]!) | 0
  }

  sentUs(segment: number): number {
    return this.words[(segment << WORDS_SHIFT) + S_SENT_US]!
  }

  meta(segment: number): number {
    return this.words[(segment << WORDS_SHIFT) + S_META]!
  }

  offset(segment: number): number {
    return this.words[(segment << WORDS_SHIFT) + S_OFFSET_FLAGS]! & OFFSET_MASK
  }

  isPushed(segment: number): boolean {
    return (this.words[(segment << WORDS_SHIFT) + S_OFFSET_FLAGS]! & PUSHED) !== 0
  }

  isSacked(segment: number): boolean {
    return (this.words[(segment << WORDS_SHIFT) + S_OFFSET_FLAGS]! & SACKED) !== 0
  }

  /** Counts as lost, sent again or not. */
  isLost(segment: number): boolean {
    return (this.words[(segment << WORDS_SHIFT) + S_OFFSET_FLAGS]! & LOST) !== 0
  }

  /** Sent again, and not known to be lost again. */
  isRepairing(segment: number): boolean {
    return (this.words[(segment << WORDS_SHIFT) + S_OFFSET_FLAGS]! & RETRANSMITTED) !== 0
  }

  /** On its way with bytes that went before, be it with the SYN. */
  isRepeat(segment: number): boolean {
    const flags = this.words[(segment << WORDS_SHIFT) + S_OFFSET_FLAGS]!
    return (flags & RETRANSMITTED) !== 0 || (flags & (REPEATED | LOST | SACKED)) === REPEATED
  }

  /* --- for the scoreboard --- */

  /** The segment behind this one, or behind the SACKed run that begins here. */
  protected step(segment: number): number {
    const at = segment << WORDS_SHIFT
    const sacked = (this.words[at + S_OFFSET_FLAGS]! & SACKED) !== 0
    return sacked ? this.next(this.words[at + S_TIME_NEXT]!) : this.words[at + S_NEXT]!
  }

  protected linkTime(c: Connection, segment: number): void {
    this.linkTimeAfter(c, segment, c.timeTail)
  }

  /** Back to its place by time. @param from where to search from: sequence order is nearly time order */
  protected linkByTime(c: Connection, segment: number, from: number): void {
    const sentUs = this.sentUs(segment)
    let before = from !== NO_SEGMENT && seqLess(sentUs, this.sentUs(from)) ? NO_SEGMENT : from
    let after = before === NO_SEGMENT ? c.timeHead : this.timeNext(before)
    while (after !== NO_SEGMENT && seqLessEqual(this.sentUs(after), sentUs)) {
      before = after
      after = this.timeNext(after)
    }
    this.linkTimeAfter(c, segment, before)
  }

  /** @param before NO_SEGMENT: to the head */
  protected linkTimeAfter(c: Connection, segment: number, before: number): void {
    const words = this.words
    const at = segment << WORDS_SHIFT
    const next = before === NO_SEGMENT ? c.timeHead : words[(before << WORDS_SHIFT) + S_TIME_NEXT]!
    words[at + S_TIME_NEXT] = next
    words[at + S_TIME_PREVIOUS] = before
    if (before === NO_SEGMENT) c.timeHead = segment
    else words[(before << WORDS_SHIFT) + S_TIME_NEXT] = segment
    if (next === NO_SEGMENT) c.timeTail = segment
    else words[(next << WORDS_SHIFT) + S_TIME_PREVIOUS] = segment
  }

  protected unlinkTime(c: Connection, segment: number): void {
    const words = this.words
    const next = words[(segment << WORDS_SHIFT) + S_TIME_NEXT]!
    const previous = words[(segment << WORDS_SHIFT) + S_TIME_PREVIOUS]!
    if (previous === NO_SEGMENT) c.timeHead = next
    else words[(previous << WORDS_SHIFT) + S_TIME_NEXT] = next
    if (next === NO_SEGMENT) c.timeTail = previous
    else words[(next << WORDS_SHIFT) + S_TIME_PREVIOUS] = previous
  }

  protected allocate(): number {
    if (this.free === NO_SEGMENT) this.grow()
    const segment = this.free
    this.free = this.words[(segment << WORDS_SHIFT) + S_NEXT]!
    return segment
  }

  protected give(segment: number): void {
    this.words[(segment << WORDS_SHIFT) + S_NEXT] = this.free
    this.free = segment
  }

  /** Twice the table; what it may become follows from SEGMENTS_IN_FLIGHT_MAX a connection. */
  private grow(): void {
    const before = this.words
    const count = before.length >> WORDS_SHIFT
    this.words = new Int32Array(before.length * 2)
    this.words.set(before)
    this.addFree(count, count)
  }

  private addFree(first: number, count: number): void {
    for (let segment = first; segment < first + count; segment++)
      this.words[(segment << WORDS_SHIFT) + S_NEXT] = segment + 1 < first + count ? segment + 1 : this.free
    this.free = first
  }
}
