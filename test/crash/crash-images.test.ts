/**
 * Crashes at every fence of random workloads, atomic batches, snapshots, scrubbing and packing among them: each possible image must recover
 * to a state that the acknowledged replies allow, a crash in that recovery too, and leaving out any kind of step of the
 * persist programs must be noticed.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FLAG_MEMBER, KIND_GROUP, KIND_HEAD, stateFlags, stateKind } from '../../storage/layout.ts'
import { Packer } from '../../storage/packing.ts'
import {
  OP_CLEAR_LINE,
  OP_FENCE,
  OP_FLUSH_LINE,
  OP_FLUSH_VIEW,
  OP_SEAL_LINE,
  OP_WORDS,
} from '../../storage/persist-program.ts'
import { Scrubber } from '../../storage/scrub.ts'
import type { Snapshot } from '../../storage/snapshot.ts'
import { Store } from '../../storage/store.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SEED = announceSeed('crash images', 20211110)
const REGION_BYTES = 1 << 18
const KEYS = ['a', 'b', 'bb', 'c', 'longer-key']
/** All subsets up to this many dirty lines, chosen ones beyond. */
const EXHAUSTIVE_LINES = 6
const RANDOM_SUBSETS = 12
/** One image in so many has its recovery crashed, too. */
const AGAIN_EVERY = 8
/** Whatever is less than full is packed; a few entries at a time. */
const PACK_SPARSE_BYTES = 2000
const PACK_BYTES = 4000
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

function apply(model: Model, changes: readonly Change[]): Model {
  const after = new Map(model)
  for (const { key, value } of changes) {
    if (value === undefined) after.delete(key)
    else after.set(key, value)
  }
  return after
}

/** The first key in which two models differ, or ''. */
function difference(a: Model, b: Model): string {
  for (const key of new Set([...a.keys(), ...b.keys()])) if (a.get(key) !== b.get(key)) return key
  return ''
}

/**
 * Why an image is not what the replies allow, or ''. The operation on its way was done as a whole or not at all.
 * @param again judges the images of a crash in the recovery, too
 */
function judge(image: Uint8Array, acknowledged: Model, inFlight: readonly Change[], again = false): string {
  const region = new TracingRegion({ regionBytes: REGION_BYTES, image })
  let faultAgain = ''
  if (again) {
    region.onFence = () => {
      const dirty = region.dirtyLines()
      for (const lines of [[], dirty, dirty.filter((_, i) => i % 2 === 0), dirty.filter((_, i) => i % 2 === 1)]) {
        faultAgain ||= judge(region.crashImage(lines), acknowledged, inFlight)
      }
    }
  }
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
  const undone = difference(seen, acknowledged)
  const done = difference(seen, apply(acknowledged, inFlight))
  if (undone !== '' && done !== '') return `neither before the operation (${undone}) nor behind it (${done})`
  const { pool } = store
  while (!store.isIdle) store.settle()
  if (pool.freeBuffers + pool.storedBuffers !== pool.totalBuffers) return 'a buffer is neither free nor stored'
  let lines = 0
  for (const { meta } of store.entries()) for (let at = meta; at !== 0; at = pool.next(at)) lines++
  if (pool.freeMetas + lines !== pool.totalMetas) return 'a line is neither free nor part of an entry'
  return faultAgain && `in a crash of the recovery: ${faultAgain}`
}

interface Outcome {
  images: number
  batches: number
  upgraded: number
  moved: number
  fault: string
}

function chooseChange(key: string, step: number, random: () => number): Change {
  const size = [0, 1, 40, 1300, 2500, 5000][(random() >>> 0) % 6]!
  if ((random() >>> 0) % 4 === 0) return { key, value: undefined }
  return { key, value: `${step}`.padEnd(size, `${step}.`).slice(0, size) }
}

/** One change, or an atomic batch of two or three. */
function chooseOperation(step: number, random: () => number): Change[] {
  const first = (random() >>> 0) % KEYS.length
  const count = Math.max(1, ((random() >>> 0) % 5) - 1)
  return Array.from({ length: count }, (_, i) => chooseChange(KEYS[(first + i) % KEYS.length]!, step, random))
}

function perform(store: Store, changes: readonly Change[]): Promise<unknown> {
  const [{ key, value }] = changes as [Change]
  if (changes.length > 1) {
    return store.batch(
      changes.map(({ key, value }) =>
        value === undefined ? { op: 'delete', key: bytes(key) } : { op: 'put', key: bytes(key), value: bytes(value) },
      ),
    )
  }
  return value === undefined ? store.delete(bytes(key)) : store.put(bytes(key), bytes(value))
}

