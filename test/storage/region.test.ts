import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { chooseDurability } from '../../storage/durability.ts'
import { planExtents } from '../../storage/header.ts'
import { EXTENT_BUFFERS_MAX } from '../../storage/layout.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from '../support/random.ts'

const MIB = 1 << 20
const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))
const openStore = (region: Region): Store => new Store(region, { random: seededRandom(3) })

const test = suite<{ directory: string; path: string }>('region')
test.before.each((context) => {
  context.directory = mkdtempSync(join(tmpdir(), 'packrat-region-'))
  context.path = join(context.directory, 'a.pm')
})
test.after.each((context) => rmSync(context.directory, { recursive: true }))

function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    return (error as { code: string }).code
  }
  return 'nothing was thrown'
}

for (const durability of ['process', 'auto'] as const) {
  test(`values survive closing and reopening (${durability})`, async ({ path }) => {
    Region.create(path, { bytes: 4 * MIB })
    let region = new Region(path, { durability })
    let store = openStore(region)
    const large = new Uint8Array(300_000).map((_, i) => i * 7)
    await store.put(text('small'), text('value'))
    await store.put(text('large'), large)
    await store.put(text('small'), text('newer'))
    await store.put(text('gone'), text('x'))
    await store.delete(text('gone'))
    const version = await store.put(text('empty'), new Uint8Array(0))
    await store.drain()
    region.close(store.nextVersion)
    region = new Region(path, { durability })
    store = openStore(region)
    assert.is(store.records, 3)
    assert.equal(store.get(text('small')), text('newer'))
    assert.equal(store.get(text('large')), large)
    assert.equal(store.get(text('empty')), new Uint8Array(0))
    assert.is(store.get(text('gone')), undefined)
    assert.ok((await store.put(text('next'), text('x'))) > version)
    assert.is(store.report.superseded + store.report.orphans + store.report.inserted, 0)
    await store.drain()
    region.close()
  })
}

test('versions are never handed out twice, even when the newest entry is deleted and the process dies', async ({
  path,
}) => {
  Region.create(path, { bytes: 4 * MIB })
  let region = new Region(path, { durability: 'process' })
  let store = openStore(region)
  const version = await store.put(text('a'), text('1'))
  await store.delete(text('a'))
  region.close() // no orderly stop
  region = new Region(path, { durability: 'process' })
  store = openStore(region)
  assert.ok((await store.put(text('a'), text('2'))) > version)
  region.close()
})

test('a region is for one process: the second open says so', ({ path }) => {
  Region.create(path, { bytes: MIB })
  const region = new Region(path)
  assert.is(
    codeOf(() => new Region(path)),
    'ELOCKED',
  )
  assert.is(
    codeOf(() => new Region(path, { readOnly: true })),
    'ELOCKED',
  )
  region.close()
  new Region(path).close()
})

test('reading changes nothing in the file, whatever there is to mend', async ({ path }) => {
  Region.create(path, { bytes: MIB })
  const region = new Region(path, { durability: 'process' })
  const store = openStore(region)
  for (let i = 0; i < 9; i++) await store.put(text(`k${i % 4}`), new Uint8Array(i * 500))
  region.close() // superseded versions are still there
  const before = readFileSync(path)
  const reading = new Region(path, { readOnly: true })
  const looked = openStore(reading)
  assert.ok(looked.report.superseded > 0)
  assert.is(looked.records, 4)
  await looked.drain()
  reading.close()
  assert.is(Buffer.compare(before, readFileSync(path)), 0)
})

test('what is no region, or not whole, is refused and stays as it is', ({ directory, path }) => {
  Region.create(path, { bytes: MIB })
  const damaged = join(directory, 'damaged.pm')
  const cases: [string, string, (file: string) => void][] = [
    ['NOT_A_REGION', 'text', (file) => writeFileSync(file, 'hello'.repeat(5000))],
    ['NOT_A_REGION', 'empty', (file) => writeFileSync(file, '')],
    ['LENGTH', 'truncated', (file) => truncateSync(file, MIB - 4096)],
    ['LENGTH', 'extended', (file) => truncateSync(file, MIB + 4096)],
    ['FORMAT_VERSION', 'of another version', (file) => overwrite(file, [8, 4096 + 8], [2, 0, 0, 0])],
    ['HEADER', 'with both headers damaged', (file) => overwrite(file, [100, 4096 + 100], [1])],
  ]
  for (const [code, name, damage] of cases) {
    copyFileSync(path, damaged)
    damage(damaged)
    const before = readFileSync(damaged)
    assert.is(
      codeOf(() => new Region(damaged)),
      code,
      name,
    )
    assert.is(Buffer.compare(before, readFileSync(damaged)), 0, name)
  }
  assert.is(
    codeOf(() => new Region(directory)),
    'EFTYPE',
  )
  assert.is(
    codeOf(() => new Region(join(directory, 'missing.pm'))),
    'ENOENT',
  )
  assert.is(
    codeOf(() => Region.create(path, { bytes: MIB })),
    'EEXIST',
  )
  assert.is(
    codeOf(() => Region.create(join(directory, 'small.pm'), { bytes: 4096 })),
    'SIZE',
  )
})

