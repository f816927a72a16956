/**
 * Every byte of a region file changed in turn, in several ways; then it is opened, every key read, the list walked and
 * the region verified: nothing throws but what says so, nothing hangs, no wrong value leaves. The native side reads here,
 * not the reference interpreter (verification.test.ts has that one).
 *
 *   PACKRAT_BYTE_FLIPS=full   every bit of each metadata byte, each stored byte in eight ways; else a sample of a minute
 *
 * @alone
 * @timeout 900
 */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { PackratError, RegionError } from '../../storage/errors.ts'
import { growRegionFile } from '../../storage/grow.ts'
import { CRC_END_WORD, CRC_FIRST_WORD, EXTENTS_START, HEADER_BYTES, LINE_BYTES, W_STATE } from '../../storage/layout.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { verifyRegion } from '../../storage/verification.ts'
import { below, scratchDirectory } from '../support/lab.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import {
  committedLines,
  SAMPLE_BUFFERS_START,
  SAMPLE_BYTES,
  type SampleRegion,
  sampleRegion,
  sealDamagedHeader,
  sealDamagedLine,
} from '../support/sample-region.ts'

const SEED = announceSeed('byte flips', 2048)
const FULL = process.env.PACKRAT_BYTE_FLIPS === 'full'
const PAGE_BYTES = 4096
/** Header fields end here; the rest of a copy is zero. */
const HEADER_FIELDS_END = 256 + 16
/** One byte in so many where all are alike: free buffers, reserved parts of the header. */
const ALIKE = 64
/** One swap in so many is written to the file and opened. */
const SWAPS_OPENED = FULL ? 1 : 8
/** One metadata byte in so many has its region written to afterwards, too. */
const WRITE_EVERY = FULL ? 1 : 16

const random = seededRandom(SEED)
const path = join(scratchDirectory(), 'flipped.pm')
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

/** The file under test: damaged in place, and put right again. */
class DamagedFile {
  readonly bytes: Buffer
  private readonly fd: number

  constructor(sample: SampleRegion) {
    this.bytes = Buffer.from(sample.bytes)
    writeFileSync(path, this.bytes)
    this.fd = openSync(path, 'r+')
  }

  /** Brings a range of the file to what `bytes` has. */
  write(at: number, length: number): void {
    writeSync(this.fd, this.bytes, at, length, at)
  }

  close(): void {
    closeSync(this.fd)
  }
}

/** What became of one damaged image. */
interface Verdict {
  /** Keys whose value was refused. */
  refused: number
  /** Keys that are gone, with a finding that says so. */
  lost: number
  findings: number
}

class Tally {
  images = 0
  noticed = 0
  refused = 0
  lost = 0

  add(verdict: Verdict): void {
    this.images++
    if (verdict.findings > 0) this.noticed++
    if (verdict.refused > 0) this.refused++
    if (verdict.lost > 0) this.lost++
  }

  toString(): string {
    return `${this.images} images: ${this.noticed} noticed; a value refused in ${this.refused}, lost and named in ${this.lost}`
  }
}

const openStore = (region: Region): Store => new Store(region, { random: () => 1 })

/** Reads one key: its value, undefined, or 'refused'. Whatever else is thrown is a failure. */
function read(store: Store, key: string): Uint8Array | undefined | 'refused' {
  try {
    return store.get(bytesOf(key))
  } catch (error) {
    assert.is((error as { code: string }).code, 'CORRUPT', String((error as Error).stack))
    return 'refused'
  }
}

/** Opens the file, reads all of it, walks it, verifies it; throws if a value is wrong or lost in silence. */
function judge({ values, older }: SampleRegion): Verdict {
  const region = new Region(path, { readOnly: true })
  try {
    const store = openStore(region)
    const verdict: Verdict = { refused: 0, lost: 0, findings: store.report.corrupt.length }
    for (const key of new Set([...values.keys(), ...older.keys()])) {
      const found = read(store, key)
      const expected = values.get(key)
      if (found === 'refused') verdict.refused++
      else if (found === undefined ? expected === undefined : expected?.equals(found)) continue
      else if (verdict.findings === 0) assert.unreachable(`${key} is ${found ? 'wrong' : 'lost'} in silence`)
      else if (found === undefined) verdict.lost++
      else assert.unreachable(`${key} has ${older.get(key)?.equals(found) ? 'an older' : 'a wrong'} value`)
    }
    const known = new Set([...values.keys(), ...older.keys()])
    let last = ''
    for (const { key, meta } of store.entries()) {
      const name = Buffer.from(key).toString('latin1')
      assert.ok(name > last, `${name} is out of order`)
      last = name
      // A damaged key may show in the listing; it is never read.
      if (!known.has(name)) assert.ok(store.checks.corruptHeads.has(meta), `${name} was invented`)
    }
    verdict.findings += region.headerFaults().length
    return verdict
  } finally {
    region.close()
  }
}

