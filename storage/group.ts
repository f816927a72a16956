/**
 * Atomic batches inside one persist program: changes that become part of the store all together or not at all
 * (docs/format.md, "Atomic batches").
 *
 *   FENCE 1   members sealed: heads, and tombstones for deletions      they count only while a group covers them
 *   FENCE     the group is sealed: one 8-byte store                    now all of them count
 *   FENCE 2
 *
 *   group line   version = last version that it covers, arrival = first one; buffer: any member's, held so that the
 *                line is released like every other
 *
 * All atomic batches that one program publishes share one group; so two of them, or one and a plain write, may change
 * the same key. Called by: commit.ts. What follows the publication is in reclamation.ts.
 *
 * Invariants:
 *  1. Members of a group have versions between its first and last; the ranges of two groups never overlap.
 *  2. A change that takes the place of a member is a member.
 */
import { type Batch, CHANGE_DELETE } from './batch.ts'
import { stateToSeal } from './entry.ts'
import {
  FLAG_MEMBER,
  FLAG_TOMBSTONE,
  KIND_GROUP,
  KIND_HEAD,
  NO_FRAME,
  NO_META,
  packState,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_BUFFER,
  W_KEY,
  W_KEY_PREFIX,
  W_NEXT,
  W_VALUE,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from './layout.ts'
import type { Pool } from './pool.ts'
import type { Versions } from './versions.ts'

/** The member heads and tombstones of a group are sealed with these flags. */
function memberState(pool: Pool, head: number, isTombstone: boolean): number {
  const flags = isTombstone ? FLAG_MEMBER | FLAG_TOMBSTONE : FLAG_MEMBER
  return stateToSeal(pool, head, pool.get(head, W_VERSION_LOW), KIND_HEAD, flags)
}

/** Makes sure that the batch has a group, whose first version is the next one. The caller has made sure of a free line. */
export function openGroup(pool: Pool, versions: Versions, batch: Batch, member: number): void {
  if (batch.group !== NO_META) return
  const buffer = pool.get(member, W_BUFFER)
  pool.retainBuffer(buffer)
  const group = pool.createView(buffer, 0, 0, NO_FRAME << 16)
  setWords(pool, group, W_ARRIVAL_LOW, W_ARRIVAL_HIGH, versions.next)
  for (const word of [W_KEY, W_KEY_PREFIX, W_VALUE, W_NEXT]) pool.set(group, word, 0)
  batch.group = group
}

/** Turns a staged member that put its key into one that deletes it. Returns its fragments, a chain. */
export function toTombstone(pool: Pool, head: number): number {
  const fragments = pool.next(head)
  pool.setNext(head, NO_META)
  pool.setData(head, pool.dataOffset(head), 0)
  pool.setSum(head, 0)
  pool.set(head, W_VALUE, 0)
  return fragments
}

/** Behind fence 1: seals the members, and puts a fence behind them. */
export function sealMembers(pool: Pool, batch: Batch): void {
  for (let change = 0; change < batch.count; change++) {
    if (batch.atomic[change] === 0) continue
    const head = batch.head[change]!
    batch.program.sealLine(head, memberState(pool, head, batch.kind[change] === CHANGE_DELETE))
  }
  batch.program.fence()
}

/** Before fence 2: seals the group, which covers everything up to the last version given out. */
export function sealGroup(pool: Pool, versions: Versions, batch: Batch): void {
  const { group } = batch
  setWords(pool, group, W_VERSION_LOW, W_VERSION_HIGH, versions.next - 1)
  batch.program.sealLine(group, packState(pool.get(group, W_VERSION_LOW), KIND_GROUP, 0))
}

function setWords(pool: Pool, meta: number, low: number, high: number, value: number): void {
  pool.set(meta, low, value | 0)
  pool.set(meta, high, Math.floor(value / 2 ** 32) | 0)
}
