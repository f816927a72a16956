/**
 * Persist programs with one operation left out or moved: each such mutant must be caught by the crash images (hunt.ts), or
 * the operation is not needed where it is.
 *
 *   program ─► a place for each operation: what it is for, first or later, in which kind of program
 *           ─► the changes of each place: left out, not flushed, moved behind a fence, moved before one, swapped
 *
 * A program is of a kind by the set of roles in it. So "the flush of a link beside the clear of a superseded head" and "the
 * flush of a link beside a payload" are two places.
 *
 * What earlier batches owe (clears of what they superseded, links, members that become plain heads) needs to be durable only
 * when the program ends, because only then something is released. So these are moved behind the last fence. The one order
 * inside a program that they have a part in, an older version is cleared before a newer one is deleted, is tried by leaving
 * out the fence between the two. Likewise the fragments of an upload that goes on: they have to be durable only ahead of their
 * head, so a program that publishes no head has no order for them.
 *
 * A change that provably changes nothing is told by `equivalence`, with the reason, and is no mutant.
 */
import { copyKey, versionNumber } from '../../storage/entry.ts'
import {
  FLAG_MEMBER,
  FLAG_TOMBSTONE,
  KIND_FRAGMENT,
  KIND_GROUP,
  KIND_HEAD,
  stateFlags,
  stateKind,
  W_STATE,
} from '../../storage/layout.ts'
import {
  OP_CLEAR_LINE,
  OP_CRC_VIEW,
  OP_FENCE,
  OP_FLUSH_LINE,
  OP_FLUSH_VIEW,
  OP_SEAL_LINE,
} from '../../storage/persist-program.ts'
import type { Pool } from '../../storage/pool.ts'
import type { Step } from '../support/tracing-region.ts'
import type { Bench } from './bench.ts'

export type Change =
  | 'left out'
  | 'not flushed'
  | 'moved behind the next fence'
  | 'moved behind the last fence'
  | 'moved before the fence'
  | 'swapped'

/** Why a change changes nothing that any crash could show. */
const BROKEN_OFF = 'a fragment of an upload that broke off belongs to no entry'
const OTHER_KEYS =
  'a fence ahead of deletions is for older versions of their keys; these are other keys, or moved entries'

/** What an operation is for. */
function role(steps: readonly Step[], at: number, pool: Pool): string {
  const { op, a, b } = steps[at]!
  if (op === OP_FENCE) {
    const behind = steps.slice(at + 1).filter((step) => step.op === OP_FENCE).length
    return behind === 0 ? 'last fence' : behind === 1 ? 'fence before the last' : 'first fence'
  }
  if (op === OP_FLUSH_VIEW) return fragmentOf(steps, at) === undefined ? 'flush head' : 'flush fragment'
  if (op === OP_FLUSH_LINE) return steps[at - 1]?.op === OP_CRC_VIEW ? 'flush upgrade' : 'flush link'
  if (op === OP_CRC_VIEW) return 'upgrade'
  const isFirstPart = !steps.slice(0, at).some((step) => step.op === OP_FENCE)
  if (op === OP_SEAL_LINE) return `seal ${lineName(b)}${isFirstPart && stateKind(b) === KIND_HEAD ? ' anew' : ''}`
  const name = isMoved(pool, a) ? 'moved head' : lineName(pool.get(a, W_STATE))
  return `clear ${name}${isFirstPart ? '' : ' to delete'}`
}

/** The fragment whose view an operation flushes, or that it seals. */
function fragmentOf(steps: readonly Step[], at: number): number | undefined {
  const seal = steps[at]!.op === OP_FLUSH_VIEW ? steps[at + 1] : steps[at]
  return seal?.op === OP_SEAL_LINE && stateKind(seal.b) === KIND_FRAGMENT ? seal.a : undefined
}

function lineName(state: number): string {
  const kind = stateKind(state)
  if (kind === KIND_FRAGMENT) return 'fragment'
  if (kind === KIND_GROUP) return 'group'
  const flags = stateFlags(state)
  return (flags & FLAG_TOMBSTONE) !== 0 ? 'tombstone' : (flags & FLAG_MEMBER) !== 0 ? 'member' : 'head'
}

