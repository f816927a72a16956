/**
 * No room, at every step of creating and growing a region: on disks of every size (tmpfs and, where loop devices work,
 * ext4, mounted where nobody else sees them) and with limits on the length of files. What failed leaves a region as it
 * was, or nothing; with room it succeeds, in the same process.
 *
 * @timeout 120
 */
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { RegionError } from '../../storage/errors.ts'
import { growRegionFile } from '../../storage/grow.ts'
import { openStore } from '../../storage/index.ts'
import { HEADER_BYTES } from '../../storage/layout.ts'
import { Region } from '../../storage/region.ts'
import { scratchDirectory } from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const MIB = 1 << 20
const KIB = 1 << 10
/** Why a file could not be had: the disk, the limit of the process. */
const NO_ROOM = ['ENOSPC', 'EFBIG', 'EDQUOT']

const missing = (): string | undefined => {
  for (const program of ['mount', 'prlimit'])
    if (spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0) return `${program} is not installed`
  return undefined
}
const test = privateNetworkSuite('disk full', import.meta.url, { timeoutMs: 120_000, missing, mounts: true })

let disk = ''
let path = ''

test.before.each(() => {
  disk = join(scratchDirectory(), 'disk')
  mkdirSync(disk)
  path = join(disk, 'region.pm')
})

test.after.each(() => {
  limitFiles('unlimited')
  spawnSync('umount', [disk])
})

