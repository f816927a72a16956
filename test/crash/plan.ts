/**
 * Which workloads the crash programme runs, in which order.
 *
 *   1. every sequence of one and of two operations, on both media, all their images
 *   2. growing before and behind every operation
 *   3. every sequence of three operations; all their images in a large run, a few at each crash point in a small one
 *   4. random sequences of up to twelve operations, wide ones among them, until there are images enough
 *
 * Work is shared by the first operation, so that what sequences have in common stays with one process.
 */
import { seededRandom } from '../support/random.ts'
import type { Medium } from '../support/tracing-region.ts'
import { GROW, OPERATIONS, type Operation, WIDE_OPERATIONS } from './operations.ts'
import type { Workload } from './workload.ts'

const MEDIA: readonly Medium[] = ['lines', 'pages']
/** From so many images on, sequences of three operations get all of theirs. */
const LARGE_RUN_IMAGES = 500_000
const FEW_IMAGES = 4
/** A grown region is dear to recover. */
const GROWN_IMAGES = 3
const RANDOM_OPERATIONS_MIN = 4
const RANDOM_OPERATIONS_MAX = 12
const RANDOM_IMAGES = 48

export interface Share {
  readonly seed: number
  /** Distinct images that the whole run is to have. */
  readonly images: number
  readonly process: number
  readonly processes: number
}

/** The fixed part of a share: runs to its end, however many images there are. */
export function* fixedWorkloads({ seed, images, process, processes }: Share): Generator<Workload> {
  const mine = OPERATIONS.filter((_, i) => i % processes === process)
  const large = images >= LARGE_RUN_IMAGES
  const few = large ? {} : { imagesPerPoint: FEW_IMAGES }
  for (const medium of MEDIA) {
    for (const first of mine) {
      yield { operations: [first], medium, seed }
      yield { operations: [GROW, first], medium, seed, imagesPerPoint: GROWN_IMAGES }
      yield { operations: [first, GROW, first], medium, seed, imagesPerPoint: GROWN_IMAGES }
      for (const second of OPERATIONS) {
        yield { operations: [first, second], medium, seed, onlyLast: true }
        for (const third of OPERATIONS)
          yield { operations: [first, second, third], medium, seed, onlyLast: true, ...few }
      }
    }
  }
}

/** The random part: without end. */
export function* randomWorkloads({ seed, process, processes }: Share): Generator<Workload> {
  const rows = [...OPERATIONS, ...WIDE_OPERATIONS]
  for (let number = process; ; number += processes) {
    const random = seededRandom(seed + 7919 * (number + 1))
    const spread = RANDOM_OPERATIONS_MAX - RANDOM_OPERATIONS_MIN + 1
    const length = RANDOM_OPERATIONS_MIN + ((random() >>> 0) % spread)
    const operations: Operation[] = Array.from({ length }, () => rows[(random() >>> 0) % rows.length]!)
    yield { operations, medium: MEDIA[number & 1]!, seed: random(), imagesPerPoint: RANDOM_IMAGES }
  }
}
