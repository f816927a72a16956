/**
 * Recovery, steps 2 and 3: every head goes into the list, or out of the store if a newer one has its key. The list is what
 * the level-0 links say; if they lead astray it is made anew by sorting. Heads that the walk did not meet are inserted.
 *
 *   walkLinks ──► a run of heads, as the links have them ──► gatherRun ──► list.appendRun
 *                 recovery-walk.ts                           digests: are they neighbours, and do their keys ascend?
 *
 * Called by: recovery.ts.
 */
import { compareVersions, keyLength, keyStart } from './entry.ts'
import { KEY_WORDS } from './key.ts'
import { ANCHOR_META, FLAG_TOMBSTONE, NO_META, stateFlags, W_STATE } from './layout.ts'
import { gatherRun } from './pmem.ts'
import { HEAD, IN_LIST, type RecoveryState } from './recovery-state.ts'
import { RUN_HEADS, RUN_PLACES, SEGMENTS_MAX, walkLinks } from './recovery-walk.ts'
import type { SkipList } from './skip-list.ts'

/** Puts every head into the list, or out of the store if a newer one has its key. */
export function linkHeads(state: RecoveryState, list: SkipList): void {
  if (!walk(state, list)) {
    state.report.relinked = true
    relinkSorted(state, list)
    return
  }
  const { states } = state
  for (let meta = states.indexOf(HEAD); meta >= 0; meta = states.indexOf(HEAD, meta + 1)) insertUnmet(state, list, meta)
}

/** Makes a list of what the links lead to. False if they lead astray: out of order, in a circle, or out of the region. */
function walk(state: RecoveryState, list: SkipList): boolean {
  const walked = walkLinks(state, SEGMENTS_MAX) ?? walkLinks(state, 1)
  if (walked === undefined) return false
  const { runs, lengths, order } = walked
  const appending = new Appending(state, list)
  for (const run of order) if (!appending.append(runs, run * RUN_PLACES, lengths[run]!)) return false
  appending.end()
  return true
}

/** Builds the list, a run at a time. */
class Appending {
  private readonly state: RecoveryState
  private readonly list: SkipList
  private readonly keys = new Int32Array(RUN_PLACES * KEY_WORDS)
  /** The last head appended. */
  private last = ANCHOR_META
  /** Neighbours whose first has no link to the second, in pairs: stored in the end, when nothing can fail any more. */
  private readonly mends: number[] = []

  constructor(state: RecoveryState, list: SkipList) {
    this.state = state
    this.list = list
    list.beginRebuild()
  }

  /** Appends the heads at [place + 1, place + 1 + length) of `runs`. False: their keys do not ascend. */
  append(runs: Int32Array, place: number, length: number): boolean {
    if (length === 0) return true
    // The last head of the run before goes first: already appended, there to be compared with. Before the first one is the anchor.
    const isFirst = this.last === ANCHOR_META
    runs[place] = this.last
    const metas = runs.subarray(place, place + 1 + length)
    for (let at = 1; ; at++) {
      at = gatherRun(metas, at, this.state.digests, this.keys)
      if (at === metas.length) break
      if (at < 0) throw new Error('a head that was walked has no digest')
      if (!(isFirst && at === 1) && !this.state.ascends(metas[at - 1]!, metas[at]!)) return false
      this.mends.push(metas[at - 1]!, metas[at]!)
    }
    this.list.appendRun(metas, this.keys)
    this.last = metas[length]!
    return true
  }

  end(): void {
    for (let i = 0; i < this.mends.length; i += 2) this.list.setLink(this.mends[i]!, this.mends[i + 1]!)
    this.list.endRebuild(this.last, this.state.hashes)
  }
}

/** Orders two heads of one key: the one that counts first. */
function compareRank(state: RecoveryState, a: number, b: number): number {
  const soundness = Number(state.damaged.has(a)) - Number(state.damaged.has(b))
  if (soundness !== 0) return soundness
  const age = compareVersions(state.pool, b, a)
  // Two copies of one version: a crash came while packing moved it. The one whose chain is whole counts.
  return age !== 0 ? age : Number(state.corruptHeads.has(a)) - Number(state.corruptHeads.has(b))
}

/** The whole list by sorting; of several versions of a key the newest. */
function relinkSorted(state: RecoveryState, list: SkipList): void {
  const { states } = state
  const isHead = (at: number): boolean => at === HEAD || at === IN_LIST
  let count = 0
  const heads = new Int32Array(states.reduce((sum, at) => sum + Number(isHead(at)), 0))
  for (let meta = 0; meta < states.length; meta++) if (isHead(states[meta]!)) heads[count++] = meta
  heads.sort((a, b) => state.compareKeys(a, b) || compareRank(state, a, b))
  let listed = 0
  for (const head of heads) {
    if (listed > 0 && state.compareKeys(heads[listed - 1]!, head) === 0) {
      state.supersede(head)
      continue
    }
    states[head] = IN_LIST
    heads[listed++] = head
  }
  const appending = new Appending(state, list)
  const run = new Int32Array(RUN_PLACES)
  for (let first = 0; first < listed; first += RUN_HEADS) {
    const end = Math.min(first + RUN_HEADS, listed)
    run.set(heads.subarray(first, end), 1)
    if (!appending.append(run, 0, end - first)) throw new Error('heads that were sorted are out of order')
  }
  appending.end()
}

function insertUnmet(state: RecoveryState, list: SkipList, head: number): void {
  const { pool } = state
  const bytes = pool.dataBytes(head)
  const other = list.find(bytes, keyStart(pool, head), keyLength(pool, head))
  if (other === NO_META) {
    list.insert(head)
    if ((stateFlags(pool.get(head, W_STATE)) & FLAG_TOMBSTONE) === 0) state.report.inserted++
  } else if (compareRank(state, head, other) < 0) {
    list.replace(other, head)
    state.supersede(other)
  } else {
    state.supersede(head)
    return
  }
  state.states[head] = IN_LIST
}
