import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { compareBytes } from '../../storage/iteration.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))
const show = (value: Uint8Array | undefined): string | undefined => value && Buffer.from(value).toString('latin1')

function open(region: TracingRegion, seed = 1): Store {
  return new Store(region, { random: seededRandom(seed) })
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'none',
    (error: { code: string }) => error.code,
  )

test('a value is read back, replaced and removed', async () => {
  const store = open(new TracingRegion())
  assert.is(store.get(text('a')), undefined)
  assert.is(await store.put(text('a'), text('one')), 1n)
  assert.is(show(store.get(text('a'))), 'one')
  assert.is(await store.put(text('a'), text('two')), 2n)
  assert.is(show(store.get(text('a'))), 'two')
  assert.is(store.records, 1)
  assert.is(await store.delete(text('a')), true)
  assert.is(await store.delete(text('a')), false)
  assert.is(store.get(text('a')), undefined)
})

test('a batch has exactly two fences, whatever it holds', async () => {
  const region = new TracingRegion()
  const store = open(region)
  for (let i = 0; i < 20; i++) await store.put(text(`k${i % 7}`), new Uint8Array(i * 400))
  await store.delete(text('k3'))
  assert.is(store.counters.batches, 21)
  assert.is(store.counters.fences, 42)
})

test('every buffer and line comes back when everything is deleted', async () => {
  const region = new TracingRegion()
  const store = open(region)
  const { freeBuffers, freeMetas } = store.pool
  for (let i = 0; i < 50; i++) await store.put(text(`k${i % 10}`), new Uint8Array(i * 300))
  await store.drain()
  assert.is(store.pool.freeBuffers + store.pool.storedBuffers, store.pool.totalBuffers)
  for (let i = 0; i < 10; i++) await store.delete(text(`k${i}`))
  await store.drain()
  assert.is(store.pool.freeBuffers, freeBuffers)
  assert.is(store.pool.freeMetas, freeMetas)
  assert.is(store.pool.storedBuffers, 0)
})

test('a full store refuses, keeps reading, and takes writes again after a deletion', async () => {
  const store = open(new TracingRegion({ regionBytes: 1 << 18 }))
  let stored = 0
  for (;;) {
    try {
      await store.put(text(`k${stored}`), new Uint8Array(1500).fill(stored))
    } catch (error) {
      assert.is((error as { code: string }).code, 'FULL')
      break
    }
    stored++
  }
  assert.ok(stored > 20)
  assert.equal(store.get(text('k3')), new Uint8Array(1500).fill(3))
  assert.is(store.get(text(`k${stored}`)), undefined)
  await store.delete(text('k5'))
  await store.put(text('again'), new Uint8Array(1500))
  assert.is(store.records, stored)
})

test('iteration is in byte order, forward and backward, by prefix and range', async () => {
  const random = seededRandom(7)
  const store = open(new TracingRegion())
  const keys: Uint8Array[] = []
  for (let i = 0; i < 200; i++) {
    const key = new Uint8Array(1 + ((random() >>> 0) % 6))
    for (let j = 0; j < key.length; j++) key[j] = [0, 0x61, 0x62, 0xff][(random() >>> 0) % 4]!
    keys.push(key)
    await store.put(key, text('v'))
  }
  const sorted = [...new Set(keys.map((key) => Buffer.from(key).toString('hex')))].map(
    (hex) => new Uint8Array(Buffer.from(hex, 'hex')),
  )
  sorted.sort(compareBytes)
  const hex = (list: Iterable<Uint8Array>): string => [...list].map((key) => Buffer.from(key).toString('hex')).join(' ')
  const listed = (range: Parameters<Store['entries']>[0]): string =>
    hex([...store.entries(range)].map((entry) => entry.key))
  assert.is(listed({}), hex(sorted))
  assert.is(listed({ reverse: true }), hex([...sorted].reverse()))
  for (const bound of [
    new Uint8Array([0x61]),
    new Uint8Array([0xff]),
    new Uint8Array([0xff, 0xff]),
    new Uint8Array([0x61, 0]),
  ]) {
    const withPrefix = sorted.filter((key) => compareBytes(key.subarray(0, bound.length), bound) === 0)
    assert.is(listed({ prefix: bound }), hex(withPrefix))
    assert.is(listed({ prefix: bound, reverse: true }), hex([...withPrefix].reverse()))
    assert.is(
      listed({ start: bound, limit: 5 }),
      hex(sorted.filter((key) => compareBytes(key, bound) >= 0).slice(0, 5)),
    )
    assert.is(
      listed({ end: bound, reverse: true, limit: 5 }),
      hex(
        sorted
          .filter((key) => compareBytes(key, bound) < 0)
          .reverse()
          .slice(0, 5),
      ),
    )
  }
})

