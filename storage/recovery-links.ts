/**
 * Recovery, steps 2 and 3: the list. The level-0 links are followed from the anchor, passing through lines that are not
 * committed (any more), and the upper levels are built on the way; heads that the walk did not meet are inserted.
 *
 *   links ──► a run of heads, as the links have them ──► ascendingRun ──► list.appendRebuilt
 *             4 bytes a step, each depends on the last    keys compared    lines are in a cache now
 *                                                         natively, asked for ahead
 *
 * Called by: recovery.ts.
 */
import { compareVersions, keyLength, keyStart } from './entry.ts'
import { compareKey, keyPrefix } from './key.ts'
import { ANCHOR_META, NO_META } from './layout.ts'
import { HEAD, IN_LIST, type RecoveryState } from './recovery-state.ts'
import type { SkipList } from './skip-list.ts'

/** Heads of one run: with their keys 32 KiB in 512 pages, so that caches of data and of pages keep them until they are appended. */
const RUN_HEADS = 1 << 8

/** Puts every head into the list, or out of the store if a newer one has its key. */
export function linkHeads(state: RecoveryState, list: SkipList): void {
  if (!walk(state, list)) {
    state.report.relinked = true
    relinkSorted(state, list)
    return
  }
  const { states } = state
  for (let meta = 0; meta < states.length; meta++) if (states[meta] === HEAD) insertUnmet(state, list, meta)
}

/** Follows the level-0 links. False if they lead astray: out of order, in a circle, or out of the region. */
function walk(state: RecoveryState, list: SkipList): boolean {
  const { pool, states, links, persistence } = state
  const run = new Int32Array(RUN_HEADS)
  let steps = 0
  let meta = links[ANCHOR_META]!
  list.beginRebuild()
  // From the second run on, the first head is the last of the run before: already appended, there to be compared with.
  for (let appended = 0; ; appended = 1) {
    let heads = appended
    for (; meta !== NO_META && heads < RUN_HEADS; meta = links[meta]!) {
      if (!pool.isMeta(meta) || ++steps > pool.totalMetas || states[meta] === IN_LIST) return false
      if (states[meta] !== HEAD) continue
      states[meta] = IN_LIST
      run[heads++] = meta
    }
    if (persistence.ascendingRun(run, heads) !== heads) return false
    for (let i = appended; i < heads; i++) list.appendRebuilt(run[i]!)
    if (meta === NO_META) break
    run[0] = run[heads - 1]!
  }
  list.endRebuild()
  return true
}

function compareEntries(state: RecoveryState, a: number, b: number): number {
  const { pool } = state
  const start = keyStart(pool, b)
  const length = keyLength(pool, b)
  const bytes = pool.dataBytes(b)
  return compareKey(pool, a, bytes, start, length, keyPrefix(bytes, start, length))
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
  let count = 0
  const heads = new Int32Array(states.reduce((sum, at) => sum + Number(at === HEAD || at === IN_LIST), 0))
  for (let meta = 0; meta < states.length; meta++)
    if (states[meta] === HEAD || states[meta] === IN_LIST) heads[count++] = meta
  heads.sort((a, b) => compareEntries(state, a, b) || compareRank(state, a, b))
  list.beginRebuild()
  let last = NO_META
  for (const head of heads) {
    if (last !== NO_META && compareEntries(state, last, head) === 0) {
      state.supersede(head)
      continue
    }
    states[head] = IN_LIST
    list.appendRebuilt(head)
    last = head
  }
  list.endRebuild()
}

function insertUnmet(state: RecoveryState, list: SkipList, head: number): void {
  const { pool } = state
  const bytes = pool.dataBytes(head)
  const other = list.find(bytes, keyStart(pool, head), keyLength(pool, head))
  if (other === NO_META) {
    list.insert(head)
    state.report.inserted++
  } else if (compareRank(state, head, other) < 0) {
    list.replace(other, head)
    state.supersede(other)
  } else {
    state.supersede(head)
    return
  }
  state.states[head] = IN_LIST
}
