/** The baselines of `--store`, behind the HTTP service in virtual time: what they keep, what they refuse, and that they give every buffer back. */
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { BaselineName, Engine } from '../../tools/stores/engine.ts'
import { isLevelDbInstalled } from '../../tools/stores/leveldb.ts'
import { openBaseline } from '../../tools/stores/open-baseline.ts'
import { get, put, putChunked, remove, request } from '../support/http-requests.ts'
import { KvBench } from '../support/kv-bench.ts'
import { scratchDirectory } from '../support/lab.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const AREA_BYTES = 4 << 20
const seed = announceSeed('baseline-stores', 9090)
let files = 0

function open(
  name: BaselineName,
  path = join(scratchDirectory(), `${++files}.pm`),
  cachesPersist = false,
): Promise<Engine> {
  const random = seededRandom(seed)
  return openBaseline({ name, path, fileBytes: AREA_BYTES, durability: 'process', random, cachesPersist })
}

test('conventional: PUT creates and replaces, GET answers the value, DELETE removes it', async () => {
  const engine = await open('conventional')
  const bench = new KvBench({ engine })
  assert.is(bench.one(put('a', 'one')).status, 201)
  assert.is(bench.one(put('a', 'other')).status, 204)
  const response = bench.one(get('a'))
  assert.is(response.status, 200)
  assert.is(response.body.toString(), 'other')
  assert.is(response.fields.get('etag'), '"2"')
  assert.is(engine.records, 1)
  assert.is(bench.one(remove('a')).status, 204)
  assert.is(bench.one(remove('a')).status, 404)
  assert.is(bench.one(get('a')).status, 404)
  assert.is(bench.leaks(), '')
  await engine.close()
})

test('conventional: values of many segments, chunked bodies, HEAD and ranges', async () => {
  const engine = await open('conventional')
  const bench = new KvBench({ engine })
  const value = 'packrat '.repeat(10_000)
  assert.is(bench.one(put('large', value)).status, 201)
  assert.is(bench.one(get('large')).body.toString(), value)
  assert.is(bench.one(putChunked('pieces', ['ab', 'cde', value])).status, 201)
  assert.is(bench.one(get('pieces')).body.toString(), `abcde${value}`)
  assert.is(bench.one(request('HEAD', '/kv/large')).fields.get('content-length'), '80000')
  assert.is(bench.one(get('large', ['Range: bytes=4000-4007'])).body.toString(), 'packrat ')
  assert.is(bench.one(put('empty', '')).status, 201)
  assert.is(bench.one(get('empty')).body.length, 0)
  assert.is(bench.leaks(), '')
  await engine.close()
})

test('conventional: changes of one burst take effect in their order', async () => {
  const engine = await open('conventional')
  const bench = new KvBench({ engine })
  const client = bench.connect()
  const burst = put('k', '1') + put('k', '2') + remove('k') + put('k', '3') + put('j', '4') + remove('j')
  const methods = ['PUT', 'PUT', 'DELETE', 'PUT', 'PUT', 'DELETE']
  const statuses = client.exchange(burst, methods).map(({ status }) => status)
  assert.equal(statuses.slice(2), [204, statuses[3], 201, 204])
  assert.is(bench.one(get('k')).body.toString(), '3')
  assert.is(bench.one(get('j')).status, 404)
  assert.is(engine.records, 1)
  client.close()
  assert.is(bench.leaks(), '')
  await engine.close()
})

test('conventional: random changes agree with a map, also after closing and opening again', async () => {
  const path = join(scratchDirectory(), 'model.pm')
  const random = seededRandom(seed)
  const below = (limit: number): number => (random() >>> 0) % limit
  const model = new Map<string, string>()
  for (let round = 0; round < 4; round++) {
    const engine = await open('conventional', path)
    const bench = new KvBench({ engine })
    assert.is(engine.records, model.size, 'all that was stored is there again')
    const client = bench.connect()
    for (let step = 0; step < 40; step++) {
      let burst = ''
      const methods: string[] = []
      for (let change = 1 + below(8); change > 0; change--) {
        const key = `key-${below(60)}`
        if (below(4) === 0) {
          burst += remove(key)
          methods.push('DELETE')
          model.delete(key)
        } else {
          const value = String.fromCharCode(97 + below(26)).repeat(below(3000))
          burst += put(key, value)
          methods.push('PUT')
          model.set(key, value)
        }
      }
      assert.is(client.exchange(burst, methods).length, methods.length)
    }
    client.close()
    assert.is(engine.records, model.size)
    for (let key = 0; key < 60; key++) {
      const response = bench.one(get(`key-${key}`))
      const expected = model.get(`key-${key}`)
      assert.is(response.status, expected === undefined ? 404 : 200)
      if (expected !== undefined) assert.is(response.body.toString(), expected)
    }
    assert.is(bench.leaks(), '')
    await engine.close()
  }
})

test('conventional: when its area is full it answers 507, and goes on when something is deleted', async () => {
  const engine = await open('conventional')
  const bench = new KvBench({ engine })
  const value = 'v'.repeat(200_000)
  let stored = 0
  let status = 201
  while (status === 201) {
    status = bench.one(put(`k${stored}`, value)).status
    if (status === 201) stored++
  }
  assert.is(status, 507)
  assert.ok(stored > 10, `${stored} values of 200 kB in ${AREA_BYTES} bytes`)
  assert.is(bench.one(get('k0')).body.length, value.length)
  assert.is(bench.leaks(), '')
  await engine.close()
})

