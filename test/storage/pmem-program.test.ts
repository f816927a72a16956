/**
 * Persist programs as the native side executes them: what a bad one changes (nothing), what a seal covers (every
 * byte), what a failed sync stops, and how the native thread shares a region.
 */
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { RegionError } from '../../storage/errors.ts'
import { hashKey } from '../../storage/key.ts'
import * as layout from '../../storage/layout.ts'
import * as operations from '../../storage/persist-program.ts'
import {
  OP_CLEAR_LINE,
  OP_CRC_VIEW,
  OP_FENCE,
  OP_FLUSH_LINE,
  OP_FLUSH_VIEW,
  OP_SEAL_LINE,
} from '../../storage/persist-program.ts'
import * as persistence from '../../storage/persistence.ts'
import {
  DIGEST_KEY,
  DIGEST_LINK,
  DIGEST_WORDS,
  LINE_INVALID,
  LINE_UNPUBLISHED,
  LINE_VALID,
  LINE_WHOLE,
} from '../../storage/persistence.ts'
import * as pmem from '../../storage/pmem.ts'
import { crc32cReference } from '../support/crc32c-reference.ts'
import { sortableKeyWords } from '../support/key-words.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const LINES_PER_BUFFER = 2
const BUFFERS = [64, 32]
const EXTENT_BYTES = BUFFERS.map((buffers) => buffers * (layout.BUFFER_BYTES + LINES_PER_BUFFER * layout.LINE_BYTES))
const OFFSETS = [layout.EXTENTS_START, layout.EXTENTS_START + EXTENT_BYTES[0]!]
const BYTES = OFFSETS[1]! + EXTENT_BYTES[1]!
/** First buffer and first line of extent 1. */
const BUFFER_1 = 1 << layout.EXTENT_BUFFERS_SHIFT
const META_1 = 1 << (layout.EXTENT_BUFFERS_SHIFT + 1)
const HEAD = layout.packState(7, layout.KIND_HEAD, layout.FLAG_HARDWARE_TIME)
const FRAGMENT = layout.packState(7, layout.KIND_FRAGMENT, 0)
const EIO = -5
const CALLBACK_MS_MAX = 10_000

let folder = ''
let handle = 0
let bytes: Uint8Array[] = []
let lines: Int32Array[] = []

test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'packrat-pmem-'))
  handle = pmem.createRegionFile(join(folder, 'a.pm'), BYTES)
  pmem.publishRegionFile(handle)
  pmem.mapRegion(handle)
  const memory = OFFSETS.map((offset, i) => pmem.wrapRegion(handle, offset, EXTENT_BYTES[i]!))
  bytes = memory.map((buffer) => new Uint8Array(buffer))
  lines = memory.map((buffer) => new Int32Array(buffer))
  pmem.setRegionGeometry(handle, { extentOffsets: OFFSETS, extentBuffers: BUFFERS, linesPerBuffer: LINES_PER_BUFFER })
})
test.after.each(() => {
  pmem.closeRegion(handle)
  rmSync(folder, { recursive: true })
})

function run(...ops: number[][]): number {
  const program = Int32Array.from(ops.flatMap((op) => [0, 1, 2, 3].map((i) => op[i] ?? 0)))
  return pmem.execute(handle, program, program.length)
}

function runAsync(...ops: number[][]): Promise<(Error & { code: string; errno: number }) | null> {
  const program = Int32Array.from(ops.flatMap((op) => [0, 1, 2, 3].map((i) => op[i] ?? 0)))
  return new Promise((resolve, reject) => {
    // Also keeps the event loop alive: without it a callback that never comes would end the suite in silence.
    const guard = setTimeout(() => reject(new Error('the callback did not come')), CALLBACK_MS_MAX)
    const done = (error: (Error & { code: string; errno: number }) | null) => {
      clearTimeout(guard)
      resolve(error)
    }
    assert.is(pmem.executeAsync(handle, program, program.length, done), 0)
    program.fill(-1) // the native side has its own copy
  })
}

function statusOf(meta: number): number {
  const out = new Uint8Array(1)
  pmem.verifyLines(handle, meta, 1, out)
  return out[0]!
}

/** Fills a line with seeded words, and names a key of `keyLength` bytes and a data view in `buffer`. */
function fillLine(meta: number, buffer: number, keyLength: number, seed = 1): Int32Array {
  const random = seededRandom(seed)
  const words = lines[meta >>> 19]!.subarray((meta & 0x7ffff) << 4, ((meta & 0x7ffff) + 1) << 4)
  for (let word = 2; word < 16; word++) words[word] = random()
  words[layout.W_BUFFER] = buffer
  words[layout.W_KEY] = layout.packView(100, keyLength)
  words[layout.W_DATA] = layout.packView(300, 1000)
  const extent = buffer >>> layout.EXTENT_BUFFERS_SHIFT
  const start = BUFFERS[extent]! * LINES_PER_BUFFER * layout.LINE_BYTES + ((buffer & 0x3ffff) << layout.BUFFER_SHIFT)
  const content = bytes[extent]!.subarray(start, start + layout.BUFFER_BYTES)
  for (let i = 0; i < content.length; i++) content[i] = random()
  return words
}

