/** Entries as chains of lines: adopting received views, keys where they lie, and what belongs to the durable image. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  adoptFragment,
  adoptHead,
  arrivalOf,
  compareVersions,
  copyKey,
  durableEnd,
  durableStart,
  keyLength,
  keyOffset,
  valueLength,
  versionOf,
} from '../../storage/entry.ts'
import { compareKey, hashKey, keyEquals, keyPrefix, keyWord } from '../../storage/key.ts'
import {
  NO_FRAME,
  NO_META,
  packView,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_KEY_PREFIX,
  W_VALUE,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { poolOf } from '../support/pools.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const SEED = announceSeed('entry', 64)
const bytesOf = (value: string): Uint8Array => new Uint8Array(Buffer.from(value, 'latin1'))

/** A line whose buffer holds `before`, the key, `between` and the data. */
function lineWith(pool: Pool, key: Uint8Array, data: Uint8Array, frameOffset: number): number {
  const buffer = pool.allocateBuffer()
  const start = pool.bufferStart(buffer)
  pool.bufferBytes(buffer).set(key, start + 100)
  const offset = 100 + key.length + 30
  pool.bufferBytes(buffer).set(data, start + offset)
  const meta = pool.createView(buffer, offset, data.length, frameOffset << 16)
  adoptHead(pool, meta, 100, key.length)
  return meta
}

test('an adopted head has its key and its first piece in the same buffer', () => {
  const pool = poolOf(2, 32)
  const meta = lineWith(pool, bytesOf('some/key'), bytesOf('data'), 0)
  assert.is(keyOffset(pool, meta), 100)
  assert.is(keyLength(pool, meta), 8)
  assert.is(Buffer.from(copyKey(pool, meta)).toString(), 'some/key')
  assert.is(valueLength(pool, meta), 4)
  assert.is(pool.get(meta, W_KEY_PREFIX), 0x736f6d65)
  assert.is(pool.next(meta), NO_META)
})

test('fragments follow in order, and each knows its place in the value', () => {
  const pool = poolOf(2, 32)
  const head = lineWith(pool, bytesOf('k'), bytesOf('0123'), 0)
  let tail = head
  const places: number[] = []
  for (const length of [10, 0, 1448]) {
    const meta = pool.createView(pool.allocateBuffer(), 54, length, 0)
    adoptFragment(pool, head, tail, meta)
    assert.is(pool.next(tail), meta)
    assert.is(pool.get(meta, W_VERSION_LOW), head, 'it names its head')
    places.push(pool.get(meta, W_VALUE))
    tail = meta
  }
  assert.equal(places, [4, 14, 14])
  assert.is(valueLength(pool, head), 4 + 10 + 1448)
})

test('values beyond 2 GiB keep their length, although it is stored as int32', () => {
  const pool = poolOf(2, 32)
  const head = lineWith(pool, bytesOf('k'), bytesOf(''), 0)
  pool.set(head, W_VALUE, 4_000_000_000 | 0)
  const meta = pool.createView(pool.allocateBuffer(), 0, 1000, 0)
  adoptFragment(pool, head, head, meta)
  assert.is(valueLength(pool, head), 4_000_001_000)
})

test('the durable image is the whole frame, or key and data alone where there is none', () => {
  const pool = poolOf(2, 32)
  const framed = lineWith(pool, bytesOf('key'), bytesOf('data'), 2)
  assert.is(durableStart(pool, framed), 2)
  assert.is(durableEnd(pool, framed), 100 + 3 + 30 + 4)
  const copied = lineWith(pool, bytesOf('key'), bytesOf('data'), NO_FRAME)
  assert.is(durableStart(pool, copied), 100, 'from the key on')
  const empty = lineWith(pool, bytesOf('key'), bytesOf(''), NO_FRAME)
  pool.setData(empty, 0, 0)
  assert.is(durableStart(pool, empty), 0)
  assert.is(durableEnd(pool, empty), 103, 'the key counts even if the data ends before it')
})

test('versions and arrivals are u64, and versions compare as such', () => {
  const pool = poolOf(2, 32)
  const lines = [0, 1, 2].map(() => lineWith(pool, bytesOf('k'), bytesOf(''), 0))
  const versions = [0x0000_0000_ffff_ffffn, 0x0000_0001_0000_0000n, 0xffff_ffff_0000_0001n]
  for (const [i, meta] of lines.entries()) {
    pool.set(meta, W_VERSION_LOW, Number(versions[i]! & 0xffff_ffffn) | 0)
    pool.set(meta, W_VERSION_HIGH, Number(versions[i]! >> 32n) | 0)
    pool.set(meta, W_ARRIVAL_LOW, Number(versions[i]! & 0xffff_ffffn) | 0)
    pool.set(meta, W_ARRIVAL_HIGH, Number(versions[i]! >> 32n) | 0)
    assert.is(versionOf(pool, meta), versions[i])
    assert.is(arrivalOf(pool, meta), versions[i])
  }
  for (const [i, a] of lines.entries()) {
    for (const [j, b] of lines.entries()) assert.is(Math.sign(compareVersions(pool, a, b)), Math.sign(i - j))
  }
})

test('keys compare as unsigned bytes do, a prefix before its extensions, whatever decides', () => {
  const random = seededRandom(SEED)
  const pool = poolOf(2, 32)
  const randomKey = (): Uint8Array =>
    Uint8Array.from({ length: 1 + ((random() >>> 0) % 8) }, () => [0, 1, 0x7f, 0x80, 0xff][(random() >>> 0) % 5]!)
  for (let run = 0; run < 3000; run++) {
    const [own, other] = [randomKey(), randomKey()]
    const meta = lineWith(pool, own, bytesOf(''), 0)
    const expected = Math.sign(Buffer.compare(own, other))
    const prefix = keyPrefix(other, 0, other.length)
    assert.is(Math.sign(compareKey(pool, meta, other, 0, other.length, prefix)), expected)
    assert.is(keyEquals(pool, pool.buffer(meta), packView(100, own.length), other, 0, other.length), expected === 0)
    if (expected === 0) assert.is(hashKey(own, 0, own.length), hashKey(other, 0, other.length))
    pool.release(meta)
  }
})

test('words of a key are big-endian and padded with zeros behind its end', () => {
  const key = Uint8Array.of(0xff, 2, 3, 4, 5)
  assert.is(keyWord(key, 0, 5, 0) >>> 0, 0xff020304)
  assert.is(keyWord(key, 0, 5, 4) >>> 0, 0x05000000)
  assert.is(keyWord(key, 0, 5, 8), 0)
  assert.is(keyWord(key, 1, 3, 0) >>> 0, 0x02030400, 'bytes behind the key do not count')
})

test.run()
