/**
 * Runs one workload, a sequence of operations, and judges the images at each of its crash points.
 *
 *   sequence ─► bench (store on a tracing region) ─► crash points ─► images ─► invariants
 *
 * Images that were judged against the same expectation before, in this or an earlier workload, are not judged again.
 */
import { seededRandom } from '../support/random.ts'
import type { Medium, Step } from '../support/tracing-region.ts'
import { Bench, prepareStart } from './bench.ts'
import { crashImages } from './images.ts'
import { judge } from './invariants.ts'
import { expectationText } from './model.ts'
import type { Operation } from './operations.ts'

/** One image in so many has its recovery crashed, too. */
const AGAIN_EVERY = 48
/** One image in so many is written to, damaged, and recovered twice. */
const THOROUGH_EVERY = 16

export interface Workload {
  readonly operations: readonly Operation[]
  readonly medium: Medium
  readonly seed: number
  /** Images of one crash point; all that images.ts chooses, unless a bound is given. */
  readonly imagesPerPoint?: number
  /** Crashes only from the last operation on: shorter workloads have crashed in the others. */
  readonly onlyLast?: boolean
}

export function workloadName({ operations, medium, seed }: Workload): string {
  return `[${operations.map(({ name }) => name).join(', ')}] on ${medium}, seed ${seed}`
}

const START = prepareStart()

/** What was looked at, over any number of workloads. */
export class Tally {
  /** Hashes of all images. */
  readonly images = new Set<number>()
  readonly judged = new Set<number>()
  judgements = 0
  recoveryCrashImages = 0
  upgrades = 0
  repeatedFlushes = 0
}

export interface Mutation {
  readonly rewrite: (steps: Step[], bench: Bench) => Step[]
  /** Whether a program was changed: what came before is as it is without the mutation, and need not be looked at again. */
  begun: boolean
}

function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash >>> 0
}

/** Why a workload fails, or ''. It ends at the first fault. */
export function runWorkload(workload: Workload, tally: Tally, mutation?: Mutation): string {
  const random = seededRandom(workload.seed)
  let fault = ''
  const crashFrom = workload.onlyLast === true ? workload.operations.length - 1 : 0
  const onCrashPoint = (bench: Bench): void => {
    if (fault !== '' || bench.step < crashFrom || mutation?.begun === false) return
    const expectation = hashText(expectationText(bench))
    for (const { hash, bytes } of crashImages(bench.region, random, workload.imagesPerPoint)) {
      tally.images.add(hash)
      const pair = (hash % 2 ** 32) * 2 ** 21 + ((Math.floor(hash / 2 ** 32) ^ expectation) & 0x1fffff)
      if (tally.judged.has(pair)) continue
      tally.judged.add(pair)
      const depth = {
        again: tally.judgements % AGAIN_EVERY === 0,
        thorough: tally.judgements % THOROUGH_EVERY === 0,
      }
      tally.judgements++
      fault = judge(bytes(), bench.geometry, bench, depth, tally, random)
      if (fault === '') continue
      tally.judged.delete(pair) // another mutant may leave the same image, and is caught by it, too
      return
    }
  }
  const { medium } = workload
  const rewrite = mutation === undefined ? {} : { rewrite: mutation.rewrite }
  const bench = new Bench({ medium, onCrashPoint, start: START, ...rewrite })
  try {
    for (const operation of workload.operations) {
      operation.run(bench)
      bench.endStep()
      fault ||= bench.fault
      if (fault !== '') break
    }
    if (fault === '') {
      bench.reclaim()
      bench.endStep()
      fault ||= bench.fault
    }
  } catch (error) {
    fault ||= String(error) // the store itself noticed
  }
  tally.upgrades += bench.upgrades
  tally.repeatedFlushes += bench.repeatedFlushes
  return fault
}
