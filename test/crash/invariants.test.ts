/**
 * The invariants of the crash images can fail: each one is shown an image, or a store, that breaks it.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NO_META, W_NEXT, W_PAYLOAD_CRC } from '../../storage/layout.ts'
import { crc32cReference } from '../support/crc32c-reference.ts'
import { crc32cTable } from '../support/crc32c-table.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { Bench, prepareStart } from './bench.ts'
import {
  checkBounded,
  checkContents,
  checkDamage,
  checkIdempotent,
  checkLinks,
  checkList,
  checkOwnership,
  checkReport,
  checkWritable,
  type Geometry,
  judge,
  Recovered,
} from './invariants.ts'
import { applyChanges, type Expectation, entryText } from './model.ts'

const seed = announceSeed('invariants', 5)
const start = prepareStart()
const bench = new Bench({ medium: 'lines', start, onCrashPoint: () => {} })
const geometry: Geometry = bench.geometry
const recovered = (): Recovered => new Recovered(start.image, geometry)
const expecting = (changes: Parameters<typeof applyChanges>[1]): Expectation => ({
  acknowledged: applyChanges(start.acknowledged, changes),
  inFlight: [],
  unlinkedMax: 0,
})

test('a sound image passes', () => {
  const counters = { recoveryCrashImages: 0 }
  const depth = { again: true, thorough: true }
  assert.is(judge(start.image, geometry, expecting([]), depth, counters, seededRandom(seed)), '')
})

test('contents: lost, torn, invented, old and half of a batch are told', () => {
  const value = start.acknowledged.get('b')!
  assert.match(checkContents(recovered(), expecting([{ key: 'lost', entry: entryText(9, 'x') }])), /key lost/)
  assert.match(checkContents(recovered(), expecting([{ key: 'b', entry: value.slice(0, -1) }])), /key b/)
  assert.match(checkContents(recovered(), expecting([{ key: 'b', entry: undefined }])), /key b/)
  assert.match(checkContents(recovered(), expecting([{ key: 'b', entry: value.replace(/^\d+/, '99') }])), /key b/)
  // Of a batch that writes b and h only b is there.
  const before = applyChanges(start.acknowledged, [{ key: 'b', entry: undefined }])
  const changes = [
    { key: 'b', entry: value },
    { key: 'h', entry: entryText(9, 'x') },
  ]
  assert.not.equal(
    checkContents(recovered(), { acknowledged: before, inFlight: [{ changes, batch: 1 }], unlinkedMax: 0 }),
    '',
  )
  assert.is(
    checkContents(recovered(), {
      acknowledged: before,
      inFlight: [{ changes: changes.slice(0, 1), batch: 1 }],
      unlinkedMax: 0,
    }),
    '',
  )
})

test('report: damage, and links that lead astray, are told', () => {
  const { store, region } = recovered()
  const [first, second] = [...store.entries()]
  const damaged = start.image.slice()
  damaged[region.lineOfMeta(first!.meta) * 64 + 20]! ^= 1
  assert.match(checkReport(new Recovered(damaged, geometry)), /corruption/)
  const astray = start.image.slice()
  new Int32Array(astray.buffer)[region.lineOfMeta(second!.meta) * 16 + W_NEXT] = first!.meta
  assert.match(checkReport(new Recovered(astray, geometry)), /astray/)
})

test('list: an entry out of the list, and a link past one, are told', () => {
  const left = recovered()
  left.store.list.remove([...left.store.entries()][1]!.meta)
  assert.match(checkList(left), /scan/)
  const passed = recovered()
  const [first, second] = [...passed.store.entries()]
  passed.store.pool.set(first!.meta, W_NEXT, passed.store.pool.get(second!.meta, W_NEXT))
  assert.not.equal(checkList(passed), '')
})

test('links: heads that no link leads to, beyond those just published, are told', () => {
  const { store, region } = recovered()
  const [first, second] = [...store.entries()]
  const image = start.image.slice()
  new Int32Array(image.buffer)[region.lineOfMeta(first!.meta) * 16 + W_NEXT] = store.pool.get(second!.meta, W_NEXT)
  const unmet = new Recovered(image, geometry)
  assert.match(checkLinks(unmet, expecting([])), /no link leads/)
  assert.is(checkLinks(unmet, { ...expecting([]), unlinkedMax: 1 }), '')
})

test('the CRC32C by table that images are checked with is the reference', () => {
  const random = seededRandom(seed)
  const bytes = Uint8Array.from({ length: 300 }, () => random())
  for (let length = 0; length < 256; length++) {
    const before = random()
    assert.is(crc32cTable(bytes, length & 31, length, before), crc32cReference(bytes, length & 31, length, before))
  }
})

test('bounds: a recovery with many programs is told', () => {
  const many = recovered()
  many.region.counters.fences = 5
  assert.match(checkBounded(many), /fences/)
  many.region.counters.fences = 0
  many.region.counters.flushedLines = 1000
  assert.match(checkBounded(many), /flushed/)
})

test('idempotence: work that is left to a second recovery is told', () => {
  const unsettled = recovered()
  const { store, region } = unsettled
  // A link that leads past an entry: the second recovery has to insert it.
  const [first, second] = [...store.entries()]
  const image = start.image.slice()
  new Int32Array(image.buffer)[region.lineOfMeta(first!.meta) * 16 + W_NEXT] = store.pool.get(second!.meta, W_NEXT)
  unsettled.region.durableImage = () => image
  assert.match(checkIdempotent(unsettled), /second recovery/)
})

test('writable: a store whose region takes no more programs is told', () => {
  const poisoned = recovered()
  poisoned.region.failure = -5
  assert.not.equal(checkWritable(poisoned), '')
})

test('ownership: a line or buffer that is lost, or free and in use, is told', () => {
  const lost = recovered()
  lost.store.pool.allocateMeta()
  assert.match(checkOwnership(lost), /neither free nor reachable/)
  const both = recovered()
  const { pool } = both.store
  const tail = [...both.store.entries()].map(({ meta }) => pool.next(meta)).find((meta) => meta !== NO_META)!
  pool.releaseBuffer(pool.buffer(tail))
  assert.match(checkOwnership(both), /free/)
})

test('damage: a value that is served although a bit flipped is told', () => {
  const blind = recovered()
  const verifyLine = Object.getPrototypeOf(blind.store.checks).verifyLine
  Object.getPrototypeOf(blind.store.checks).verifyLine = () => true
  try {
    const random = seededRandom(seed)
    const faults = Array.from({ length: 40 }, () => checkDamage(start.image, blind, random))
    assert.ok(faults.some((fault) => fault.includes('was not reported')))
  } finally {
    Object.getPrototypeOf(blind.store.checks).verifyLine = verifyLine
  }
})

test('snapshots, upgrades and releases: the running store is watched, too', () => {
  const watched = new Bench({ medium: 'lines', start, onCrashPoint: () => {} })
  watched.takeSnapshot()
  const [first] = [...watched.store.entries()]
  watched.store.pool.set(first!.meta, 2, 77) // the version of an entry that the snapshot sees
  watched.endStep()
  assert.match(watched.fault, /snapshot/)

  const upgraded = new Bench({ medium: 'lines', start, onCrashPoint: () => {} })
  upgraded.scrub()
  upgraded.region.durableWord = (_meta, word) => (word >= W_PAYLOAD_CRC ? 0 : 1)
  upgraded.region.counters.fences++
  upgraded.endStep()
  assert.match(upgraded.fault, /upgrade/)

  const hasty = new Bench({ medium: 'lines', start, onCrashPoint: () => {} })
  const { meta } = [...hasty.store.entries()][0]!
  hasty.store.pool.set(meta, 0, 0)
  hasty.store.pool.set(meta, 1, 0)
  hasty.store.pool.freeMeta(meta)
  assert.match(hasty.fault, /durably/)
})

test.run()
