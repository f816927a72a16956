/** Batches: several changes of one key in one batch and in two that overlap, fences, early programs, pins, versions. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { adoptHead, versionOf } from '../../storage/entry.ts'
import { NO_FRAME, NO_META } from '../../storage/layout.ts'
import { OP_FENCE, OP_WORDS } from '../../storage/persist-program.ts'
import { Store } from '../../storage/store.ts'
import { HeldRegion } from '../support/held-region.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SEED = announceSeed('commit', 64_000)
const REGION_BYTES = 1 << 19

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))

function open(region: TracingRegion): Store {
  return new Store(region, { random: seededRandom(SEED) })
}

/** Puts bytes into a buffer of their own; returns the line. */
function lineOf(store: Store, region: TracingRegion, key: string, value: string): number {
  const { pool } = store
  const buffer = pool.allocateBuffer()
  const start = pool.bufferStart(buffer)
  pool.bufferBytes(buffer).set(text(key + value), start)
  const sum = region.sumView(buffer, key.length, value.length)
  const meta = pool.createView(buffer, key.length, value.length, sum | (NO_FRAME << 16))
  if (key.length > 0) adoptHead(pool, meta, 0, key.length)
  return meta
}

/** Stages one change in place: a value, or undefined to delete. Returns whether the key was there before. */
function stage(store: Store, region: TracingRegion, key: string, value: string | undefined): boolean {
  const { pool } = store
  if (value === undefined) {
    const line = lineOf(store, region, key, '')
    const before = store.stageDelete(pool.buffer(line), 0, key.length)
    pool.release(line)
    return before !== NO_META
  }
  const head = lineOf(store, region, key, value.slice(0, 1000))
  let tail = head
  for (let at = 1000; at < value.length; at += 1000) {
    const meta = lineOf(store, region, '', value.slice(at, at + 1000))
    store.appendFragment(head, tail, meta)
    tail = meta
  }
  return store.stagePut(head, tail) !== NO_META
}

const read = (store: Store, key: string): string | undefined => {
  const value = store.get(text(key))
  return value && Buffer.from(value).toString()
}

function finishAll(region: HeldRegion): void {
  while (region.isHolding) region.complete()
}

/** What is neither free nor stored when all is done. */
function lost(store: Store, region: HeldRegion): number {
  for (let turn = 0; !store.isIdle; turn++) {
    assert.ok(turn < 20, 'it settles')
    if (region.isHolding) region.complete()
    else store.settle()
  }
  const { pool } = store
  let lines = 0
  for (const { meta } of store.entries()) for (let at = meta; at !== NO_META; at = pool.next(at)) lines++
  return pool.totalBuffers - pool.freeBuffers - pool.storedBuffers + (pool.totalMetas - pool.freeMetas - lines)
}

/** What a crash right now would leave. */
function afterCrash(region: TracingRegion, key: string): string | undefined {
  const image = region.durableImage()
  return read(open(new TracingRegion({ regionBytes: REGION_BYTES, image, versionFloor: region.versionFloor })), key)
}

const LONG = 'a value of several lines '.repeat(120)
const SEQUENCES: readonly (readonly (string | undefined)[])[] = [
  ['one', 'two'],
  ['one', undefined],
  [undefined, 'two'],
  ['one', undefined, 'three'],
  [undefined, 'two', undefined],
  ['one', 'two', undefined, 'four', undefined],
  [LONG, 'short'],
  ['short', LONG],
  [LONG, undefined, LONG],
  [undefined],
]

