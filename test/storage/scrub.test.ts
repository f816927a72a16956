/** The scrubber finds what rotted, upgrades what carries only a TCP sum, keeps to its budget, and never writes more. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  NO_META,
  W_BUFFER,
  W_NEXT_FRAGMENT,
  W_PAYLOAD_CRC,
  W_PAYLOAD_CRC_COMPLEMENT,
  W_SUM,
  W_VERSION_HIGH,
} from '../../storage/layout.ts'
import type { CorruptEntry } from '../../storage/recovery.ts'
import { Region } from '../../storage/region.ts'
import { Scrubber } from '../../storage/scrub.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const PASS_MS = 1000
const EVERYTHING = 1 << 30

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))

interface Bench {
  readonly region: TracingRegion
  readonly store: Store
  readonly scrubber: Scrubber
  readonly findings: CorruptEntry[]
}

function bench(region = new TracingRegion(), upgradeMs = PASS_MS): Bench {
  const store = new Store(region, { random: seededRandom(1) })
  const findings: CorruptEntry[] = []
  const scrubber = new Scrubber(store, region, {
    passMs: PASS_MS,
    upgradeMs,
    nowMs: 0,
    onFinding: (finding) => findings.push(finding),
  })
  return { region, store, scrubber, findings }
}

function linesOf(store: Store): number[] {
  const lines: number[] = []
  for (const entry of store.entries()) {
    for (let meta = entry.meta; meta !== NO_META; meta = store.pool.next(meta)) lines.push(meta)
  }
  return lines
}

const hasCrc = (store: Store, meta: number): boolean =>
  store.pool.get(meta, W_PAYLOAD_CRC_COMPLEMENT) === ~store.pool.get(meta, W_PAYLOAD_CRC)

/** Where the bytes of a value stand in memory. */
const find = (region: TracingRegion, value: string): number => Buffer.from(region.bytes.buffer).indexOf(value)

test('one pass gives every published line a CRC32C that a later open verifies, without a fence', async () => {
  const { region, store, scrubber } = bench()
  for (let i = 0; i < 12; i++) await store.put(text(`k${i % 8}`), new Uint8Array(i * 700).fill(i))
  await store.drain()
  const lines = linesOf(store)
  assert.ok(lines.length > 16)
  const { fences } = region.counters
  assert.is(scrubber.step(PASS_MS, EVERYTHING), false)
  assert.is(region.counters.fences, fences)
  assert.is(scrubber.counters.upgraded, lines.length)
  assert.is(scrubber.counters.passes, 1)
  for (const meta of lines) assert.ok(hasCrc(store, meta))
  scrubber.step(2 * PASS_MS, EVERYTHING)
  assert.is(scrubber.counters.upgraded, lines.length, 'nothing is upgraded twice')
  await store.put(text('next'), text('its fences make the upgrades durable'))
  assert.is(store.counters.fences, 2 * store.counters.batches)

  const reopened = new Store(new TracingRegion({ image: region.durableImage() }), { random: seededRandom(2) })
  for (const meta of lines) assert.ok(hasCrc(reopened, meta))
  for (const { meta } of reopened.entries()) assert.is(reopened.verify(meta), NO_META)
})

test('a bit that flips in a value known good is found, named once, and never served again until it is written', async () => {
  const { region, store, scrubber, findings } = bench()
  await store.put(text('rotten'), text('the value that will rot'))
  await store.put(text('sound'), text('another value'))
  assert.ok(store.get(text('rotten')))
  const head = store.find(text('rotten'), 0, 6)
  region.bytes[find(region, 'the value that')]! ^= 0x40
  for (let pass = 1; pass <= 3; pass++) scrubber.step(pass * PASS_MS, EVERYTHING)
  assert.is(findings.length, 1)
  assert.is(Buffer.from(findings[0]!.key!).toString(), 'rotten')
  assert.is(findings[0]!.meta, head)
  assert.is(findings[0]!.buffer, store.pool.buffer(head))
  assert.match(findings[0]!.reason, /payload/)
  assert.is(scrubber.counters.corrupt, 1)
  assert.not(hasCrc(store, head), 'a wrong value is not given a right CRC')
  assert.throws(() => store.get(text('rotten')), /corrupt/)
  assert.ok(store.get(text('sound')))
  await store.put(text('rotten'), text('new'))
  assert.is(Buffer.from(store.get(text('rotten'))!).toString(), 'new')
  scrubber.step(4 * PASS_MS, EVERYTHING)
  assert.is(findings.length, 1)
})