function command(program: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`)
}

/** An empty tmpfs of a size, or the present one with another size. */
function mountMemory(bytes: number, options = ''): void {
  command('mount', '-t', 'tmpfs', '-o', `size=${bytes}${options}`, 'none', disk)
}

/** No file may become longer, whatever the disk has: the soft limit of this process. */
function limitFiles(bytes: number | 'unlimited'): void {
  command('prlimit', '--pid', String(process.pid), `--fsize=${bytes}:unlimited`)
}

const used = (): number => {
  const { blocks, bfree, bsize } = statfsSync(disk)
  return (blocks - bfree) * bsize
}

function codeOf(attempt: () => unknown): string {
  try {
    attempt()
    return ''
  } catch (error) {
    assert.instance(error, RegionError, String((error as Error).stack))
    assert.not.match((error as Error).message, /\n/)
    return (error as RegionError).code
  }
}

/** A region with values in it; resolves with their keys. */
async function makeRegion(bytes: number): Promise<string[]> {
  Region.create(path, { bytes })
  const store = openStore(path, { durability: 'process' })
  const keys = Array.from({ length: 40 }, (_, i) => `key ${i}`)
  for (const key of keys) await store.put(key, `${key} `.repeat(500))
  await store.close()
  return keys
}

/** The region opens, holds everything, and takes a write. */
async function assertWhole(keys: readonly string[]): Promise<void> {
  const store = openStore(path, { durability: 'process' })
  assert.equal(store.corrupt, [])
  assert.is(store.records, keys.length)
  for (const key of keys) assert.is(Buffer.from(store.get(key)!).toString(), `${key} `.repeat(500))
  await store.put(keys[0]!, `${keys[0]} `.repeat(500))
  await store.close()
}

test('creation on disks of every size: a region, or nothing at all', () => {
  const bytes = 2 * MIB
  let created = 0
  for (let size = 64 * KIB; size <= 3 * MIB; size += 64 * KIB) {
    mountMemory(size)
    const code = codeOf(() => Region.create(path, { bytes }))
    if (code === '') {
      created++
      assert.equal(readdirSync(disk), ['region.pm'])
      new Region(path, { readOnly: true }).close()
    } else {
      assert.is(code, 'ENOSPC', `a disk of ${size} bytes`)
      assert.equal(readdirSync(disk), [])
      assert.is(used(), 0)
      assert.ok(size < bytes + 64 * KIB)
    }
    command('umount', disk)
  }
  assert.ok(created > 8)
})

test('creation under every limit on the length of files: the same', () => {
  mountMemory(8 * MIB)
  for (const limit of [0, 1, HEADER_BYTES, 2 * HEADER_BYTES, MIB, 2 * MIB - 1]) {
    limitFiles(limit)
    assert.is(
      codeOf(() => Region.create(path, { bytes: 2 * MIB })),
      'EFBIG',
      `a limit of ${limit} bytes`,
    )
    assert.equal(readdirSync(disk), [])
    assert.is(used(), 0)
  }
  limitFiles(2 * MIB)
  Region.create(path, { bytes: 2 * MIB })
  assert.equal(readdirSync(disk), ['region.pm'])
})

test('creation without address space to map it: nothing is left', () => {
  mountMemory(512 * MIB)
  const mapped = Number(/^VmSize:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * KIB
  command('prlimit', '--pid', String(process.pid), `--as=${mapped + 128 * MIB}:unlimited`)
  const code = codeOf(() => Region.create(path, { bytes: 256 * MIB }))
  command('prlimit', '--pid', String(process.pid), '--as=unlimited:unlimited')
  assert.is(code, 'ENOMEM')
  assert.equal(readdirSync(disk), [])
  assert.is(used(), 0)
  Region.create(path, { bytes: 256 * MIB })
})

test('creation without a free inode, and on a read-only disk', () => {
  mountMemory(8 * MIB, ',nr_inodes=1')
  assert.is(
    codeOf(() => Region.create(path, { bytes: 2 * MIB })),
    'ENOSPC',
  )
  command('mount', '-o', 'remount,ro', disk)
  assert.is(
    codeOf(() => Region.create(path, { bytes: 2 * MIB })),
    'EROFS',
  )
  assert.equal(readdirSync(disk), [])
})

test('the library creates nothing either where there is no room, and does once there is', async () => {
  mountMemory(MIB)
  assert.is(
    codeOf(() => openStore(path, { createBytes: 4 * MIB })),
    'ENOSPC',
  )
  assert.equal(readdirSync(disk), [])
  mountMemory(8 * MIB, ',remount')
  const store = openStore(path, { createBytes: 4 * MIB, durability: 'process' })
  await store.put('a', 'b')
  await store.close()
})

test('growth on disks of every size: grown, or as it was', async () => {
  mountMemory(16 * MIB)
  const keys = await makeRegion(2 * MIB)
  const wanted = 6 * MIB
  let refused = 0
  for (let size = 2 * MIB; ; size += 256 * KIB) {
    mountMemory(size, ',remount')
    const code = codeOf(() => growRegionFile(path, wanted))
    if (code === '') break
    refused++
    assert.is(code, 'ENOSPC')
    assert.is(statSync(path).size, 2 * MIB)
    assert.ok(used() <= 2 * MIB, 'what was allocated was given back')
    const region = new Region(path, { readOnly: true })
    assert.is(region.header.growingTo, 0)
    assert.equal(region.headerFaults(), [])
    region.close()
    await assertWhole(keys)
  }
  assert.is(refused, (wanted - 2 * MIB) / (256 * KIB))
  assert.is(statSync(path).size, wanted)
  await assertWhole(keys)
})

test('growth under every limit on the length of files: opens whole each time, and can be repeated', async () => {
  mountMemory(16 * MIB)
  const keys = await makeRegion(2 * MIB)
  // 0: not even a header can be written; one copy; both copies, but nothing behind the region; a part of it.
  for (const limit of [0, HEADER_BYTES, 2 * HEADER_BYTES, 2 * MIB, 2 * MIB + 1, 4 * MIB, 6 * MIB - 1]) {
    limitFiles(limit)
    assert.ok(NO_ROOM.includes(codeOf(() => growRegionFile(path, 6 * MIB))), `a limit of ${limit} bytes`)
    limitFiles('unlimited')
    assert.is(statSync(path).size, 2 * MIB)
    await assertWhole(keys)
  }
  growRegionFile(path, 6 * MIB)
  await assertWhole(keys)
})

test('ext4 runs out in the middle of a growth, and of a creation', async () => {
  const image = join(disk, '..', 'ext4.img')
  writeFileSync(image, '')
  truncateSync(image, 24 * MIB)
  const made = spawnSync('mkfs.ext4', ['-q', '-m', '0', image])
  const mounted = made.status === 0 && spawnSync('mount', ['-o', 'loop', image, disk]).status === 0
  if (!mounted) {
    console.log('SKIP: no ext4 on a loop device here')
    return
  }
  const keys = await makeRegion(2 * MIB)
  const { bavail, bsize } = statfsSync(disk)
  const free = bavail * bsize
  for (const more of [free + MIB, free + 4 * KIB]) {
    assert.is(
      codeOf(() => growRegionFile(path, 2 * MIB + more)),
      'ENOSPC',
    )
    assert.is(statSync(path).size, 2 * MIB)
    assert.ok(statSync(path).blocks * 512 <= 2 * MIB + 64 * KIB, 'what was allocated was given back')
    await assertWhole(keys)
  }
  // statfs promises blocks that the extent tree of the file will need.
  const other = join(disk, 'other.pm')
  assert.is(
    codeOf(() => Region.create(other, { bytes: free + 4 * KIB })),
    'ENOSPC',
  )
  assert.not(existsSync(other))
  assert.equal(readdirSync(disk).sort(), ['lost+found', 'region.pm'])
  growRegionFile(path, 8 * MIB)
  await assertWhole(keys)
})

test.run()
