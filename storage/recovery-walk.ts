/**
 * Recovery, step 2: the heads in the order of the level-0 links, from the anchor on, passing through lines that are not
 * committed (any more).
 *
 * Each step of a walk depends on the one before and is a cache miss. So the list is walked from many places at once:
 * heads picked all over the region are where segments begin, some segments are followed in turns, and the processor waits
 * for all of their misses together. Then the segments are joined, each with the one that begins where it ended.
 *
 *   list       anchor ► a ► b ► C ► d ► e ► F ► g ► end        C, F: beginnings
 *   segments   [anchor: a b]  [C: C d e]  [F: F g]
 *   runs       [ – a b ]      [ – C d e ] [ – F g ]            up to RUN_HEADS heads; the first place is left to the reader
 *
 * Called by: recovery-links.ts. The segments are those of Helman & JaJa 1999, "Designing practical efficient algorithms
 * for symmetric multiprocessors", with misses in the place of processors.
 *
 * Invariants:
 *  1. A head belongs to one segment. It is IN_LIST from when it was walked; who meets it again is in a circle.
 *  2. A walk is whole only if every segment was reached from the anchor. A head that no link leads to may have been picked
 *     as a beginning: then the walk has failed, and the caller makes another one from the anchor alone.
 */
import { ANCHOR_META, NO_META } from './layout.ts'
import { DIGEST_LINK, DIGEST_WORDS } from './persistence.ts'
import { followLinks } from './pmem.ts'
import { BEGINNING, HEAD, IN_LIST, type RecoveryState } from './recovery-state.ts'

/** Places of a run: with their digests, which are gathered next, 6 KiB. */
export const RUN_PLACES = 1 << 8
export const RUN_HEADS = RUN_PLACES - 1
/** Segments that are followed in turns: about the misses that a core can have under way. */
const CURSORS = 16
/** Segments are of very different lengths; of many the last ones to be followed are not long. */
export const SEGMENTS_MAX = 1024
/** Heads of a segment on average, at least. */
const SEGMENT_HEADS_MIN = 128

/** Heads in the order of the list. */
export interface Walked {
  /** Run i is at [i * RUN_PLACES + 1, i * RUN_PLACES + 1 + lengths[i]). */
  readonly runs: Int32Array
  readonly lengths: readonly number[]
  /** The numbers of the runs, in order. */
  readonly order: readonly number[]
}

interface Segment {
  /** The anchor, or a head. */
  readonly beginning: number
  /** Where it ended: where another segment begins, or NO_META. */
  end: number
  readonly runs: number[]
}

class Walk {
  private readonly state: RecoveryState
  private readonly segments: Segment[]
  private readonly runs: Int32Array
  private readonly lengths: number[] = []
  /** How many segments were begun. */
  private begun = 0
  /** Lines passed that were no heads. */
  private passed = 0
  /* Of each cursor: the line that comes next, its segment, and the place of its next head in `runs`. */
  private readonly nexts = new Int32Array(CURSORS)
  private readonly segmentOf = new Int32Array(CURSORS)
  private readonly places = new Int32Array(CURSORS)
  private cursors = 0

  constructor(state: RecoveryState, segmentsMax: number) {
    this.state = state
    const { states, report } = state
    const beginnings = [ANCHOR_META]
    const count = Math.min(segmentsMax, 1 + Math.floor(report.committedLines / SEGMENT_HEADS_MIN))
    for (let i = 1; i < count; i++) {
      const beginning = states.indexOf(HEAD, Math.floor((i * states.length) / count))
      if (beginning < 0) break
      states[beginning] = BEGINNING
      beginnings.push(beginning)
    }
    this.segments = beginnings.map((beginning) => ({ beginning, end: NO_META, runs: [] }))
    // A run that is full is followed by another one at once: each segment may leave two that are not.
    const runs = Math.ceil(report.committedLines / RUN_HEADS) + 2 * beginnings.length
    this.runs = new Int32Array(runs * RUN_PLACES)
  }

