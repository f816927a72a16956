/**
 * Persist programs with one operation left out or moved: each such mutant must be caught by the crash images, or the
 * operation is not needed.
 *
 *   survey   short workloads ─► every place in every kind of program               a place = kind of program, role, first or later
 *   mutants  each place: left out, not flushed, moved behind a fence, moved before one, swapped
 *   hunt     the workloads that have the place, then longer ones ─► caught by which invariant
 *
 * A program is of a kind by the set of roles in it. So "the flush of a link beside the clear of a superseded head" and "the
 * flush of a link beside a payload" are two places.
 *
 * What earlier batches owe (clears of what they superseded, links, members that become plain heads) needs to be durable only
 * when the program ends, because only then something is released. So these are moved behind the last fence. The one order
 * inside a program that they have a part in, an older version is cleared before a newer one is deleted, is tried by leaving
 * out the fence between the two. Likewise the fragments of an upload that goes on: they have to be durable only ahead of their
 * head, so a program that publishes no head has no order for them.
 */
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
import { seededRandom } from '../support/random.ts'
import type { Step } from '../support/tracing-region.ts'
import { OPERATIONS, type Operation } from './operations.ts'
import { type Rewrite, runWorkload, Tally, type Workload } from './workload.ts'

/** Workloads of a place that are tried as they are. */
const WORKLOADS_PER_PLACE = 6
/** First with none, for what the running store tells, then with few images at each crash point, then with all. */
const IMAGES_PER_POINT = [0, 6, Number.POSITIVE_INFINITY]
/** Longer ones: each of those, and so many random operations behind it. */
const LONGER_WORKLOADS = 100
const LONGER_OPERATIONS = 8
const LONGER_IMAGES = 24

/** Uses again what is free by then. */
const REUSE = ['reclaim', 'put segments', 'put segments', 'put'].map(
  (name) => OPERATIONS.find((row) => row.name === name)!,
)

export type Change =
  | 'left out'
  | 'not flushed'
  | 'moved behind the next fence'
  | 'moved behind the last fence'
  | 'moved before the fence'
  | 'swapped'

export interface Mutant {
  readonly place: string
  readonly change: Change
  readonly workloads: readonly Workload[]
}

/** What an operation is for. */
function role(steps: readonly Step[], at: number, pool: Pool): string {
  const { op, a, b } = steps[at]!
  if (op === OP_FENCE) {
    const behind = steps.slice(at + 1).filter((step) => step.op === OP_FENCE).length
    return behind === 0 ? 'last fence' : behind === 1 ? 'fence before the last' : 'first fence'
  }
  if (op === OP_FLUSH_VIEW) {
    const next = steps[at + 1]
    const isFragment = next?.op === OP_SEAL_LINE && stateKind(next.b) === KIND_FRAGMENT
    return isFragment ? 'flush fragment' : 'flush head'
  }
  if (op === OP_FLUSH_LINE) return steps[at - 1]?.op === OP_CRC_VIEW ? 'flush upgrade' : 'flush link'
  if (op === OP_CRC_VIEW) return 'upgrade'
  const isFirstPart = !steps.slice(0, at).some((step) => step.op === OP_FENCE)
  if (op === OP_SEAL_LINE) return `seal ${lineName(b)}${isFirstPart && stateKind(b) === KIND_HEAD ? ' anew' : ''}`
  return `clear ${lineName(pool.get(a, W_STATE))}${isFirstPart ? '' : ' to delete'}`
}

function lineName(state: number): string {
  const kind = stateKind(state)
  if (kind === KIND_FRAGMENT) return 'fragment'
  if (kind === KIND_GROUP) return 'group'
  const flags = stateFlags(state)
  return (flags & FLAG_TOMBSTONE) !== 0 ? 'tombstone' : (flags & FLAG_MEMBER) !== 0 ? 'member' : 'head'
}

/** The place of each operation of a program. */
function places(steps: readonly Step[], pool: Pool): string[] {
  const roles = steps.map((_, at) => role(steps, at, pool))
  const kind = [...new Set(roles.filter((name) => !name.includes('fence')))].sort().join(' + ') || 'nothing'
  return roles.map((name, at) => `${name}${roles.indexOf(name) === at ? '' : ' (again)'} in {${kind}}`)
}