/** What the format says the CRC of a line is, put together by hand. */
function referenceCrc(meta: number, words: Int32Array, state: number, key: Uint8Array): number {
  const covered = new Uint8Array(52 + key.length)
  const view = new DataView(covered.buffer)
  view.setUint32(0, meta, true)
  view.setUint32(4, state, true)
  for (let word = 2; word <= 12; word++) view.setInt32(word * 4, words[word]!, true)
  covered.set(key, 52)
  return crc32cReference(covered, 0, covered.length)
}

test('the native table equals storage/layout.ts, persist-program.ts, persistence.ts and pmem.ts', () => {
  const known: Record<string, unknown> = {
    ...layout,
    ...operations,
    ...pmem,
    ...persistence,
    LINE_FREE: LINE_UNPUBLISHED,
    OPERATION_WORDS: operations.OP_WORDS,
  }
  const native = pmem.layout()
  for (const [name, value] of Object.entries(native)) if (name !== 'OPERATIONS_MAX') assert.is(known[name], value, name)
  for (const name of Object.keys(layout)) if (/^W_/.test(name)) assert.ok(name in native, `${name} is not compared`)
  for (const name of Object.keys(operations))
    if (/^OP_/.test(name) && name !== 'OP_WORDS') assert.ok(name in native, `${name} is not compared`)
})

test('a seal stores the CRC that the format defines, for every kind and key length', () => {
  for (const [meta, buffer] of [
    [1, 0],
    [127, 63],
    [META_1, BUFFER_1],
    [META_1 + 63, BUFFER_1 + 31],
    [5, BUFFER_1 + 3],
  ] as const) {
    for (const keyLength of [0, 1, 7, 300, 1024, 1948]) {
      const words = fillLine(meta, buffer, keyLength, meta + keyLength)
      const extent = buffer >>> layout.EXTENT_BUFFERS_SHIFT
      const start = BUFFERS[extent]! * LINES_PER_BUFFER * 64 + ((buffer & 0x3ffff) << 11) + 100
      assert.is(run([OP_SEAL_LINE, meta, HEAD]), 0)
      assert.is(words[0]! >>> 0, referenceCrc(meta, words, HEAD, bytes[extent]!.subarray(start, start + keyLength)))
      assert.is(words[1], HEAD)
      assert.is(statusOf(meta), LINE_VALID)
      assert.is(run([OP_SEAL_LINE, meta, FRAGMENT]), 0)
      assert.is(words[0]! >>> 0, referenceCrc(meta, words, FRAGMENT, new Uint8Array(0)))
      assert.is(run([OP_CLEAR_LINE, meta]), 0)
      assert.is(words[0], 0)
      assert.is(words[1], 0)
      assert.is(statusOf(meta), LINE_UNPUBLISHED)
    }
  }
})

test('any changed bit of a sealed line or of its key is detected', () => {
  const words = fillLine(3, 9, 40)
  assert.is(run([OP_SEAL_LINE, 3, HEAD]), 0)
  const line = new Uint8Array(words.buffer, words.byteOffset, layout.LINE_BYTES)
  for (let at = 0; at < layout.LINE_BYTES; at++) {
    for (let bit = 0; bit < 8; bit++) {
      line[at]! ^= 1 << bit
      // The level-0 link and the payload CRC change after the seal and are checked by other means.
      assert.is(statusOf(3), at < layout.W_NEXT * 4 ? LINE_INVALID : LINE_VALID, `byte ${at} bit ${bit}`)
      line[at]! ^= 1 << bit
    }
  }
  const key = BUFFERS[0]! * LINES_PER_BUFFER * 64 + 9 * layout.BUFFER_BYTES + 100
  for (let at = -1; at <= 40; at++) {
    bytes[0]![key + at]! ^= 1
    assert.is(statusOf(3), at >= 0 && at < 40 ? LINE_INVALID : LINE_VALID, `key byte ${at}`)
    bytes[0]![key + at]! ^= 1
  }
  assert.is(statusOf(3), LINE_VALID)
})

test('a line copied to another place is not valid there', () => {
  fillLine(3, 9, 40)
  assert.is(run([OP_SEAL_LINE, 3, HEAD]), 0)
  lines[0]!.copyWithin(4 << 4, 3 << 4, 4 << 4)
  assert.is(statusOf(3), LINE_VALID)
  assert.is(statusOf(4), LINE_INVALID)
})

test('a commit word of kind free is corruption even when its CRC fits', () => {
  const words = fillLine(3, 9, 0)
  const state = layout.packState(5, layout.KIND_FREE, 0)
  words[0] = referenceCrc(3, words, state, new Uint8Array(0))
  words[1] = state
  assert.is(statusOf(3), LINE_INVALID)
})