test('asynchronous barriers: what is staged meanwhile goes into one batch, and every promise keeps its order', async () => {
  const region = new TracingRegion({ asynchronous: true })
  const store = open(region)
  await store.drain()
  const done: number[] = []
  const puts = Array.from({ length: 30 }, (_, i) =>
    store.put(text(`k${i % 5}`), text(`v${i}`)).then(() => done.push(i)),
  )
  assert.is(store.get(text('k0')), undefined, 'nothing is visible before it is durable')
  await Promise.all(puts)
  assert.equal(
    done,
    Array.from({ length: 30 }, (_, i) => i),
  )
  assert.is(store.counters.batches, 2)
  for (let k = 0; k < 5; k++) assert.is(show(store.get(text(`k${k}`))), `v${25 + k}`)
  assert.is(await store.delete(text('k1')), true)
  await store.drain()
  assert.is(store.pool.freeBuffers + store.pool.storedBuffers, store.pool.totalBuffers)
})

test('a failed sync poisons the store: writes fail, reads go on', async () => {
  const region = new TracingRegion()
  const store = open(region)
  await store.put(text('a'), text('one'))
  region.failure = -5
  let code = ''
  await store.put(text('a'), text('two')).catch((error) => {
    code = error.code
  })
  assert.is(code, 'POISONED')
  region.failure = 0
  assert.throws(() => store.put(text('b'), text('x')), /read-only/)
  assert.is(show(store.get(text('a'))), 'one')
})

test('draining a poisoned store fails, whatever is left to do, and when no program is on its way any more', async () => {
  const region = new TracingRegion({ asynchronous: true })
  const store = open(region)
  await store.put(text('a'), text('one'))
  await store.drain()
  region.failure = -5
  store.put(text('a'), text('two')).catch(() => {})
  assert.is(await codeOf(store.drain()), 'POISONED')
  assert.is(store.isIdle, true, 'the write was given up, and left no debts')
  assert.is(await codeOf(store.drain()), 'POISONED')

  const other = new TracingRegion({ asynchronous: true, image: region.durableImage() })
  const reopened = open(other)
  reopened.delete(text('a')).catch(() => {})
  assert.is(reopened.busy, true)
  other.reserveVersions = () => -5
  assert.is(await codeOf(reopened.put(text('b'), text('one'))), 'POISONED')
  assert.is(reopened.busy, true)
  assert.is(await codeOf(reopened.drain()), 'POISONED')
  assert.is(reopened.busy, false)
})

test('a header that cannot be written poisons the store: the put fails, nothing hangs', async () => {
  const region = new TracingRegion()
  const store = open(region)
  region.failure = -5 // the first put raises the version floor
  let code = ''
  await store.put(text('a'), text('one')).catch((error) => {
    code = error.code
  })
  assert.is(code, 'POISONED')
  assert.is(store.get(text('a')), undefined)
})

for (const integrity of ['tcp', 'crc32c'] as const) {
  test(`a flipped payload bit is refused after reopening, never served (${integrity})`, async () => {
    const region = new TracingRegion()
    const store = new Store(region, { random: seededRandom(1), integrity })
    await store.put(text('a'), text('some value'))
    await store.put(text('b'), text('other'))
    const image = region.durableImage()
    const at = Buffer.from(image).indexOf('some value')
    image[at + 3]! ^= 0x10
    const reopened = open(new TracingRegion({ image }))
    assert.throws(() => reopened.get(text('a')), /corrupt/)
    assert.is(show(reopened.get(text('b'))), 'other')
    assert.is(reopened.checks.corruptReads, 1)
  })
}

test('a damaged line is reported with its key, and a new write heals it', async () => {
  const region = new TracingRegion()
  const store = open(region)
  await store.put(text('alpha'), new Uint8Array(5000).fill(7))
  await store.put(text('beta'), text('b'))
  const head = store.find(text('alpha'), 0, 5)
  const image = region.durableImage()
  image[head * 64 + 8]! ^= 1 // the version
  const damaged = new TracingRegion({ image })
  const reopened = open(damaged)
  assert.is(reopened.report.corrupt.length, 1)
  assert.is(show(reopened.report.corrupt[0]!.key), 'alpha')
  assert.throws(() => reopened.get(text('alpha')), /corrupt/)
  assert.is(show(reopened.get(text('beta'))), 'b')
  await reopened.put(text('alpha'), text('new'))
  assert.is(show(reopened.get(text('alpha'))), 'new')
  await reopened.drain()
  assert.is(reopened.pool.freeBuffers + reopened.pool.storedBuffers, reopened.pool.totalBuffers)
  const again = open(new TracingRegion({ image: damaged.durableImage() }))
  assert.is(again.report.corrupt.length, 0)
  assert.is(show(again.get(text('alpha'))), 'new')
})

test('recovery of a recovered region changes nothing', async () => {
  const region = new TracingRegion()
  const store = open(region)
  for (let i = 0; i < 40; i++) await store.put(text(`k${i % 13}`), new Uint8Array(i * 150))
  const first = new TracingRegion({ image: region.durableImage() })
  open(first)
  const second = new TracingRegion({ image: first.durableImage() })
  const report = open(second).report
  assert.is(report.superseded + report.orphans + report.inserted, 0)
  assert.is(Buffer.compare(second.durableImage(), first.durableImage()), 0)
})

test.run()
