/** The HTTP contract of the key-value service: the listing, the page and the counters. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { put, remove, request } from '../support/http-requests.ts'
import { KvBench } from '../support/kv-bench.ts'
import { TracingRegion } from '../support/tracing-region.ts'

test('the listing is in key order and takes prefix, start, end, limit, reverse, since and until', () => {
  const bench = new KvBench()
  const client = bench.connect()
  const names = ['b', 'a', 'ab', 'aa', 'c', '%ff', '%00', 'a%20b', 'z/y']
  const arrivals = new Map<string, bigint>()
  for (const name of names) {
    client.exchange(put(name, name))
    bench.runFor(1_000_000)
    arrivals.set(name, BigInt(client.exchange(request('HEAD', `/kv/${name}`))[0]!.fields.get('packrat-arrival')!))
  }
  const list = (query: string): { key: string; size: number; version: number; keyEncoding?: string }[] => {
    const [response] = client.exchange(request('GET', `/kv${query}`))
    assert.is(response!.status, 200, query)
    assert.is(response!.fields.get('content-type'), 'application/x-ndjson')
    const lines = response!.body.toString().split('\n')
    assert.is(lines.pop(), '')
    return lines.map((line) => JSON.parse(line))
  }
  const keys = (query: string): string[] => list(query).map(({ key }) => key)
  assert.equal(keys(''), ['\0', 'a', 'a b', 'aa', 'ab', 'b', 'c', 'z/y', '%FF'])
  assert.equal(keys('/'), keys(''))
  assert.is(list('').at(-1)!.keyEncoding, 'percent')
  assert.is(list('?limit=1')[0]!.size, 3)
  assert.equal(keys('?prefix=a'), ['a', 'a b', 'aa', 'ab'])
  assert.equal(keys('?prefix=%FF'), ['%FF'])
  assert.equal(keys('?prefix=a&start=aa&end=ab'), ['aa'])
  assert.equal(keys('?start=b&end=z'), ['b', 'c'])
  assert.equal(keys('?reverse=1&limit=3'), ['%FF', 'z/y', 'c'])
  assert.equal(keys('?reverse&prefix=a'), ['ab', 'aa', 'a b', 'a'])
  assert.equal(keys('?limit=0'), [])
  assert.equal(keys('?prefix=a+b'), ['a b'])
  assert.equal(keys('?prefix=nothing'), [])
  assert.equal(keys(`?since=${arrivals.get('c')}`), ['\0', 'a b', 'c', 'z/y', '%FF'])
  assert.equal(keys(`?until=${arrivals.get('ab')}`), ['a', 'b'])
  assert.equal(keys(`?since=${arrivals.get('a')}&until=${arrivals.get('aa')}`), ['a', 'ab'])
  for (const wrong of ['?limit=x', '?unknown=1', '?limit=1&limit=2', '?prefix', '?reverse=maybe', '?since=-1']) {
    assert.is(client.exchange(request('GET', `/kv${wrong}`))[0]!.status, 400, wrong)
  }
  client.close()
  assert.is(bench.leaks(), '')
})

test('a listing longer than the send queue comes whole, while others write', () => {
  const bench = new KvBench()
  const client = bench.connect()
  for (let i = 0; i < 600; i += 20) {
    const batch = Array.from({ length: 20 }, (_, j) => put(`${'k'.repeat(180)}${1000 + i + j}`, 'v'))
    client.send(batch.join(''))
    assert.is(client.responses(batch.map(() => 'PUT')).length, 20)
  }
  const reader = bench.connect()
  reader.reading = false
  reader.send(request('GET', '/kv'))
  bench.runFor(50_000)
  assert.is(client.exchange(remove(`${'k'.repeat(180)}1599`))[0]!.status, 204)
  assert.is(client.exchange(put('zzz', 'late'))[0]!.status, 201)
  reader.resumeReading()
  const [response] = reader.responses(['GET'])
  const lines = response!.body.toString().trimEnd().split('\n')
  assert.ok(lines.length >= 599 && lines.length <= 601, `${lines.length} lines`)
  const found = lines.map((line) => (JSON.parse(line) as { key: string }).key)
  assert.equal(found, [...found].sort())
  for (const each of [client, reader]) each.close()
  assert.is(bench.leaks(), '')
})

for (const [name, query, found] of [
  ['that finds nothing of a time', '?since=9999999999999999999', 0],
  ['of everything', '', 1200],
] as const) {
  test(`a listing ${name} looks at no more than a few hundred entries in one turn`, () => {
    const bench = new KvBench({ region: new TracingRegion({ regionBytes: 4 << 20 }) })
    const client = bench.connect()
    for (let i = 0; i < 1200; i += 20) {
      const batch = Array.from({ length: 20 }, (_, j) => put(`${1000 + i + j}`, 'v'))
      client.send(batch.join(''))
      assert.is(client.responses(batch.map(() => 'PUT')).length, 20)
    }
    let looked = 0
    let most = 0
    const { list } = bench.store
    const next = list.next.bind(list)
    list.next = (head) => {
      looked++
      return next(head)
    }
    bench.server.addBurstHook(() => {
      most = Math.max(most, looked)
      looked = 0
    })
    client.send(request('GET', `/kv${query}`))
    bench.runFor(1000)
    // What a pause of the traffic does.
    for (let pause = 0; pause < 10; pause++) {
      looked = 0
      bench.resume()
      most = Math.max(most, looked)
    }
    assert.not(bench.service.hasStalled, 'and comes to its end')
    const [response] = client.responses(['GET'])
    assert.is(response!.status, 200)
    assert.is(response!.body.toString().split('\n').length - 1, found)
    // One part when the request comes, one when the burst is over.
    assert.ok(most > 0 && most <= 600, `${most} entries at once`)
    client.close()
    assert.is(bench.leaks(), '')
  })
}

test('a listing whose reader goes away in the middle leaves nothing behind', () => {
  const bench = new KvBench()
  const client = bench.connect()
  for (let i = 0; i < 600; i += 20) {
    const batch = Array.from({ length: 20 }, (_, j) => put(`${'k'.repeat(180)}${1000 + i + j}`, 'v'))
    client.send(batch.join(''))
    client.responses(batch.map(() => 'PUT'))
  }
  const reader = bench.connect()
  reader.reading = false
  reader.send(request('GET', '/kv'))
  bench.runFor(50_000)
  reader.abort()
  client.close()
  assert.is(bench.leaks(), '')
})

test('/ is a page for people and /stats a JSON document', () => {
  const bench = new KvBench()
  const page = bench.one(request('GET', '/'))
  assert.is(page.status, 200)
  assert.match(page.fields.get('content-type')!, /^text\/html/)
  assert.match(page.body.toString(), /<h1>Packrat<\/h1>/)
  const stats = bench.one(request('GET', '/stats'))
  assert.is(stats.fields.get('content-type'), 'application/json')
  assert.equal(JSON.parse(stats.body.toString()), { records: 0 })
})

test.run()
