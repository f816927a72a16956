/** Packing under the service: pipelined PUTs share a buffer without it, and no client can tell that a value was moved. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NO_META } from '../../storage/layout.ts'
import { PACK_DONE, Packer } from '../../storage/packing.ts'
import { KvBench } from '../support/kv-bench.ts'

const EVERYTHING = 1 << 30
const put = (key: string, value: string): string =>
  `PUT /kv/${key} HTTP/1.1\r\nHost: x\r\nContent-Length: ${value.length}\r\n\r\n${value}`
const get = (key: string, more = ''): string => `GET /kv/${key} HTTP/1.1\r\nHost: x\r\n${more}\r\n`

function packerOf(bench: KvBench): Packer {
  const onFinding = ({ reason }: { reason: string }): void => assert.unreachable(reason)
  return new Packer(bench.store, bench.region, { sparseBytes: 1024, linesMax: 200, reserve: 16, onFinding })
}

test('small PUTs that come in one segment are records that share its buffer', () => {
  const bench = new KvBench()
  const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  const responses = bench.exchange(
    keys.map((key) => put(key, `value of ${key}`)).join(''),
    keys.map(() => 'PUT'),
  )
  assert.equal(
    responses.map(({ status }) => status),
    keys.map(() => 201),
  )
  const { pool, store } = bench
  const heads = keys.map((key) => store.find(Buffer.from(key), 0, 1))
  assert.is(new Set(heads.map((head) => pool.buffer(head))).size, 1)
  assert.ok(heads.every((head) => pool.next(head) === NO_META))
  assert.is(pool.storedBuffers, 1)
  assert.is(store.payloadBytesCopied, 0)
  for (const key of keys) assert.is(bench.one(get(key)).body.toString(), `value of ${key}`)
  for (const key of keys.slice(1)) bench.one(`DELETE /kv/${key} HTTP/1.1\r\nHost: x\r\n\r\n`)
  assert.is(bench.one(get('a')).body.toString(), 'value of a')
  assert.is(pool.storedBuffers, 1)
  assert.is(bench.leaks(), '')
})

test('a moved value has the same ETag, time and bytes, and conditions on it hold', () => {
  const bench = new KvBench()
  const packer = packerOf(bench)
  for (let i = 0; i < 40; i++) bench.one(put(`key-${i}`, `${i}`.repeat(50)))
  const read = (): string[] =>
    Array.from({ length: 40 }, (_, i) => {
      const response = bench.one(get(`key-${i}`))
      return `${response.status} ${response.fields.get('etag')} ${response.fields.get('packrat-arrival')} ${response.body}`
    })
  const before = read()
  const stored = bench.pool.storedBuffers
  assert.is(packer.step(EVERYTHING), PACK_DONE)
  bench.settle()
  assert.ok(bench.pool.storedBuffers < stored / 8)
  assert.equal(read(), before)
  const etag = bench.one(get('key-7')).fields.get('etag')
  assert.is(bench.one(get('key-7', `If-None-Match: ${etag}\r\n`)).status, 304)
  const conditional = (key: string, match: string): string =>
    `PUT /kv/${key} HTTP/1.1\r\nHost: x\r\nIf-Match: ${match}\r\nContent-Length: 3\r\n\r\nnew`
  assert.is(bench.one(conditional('key-7', etag!)).status, 204)
  assert.is(bench.one(conditional('key-7', etag!)).status, 412)
  assert.is(bench.one(get('key-7')).body.toString(), 'new')
  packer.close()
  assert.is(bench.leaks(), '')
})

test('a value that is moved while it is sent, and received again and again, arrives whole', () => {
  const bench = new KvBench()
  const packer = packerOf(bench)
  const value = Array.from({ length: 16_000 }, (_, i) => `${i} `).join('')
  // In pieces that leave more than half of each buffer unused.
  const writer = bench.connect()
  const request = Buffer.from(put('long', value))
  const pieces: Uint8Array[] = []
  for (let at = 0; at < request.length; at += 700) pieces.push(request.subarray(at, at + 700))
  writer.trickle(pieces)
  assert.is(writer.responses(['PUT'])[0]!.status, 201)
  const reader = bench.connect()
  reader.reading = false
  reader.send(get('long'))
  bench.runFor(100_000)
  const head = bench.store.find(Buffer.from('long'), 0, 4)
  packer.step(EVERYTHING)
  bench.settle()
  assert.is.not(bench.store.find(Buffer.from('long'), 0, 4), head)
  for (let i = 0; i < 60; i++) bench.one(put(`other-${i}`, 'x'.repeat(1000)))
  reader.resumeReading()
  assert.is(reader.responses(['GET'])[0]!.body.toString(), value)
  assert.is(bench.one(get('long')).body.toString(), value)
  reader.close()
  writer.close()
  packer.close()
  assert.is(bench.leaks(), '')
})

test.run()