/** Whether packing made another head of the same entry, which has its version. */
function isMoved(pool: Pool, head: number): boolean {
  if (stateKind(pool.get(head, W_STATE)) !== KIND_HEAD) return false
  const version = versionNumber(pool, head)
  for (let meta = 0; meta < pool.metaIndexEnd; meta++) {
    if (meta === head || !pool.isMeta(meta) || stateKind(pool.get(meta, W_STATE)) !== KIND_HEAD) continue
    if (versionNumber(pool, meta) === version) return true
  }
  return false
}

/** The place of each operation of a program. */
export function places(steps: readonly Step[], pool: Pool): string[] {
  const roles = steps.map((_, at) => role(steps, at, pool))
  const kind = [...new Set(roles.filter((name) => !name.includes('fence')))].sort().join(' + ') || 'nothing'
  return roles.map((name, at) => `${name}${roles.indexOf(name) === at ? '' : ' (again)'} in {${kind}}`)
}

/** What can be changed about an operation. */
export function changesOf(steps: readonly Step[], at: number): Change[] {
  const { op, b } = steps[at]!
  const changes: Change[] = ['left out']
  if (op === OP_CRC_VIEW) changes.push('swapped')
  if (op === OP_FENCE || op === OP_CRC_VIEW) return changes
  if (op === OP_SEAL_LINE || op === OP_CLEAR_LINE) changes.push('not flushed')
  const isBehindFence = steps.slice(0, at).some((step) => step.op === OP_FENCE)
  const isOwed =
    !isBehindFence &&
    (op === OP_CLEAR_LINE || op === OP_FLUSH_LINE || (op === OP_SEAL_LINE && stateKind(b) === KIND_HEAD))
  const isFragment = fragmentOf(steps, at) !== undefined
  const isAwaited = !isFragment || steps.filter((step) => step.op === OP_FENCE).length > 1
  if (isAwaited && steps.slice(at + 1).some((step) => step.op === OP_FENCE))
    changes.push(isOwed ? 'moved behind the last fence' : 'moved behind the next fence')
  if (isBehindFence) changes.push('moved before the fence')
  return changes
}

/** Why a change of an operation is none, or ''. */
export function equivalence(steps: readonly Step[], at: number, change: Change, bench: Bench): string {
  const { pool } = bench.region
  const { op, a } = steps[at]!
  const fragment = fragmentOf(steps, at)
  if (fragment !== undefined) return bench.abandoned.has(fragment) ? BROKEN_OFF : ''
  const key = (meta: number): string => Buffer.from(copyKey(pool, meta)).toString('latin1')
  const isDeletion = (step: Step): boolean => step.op === OP_CLEAR_LINE
  const fence = op === OP_FENCE ? at : steps.findLastIndex((step, i) => i < at && step.op === OP_FENCE)
  const behind = fence < 0 ? [] : steps.slice(fence + 1, -1)
  // Only a program of nothing but deletions has nothing behind its first fence but clears.
  if (behind.length === 0 || !behind.every(isDeletion)) return ''
  const deleted = op === OP_FENCE ? behind.map((step) => key(step.a)) : [key(a)]
  // What was moved has the version of its copy: an original that is still there is the store before the deletion.
  const isOlder = (step: Step): boolean => isDeletion(step) && isHead(pool, step.a) && !isMoved(pool, step.a)
  const older = steps.slice(0, fence).filter(isOlder)
  const matters = older.some((step) => deleted.includes(key(step.a)))
  return matters || (op !== OP_FENCE && change !== 'moved before the fence') ? '' : OTHER_KEYS
}

function isHead(pool: Pool, meta: number): boolean {
  return stateKind(pool.get(meta, W_STATE)) === KIND_HEAD
}

/** The program with one operation changed. */
export function mutate(steps: readonly Step[], at: number, change: Change): Step[] {
  const step = steps[at]!
  const without = steps.toSpliced(at, 1)
  if (change === 'not flushed') return steps.with(at, { ...step, flushes: false })
  if (change === 'swapped') return without.toSpliced(at + 1, 0, step)
  if (change === 'moved behind the next fence') {
    const fence = without.findIndex((other, i) => i >= at && other.op === OP_FENCE)
    return without.toSpliced(fence + 1, 0, step)
  }
  if (change === 'moved behind the last fence') {
    const fence = without.findLastIndex((other) => other.op === OP_FENCE)
    return without.toSpliced(fence + 1, 0, step)
  }
  if (change === 'moved before the fence') {
    const fence = without.findLastIndex((other, i) => i < at && other.op === OP_FENCE)
    return without.toSpliced(fence, 0, step)
  }
  return without
}
