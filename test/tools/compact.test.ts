/** `packrat compact`: as few buffers as the values need, the same values, and nothing done to what is in use or damaged. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EXTENTS_START, LINE_BYTES } from '../../storage/layout.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from '../support/random.ts'

const PROGRAM = new URL('../../tools/packrat.js', import.meta.url).pathname
const TIMEOUT_MS = 20_000
const COUNT = 300
const folder = mkdtempSync(join(tmpdir(), 'packrat-compact-'))

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

interface Result {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

function packrat(...argv: string[]): Result {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...argv], { timeout: TIMEOUT_MS })
  return { status, stdout: stdout.toString(), stderr: stderr.toString() }
}

async function createRegion(name: string): Promise<{ path: string; heads: number[] }> {
  const path = join(folder, name)
  Region.create(path, { bytes: 2 << 20 })
  const region = new Region(path, { durability: 'process' })
  const store = new Store(region, { random: seededRandom(1) })
  region.markOpen()
  for (let i = 0; i < COUNT; i++) await store.put(bytes(`key-${i}`), new Uint8Array(90 + i).fill(i))
  await store.put(bytes('long'), new Uint8Array(60_000).fill(7))
  await store.drain()
  const heads = [0, 1, 2].map((i) => store.find(bytes(`key-${i}`), 0, 5))
  region.close(store.nextVersion)
  return { path, heads }
}

test.after(() => rmSync(folder, { recursive: true }))

test('packs to the minimum, says so, and leaves the same entries in a file of the same length', async () => {
  const { path } = await createRegion('packed.pm')
  const listed = packrat('list', path).stdout
  const { status, stdout } = packrat('compact', path, '--json')
  assert.is(status, 0)
  const found = JSON.parse(stdout)
  assert.is(found.records, COUNT + 1)
  assert.is(found.before.storedBuffers, COUNT + 30)
  assert.is(found.entriesMoved, COUNT)
  assert.ok(found.after.storedBuffers * 2048 < found.liveBytes * 1.1, stdout)
  assert.is(found.after.usedLines, found.before.usedLines)
  assert.equal([found.outOfRoom, found.corrupt], [false, []])
  assert.is(packrat('list', path).stdout, listed)
  assert.is(packrat('verify', path).status, 0)
  const inspected = JSON.parse(packrat('inspect', path, '--json').stdout)
  assert.is(inspected.cleanShutdown, true)
  const { regionBytes, headerBytes, unusedBytes, lines, buffers } = inspected.space
  const parts = [headerBytes, unusedBytes, ...Object.values<number>(lines), ...Object.values<number>(buffers)]
  assert.is(regionBytes, statSync(path).size)
  assert.is(
    parts.reduce((sum, part) => sum + part),
    regionBytes,
  )
  const again = JSON.parse(packrat('compact', path, '--json').stdout)
  assert.is(again.after.storedBuffers, found.after.storedBuffers)
  const people = packrat('compact', path).stdout
  assert.match(people, /301 records.*\nbefore .*\nafter /)
  assert.match(packrat('inspect', path).stdout, /bytes +2097152 = header 8192 \+ lines \+ buffers \+ unused/)
})

test('a region in use, one that is none and one that is not there are refused', async () => {
  const { path } = await createRegion('used.pm')
  const region = new Region(path, { durability: 'process' })
  try {
    const refused = packrat('compact', path)
    assert.is(refused.status, 3)
    assert.match(refused.stderr, /^packrat compact: [^\n]+\n$/)
  } finally {
    region.close()
  }
  writeFileSync(join(folder, 'none.pm'), 'no region')
  assert.is(packrat('compact', join(folder, 'none.pm')).status, 3)
  assert.is(packrat('compact', join(folder, 'missing.pm')).status, 3)
  assert.is(packrat('compact').status, 2)
})

test('damaged entries are named and stay where they are; the others are packed', async () => {
  const { path, heads } = await createRegion('damaged.pm')
  const image = readFileSync(path)
  image[EXTENTS_START + heads[1]! * LINE_BYTES + 8]! ^= 4
  writeFileSync(path, image)
  const { status, stdout } = packrat('compact', path, '--json')
  assert.is(status, 1)
  const found = JSON.parse(stdout)
  assert.is(found.entriesMoved, COUNT - 1)
  assert.equal(
    found.corrupt.map(({ key }: { key: string }) => key),
    ['key-1'],
  )
  assert.is(JSON.parse(packrat('verify', path, '--json').stdout).corrupt.length, 1)
})

test.run()
