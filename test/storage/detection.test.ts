/**
 * How much of injected damage each integrity mode finds: the figures of docs/integrity.md. The bytes of a stored value
 * are changed where they lie, in two regions alike but for the mode, and the store's own check is asked.
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
const VALUE_BYTES = 1400
const LINE = 64
/** What chance gives the 16-bit sum, with room for five standard deviations. */
const CHANCE_MISSES_MAX = TRIALS / 65535 + 5 * Math.sqrt(TRIALS / 65535)

const directory = scratchDirectory()
const random = seededRandom(SEED)

type Change = (bytes: Uint8Array, start: number) => void

interface Fault {
  readonly name: string
  readonly change: Change
  /** What becomes of it in `tcp` mode. */
  readonly tcp: 'all found' | 'most found' | 'none found' | 'chance'
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
    tcp: 'chance',
  },
  {
    name: 'cache line of older bytes',
    change: (bytes, start) => {
      const at = lineAt(start)
      for (let i = 0; i < LINE; i++) bytes[at + i] = random()
    },
    tcp: 'chance',
  },
]

interface Subject {
  readonly region: Region
  readonly store: Store
  readonly meta: number
  /** Where the value lies in the memory of its extent. */
  readonly start: number
  readonly bytes: Uint8Array
}

async function subject(integrity: IntegrityMode, value: Uint8Array): Promise<Subject> {
  const file = join(directory, `${integrity}-${below(random, 1 << 30)}.pm`)
  Region.create(file, { bytes: 1 << 20 })
  const region = new Region(file, { durability: 'process' })
  const store = new Store(region, { random: seededRandom(1), integrity })
  const key = new Uint8Array(Buffer.from('key'))
  await store.put(key, value)
  const meta = store.find(key, 0, key.length)
  return { region, store, meta, start: store.pool.dataStartOf(meta), bytes: store.pool.dataBytes(meta) }
}

const VALUES: readonly (readonly [string, Uint8Array])[] = [
  ['random', Uint8Array.from({ length: VALUE_BYTES }, () => random())],
  ['text', new Uint8Array(Buffer.from('{"sensor":17,"reading":20.5,"unit":"C"}\n'.repeat(40).slice(0, VALUE_BYTES)))],
]

/** Flips that undo each other, and swaps of equal words, are no damage. */
function injectUntilChanged({ bytes, start }: Subject, change: Change, value: Uint8Array): void {
  do change(bytes, start)
  while (Buffer.compare(bytes.subarray(start, start + VALUE_BYTES), value) === 0)
}

const percent = (found: number): string => `${((100 * found) / TRIALS).toFixed(3)} %`

for (const [kind, value] of VALUES) {
  test(`damage to ${kind} values: crc32c finds all of it, the sum what it can`, async () => {
    const tcp = await subject('tcp', value)
    const crc = await subject('crc32c', value)
    assert.is(tcp.start, crc.start)
    for (const fault of FAULTS) {
      let foundBySum = 0
      let foundByCrc = 0
      for (let trial = 0; trial < TRIALS; trial++) {
        injectUntilChanged(tcp, fault.change, value)
        crc.bytes.set(tcp.bytes.subarray(tcp.start, tcp.start + VALUE_BYTES), crc.start)
        if (!tcp.store.verifyLine(tcp.meta)) foundBySum++
        if (!crc.store.verifyLine(crc.meta)) foundByCrc++
        tcp.bytes.set(value, tcp.start)
      }
      const missed = TRIALS - foundBySum
      console.log(`| ${fault.name} | ${kind} | ${percent(foundBySum)} | ${percent(foundByCrc)} |`)
      assert.is(foundByCrc, TRIALS, `${fault.name}: crc32c missed some`)
      if (fault.tcp === 'all found') assert.is(missed, 0, fault.name)
      else if (fault.tcp === 'none found') assert.is(foundBySum, 0, fault.name)
      // Flips in the same column of two words cancel each other far more often than chance would have it.
      else
        assert.ok(
          missed <= (fault.tcp === 'chance' ? CHANCE_MISSES_MAX : TRIALS / 20),
          `${fault.name}: ${missed} missed`,
        )
    }
    tcp.region.close()
    crc.region.close()
  })
}

test.run()
