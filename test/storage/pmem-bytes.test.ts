/**
 * The native checksums and copies against slow, obvious references: published vectors, then random lengths at
 * random alignments from a printed seed.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32cPortable } from '@pm-kit/pmem-napi'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DESCRIPTOR_WORDS } from '../../drivers/device.ts'
import { sumBytes } from '../../storage/checksum.ts'
import * as layout from '../../storage/layout.ts'
import * as pmem from '../../storage/pmem.ts'
import { crc32cReference } from '../support/crc32c-reference.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const BUFFERS = 64
const EXTENT_BYTES = BUFFERS * (layout.BUFFER_BYTES + layout.LINE_BYTES)
const DATA_START = BUFFERS * layout.LINE_BYTES
const random = seededRandom(announceSeed('pmem bytes', 5))
const below = (limit: number): number => (random() >>> 0) % limit

const folder = mkdtempSync(join(tmpdir(), 'packrat-pmem-'))
const handle = pmem.createRegionFile(join(folder, 'a.pm'), layout.EXTENTS_START + EXTENT_BYTES)
pmem.mapRegion(handle)
const memory = new Uint8Array(pmem.wrapRegion(handle, layout.EXTENTS_START, EXTENT_BYTES))
pmem.setRegionGeometry(handle, { extentOffsets: [layout.EXTENTS_START], extentBuffers: [BUFFERS], linesPerBuffer: 1 })
test.after(() => {
  pmem.closeRegion(handle)
  rmSync(folder, { recursive: true })
})

function randomBytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random())
}

/** Views with few arguments wrong in every possible way. */
const BAD_VIEWS = [
  [BUFFERS, 0, 1],
  [-1, 0, 1],
  [1 << layout.EXTENT_BUFFERS_SHIFT, 0, 1],
  [2 ** 32, 0, 1],
  [0, 2049, 0],
  [0, 2048, 1],
  [0, 0, 2049],
  [0, -1, 1],
  [0, 1, -1],
  [0, 0.5, 1],
  [0, 2 ** 32 - 1, 2],
  [0, Number.NaN, 1],
  [0, 0, Number.POSITIVE_INFINITY],
  ['0' as unknown as number, 0, 1],
] as [number, number, number][]

test('CRC32C gives the published values (RFC 3720 B.4)', () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i)
  const vectors: [Uint8Array, number][] = [
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(0xff), 0x62a8ab43],
    [ascending, 0x46dd794e],
    [ascending.slice().reverse(), 0x113fdb5c],
    [new TextEncoder().encode('123456789'), 0xe3069283],
    [new Uint8Array(0), 0],
  ]
  for (const [bytes, expected] of vectors) {
    assert.is(pmem.crc32c(bytes), expected)
    assert.is(crc32cPortable(bytes), expected)
    assert.is(crc32cReference(bytes, 0, bytes.length), expected)
  }
})

test('CRC32C equals the bit-by-bit reference at every length to 600 and random ones to 20000', () => {
  const bytes = randomBytes(20_008)
  const lengths = Array.from({ length: 600 }, (_, i) => i)
  // Around the ends of one and of two rounds of three streams.
  for (const edge of [768, 3072, 6144]) for (let d = -9; d <= 9; d++) lengths.push(edge + d)
  for (let i = 0; i < 60; i++) lengths.push(below(20_000))
  for (const length of lengths) {
    const offset = below(8)
    const seed = length % 3 === 0 ? random() >>> 0 : 0
    const expected = crc32cReference(bytes, offset, length, seed)
    assert.is(pmem.crc32c(bytes, offset, length, seed), expected, `offset ${offset} length ${length} seed ${seed}`)
    assert.is(crc32cPortable(bytes, offset, length, seed), expected, `portable ${offset} ${length} ${seed}`)
  }
})

test('CRC32C of two parts continues from the first', () => {
  const bytes = randomBytes(3000)
  for (let cut = 0; cut <= 3000; cut += 125) {
    assert.is(pmem.crc32c(bytes, cut, 3000 - cut, pmem.crc32c(bytes, 0, cut)), pmem.crc32c(bytes))
  }
})

test('the Internet sum equals storage/checksum.ts at every length to 300 and random ones', () => {
  const bytes = randomBytes(70_000)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < 1200; i++) {
    const length = i < 300 ? i : below(i < 1100 ? 3000 : 65_535)
    const offset = below(64)
    assert.is(pmem.sumBytes(bytes, offset, length), sumBytes(view, offset, length), `offset ${offset} length ${length}`)
  }
})

test('the Internet sum keeps every carry, and 0 is the sum of zeros only', () => {
  const ones = new Uint8Array(65_535).fill(0xff)
  for (const length of [1, 2, 3, 15, 16, 63, 64, 65, 1460, 2048, 65_534, 65_535]) {
    const expected = length % 2 === 0 ? 0xffff : 0xff00
    assert.is(pmem.sumBytes(ones, 0, length), expected, `${length} ones`)
    assert.is(pmem.sumBytes(new Uint8Array(length), 0, length), 0, `${length} zeros`)
  }
  // RFC 1071 section 3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2 with its carries.
  assert.is(pmem.sumBytes(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7), 0, 8), 0xddf2)
})

