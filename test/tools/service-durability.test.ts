/** When replies leave: never before their batch is durable, in order, and never as a success if it is not. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { HeldRegion } from '../support/held-region.ts'
import { get, HOST, put, remove } from '../support/http-requests.ts'
import type { HttpResponse } from '../support/http-responses.ts'
import { KvBench } from '../support/kv-bench.ts'

const PAUSE_US = 20_000
const EIO = -5

function openAsynchronous(): { bench: KvBench; region: HeldRegion } {
  const region = new HeldRegion({ regionBytes: 2 << 20, asynchronous: true })
  const bench = new KvBench({ region })
  assert.is(region.isHolding, false)
  return { bench, region }
}

/** Lets batches complete until nothing is on its way. */
function completeAll(bench: KvBench, region: HeldRegion): void {
  while (region.isHolding) {
    region.complete()
    bench.resume()
    bench.runFor(PAUSE_US)
  }
}

const statuses = (responses: readonly HttpResponse[]): number[] => responses.map(({ status }) => status)

test('no success leaves before its batch has completed', () => {
  const { bench, region } = openAsynchronous()
  const client = bench.connect()
  client.send(put('a', 'x'))
  bench.runFor(PAUSE_US)
  assert.ok(region.isHolding)
  assert.is(client.bytes.length, 0, 'not one byte')
  assert.is(bench.one(get('a')).status, 404, 'others do not see it yet')
  region.complete()
  bench.resume()
  assert.is(client.responses(['PUT'])[0]!.status, 201)
  assert.is(bench.one(get('a')).body.toString(), 'x')
  client.send(remove('a'))
  bench.runFor(PAUSE_US)
  assert.is(client.bytes.length, 0)
  assert.is(bench.one(get('a')).status, 200, 'the old state until the deletion is durable')
  region.complete()
  bench.resume()
  assert.is(client.responses(['DELETE'])[0]!.status, 204)
  assert.is(bench.one(get('a')).status, 404)
  client.close()
  assert.is(bench.leaks(), '')
})

test('pipelined writes and those of other connections go in one batch; what follows waits for it', () => {
  const { bench, region } = openAsynchronous()
  const client = bench.connect()
  const other = bench.connect()
  client.send(put('a', '1') + put('b', '2') + put('a', '3') + get('a') + remove('b') + get('b'))
  other.send(put('c', '4'))
  bench.runFor(PAUSE_US)
  assert.is(client.bytes.length + other.bytes.length, 0)
  region.complete()
  bench.resume()
  bench.runFor(PAUSE_US)
  assert.is(bench.store.counters.batches, 1)
  assert.equal(statuses(other.responses(['PUT'])), [201])
  const first = client.responses(['PUT', 'PUT', 'PUT', 'GET'])
  assert.equal(statuses(first), [201, 201, 204, 200])
  assert.is(first[3]!.body.toString(), '3')
  assert.is(client.bytes.length, 0, 'DELETE behind the GET is a batch of its own')
  assert.ok(region.isHolding)
  region.complete()
  bench.resume()
  assert.equal(statuses(client.responses(['DELETE', 'GET'])), [204, 404])
  for (const each of [client, other]) each.close()
  assert.is(bench.leaks(), '')
})

test('writes that come while a batch is on its way follow in the next one, replies in order', () => {
  const { bench, region } = openAsynchronous()
  const client = bench.connect()
  client.send(put('a', '1'))
  bench.runFor(PAUSE_US)
  client.send(put('a', '2') + get('a'))
  const other = bench.connect()
  other.send(put('a', '3', ['If-None-Match: *']) + put('b', '4'))
  bench.runFor(PAUSE_US)
  assert.is(client.bytes.length + other.bytes.length, 0)
  region.complete()
  bench.resume()
  bench.runFor(PAUSE_US)
  assert.equal(statuses(client.responses(['PUT'])), [201])
  assert.is(client.bytes.length, 0)
  completeAll(bench, region)
  const [replaced, read] = client.responses(['PUT', 'GET'])
  assert.is(replaced!.status, 204)
  assert.is(read!.body.toString(), '2')
  assert.equal(statuses(other.responses(['PUT', 'PUT'])), [412, 201])
  for (const each of [client, other]) each.close()
  assert.is(bench.leaks(), '')
})