/** The findings of `packrat verify`. */
function findings(): number {
  const region = new Region(path, { readOnly: true })
  try {
    return verifyRegion(region, false).corrupt.length + region.headerFaults().length
  } finally {
    region.close()
  }
}

/** A region with damage in it takes writes, keeps them over a restart, and every key can be put right. */
async function assertWritable({ values }: SampleRegion): Promise<void> {
  const region = new Region(path, { durability: 'process' })
  const store = openStore(region)
  for (const key of values.keys()) await store.put(bytesOf(key), bytesOf(`new ${key}`))
  assert.ok(await store.delete(bytesOf('a')))
  await store.drain()
  region.close(store.nextVersion)
  const again = new Region(path, { readOnly: true })
  const reopened = openStore(again)
  for (const key of values.keys()) {
    const found = read(reopened, key)
    if (key === 'a') assert.is(found, undefined)
    else assert.equal(found, bytesOf(`new ${key}`))
  }
  again.close()
}

/** The ways in which a metadata byte is changed. Those that leave it as it is are left out. */
function metadataMasks(byte: number): number[] {
  const bits = [1, 2, 4, 8, 16, 32, 64, 128]
  const masks = FULL
    ? [...bits, 0xff, byte, byte ^ 0xff, 1 + below(random, 255)] // with them: all zero, all one
    : [bits[below(random, 8)]!, 0xff]
  return [...new Set(masks)].filter((mask) => mask !== 0)
}

function stored({ views }: SampleRegion): Uint8Array {
  const marks = new Uint8Array(SAMPLE_BYTES)
  for (const [start, end] of views) marks.fill(1, start, end)
  return marks
}

/** The ways in which a byte of a buffer is changed: none, if it is one of many alike. */
function bufferMasks(isStored: boolean, at: number): number[] {
  if (!isStored && at % ALIKE !== 0) return []
  const single = [1 + below(random, 255)]
  if (!isStored) return single
  if (FULL) return [...new Set([1, 2, 4, 8, 16, 32, 64, 128, 0xff, ...single])]
  return at % 4 === 0 ? single : []
}

