/** When a daemon scrubs: by the clock without being asked, more in pauses only while it is behind, not after `close`. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NO_META, W_PAYLOAD_CRC_COMPLEMENT } from '../../storage/layout.ts'
import { Store } from '../../storage/store.ts'
import { parseScrub, Scrubbing } from '../../tools/scrubbing.ts'
import { sleep } from '../support/lab.ts'
import { seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const WAIT_MS = 5000

test('--scrub takes off or seconds', () => {
  assert.is(parseScrub('off'), 0)
  assert.is(parseScrub('1'), 1000)
  assert.is(parseScrub('3600'), 3_600_000)
  for (const wrong of ['on', '0', '-1', '1.5', '99999999', '1h']) {
    assert.throws(
      () => parseScrub(wrong),
      (error: Error & { code: string }) => error.code === 'USAGE',
    )
  }
})

async function filled(asynchronous: boolean): Promise<{ region: TracingRegion; store: Store; lines: number }> {
  const region = new TracingRegion({ asynchronous })
  const store = new Store(region, { random: seededRandom(1) })
  for (let i = 0; i < 60; i++) await store.put(new Uint8Array([i]), new Uint8Array(1500).fill(i))
  await store.drain()
  return { region, store, lines: 60 }
}

const upgraded = (store: Store): number => {
  let lines = 0
  for (const { meta } of store.entries()) {
    for (let at = meta; at !== NO_META; at = store.pool.next(at)) {
      if (store.pool.get(at, W_PAYLOAD_CRC_COMPLEMENT) !== 0) lines++
    }
  }
  return lines
}

test('the clock alone upgrades everything, and pauses with nothing due cost nothing', async () => {
  const { region, store, lines } = await filled(false)
  const scrubbing = new Scrubbing(store, region, 200, ({ reason }) => assert.unreachable(reason))
  assert.is(scrubbing.idle(), false)
  assert.is(scrubbing.counters.linesChecked, 0)
  for (const end = performance.now() + WAIT_MS; upgraded(store) < lines && performance.now() < end; ) await sleep(20)
  assert.is(upgraded(store), lines)
  scrubbing.close()
  const { linesChecked } = scrubbing.counters
  await sleep(100)
  assert.is(scrubbing.counters.linesChecked, linesChecked)
})

test('pauses catch up with what the clock left', async () => {
  const { region, store, lines } = await filled(false)
  const scrubbing = new Scrubbing(store, region, 50, ({ reason }) => assert.unreachable(reason))
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100) // the loop is busy for two passes
  await sleep(30)
  let pauses = 0
  while (pauses < 1000 && scrubbing.idle()) pauses++
  assert.ok(pauses > 0)
  assert.is(upgraded(store), lines)
  scrubbing.close()
})

test('asynchronous barriers: batch after batch without a pause between them still leaves upgrades their turn', async () => {
  const { region, store, lines } = await filled(true)
  const scrubbing = new Scrubbing(store, region, 100, ({ reason }) => assert.unreachable(reason))
  const end = performance.now() + WAIT_MS
  const key = new Uint8Array([200])
  let write = store.put(key, key)
  while (upgraded(store) < lines && performance.now() < end) {
    const next = store.put(key, key)
    await write
    assert.ok(store.busy, 'there is always a program on its way')
    write = next
  }
  await write
  scrubbing.close()
  assert.ok(upgraded(store) >= lines)
})

test.run()
