/** Every byte of a region is counted once: under random work, behind crashes, with damage, before and behind packing. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { accountSpace, type SpaceAccount } from '../../storage/accounting.ts'
import { EXTENTS_START, LINE_BYTES } from '../../storage/layout.ts'
import { Packer } from '../../storage/packing.ts'
import { Store } from '../../storage/store.ts'
import { crashImages } from '../crash/images.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SEED = announceSeed('accounting', 4096)
const EXTENT_BYTES = 1 << 18
/** Nothing behind the extent but what rounding leaves. */
const REGION_BYTES = EXTENTS_START + EXTENT_BYTES

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

/** Sum of the parts, each of which is a count of bytes. */
function sum({ headerBytes, unusedBytes, lines, buffers }: SpaceAccount): number {
  const parts = [headerBytes, unusedBytes, ...Object.values(lines), ...Object.values(buffers)]
  for (const part of parts) assert.ok(Number.isInteger(part) && part >= 0, JSON.stringify({ lines, buffers }))
  return parts.reduce((total, part) => total + part, 0)
}

function check(store: Store): SpaceAccount {
  const space = accountSpace(store, REGION_BYTES)
  assert.is(sum(space), REGION_BYTES)
  let values = 0
  let keys = 0
  for (const { key, size } of store.entries()) {
    values += size
    keys += key.length
  }
  assert.equal([space.buffers.values, space.buffers.keys], [values, keys])
  assert.is(space.lines.heads, store.records * LINE_BYTES)
  return space
}

test('under random work and behind crashes', async () => {
  const random = seededRandom(SEED)
  const upTo = (n: number): number => (random() >>> 0) % n
  for (let run = 0; run < 4; run++) {
    const region = new TracingRegion({ regionBytes: EXTENT_BYTES })
    const store = new Store(region, { random })
    const packer = new Packer(store, region, { sparseBytes: 1024, linesMax: 8, reserve: 0, onFinding: () => {} })
    let images = 0
    region.onFence = () => {
      if (upTo(8) !== 0) return
      images++
      const image = [...crashImages(region, random, 3)].at(-1)!.bytes()
      const crashed = new Store(new TracingRegion({ regionBytes: EXTENT_BYTES, image }), { random: seededRandom(1) })
      const space = check(crashed)
      assert.equal([space.lines.held, space.buffers.held], [0, 0])
    }
    for (let step = 0; step < 150; step++) {
      const key = bytes(`key-${upTo(30)}`)
      if (upTo(4) === 0) await store.delete(key)
      else await store.put(key, new Uint8Array([10, 300, 1500, 2500, 5000][upTo(5)]!).fill(step))
      if (upTo(10) === 0) packer.step(5000)
      check(store)
    }
    assert.ok(images > 10)
    packer.close()
    await store.drain()
    const { lines, buffers } = check(store)
    assert.equal([lines.held, buffers.held], [0, 0])
  }
})

test('what packing frees shows, and what it keeps stays the same', async () => {
  const region = new TracingRegion({ regionBytes: EXTENT_BYTES })
  const store = new Store(region, { random: seededRandom(1) })
  for (let i = 0; i < 50; i++) await store.put(bytes(`key-${i}`), new Uint8Array(100))
  await store.drain()
  const before = check(store)
  assert.is(before.buffers.slack, 50 * 2048 - before.buffers.values - before.buffers.keys)
  const packer = new Packer(store, region, { sparseBytes: 1024, linesMax: 8, reserve: 0, onFinding: () => {} })
  packer.step(1 << 30)
  packer.close()
  await store.drain()
  const after = check(store)
  assert.is(after.buffers.values, 5000)
  assert.is(after.buffers.free - before.buffers.free, 47 * 2048)
  assert.is(after.buffers.slack, 3 * 2048 - after.buffers.values - after.buffers.keys)
})

test('a damaged entry is held, neither free nor counted as a value', async () => {
  const region = new TracingRegion({ regionBytes: EXTENT_BYTES })
  const store = new Store(region, { random: seededRandom(1) })
  for (const key of ['a', 'b']) await store.put(bytes(key), new Uint8Array(5000))
  await store.drain()
  const image = region.durableImage()
  image[store.find(bytes('a'), 0, 1) * LINE_BYTES + 8]! ^= 1
  const damaged = new Store(new TracingRegion({ regionBytes: EXTENT_BYTES, image }), { random: seededRandom(1) })
  const space = accountSpace(damaged, REGION_BYTES)
  assert.is(sum(space), REGION_BYTES)
  assert.is(space.buffers.values, 5000)
  assert.is(space.lines.held, 3 * LINE_BYTES)
  assert.is(space.buffers.held, 3 * 2048)
})

test.run()