for (const existing of [undefined, 'old', LONG]) {
  for (const sequence of SEQUENCES) {
    const shown = sequence.map((value) => (value === undefined ? 'delete' : `put ${value.slice(0, 5)}`)).join(', ')
    const on = existing === undefined ? 'nothing' : existing.slice(0, 5)

    test(`${shown} of one key in one batch, on ${on}: the last one counts`, () => {
      const region = new HeldRegion({ regionBytes: REGION_BYTES })
      const store = open(region)
      stage(store, region, 'neighbour', 'n')
      if (existing !== undefined) stage(store, region, 'key', existing)
      store.commit()
      let expected: string | undefined = existing
      for (const value of sequence) {
        assert.is(stage(store, region, 'key', value), expected !== undefined, 'it knows what was there before')
        expected = value
      }
      assert.is(read(store, 'key'), existing, 'nothing shows before the commit')
      store.commit()
      assert.is(read(store, 'key'), expected)
      assert.is(afterCrash(region, 'key'), expected, 'and it is durable')
      assert.is(read(store, 'neighbour'), 'n')
      assert.is(lost(store, region), 0)
      assert.is(afterCrash(region, 'key'), expected)
    })

    test(`${shown} of one key while its batch is on its way, on ${on}: each batch in its turn`, () => {
      const region = new HeldRegion({ regionBytes: REGION_BYTES, asynchronous: true })
      const store = open(region)
      finishAll(region)
      if (existing !== undefined) stage(store, region, 'key', existing)
      store.commit()
      finishAll(region)
      for (const first of ['first', LONG, undefined]) {
        const visible = read(store, 'key')
        const known = stage(store, region, 'key', first)
        assert.is(known, visible !== undefined)
        store.commit()
        // A deletion of what is not there stages nothing.
        const isOnItsWay = region.isHolding
        let expected = isOnItsWay ? first : visible
        const published = expected
        for (const value of sequence) {
          assert.is(stage(store, region, 'key', value), expected !== undefined, 'it sees what is under way')
          expected = value
        }
        assert.is(read(store, 'key'), visible, 'nothing shows before it is durable')
        if (isOnItsWay) {
          region.complete()
          assert.is(read(store, 'key'), published)
          assert.is(afterCrash(region, 'key'), published)
        } else store.commit()
        finishAll(region)
        assert.is(read(store, 'key'), expected)
        assert.is(afterCrash(region, 'key'), expected)
      }
      assert.is(lost(store, region), 0)
    })
  }
}

test('a batch has two fences, a settling program one, and nothing to do has none', () => {
  const region = new HeldRegion({ regionBytes: REGION_BYTES })
  const store = open(region)
  const { counters } = store
  const before = region.counters.fences
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 20; i++) stage(store, region, `k${i % 7}`, round % 3 === 0 ? LONG : String(i))
    stage(store, region, 'k1', undefined)
    store.commit()
  }
  assert.is(counters.batches, 10)
  assert.is(counters.fences, 20)
  assert.is(counters.settles, 0)
  assert.is(region.counters.fences - before, 20)
  store.commit()
  assert.is(region.counters.fences - before, 20, 'an empty commit does nothing')
  assert.is(lost(store, region), 0)
  assert.ok(counters.settles >= 1 && counters.settles <= 2)
  assert.is(counters.settleFences, counters.settles)
  store.settle()
  assert.is(region.counters.fences - before, 20 + counters.settles)
})

test('programs end with their fence: nothing is left to chance behind it', () => {
  const programs: number[][] = []
  class Watched extends TracingRegion {
    override execute(program: Int32Array, words: number): number {
      programs.push([...program.subarray(0, words)].filter((_, at) => at % OP_WORDS === 0))
      return super.execute(program, words)
    }
  }
  const region = new Watched({ regionBytes: REGION_BYTES })
  const store = open(region)
  for (let i = 0; i < 6; i++) {
    stage(store, region, `k${i % 2}`, LONG)
    store.commit()
  }
  assert.ok(programs.length >= 6)
  for (const operations of programs) assert.is(operations.at(-1), OP_FENCE)
})

test('versions ascend over reopening, also when the newest entry was deleted before the crash', () => {
  const region = new HeldRegion({ regionBytes: REGION_BYTES })
  const store = open(region)
  stage(store, region, 'a', '1')
  store.commit()
  const highest = store.nextVersion
  stage(store, region, 'a', undefined)
  store.commit()
  const image = region.durableImage()
  const reopened = open(new TracingRegion({ regionBytes: REGION_BYTES, image, versionFloor: region.versionFloor }))
  assert.ok(reopened.nextVersion >= highest)
})

test('versions pass 2^32 and keep their order', () => {
  const floor = 2 ** 32 - 3
  const region = new HeldRegion({ regionBytes: REGION_BYTES, versionFloor: floor })
  const store = open(region)
  for (let i = 0; i < 8; i++) {
    stage(store, region, 'a', String(i))
    store.commit()
    assert.is(versionOf(store.pool, store.find(text('a'), 0, 1)), BigInt(floor + i))
  }
  const image = region.durableImage()
  const reopened = open(new TracingRegion({ regionBytes: REGION_BYTES, image }))
  assert.is(read(reopened, 'a'), '7')
  assert.ok(reopened.nextVersion >= floor + 8)
})