test('lines with random content verify without harm', () => {
  const random = seededRandom(announceSeed('pmem verify', 11))
  const all = lines[0]!.subarray(0, 128 * 16)
  const out = new Uint8Array(128)
  for (let round = 0; round < 200; round++) {
    for (let i = 0; i < all.length; i++) all[i] = random()
    pmem.verifyLines(handle, 0, 128, out)
    assert.ok(out.every((status) => status === LINE_INVALID))
  }
})

test('verification stays inside one extent and inside its output', () => {
  const out = new Uint8Array(256)
  pmem.verifyLines(handle, 0, 128, out)
  pmem.verifyLines(handle, META_1, 64, out)
  pmem.verifyLines(handle, 0, 0, out)
  for (const [first, count] of [
    [0, 129],
    [128, 1],
    [META_1, 65],
    [META_1 + 64, 1],
    [127, 2],
    [2 ** 32 - 1, 2],
    [-1, 1],
    [0, 257],
  ]) {
    assert.throws(() => pmem.verifyLines(handle, first!, count!, out), /lines|whole/, `${first} ${count}`)
  }
  // Both ends exist, but in different extents: the indices between them lead nowhere.
  assert.throws(() => pmem.verifyLines(handle, 0, META_1 + 64, new Uint8Array(META_1 + 64)), /one extent/)
  assert.throws(() => pmem.verifyLines(handle, 0, 1, new Int8Array(8) as unknown as Uint8Array))
})

test('a scan says of each line what it is by itself, and counts', () => {
  const random = seededRandom(announceSeed('pmem scan', 13))
  const below = (bound: number): number => (random() >>> 0) % bound
  const states = new Uint8Array(META_1 + 64)
  const digests = new Int32Array((META_1 + 64) * DIGEST_WORDS)
  const hashes = new Int32Array(META_1 + 64)
  const seen = new Map<number, number>()
  for (let round = 0; round < 50; round++) {
    const tally = Int32Array.of(10, 20, 5, 0)
    const expected: number[] = []
    let committed = 10
    let others = 20
    let newest = 5n
    for (let meta = 0; meta < 128; meta++) {
      const kind = [layout.KIND_FREE, layout.KIND_HEAD, layout.KIND_HEAD, layout.KIND_HEAD, layout.KIND_FRAGMENT][
        below(5)
      ]!
      const words = fillLine(meta, meta >> 1, below(20))
      words.fill(0, 0, 2)
      // Each of these alone keeps a head from being an entry by itself.
      const flaw = kind === layout.KIND_HEAD ? below(6) : -1
      const length = 1 + below(1500)
      words[layout.W_DATA] = layout.packView(flaw === 0 ? 2048 - length + 1 : 400, length)
      words[layout.W_NEXT_FRAGMENT] = flaw === 1 ? 7 : layout.NO_META
      words[layout.W_VALUE] = flaw === 2 ? length + 1 : length
      words[layout.W_NEXT] = random()
      words[layout.W_VERSION_LOW] = random()
      words[layout.W_VERSION_HIGH] = below(2) === 0 ? 0 : below(1 << 20)
      const flags = flaw === 3 ? layout.FLAG_MEMBER : layout.FLAG_HARDWARE_TIME
      if (kind !== layout.KIND_FREE) assert.is(run([OP_SEAL_LINE, meta, layout.packState(1, kind, flags)]), 0)
      if (flaw === 4) words[layout.W_VALUE]! ^= 1
      const status =
        kind === layout.KIND_FREE ? LINE_UNPUBLISHED : flaw === 4 ? LINE_INVALID : flaw === 5 ? LINE_WHOLE : LINE_VALID
      expected.push(status)
      seen.set(flaw, (seen.get(flaw) ?? 0) + 1)
      if (status !== LINE_UNPUBLISHED) committed++
      if (status !== LINE_UNPUBLISHED && status !== LINE_WHOLE) others++
      const version = (BigInt(words[layout.W_VERSION_HIGH]! >>> 0) << 32n) | BigInt(words[layout.W_VERSION_LOW]! >>> 0)
      if (kind === layout.KIND_HEAD && status !== LINE_INVALID && version > newest) newest = version
    }
    pmem.scanLines(handle, 0, 100, states, digests, hashes, tally)
    pmem.scanLines(handle, 100, 28, states, digests, hashes, tally)
    assert.equal([...states.subarray(0, 128)], expected, `round ${round}`)
    assert.equal(
      [...tally],
      [committed, others, Number(newest & 0xffffffffn) | 0, Number(newest >> 32n)],
      `round ${round}`,
    )
    for (let meta = 0; meta < 128; meta++) {
      const words = lines[0]!.subarray(meta << 4)
      const at = meta * DIGEST_WORDS
      assert.is(digests[at + DIGEST_LINK], words[layout.W_NEXT])
      const view = words[layout.W_KEY]!
      const start = BUFFERS[0]! * LINES_PER_BUFFER * 64 + ((meta >> 1) << layout.BUFFER_SHIFT) + layout.viewOffset(view)
      if (expected[meta] === LINE_UNPUBLISHED) continue
      const key = bytes[0]!.slice(start, start + layout.viewLength(view))
      assert.is(hashes[meta], hashKey(key, 0, key.length), `round ${round}: line ${meta}`)
      assert.equal(digests.subarray(at + DIGEST_KEY, at + DIGEST_WORDS), sortableKeyWords([key]))
    }
  }
  for (let flaw = 0; flaw < 6; flaw++) assert.ok(seen.get(flaw)! > 50, `flaw ${flaw}`)
  const tally = new Int32Array(4)
  pmem.scanLines(handle, META_1, 64, states, digests, hashes, tally)
  pmem.scanLines(handle, 5, 0, states, digests, hashes, tally)
  const scan = (first: number, count: number, s = states, d = digests, h = hashes, t = tally): void =>
    pmem.scanLines(handle, first, count, s, d, h, t)
  assert.throws(() => scan(0, 129), /exist/)
  assert.throws(() => scan(127, 2), /exist/)
  assert.throws(() => scan(META_1, 64, new Uint8Array(META_1 + 63)), /end before/)
  assert.throws(() => scan(META_1, 64, states, digests.subarray(1)), /end before/)
  assert.throws(() => scan(META_1, 64, states, digests, new Int32Array(META_1 + 63)), /end before/)
  assert.throws(() => scan(0, 1, states, digests, hashes, new Int32Array(3)), /Int32Arrays/)
  assert.throws(() => pmem.scanLines(handle + 1000, 0, 1, states, digests, hashes, tally), /handle/)
})

