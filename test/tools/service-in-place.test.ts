/** Values stay where their frames arrived; corrupt ones are named and not served; readers keep what they read. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NO_META } from '../../storage/layout.ts'
import { get, put, putChunked, remove } from '../support/http-requests.ts'
import { KvBench } from '../support/kv-bench.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))

function headOf(bench: KvBench, key: string): number {
  return bench.store.find(text(key), 0, key.length)
}

/** Extent bytes behind the metadata lines: all buffers. */
function bufferBytes(bench: KvBench): Buffer {
  const { pool } = bench
  return Buffer.from(pool.bytes[0]!.buffer, pool.dataStart[0]!)
}

test('a value of one segment lies in the very buffer, and at the offset, where its frame arrived', () => {
  const frames: Buffer[] = []
  const bench = new KvBench({
    filter: (frame, direction) => {
      if (direction === 'a-to-b') frames.push(Buffer.from(frame))
      return 'pass'
    },
  })
  const value = 'a value that stands once in memory'
  assert.is(bench.one(put('key', value)).status, 201)
  const { pool } = bench
  const head = headOf(bench, 'key')
  const frame = frames.find((bytes) => bytes.includes(value))!
  const start = pool.bufferStart(pool.buffer(head)) - pool.dataStart[0]!
  const buffer = bufferBytes(bench).subarray(start, start + frame.length)
  assert.is(Buffer.compare(buffer, frame), 0, 'the whole frame, headers and all')
  assert.is(pool.dataOffset(head), frame.indexOf(value))
  assert.is(pool.dataLength(head), value.length)
  assert.is(bench.store.payloadBytesCopied, 0)
  const first = bufferBytes(bench).indexOf(value)
  assert.is(bufferBytes(bench).indexOf(value, first + 1), -1, 'no second copy anywhere')
})

test('a value of many segments, chunked or not, is a chain of the frames that brought it', () => {
  for (const build of [
    (value: string): string => put('key', value),
    (value: string): string => putChunked('key', [value.slice(0, 9000), value.slice(9000)]),
  ]) {
    const bench = new KvBench()
    const value = Array.from({ length: 4000 }, (_, i) => String(10_000 + i)).join('')
    assert.is(bench.one(build(value)).status, 201)
    assert.is(bench.store.payloadBytesCopied, 0)
    const { pool } = bench
    let at = 0
    const buffers = new Set<number>()
    for (let meta = headOf(bench, 'key'); meta !== NO_META; meta = pool.next(meta)) {
      const start = pool.dataStartOf(meta)
      const part = Buffer.from(pool.dataBytes(meta).slice(start, start + pool.dataLength(meta)))
      assert.is(part.toString(), value.slice(at, at + part.length))
      if (part.length > 0) assert.ok(pool.dataOffset(meta) >= 54, 'behind Ethernet, IP and TCP headers')
      at += part.length
      buffers.add(pool.buffer(meta))
    }
    assert.is(at, value.length)
    assert.is(bench.pool.storedBuffers, buffers.size)
    assert.ok(buffers.size <= 1 + Math.ceil((value.length + 200) / 1400))
    assert.is(bench.one(get('key')).body.toString(), value)
    assert.is(bench.leaks(), '')
  }
})

test('several values of one segment share its buffer, and each can go alone', () => {
  const bench = new KvBench()
  const client = bench.connect()
  client.send(put('a', 'first') + put('b', 'second') + put('c', 'third'))
  assert.is(client.responses(['PUT', 'PUT', 'PUT']).length, 3)
  assert.is(bench.pool.storedBuffers, 1)
  assert.is(client.exchange(remove('a'))[0]!.status, 204)
  assert.is(client.exchange(remove('c'))[0]!.status, 204)
  assert.is(client.exchange(get('b'))[0]!.body.toString(), 'second')
  client.close()
  assert.is(bench.leaks(), '')
  assert.is(bench.pool.storedBuffers, 1)
})

test('a value that trickles in byte by byte is gathered, counted, and holds few buffers', () => {
  const bench = new KvBench()
  const client = bench.connect()
  const value = Array.from({ length: 4000 }, (_, i) => 'abcdefghijk'[i % 11]).join('')
  client.trickle([Buffer.from(put('slow', value).slice(0, -4000))])
  let held = 0
  for (let at = 0; at < value.length; at++) {
    client.trickle([Buffer.from(value[at]!)])
    held = Math.max(held, bench.pool.totalBuffers - bench.pool.freeBuffers)
  }
  assert.is(client.responses(['PUT'])[0]!.status, 201)
  assert.ok(held < 40, `${held} buffers were held at a time`)
  assert.ok(bench.pool.storedBuffers <= 5, `${bench.pool.storedBuffers} buffers stored`)
  assert.ok(bench.store.payloadBytesCopied >= 3990 && bench.store.payloadBytesCopied <= 4000)
  assert.is(client.exchange(get('slow'))[0]!.body.toString(), value)
  client.close()
  assert.is(bench.leaks(), '')
})

