/**
 * Every byte of a small region flipped in turn: nothing crashes or hangs, no wrong value is served, and verification
 * finds each change of a byte that means something.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { IntegrityMode } from '../../storage/commit.ts'
import { durableEnd, durableStart } from '../../storage/entry.ts'
import { encodeHeader, extentBytes, type Header, headerFaults, planExtents, readHeader } from '../../storage/header.ts'
import { ANCHOR_META, HEADER_BYTES, LINE_BYTES, NO_META, W_NEXT, W_PAYLOAD_CRC, W_STATE } from '../../storage/layout.ts'
import { Store } from '../../storage/store.ts'
import { verifyRegion } from '../../storage/verification.ts'
import { crc32cReference } from '../support/crc32c-reference.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SEED = announceSeed('verification', 20240607)
/** 32 buffers with one line each: the smallest region. */
const SMALL = { regionBytes: 2 * HEADER_BYTES + extentBytes(32, 1), linesPerBuffer: 1 }

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))

interface Sample {
  readonly image: Uint8Array
  readonly values: Map<string, Buffer>
  /** 1 for each byte that a check covers. */
  readonly covered: Uint8Array
}

async function sample(integrity: IntegrityMode): Promise<Sample> {
  const random = seededRandom(SEED)
  const region = new TracingRegion(SMALL)
  const store = new Store(region, { random, integrity })
  const values = new Map<string, Buffer>()
  for (const [key, size] of [
    ['a', 0],
    ['apple', 1],
    ['apples', 300],
    ['b', 700],
    ['long key with many letters', 2600],
  ] as const) {
    const value = Buffer.from(Uint8Array.from({ length: size }, () => random()))
    await store.put(text(key), value)
    values.set(key, value)
  }
  await store.put(text('gone'), text('removed'))
  await store.delete(text('gone'))
  await store.drain()
  const covered = new Uint8Array(region.bytes.length)
  const cover = (meta: number): void => {
    covered.fill(1, meta * LINE_BYTES, (meta + 1) * LINE_BYTES)
  }
  cover(ANCHOR_META)
  covered.fill(0, W_PAYLOAD_CRC * 4, LINE_BYTES)
  for (const { meta: head } of store.entries()) {
    for (let meta = head; meta !== NO_META; meta = store.pool.next(meta)) {
      cover(meta)
      // A fragment has no successor in the list.
      if (meta !== head) covered.fill(0, meta * LINE_BYTES + W_NEXT * 4, meta * LINE_BYTES + W_NEXT * 4 + 4)
      const start = store.pool.bufferStart(store.pool.buffer(meta))
      covered.fill(1, start + durableStart(store.pool, meta), start + durableEnd(store.pool, meta))
    }
  }
  // The commit word of a free line: anything but 0 there is damage.
  for (let meta = 0; meta < store.pool.metaIndexEnd; meta++) {
    if (store.pool.get(meta, W_STATE) === 0) covered.fill(1, meta * LINE_BYTES, meta * LINE_BYTES + 8)
  }
  return { image: region.durableImage(), values, covered }
}

/** Opens a damaged image; throws if it serves a wrong value or loses a key without saying so. */
function judge(image: Uint8Array, values: Sample['values']): void {
  const store = new Store(new TracingRegion({ ...SMALL, image }), { random: seededRandom(1) })
  for (const [key, value] of values) {
    let found: Uint8Array | undefined
    try {
      found = store.get(text(key))
    } catch (error) {
      assert.is((error as { code: string }).code, 'CORRUPT')
      continue
    }
    if (found === undefined) assert.ok(store.report.corrupt.length > 0, `${key} is lost silently`)
    else assert.ok(value.equals(found), `${key} has a wrong value`)
  }
}

for (const integrity of ['crc32c', 'tcp'] as const) {
  test(`each byte of a region flipped: no wrong value, and every damage is found (${integrity})`, async () => {
    const { image, values, covered } = await sample(integrity)
    const random = seededRandom(SEED)
    let missed = 0
    let flips = 0
    for (let at = 0; at < image.length; at++) {
      // Free buffers: one byte in 64, they are all alike.
      if (covered[at] === 0 && at >= SMALL_LINES_END && at % 64 !== 0) continue
      const mask = 1 + ((random() >>> 0) % 255)
      image[at]! ^= mask
      judge(image, values)
      const { corrupt } = verifyRegion(new TracingRegion({ ...SMALL, image }), true)
      flips++
      if (covered[at] === 1 && corrupt.length === 0) missed++
      if (covered[at] === 0) assert.is(corrupt.length, 0, `byte ${at} means nothing: ${corrupt[0]?.reason}`)
      image[at]! ^= mask
    }
    console.log(`${integrity}: ${flips} flips, ${missed} missed`)
    // One byte changes the sum by less than 65535 and not by 0: even 16 bits miss none.
    assert.is(missed, 0)
  })
}

const SMALL_LINES_END = 32 * LINE_BYTES

test('each byte of the header flipped: the other copy serves, and the damage is named', () => {
  const crc = (bytes: Uint8Array, offset: number, length: number): number => crc32cReference(bytes, offset, length)
  const regionBytes = SMALL.regionBytes
  const header: Header = {
    generation: 7,
    uuid: new Uint8Array(16).fill(5),
    regionBytes,
    linesPerBuffer: 1,
    cleanShutdown: true,
    createdNs: 123n,
    versionFloor: 99,
    growingTo: 0,
    extents: planExtents(regionBytes, 1),
  }
  const copies = new Uint8Array(2 * HEADER_BYTES)
  copies.set(encodeHeader(header, crc))
  copies.set(encodeHeader({ ...header, generation: 6 }, crc), HEADER_BYTES)
  assert.equal(headerFaults(copies, regionBytes, crc), [])
  for (let at = 0; at < copies.length; at++) {
    // All of the fields, and one byte in 64 of what is reserved.
    if (at % HEADER_BYTES > 320 && at % 64 !== 0) continue
    copies[at]! ^= 0x20
    const found = readHeader('test', copies, regionBytes, crc)
    assert.is(found.generation, at < HEADER_BYTES ? 6 : 7)
    assert.is(found.versionFloor, 99)
    assert.is(headerFaults(copies, regionBytes, crc).length, 1)
    copies[at]! ^= 0x20
  }
})

test.run()
