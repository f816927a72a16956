/**
 * Recovery, between steps 3 and 4: entries that a damaged line may have replaced. In the one program between the publication
 * of a version and the clear of the one before, a crash leaves both; if the newer one is damaged then, the older one must not be
 * served as if it were current.
 *
 *   damaged line ──► what it was, a byte ago (damaged-line.ts) ──► newer than the entry of its key?   the key answers "corrupt"
 *                └─► more than a byte is wrong: what it reads as ──► not older for certain?            the same
 *
 * Nothing is cleared for it: the older version stays where it is, refused, and writing or deleting its key puts both away. So
 * if the damage misleads us, nothing is lost.
 *
 * Called by: recovery.ts.
 */

import { findLostHead, SEARCHED_LINES_MAX } from './damaged-line.ts'
import { compareVersions, readableKey, versionNumber } from './entry.ts'
import {
  FLAG_TOMBSTONE,
  NO_META,
  stateFlags,
  stateGeneration,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_STATE,
  W_VERSION_LOW,
} from './layout.ts'
import type { Pool } from './pool.ts'
import { CORRUPT, IN_LIST, type RecoveryState, TAKEN } from './recovery-state.ts'
import type { SkipList } from './skip-list.ts'

/** Refuses the entries that a damaged line may have replaced. Of too many to look into, the rest is believed to be what it reads as. */
export function doubtReplaced(state: RecoveryState, list: SkipList): void {
  const { pool } = state
  for (const [i, meta] of [...state.damaged].entries()) {
    const claimed = readableKey(pool, meta)
    const was = i < SEARCHED_LINES_MAX ? findLostHead(pool, meta) : undefined
    const key = was?.key ?? claimed
    if (key === undefined) continue
    const older = list.find(key, 0, key.length)
    if (older === NO_META || older === meta || isTombstone(pool, older)) continue
    const mayBeNewer = was !== undefined ? was.version > versionNumber(pool, older) : !isNotNewer(pool, meta, older)
    if (mayBeNewer) refuse(state, list, older, meta, claimed !== undefined && Buffer.compare(claimed, key) === 0)
  }
}

/**
 * Whether a damaged head tells by fields that lie apart that it is older than a sound one, or a copy of it that packing
 * made: one damaged field alone cannot make a newer one look so.
 */
function isNotNewer(pool: Pool, damaged: number, sound: number): boolean {
  if (stateGeneration(pool.get(damaged, W_STATE)) !== (pool.get(damaged, W_VERSION_LOW) & 0xffff)) return false
  const age = compareVersions(pool, damaged, sound)
  const arrived = arrival(pool, damaged) - arrival(pool, sound)
  return age === 0 ? arrived === 0 : age < 0 && arrived < 0
}

/** What is under it is gone either way: the key answers "not found", with a finding. */
function isTombstone(pool: Pool, head: number): boolean {
  return (stateFlags(pool.get(head, W_STATE)) & FLAG_TOMBSTONE) !== 0
}

/** As a double, so coarser than a nanosecond: to be compared, not computed with. */
function arrival(pool: Pool, meta: number): number {
  return (pool.get(meta, W_ARRIVAL_HIGH) >>> 0) * 2 ** 32 + (pool.get(meta, W_ARRIVAL_LOW) >>> 0)
}

/** @param together the damaged line says that it is of the same key: it goes when the key is written or deleted */
function refuse(state: RecoveryState, list: SkipList, older: number, damaged: number, together: boolean): void {
  const { pool, reclamation } = state
  const why = `line ${damaged}, which is damaged, may be a newer version`
  state.report.corrupt.push({ key: readableKey(pool, older), meta: older, buffer: pool.buffer(older), reason: why })
  if (state.states[damaged] === IN_LIST) {
    // In the place of a key that it never had.
    list.remove(damaged)
    state.corruptHeads.delete(damaged)
    reclamation.brokenChains.delete(damaged)
    state.states[damaged] = CORRUPT
  }
  if (!state.corruptHeads.has(older)) {
    const fragments: number[] = []
    for (let meta = pool.next(older); meta !== NO_META; meta = pool.next(meta)) fragments.push(meta)
    state.corruptHeads.add(older)
    reclamation.brokenChains.set(older, fragments)
  }
  if (!together) return
  reclamation.brokenChains.get(older)!.push(damaged)
  state.states[damaged] = TAKEN
  state.doubted.set(damaged, older)
}