test('a range outside its array is refused', () => {
  const bytes = new Uint8Array(16)
  for (const [offset, length] of [
    [0, 17],
    [17, 0],
    [-1, 1],
    [1, 16],
    [0.5, 1],
    [0, 2 ** 53],
  ]) {
    assert.throws(
      () => pmem.crc32c(bytes, offset, length),
      (error: NodeJS.ErrnoException) => error.code === 'EINVAL',
    )
    assert.throws(
      () => pmem.sumBytes(bytes, offset!, length!),
      (error: NodeJS.ErrnoException) => error.code === 'EINVAL',
    )
  }
  assert.throws(() => pmem.crc32c(bytes, 0, 16, -1))
  assert.throws(() => pmem.crc32c(new Uint16Array(4) as unknown as Uint8Array, 0, 4))
  assert.throws(() => pmem.crc32c('text' as unknown as Uint8Array, 0, 1))
  assert.is(pmem.sumBytes(new Uint8Array(0), 0, 0), 0)
})

test('views are summed where they lie', () => {
  const view = new DataView(memory.buffer)
  memory.set(randomBytes(BUFFERS * layout.BUFFER_BYTES), DATA_START)
  for (let i = 0; i < 500; i++) {
    const buffer = below(BUFFERS)
    const offset = below(2049)
    const length = below(2049 - offset)
    const start = DATA_START + buffer * layout.BUFFER_BYTES + offset
    assert.is(pmem.sumView(handle, buffer, offset, length), sumBytes(view, start, length))
    assert.is(pmem.crcView(handle, buffer, offset, length), crc32cReference(memory, start, length))
  }
})

test('a view that does not exist gives -1 and nothing else', () => {
  for (const [buffer, offset, length] of BAD_VIEWS) {
    assert.is(pmem.sumView(handle, buffer, offset, length), -1, `${buffer} ${offset} ${length}`)
    assert.is(pmem.crcView(handle, buffer, offset, length), -1)
    assert.is(pmem.copyView(handle, buffer, offset, 1, 0, length), -1)
    assert.is(pmem.copyView(handle, 1, 0, buffer, offset, length), -1)
  }
  assert.is(pmem.sumView(handle, 0, 2048, 0), 0)
})

test('a copy moves exactly its bytes, also onto itself', () => {
  const model = memory.slice()
  for (let i = 0; i < 300; i++) {
    const length = below(2049)
    const from = below(i % 2 ? 2 : BUFFERS)
    const to = below(i % 2 ? 2 : BUFFERS)
    const fromOffset = below(2049 - length)
    const toOffset = below(2049 - length)
    const source = DATA_START + from * layout.BUFFER_BYTES + fromOffset
    model.copyWithin(DATA_START + to * layout.BUFFER_BYTES + toOffset, source, source + length)
    assert.is(pmem.copyView(handle, from, fromOffset, to, toOffset, length), 0)
    assert.is(Buffer.compare(memory, model), 0)
  }
})

test('the sums of a receive burst skip the Ethernet header, once a frame', () => {
  const count = 200
  const more = 1 << 16
  const descriptors = new Int32Array((count + 1) * DESCRIPTOR_WORDS).fill(-7)
  const view = new DataView(memory.buffer)
  for (let i = 0; i < count; i++) {
    const offset = below(200)
    const length = i < 20 ? i : below(1600)
    descriptors.set([below(BUFFERS), offset, length, i < 30 || below(3) === 0 ? 0 : more], i * DESCRIPTOR_WORDS)
  }
  const before = descriptors.slice()
  assert.is(pmem.sumDescriptors(handle, descriptors, count), 0)
  for (let i = 0; i < count; i++) {
    const [buffer, offset, length, flag] = before.subarray(i * DESCRIPTOR_WORDS, (i + 1) * DESCRIPTOR_WORDS)
    const skipped = i === 0 || before[i * DESCRIPTOR_WORDS - 1] === 0 ? 14 : 0
    const start = DATA_START + buffer! * layout.BUFFER_BYTES + offset! + skipped
    const sum = sumBytes(view, start, Math.max(0, length! - skipped)) | flag!
    assert.is(descriptors[i * DESCRIPTOR_WORDS + 3], sum, `descriptor ${i}`)
  }
  assert.is(descriptors[count * DESCRIPTOR_WORDS + 3], -7)
})

test('a burst with one bad descriptor is refused whole', () => {
  for (const [buffer, offset, length] of BAD_VIEWS.filter((numbers) => numbers.every((n) => n === (Number(n) | 0)))) {
    const descriptors = Int32Array.of(0, 0, 100, -7, buffer, offset, length, -7)
    assert.is(pmem.sumDescriptors(handle, descriptors, 2), -1, `${buffer} ${offset} ${length}`)
    assert.is(descriptors[3], -7)
    assert.is(descriptors[7], -7)
  }
  assert.is(pmem.sumDescriptors(handle, new Int32Array(7), 2), -1)
  assert.is(pmem.sumDescriptors(handle, new Int32Array(8), -1), -1)
  assert.is(pmem.sumDescriptors(handle, new Uint32Array(8) as unknown as Int32Array, 1), -1)
})

test('advice about huge pages changes no byte, and needs a whole page', () => {
  const bytes = new Uint8Array(8 << 20).fill(7)
  assert.type(pmem.adviseHugePages(bytes.buffer), 'boolean')
  assert.ok(bytes.every((byte) => byte === 7))
  assert.not(pmem.adviseHugePages(new ArrayBuffer(100)))
  assert.throws(() => pmem.adviseHugePages(bytes as unknown as ArrayBuffer), /ArrayBuffer/)
})

test.run()