test('changed words that the sum cannot see are found once the value has its CRC32C', async () => {
  const { region, store, scrubber, findings } = bench()
  await store.put(text('key'), text('even words change places'))
  scrubber.step(PASS_MS, EVERYTHING)
  const at = find(region, 'even words')
  region.bytes.set(text('enev'), at)
  scrubber.step(2 * PASS_MS, EVERYTHING)
  assert.is(findings.length, 1)
})

test('damage to a fragment, to its line and to a head names the entry', async () => {
  for (const what of ['payload', 'fragment line', 'metadata line'] as const) {
    const { region, store, scrubber, findings } = bench()
    await store.put(text('first'), new Uint8Array(100))
    await store.put(text('long'), new Uint8Array(9000).fill(1))
    const head = store.find(text('long'), 0, 4)
    const fragment = store.pool.next(head)
    if (what === 'payload') region.bytes[store.pool.dataStartOf(fragment) + 5]! ^= 1
    else region.bytes[(what === 'fragment line' ? fragment : head) * 64 + 17]! ^= 1
    scrubber.step(PASS_MS, EVERYTHING)
    assert.is(findings.length, 1, what)
    assert.is(Buffer.from(findings[0]!.key!).toString(), 'long')
    assert.match(findings[0]!.reason, new RegExp(what))
    assert.throws(() => store.get(text('long')), /corrupt/)
    assert.ok(store.get(text('first')))
  }
})

test('an entry with a damaged line can be overwritten and deleted; what the line names is left to the next open', async () => {
  for (const word of [W_VERSION_HIGH, W_BUFFER, W_NEXT_FRAGMENT]) {
    const { region, store, scrubber, findings } = bench()
    await store.put(text('over'), new Uint8Array(5000).fill(1))
    await store.put(text('gone'), new Uint8Array(5000).fill(2))
    await store.put(text('other'), new Uint8Array(5000).fill(3))
    const heads = [store.find(text('over'), 0, 4), store.find(text('gone'), 0, 4)]
    scrubber.step(PASS_MS - 1, EVERYTHING)
    for (const head of heads) {
      if (word !== W_BUFFER) store.pool.set(head, word, 0x7ffffff0)
      else store.pool.set(store.pool.next(head), word, 0x7ffffff0)
    }
    scrubber.step(PASS_MS, EVERYTHING)
    scrubber.step(2 * PASS_MS, EVERYTHING)
    assert.is(findings.length, 2)
    await store.put(text('over'), text('new'))
    assert.is(await store.delete(text('gone')), true)
    await store.drain()
    for (let i = 0; i < 100; i++) await store.put(text(`k${i}`), new Uint8Array(3000).fill(i))
    await store.drain()
    assert.is(Buffer.from(store.get(text('over'))!).toString(), 'new')
    assert.equal(store.get(text('other')), new Uint8Array(5000).fill(3))
    const reopened = bench(new TracingRegion({ image: region.durableImage() })).store
    assert.is(reopened.records, 102)
    for (let i = 0; i < 100; i++) assert.equal(reopened.get(text(`k${i}`)), new Uint8Array(3000).fill(i))
  }
})

test('a damaged line that names the head of an entry that is gone does not speak against the next one there', async () => {
  const { region, store } = bench()
  await store.put(text('long'), new Uint8Array(5000))
  await store.drain()
  const head = store.find(text('long'), 0, 4)
  store.pool.set(store.pool.next(head), W_SUM, 1)
  const reopened = bench(new TracingRegion({ image: region.bytes, versionFloor: 100 }))
  assert.is(await reopened.store.delete(text('long')), true)
  await reopened.store.drain()
  let key = text('')
  for (let i = 0; !reopened.store.list.has(head); i++) {
    key = text(`k${i}`)
    await reopened.store.put(key, text('sound'))
  }
  for (let pass = 1; pass <= 3; pass++) reopened.scrubber.step(pass * PASS_MS, EVERYTHING)
  assert.equal(reopened.findings, [])
  assert.is(reopened.scrubber.counters.corrupt, 0)
  assert.is(Buffer.from(reopened.store.get(key)!).toString(), 'sound')
})

test('an entry whose deletion failed is not taken for damaged: it is read as before', async () => {
  const { region, store, scrubber, findings } = bench()
  await store.put(text('a'), text('one'))
  await store.drain()
  const { execute } = region
  region.execute = (program, words) => execute.call(region, program, words) || -5 // the last sync fails
  await store.delete(text('a')).catch(() => {})
  assert.is(store.poisoned, -5)
  scrubber.step(PASS_MS, EVERYTHING)
  assert.equal(findings, [])
  assert.is(Buffer.from(store.get(text('a'))!).toString(), 'one')
})