test('a refused condition that was evaluated on a write under way waits for that write', () => {
  const { bench, region } = openAsynchronous()
  const [writer, condition] = [bench.connect(), bench.connect()]
  writer.send(put('a', '1'))
  bench.runFor(PAUSE_US)
  condition.send(put('a', '2', ['If-None-Match: *']))
  bench.runFor(PAUSE_US)
  assert.is(condition.bytes.length, 0)
  region.complete(EIO)
  bench.resume()
  bench.runFor(PAUSE_US)
  assert.is(condition.bytes.length, 0, 'the write failed, so the refusal would not be true either')
  assert.is(condition.finished, true)
})

test('a failed sync ends the connections without an answer; later writes get 503, reads go on', () => {
  const { bench, region } = openAsynchronous()
  const client = bench.connect()
  client.send(put('a', 'kept'))
  bench.runFor(PAUSE_US)
  completeAll(bench, region)
  assert.is(client.responses(['PUT'])[0]!.status, 201)
  const uploading = bench.connect()
  uploading.trickle([Buffer.from(put('b', 'half a value').slice(0, -5))])
  const behind = bench.connect()
  client.send(put('a', 'lost'))
  bench.runFor(PAUSE_US)
  behind.send(put('c', 'staged behind it'))
  bench.runFor(PAUSE_US)
  region.complete(EIO)
  bench.resume()
  bench.runFor(PAUSE_US)
  for (const each of [client, behind]) {
    assert.is(each.bytes.length, 0)
    assert.is(each.finished, true)
  }
  uploading.send('value')
  assert.is(uploading.responses(['PUT'])[0]?.status, 503, 'an upload that was under way')
  const later = bench.connect()
  assert.equal(statuses(later.exchange(put('d', 'x'))), [503])
  assert.equal(statuses(later.exchange(remove('a'))), [503])
  assert.equal(
    statuses(later.exchange(`PUT /kv/e HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`)),
    [503],
  )
  assert.is(later.exchange(get('a'))[0]!.body.toString(), 'kept')
  assert.is(later.exchange(get('c'))[0]!.status, 404)
})

test('a failed sync of a synchronous region does the same', () => {
  const region = new HeldRegion({ regionBytes: 2 << 20 })
  const bench = new KvBench({ region })
  const client = bench.connect()
  assert.is(client.exchange(put('a', 'kept'))[0]!.status, 201)
  region.failure = EIO
  client.send(put('a', 'lost') + get('a'))
  bench.runFor(PAUSE_US)
  assert.is(client.bytes.length, 0)
  assert.is(client.finished, true)
  const later = bench.connect()
  assert.equal(statuses(later.exchange(put('d', 'x'))), [503])
  assert.is(later.exchange(get('a'))[0]!.body.toString(), 'kept')
})

for (const asynchronous of [false, true]) {
  test(`versions that cannot be reserved end the connection without an answer (asynchronous: ${asynchronous})`, () => {
    const region = new HeldRegion({ regionBytes: 2 << 20, asynchronous })
    const bench = new KvBench({ region })
    region.failure = EIO
    const client = bench.connect()
    client.send(put('a', 'lost') + get('a'))
    bench.runFor(PAUSE_US)
    if (region.isHolding) completeAll(bench, region)
    bench.runFor(PAUSE_US)
    assert.is(client.bytes.length, 0)
    assert.is(client.finished, true, 'it does not wait forever')
    region.failure = 0
    const later = bench.connect()
    assert.equal(statuses(later.exchange(put('b', 'x') + get('a'), ['PUT', 'GET'])), [503, 404])
  })
}

test('a connection that ends while its write is on its way leaves nothing behind, and the write stands', () => {
  const { bench, region } = openAsynchronous()
  for (const end of ['abort', 'close'] as const) {
    const client = bench.connect()
    client.send(put(end, 'x'.repeat(5000)) + get(end) + put('partly', 'x'.repeat(9000)).slice(0, 4000))
    bench.runFor(PAUSE_US)
    client[end]()
    bench.runFor(PAUSE_US)
    completeAll(bench, region)
    bench.runFor(PAUSE_US)
    if (end === 'close') assert.equal(statuses(client.responses(['PUT', 'GET'])), [201, 200])
  }
  assert.is(bench.store.records, 2)
  assert.is(bench.leaks(), '')
})

test('a large upload is made durable piece by piece, and answered only when all of it is', () => {
  const { bench, region } = openAsynchronous()
  const client = bench.connect()
  const value = 'y'.repeat(400_000)
  client.send(put('big', value))
  bench.runFor(PAUSE_US * 50)
  assert.is(client.bytes.length, 0)
  completeAll(bench, region)
  assert.equal(statuses(client.responses(['PUT'])), [201])
  assert.is(bench.one(get('big')).body.toString(), value)
  client.close()
  assert.is(bench.leaks(), '')
})

test.run()
