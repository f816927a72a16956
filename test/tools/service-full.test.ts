/** A full store: writes are refused with nothing changed, reads go on, and a deletion makes room again. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { HeldRegion } from '../support/held-region.ts'
import { get, put, putChunked, remove } from '../support/http-requests.ts'
import { KvBench } from '../support/kv-bench.ts'
import { TracingRegion } from '../support/tracing-region.ts'

/** Some 450 buffers. */
const REGION_BYTES = 1 << 20
const VALUE = 'v'.repeat(1300)

/** Stores values until one is refused; returns how many were taken. */
function fill(bench: KvBench): number {
  const client = bench.connect()
  for (let stored = 0; stored < 10_000; stored++) {
    const [response] = client.exchange(put(`k${stored}`, VALUE))
    if (response!.status === 507) {
      client.close()
      return stored
    }
    assert.is(response!.status, 201)
  }
  throw new Error('the store never got full')
}

for (const asynchronous of [false, true]) {
  const kind = asynchronous ? 'asynchronous' : 'synchronous'
  const openBench = (): KvBench => {
    const bench = new KvBench({ region: new HeldRegion({ regionBytes: REGION_BYTES, asynchronous }) })
    if (!asynchronous) return bench
    // Every batch completes with the next poll of the server.
    const region = bench.region as HeldRegion
    const poll = bench.server.poll.bind(bench.server)
    bench.server.poll = (nowUs) => {
      if (region.isHolding) {
        region.complete()
        bench.resume()
      }
      return poll(nowUs)
    }
    return bench
  }

  test(`a full store answers 507, goes on reading, and takes writes again when something is deleted (${kind})`, () => {
    const bench = openBench()
    const stored = fill(bench)
    assert.ok(stored > 100, `${stored} values`)
    assert.is(bench.store.records, stored)
    const client = bench.connect()
    for (let i = 0; i < stored; i += 7) assert.is(client.exchange(get(`k${i}`))[0]!.body.toString(), VALUE)
    assert.is(client.exchange(get('k0', ['Range: bytes=0-9']))[0]!.body.length, 10)
    assert.is(client.exchange(put('another', VALUE))[0]!.status, 507)
    assert.is(client.exchange(put('k1', 'replacing takes room too'))[0]!.status, 507)
    assert.is(client.exchange(get('k1'))[0]!.body.toString(), VALUE, 'nothing changed')
    assert.is(client.exchange(get('another'))[0]!.status, 404)
    for (let i = 0; i < 5; i++) assert.is(client.exchange(remove(`k${i}`))[0]!.status, 204)
    bench.settle()
    for (let i = 0; i < 4; i++) assert.is(client.exchange(put(`new${i}`, VALUE))[0]!.status, 201)
    assert.is(client.finished, false, 'one connection for all of it')
    client.close()
    assert.is(bench.leaks(), '')
  })

  test(`a value that does not fit is refused whole, whatever of it was taken already (${kind})`, () => {
    const bench = openBench()
    const { freeBuffers } = bench.pool
    const client = bench.connect()
    const big = 'b'.repeat(900_000)
    const [declared] = client.exchange(put('big', big))
    assert.is(declared!.status, 507)
    const [chunked] = client.exchange(putChunked('big', [big.slice(0, 450_000), big.slice(450_000)]))
    assert.is(chunked!.status, 507)
    assert.is(client.exchange(get('big'))[0]!.status, 404)
    bench.settle()
    assert.is(client.exchange(put('small', 'x'))[0]!.status, 201)
    client.close()
    assert.is(bench.leaks(), '')
    assert.is(bench.pool.freeBuffers, freeBuffers - 1)
  })

  test(`overwriting one key again and again never fills the store (${kind})`, () => {
    const bench = openBench()
    const client = bench.connect()
    for (let i = 0; i < 1500; i++) {
      const [response] = client.exchange(put('same', `${VALUE}${i}`))
      assert.ok(response!.status < 205, `write ${i}: ${response!.status}`)
    }
    assert.is(client.exchange(get('same'))[0]!.body.toString(), `${VALUE}1499`)
    client.close()
    assert.is(bench.leaks(), '')
    assert.ok(bench.pool.storedBuffers <= 2)
  })
}

test('many slow uploads that together do not fit: those that fail leave nothing, the others are stored', () => {
  const bench = new KvBench({ region: new TracingRegion({ regionBytes: REGION_BYTES }) })
  const { freeBuffers, freeMetas } = bench.pool
  const uploads = Array.from({ length: 8 }, (_, i) => {
    const client = bench.connect()
    return { client, request: Buffer.from(put(`u${i}`, String(i).repeat(120_000))) }
  })
  for (let at = 0; at < uploads[0]!.request.length; at += 6000) {
    for (const { client, request } of uploads) client.send(request.subarray(at, at + 6000))
    bench.runFor(10_000)
  }
  const statuses = uploads.map(({ client }) => client.responses(['PUT'])[0]?.status)
  assert.ok(statuses.includes(507), `statuses ${statuses}`)
  assert.ok(statuses.includes(201), `statuses ${statuses}`)
  assert.is(statuses.filter((status) => status !== 201 && status !== 507).length, 0, `statuses ${statuses}`)
  for (const [i, status] of statuses.entries()) {
    const response = bench.one(get(`u${i}`))
    assert.is(response.status, status === 201 ? 200 : 404)
    if (status === 201) assert.is(response.body.toString() === String(i).repeat(120_000), true)
  }
  for (const [i, status] of statuses.entries()) if (status === 201) bench.one(remove(`u${i}`))
  for (const { client } of uploads) client.close()
  assert.is(bench.leaks(), '')
  assert.is(bench.pool.freeBuffers, freeBuffers)
  assert.is(bench.pool.freeMetas, freeMetas)
})

test.run()
