/**
 * Recovery: from a region in any state a crash can leave it in to a consistent store (docs/format.md, "Recovery").
 *
 * Called by: store.ts when it opens. Calls: recovery-lines, recovery-links; leaves what has to be written to commit.ts.
 *
 *   1. classify    every line by its commit word and CRC; heads must lead a complete chain of their own fragments;
 *                  members of an atomic batch count only if a committed group covers them    recovery-lines.ts
 *   2. walk        the level-0 links from the anchor, passing through lines that are not committed (any more)
 *   3. insert      committed heads that the walk did not meet (their predecessor's link was lost)    recovery-links.ts
 *                  an entry that a damaged line may have replaced is refused                         recovery-doubt.ts
 *   4. reclaim     older versions of a key, fragments that no head reaches
 *   5. account     references to buffers, free lists
 *   6. persist     cleared lines and mended links, in one program
 *
 * Every step but the walk goes through memory in the order of the lines; nothing is allocated for an entry but the arrays
 * that are there from the start (docs/format.md has the figures).
 *
 * Invariants:
 *  1. The lines are the authority; a link can be wrong without losing an entry.
 *  2. A line whose commit word is neither 0 nor valid is never reused or served: it is reported, and stays.
 *  3. recover(recover(x)) = recover(x): step 6 changes only what step 2 to 4 would find again.
 *  4. Of an atomic batch either every member counts or none does, also after a crash in this recovery.
 *  5. A head that fails its CRC never displaces one that does not: its version, and even its key, may be wrong. If it may be
 *     newer, the sound one is not served either.
 */
import { NO_META, W_VERSION_LOW } from './layout.ts'
import { LINE_VALID, type Persistence } from './persistence.ts'
import type { Pool } from './pool.ts'
import type { Reclamation } from './reclamation.ts'
import { doubtReplaced } from './recovery-doubt.ts'
import { scanLines } from './recovery-lines.ts'
import { linkHeads } from './recovery-links.ts'
import { CORRUPT, IN_LIST, type RecoveryReport, RecoveryState, TAKEN } from './recovery-state.ts'
import type { SkipList } from './skip-list.ts'

export type { CorruptEntry, RecoveryReport } from './recovery-state.ts'

/** Members become entries of their own; tombstones have hidden what they delete, and leave the list. */
function settleMembers(state: RecoveryState, list: SkipList): void {
  const { states, reclamation, pool } = state
  for (const head of state.members) if (states[head] === IN_LIST) reclamation.settleMember(head)
  for (const head of state.tombstones) {
    if (states[head] !== IN_LIST) continue
    list.remove(head)
    states[head] = TAKEN
    pool.retainBuffer(pool.buffer(head))
    reclamation.defer(head)
  }
}

/** Step 4, second half: committed fragments that belong to no entry. */
function reclaimOrphans(state: RecoveryState): void {
  const { pool, states, reclamation } = state
  // There are few, if any: `indexOf` passes over the others faster than a loop that is run once.
  for (let meta = states.indexOf(LINE_VALID, 1); meta >= 0; meta = states.indexOf(LINE_VALID, meta + 1)) {
    const head = pool.get(meta, W_VERSION_LOW)
    const owner = state.doubted.get(head) ?? head
    if (state.corruptHeads.has(owner)) {
      // What is left of a damaged entry stays until the key is written or deleted.
      reclamation.brokenChains.get(owner)!.push(meta)
      states[meta] = TAKEN
      continue
    }
    if (states[owner] === CORRUPT) {
      states[meta] = CORRUPT
      continue
    }
    state.report.orphans++
    states[meta] = TAKEN
    pool.retainBuffer(pool.buffer(meta))
    reclamation.reclaim(meta)
  }
}

function hold(pool: Pool, meta: number): void {
  pool.retainBuffer(pool.buffer(meta))
  pool.markStored(meta)
}

/** An entry's references to its buffers. */
function holdEntry(state: RecoveryState, head: number): void {
  const { pool } = state
  hold(pool, head)
  if (pool.next(head) === NO_META && state.reclamation.brokenChains.size === 0) return
  const broken = state.reclamation.brokenChains.get(head)
  if (broken !== undefined) for (const meta of broken) hold(pool, meta)
  else for (let meta = pool.next(head); meta !== NO_META; meta = pool.next(meta)) hold(pool, meta)
}

/** Step 5; the losers of step 3 are retired like superseded entries of a running store. */
function account(state: RecoveryState): void {
  const { pool, states } = state
  for (let meta = 0; meta < states.length; meta++) {
    if (states[meta] === IN_LIST) holdEntry(state, meta)
    else if (states[meta] === CORRUPT && pool.isBuffer(pool.buffer(meta))) pool.retainBuffer(pool.buffer(meta))
  }
  for (const head of state.losers) holdEntry(state, head)
  pool.buildFreeLists(states) // free is what is LINE_UNPUBLISHED
  for (const head of state.losers) state.reclamation.retire(head, false)
}

/**
 * Recovers a region into an empty list. What has to be written (cleared lines, mended links) is left to
 * `commit.settle`, which the caller runs before it serves.
 */
export function recover(
  persistence: Persistence,
  list: SkipList,
  reclamation: Reclamation,
  corruptHeads: Set<number>,
): RecoveryReport {
  const state = new RecoveryState(persistence, reclamation, corruptHeads)
  scanLines(state)
  linkHeads(state, list)
  doubtReplaced(state, list)
  settleMembers(state, list)
  reclaimOrphans(state)
  account(state)
  state.report.records = list.size - corruptHeads.size
  return state.report
}
