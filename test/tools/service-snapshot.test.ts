/** Snapshots over HTTP: one state for GET and listings while writers go on, and 410 when it is gone. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SNAPSHOTS_MAX } from '../../storage/snapshot.ts'
import { SNAPSHOT_IDLE_SECONDS } from '../../tools/kv/snapshots.ts'
import { get, put, remove, request } from '../support/http-requests.ts'
import { KvBench } from '../support/kv-bench.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SECOND_US = 1_000_000
const TAKE = request('POST', '/kv/_snapshot')

interface Taken {
  readonly snapshot: string
  readonly version: number
}

function take(bench: KvBench): Taken {
  const { status, body } = bench.one(TAKE)
  assert.is(status, 201)
  return JSON.parse(body.toString()) as Taken
}

const read = (bench: KvBench, key: string, id: string, fields: readonly string[] = []) =>
  bench.one(get(`${key}?snapshot=${id}`, fields))

function list(bench: KvBench, query: string): string[] {
  const { status, body } = bench.one(request('GET', `/kv?${query}`))
  assert.is(status, 200)
  return body
    .toString()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => String((JSON.parse(line) as { key: string }).key))
}

test('a snapshot reads what was there, whatever is written, replaced and deleted behind it', () => {
  const bench = new KvBench()
  const large = 'l'.repeat(20_000)
  for (const [key, value] of [
    ['a', '1'],
    ['b', large],
    ['c', '1'],
  ] as const)
    bench.one(put(key, value))
  const { snapshot: id, version } = take(bench)
  assert.is(version, 3)
  bench.one(put('a', '2'))
  bench.one(remove('b'))
  bench.one(put('aa', 'new'))
  bench.settle()
  for (let i = 0; i < 50; i++) bench.one(put('churn', 'x'.repeat(3000)))
  bench.settle()
  assert.is(read(bench, 'a', id).body.toString(), '1')
  assert.is(read(bench, 'a', id).fields.get('etag'), '"1"')
  assert.is(read(bench, 'b', id).body.toString(), large)
  assert.is(read(bench, 'b', id, ['Range: bytes=19998-']).body.toString(), 'll')
  assert.is(read(bench, '%63', id).body.toString(), '1')
  assert.is(read(bench, 'aa', id).status, 404)
  assert.is(bench.one(get('a')).body.toString(), '2')
  assert.equal(list(bench, `snapshot=${id}`), ['a', 'b', 'c'])
  assert.equal(list(bench, `snapshot=${id}&reverse&limit=2`), ['c', 'b'])
  assert.equal(list(bench, ''), ['a', 'aa', 'c', 'churn'])
  assert.is(bench.one(remove(`_snapshot/${id}`)).status, 204)
  assert.is(read(bench, 'a', id).status, 410)
  assert.is(bench.one(request('GET', `/kv?snapshot=${id}`)).status, 410)
  assert.is(bench.leaks(), '')
})

test('two snapshots see two states, and ending one leaves the other', () => {
  const bench = new KvBench()
  bench.one(put('a', '1'))
  const first = take(bench)
  bench.one(put('a', '2'))
  const second = take(bench)
  bench.one(remove('a'))
  bench.settle()
  assert.is.not(first.snapshot, second.snapshot)
  assert.is(read(bench, 'a', first.snapshot).body.toString(), '1')
  bench.one(remove(`_snapshot/${first.snapshot}`))
  bench.settle()
  assert.is(read(bench, 'a', second.snapshot).body.toString(), '2')
  bench.one(remove(`_snapshot/${second.snapshot}`))
  assert.is(bench.leaks(), '')
})

test('a snapshot is ended when it is not used; use keeps it', () => {
  const bench = new KvBench()
  bench.one(put('a', '1'))
  const used = take(bench)
  const idle = take(bench)
  bench.one(put('a', '2'))
  for (let seconds = 0; seconds < 2 * SNAPSHOT_IDLE_SECONDS; seconds += 40) {
    bench.runFor(40 * SECOND_US)
    assert.is(read(bench, 'a', used.snapshot).body.toString(), '1')
  }
  assert.is(read(bench, 'a', idle.snapshot).status, 410)
  bench.runFor((SNAPSHOT_IDLE_SECONDS + 2) * SECOND_US)
  bench.one(put('b', '1'))
  assert.is(bench.store.snapshots.count, 0, 'any traffic ends what is due')
  assert.is(bench.leaks(), '')
})

test('a full store ends snapshots rather than refusing a write', () => {
  const bench = new KvBench({ region: new TracingRegion({ regionBytes: 1 << 20 }) })
  const value = 'v'.repeat(100_000)
  bench.one(put('a', value))
  const { snapshot: id } = take(bench)
  for (let i = 0; i < 20; i++) assert.is(bench.one(put('a', `${i}${value}`)).status, 204)
  assert.is(read(bench, 'a', id).body.toString(), value, 'one old version has room beside the new one')
  for (let i = 0; i < 3; i++) assert.is(bench.one(put(`b${i}`, value)).status, 201)
  assert.is(read(bench, 'a', id).status, 410)
  assert.is(bench.store.snapshots.endedForRoom, 1)
  assert.is(bench.leaks(), '')
})

test('a value larger than all that snapshots keep is 507 and ends none', () => {
  const bench = new KvBench({ region: new TracingRegion({ regionBytes: 1 << 20 }) })
  bench.one(put('a', '1'))
  const { snapshot: id } = take(bench)
  bench.one(put('a', '2'))
  assert.is(bench.one(put('b', 'v'.repeat(900_000))).status, 507)
  assert.is(read(bench, 'a', id).body.toString(), '1')
})

test('there is a limit, and a restart ends all', () => {
  const region = new TracingRegion({ regionBytes: 2 << 20 })
  const bench = new KvBench({ region })
  bench.one(put('a', '1'))
  const ids = Array.from({ length: SNAPSHOTS_MAX }, () => take(bench).snapshot)
  assert.is(new Set(ids).size, SNAPSHOTS_MAX)
  assert.is(bench.one(TAKE).status, 503)
  bench.one(remove(`_snapshot/${ids[0]}`))
  take(bench)
  bench.one(put('a', '2'))
  const again = new KvBench({
    region: new TracingRegion({ regionBytes: 2 << 20, image: region.durableImage(), versionFloor: 1 << 20 }),
  })
  assert.is(read(again, 'a', ids[1]!).status, 410)
  assert.is(again.leaks(), '', 'recovery frees what only snapshots kept')
})

test('keys that look like it are keys, and a snapshot takes no body', () => {
  const bench = new KvBench()
  take(bench)
  for (const key of ['_snapshot', '_snapshot/', '_snapshot/1-1-1']) {
    assert.is(bench.one(put(key, 'x')).status, 201)
    assert.is(bench.one(get(key)).body.toString(), 'x')
    assert.is(bench.one(remove(key)).status, 204)
    assert.is(bench.one(remove(key)).status, 404)
  }
  assert.is(bench.one(request('POST', '/kv/_snapshot', [], 'x')).status, 400)
  assert.is(bench.one(get('a?snapshot=')).status, 410)
  assert.is(bench.one(get('a?other=1')).status, 404)
})

test('a listing from a snapshot is not disturbed by writers between its parts', () => {
  const bench = new KvBench({ region: new TracingRegion({ regionBytes: 4 << 20 }) })
  const names = Array.from({ length: 600 }, (_, i) => `key-${String(i).padStart(4, '0')}-${'n'.repeat(100)}`)
  const writer = bench.connect()
  for (const name of names) writer.exchange(put(name, '1'))
  const { snapshot: id } = take(bench)
  const reader = bench.connect()
  reader.reading = false
  reader.send(request('GET', `/kv?snapshot=${id}`))
  bench.runFor(50_000)
  // More than the socket holds is still to come: now everything changes.
  for (const [i, name] of names.entries()) writer.exchange(i % 2 ? remove(name) : put(name, '2'))
  writer.exchange(put('key-9999', 'new'))
  reader.resumeReading()
  const [response] = reader.responses(['GET'])
  const lines = response!.body
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { key: string; version: number })
  assert.equal(
    lines.map(({ key }) => key),
    names,
  )
  assert.ok(lines.every(({ version }) => version <= 600))
  reader.close()
  writer.close()
  bench.one(remove(`_snapshot/${id}`))
  assert.is(bench.leaks(), '')
})

test.run()
