/**
 * Growing: every crash state of the writes, resizes and syncs that it makes opens as the old region or the new one, and
 * growing again works; and real regions keep what they hold.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { growRegion, growRegionFile } from '../../storage/grow.ts'
import { planExtents } from '../../storage/header.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { CrashingFile, type FileImage, headerOf, newImage } from '../support/crashing-file.ts'
import { crc32cTable } from '../support/crc32c-table.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const MIB = 1 << 20
const seed = announceSeed('grow', 31)

/** Old or new, never between; and whatever it is, growing it (again) ends well. Returns whether it is new. */
function assertGrowable(image: FileImage, before: number, after: number): boolean {
  const header = headerOf(image)
  assert.ok(header.regionBytes === before || header.regionBytes === after)
  assert.ok(image.bytes >= header.regionBytes, 'no extent lies behind the end of the file')
  assert.equal(header.extents.slice(0, planExtents(before, 2).length), planExtents(before, 2), 'what was there stays')
  assert.is(header.versionFloor, 77)
  if (header.regionBytes === after) return true
  const again = new CrashingFile(image, () => {}, seededRandom(1))
  growRegion(again, after, crc32cTable)
  const grown = headerOf(again.now)
  assert.is(grown.regionBytes, after)
  assert.is(again.bytes, after)
  assert.is(grown.growingTo, 0)
  return false
}

test('every crash state opens as the old region or the new one, and can be grown again', () => {
  let images = 0
  let grown = 0
  const check = (image: FileImage): void => {
    images++
    if (assertGrowable(image, 4 * MIB, 9 * MIB)) grown++
  }
  const file = new CrashingFile(newImage(4 * MIB), check, seededRandom(seed))
  growRegion(file, 9 * MIB, crc32cTable)
  assert.is(headerOf(file.now).regionBytes, 9 * MIB)
  console.log(`${images} crash images, ${grown} of them grown`)
  assert.ok(images > 40 && grown > 0 && grown < images)
})

test('a crash while an interrupted growth is grown to another size', () => {
  const interrupted: FileImage[] = []
  const first = new CrashingFile(newImage(4 * MIB), (image) => interrupted.push(image), seededRandom(seed + 1))
  growRegion(first, 9 * MIB, crc32cTable)
  const longer = interrupted.filter((image) => image.bytes > 4 * MIB && headerOf(image).regionBytes === 4 * MIB)
  assert.ok(longer.length > 0)
  for (const image of longer) {
    const check = (crashed: FileImage): void => {
      const header = headerOf(crashed)
      assert.ok([4 * MIB, 6 * MIB].includes(header.regionBytes))
      assert.ok(crashed.bytes >= header.regionBytes)
    }
    const second = new CrashingFile(image, check, seededRandom(seed + 2))
    growRegion(second, 6 * MIB, crc32cTable)
    assert.is(second.bytes, 6 * MIB)
  }
})

test('a full disk leaves the region as it was, and unmarked', () => {
  const file = new CrashingFile(newImage(4 * MIB), () => {}, seededRandom(seed))
  file.failAt = 3 // two header writes come first
  assert.throws(() => growRegion(file, 9 * MIB, crc32cTable), /no space/)
  const header = headerOf(file.now)
  assert.is(file.bytes, 4 * MIB)
  assert.is(header.regionBytes, 4 * MIB)
  assert.is(header.growingTo, 0)
  growRegion(file, 9 * MIB, crc32cTable)
  assert.is(headerOf(file.now).regionBytes, 9 * MIB)
})

test('a file that is longer without a growth under way is refused as before', () => {
  const image = newImage(4 * MIB)
  image.bytes += 4096
  assert.throws(
    () => headerOf(image),
    (error: { code: string }) => error.code === 'LENGTH',
  )
})

/* --- real regions --- */

const folder = mkdtempSync('/dev/shm/packrat-grow-')
test.after(() => rmSync(folder, { recursive: true, force: true }))

function openStore(path: string): { region: Region; store: Store } {
  const region = new Region(path, { durability: 'process' })
  return { region, store: new Store(region, { random: seededRandom(3) }) }
}

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

async function fill(store: Store, prefix: string): Promise<string[]> {
  const keys: string[] = []
  for (let index = 0; ; index++) {
    const key = `${prefix}${index}`
    try {
      await store.put(bytesOf(key), Buffer.from(`${key} `.repeat(300)))
    } catch (error) {
      assert.is((error as { code: string }).code, 'FULL')
      return keys
    }
    keys.push(key)
  }
}

function assertHolds(store: Store, keys: readonly string[]): void {
  for (const key of keys) assert.is(Buffer.from(store.get(bytesOf(key))!).toString(), `${key} `.repeat(300))
}

test('a full region grows twice, keeps everything, and takes more each time', async () => {
  const path = join(folder, 'twice.pm')
  Region.create(path, { bytes: 2 * MIB })
  const keys: string[] = []
  const sizes: number[] = []
  for (const bytes of [2 * MIB, 5 * MIB, 20 * MIB]) {
    if (bytes > 2 * MIB) {
      const growth = growRegionFile(path, bytes)
      assert.is(growth.bytes, bytes)
      assert.ok(growth.buffers > growth.buffersBefore)
      assert.is(statSync(path).size, bytes)
      assert.is(statSync(path).blocks * 512, bytes, 'allocated, not sparse')
    }
    const { region, store } = openStore(path)
    assertHolds(store, keys)
    keys.push(...(await fill(store, `at-${bytes}-`)))
    sizes.push(keys.length)
    await store.drain()
    region.close(store.nextVersion)
  }
  console.log(`records that fit: ${sizes.join(', ')}`)
  assert.ok(sizes[1]! > sizes[0]! * 2 && sizes[2]! > sizes[1]! * 3)
  const { region, store } = openStore(path)
  assertHolds(store, keys)
  assert.is(region.header.extents.length, 3)
  region.close(store.nextVersion)
})

function refusal(bytes: number, path: string): { code: string; message: string } {
  const before = existsSync(path) ? readFileSync(path) : undefined
  try {
    growRegionFile(path, bytes)
  } catch (error) {
    if (before) assert.ok(before.equals(readFileSync(path)), 'the file is unchanged')
    return error as { code: string; message: string }
  }
  throw new Error('it was not refused')
}

test('refused: smaller, too little, in use, no region, cut off', () => {
  const path = join(folder, 'refused.pm')
  Region.create(path, { bytes: 2 * MIB })
  assert.is(refusal(2 * MIB, path).code, 'SIZE')
  assert.is(refusal(MIB, path).code, 'SIZE')
  assert.match(refusal(2 * MIB + 4096, path).message, /hold no extent; name a larger size/)
  const region = new Region(path, { durability: 'process' })
  assert.is(refusal(4 * MIB, path).code, 'ELOCKED')
  region.close()
  truncateSync(path, MIB)
  assert.is(refusal(4 * MIB, path).code, 'LENGTH')
  assert.is(refusal(4 * MIB, join(folder, 'missing.pm')).code, 'ENOENT')
  assert.is(refusal(4 * MIB, '/dev/null').code, 'EFTYPE')
})

test.run()