  /** False if a link leads out of the region or in a circle. */
  follow(): boolean {
    const { nexts, places, runs } = this
    const { states, digests } = this.state
    while (this.cursors < CURSORS && this.beginSegment(this.cursors)) this.cursors++
    while (this.cursors > 0) {
      const stopped = followLinks(states, digests, IN_LIST, this.cursors, nexts, places, runs, RUN_PLACES)
      if (stopped < 0) throw new Error('the walk has more heads than were scanned')
      if (places[stopped]! % RUN_PLACES === 0) places[stopped] = this.beginRun(stopped)
      else if (!this.passOrEnd(stopped)) return false
    }
    return true
  }

  /** The runs in order; undefined if a segment was not reached, or twice. */
  join(): Walked | undefined {
    const { segments, state, runs, lengths } = this
    const byBeginning = new Map(segments.map((segment) => [segment.beginning, segment]))
    const order: number[] = []
    for (let next = ANCHOR_META, isFirst = true; isFirst || next !== NO_META; isFirst = false) {
      const segment = byBeginning.get(next)
      if (segment === undefined) return undefined
      byBeginning.delete(next)
      for (const run of segment.runs) order.push(run)
      next = segment.end
    }
    if (byBeginning.size > 0) return undefined
    for (const { beginning } of segments) if (beginning !== ANCHOR_META) state.states[beginning] = IN_LIST
    return { runs, lengths, order }
  }

  /** Makes heads again of all that was walked. */
  undo(): void {
    const { states } = this.state
    for (let meta = 0; meta < states.length; meta++)
      if (states[meta] === IN_LIST || states[meta] === BEGINNING) states[meta] = HEAD
  }

  /** Sets a cursor on the next segment. False: there is none. */
  private beginSegment(cursor: number): boolean {
    if (this.begun === this.segments.length) return false
    const { beginning } = this.segments[this.begun]!
    this.segmentOf[cursor] = this.begun++
    this.places[cursor] = this.beginRun(cursor)
    if (beginning !== ANCHOR_META) this.runs[this.places[cursor]!++] = beginning
    this.nexts[cursor] = this.state.digests[beginning * DIGEST_WORDS + DIGEST_LINK]!
    return true
  }

  /** Gives a cursor's segment another run. Returns the place of its first head. */
  private beginRun(cursor: number): number {
    const run = this.lengths.length
    this.segments[this.segmentOf[cursor]!]!.runs.push(run)
    this.lengths.push(RUN_HEADS)
    return run * RUN_PLACES + 1
  }

  /** A cursor is at something else than a head that was not walked yet. False: it is astray. */
  private passOrEnd(cursor: number): boolean {
    const { pool, states, digests } = this.state
    const meta = this.nexts[cursor]!
    if (!pool.isMeta(meta) || states[meta] === IN_LIST) return false
    if (meta !== NO_META && states[meta] !== BEGINNING) {
      this.nexts[cursor] = digests[meta * DIGEST_WORDS + DIGEST_LINK]!
      return ++this.passed <= pool.totalMetas
    }
    this.segments[this.segmentOf[cursor]!]!.end = meta
    const place = this.places[cursor]!
    this.lengths[Math.floor(place / RUN_PLACES)] = (place % RUN_PLACES) - 1
    if (!this.beginSegment(cursor)) {
      this.cursors--
      this.nexts[cursor] = this.nexts[this.cursors]!
      this.segmentOf[cursor] = this.segmentOf[this.cursors]!
      this.places[cursor] = this.places[this.cursors]!
    }
    return true
  }
}

/**
 * All heads that the links lead to; they are IN_LIST then. Undefined if the links lead astray, or not to all beginnings:
 * then every head is one again.
 * @param segmentsMax 1: walk from the anchor alone
 */
export function walkLinks(state: RecoveryState, segmentsMax: number): Walked | undefined {
  const walk = new Walk(state, segmentsMax)
  const walked = walk.follow() ? walk.join() : undefined
  if (walked === undefined) walk.undo()
  return walked
}