for (const integrity of ['crc32c', 'tcp'] as const) {
  test(`each byte changed in turn (${integrity}): no crash, no wrong value`, async () => {
    const sample = await sampleRegion(integrity, SEED)
    const file = new DamagedFile(sample)
    assert.equal(judge(sample), { refused: 0, lost: 0, findings: 0 })
    assert.is(findings(), 0)
    const header = new Tally()
    const lines = new Tally()
    const sealedLines = new Tally()
    const views = new Tally()
    const rest = new Tally()
    const isStored = stored(sample)
    const committed = new Set(committedLines(sample.bytes))
    // The modes differ in what guards values: metadata need not be changed in every way twice.
    const ways = FULL || integrity === 'crc32c' ? Number.POSITIVE_INFINITY : 1
    let missed = 0
    let written = 0
    for (let at = 0; at < SAMPLE_BYTES; at++) {
      const byte = file.bytes[at]!
      const inHeader = at < EXTENTS_START
      const inLines = !inHeader && at < SAMPLE_BUFFERS_START
      if (inHeader && at % HEADER_BYTES >= HEADER_FIELDS_END && at % ALIKE !== 0 && !FULL) continue
      const word = ((at - EXTENTS_START) % LINE_BYTES) >> 2
      const inCommitted = inLines && committed.has(Math.floor((at - EXTENTS_START) / LINE_BYTES))
      const sealed = inCommitted && word < CRC_END_WORD
      const means = inHeader || inCommitted || (inLines && word <= W_STATE)
      const masks =
        inHeader || inLines
          ? metadataMasks(byte).slice(0, FULL || means ? ways : 1)
          : bufferMasks(isStored[at] === 1, at)
      for (const mask of masks) {
        file.bytes[at] = byte ^ mask
        file.write(at, 1)
        const tally = inHeader ? header : sealed ? sealedLines : inLines ? lines : isStored[at] === 1 ? views : rest
        try {
          const verdict = judge(sample)
          tally.add(verdict)
          if (sealed || inHeader) assert.ok(verdict.findings > 0, 'nothing was noticed')
          if (isStored[at] === 1 && findings() === 0) missed++
        } catch (error) {
          throw new Error(`byte ${at} changed by 0x${mask.toString(16)}`, { cause: error })
        }
      }
      if ((inHeader || inLines) && at % WRITE_EVERY === 0 && masks.length > 0) {
        written++
        await assertWritable(sample)
        file.bytes[at] = byte
        file.write(0, SAMPLE_BYTES)
      }
      file.bytes[at] = byte
      file.write(at, 1)
    }
    for (const [name, tally] of Object.entries({
      header,
      'sealed words of lines': sealedLines,
      'other words of lines': lines,
      'stored bytes': views,
      'other bytes': rest,
    }))
      console.log(`${integrity}, ${name}: ${tally}`)
    console.log(
      `${integrity}: ${missed} changes of stored bytes missed by verify; ${written} damaged regions written to`,
    )
    assert.is(missed, 0, 'one byte changes the sum by less than 65535 and not by 0: even 16 bits miss none')
    file.close()
  })
}
test('neighbouring 16-bit words swapped all over the stored values: crc32c finds each, the sum none', async () => {
  for (const integrity of ['crc32c', 'tcp'] as const) {
    const { bytes, views } = await sampleRegion(integrity, SEED)
    const image = Buffer.from(bytes)
    let changed = 0
    let found = 0
    for (const [start, end] of views) {
      for (let at = start; at + 4 <= end; at += 2) {
        const word = image.readUInt32LE(at)
        const swapped = ((word >>> 16) | (word << 16)) >>> 0
        if (swapped === word) continue
        changed++
        image.writeUInt32LE(swapped, at)
        if (changed % SWAPS_OPENED === 0) {
          writeFileSync(path, image)
          if (findings() > 0) found += SWAPS_OPENED
        }
        image.writeUInt32LE(word, at)
      }
    }
    const opened = changed - (changed % SWAPS_OPENED)
    console.log(`${integrity}: ${found} of ${opened} swaps found`)
    assert.is(found, integrity === 'crc32c' ? opened : 0)
  }
})

/** Whatever a line says, with a CRC that is right: what it names is checked before it is used. */
test('lines whose damage lies under a right CRC crash nothing', async () => {
  const sample = await sampleRegion('crc32c', SEED)
  const file = new DamagedFile(sample)
  let images = 0
  let refused = 0
  const reasons = new Set<string>()
  for (const meta of committedLines(sample.bytes)) {
    const start = EXTENTS_START + meta * LINE_BYTES
    for (let at = start + CRC_FIRST_WORD * 4; at < start + LINE_BYTES; at++) {
      const byte = sample.bytes[at]!
      for (const mask of metadataMasks(byte)) {
        file.bytes[at] = byte ^ mask
        sealDamagedLine(file.bytes, meta)
        file.write(start, LINE_BYTES)
        try {
          refused += await readAndWrite(sample, images++ % WRITE_EVERY === 0, reasons)
        } catch (error) {
          throw new Error(`line ${meta}, byte ${at - start} changed by 0x${mask.toString(16)}`, { cause: error })
        }
        sample.bytes.copy(file.bytes, start, start, start + LINE_BYTES)
        file.write(0, SAMPLE_BYTES)
      }
    }
  }
  console.log(`${images} lines damaged and sealed, ${refused} values refused`)
  assert.ok(refused > 0)
  for (const reason of ['view outside its buffer', 'chain leads out of the region', 'belongs to another entry']) {
    assert.ok(
      [...reasons].some((given) => given.includes(reason)),
      `no image was refused because: ${reason}`,
    )
  }
  file.close()
})

/** Reads every key and writes every key of a region that lies; only refusals of ours may come. @returns refused reads */
async function readAndWrite({ values }: SampleRegion, write: boolean, reasons = new Set<string>()): Promise<number> {
  let refused = 0
  const region = new Region(path, write ? { durability: 'process' } : { readOnly: true })
  try {
    const store = openStore(region)
    for (const { reason } of store.report.corrupt) reasons.add(reason)
    for (const key of values.keys()) if (read(store, key) === 'refused') refused++
    for (const { key } of store.entries()) assert.ok(key.length <= HEADER_BYTES)
    if (!write) verifyRegion(region, true)
    else {
      for (const key of values.keys()) {
        await store.put(bytesOf(key), bytesOf(`new ${key}`))
        assert.equal(read(store, key), bytesOf(`new ${key}`))
      }
      await store.drain()
    }
  } catch (error) {
    if (!(error instanceof PackratError)) throw error
  } finally {
    region.close()
  }
  return refused
}

