/** When a daemon packs: for want of room, again only when enough has changed, by the clock and in pauses, not after `close`. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Store } from '../../storage/store.ts'
import { Packing } from '../../tools/packing.ts'
import { sleep } from '../support/lab.ts'
import { seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const REGION_BYTES = 1 << 20
const WAIT_MS = 5000

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const unexpected = ({ reason }: { reason: string }): void => assert.unreachable(reason)

/** A store with so much of its buffers taken by small values. */
async function filled(share: number, asynchronous = false): Promise<{ region: TracingRegion; store: Store }> {
  const region = new TracingRegion({ regionBytes: REGION_BYTES, asynchronous })
  const store = new Store(region, { random: seededRandom(1) })
  const count = Math.ceil(store.pool.totalBuffers * share)
  for (let i = 0; i < count; i++) await store.put(bytes(`key-${i}`), new Uint8Array(100).fill(i))
  await store.drain()
  return { region, store }
}

async function until(holds: () => boolean): Promise<void> {
  for (const end = performance.now() + WAIT_MS; !holds() && performance.now() < end; ) await sleep(20)
  assert.ok(holds())
}

test('while half of the buffers are free the frames stay', async () => {
  const { region, store } = await filled(0.4)
  const packing = new Packing(store, region, unexpected)
  assert.is(packing.idle(), false)
  await sleep(100)
  packing.close()
  assert.is(store.counters.moves, 0)
})

test('with less the clock alone packs everything, and no second pass follows for nothing', async () => {
  const { region, store } = await filled(0.6)
  const entries = store.records
  const packing = new Packing(store, region, unexpected)
  await until(() => packing.counters.passes === 1)
  assert.is(store.counters.moves, entries)
  // Room is short for another reason: nothing to gain.
  while (store.pool.freeBuffers > 0.4 * store.pool.totalBuffers) store.pool.allocateBuffer()
  await sleep(100)
  assert.is(packing.counters.passes, 1)
  for (let i = 0; i < store.pool.totalMetas / 32; i++) await store.put(bytes('key-1'), new Uint8Array(100).fill(i))
  await until(() => packing.counters.passes === 2)
  packing.close()
})

test('pauses go on with a pass that is under way', async () => {
  const { region, store } = await filled(0.7)
  const packing = new Packing(store, region, unexpected)
  for (let calls = 0; packing.idle(); calls++) assert.ok(calls < 1000)
  assert.is(packing.counters.passes, 1)
  assert.is(store.counters.moves, store.records)
  packing.close()
  await store.drain()
  assert.is(store.pool.freeBuffers + store.pool.storedBuffers, store.pool.totalBuffers)
})

test('where barriers are asynchronous each batch that is through brings a slice, and close ends it all', async () => {
  const { region, store } = await filled(0.7, true)
  const packing = new Packing(store, region, unexpected)
  await store.put(bytes('key-1'), new Uint8Array(100))
  await until(() => store.counters.moves > 0)
  packing.close()
  await store.drain()
  const { moves } = store.counters
  await sleep(100)
  assert.is(store.counters.moves, moves)
})

test.run()
