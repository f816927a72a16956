/** Atomic batches: all or nothing, by conditions, by room, and with everything else that is staged beside them. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { BatchOperation, Condition } from '../../storage/atomic-batch.ts'
import { ConditionError } from '../../storage/errors.ts'
import {
  KIND_GROUP,
  KIND_HEAD,
  LINE_BYTES,
  stateFlags,
  stateKind,
  W_KEY_PREFIX,
  W_STATE,
} from '../../storage/layout.ts'
import { OP_SEAL_LINE } from '../../storage/persist-program.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))
const put = (key: string, value: string, expect?: Condition): BatchOperation => ({
  op: 'put',
  key: text(key),
  value: text(value),
  expect,
})
const del = (key: string, expect?: Condition): BatchOperation => ({ op: 'delete', key: text(key), expect })

function open(region: TracingRegion): Store {
  return new Store(region, { random: seededRandom(1) })
}

function contents(store: Store): Record<string, string> {
  const found: Record<string, string> = {}
  for (const { key } of store.entries())
    found[Buffer.from(key).toString()] = Buffer.from(store.get(key)!).toString('latin1')
  return found
}

/** What the region holds after a crash now, with nothing but what is durable. */
function afterCrash(region: TracingRegion, versionFloor: number): Record<string, string> {
  return contents(open(new TracingRegion({ image: region.durableImage(), versionFloor })))
}

function codeOf(action: () => unknown): string {
  try {
    action()
    return 'none'
  } catch (error) {
    return (error as { code: string }).code
  }
}

test('puts and deletes of a batch take effect together; of several of one key the last', async () => {
  const region = new TracingRegion()
  const store = open(region)
  await store.put(text('a'), text('old'))
  await store.put(text('b'), text('old'))
  const value = 'x'.repeat(5000)
  const result = await store.batch([put('a', 'first'), del('b'), put('c', value), put('a', 'last'), del('absent')])
  assert.equal(result, { committed: 5, version: 5n })
  assert.equal(contents(store), { a: 'last', c: value })
  assert.equal(afterCrash(region, 1 << 20), { a: 'last', c: value })
})

test('a program with a batch has three fences, and the next two settle it', async () => {
  const region = new TracingRegion()
  const store = open(region)
  await store.put(text('b'), text('1'))
  await store.drain()
  const { freeBuffers, freeMetas } = store.pool
  const before = store.counters.fences
  await store.batch([put('a', '1'), del('b')])
  assert.is(store.counters.fences - before, 3)
  assert.is(store.counters.groups, 1)
  const settles = store.counters.settles
  await store.drain()
  assert.is(store.counters.settles - settles, 2)
  assert.is(stateFlags(store.pool.get(store.find(text('a'), 0, 1), W_STATE)), 0)
  // One entry less, one more; group and tombstone are gone.
  assert.equal([store.pool.freeBuffers, store.pool.freeMetas], [freeBuffers, freeMetas])
})

test('a batch of deletions of absent keys, or of nothing, leaves no trace', async () => {
  const region = new TracingRegion()
  const store = open(region)
  assert.equal(await store.batch([]), { committed: 0, version: 0n })
  assert.is((await store.batch([del('a'), put('b', ''), del('b')])).committed, 3)
  assert.equal(contents(store), {})
  assert.is(region.counters.fences, 0)
})

test('a condition that does not hold names its operation, and nothing has changed', async () => {
  const store = open(new TracingRegion())
  const version = await store.put(text('a'), text('1'))
  for (const [operation, current] of [
    [put('a', '2', 'absent'), version],
    [put('a', '2', version + 1n), version],
    [del('b', 'present'), undefined],
    [del('b', 7n), undefined],
  ] as [BatchOperation, bigint | undefined][]) {
    try {
      store.batch([put('c', '1'), operation])
      assert.unreachable()
    } catch (error) {
      assert.instance(error, ConditionError)
      assert.is((error as ConditionError).operation, 1)
      assert.is((error as ConditionError).current, current)
    }
  }
  assert.equal(contents(store), { a: '1' })
  // About the state before the batch, not about its own operations.
  await store.batch([
    put('a', '2', version),
    put('b', '2', 'absent'),
    put('b', '3', 'absent'),
    put('a', '3', 'present'),
  ])
  assert.equal(contents(store), { a: '3', b: '3' })
})

