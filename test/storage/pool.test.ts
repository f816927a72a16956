/** The pool's free lists and reference counts, against a model under random operations. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EXTENT_BUFFERS_SHIFT, NO_BUFFER, NO_META, packView, W_KEY, W_STATE, W_SUM } from '../../storage/layout.ts'
import { Pool } from '../../storage/pool.ts'
import { poolOf } from '../support/pools.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const SEED = announceSeed('pool', 2048)

test('every buffer and line is handed out once, across extents, and then none', () => {
  for (const linesPerBuffer of [1, 2, 4, 8]) {
    const pool = poolOf(linesPerBuffer, 32, 64)
    const buffers = new Set<number>()
    for (let buffer = pool.allocateBuffer(); buffer !== NO_BUFFER; buffer = pool.allocateBuffer()) {
      assert.ok(pool.isBuffer(buffer))
      buffers.add(buffer)
    }
    assert.is(buffers.size, 96)
    assert.is(pool.freeBuffers, 0)
    const metas = new Set<number>()
    for (let meta = pool.allocateMeta(); meta !== NO_META; meta = pool.allocateMeta()) {
      assert.ok(pool.isMeta(meta))
      metas.add(meta)
    }
    assert.is(metas.size, 96 * linesPerBuffer - 1, 'all but the anchor')
    assert.is(pool.allocateBuffer(), NO_BUFFER)
    for (const buffer of buffers) pool.releaseBuffer(buffer)
    for (const meta of metas) pool.freeMeta(meta)
    assert.is(pool.freeBuffers, pool.totalBuffers)
    assert.is(pool.freeMetas, pool.totalMetas)
  }
})

test('indices name bytes of their own: no buffer or line overlaps another', () => {
  const pool = poolOf(2, 32, 32)
  const starts = new Set<string>()
  for (let extent = 0; extent < 2; extent++) {
    for (let local = 0; local < 32; local++) {
      const buffer = (extent << EXTENT_BUFFERS_SHIFT) | local
      assert.is(pool.bufferExtent(buffer), extent)
      assert.ok(pool.bufferStart(buffer) >= pool.dataStart[extent]!)
      assert.is((pool.bufferStart(buffer) - pool.dataStart[extent]!) % 2048, 0)
      starts.add(`${extent}:${pool.bufferStart(buffer)}`)
    }
    for (let local = 0; local < 64; local++) pool.set((extent << pool.lineShift) | local, W_STATE, extent * 64 + local)
  }
  assert.is(starts.size, 64)
  for (let local = 0; local < 64; local++) {
    assert.is(pool.get(local, W_STATE), local)
    assert.is(pool.get((1 << pool.lineShift) | local, W_STATE), 64 + local)
  }
})

test('numbers that name nothing are recognised', () => {
  const pool = poolOf(2, 32, 64)
  for (const buffer of [-1, 32, 1 << 17, (1 << EXTENT_BUFFERS_SHIFT) | 64, 2 << EXTENT_BUFFERS_SHIFT, 0x7fffffff]) {
    assert.is(pool.isBuffer(buffer), false, `buffer ${buffer}`)
  }
  for (const meta of [-1, 64, (1 << pool.lineShift) | 128, 2 << pool.lineShift, 0x7fffffff]) {
    assert.is(pool.isMeta(meta), false, `line ${meta}`)
  }
})

test('views, clones and releases keep references as a model does', () => {
  const random = seededRandom(SEED)
  const pool = poolOf(2, 32)
  const held: { meta: number; buffer: number }[] = []
  const references = new Map<number, number>()
  for (let step = 0; step < 20_000; step++) {
    const choice = (random() >>> 0) % 5
    if (choice < 2) {
      const buffer = pool.allocateBuffer()
      assert.is(buffer === NO_BUFFER, references.size === 32, 'buffers run out when all are referenced')
      if (buffer === NO_BUFFER) continue
      const meta = pool.createView(buffer, step & 1023, 10, step & 0xffff)
      if (meta === NO_META) {
        pool.releaseBuffer(buffer)
        continue
      }
      references.set(buffer, 1)
      held.push({ meta, buffer })
    } else if (choice === 2 && held.length > 0) {
      const from = held[(random() >>> 0) % held.length]!
      const meta = pool.clone(from.meta)
      assert.is(meta === NO_META, held.length === pool.totalMetas)
      if (meta === NO_META) continue
      assert.is(pool.buffer(meta), from.buffer)
      assert.is(pool.dataOffset(meta), pool.dataOffset(from.meta))
      assert.is(pool.get(meta, W_SUM), pool.get(from.meta, W_SUM))
      references.set(from.buffer, references.get(from.buffer)! + 1)
      held.push({ meta, buffer: from.buffer })
    } else if (held.length > 0) {
      const [gone] = held.splice((random() >>> 0) % held.length, 1)
      pool.release(gone!.meta)
      const left = references.get(gone!.buffer)! - 1
      if (left > 0) references.set(gone!.buffer, left)
      else references.delete(gone!.buffer)
    }
    assert.is(pool.freeBuffers + references.size, pool.totalBuffers, `step ${step}`)
    assert.is(pool.freeMetas + held.length, pool.totalMetas, `step ${step}`)
  }
  for (const [buffer, count] of references) assert.is(pool.bufferReferences(buffer), count)
})

test('a chain is released as a whole; releasing twice and freeing a committed line are faults', () => {
  const pool = poolOf(2, 32)
  let chain = NO_META
  for (let i = 0; i < 5; i++) {
    const meta = pool.createView(pool.allocateBuffer(), 0, i, 0)
    pool.setNext(meta, chain)
    chain = meta
  }
  assert.is(pool.dataLength(chain), 4)
  pool.releaseChain(chain)
  assert.is(pool.freeBuffers, 32)
  assert.is(pool.freeMetas, 63)
  const buffer = pool.allocateBuffer()
  pool.releaseBuffer(buffer)
  assert.throws(() => pool.releaseBuffer(buffer), /released twice/)
  const meta = pool.allocateMeta()
  pool.set(meta, W_STATE, 1)
  assert.throws(() => pool.freeMeta(meta), /freed while committed/)
})

test('a buffer counts as stored once, however many entries name it, and counts the bytes of each', () => {
  const pool = poolOf(2, 32)
  const buffer = pool.allocateBuffer()
  const lines = [0, 1, 2].map((i) => {
    const meta = pool.createView(buffer, 100 * i, 50, 0)
    pool.set(meta, W_KEY, packView(100 * i + 50, i))
    return meta
  })
  for (const meta of lines) pool.markStored(meta)
  assert.is(pool.storedBuffers, 1)
  assert.is(pool.bufferLiveBytes(buffer), 153)
  assert.is(pool.countLiveBytes(), 153)
  for (const meta of lines) pool.unmarkStored(meta)
  assert.is(pool.storedBuffers, 0)
  assert.is(pool.countLiveBytes(), 0)
})

test('free lists leave out what recovery retained', () => {
  const pool = new Pool([{ memory: new ArrayBuffer(32 * (2048 + 128)), buffers: 32 }], 2)
  for (const buffer of [3, 17]) pool.retainBuffer(buffer)
  pool.buildFreeLists(new Uint8Array(pool.metaIndexEnd).fill(1, 10, 15).fill(2, 15, 20))
  assert.is(pool.freeBuffers, 30)
  assert.is(pool.freeMetas, 63 - 10)
  const seen = new Set<number>()
  for (let buffer = pool.allocateBuffer(); buffer !== NO_BUFFER; buffer = pool.allocateBuffer()) seen.add(buffer)
  assert.is(seen.has(3) || seen.has(17), false)
})

test('geometry that cannot be is refused', () => {
  const memory = new ArrayBuffer(32 * (2048 + 64))
  assert.throws(() => new Pool([{ memory, buffers: 32 }], 3), RangeError)
  assert.throws(() => new Pool([{ memory, buffers: 33 }], 1), RangeError)
  assert.throws(() => new Pool([{ memory, buffers: 0 }], 1), RangeError)
})

test.run()
