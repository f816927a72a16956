/** A damaged line tells what it was: any one byte of it changed, the key among them; more than one is not guessed at. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { findLostHead } from '../../storage/damaged-line.ts'
import { CRC_END_WORD, LINE_BYTES, NO_META } from '../../storage/layout.ts'
import { Store } from '../../storage/store.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const seed = announceSeed('damaged line', 77)
const KEYS = ['k', 'a key of some length', 'long '.repeat(200)]

async function sample(): Promise<{ region: TracingRegion; store: Store }> {
  const region = new TracingRegion({ regionBytes: 1 << 18 })
  const store = new Store(region, { random: seededRandom(seed), clock: () => 1_700_000_000_123_456_789n })
  for (const key of KEYS) await store.put(Buffer.from(key), Buffer.from('value '.repeat(500)))
  await store.drain()
  return { region, store }
}

/** Places of all bytes that the CRC of a head covers, in memory: the line's, and those of its key. */
function coveredPlaces(store: Store, head: number, key: string): number[] {
  const line = Array.from({ length: 4 * CRC_END_WORD }, (_, at) => head * LINE_BYTES + at)
  const start = store.pool.bufferStart(store.pool.buffer(head))
  return [...line, ...Array.from(key, (_, at) => start + at)]
}

test('each byte of a head and of its key changed in turn: its key and version are found', async () => {
  const { region, store } = await sample()
  const random = seededRandom(seed)
  let searched = 0
  for (const [i, key] of KEYS.entries()) {
    const head = store.find(Buffer.from(key), 0, key.length)
    for (const at of coveredPlaces(store, head, key)) {
      for (const mask of [1 << (at & 7), 0xff, 1 + ((random() >>> 0) % 255)]) {
        region.bytes[at]! ^= mask
        const was = findLostHead(store.pool, head)
        assert.ok(was, `byte ${at} of ${key.slice(0, 8)}`)
        assert.is(Buffer.from(was.key).toString(), key)
        assert.is(was.version, i + 1)
        region.bytes[at]! ^= mask
        searched++
      }
    }
  }
  console.log(`${searched} damaged bytes found`)
})

test('fragments, free lines and lines with two damaged bytes tell nothing', async () => {
  const { region, store } = await sample()
  const random = seededRandom(seed + 1)
  const head = store.find(Buffer.from(KEYS[1]!), 0, KEYS[1]!.length)
  const fragment = store.pool.next(head)
  assert.is.not(fragment, NO_META)
  for (const meta of [fragment, store.pool.totalMetas - 1]) {
    for (let at = 0; at < 4 * CRC_END_WORD; at++) {
      region.bytes[meta * LINE_BYTES + at]! ^= 1
      assert.is(findLostHead(store.pool, meta), undefined)
      region.bytes[meta * LINE_BYTES + at]! ^= 1
    }
  }
  const places = coveredPlaces(store, head, KEYS[1]!)
  for (let run = 0; run < 2000; run++) {
    const [a, b] = [random(), random()].map((value) => places[(value >>> 0) % places.length]!)
    if (a === b) continue
    for (const at of [a!, b!]) region.bytes[at]! ^= 0x41
    assert.is(findLostHead(store.pool, head), undefined, `bytes ${a} and ${b}`)
    for (const at of [a!, b!]) region.bytes[at]! ^= 0x41
  }
})

test.run()