test('single writes take conditions, too', async () => {
  const store = open(new TracingRegion())
  const version = await store.put(text('a'), text('1'), 'absent')
  assert.is(
    codeOf(() => store.put(text('a'), text('2'), 'absent')),
    'CONDITION',
  )
  assert.is(
    codeOf(() => store.delete(text('a'), version + 1n)),
    'CONDITION',
  )
  assert.is(await store.put(text('a'), text('2'), version), version + 1n)
  assert.is(await store.delete(text('a'), version + 1n), true)
})

test('a batch for which there is no room, or with a bad key, changes nothing', async () => {
  const store = open(new TracingRegion({ regionBytes: 1 << 18 }))
  await store.put(text('a'), text('1'))
  await store.drain()
  const { freeBuffers, freeMetas } = store.pool
  const many = Array.from({ length: 200 }, (_, i) => put(`k${i}`, 'value'))
  assert.is(
    codeOf(() => store.batch(many)),
    'FULL',
  )
  assert.is(
    codeOf(() => store.batch([put('b', '1'), put('', '1')])),
    'KEY_LENGTH',
  )
  assert.is(
    codeOf(() => store.batch([put('b', '1'), del('k'.repeat(1025))])),
    'KEY_LENGTH',
  )
  assert.is(
    codeOf(() => store.delete(text(''))),
    'KEY_LENGTH',
  )
  assert.equal(contents(store), { a: '1' })
  assert.equal([store.pool.freeBuffers, store.pool.freeMetas], [freeBuffers, freeMetas])
  await store.batch(many.slice(0, 20))
  assert.is(store.records, 21)
})

/** Stages while a first program is on its way, so that everything shares the second. */
async function shared(stage: (store: Store) => Promise<unknown>[]): Promise<{ store: Store; region: TracingRegion }> {
  const region = new TracingRegion({ asynchronous: true })
  const store = open(region)
  await store.put(text('b'), text('old'))
  const first = store.put(text('z'), text('first'))
  assert.is(store.busy, true)
  const others = stage(store)
  await first
  await Promise.all(others)
  assert.is(store.counters.batches, 3)
  return { store, region }
}

test('plain writes that take the place of a member in one program join its batch', async () => {
  const { store, region } = await shared((store) => [
    store.batch([put('a', '1'), put('b', '1'), put('c', 'y'.repeat(4000)), del('z')]),
    store.put(text('a'), text('2')),
    store.delete(text('c')),
    store.put(text('z'), text('again')),
    store.put(text('other'), text('plain')),
  ])
  const expected = { a: '2', b: '1', other: 'plain', z: 'again' }
  assert.equal(contents(store), expected)
  assert.equal(afterCrash(region, 1 << 20), expected)
  await store.drain()
  assert.equal(contents(store), expected)
  assert.is(store.pool.freeBuffers + store.pool.storedBuffers, store.pool.totalBuffers)
})

test('two batches that change the same keys in one program are both done', async () => {
  const { store, region } = await shared((store) => [
    store.batch([put('a', '1'), put('b', '1'), del('z')]),
    store.batch([del('a'), put('c', '2'), put('z', '2')]),
  ])
  assert.equal(contents(store), { b: '1', c: '2', z: '2' })
  assert.equal(afterCrash(region, 1 << 20), { b: '1', c: '2', z: '2' })
})

test('plain writes in the same program are never members', async () => {
  const { store, region } = await shared((store) => [store.batch([put('a', '1')]), store.put(text('c'), text('2'))])
  assert.is(stateFlags(store.pool.get(store.find(text('c'), 0, 1), W_STATE)), 0)
  assert.equal(afterCrash(region, 1 << 20), { a: '1', b: 'old', c: '2', z: 'first' })
})

