/**
 * How much of injected damage each integrity mode finds: prints the table of docs/durability.md. The bytes of a stored
 * value are changed where they lie, in two regions alike but for the mode, and the store's own check is asked.
 */
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { IntegrityMode } from '../../storage/commit.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { below, scratchDirectory } from '../support/lab.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const SEED = announceSeed('detection', 1071)
const TRIALS = 200_000
/** After so many a new value takes the place of the old one: a lost line of one value would be the same damage each time. */
const TRIALS_A_VALUE = 50
const VALUE_BYTES = 1400
const LINE = 64
/** What chance gives the 16-bit sum, with room for five standard deviations. */
const CHANCE_MISSES_MAX = TRIALS / 65535 + 5 * Math.sqrt(TRIALS / 65535)

const directory = scratchDirectory()
const random = seededRandom(SEED)

/** `older` is what the place held before this value. */
type Change = (bytes: Uint8Array, start: number, older: Uint8Array) => void

interface Fault {
  readonly name: string
  readonly change: Change
  /** What becomes of it in `tcp` mode. */
  readonly tcp: 'all found' | 'nearly all found' | 'most found' | 'few found' | 'none found' | 'chance'
}

function flipBits(count: number): Change {
  return (bytes, start) => {
    for (let i = 0; i < count; i++) bytes[start + below(random, VALUE_BYTES)]! ^= 1 << below(random, 8)
  }
}

/** The start of a whole cache line of the value, from the value's first one. */
function lineAt(start: number): number {
  const first = Math.ceil(start / LINE)
  return (first + below(random, Math.floor((start + VALUE_BYTES) / LINE) - first)) * LINE
}

function exchange(bytes: Uint8Array, a: number, b: number, length: number): void {
  const kept = bytes.slice(a, a + length)
  bytes.copyWithin(a, b, b + length)
  bytes.set(kept, b)
}

const FAULTS: readonly Fault[] = [
  { name: '1 bit flipped', change: flipBits(1), tcp: 'all found' },
  { name: '2 bits flipped', change: flipBits(2), tcp: 'most found' },
  { name: '8 bits flipped', change: flipBits(8), tcp: 'most found' },
  {
    name: '16-bit words swapped',
    change: (bytes, start) =>
      exchange(bytes, start + 2 * below(random, VALUE_BYTES / 2), start + 2 * below(random, VALUE_BYTES / 2), 2),
    tcp: 'none found',
  },
  {
    name: 'cache lines swapped',
    change: (bytes, start) => exchange(bytes, lineAt(start), lineAt(start), LINE),
    tcp: 'none found',
  },
  {
    name: 'cache line zeroed',
    change: (bytes, start) => {
      const at = lineAt(start)
      bytes.fill(0, at, at + LINE)
    },
    tcp: 'nearly all found',
  },
  {
    name: 'cache line stale: the bytes of an older value',
    change: (bytes, start, older) => {
      const at = lineAt(start)
      bytes.set(older.subarray(at - start, at - start + LINE), at)
    },
    tcp: 'nearly all found',
  },
  {
    name: 'cache line of random bytes',
    change: (bytes, start) => {
      const at = lineAt(start)
      for (let i = 0; i < LINE; i++) bytes[at + i] = random()
    },
    tcp: 'chance',
  },
  {
    name: 'one word more by 1, another less by 1',
    change: (bytes, start) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset)
      for (const step of [1, -1]) {
        const at = start + 2 * below(random, VALUE_BYTES / 2)
        const word = view.getUint16(at) + step
        view.setUint16(at, word & 0xffff)
      }
    },
    tcp: 'few found',
  },
]

const KEY = new Uint8Array(Buffer.from('key'))

/** A store with one value, to be damaged. */
class Subject {
  start = 0
  bytes: Uint8Array = new Uint8Array(0)
  private readonly region: Region
  private readonly store: Store
  private meta = 0

  constructor(integrity: IntegrityMode) {
    const file = join(directory, `${integrity}-${below(random, 1 << 30)}.pm`)
    Region.create(file, { bytes: 1 << 20 })
    this.region = new Region(file, { durability: 'process' })
    this.store = new Store(this.region, { random: seededRandom(1), integrity })
  }

  /** Stores a value in the place of the one before. */
  async put(value: Uint8Array): Promise<void> {
    await this.store.put(KEY, value)
    this.meta = this.store.find(KEY, 0, KEY.length)
    this.start = this.store.pool.dataStartOf(this.meta)
    this.bytes = this.store.pool.dataBytes(this.meta)
  }

