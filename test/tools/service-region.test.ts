/** The service on region files: with the processor's flushes, and with msync on the native thread. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RegionError } from '../../storage/errors.ts'
import { Region } from '../../storage/region.ts'
import { get, put, remove } from '../support/http-requests.ts'
import { KvBench, type KvClient } from '../support/kv-bench.ts'

const REGION_BYTES = 4 << 20
const TURNS_MAX = 20_000
const folder = mkdtempSync(join(tmpdir(), 'packrat-service-'))
test.after(() => rmSync(folder, { recursive: true }))

/** Opens (and first creates) a region; undefined where the file system has no such class. */
function openRegion(name: string, durability: 'process' | 'msync'): Region | undefined {
  const path = join(folder, name)
  try {
    return new Region(path, { durability })
  } catch (error) {
    if (!(error instanceof RegionError) || (error.code !== 'ENOENT' && error.code !== 'DURABILITY')) throw error
    if (error.code === 'DURABILITY') return undefined
  }
  Region.create(path, { bytes: REGION_BYTES })
  return openRegion(name, durability)
}

/** Lets the native thread and the hosts go on until the condition holds. */
async function until(bench: KvBench, holds: () => boolean): Promise<void> {
  for (let turn = 0; !holds(); turn++) {
    assert.ok(turn < TURNS_MAX, 'it happens in the end')
    bench.resume()
    bench.runFor(100)
    await nextTurn()
  }
}

async function statusOf(bench: KvBench, client: KvClient, text: string): Promise<number> {
  client.send(text)
  await until(bench, () => client.finished || client.bytes.includes('\r\n\r\n'))
  return client.responses([text.slice(0, text.indexOf(' '))])[0]?.status ?? 0
}

async function settle(bench: KvBench): Promise<void> {
  await until(bench, () => {
    bench.store.settle()
    return bench.store.isIdle
  })
}

for (const durability of ['process', 'msync'] as const) {
  test(`what was answered is there after reopening (${durability})`, async () => {
    let region = openRegion(`${durability}.pm`, durability)
    if (region === undefined) {
      console.log(`skip: ${folder} has no durability class ${durability}`)
      return
    }
    const long = Array.from({ length: 9000 }, (_, i) => String(i)).join(' ')
    let bench = new KvBench({ region })
    const client = bench.connect()
    assert.is(await statusOf(bench, client, put('a', 'one')), 201)
    assert.is(await statusOf(bench, client, put('long', long)), 201)
    assert.is(await statusOf(bench, client, put('a', 'two')), 204)
    assert.is(await statusOf(bench, client, put('gone', 'x')), 201)
    assert.is(await statusOf(bench, client, remove('gone')), 204)
    const { counters } = bench.store
    assert.is(counters.fences, 2 * counters.batches - 1, 'two for each put, one for the deletion')
    assert.is(bench.store.payloadBytesCopied, 0)
    region.close() // no orderly stop: neither settled nor marked clean

    region = openRegion(`${durability}.pm`, durability)!
    bench = new KvBench({ region })
    await settle(bench)
    assert.is(bench.store.report.corrupt.length, 0)
    assert.is(bench.store.records, 2)
    assert.is(bench.one(get('a')).body.toString(), 'two')
    assert.is(bench.one(get('long')).body.toString(), long)
    assert.is(bench.one(get('gone')).status, 404)
    assert.is(bench.leaks(), '')
    region.close(bench.store.nextVersion)
  })
}

test('a failed msync ends the connection without an answer, and the store stays readable', async () => {
  const region = openRegion('failing.pm', 'msync')
  if (region === undefined) {
    console.log(`skip: ${folder} has no durability class msync`)
    return
  }
  const bench = new KvBench({ region })
  await settle(bench)
  const client = bench.connect()
  assert.is(await statusOf(bench, client, put('a', 'kept')), 201)
  await settle(bench)
  region.failSync(1)
  client.send(put('a', 'lost'))
  await until(bench, () => client.finished)
  assert.is(client.bytes.length, 0)
  const later = bench.connect()
  assert.is(await statusOf(bench, later, put('a', 'x')), 503)
  assert.is(bench.one(get('a')).body.toString(), 'kept')
  region.close()
})

test.run()
