/**
 * Recovery of a region with many entries: links followed from many places at once, keys compared by the run, natively; the
 * exact index filled in bulk; damage to the links wherever it falls, at the seams of two runs among others.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ANCHOR_META, NO_META, W_NEXT } from '../../storage/layout.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const SEED = announceSeed('recovery at scale', 2026)
const ENTRIES = 3000
const BYTES = 16 << 20

const folder = mkdtempSync(join(tmpdir(), 'packrat-scale-'))
const path = join(folder, 'a.pm')
test.after(() => rmSync(folder, { recursive: true }))

const random = seededRandom(SEED)
const below = (bound: number): number => (random() >>> 0) % bound
const open = (): { region: Region; store: Store } => {
  const region = new Region(path, { durability: 'process' })
  return { region, store: new Store(region, { random: seededRandom(SEED) }) }
}

/** What the store must hold: overwritten, deleted and long values among them. */
const model = new Map<string, string>()

test.before(async () => {
  Region.create(path, { bytes: BYTES })
  const { region, store } = open()
  while (model.size < ENTRIES) {
    const key = `key:${below(2 * ENTRIES)}`
    const value = `${key} has ${'x'.repeat(below(20) === 0 ? below(6000) : below(30))}`
    await store.put(Buffer.from(key), Buffer.from(value))
    model.set(key, value)
    if (below(10) > 0) continue
    const gone = [...model.keys()][below(model.size)]!
    await store.delete(Buffer.from(gone))
    model.delete(gone)
  }
  await store.drain()
  region.close(store.nextVersion)
})

function check(store: Store, context: string): void {
  assert.equal(store.report.corrupt, [], context)
  assert.is(store.records, model.size, context)
  const keys = [...model.keys()].sort()
  let at = 0
  for (const { key } of store.entries()) assert.is(Buffer.from(key).toString(), keys[at++], context)
  for (const [key, value] of model)
    assert.is(Buffer.from(store.get(Buffer.from(key))!).toString(), value, `${context}: ${key}`)
}

test('every entry is found again, in order, through the walk alone', () => {
  const { region, store } = open()
  assert.not(store.report.relinked)
  assert.is(store.report.inserted, 0)
  check(store, 'undamaged')
  region.close(store.nextVersion)
})

/** Long enough for lines to be among them from which recovery walks, too, although no link leads there. */
const TAIL = 1000

/** The entries' lines in the order of the list. */
function inOrder(store: Store): number[] {
  const metas: number[] = [ANCHOR_META]
  for (let meta = store.list.first(); meta !== NO_META; meta = store.list.next(meta)) metas.push(meta)
  return metas
}

/** Damages links of the open region, closes it, and judges what the next opening makes of it. */
function damageAndReopen(damage: (store: Store, metas: number[]) => void, context: string): Store['report'] {
  const before = open()
  damage(before.store, inOrder(before.store))
  before.region.close(before.store.nextVersion)
  const { region, store } = open()
  check(store, context)
  const { report } = store
  region.close(store.nextVersion)
  const again = open()
  assert.not(again.store.report.relinked || again.store.report.inserted > 0, `${context}: mended once and for all`)
  again.region.close(again.store.nextVersion)
  return report
}

test('entries that the links skip are inserted', () => {
  for (let round = 0; round < 4; round++) {
    const at = below(ENTRIES - 600)
    const skipped = 1 + below(500)
    const report = damageAndReopen(
      ({ pool }, metas) => pool.set(metas[at]!, W_NEXT, metas[at + skipped + 1]!),
      `${skipped} skipped behind ${at}; PACKRAT_SEED=${SEED}`,
    )
    assert.is(report.inserted, skipped)
    assert.not(report.relinked)
  }
})

test('entries behind a link that ends the list too early are inserted', () => {
  const report = damageAndReopen(
    ({ pool }, metas) => pool.set(metas.at(-1 - TAIL)!, W_NEXT, NO_META),
    'the tail is cut off',
  )
  assert.is(report.inserted, TAIL)
  assert.not(report.relinked)
})

test('two neighbours in the wrong order are noticed wherever they stand', () => {
  // Places around a multiple of 255 and 256 are where one run of the walk ends and the next begins.
  for (const at of [0, 1, 253, 254, 255, 256, 257, 509, 510, 511, 512, 513, below(ENTRIES - 3), ENTRIES - 3]) {
    const report = damageAndReopen(({ pool }, metas) => {
      const [before, first, second, behind] = metas.slice(at, at + 4) as [number, number, number, number | undefined]
      pool.set(before, W_NEXT, second)
      pool.set(second, W_NEXT, first)
      pool.set(first, W_NEXT, behind ?? NO_META)
    }, `neighbours at ${at} swapped`)
    assert.ok(report.relinked, `neighbours at ${at}`)
  }
})

test('a circle and a link out of the region end the walk, not the recovery', () => {
  for (const target of [
    (metas: number[]) => metas[10]!,
    () => 0x7fff_fff0,
    () => -5,
    (metas: number[]) => metas[700]!,
  ]) {
    const report = damageAndReopen(({ pool }, metas) => pool.set(metas[700]!, W_NEXT, target(metas)), 'astray')
    assert.ok(report.relinked)
  }
})

test.run()
