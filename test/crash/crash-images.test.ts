/**
 * Crashes at every fence of random workloads, scrubbing among them: each possible image must recover to a state that the acknowledged
 * replies allow, and leaving out any kind of step of the persist programs must be noticed.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { OP_CLEAR_LINE, OP_FENCE, OP_FLUSH_LINE, OP_FLUSH_VIEW, OP_SEAL_LINE } from '../../storage/persist-program.ts'
import { Scrubber } from '../../storage/scrub.ts'
import { Store } from '../../storage/store.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SEED = announceSeed('crash images', 20211110)
const REGION_BYTES = 1 << 18
const KEYS = ['a', 'b', 'bb', 'c', 'longer-key']
/** All subsets up to this many dirty lines, chosen ones beyond. */
const EXHAUSTIVE_LINES = 6
const RANDOM_SUBSETS = 12
/** Every step of the clock is due for a whole pass of the scrubber. */
const SCRUB_PASS_MS = 1
const SCRUB_BYTES = 1 << 20

type Model = Map<string, string>

interface Change {
  readonly key: string
  /** Undefined deletes. */
  readonly value: string | undefined
}

const bytes = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))

function subsets(lines: number[], random: () => number): number[][] {
  if (lines.length <= EXHAUSTIVE_LINES) {
    return Array.from({ length: 1 << lines.length }, (_, mask) => lines.filter((_line, i) => mask & (1 << i)))
  }
  const chosen: number[][] = [[], lines, lines.slice(1), lines.slice(0, -1)]
  for (let i = 0; i < RANDOM_SUBSETS; i++) chosen.push(lines.filter(() => random() & 1))
  return chosen
}

/** Why an image is not what the replies allow, or ''. */
function judge(image: Uint8Array, acknowledged: Model, inFlight: readonly Change[]): string {
  const region = new TracingRegion({ regionBytes: REGION_BYTES, image })
  const store = new Store(region, { random: seededRandom(5) })
  const report = store.report
  if (report.corrupt.length > 0) return `corruption reported: ${JSON.stringify(report.corrupt[0])}`
  const seen: Model = new Map()
  if (report.relinked) return 'the level-0 links led astray'
  let last = ''
  for (const { key } of store.entries()) {
    const name = Buffer.from(key).toString()
    if (name <= last) return `list out of order at ${name}`
    last = name
    seen.set(name, Buffer.from(store.get(key)!).toString())
  }
  for (const key of new Set([...seen.keys(), ...acknowledged.keys()])) {
    const allowed = [
      acknowledged.get(key),
      ...inFlight.filter((change) => change.key === key).map((change) => change.value),
    ]
    if (!allowed.includes(seen.get(key)))
      return `${key} is ${seen.get(key)?.slice(0, 20)}, allowed: ${allowed.map((v) => v?.slice(0, 20))}`
  }
  const { pool } = store
  while (!store.isIdle) store.settle()
  if (pool.freeBuffers + pool.storedBuffers !== pool.totalBuffers) return 'a buffer is neither free nor stored'
  let lines = 0
  for (const { meta } of store.entries()) for (let at = meta; at !== 0; at = pool.next(at)) lines++
  if (pool.freeMetas + lines !== pool.totalMetas) return 'a line is neither free nor part of an entry'
  return ''
}

interface Outcome {
  images: number
  upgraded: number
  fault: string
}

/** Runs one workload, judging the images at every fence; stops at the first fault. */
function runWorkload(seed: number, steps: number, skip?: TracingRegion['skip']): Outcome {
  const random = seededRandom(seed)
  const region = new TracingRegion({ regionBytes: REGION_BYTES })
  const store = new Store(region, { random })
  if (skip !== undefined) region.skip = skip
  const acknowledged: Model = new Map()
  let inFlight: Change[] = []
  const outcome: Outcome = { images: 0, upgraded: 0, fault: '' }
  const judgeImages = (): void => {
    if (outcome.fault !== '') return
    for (const lines of subsets(region.dirtyLines(), random)) {
      outcome.images++
      try {
        outcome.fault = judge(region.crashImage(lines), acknowledged, inFlight)
      } catch (error) {
        outcome.fault = String(error)
      }
      if (outcome.fault !== '') return
    }
  }
  region.onFence = judgeImages
  const scrubber = new Scrubber(store, region, {
    passMs: SCRUB_PASS_MS,
    upgradeMs: SCRUB_PASS_MS,
    nowMs: 0,
    onFinding: ({ reason }) => {
      outcome.fault ||= `the scrubber found: ${reason}`
    },
  })
  try {
    for (let step = 0; step < steps && outcome.fault === ''; step++) {
      const key = KEYS[(random() >>> 0) % KEYS.length]!
      const size = [0, 1, 40, 1300, 2500, 5000][(random() >>> 0) % 6]!
      const change: Change =
        (random() >>> 0) % 4 === 0
          ? { key, value: undefined }
          : { key, value: `${step}`.padEnd(size, `${step}.`).slice(0, size) }
      inFlight = [change]
      void (change.value === undefined ? store.delete(bytes(key)) : store.put(bytes(key), bytes(change.value)))
      if (change.value === undefined) acknowledged.delete(key)
      else acknowledged.set(key, change.value)
      inFlight = []
      judgeImages() // a crash right behind the reply
      if ((random() >>> 0) % 5 === 0) store.settle()
      if ((random() >>> 0) % 4 === 0) {
        scrubber.step((step + 1) * SCRUB_PASS_MS, SCRUB_BYTES)
        judgeImages() // upgrades wait for the next fence
      }
    }
  } catch (error) {
    outcome.fault ||= String(error) // the store itself noticed
  }
  outcome.upgraded = scrubber.counters.upgraded
  return outcome
}

test('every image of a crash at any fence keeps what was acknowledged and invents nothing', () => {
  let images = 0
  let upgraded = 0
  for (let run = 0; run < 60; run++) {
    const outcome = runWorkload(SEED + run, 14)
    images += outcome.images
    upgraded += outcome.upgraded
    assert.is(outcome.fault, '', `run ${run}: replay with PACKRAT_SEED=${SEED + run}`)
  }
  console.log(`crash images judged: ${images}, among ${upgraded} upgrades of lines`)
  assert.ok(images > 5000)
  assert.ok(upgraded > 100)
})

const MUTATIONS: [string, TracingRegion['skip']][] = [
  ['no payload flush', (op) => op === OP_FLUSH_VIEW],
  ['no link flush', (op) => op === OP_FLUSH_LINE],
  ['no fence', (op) => op === OP_FENCE],
  ['no seal', (op) => op === OP_SEAL_LINE],
  ['no clear', (op) => op === OP_CLEAR_LINE],
]

for (const [name, skip] of MUTATIONS) {
  test(`a persist program with ${name} is caught`, () => {
    let caught = ''
    for (let run = 0; run < 40 && caught === ''; run++) {
      caught = runWorkload(SEED + run, 14, skip).fault
    }
    assert.is.not(caught, '')
    console.log(`${name}: ${caught}`)
  })
}

test.run()