  /** Whether the store finds the damage. */
  finds(): boolean {
    return !this.store.checks.verifyLine(this.meta)
  }

  close(): void {
    this.region.close()
  }
}

interface Kind {
  readonly name: string
  /** A value of this kind, another at each call. */
  readonly draw: () => Uint8Array
}

const KINDS: readonly Kind[] = [
  { name: 'random', draw: () => Uint8Array.from({ length: VALUE_BYTES }, () => random()) },
  { name: 'text', draw: () => new Uint8Array(Buffer.from(sensorLines().slice(0, VALUE_BYTES))) },
]

/** JSON lines as sensors send them: most of their bytes are the same each time. */
function sensorLines(): string {
  const lines: string[] = []
  for (let i = 0; i < 50; i++) lines.push(`{"sensor":17,"reading":${10 + below(random, 900) / 10},"unit":"C"}\n`)
  return lines.join('')
}

/** Flips that undo each other, and swaps of equal words, are no damage. */
function injectUntilChanged({ bytes, start }: Subject, change: Change, older: Uint8Array, value: Uint8Array): void {
  do change(bytes, start, older)
  while (Buffer.compare(bytes.subarray(start, start + VALUE_BYTES), value) === 0)
}

/** Percentages are cut, not rounded: what is not all is not 100 %. */
const percent = (found: number): string =>
  found === TRIALS ? '100 %' : `${(Math.floor((100_000 * found) / TRIALS) / 1000).toFixed(found === 0 ? 0 : 3)} %`

/** How much of each damage the sum found, a column for each kind of value. */
const foundBySum = new Map<Fault, string[]>(FAULTS.map((fault) => [fault, []]))

for (const { name: kind, draw } of KINDS) {
  test(`damage to ${kind} values: crc32c finds all of it, the sum what it can`, async () => {
    const tcp = new Subject('tcp')
    const crc = new Subject('crc32c')
    for (const fault of FAULTS) {
      let found = 0
      let foundByCrc = 0
      for (let block = 0; block < TRIALS; block += TRIALS_A_VALUE) {
        const older = draw()
        const value = draw()
        await tcp.put(value)
        await crc.put(value)
        assert.is(tcp.start, crc.start)
        for (let trial = 0; trial < TRIALS_A_VALUE; trial++) {
          injectUntilChanged(tcp, fault.change, older, value)
          crc.bytes.set(tcp.bytes.subarray(tcp.start, tcp.start + VALUE_BYTES), crc.start)
          if (tcp.finds()) found++
          if (crc.finds()) foundByCrc++
          tcp.bytes.set(value, tcp.start)
        }
      }
      foundBySum.get(fault)!.push(percent(found))
      assert.is(foundByCrc, TRIALS, `${fault.name}: crc32c missed some`)
      assertExpected(fault, found)
    }
    tcp.close()
    crc.close()
  })
}

function assertExpected({ name, tcp }: Fault, found: number): void {
  const missed = TRIALS - found
  if (tcp === 'all found') assert.is(missed, 0, name)
  else if (tcp === 'none found') assert.is(found, 0, name)
  else if (tcp === 'chance') assert.ok(missed <= CHANCE_MISSES_MAX, `${name}: ${missed} missed`)
  // Text against text differs in a few digits, whose differences may add up to 0.
  else if (tcp === 'nearly all found') assert.ok(missed <= TRIALS / 200, `${name}: ${missed} missed`)
  // A step that wraps around from 0xffff to 0 changes the sum by another number than 1.
  else if (tcp === 'few found') assert.ok(found <= TRIALS / 100, `${name}: ${found} found`)
  // Flips in the same column of two words cancel each other far more often than chance would have it.
  else assert.ok(missed <= TRIALS / 20, `${name}: ${missed} missed`)
}

test('the table for docs/durability.md', () => {
  const columns = KINDS.map(({ name }) => `\`tcp\`, ${name}`)
  const rows = FAULTS.map((fault) => [fault.name, ...foundBySum.get(fault)!, '100 %'])
  console.log(`| ${['damage', ...columns, '`crc32c`'].join(' | ')} |`)
  console.log(`|---${'|---:'.repeat(columns.length + 1)}|`)
  for (const row of rows) console.log(`| ${row.join(' | ')} |`)
  assert.ok(rows.every((row) => row.length === columns.length + 2))
})

test.run()
