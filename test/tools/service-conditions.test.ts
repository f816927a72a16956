/** The HTTP contract of the key-value service: conditions and ranges (RFC 9110 13, 14). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { get, put, remove, request } from '../support/http-requests.ts'
import type { HttpResponse } from '../support/http-responses.ts'
import { EPOCH_SECONDS, KvBench } from '../support/kv-bench.ts'

test('ranges are 206 with Content-Range, beyond the end 416, several or malformed the whole', () => {
  const bench = new KvBench()
  const value = Buffer.from(Array.from({ length: 5000 }, (_, at) => at & 0xff))
  bench.one(Buffer.concat([Buffer.from(put('a', '').replace(': 0', ': 5000')), value]))
  const client = bench.connect()
  const ranged = (range: string): HttpResponse => client.exchange(get('a', [`Range: ${range}`]))[0]!
  for (const [range, first, last] of [
    ['bytes=0-0', 0, 0],
    ['bytes=0-', 0, 4999],
    ['bytes=1-1400', 1, 1400],
    ['bytes=1399-1501', 1399, 1501],
    ['bytes=2999-999999', 2999, 4999],
    ['bytes=-7', 4993, 4999],
    ['bytes=-9999', 0, 4999],
  ] as const) {
    const part = ranged(range)
    assert.is(part.status, 206, range)
    assert.is(part.fields.get('content-range'), `bytes ${first}-${last}/5000`)
    assert.is(Buffer.compare(part.body, value.subarray(first, last + 1)), 0, range)
  }
  for (const range of ['bytes=5000-', 'bytes=-0', 'bytes=9999-10000']) {
    const refused = ranged(range)
    assert.is(refused.status, 416, range)
    assert.is(refused.fields.get('content-range'), 'bytes */5000')
  }
  for (const range of ['bytes=0-1,3-4', 'bytes=4-3', 'lines=0-1', 'bytes=a-b', 'bytes=']) {
    assert.is(ranged(range).status, 200, range)
  }
  assert.is(client.exchange(get('a', ['Range: bytes=0-3', 'If-Range: "1"']))[0]!.status, 206)
  assert.is(client.exchange(get('a', ['Range: bytes=0-3', 'If-Range: "2"']))[0]!.status, 200)
  assert.is(client.exchange(request('HEAD', '/kv/a', ['Range: bytes=0-3']))[0]!.status, 200, 'RFC 9110 (14.2)')
  client.close()
  assert.is(bench.leaks(), '')
})

test('conditions on reads: 304 for what the client has, 412 for what is gone', () => {
  const bench = new KvBench()
  bench.one(put('a', 'x'))
  const client = bench.connect()
  const status = (...fields: string[]): number => client.exchange(get('a', fields))[0]!.status
  const [unmodified] = client.exchange(get('a', ['If-None-Match: "1"']))
  assert.is(unmodified!.status, 304)
  assert.is(unmodified!.fields.get('etag'), '"1"')
  assert.ok(unmodified!.fields.has('last-modified'))
  assert.is(status('If-None-Match: W/"1", "7"'), 304)
  assert.is(status('If-None-Match: *'), 304)
  assert.is(status('If-None-Match: "2"'), 200)
  assert.is(status('If-Match: "1"'), 200)
  assert.is(status('If-Match: "2"'), 412)
  const date = (seconds: number): string => new Date(seconds * 1000).toUTCString()
  assert.is(status(`If-Modified-Since: ${date(EPOCH_SECONDS + 1)}`), 304)
  assert.is(status(`If-Modified-Since: ${date(EPOCH_SECONDS)}`), 200)
  assert.is(status(`If-Unmodified-Since: ${date(EPOCH_SECONDS)}`), 412)
  assert.is(status(`If-Unmodified-Since: ${date(EPOCH_SECONDS + 1)}`), 200)
  assert.is(status('If-None-Match: "1'), 400)
  assert.is(status(), 200, 'the connection goes on')
})

test('conditions on writes: 412 and nothing changes, else the write is done', () => {
  const bench = new KvBench()
  const client = bench.connect()
  const status = (text: string): number => client.exchange(text)[0]!.status
  assert.is(status(put('a', 'x', ['If-Match: *'])), 412)
  assert.is(status(put('a', 'x', ['If-None-Match: *'])), 201)
  assert.is(status(put('a', 'y', ['If-None-Match: *'])), 412)
  assert.is(status(put('a', 'y', ['If-Match: "2"'])), 412)
  assert.is(client.exchange(get('a'))[0]!.body.toString(), 'x')
  assert.is(status(put('a', 'y', ['If-Match: "1"'])), 204)
  assert.is(status(put('a', 'z', ['If-None-Match: "2"'])), 412)
  assert.is(status(remove('a', ['If-Match: "1"'])), 412)
  assert.is(status(remove('a', ['If-Match: "2"'])), 204)
  assert.is(status(remove('a', ['If-Match: *'])), 412)
  assert.is(status(put('%61', 'x', ['If-None-Match: *'])), 201)
  assert.is(status(put('%61', 'x', ['If-None-Match: *'])), 412)
  client.close()
  assert.is(bench.leaks(), '')
})

test('a condition that stops holding during the upload is 412 at its end', () => {
  const bench = new KvBench()
  const slow = bench.connect()
  const upload = put('a', 'slow value', ['If-None-Match: *'])
  slow.trickle([Buffer.from(upload.slice(0, -4))])
  assert.is(bench.one(put('a', 'quick')).status, 201)
  slow.send(upload.slice(-4))
  assert.is(slow.responses(['PUT'])[0]!.status, 412)
  assert.is(bench.one(get('a')).body.toString(), 'quick')
  const second = put('a', 'third', ['If-Match: "1"'])
  slow.trickle([Buffer.from(second.slice(0, -1))])
  assert.is(bench.one(remove('a')).status, 204)
  slow.send(second.slice(-1))
  assert.is(slow.responses(['PUT'])[0]!.status, 412)
  assert.is(bench.one(get('a')).status, 404)
  slow.close()
  assert.is(bench.leaks(), '')
})

test('of two conditional creations in one burst exactly one succeeds', () => {
  const bench = new KvBench()
  const [first, second] = [bench.connect(), bench.connect()]
  first.send(put('a', '1', ['If-None-Match: *']))
  second.send(put('a', '2', ['If-None-Match: *']))
  const batches = bench.store.counters.batches
  const statuses = [first.responses(['PUT'])[0]!.status, second.responses(['PUT'])[0]!.status]
  assert.is(bench.store.counters.batches, batches + 1, 'one batch')
  assert.equal(statuses, [201, 412])
  assert.is(bench.one(get('a')).body.toString(), '1')
})

test.run()
