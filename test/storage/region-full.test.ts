/**
 * A full region, at every number of buffers that are left: a write that does not fit changes nothing, one that fits
 * succeeds, deletions and reads go on, and what they free is used again, all in the same store.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { copyKey } from '../../storage/entry.ts'
import { BUFFER_BYTES } from '../../storage/layout.ts'
import { Store } from '../../storage/store.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SEED = announceSeed('region full', 507)
const REGION_BYTES = 1 << 18
const LEFT_MAX = 8
const KEY_BYTES = 6

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const keyOf = (index: number): string => `k${String(index).padStart(KEY_BYTES - 1, '0')}`
/** A value that takes so many buffers. */
const fillOf = (buffers: number, letter: string): Uint8Array =>
  bytesOf(letter.repeat(buffers * BUFFER_BYTES - KEY_BYTES))

interface FullStore {
  readonly region: TracingRegion
  readonly store: Store
  readonly keys: string[]
}

/** A store with room for exactly so many buffers more. */
async function filled(left: number): Promise<FullStore> {
  const region = new TracingRegion({ regionBytes: REGION_BYTES })
  const store = new Store(region, { random: seededRandom(SEED) })
  const keys: string[] = []
  while (store.room > left) {
    const key = keyOf(keys.length)
    await store.put(bytesOf(key), fillOf(1, 'x'))
    keys.push(key)
  }
  await store.drain()
  assert.is(store.room, left)
  return { region, store, keys }
}

const state = ({ pool, records, nextVersion }: Store): object => ({
  ...{ records, nextVersion },
  ...{ buffers: pool.freeBuffers, lines: pool.freeMetas, stored: pool.storedBuffers },
})

/** Runs a write that must be refused: for want of room, and without a trace. */
function assertFull(store: Store, write: () => unknown): void {
  const before = state(store)
  assert.throws(write, (error: { code: string }) => error.code === 'FULL')
  assert.equal(state(store), before)
}

function assertHolds(store: Store, keys: readonly string[]): void {
  assert.equal(
    [...store.entries()].map(({ meta }) => Buffer.from(copyKey(store.pool, meta)).toString()),
    [...keys].sort(),
  )
  for (const key of keys) assert.is(store.get(bytesOf(key))?.[0], 'x'.charCodeAt(0))
}

for (let left = 0; left <= LEFT_MAX; left++) {
  test(`with ${left} buffers left: what fits is taken, what does not changes nothing`, async () => {
    const { store, keys } = await filled(left)
    const key = bytesOf('new   ')
    for (const more of [1, 2, LEFT_MAX]) {
      assertFull(store, () => store.put(key, fillOf(left + more, 'y')))
      // An overwrite needs room for both versions; a batch for all that it brings.
      assertFull(store, () => store.put(bytesOf(keys[0]!), fillOf(left + more, 'y')))
      assertFull(store, () =>
        store.batch([
          { op: 'delete', key: bytesOf(keys[1]!) },
          { op: 'put', key, value: fillOf(left + more, 'y') },
        ]),
      )
    }
    assertHolds(store, keys)
    if (left > 0) {
      await store.put(key, fillOf(left, 'y'))
      assert.is(store.room, 0)
      // In the place of the key that it deletes, at once: the batch frees nothing before it is done.
      assertFull(store, () =>
        store.batch([
          { op: 'delete', key },
          { op: 'put', key: bytesOf('other '), value: fillOf(1, 'y') },
        ]),
      )
      assert.ok(await store.delete(key))
      await store.drain()
      assert.is(store.room, left)
      if (left > 2) {
        // Copies, a group, a tombstone.
        await store.batch([
          { op: 'put', key, value: fillOf(left - 2, 'y') },
          { op: 'delete', key: bytesOf(keys[0]!) },
        ])
        assert.ok(await store.delete(key))
        await store.put(bytesOf(keys[0]!), fillOf(1, 'x'))
        await store.drain()
        assert.is(store.room, left)
      }
    }
    // Room for one more: exactly what a deletion gives.
    assert.ok(await store.delete(bytesOf(keys.pop()!)))
    await store.put(key, fillOf(left + 1, 'y'))
    assertFull(store, () => store.put(bytesOf('again '), fillOf(1, 'y')))
    assert.ok(await store.delete(key))
    assertHolds(store, keys)
  })
}

test('emptied and filled again, over and over: the same number of values fits each time', async () => {
  const { store, keys } = await filled(0)
  for (let round = 0; round < 5; round++) {
    for (const key of keys) assert.ok(await store.delete(bytesOf(key)), 'a full region takes deletions')
    await store.drain()
    assert.is(store.records, 0)
    for (const key of keys) await store.put(bytesOf(key), fillOf(1, 'x'))
    assertFull(store, () => store.put(bytesOf('more'), bytesOf('y')))
    assertHolds(store, keys)
  }
})

test('a full region that crashed opens full, and recovers the same way', async () => {
  const { region, store, keys } = await filled(0)
  assertFull(store, () => store.put(bytesOf('more'), bytesOf('y')))
  const again = new Store(new TracingRegion({ regionBytes: REGION_BYTES, image: region.durableImage() }), {
    random: seededRandom(SEED),
  })
  assertHolds(again, keys)
  assertFull(again, () => again.put(bytesOf('more'), bytesOf('y')))
  assert.ok(await again.delete(bytesOf(keys[0]!)))
  await again.put(bytesOf('more'), bytesOf('x'))
  assertHolds(again, [...keys.slice(1), 'more'])
})

test.run()