test('a given-up upload frees its lines only when those that were sealed are durably cleared', () => {
  for (const asynchronous of [false, true]) {
    const region = new HeldRegion({ regionBytes: REGION_BYTES, asynchronous })
    const store = open(region)
    finishAll(region)
    const { freeBuffers, freeMetas } = store.pool
    const head = lineOf(store, region, 'key', 'x')
    let tail = head
    for (let i = 0; i < 8; i++) {
      const meta = lineOf(store, region, '', String(i).repeat(900))
      store.appendFragment(head, tail, meta)
      tail = meta
      if (i === 4) {
        store.settle() // the fragments so far are sealed ahead of their head
        finishAll(region)
      }
    }
    store.discard(head)
    assert.is(store.pool.freeBuffers, freeBuffers - 9)
    assert.is(lost(store, region), 0)
    assert.is(store.pool.freeBuffers, freeBuffers)
    assert.is(store.pool.freeMetas, freeMetas)
    const reopened = open(new TracingRegion({ regionBytes: REGION_BYTES, image: region.durableImage() }))
    assert.is(reopened.records, 0)
    assert.is(reopened.report.orphans, 0)
  }
})

test('a pinned entry keeps its bytes until the last reader lets go', () => {
  for (const end of ['new', undefined]) {
    const region = new HeldRegion({ regionBytes: REGION_BYTES })
    const store = open(region)
    stage(store, region, 'key', LONG)
    store.commit()
    const head = store.find(text('key'), 0, 3)
    store.pin(head)
    store.pin(head)
    stage(store, region, 'key', end)
    store.commit()
    for (let i = 0; i < 5; i++) store.settle()
    for (let i = 0; i < 60; i++) {
      stage(store, region, `other${i}`, 'z'.repeat(900))
      store.commit()
    }
    assert.is(Buffer.from(store.read(head)).toString(), LONG)
    store.unpin(head)
    store.settle()
    assert.is(Buffer.from(store.read(head)).toString(), LONG, 'one reader is left')
    assert.is(read(store, 'key'), end)
    store.unpin(head)
    assert.is(lost(store, region), 0)
  }
})

test('random batches, some on their way while others are staged, come to what a map comes to', () => {
  for (const asynchronous of [false, true]) {
    const random = seededRandom(SEED + Number(asynchronous))
    const region = new HeldRegion({ regionBytes: REGION_BYTES, asynchronous })
    const store = open(region)
    finishAll(region)
    const model = new Map<string, string>()
    for (let step = 0; step < 4000; step++) {
      const key = `k${(random() >>> 0) % 12}`
      const value = [undefined, `${step}`, `${step} `.repeat(300)][(random() >>> 0) % 3]
      assert.is(stage(store, region, key, value), model.has(key), `step ${step}`)
      if (value === undefined) model.delete(key)
      else model.set(key, value)
      const choice = (random() >>> 0) % 6
      if (choice < 2 || store.room < 20) store.commit()
      if (choice === 2) store.settle()
      if (region.isHolding && (choice === 3 || store.room < 20)) finishAll(region)
      for (let turn = 0; store.room < 20; turn++) {
        assert.ok(turn < 10, `step ${step}: settling makes room`)
        store.settle()
        finishAll(region)
      }
    }
    store.commit()
    finishAll(region)
    assert.is(store.records, model.size)
    for (const [key, value] of model) assert.is(read(store, key), value)
    assert.is(lost(store, region), 0)
    for (const [key, value] of model) assert.is(afterCrash(region, key), value)
  }
})

test('a key that is deleted is given back although the deletion named it in a buffer of its own', () => {
  const region = new HeldRegion({ regionBytes: REGION_BYTES })
  const store = open(region)
  stage(store, region, 'a', '1')
  store.commit()
  const line = lineOf(store, region, 'a', '')
  const buffer = store.pool.buffer(line)
  assert.is.not(store.current(buffer, 0, 1), NO_META)
  store.stageDelete(buffer, 0, 1)
  assert.is(store.current(buffer, 0, 1), NO_META, 'what will be, once the batch is durable')
  assert.is(store.pool.bufferReferences(buffer), 2, 'the batch holds the key that it will look up')
  store.pool.release(line)
  store.commit()
  assert.is(lost(store, region), 0)
})

test.run()
