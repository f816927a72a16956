/** Addresses of the UMEM: there and back for every buffer, past 4 GiB, over extents of different sizes. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { XdpMemory } from '../../drivers/xdp-memory.ts'
import { BUFFER_BYTES, EXTENT_BUFFERS_SHIFT, LINE_BYTES } from '../../storage/layout.ts'
import { Pool } from '../../storage/pool.ts'

const GIB = 2 ** 30
/** Buffers of each extent; the lines in front of them are whole chunks. */
const EXTENTS = [64, 32, 128]

function makePool(): Pool {
  const geometry = EXTENTS.map((buffers) => ({
    memory: new ArrayBuffer(buffers * (LINE_BYTES + BUFFER_BYTES)),
    buffers,
  }))
  const pool = new Pool(geometry, 1)
  pool.buildFreeLists()
  return pool
}

const OFFSETS = [8192, 5 * GIB, 31 * GIB]

test('an address is the offset in the mapping, as u64', () => {
  const memory = new XdpMemory(makePool(), OFFSETS)
  const words = new Int32Array(4)
  for (const [extent, buffers] of EXTENTS.entries()) {
    for (let local = 0; local < buffers; local++) {
      const buffer = (extent << EXTENT_BUFFERS_SHIFT) | local
      memory.writeAddress(words, 2, buffer, 256 + local)
      const address = (words[3]! >>> 0) * 2 ** 32 + (words[2]! >>> 0)
      assert.is(address, OFFSETS[extent]! + buffers * LINE_BYTES + local * BUFFER_BYTES + 256 + local)
      assert.is(memory.bufferAt(words, 2), buffer)
      assert.is(memory.offsetAt(words, 2), 256 + local)
    }
  }
})

test('lookups jump between extents', () => {
  const memory = new XdpMemory(makePool(), OFFSETS)
  const words = new Int32Array(2)
  for (const extent of [2, 0, 1, 2, 1, 0, 2]) {
    const buffer = (extent << EXTENT_BUFFERS_SHIFT) | (EXTENTS[extent]! - 1)
    memory.writeAddress(words, 0, buffer, 0)
    assert.is(memory.bufferAt(words, 0), buffer)
  }
})

test('what is held goes back, as often as it is held', () => {
  const pool = makePool()
  const free = pool.freeBuffers
  const memory = new XdpMemory(pool, OFFSETS)
  const once = pool.allocateBuffer()
  const thrice = pool.allocateBuffer()
  pool.retainBuffer(thrice)
  pool.retainBuffer(thrice)
  memory.hold(once)
  for (let count = 0; count < 3; count++) memory.hold(thrice)
  memory.release(thrice)
  assert.is(pool.freeBuffers, free - 2)
  memory.releaseAll()
  assert.is(pool.freeBuffers, free)
})

test('the rings of many queues hold one buffer as often as they like', () => {
  const pool = makePool()
  const free = pool.freeBuffers
  const memory = new XdpMemory(pool, OFFSETS)
  const buffer = pool.allocateBuffer()
  const times = 64 * 2048
  for (let count = 0; count < times; count++) memory.hold(buffer)
  for (let count = 1; count < times; count++) pool.retainBuffer(buffer)
  memory.releaseAll()
  assert.is(pool.freeBuffers, free)
})

test('extents whose buffers are no chunks of the mapping are refused', () => {
  assert.throws(() => new XdpMemory(makePool(), [8192, 5 * GIB + 1024, 31 * GIB]), /extent 1/)
})

test.run()
