/** What the programs flush: each cache line once between two fences, and no fence that nothing waits for. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { adoptHead, setArrival } from '../../storage/entry.ts'
import { NO_FRAME } from '../../storage/layout.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from '../support/random.ts'
import { type Step, TracingRegion } from '../support/tracing-region.ts'
import { huntGrowMutant } from './grow-mutants.ts'
import { OPERATIONS, WIDE_OPERATIONS } from './operations.ts'
import { runWorkload, Tally } from './workload.ts'

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))

function open(): { region: TracingRegion; store: Store; programs: Step[][] } {
  const region = new TracingRegion({ regionBytes: 1 << 18 })
  const programs: Step[][] = []
  region.rewrite = (steps) => {
    programs.push(steps)
    return steps
  }
  return { region, store: new Store(region, { random: seededRandom(3), clock: () => 1n }), programs }
}

test('no program flushes a cache line twice', () => {
  // An upgrade of the scrubber flushes its line without a fence: a link in it is flushed again by the next program.
  const rows = [...OPERATIONS, ...WIDE_OPERATIONS].filter(({ name }) => name !== 'scrub')
  const tally = new Tally()
  for (const medium of ['lines', 'pages'] as const) {
    for (const first of rows)
      for (const second of rows) runWorkload({ operations: [first, second], medium, seed: 1, imagesPerPoint: 0 }, tally)
  }
  assert.is(tally.repeatedFlushes, 0)
})

test('a line that is flushed twice is told', () => {
  const { region, store } = open()
  region.rewrite = (steps) => steps.flatMap((step) => [step, step])
  void store.put(text('a'), text('value'))
  assert.ok(region.counters.repeatedFlushes > 0)
})

test('requests that came in one segment flush each line of its frame once', async () => {
  const { region, store } = open()
  const { pool } = store
  const buffer = pool.allocateBuffer()
  const before = region.counters.flushedLines
  const requests = 8
  for (let i = 0; i < requests; i++) {
    const key = `key ${i}`
    pool.bufferBytes(buffer).set(text(`${key}${'v'.repeat(75)}`), pool.bufferStart(buffer) + 80 * i)
    const sum = region.sumView(buffer, 80 * i + key.length, 75)
    pool.retainBuffer(buffer)
    // Each keeps the whole frame, from its first byte on.
    const head = pool.createView(buffer, 80 * i + key.length, 75, sum)
    setArrival(pool, head, 1n)
    adoptHead(pool, head, 80 * i, key.length)
    store.stagePut(head, head)
  }
  pool.releaseBuffer(buffer)
  store.commit()
  assert.is(region.counters.flushedLines - before, Math.ceil((80 * requests) / 64) + requests)
  await store.drain()
  assert.is(store.records, requests)
})

test('a batch of one change has two fences and no group; deleting by one has one fence', async () => {
  const { region, store } = open()
  await store.batch([{ op: 'put', key: text('a'), value: text('alone') }])
  assert.is(region.counters.fences, 2)
  await store.drain()
  const { fences } = region.counters
  await store.batch([{ op: 'delete', key: text('a') }])
  assert.is(region.counters.fences, fences + 1)
  assert.is(store.counters.groups, 0)
  assert.is(store.get(text('a')), undefined)
  await store.drain()
  assert.is(store.pool.freeBuffers, store.pool.totalBuffers)
})

test('fragments of an upload that goes on, or broke off, wait for no fence', async () => {
  const { region, store } = open()
  const { pool } = store
  const piece = (value: string, offset: number): number => {
    const buffer = pool.allocateBuffer()
    pool.bufferBytes(buffer).set(text(value), pool.bufferStart(buffer))
    const sum = region.sumView(buffer, offset, value.length - offset)
    const meta = pool.createView(buffer, offset, value.length - offset, sum | (NO_FRAME << 16))
    setArrival(pool, meta, 1n)
    return meta
  }
  const head = piece('kfirst', 1)
  adoptHead(pool, head, 0, 1)
  let tail = head
  for (const value of ['second', 'third']) {
    const fragment = piece(value, 0)
    store.appendFragment(head, tail, fragment)
    tail = fragment
  }
  const { fences } = region.counters
  store.settle()
  assert.is(region.counters.fences, fences)
  store.discard(head)
  store.settle()
  assert.is(region.counters.fences, fences)
  await store.drain()
  assert.is(pool.freeBuffers, pool.totalBuffers)
})

test('growing as it is survives every crash', () => {
  assert.is(huntGrowMutant(undefined, 7), '')
})

test.run()