test('links are followed from several lines in turn, up to whatever is no head', () => {
  const WHOLE = LINE_WHOLE
  const WALKED = 9
  // 1 ► 2 ► 3 ► 7 (no head), 4 ► 5 ► 6 ► out of the region
  const states = Uint8Array.of(0, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE, LINE_VALID)
  const digests = new Int32Array(8 * DIGEST_WORDS)
  for (const [meta, link] of [0, 2, 3, 7, 5, 6, 800, 0].entries()) digests[meta * DIGEST_WORDS + DIGEST_LINK] = link
  const nexts = Int32Array.of(1, 4, 99)
  const places = Int32Array.of(1, 9, 0)
  const runs = new Int32Array(16)
  const follow = (): number => pmem.followLinks(states, digests, WALKED, 2, nexts, places, runs, 8)
  assert.is(follow(), 0, 'at line 7')
  assert.equal([...nexts, ...places], [7, 800, 99, 4, 12, 0])
  assert.equal([...runs], [0, 1, 2, 3, 0, 0, 0, 0, 0, 4, 5, 6, 0, 0, 0, 0])
  assert.equal([...states], [0, ...Array(6).fill(WALKED), LINE_VALID])
  nexts[0] = 0
  assert.is(follow(), 0, 'at the anchor')
  states.fill(WHOLE)
  nexts.set([1, 4])
  places.set([6, 8])
  assert.is(follow(), 0, 'a run is full')
  assert.equal([...nexts, ...places], [3, 5, 99, 8, 9, 0])
  places[0] = 16
  assert.is(follow(), -1, 'no room')
  nexts.set([800, -5])
  places[0] = 0
  assert.is(follow(), 0, 'out of the arrays')
  nexts[0] = -5
  assert.is(follow(), 0)
  for (const bad of [
    () => pmem.followLinks(states, digests, WALKED, 4, nexts, places, runs, 8),
    () => pmem.followLinks(states, digests, WALKED, 0, nexts, places, runs, 8),
    () => pmem.followLinks(states, digests, WALKED, 2, nexts, places, runs, 0),
    () => pmem.followLinks(states, digests.subarray(1), WALKED, 2, nexts, places, runs, 8),
    () => pmem.followLinks(states, digests, WALKED, 2, nexts, places.subarray(2), runs, 8),
  ])
    assert.is(bad(), -1)
})