test('a call reads no more than its budget, and the pace follows the time', async () => {
  const { store, scrubber } = bench()
  for (let i = 0; i < 100; i++) await store.put(text(`k${i}`), new Uint8Array(1000))
  const budget = 8192
  let calls = 1
  let last = 0
  const { counters } = scrubber
  assert.is(scrubber.step(0, budget), false, 'nothing is due yet')
  assert.is(counters.linesChecked, 0)
  while (scrubber.step(PASS_MS - 1, budget)) {
    assert.ok(counters.bytesChecked - last <= budget + 2 * 1000)
    last = counters.bytesChecked
    calls++
  }
  assert.ok(calls > 20)
  assert.is(counters.passes, 0)
  assert.ok(counters.progress > 0.99)
  scrubber.step(PASS_MS, budget)
  assert.is(counters.passes, 1)
})

test('a value is upgraded within the window, wherever the walk stands when it is written', async () => {
  const window = 100
  for (let start = 0; start < window; start += 7) {
    const { store, scrubber } = bench(new TracingRegion(), window)
    let now = 0
    for (; now < start; now += 5) scrubber.step(now, EVERYTHING)
    await store.put(text('key'), text('value'))
    for (const end = now + window + 5; now <= end; now += 5) scrubber.step(now, EVERYTHING)
    assert.ok(hasCrc(store, store.find(text('key'), 0, 3)), `written at ${start}`)
  }
})

test('no upgrade while a program is on its way; uploads in progress are let alone', async () => {
  const { store, scrubber } = bench(new TracingRegion({ asynchronous: true }))
  await store.drain()
  const first = store.put(text('a'), text('one'))
  assert.ok(store.busy)
  scrubber.step(PASS_MS, EVERYTHING)
  assert.is(scrubber.counters.linesChecked, 0, 'what is not published is not looked at')
  await first
  const second = store.put(text('b'), text('two'))
  scrubber.step(2 * PASS_MS, EVERYTHING)
  assert.is(scrubber.counters.upgraded, 0)
  assert.is(scrubber.counters.linesChecked, 1, 'but what is published is verified')
  await second
  await store.drain()
  scrubber.step(3 * PASS_MS, EVERYTHING)
  assert.is(scrubber.counters.upgraded, 2)
})

test('on a file with the strongest barrier that it has, upgrades need no sync of their own and survive a reopening', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'packrat-scrub-'))
  const file = join(directory, 'file.pm')
  try {
    Region.create(file, { bytes: 1 << 20 })
    const region = new Region(file)
    const store = new Store(region, { random: seededRandom(1) })
    for (let i = 0; i < 20; i++) await store.put(text(`k${i}`), new Uint8Array(i * 300).fill(i))
    await store.drain()
    const lines = linesOf(store)
    const scrubber = new Scrubber(store, region, {
      passMs: PASS_MS,
      upgradeMs: PASS_MS,
      nowMs: 0,
      onFinding: ({ reason }) => assert.unreachable(reason),
    })
    const { fences } = region.counters
    scrubber.step(PASS_MS, EVERYTHING)
    assert.is(scrubber.counters.upgraded, lines.length)
    assert.is(region.counters.fences, fences)
    await store.put(text('k3'), text('the next batch'))
    await store.drain()
    region.close(store.nextVersion)
    const again = new Region(file, { readOnly: true })
    const reopened = new Store(again, { random: seededRandom(2) })
    for (const entry of reopened.entries()) {
      const written = Buffer.from(entry.key).toString() === 'k3'
      assert.is(hasCrc(reopened, entry.meta), !written)
      assert.is(reopened.verify(entry.meta), NO_META)
    }
    again.close()
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('an upgrade that computed the wrong CRC is caught by the next verification', async () => {
  const { region, store, scrubber } = bench()
  await store.put(text('a'), text('value'))
  const { crcView } = TracingRegion.prototype
  region.crcView = function (buffer, offset, length) {
    return crcView.call(this, buffer, offset, length) ^ 1
  }
  scrubber.step(PASS_MS, EVERYTHING)
  await store.put(text('b'), text('makes it durable'))
  const reopened = new Store(new TracingRegion({ image: region.durableImage() }), { random: seededRandom(2) })
  assert.throws(() => reopened.get(text('a')), /corrupt/)
})

test.run()