/** The durable state between the fence that commits a batch and the first program that settles it. */
async function unsettled(): Promise<{ image: Uint8Array; groups: number[]; members: number[] }> {
  const region = new TracingRegion()
  const store = open(region)
  await store.put(text('b'), text('old'))
  await store.drain()
  const groups: number[] = []
  const members: number[] = []
  region.rewrite = (steps) => {
    for (const { op, a: meta, b: state } of steps) {
      if (op !== OP_SEAL_LINE) continue
      if (stateKind(state) === KIND_GROUP) groups.push(meta)
      else if (stateKind(state) === KIND_HEAD && stateFlags(state) !== 0) members.push(meta)
    }
    return steps
  }
  await store.batch([put('a', '1'), del('b'), put('c', '3')])
  return { image: region.durableImage(), groups, members }
}

test('recovery completes a committed batch, and says so', async () => {
  const { image, groups, members } = await unsettled()
  assert.equal([groups.length, members.length], [1, 3])
  const store = open(new TracingRegion({ image, versionFloor: 100 }))
  assert.equal([store.report.completed, store.report.undone, store.report.superseded], [3, 0, 1])
  assert.equal(contents(store), { a: '1', c: '3' })
  assert.is(store.isIdle, true)
  assert.is(stateFlags(store.pool.get(store.find(text('a'), 0, 1), W_STATE)), 0)
  assert.is(store.pool.freeBuffers + 2, store.pool.totalBuffers)
})

test('recovery undoes a batch that was not committed, and says so', async () => {
  const { image, groups } = await unsettled()
  const region = new TracingRegion({ image })
  region.pool.set(groups[0]!, 0, 0)
  region.pool.set(groups[0]!, W_STATE, 0)
  const store = open(new TracingRegion({ image: region.bytes, versionFloor: 100 }))
  assert.equal([store.report.completed, store.report.undone], [0, 3])
  assert.equal(contents(store), { b: 'old' })
  assert.is(store.pool.freeBuffers + 1, store.pool.totalBuffers)
})

test('a batch that was not committed is undone although some other line is damaged, if that was no group', async () => {
  const region = new TracingRegion()
  const store = open(region)
  await store.put(text('long'), new Uint8Array(5000))
  await store.put(text('b'), text('old'))
  await store.drain()
  const fragment = store.pool.next(store.find(text('long'), 0, 4))
  const images: Uint8Array[] = []
  region.onFence = () => images.push(region.durableImage())
  await store.batch([put('a', '1'), put('b', '2'), del('long')])
  const [, , sealed] = images // the members are durable, their group is not
  for (let byte = 0; byte < LINE_BYTES; byte++) {
    const image = sealed!.slice()
    image[fragment * LINE_BYTES + byte]! ^= 0x20
    const after = open(new TracingRegion({ image, versionFloor: 100 }))
    assert.is(after.report.undone, 3, `byte ${byte}`)
    assert.is(Buffer.from(after.get(text('b'))!).toString(), 'old', `byte ${byte}`)
    assert.is(after.get(text('a')), undefined)
  }
  const image = sealed!.slice()
  for (const byte of [8, 20]) image[fragment * LINE_BYTES + byte]! ^= 0x20
  assert.is(
    codeOf(() => open(new TracingRegion({ image, versionFloor: 100 })).get(text('b'))),
    'CORRUPT',
    'more than a byte is damaged',
  )
})

test('a damaged group makes its members corrupt: they are reported, never dropped silently and never served', async () => {
  const { image, groups } = await unsettled()
  const region = new TracingRegion({ image })
  region.pool.set(groups[0]!, W_KEY_PREFIX, 1)
  const store = open(new TracingRegion({ image: region.bytes, versionFloor: 100 }))
  const named = store.report.corrupt.flatMap(({ key }) => (key === undefined ? [] : [Buffer.from(key).toString()]))
  assert.equal(named.sort(), ['a', 'b', 'c'])
  for (const key of ['a', 'b', 'c'])
    assert.is(
      codeOf(() => store.get(text(key))),
      'CORRUPT',
    )
  for (const key of ['a', 'b', 'c']) await store.put(text(key), text('new'))
  assert.equal(contents(store), { a: 'new', b: 'new', c: 'new' })
})

test.run()