function changesOf(steps: readonly Step[], at: number): Change[] {
  const { op, b } = steps[at]!
  const changes: Change[] = ['left out']
  if (op === OP_CRC_VIEW) changes.push('swapped')
  if (op === OP_FENCE || op === OP_CRC_VIEW) return changes
  if (op === OP_SEAL_LINE || op === OP_CLEAR_LINE) changes.push('not flushed')
  const isBehindFence = steps.slice(0, at).some((step) => step.op === OP_FENCE)
  const isOwed =
    !isBehindFence &&
    (op === OP_CLEAR_LINE || op === OP_FLUSH_LINE || (op === OP_SEAL_LINE && stateKind(b) === KIND_HEAD))
  const isFragment =
    stateKind(b) === KIND_FRAGMENT || (op === OP_FLUSH_VIEW && stateKind(steps[at + 1]?.b ?? 0) === KIND_FRAGMENT)
  const isAwaited = !isFragment || steps.filter((step) => step.op === OP_FENCE).length > 1
  if (isAwaited && steps.slice(at + 1).some((step) => step.op === OP_FENCE))
    changes.push(isOwed ? 'moved behind the last fence' : 'moved behind the next fence')
  if (isBehindFence) changes.push('moved before the fence')
  return changes
}

function mutate(steps: readonly Step[], at: number, change: Change): Step[] {
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

/** Every mutant of the programs that workloads of one and two operations run, and where to find its place. */
export function surveyMutants(seed: number): Mutant[] {
  const found = new Map<string, { place: string; change: Change; workloads: Workload[] }>()
  const tally = new Tally()
  for (const workload of shortWorkloads(seed)) {
    const record: Rewrite = (steps, bench) => {
      for (const [at, place] of places(steps, bench.region.pool).entries()) {
        for (const change of changesOf(steps, at)) {
          const name = `${place}: ${change}`
          const mutant = found.get(name) ?? { place, change, workloads: [] }
          found.set(name, mutant)
          if (mutant.workloads.length < WORKLOADS_PER_PLACE && !mutant.workloads.includes(workload))
            mutant.workloads.push(workload)
        }
      }
      return steps
    }
    runWorkload({ ...workload, imagesPerPoint: 0 }, tally, record)
  }
  return [...found.values()]
}

function shortWorkloads(seed: number): Workload[] {
  const workloads: Workload[] = OPERATIONS.map((first) => ({ operations: [first], medium: 'lines', seed }))
  for (const first of OPERATIONS)
    for (const second of OPERATIONS) workloads.push({ operations: [first, second], medium: 'lines', seed })
  return workloads
}

/** How a mutant was caught, or '' if it was not. The tally may be that of other mutants: what was judged is judged. */
export function hunt(mutant: Mutant, tally: Tally): string {
  const rewrite: Rewrite = (steps, bench) => {
    const all = places(steps, bench.region.pool)
    const at = all.indexOf(mutant.place)
    return at < 0 || !changesOf(steps, at).includes(mutant.change) ? steps : mutate(steps, at, mutant.change)
  }
  for (const imagesPerPoint of IMAGES_PER_POINT) {
    for (const workload of mutant.workloads) {
      const fault = runWorkload({ ...workload, imagesPerPoint }, tally, rewrite)
      if (fault !== '') return fault
    }
  }
  for (let i = 0; i < LONGER_WORKLOADS; i++) {
    const start = mutant.workloads[i % mutant.workloads.length]!
    const more = i < mutant.workloads.length ? REUSE : randomOperations(start.seed + 31 * i)
    const longer = { ...start, operations: [...start.operations, ...more], imagesPerPoint: LONGER_IMAGES }
    const fault = runWorkload(longer, tally, rewrite)
    if (fault !== '') return fault
  }
  return ''
}

function randomOperations(seed: number): Operation[] {
  const random = seededRandom(seed)
  return Array.from({ length: LONGER_OPERATIONS }, () => OPERATIONS[(random() >>> 0) % OPERATIONS.length]!)
}