test('a run is gathered up to a head that is no plain successor', () => {
  const random = seededRandom(announceSeed('pmem gather', 12))
  const below = (bound: number): number => (random() >>> 0) % bound
  const COUNT = 60
  for (let round = 0; round < 300; round++) {
    // Keys of few letters share their first words; some are equal in all four.
    const keys = Array.from({ length: COUNT }, () =>
      Buffer.from(Array.from({ length: below(20) }, () => 97 + below(2))),
    )
    if (round % 3 > 0) keys.sort(Buffer.compare)
    const words = sortableKeyWords(keys)
    const metas = Int32Array.from({ length: COUNT }, (_, i) => (i * 7) % COUNT)
    const digests = new Int32Array(COUNT * DIGEST_WORDS)
    for (const [i, meta] of metas.entries()) {
      digests.set(words.subarray(4 * i, 4 * i + 4), meta * DIGEST_WORDS + DIGEST_KEY)
      digests[meta * DIGEST_WORDS + DIGEST_LINK] = below(40) === 0 ? 3 : metas[i + 1]!
    }
    const isPlain = (i: number): boolean => {
      const [a, b] = [keys[i - 1]!, keys[i]!].map((key) => Buffer.concat([key, Buffer.alloc(16)]).subarray(0, 16))
      return Buffer.compare(a!, b!) < 0 && digests[metas[i - 1]! * DIGEST_WORDS + DIGEST_LINK] === metas[i]
    }
    const gathered = new Int32Array(COUNT * 4)
    for (let from = 1; from < COUNT; ) {
      let expected = from
      while (expected < COUNT && isPlain(expected)) expected++
      assert.is(pmem.gatherRun(metas, from, digests, gathered), expected, `round ${round}, from ${from}`)
      from = expected + 1
    }
    assert.equal(gathered.subarray(4), words.subarray(4), `round ${round}`)
  }
  const one = new Int32Array(DIGEST_WORDS)
  assert.is(pmem.gatherRun(Int32Array.of(0), 1, one, new Int32Array(4)), 1)
  assert.is(pmem.gatherRun(Int32Array.of(0, 1), 1, one, new Int32Array(8)), -1, 'no such digest')
  assert.is(pmem.gatherRun(Int32Array.of(-1, 0), 1, one, new Int32Array(8)), -1)
  assert.is(pmem.gatherRun(Int32Array.of(0, 0), 1, one, new Int32Array(7)), -1, 'no room')
  assert.is(pmem.gatherRun(Int32Array.of(0, 0), 0, one, new Int32Array(8)), -1, 'nothing before it')
})

test('CRC_VIEW stores the CRC of the data view and its complement', () => {
  const words = fillLine(2, 4, 8)
  assert.is(run([OP_CRC_VIEW, 2]), 0)
  const start = BUFFERS[0]! * LINES_PER_BUFFER * 64 + 4 * layout.BUFFER_BYTES + 300
  const expected = crc32cReference(bytes[0]!, start, 1000)
  assert.is(words[layout.W_PAYLOAD_CRC]! >>> 0, expected)
  assert.is(words[layout.W_PAYLOAD_CRC_COMPLEMENT]! >>> 0, ~expected >>> 0)
})

test('an invalid program changes nothing, wherever the bad operation stands', () => {
  fillLine(1, 1, 10)
  fillLine(2, 2, 10)
  const badKey = fillLine(6, 1, 10)
  badKey[layout.W_KEY] = layout.packView(2000, 49)
  const badBuffer = fillLine(7, 1, 10)
  badBuffer[layout.W_BUFFER] = layout.NO_BUFFER
  const badData = fillLine(8, 1, 10)
  badData[layout.W_DATA] = layout.packView(65535, 65535)
  assert.is(run([OP_SEAL_LINE, 2, FRAGMENT]), 0)
  const bad: number[][] = [
    [0],
    [7],
    [-1],
    [OP_FLUSH_VIEW, 64, 0, 1],
    [OP_FLUSH_VIEW, -1, 0, 1],
    [OP_FLUSH_VIEW, BUFFER_1 + 32, 0, 1],
    [OP_FLUSH_VIEW, 2 * BUFFER_1, 0, 1],
    [OP_FLUSH_VIEW, 0, 2049, 0],
    [OP_FLUSH_VIEW, 0, 1, 2048],
    [OP_FLUSH_VIEW, 0, -1, 1],
    [OP_FLUSH_VIEW, 0, 1, -1],
    [OP_FLUSH_VIEW, 0, 2 ** 31 - 1, 2 ** 31 - 1],
    [OP_FLUSH_LINE, 128],
    [OP_FLUSH_LINE, -1],
    [OP_FLUSH_LINE, META_1 + 64],
    [OP_FLUSH_LINE, 2 * META_1],
    [OP_CLEAR_LINE, 128],
    [OP_CLEAR_LINE, -1],
    [OP_SEAL_LINE, 128, HEAD],
    [OP_SEAL_LINE, 1, layout.packState(9, layout.KIND_FREE, 1)],
    [OP_SEAL_LINE, 1, 0],
    [OP_SEAL_LINE, 6, HEAD],
    [OP_SEAL_LINE, 7, HEAD],
    [OP_CRC_VIEW, 128],
    [OP_CRC_VIEW, 7],
    [OP_CRC_VIEW, 8],
  ]
  const before = bytes.map((extent) => extent.slice())
  const counts = pmem.counters(handle).slice()
  const good = [[OP_CLEAR_LINE, 2], [OP_SEAL_LINE, 1, HEAD], [OP_CRC_VIEW, 1], [OP_FENCE]]
  for (const op of bad) {
    assert.is(run(op, ...good), pmem.EXECUTE_INVALID, `first: ${op}`)
    assert.is(run(...good, op), pmem.EXECUTE_INVALID, `last: ${op}`)
  }
  assert.is(run(...good), 0)
  assert.is(run([OP_CLEAR_LINE, 1], [OP_SEAL_LINE, 2, FRAGMENT]), 0)
  const restored = lines[0]!.subarray(16, 32)
  assert.is(restored[1], 0)
  const original = new Int32Array(before[0]!.buffer)
  for (const word of [0, 1, layout.W_PAYLOAD_CRC, layout.W_PAYLOAD_CRC_COMPLEMENT])
    restored[word] = original[16 + word]!
  assert.equal(bytes, before)
  assert.is(pmem.counters(handle)[pmem.COUNTER_PROGRAMS], counts[pmem.COUNTER_PROGRAMS]! + 2)
})

