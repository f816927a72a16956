/**
 * Finds every mutant of the persist programs, and the crash image that catches it.
 *
 *   survey   short workloads ─► every place in every kind of program, every change of it   mutations.ts
 *   hunt     workloads that have the place, short ones first ─► caught, and by which invariant
 *
 * Crash points ahead of the changed operation are those of the unchanged store, and are skipped; images that were found
 * sound with another mutant are not judged again. So most mutants are caught within a few images.
 */
import { seededRandom } from '../support/random.ts'
import type { Step } from '../support/tracing-region.ts'
import type { Bench } from './bench.ts'
import { type Change, changesOf, equivalence, mutate, places } from './mutations.ts'
import { OPERATIONS, type Operation } from './operations.ts'
import { type Mutation, runWorkload, Tally, type Workload } from './workload.ts'

/** Workloads of a place that are tried without images, for what the running store tells; with few images; with all. */
const WORKLOADS_WATCHED = 48
const WORKLOADS_SAMPLED = 12
const WORKLOADS_SEARCHED = 4
const IMAGES_SAMPLED = 6
/** Then longer ones: of so many, each with every operation ahead of it; */
const WORKLOADS_PRECEDED = 4
/** and each of those, and so many random operations behind it. */
const LONGER_WORKLOADS = 100
const LONGER_OPERATIONS = 8
const LONGER_IMAGES = 24

/** Uses again what is free by then. */
const REUSE = ['reclaim', 'put segments', 'put segments', 'put'].map(
  (name) => OPERATIONS.find((row) => row.name === name)!,
)

export interface Mutant {
  readonly place: string
  readonly change: Change
  /** Those that have the place, the shortest first. */
  readonly workloads: readonly Workload[]
}

export interface Survey {
  readonly mutants: readonly Mutant[]
  /** Changes that change nothing, wherever they are made, and why. */
  readonly equivalent: ReadonlyMap<string, string>
}

/** Every mutant of the programs that workloads of one and two operations run, and where to find its place. */
export function surveyMutants(seed: number): Survey {
  const found = new Map<string, { place: string; change: Change; workloads: Workload[] }>()
  const equivalent = new Map<string, string>()
  const tally = new Tally()
  for (const workload of shortWorkloads(seed)) {
    const record = (steps: Step[], bench: Bench): Step[] => {
      for (const [at, place] of places(steps, bench.region.pool).entries()) {
        for (const change of changesOf(steps, at)) {
          const name = `${place}: ${change}`
          const reason = equivalence(steps, at, change, bench)
          if (reason !== '') {
            equivalent.set(name, reason)
            continue
          }
          const mutant = found.get(name) ?? { place, change, workloads: [] }
          found.set(name, mutant)
          if (mutant.workloads.at(-1) !== workload) mutant.workloads.push(workload)
        }
      }
      return steps
    }
    runWorkload({ ...workload, imagesPerPoint: 0 }, tally, { rewrite: record, begun: false })
  }
  for (const name of found.keys()) equivalent.delete(name)
  return { mutants: [...found.values()], equivalent }
}

function shortWorkloads(seed: number): Workload[] {
  const workloads: Workload[] = OPERATIONS.map((first) => ({ operations: [first], medium: 'lines', seed }))
  for (const first of OPERATIONS)
    for (const second of OPERATIONS) workloads.push({ operations: [first, second], medium: 'lines', seed })
  return workloads
}

/** How a mutant was caught, or '' if it was not. The tally may be that of other mutants: what was judged is judged. */
export function hunt(mutant: Mutant, tally: Tally): string {
  for (const workload of attempts(mutant)) {
    const fault = runWorkload(workload, tally, mutationOf(mutant))
    if (fault !== '') return fault
  }
  return ''
}

function mutationOf({ place, change }: Mutant): Mutation {
  const mutation: Mutation = {
    begun: false,
    rewrite: (steps, bench) => {
      const at = places(steps, bench.region.pool).indexOf(place)
      if (at < 0 || !changesOf(steps, at).includes(change) || equivalence(steps, at, change, bench) !== '') return steps
      mutation.begun = true
      return mutate(steps, at, change)
    },
  }
  return mutation
}

/** What is tried, cheap ones first. */
function* attempts({ workloads }: Mutant): Generator<Workload> {
  const watched = (workload: Workload): Workload => ({
    ...workload,
    operations: [...workload.operations, ...REUSE],
    imagesPerPoint: 0,
  })
  const most = (count: number): number => Math.min(count, workloads.length)
  const sampled = spread(workloads, most(WORKLOADS_SAMPLED))
  for (const workload of sampled) {
    yield watched(workload)
    yield { ...workload, imagesPerPoint: IMAGES_SAMPLED }
  }
  for (const workload of spread(workloads, most(WORKLOADS_WATCHED)))
    if (!sampled.includes(workload)) yield watched(workload)
  yield* spread(workloads, most(WORKLOADS_SEARCHED))
  for (const first of OPERATIONS) {
    for (const workload of spread(workloads, most(WORKLOADS_PRECEDED))) {
      const longer = { ...workload, operations: [first, ...workload.operations] }
      yield watched(longer)
      yield { ...longer, imagesPerPoint: IMAGES_SAMPLED }
    }
  }
  for (const [i, start] of spread(workloads, LONGER_WORKLOADS).entries()) {
    const more = randomOperations(start.seed + 31 * i)
    yield { ...start, operations: [...start.operations, ...more], imagesPerPoint: LONGER_IMAGES }
  }
}

/** So many of the workloads, from all over the list, the first among them; the list again and again if it is shorter. */
function spread(workloads: readonly Workload[], count: number): Workload[] {
  const step = Math.max(1, workloads.length / count)
  return Array.from({ length: count }, (_, i) => workloads[Math.floor(i * step) % workloads.length]!)
}

function randomOperations(seed: number): Operation[] {
  const random = seededRandom(seed)
  return Array.from({ length: LONGER_OPERATIONS }, () => OPERATIONS[(random() >>> 0) % OPERATIONS.length]!)
}
