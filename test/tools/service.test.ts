/** The HTTP contract of the key-value service: storing, reading and removing, over two hosts in virtual time. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { get, put, remove, request } from '../support/http-requests.ts'
import type { HttpResponse } from '../support/http-responses.ts'
import { EPOCH_SECONDS, KvBench } from '../support/kv-bench.ts'

const errorOf = (response: HttpResponse): string => (JSON.parse(response.body.toString()) as { error: string }).error

test('PUT creates with 201 and replaces with 204, and each answer names the version', () => {
  const bench = new KvBench()
  const created = bench.one(put('a', 'one'))
  assert.is(created.status, 201)
  assert.is(created.fields.get('etag'), '"1"')
  assert.is(created.fields.get('content-length'), '0')
  assert.ok(created.fields.has('date'))
  const replaced = bench.one(put('a', 'two'))
  assert.is(replaced.status, 204)
  assert.is(replaced.fields.get('etag'), '"2"')
  assert.not(replaced.fields.has('content-length'), 'RFC 9110 (8.6): none with 204')
  assert.is(bench.leaks(), '')
})

test('GET answers with the value, its version and its time of arrival', () => {
  const bench = new KvBench()
  bench.one(put('a', 'some value'))
  const response = bench.one(get('a'))
  assert.is(response.status, 200)
  assert.is(response.body.toString(), 'some value')
  assert.is(response.fields.get('etag'), '"1"')
  assert.is(response.fields.get('content-length'), '10')
  assert.is(response.fields.get('accept-ranges'), 'bytes')
  const arrival = BigInt(response.fields.get('packrat-arrival')!)
  assert.is(arrival / 1_000_000_000n, BigInt(EPOCH_SECONDS + 1))
  assert.is(response.fields.get('last-modified'), new Date((EPOCH_SECONDS + 1) * 1000).toUTCString())
})

test('HEAD answers as GET does, without the body', () => {
  const bench = new KvBench()
  bench.one(put('a', 'some value'))
  const client = bench.connect()
  const [head] = client.exchange(request('HEAD', '/kv/a'))
  const [whole] = client.exchange(get('a'))
  const fieldsOf = (response: HttpResponse): [string, string][] => [...response.fields]
  assert.equal(fieldsOf(head!), fieldsOf(whole!))
  assert.is(client.exchange(request('HEAD', '/kv/b'))[0]!.status, 404)
  assert.is(client.exchange(request('HEAD', '/'))[0]!.status, 200)
  assert.is(client.exchange(request('HEAD', '/stats'))[0]!.status, 200)
  assert.is(client.exchange(request('HEAD', '/kv'))[0]!.status, 200)
  assert.is(client.exchange(get('a'))[0]!.body.toString(), 'some value', 'no body bytes in between')
})

test('DELETE answers 204 once, then 404; GET of a key that is not there is 404', () => {
  const bench = new KvBench()
  bench.one(put('a', 'x'))
  assert.is(bench.one(remove('a')).status, 204)
  const again = bench.one(remove('a'))
  assert.is(again.status, 404)
  assert.is(errorOf(again), 'no such key')
  assert.is(bench.one(get('a')).status, 404)
  assert.is(bench.store.records, 0)
  assert.is(bench.leaks(), '')
})

test('values of all sizes come back as they were sent', () => {
  const bench = new KvBench()
  const client = bench.connect()
  for (const size of [0, 1, 2, 1023, 1380, 1447, 1448, 1449, 2048, 5000, 65_536, 300_000]) {
    const value = Buffer.alloc(size)
    for (let at = 0; at < size; at++) value[at] = (at * 31 + (at >>> 8)) & 0xff
    const stored = client.exchange(Buffer.concat([Buffer.from(put('k', '').replace(': 0', `: ${size}`)), value]))
    assert.ok(stored[0]!.status === 201 || stored[0]!.status === 204)
    const [response] = client.exchange(get('k'))
    assert.is(response!.status, 200)
    assert.is(Buffer.compare(response!.body, value), 0, `${size} bytes`)
  }
  client.close()
  assert.is(bench.leaks(), '')
})

test('methods that a target does not take are 405 with Allow', () => {
  const bench = new KvBench()
  const client = bench.connect()
  for (const method of ['POST', 'PATCH', 'OPTIONS', 'get', 'FOO']) {
    const [response] = client.exchange(request(method, '/kv/a'))
    assert.is(response!.status, 405, method)
    assert.is(response!.fields.get('allow'), 'GET, HEAD, PUT, DELETE')
  }
  for (const target of ['/', '/stats', '/kv', '/kv/']) {
    const [response] = client.exchange(request('DELETE', target))
    assert.is(response!.status, 405, target)
    assert.is(response!.fields.get('allow'), 'GET, HEAD')
  }
  assert.is(client.exchange(request('GET', '/nowhere'))[0]!.status, 404)
  assert.is(client.finished, false, 'the connection goes on')
})

test('a key has at most 1024 bytes once decoded, else 414', () => {
  const bench = new KvBench()
  assert.is(bench.one(put('k'.repeat(1024), 'x')).status, 201)
  assert.is(bench.one(get('k'.repeat(1024))).body.toString(), 'x')
  const refused = bench.one(put('k'.repeat(1025), 'x'))
  assert.is(refused.status, 414)
  assert.is(refused.fields.get('connection'), 'close')
  assert.is(bench.one(put('%41'.repeat(1024), 'y')).status, 201)
  assert.is(bench.one(get('A'.repeat(1024))).body.toString(), 'y')
  assert.is(bench.one(put('%41'.repeat(1025), 'y')).status, 414)
  assert.is(bench.leaks(), '')
})

test('keys are any bytes: percent-encoded on the wire, exact in the store', () => {
  const bench = new KvBench()
  const client = bench.connect()
  for (let byte = 0; byte < 256; byte++) {
    const encoded = `%${byte.toString(16).padStart(2, '0')}`
    assert.is(client.exchange(put(`k${encoded}z`, String(byte)))[0]!.status, 201, encoded)
  }
  assert.is(bench.store.records, 256)
  for (let byte = 0; byte < 256; byte++) {
    const head = bench.store.find(Uint8Array.of(0x6b, byte, 0x7a), 0, 3)
    assert.is.not(head, 0, `the key with byte ${byte}`)
    const encoded = `%${byte.toString(16).padStart(2, '0').toUpperCase()}`
    assert.is(client.exchange(get(`k${encoded}z`))[0]!.body.toString(), String(byte))
  }
  assert.is(client.exchange(get('kaz'))[0]!.body.toString(), '97', 'encoded and plain are the same key')
  assert.is(client.exchange(put('..%2F', 'x'))[0]!.status, 201)
  assert.is(client.exchange(get('../'))[0]!.body.toString(), 'x', 'paths are not normalised')
  for (let byte = 0; byte < 256; byte++) {
    assert.is(client.exchange(remove(`k%${byte.toString(16).padStart(2, '0')}z`))[0]!.status, 204)
  }
  assert.is(bench.store.records, 1)
  client.close()
  assert.is(bench.leaks(), '')
})

test.run()
