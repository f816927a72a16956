/** `packrat verify`: silent about what a crash may leave, and naming every key that rotted; the file never changes. */
import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync, readSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BUFFER_BYTES, EXTENTS_START, LINE_BYTES, NO_META, W_NEXT } from '../../storage/layout.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { packrat, scratchDirectory } from '../support/lab.ts'
import { seededRandom } from '../support/random.ts'

const directory = scratchDirectory()
const ENTRIES = 40

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))
const keyOf = (i: number): string => `key-${String(i).padStart(3, '0')}`

interface Verdict {
  readonly status: number | null
  readonly records: number
  readonly checked: number
  readonly corrupt: readonly { key: string | null; meta: number | null; buffer: number | null; reason: string }[]
}

interface Made {
  readonly file: string
  /** Lines of each entry, head first. */
  readonly lines: Map<string, number[]>
  /** Where a buffer's bytes start in the file. */
  readonly bufferAt: (meta: number) => number
}

let made = 0

/** A region with some entries, stopped in order or left as a killed process leaves it. */
async function make(stop: 'in order' | 'killed' = 'in order'): Promise<Made> {
  const file = join(directory, `${made++}.pm`)
  Region.create(file, { bytes: 1 << 20 })
  const region = new Region(file, { durability: 'process' })
  const store = new Store(region, { random: seededRandom(3) })
  region.markOpen()
  for (let i = 0; i < ENTRIES; i++) await store.put(text(keyOf(i)), new Uint8Array(100 + i * 100).fill(i))
  for (let i = 0; i < ENTRIES; i += 5) await store.put(text(keyOf(i)), new Uint8Array(50).fill(i))
  await store.delete(text(keyOf(7)))
  if (stop === 'in order') await store.drain()
  const lines = new Map<string, number[]>()
  for (const { key, meta } of store.entries()) {
    const chain: number[] = []
    for (let line = meta; line !== NO_META; line = store.pool.next(line)) chain.push(line)
    lines.set(Buffer.from(key).toString(), chain)
  }
  const starts = new Map([...lines.values()].flat().map((meta) => [meta, store.pool.dataStartOf(meta)]))
  region.close(stop === 'in order' ? store.nextVersion : undefined)
  return { file, lines, bufferAt: (meta) => EXTENTS_START + starts.get(meta)! }
}

function change(file: string, at: number, edit: (bytes: Buffer) => void, length = 4): void {
  const descriptor = openSync(file, 'r+')
  const bytes = Buffer.alloc(length)
  readSync(descriptor, bytes, 0, length, at)
  edit(bytes)
  writeSync(descriptor, bytes, 0, length, at)
  closeSync(descriptor)
}

const flip = (file: string, at: number): void =>
  change(file, at, (bytes) => {
    bytes[0]! ^= 0x04
  })

const wordAt = (meta: number, word: number): number => EXTENTS_START + meta * LINE_BYTES + word * 4

async function verify(file: string): Promise<Verdict> {
  const hash = (): string => createHash('sha256').update(readFileSync(file)).digest('hex')
  const before = hash()
  const { status, stdout, stderr } = await packrat('verify', file, '--json')
  assert.is(stderr, '')
  assert.is(hash(), before, 'the file has changed')
  return { status, ...JSON.parse(stdout.toString()) }
}

test('a sound region, stopped in order or killed: nothing found, exit status 0', async () => {
  for (const stop of ['in order', 'killed'] as const) {
    const { file, lines } = await make(stop)
    const verdict = await verify(file)
    assert.equal(verdict.corrupt, [])
    assert.is(verdict.status, 0)
    assert.is(verdict.records, ENTRIES - 1)
    const inUse = [...lines.values()].flat().length
    assert.ok(verdict.checked > inUse)
    if (stop === 'in order') assert.is(verdict.checked, inUse + 1, 'the anchor, too')
  }
})

test('every damaged value is named, with the line and the buffer', async () => {
  const { file, lines, bufferAt } = await make()
  const damaged = [keyOf(3), keyOf(30), keyOf(39)]
  for (const key of damaged) flip(file, bufferAt(lines.get(key)!.at(-1)!) + 5)
  const { status, corrupt } = await verify(file)
  assert.is(status, 1)
  assert.equal(
    corrupt.map(({ key, meta }) => ({ key, meta })),
    damaged.map((key) => ({ key, meta: lines.get(key)!.at(-1) })),
  )
  for (const { reason, buffer } of corrupt) {
    assert.match(reason, /payload/)
    assert.type(buffer, 'number')
  }
  const plain = await packrat('verify', file)
  assert.is(plain.status, 1)
  for (const key of damaged) assert.match(plain.stdout.toString(), `CORRUPT key ${key}: payload`)
})

test('damaged lines and broken chains are named', async () => {
  const { file, lines } = await make()
  const [head] = lines.get(keyOf(12))!
  const fragment = lines.get(keyOf(33))!.at(-1)!
  flip(file, wordAt(head!, 4))
  flip(file, wordAt(fragment, 6))
  const { status, corrupt } = await verify(file)
  assert.is(status, 1)
  assert.equal(
    corrupt
      .map(({ key }) => key)
      .filter((key) => key !== null)
      .sort(),
    [keyOf(12), keyOf(33)],
  )
})

test('links that lead astray, back, out of order, or past entries', async () => {
  const cases: [RegExp, (next: number[]) => number][] = [
    [/out of the region/, () => 0x7ffffff],
    [/back to line/, (heads) => heads[1]!],
    [/out of order|back to line/, (heads) => heads[0]!],
    [/no link of the list leads/, (heads) => heads[12]!],
    [/no link of the list leads/, () => NO_META],
  ]
  for (const [reason, target] of cases) {
    const { file, lines } = await make()
    const heads = [...lines.values()].map(([head]) => head!)
    change(file, wordAt(heads[10]!, W_NEXT), (bytes) => bytes.writeInt32LE(target(heads)))
    const { status, corrupt, records } = await verify(file)
    assert.is(status, 1, `${reason}`)
    assert.ok(
      corrupt.some((finding) => reason.test(finding.reason)),
      `${reason}: ${JSON.stringify(corrupt)}`,
    )
    assert.is(records, ENTRIES - 1, 'a link loses no entry')
  }
})

test('a damaged header copy is found, also when the other one serves', async () => {
  for (const copy of ['A', 'B']) {
    const { file } = await make()
    flip(file, (copy === 'A' ? 0 : EXTENTS_START / 2) + 90)
    const { status, corrupt } = await verify(file)
    assert.is(status, 1)
    assert.is(corrupt.length, 1)
    assert.match(corrupt[0]!.reason, `header copy ${copy}`)
  }
})

test('frames that no value lies in, and free buffers, may hold anything', async () => {
  const { file, lines, bufferAt } = await make()
  flip(file, bufferAt(lines.get(keyOf(0))![0]!) + 1000)
  flip(file, statSync(file).size - BUFFER_BYTES)
  assert.is((await verify(file)).status, 0)
})

test('what is no region is refused with exit status 3', async () => {
  const outcome = await packrat('verify', join(directory, 'missing.pm'))
  assert.is(outcome.status, 3)
  assert.match(outcome.stderr, /^packrat verify: cannot open region/)
})

test.run()