for (const integrity of ['tcp', 'crc32c'] as const) {
  test(`a flipped payload byte is 500 with key, meta and buffer; other keys and the connection go on (${integrity})`, () => {
    const before = new KvBench({ integrity, region: new TracingRegion({ regionBytes: 2 << 20 }) })
    const long = 'l'.repeat(4000)
    for (const [key, value] of [
      ['bad', 'a value to be damaged'],
      ['good', 'a sound value'],
      ['long', long],
    ] as const)
      assert.is(before.one(put(key, value)).status, 201)
    before.settle()
    const image = (before.region as TracingRegion).durableImage()
    image[Buffer.from(image).indexOf('a value to be damaged') + 8]! ^= 0x20
    image[Buffer.from(image).lastIndexOf('llll')]! ^= 0x01
    const bench = new KvBench({ integrity, region: new TracingRegion({ regionBytes: 2 << 20, image }) })
    const client = bench.connect()
    for (const key of ['bad', 'long']) {
      const [response] = client.exchange(get(key))
      assert.is(response!.status, 500)
      assert.is(response!.fields.get('content-type'), 'application/json')
      const found = JSON.parse(response!.body.toString()) as { key: string; meta: number; buffer: number }
      assert.is(found.key, key)
      assert.is(bench.pool.buffer(found.meta), found.buffer)
      const [ranged] = client.exchange(get(key, ['Range: bytes=0-0']))
      assert.is(ranged!.status, 500, 'not even a sound part of it')
      assert.is(client.exchange(get(key).replace('GET', 'HEAD'), ['HEAD'])[0]!.status, 500)
    }
    assert.is(client.exchange(get('good'))[0]!.body.toString(), 'a sound value')
    assert.is(bench.store.checks.corruptReads, 6)
    assert.is(client.exchange(put('bad', 'new'))[0]!.status, 204, 'a new write heals it')
    assert.is(client.exchange(get('bad'))[0]!.body.toString(), 'new')
    assert.is(client.exchange(remove('long'))[0]!.status, 204)
    client.close()
    assert.is(bench.leaks(), '')
  })
}

test('a reader gets the old bytes to the end while the value is replaced and removed', () => {
  const bench = new KvBench({ region: new TracingRegion({ regionBytes: 4 << 20 }) })
  const writer = bench.connect()
  const value = Array.from({ length: 60_000 }, (_, i) => String(100_000 + i)).join('')
  assert.is(writer.exchange(put('k', value))[0]!.status, 201)
  const [reader, second] = [bench.connect(), bench.connect()]
  reader.reading = false
  reader.send(get('k'))
  bench.runFor(50_000)
  assert.is(writer.exchange(put('k', value.toUpperCase().replaceAll('1', 'x')))[0]!.status, 204)
  second.reading = false
  second.send(get('k'))
  bench.runFor(50_000)
  assert.is(writer.exchange(remove('k'))[0]!.status, 204)
  bench.store.settle()
  // Whatever is free now may be written again: fill it.
  for (let i = 0; i < 20; i++) writer.exchange(put(`other${i}`, 'z'.repeat(20_000)))
  bench.store.settle()
  assert.is(writer.exchange(get('k'))[0]!.status, 404)
  reader.resumeReading()
  second.resumeReading()
  assert.is(reader.responses(['GET'])[0]!.body.toString() === value, true)
  assert.is(second.responses(['GET'])[0]!.body.toString() === value.replaceAll('1', 'x'), true)
  for (const each of [writer, reader, second]) each.close()
  assert.is(bench.leaks(), '')
})

test('readers that go away in the middle of a replaced or removed value free it', () => {
  const bench = new KvBench({ region: new TracingRegion({ regionBytes: 4 << 20 }) })
  const { freeBuffers, freeMetas } = bench.pool
  const writer = bench.connect()
  for (const end of [put('k', 'new'), remove('k')]) {
    writer.exchange(put('k', 'v'.repeat(500_000)))
    const readers = [bench.connect(), bench.connect()]
    for (const reader of readers) {
      reader.reading = false
      reader.send(get('k'))
    }
    bench.runFor(50_000)
    writer.exchange(end)
    for (const reader of readers) reader.abort()
    bench.runFor(50_000)
  }
  writer.close()
  assert.is(bench.leaks(), '')
  assert.is(bench.pool.freeBuffers, freeBuffers)
  assert.is(bench.pool.freeMetas, freeMetas)
})

test.run()
