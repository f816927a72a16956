/**
 * The neighbours that Neighbor Discovery knows (RFC 4861 5.1): a bounded hash table on typed arrays; what moves an entry
 * from state to state stands in ndp.ts.
 *
 *   buckets[hash] ─► entry ─► next[entry] ─► …        words[entry * 4]   address
 *
 * Strangers can fill it: anybody on the link by claiming addresses, anybody at all by making us answer to addresses of
 * the link that nobody has (RFC 6583). So when it is full, entries that nobody has confirmed go first.
 *
 * Called by: ndp.ts.
 */
import { NDP_ENTRIES_MAX } from './limits.ts'

export const NEIGHBOUR_NONE = 0
/** Being asked for; nothing can be sent. */
export const NEIGHBOUR_INCOMPLETE = 1
/** Did not answer. */
export const NEIGHBOUR_FAILED = 2
/** The address is known, but not whether anybody is there. */
export const NEIGHBOUR_STALE = 3
/** Used while stale: waits whether the transport confirms it. */
export const NEIGHBOUR_DELAY = 4
/** Being asked whether it is still there. */
export const NEIGHBOUR_PROBE = 5
export const NEIGHBOUR_REACHABLE = 6

export const NO_NEIGHBOUR = -1
/** Twice the entries, a power of two. */
const BUCKETS = 1024

export class NeighbourCache {
  readonly states = new Uint8Array(NDP_ENTRIES_MAX)
  readonly macsHigh = new Int32Array(NDP_ENTRIES_MAX)
  readonly macsLow = new Int32Array(NDP_ENTRIES_MAX)
  /** When the entry got into its state; REACHABLE: when it was last confirmed. */
  readonly sinceMs = new Int32Array(NDP_ENTRIES_MAX)
  /** INCOMPLETE, DELAY, PROBE: when something is to be done. */
  readonly dueMs = new Int32Array(NDP_ENTRIES_MAX)
  readonly solicitations = new Uint8Array(NDP_ENTRIES_MAX)
  readonly words = new Int32Array(NDP_ENTRIES_MAX * 4)
  /** Entries in the table; they are 0 to size - 1. */
  size = 0

  private readonly buckets = new Int32Array(BUCKETS).fill(NO_NEIGHBOUR)
  private readonly next = new Int32Array(NDP_ENTRIES_MAX)
  /** The entry found last: most frames go to the same neighbour. */
  private last = NO_NEIGHBOUR

  find(w0: number, w1: number, w2: number, w3: number): number {
    if (this.last !== NO_NEIGHBOUR && this.isAt(this.last, w0, w1, w2, w3)) return this.last
    let entry = this.buckets[bucketOf(w0, w1, w2, w3)]!
    while (entry !== NO_NEIGHBOUR && !this.isAt(entry, w0, w1, w2, w3)) entry = this.next[entry]!
    this.last = entry
    return entry
  }

  /** An entry of state NONE for an address that is not in the table. @param entry from `vacancy` */
  insert(entry: number, w0: number, w1: number, w2: number, w3: number): void {
    const bucket = bucketOf(w0, w1, w2, w3)
    this.words[entry * 4] = w0
    this.words[entry * 4 + 1] = w1
    this.words[entry * 4 + 2] = w2
    this.words[entry * 4 + 3] = w3
    this.states[entry] = NEIGHBOUR_NONE
    this.next[entry] = this.buckets[bucket]!
    this.buckets[bucket] = entry
    this.last = entry
  }

  /** A place for one more: a new one, or that of the entry that is worth least, which leaves the table. */
  vacancy(): number {
    if (this.size < NDP_ENTRIES_MAX) return this.size++
    let least = 0
    for (let entry = 1; entry < NDP_ENTRIES_MAX; entry++) {
      const better = rank(this.states[entry]!) - rank(this.states[least]!)
      if (better < 0 || (better === 0 && ((this.sinceMs[entry]! - this.sinceMs[least]!) | 0) < 0)) least = entry
    }
    this.remove(least)
    return least
  }

  private remove(entry: number): void {
    const at = entry * 4
    const { words } = this
    const bucket = bucketOf(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!)
    let link = this.buckets[bucket]!
    if (link === entry) this.buckets[bucket] = this.next[entry]!
    else {
      while (this.next[link] !== entry) link = this.next[link]!
      this.next[link] = this.next[entry]!
    }
    if (this.last === entry) this.last = NO_NEIGHBOUR
  }

  private isAt(entry: number, w0: number, w1: number, w2: number, w3: number): boolean {
    const at = entry * 4
    const { words } = this
    return words[at + 3] === w3 && words[at + 2] === w2 && words[at + 1] === w1 && words[at] === w0
  }
}

/** What never answered is worth less than what was heard of, and that less than what was confirmed. */
function rank(state: number): number {
  if (state <= NEIGHBOUR_FAILED) return 0
  return state === NEIGHBOUR_STALE ? 1 : 2
}

function bucketOf(w0: number, w1: number, w2: number, w3: number): number {
  let h = Math.imul(w3 ^ (w3 >>> 15), 0x85ebca77) + w2
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae3d) + Math.imul(w1, 0x27d4eb2f) + w0
  return (h ^ (h >>> 16)) & (BUCKETS - 1)
}