test('a program must be whole operations inside its array', () => {
  const program = Int32Array.of(OP_FENCE, 0, 0, 0, OP_FENCE, 0, 0, 0)
  assert.is(pmem.execute(handle, program, 0), 0)
  assert.is(pmem.execute(handle, program, 4), 0)
  for (const words of [-4, 1, 6, 12, 2 ** 32, 3.5, Number.NaN])
    assert.is(pmem.execute(handle, program, words), pmem.EXECUTE_INVALID)
  assert.is(pmem.execute(handle, new Float64Array(4) as unknown as Int32Array, 4), pmem.EXECUTE_INVALID)
  assert.is(pmem.execute(handle, [3, 0, 0, 0] as unknown as Int32Array, 4), pmem.EXECUTE_INVALID)
})

test('a region without geometry has no lines and no buffers', () => {
  const other = pmem.createRegionFile(join(folder, 'b.pm'), BYTES)
  assert.is(pmem.execute(other, Int32Array.of(OP_FLUSH_LINE, 0, 0, 0), 4), pmem.EXECUTE_INVALID)
  assert.is(pmem.sumView(other, 0, 0, 1), -1)
  assert.throws(() => pmem.verifyLines(other, 0, 1, new Uint8Array(1)))
  assert.throws(
    () => pmem.setRegionGeometry(other, { extentOffsets: [0], extentBuffers: [32], linesPerBuffer: 1 }),
    /not mapped/,
  )
  pmem.abandonRegionFile(other)
})

test('a geometry that does not fit the region is refused and the old one stays', () => {
  const bad = [
    [[], [], 2],
    [[8192], [], 2],
    [[8192], [31], 2],
    [[8192], [0], 2],
    [[8192], [2 ** 18 + 32], 2],
    [[8192], [96 + 32], 2],
    [[8193], [32], 2],
    [[8192 + 64], [32], 2],
    [[8192, 8192], [32, 32], 2],
    [[OFFSETS[1], 8192], [32, 32], 2],
    [[8192], [32], 3],
    [[8192], [32], 0],
    [[8192], [32], 16],
    [[-2048], [32], 2],
    [[2 ** 52], [32], 2],
    [[Number.NaN], [32], 2],
    [new Array(65).fill(0), new Array(65).fill(32), 2],
  ] as [number[], number[], number][]
  fillLine(META_1 + 63, 0, 5)
  for (const [extentOffsets, extentBuffers, linesPerBuffer] of bad) {
    try {
      pmem.setRegionGeometry(handle, { extentOffsets, extentBuffers, linesPerBuffer })
      assert.unreachable(`accepted ${extentOffsets} ${extentBuffers} ${linesPerBuffer}`)
    } catch (error) {
      assert.is((error as RegionError).code, 'EINVAL', (error as Error).message)
    }
    assert.is(run([OP_SEAL_LINE, META_1 + 63, HEAD]), 0)
  }
})

test('counters tell programs, fences, lines, seals and clears', () => {
  fillLine(1, 1, 10)
  const ops = [
    [OP_FLUSH_VIEW, 1, 63, 2],
    [OP_FLUSH_VIEW, 1, 64, 64],
    [OP_FLUSH_VIEW, 1, 5, 0],
    [OP_FLUSH_LINE, 4],
  ]
  ops.push([OP_FENCE], [OP_SEAL_LINE, 1, HEAD], [OP_CLEAR_LINE, 2], [OP_FENCE])
  const counters = pmem.counters(handle)
  assert.is(run(...ops), 0)
  assert.equal([...counters], [1, 2, 2 + 1 + 0 + 1 + 1 + 1, 1, 1, 0])
  pmem.setRegionBarrier(handle, 'cpu-no-flush')
  assert.is(run(...ops), 0)
  assert.equal([...counters], [2, 4, 6, 2, 2, 0])
  pmem.setRegionBarrier(handle, 'sync')
  assert.is(run(...ops), 0)
  assert.equal([...counters], [3, 6, 12, 3, 3, 2])
  assert.is(run([OP_FENCE]), 0)
  assert.is(counters[pmem.COUNTER_SYNCS], 2, 'nothing was flushed, so there is nothing to sync')
})