test('either header copy alone is enough', ({ path }) => {
  for (const copy of [0, 4096]) {
    Region.create(path, { bytes: MIB })
    overwrite(path, [copy + 30], [0xff, 0xff, 0xff])
    new Region(path).close()
    rmSync(path)
  }
})

test('a region that does not fit is not begun', ({ directory }) => {
  const path = join(directory, 'huge.pm')
  assert.is(
    codeOf(() => Region.create(path, { bytes: 2 ** 50 })),
    'ENOSPC',
  )
  assert.throws(() => statSync(path))
  assert.throws(() => statSync(`${path}.creating`))
})

test('a failed sync poisons the store in the msync class', async ({ path }) => {
  Region.create(path, { bytes: MIB })
  const region = new Region(path)
  if (region.durability.class !== 'msync') {
    console.log('SKIP: the temporary directory is in memory, nothing is synced there')
    region.close()
    return
  }
  const store = openStore(region)
  await store.put(text('a'), text('1'))
  await store.drain()
  region.failSync(1)
  let code = ''
  await store.put(text('a'), text('2')).catch((error) => {
    code = error.code
  })
  assert.is(code, 'POISONED')
  assert.equal(store.get(text('a')), text('1'))
  assert.throws(() => store.put(text('b'), text('2')), /read-only/)
  region.close()
})

test('a region whose header cannot be written at the end is closed all the same', ({ path }) => {
  Region.create(path, { bytes: MIB })
  const region = new Region(path)
  region.markOpen()
  region.header.uuid = new Uint8Array(5000) // it does not fit into the header
  assert.throws(() => region.close(7), RangeError)
  const again = new Region(path) // nobody holds the lock
  assert.is(again.header.cleanShutdown, false)
  again.close()
})

test('no class is claimed that the backing does not give', () => {
  const backing = { path: 'x', fsName: 'tmpfs', device: false, mapSync: false }
  assert.is(chooseDurability('auto', backing, []).class, 'process')
  assert.is(
    codeOf(() => chooseDurability('msync', backing, [])),
    'DURABILITY',
  )
  assert.is(
    codeOf(() => chooseDurability('dax', backing, [])),
    'DURABILITY',
  )
  const disk = { ...backing, fsName: 'ext4' }
  assert.is(chooseDurability('auto', disk, []).class, 'msync')
  assert.is(chooseDurability('process', disk, []).class, 'process')
  assert.is(
    codeOf(() => chooseDurability('dax', disk, [])),
    'DURABILITY',
  )
  const dax = { ...disk, mapSync: true }
  assert.is(chooseDurability('auto', dax, ['memory_controller']).eadr, false)
  assert.is(chooseDurability('auto', dax, ['cpu_cache', 'cpu_cache']).eadr, true)
  assert.is(chooseDurability('auto', dax, ['cpu_cache', 'memory_controller']).eadr, false)
})

test('large regions are cut into extents below 1 GiB', () => {
  const extents = planExtents(2 ** 34, 2)
  assert.ok(extents.length > 16)
  for (const { buffers } of extents.slice(0, -1)) assert.is(buffers, EXTENT_BUFFERS_MAX)
  assert.is(planExtents(9000, 2).length, 0)
})

function overwrite(file: string, positions: number[], bytes: number[]): void {
  const descriptor = openSync(file, 'r+')
  for (const position of positions) writeSync(descriptor, Uint8Array.from(bytes), 0, bytes.length, position)
  closeSync(descriptor)
}

test('a slower medium is emulated only where cache lines are flushed', ({ path }) => {
  Region.create(path, { bytes: 4 * MIB })
  new Region(path, { durability: 'process', lineLatencyNs: 300 }).close()
  const refused = { durability: 'process', lineLatencyNs: 300, cachesPersist: true } as const
  assert.is(
    codeOf(() => new Region(path, refused)),
    'LATENCY',
  )
  new Region(path, { durability: 'process' }).close() // the refusal has let the file go
})

test.run()