test('header copies damaged under a right CRC: refused, or the region as it is', async () => {
  const sample = await sampleRegion('crc32c', SEED)
  const file = new DamagedFile(sample)
  const codes = new Map<string, number>()
  for (let at = 0; at < HEADER_FIELDS_END; at++) {
    for (const mask of metadataMasks(sample.bytes[at]!)) {
      for (const copy of [0, 1]) {
        file.bytes[copy * HEADER_BYTES + at]! ^= mask
        sealDamagedHeader(file.bytes, copy)
      }
      file.write(0, EXTENTS_START)
      let code = 'opened'
      try {
        await readAndWrite(sample, false)
      } catch (error) {
        if (!(error instanceof RegionError))
          throw new Error(`header byte ${at}, 0x${mask.toString(16)}`, { cause: error })
        code = error.code
      }
      codes.set(code, (codes.get(code) ?? 0) + 1)
      sample.bytes.copy(file.bytes, 0, 0, EXTENTS_START)
      file.write(0, EXTENTS_START)
    }
  }
  console.log([...codes].map(([code, count]) => `${code} ${count}`).join(', '))
  file.close()
})

test('either copy of the header gone: the other serves, and the next orderly stop writes both again', async () => {
  const sample = await sampleRegion('crc32c', SEED)
  for (const [copy, damage] of [0, 1].flatMap((copy) =>
    ['zero', 'noise', 'torn'].map((kind) => [copy, kind] as const),
  )) {
    const file = Buffer.from(sample.bytes)
    const bytes = file.subarray(copy * HEADER_BYTES, (copy + 1) * HEADER_BYTES)
    if (damage === 'zero') bytes.fill(0)
    else if (damage === 'noise') for (let i = 0; i < HEADER_BYTES; i++) bytes[i] = random()
    else bytes.fill(0, 64)
    writeFileSync(path, file)
    const verdict = judge(sample)
    assert.equal(verdict, { refused: 0, lost: 0, findings: 1 }, `copy ${'AB'[copy]}: ${damage}`)
    const region = new Region(path, { durability: 'process' })
    const store = openStore(region)
    region.markOpen()
    await store.drain()
    region.close(store.nextVersion)
    const mended = new Region(path, { readOnly: true })
    assert.equal(mended.headerFaults(), [])
    mended.close()
  }
  const neither = Buffer.from(sample.bytes)
  for (const copy of [0, 1]) neither[copy * HEADER_BYTES + 100]! ^= 1
  writeFileSync(path, neither)
  assert.throws(
    () => new Region(path, { readOnly: true }),
    (error: RegionError) => error.code === 'HEADER',
  )
})

test('cut at every 4 KiB, or longer: refused whole, and unchanged', async () => {
  const { bytes } = await sampleRegion('crc32c', SEED)
  const codes = new Map<string, number>()
  const longer = Buffer.concat([bytes, Buffer.alloc(PAGE_BYTES)])
  const lengths = Array.from({ length: SAMPLE_BYTES / PAGE_BYTES }, (_, page) => page * PAGE_BYTES)
  for (const length of [...lengths, 1, HEADER_BYTES - 1, SAMPLE_BYTES - 1, SAMPLE_BYTES + 1, longer.length]) {
    writeFileSync(path, longer.subarray(0, length))
    const attempts = [
      () => new Region(path, { readOnly: true }),
      () => new Region(path, { durability: 'process' }),
      () => growRegionFile(path, SAMPLE_BYTES * 2),
    ]
    for (const attempt of attempts) {
      assert.throws(attempt, (error: unknown) => {
        if (!(error instanceof RegionError)) return false
        codes.set(error.code, (codes.get(error.code) ?? 0) + 1)
        return length < HEADER_BYTES ? error.code === 'NOT_A_REGION' : error.code === 'LENGTH'
      })
    }
    assert.ok(readFileSync(path).equals(longer.subarray(0, length)), `${length} bytes: the file was changed`)
  }
  console.log([...codes].map(([code, count]) => `${code} ${count}`).join(', '))
})

test.run()