test('every flush instruction of this processor runs; others are refused', () => {
  for (const flush of ['clwb', 'clflushopt', 'clflush', 'dc cvap', 'dc cvac'] as const) {
    fillLine(1, 1, 10)
    try {
      pmem.setRegionBarrier(handle, 'cpu', { flush })
    } catch (error) {
      assert.is((error as RegionError).code, 'ENOTSUP')
      assert.is.not(pmem.cpu().flush, flush)
      continue
    }
    assert.is(run([OP_FLUSH_VIEW, 1, 0, 2048], [OP_FENCE], [OP_SEAL_LINE, 1, HEAD], [OP_FENCE]), 0)
    assert.is(statusOf(1), LINE_VALID)
  }
  assert.throws(() => pmem.setRegionBarrier(handle, 'cpu', { flush: 'wbinvd' as 'clwb' }), /no flush instruction/)
  assert.throws(() => pmem.setRegionBarrier(handle, 'none' as 'cpu'), /barrier must be/)
})

test('an emulated medium keeps each fence waiting for the lines written back before it, and for no others', () => {
  const latencyNs = 50_000
  const lines = 2048 / layout.LINE_BYTES
  const microseconds = (...ops: number[][]): number => {
    const start = process.hrtime.bigint()
    assert.is(run(...ops), 0)
    return Number(process.hrtime.bigint() - start) / 1000
  }
  pmem.setRegionBarrier(handle, 'cpu', { lineLatencyNs: latencyNs })
  const waitUs = (lines * latencyNs) / 1000
  assert.ok(microseconds([OP_FLUSH_VIEW, 1, 0, 2048], [OP_FENCE]) >= waitUs)
  assert.is(run([OP_FLUSH_VIEW, 1, 0, 2048]), 0)
  assert.ok(microseconds([OP_FENCE]) >= waitUs, 'the next program waits for what the last one left unfenced')
  // Of several: a machine with other work makes a fence slow too, but not every one.
  const alone = Array.from({ length: 20 }, () => microseconds([OP_FENCE]))
  assert.ok(Math.min(...alone) < waitUs, 'a fence with nothing before it does not wait')
  pmem.setRegionBarrier(handle, 'cpu')
  const unslowed = Array.from({ length: 20 }, () => microseconds([OP_FLUSH_VIEW, 1, 0, 2048], [OP_FENCE]))
  assert.ok(Math.min(...unslowed) < waitUs, 'without the emulation there is no wait')
  for (const lineLatencyNs of [-1, 0.5, 100_001]) {
    assert.throws(() => pmem.setRegionBarrier(handle, 'cpu', { lineLatencyNs }), /latency/)
  }
})

/** KiB of dirty pages in the mapping of the region, as the kernel counts them; undefined on file systems without write-back. */
function dirtyKib(): number | undefined {
  if (!['ext4', 'xfs', 'btrfs'].includes(pmem.regionFileInfo(handle).fsName)) return undefined
  const maps = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
  const own = maps.find((text) => text.includes(join(folder, 'a.pm')))!
  return Number(/^Shared_Dirty: *(\d+)/m.exec(own)![1]) + Number(/^Private_Dirty: *(\d+)/m.exec(own)![1])
}

test('a fence syncs everything flushed before it, in whatever order, also by an earlier program', () => {
  pmem.setRegionBarrier(handle, 'sync')
  pmem.persistRange(handle, 0, BYTES)
  if (dirtyKib() === undefined)
    return console.log('SKIP: dirty pages after a fence: the temporary directory is not on a disk')
  assert.is(dirtyKib(), 0)
  for (const buffer of [40, BUFFER_1 + 20, 3, 50]) fillLine(1, buffer, 10)
  assert.ok(dirtyKib()! > 0)
  assert.is(run([OP_FLUSH_VIEW, 40, 0, 2048], [OP_FLUSH_VIEW, BUFFER_1 + 20, 0, 2048], [OP_FLUSH_VIEW, 3, 0, 2048]), 0)
  assert.is(run([OP_FLUSH_VIEW, 50, 0, 2048], [OP_FLUSH_LINE, 1], [OP_FENCE]), 0)
  assert.is(dirtyKib(), 0)
})

test('nothing after a failed sync is executed', () => {
  pmem.setRegionBarrier(handle, 'sync')
  for (const meta of [1, 2, 3]) fillLine(meta, meta, 10)
  pmem.failSync(handle, 2)
  const ops = [
    [OP_SEAL_LINE, 1, HEAD],
    [OP_FENCE],
    [OP_SEAL_LINE, 2, HEAD],
    [OP_FENCE],
    [OP_SEAL_LINE, 3, HEAD],
    [OP_FENCE],
  ]
  assert.is(run(...ops), EIO)
  assert.equal([statusOf(1), statusOf(2), lines[0]![(3 << 4) + 1]], [LINE_VALID, LINE_VALID, 0])
  assert.is(pmem.counters(handle)[pmem.COUNTER_SYNCS], 2)
  assert.is(run(...ops), 0)
  pmem.failSync(handle, 1)
  assert.throws(
    () => pmem.persistRange(handle, 0, 4096),
    (error: RegionError) => error.code === 'EIO',
  )
  pmem.persistRange(handle, 0, 4096)
})