test('conventional: a GET for which the network has no buffers is answered with 503, and works when it has', async () => {
  const engine = await open('conventional')
  const bench = new KvBench({ engine })
  const value = 'w'.repeat(200_000)
  bench.one(put('large', value))
  const client = bench.connect()
  const held: number[] = []
  while (bench.pool.freeBuffers > 64) held.push(bench.pool.allocateBuffer())
  assert.equal(
    client.exchange(get('large')).map(({ status }) => status),
    [503],
  )
  for (const buffer of held) bench.pool.releaseBuffer(buffer)
  const [response] = client.exchange(get('large'))
  assert.is(response!.status, 200)
  assert.is(response!.body.toString(), value)
  client.close()
  assert.is(bench.leaks(), '')
  await engine.close()
})

test('conventional: a value whose bytes rotted is answered with 500, never served', async () => {
  const path = join(scratchDirectory(), 'rot.pm')
  const engine = await open('conventional', path)
  const bench = new KvBench({ engine })
  bench.one(put('a', 'precious bytes'))
  engine.find(Buffer.from('a'), 0, 1)
  engine.found.bytes[engine.found.start + 3]! ^= 1
  assert.is(bench.one(get('a')).status, 500)
  assert.is(bench.leaks(), '')
  await engine.close()
})

for (const name of ['discard', 'copy'] as const) {
  test(`${name}: takes every value; GET and DELETE are answered with 501`, async () => {
    const engine = await open(name)
    const bench = new KvBench({ engine })
    for (let i = 0; i < 50; i++) assert.is(bench.one(put(`k${i}`, 'x'.repeat(i * 100))).status, 204)
    const response = bench.one(get('k1'))
    assert.is(response.status, 501)
    assert.match(response.body.toString(), name)
    assert.is(bench.one(remove('k1')).status, 501)
    assert.is(bench.leaks(), '')
    await engine.close()
  })
}

test('leveldb: a DELETE knows what is on its way to the disk, and one of nothing deletes nothing later', async () => {
  if (!(await isLevelDbInstalled())) return console.log('SKIP: classic-level is not installed')
  const engine = await open('leveldb')
  const bench = new KvBench({ engine })
  const [client, other] = [bench.connect(), bench.connect()]
  /** Sends, and goes on until so many of LevelDB's batches are on the disk. */
  const exchange = async (burst: string, methods: readonly string[]): Promise<number[]> => {
    client.send(burst)
    bench.runFor(2000)
    while (bench.baseline!.owesRoom) {
      await new Promise((resolve) => setImmediate(resolve))
      bench.resume()
    }
    return client.responses(methods).map(({ status }) => status)
  }
  assert.equal(
    await exchange(put('k', '1') + remove('k') + remove('k'), ['PUT', 'DELETE', 'DELETE']),
    [204, 204, 404],
    'in one burst',
  )
  client.send(put('k', '2'))
  bench.runFor(2000)
  other.send(remove('k'))
  bench.runFor(2000)
  assert.equal(await exchange(get('k'), ['PUT', 'GET']), [204, 404], 'behind the batch that is being written')
  assert.is(other.responses(['DELETE'])[0]!.status, 204)
  assert.equal(await exchange(remove('j'), ['DELETE']), [404])
  assert.equal(await exchange(put('j', '3'), ['PUT']), [204])
  assert.equal(await exchange(put('i', '4') + get('j'), ['PUT', 'GET']), [204, 200])
  for (const each of [client, other]) each.close()
  assert.is(bench.leaks(), '')
  await engine.close()
})

test('no baseline has listings, snapshots, batches or conditional writes; all have / and /stats', async () => {
  const engine = await open('conventional')
  const bench = new KvBench({ engine })
  assert.is(bench.one(request('GET', '/kv')).status, 501)
  assert.is(bench.one(request('POST', '/kv/_snapshot')).status, 501)
  assert.is(bench.one(request('POST', '/kv/_batch', [], '{}\n')).status, 501)
  assert.is(bench.one(put('a', 'b', ['If-None-Match: *'])).status, 501)
  assert.is(bench.one(request('GET', '/')).status, 200)
  assert.is(bench.one(request('GET', '/stats')).status, 200)
  assert.is(bench.leaks(), '')
  await engine.close()
})

test('an area is not taken for the wrong store: a damaged one is refused', async () => {
  const path = join(scratchDirectory(), 'damaged.pm')
  const engine = await open('conventional', path)
  const bench = new KvBench({ engine })
  bench.one(put('a', 'b'))
  engine.find(Buffer.from('a'), 0, 1)
  const words = new Int32Array(engine.found.bytes.buffer, engine.found.bytes.byteOffset)
  words[(64 >> 2) + 3] = 0x7fffffc0 // the anchor's level-0 link
  await engine.close()
  let message = ''
  await open('conventional', path).catch((error: Error) => {
    message = error.message
  })
  assert.match(message, 'damaged')
})

test.run()