/** Runs one workload, judging the images at every fence; stops at the first fault. */
function runWorkload(seed: number, steps: number, skip?: TracingRegion['skip']): Outcome {
  const random = seededRandom(seed)
  const region = new TracingRegion({ regionBytes: REGION_BYTES })
  const store = new Store(region, { random })
  if (skip !== undefined) region.skip = skip
  let acknowledged: Model = new Map()
  let inFlight: Change[] = []
  let snapshot: Snapshot | undefined
  const outcome: Outcome = { images: 0, batches: 0, upgraded: 0, moved: 0, fault: '' }
  const judgeImages = (): void => {
    if (outcome.fault !== '') return
    for (const lines of subsets(region.dirtyLines(), random)) {
      outcome.images++
      try {
        outcome.fault = judge(region.crashImage(lines), acknowledged, inFlight, outcome.images % AGAIN_EVERY === 0)
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
  const packer = new Packer(store, region, {
    sparseBytes: PACK_SPARSE_BYTES,
    linesMax: 8,
    reserve: 0,
    onFinding: ({ reason }) => {
      outcome.fault ||= `the packer found: ${reason}`
    },
  })
  try {
    for (let step = 0; step < steps && outcome.fault === ''; step++) {
      inFlight = chooseOperation(step, random)
      void perform(store, inFlight)
      if (inFlight.length > 1) outcome.batches++
      acknowledged = apply(acknowledged, inFlight)
      inFlight = []
      judgeImages() // a crash right behind the reply
      if ((random() >>> 0) % 5 === 0) store.settle()
      if ((random() >>> 0) % 5 === 0) {
        // What it keeps is durably out of use: recovery knows nothing of it.
        snapshot?.close()
        snapshot = store.snapshot()
      }
      if ((random() >>> 0) % 4 === 0) {
        scrubber.step((step + 1) * SCRUB_PASS_MS, SCRUB_BYTES)
        judgeImages() // upgrades wait for the next fence
      }
      if ((random() >>> 0) % 3 === 0) {
        packer.step(PACK_BYTES)
        judgeImages() // the originals are not cleared yet
      }
    }
  } catch (error) {
    outcome.fault ||= String(error) // the store itself noticed
  }
  outcome.upgraded = scrubber.counters.upgraded
  outcome.moved = store.counters.moves
  return outcome
}

test('every image of a crash at any fence keeps what was acknowledged and invents nothing', () => {
  let images = 0
  let batches = 0
  let upgraded = 0
  let moved = 0
  for (let run = 0; run < 16; run++) {
    const outcome = runWorkload(SEED + run, 14)
    images += outcome.images
    batches += outcome.batches
    upgraded += outcome.upgraded
    moved += outcome.moved
    assert.is(outcome.fault, '', `run ${run}: replay with PACKRAT_SEED=${SEED + run}`)
  }
  console.log(
    `crash images judged: ${images}, among ${batches} atomic batches, ${upgraded} upgrades of lines and ${moved} packed entries`,
  )
  assert.ok(batches > 50)
  assert.ok(images > 5000)
  assert.ok(upgraded > 100)
  assert.ok(moved > 50)
})

/** State word of an operation, if it seals a line. */
const sealed = (program: Int32Array, at: number): number => (program[at] === OP_SEAL_LINE ? program[at + 2]! : 0)
/** Heads are sealed ahead of the program's first fence only to settle them. */
function isBehindFence(program: Int32Array, at: number): boolean {
  for (let i = 0; i < at; i += OP_WORDS) if (program[i] === OP_FENCE) return true
  return false
}
const isMember = (state: number): boolean => stateKind(state) === KIND_HEAD && (stateFlags(state) & FLAG_MEMBER) !== 0

const MUTATIONS: [string, TracingRegion['skip']][] = [
  ['no payload flush', (op) => op === OP_FLUSH_VIEW],
  ['no link flush', (op) => op === OP_FLUSH_LINE],
  ['no fence', (op) => op === OP_FENCE],
  ['no seal', (op) => op === OP_SEAL_LINE],
  ['no clear', (op) => op === OP_CLEAR_LINE],
  ['no seal of members', (_op, _index, program, at) => isMember(sealed(program, at))],
  ['no seal of groups', (_op, _index, program, at) => stateKind(sealed(program, at)) === KIND_GROUP],
  [
    'no fence between members and their group',
    (op, _index, program, at) => op === OP_FENCE && isMember(sealed(program, at - OP_WORDS)),
  ],
  [
    'no seal of members as plain heads',
    (_op, _index, program, at) => stateKind(sealed(program, at)) === KIND_HEAD && !isBehindFence(program, at),
  ],
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