test('a program on the native thread owns the region until its callback', async () => {
  pmem.setRegionBarrier(handle, 'sync')
  fillLine(1, 1, 10)
  const done = runAsync([OP_FLUSH_VIEW, 1, 0, 2048], [OP_FENCE], [OP_SEAL_LINE, 1, HEAD], [OP_FENCE])
  assert.is(run([OP_FENCE]), pmem.EXECUTE_BUSY)
  assert.is(
    pmem.executeAsync(handle, Int32Array.of(OP_FENCE, 0, 0, 0), 4, () => assert.unreachable()),
    pmem.EXECUTE_BUSY,
  )
  assert.throws(
    () => pmem.closeRegion(handle),
    (error: RegionError) => error.code === 'EBUSY',
  )
  assert.throws(
    () => pmem.setRegionBarrier(handle, 'cpu'),
    (error: RegionError) => error.code === 'EBUSY',
  )
  assert.is(pmem.counters(handle)[pmem.COUNTER_PROGRAMS], 0)
  pmem.persistRange(handle, 0, 4096)
  assert.is(await done, null)
  assert.is(statusOf(1), LINE_VALID)
  assert.equal([...pmem.counters(handle)], [1, 2, 33, 1, 0, 2])
})

test('a failed sync on the native thread reaches the callback with its code', async () => {
  pmem.setRegionBarrier(handle, 'sync')
  fillLine(1, 1, 10)
  fillLine(2, 2, 10)
  pmem.failSync(handle, 1)
  const error = await runAsync([OP_SEAL_LINE, 1, HEAD], [OP_FENCE], [OP_SEAL_LINE, 2, HEAD])
  assert.is(error?.code, 'EIO')
  assert.is(error?.errno, EIO)
  assert.is(lines[0]![(2 << 4) + 1], 0)
  assert.is(
    pmem.executeAsync(handle, Int32Array.of(99, 0, 0, 0), 4, () => assert.unreachable()),
    pmem.EXECUTE_INVALID,
  )
  assert.throws(() => pmem.executeAsync(handle, new Int32Array(4), 4, null as unknown as () => void), /callback/)
})

test('recovery may run programs on a region opened for reading', () => {
  fillLine(1, 1, 10)
  assert.is(run([OP_SEAL_LINE, 1, HEAD], [OP_FENCE]), 0)
  const path = join(folder, 'a.pm')
  pmem.closeRegion(handle)
  handle = pmem.openRegionFile(path, { writable: false, lock: 'shared' })
  pmem.mapRegion(handle)
  pmem.setRegionGeometry(handle, { extentOffsets: OFFSETS, extentBuffers: BUFFERS, linesPerBuffer: LINES_PER_BUFFER })
  for (const barrier of ['cpu', 'sync'] as const) {
    pmem.setRegionBarrier(handle, barrier)
    assert.is(statusOf(1), barrier === 'cpu' ? LINE_VALID : LINE_UNPUBLISHED)
    assert.is(run([OP_CLEAR_LINE, 1], [OP_FENCE]), 0)
  }
  pmem.closeRegion(handle)
  handle = pmem.openRegionFile(path, { writable: true, lock: 'exclusive' })
  pmem.mapRegion(handle)
  pmem.setRegionGeometry(handle, { extentOffsets: OFFSETS, extentBuffers: BUFFERS, linesPerBuffer: LINES_PER_BUFFER })
  assert.is(statusOf(1), LINE_VALID)
})

test('a worker that ends in the middle of a program releases its region', async () => {
  const path = join(folder, 'b.pm')
  const module = new URL('../../storage/pmem.js', import.meta.url).href
  const source = `
    import { parentPort } from 'node:worker_threads'
    import * as pmem from ${JSON.stringify(module)}
    const handle = pmem.createRegionFile(${JSON.stringify(path)}, ${BYTES})
    pmem.publishRegionFile(handle)
    pmem.mapRegion(handle)
    globalThis.kept = new Uint8Array(pmem.wrapRegion(handle, 0, ${BYTES})).fill(1)
    pmem.setRegionGeometry(handle, { extentOffsets: [8192], extentBuffers: [64], linesPerBuffer: 2 })
    // A quarter of a million buffers to write back: some tenths of a second, far longer than it takes to end a worker.
    const program = new Int32Array(4 << 18)
    for (let at = 0; at < program.length; at += 4) program.set([${OP_FLUSH_VIEW}, 63, 0, 2048], at)
    pmem.executeAsync(handle, program, program.length, () => {})
    parentPort.postMessage('running')`
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`))
  await once(worker, 'message')
  await worker.terminate()
  const again = pmem.openRegionFile(path, { writable: true, lock: 'exclusive' })
  pmem.closeRegion(again)
})

test.run()
