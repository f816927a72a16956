/**
 * Files of regions: creation that leaves all or nothing, locks, what is refused, mappings.
 * Files lie in a private folder of the temporary directory; the full disk is a small tmpfs in a mount namespace.
 */
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RegionError } from '../../storage/errors.ts'
import * as pmem from '../../storage/pmem.ts'

const BYTES = 1 << 20
const WRITABLE = { writable: true, lock: 'exclusive' } as const
const READABLE = { writable: false, lock: 'shared' } as const

let folder = ''
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'packrat-pmem-'))
})
test.after.each(() => {
  rmSync(folder, { recursive: true })
})

function throwsCode(code: string, call: () => unknown, text = ''): void {
  try {
    call()
  } catch (error) {
    assert.instance(error, RegionError)
    assert.is((error as RegionError).code, code, (error as RegionError).message)
    assert.ok((error as RegionError).message.includes(text), (error as RegionError).message)
    return
  }
  assert.unreachable(`no error; expected ${code}`)
}

test('a region appears under its name only when it is published, with every byte allocated', () => {
  const path = join(folder, 'a.pm')
  const handle = pmem.createRegionFile(path, BYTES)
  assert.equal(readdirSync(folder), ['a.pm.creating'])
  pmem.writeRegion(handle, 5, Uint8Array.of(1, 2, 3))
  pmem.publishRegionFile(handle)
  assert.equal(readdirSync(folder), ['a.pm'])
  const { size, blocks, mode } = statSync(path)
  assert.is(size, BYTES)
  assert.ok(blocks * 512 >= BYTES, `sparse: ${blocks} blocks`)
  assert.is(mode & 0o777, 0o600)
  assert.equal(pmem.readRegion(handle, 4, 5), Uint8Array.of(0, 1, 2, 3, 0))
  pmem.closeRegion(handle)
  assert.equal([...readFileSync(path).subarray(4, 9)], [0, 1, 2, 3, 0])
})

test('an abandoned or closed unpublished file leaves nothing', () => {
  const path = join(folder, 'a.pm')
  pmem.abandonRegionFile(pmem.createRegionFile(path, BYTES))
  assert.equal(readdirSync(folder), [])
  pmem.closeRegion(pmem.createRegionFile(path, BYTES))
  assert.equal(readdirSync(folder), [])
})

test('a published file cannot be abandoned or published again', () => {
  const handle = pmem.createRegionFile(join(folder, 'a.pm'), BYTES)
  pmem.publishRegionFile(handle)
  throwsCode('EINVAL', () => pmem.abandonRegionFile(handle))
  throwsCode('EINVAL', () => pmem.publishRegionFile(handle))
  pmem.closeRegion(handle)
  assert.ok(existsSync(join(folder, 'a.pm')))
})

test('a leftover of a dead creator is taken over', () => {
  const path = join(folder, 'a.pm')
  writeFileSync(`${path}.creating`, Buffer.alloc(3 * BYTES, 7))
  const handle = pmem.createRegionFile(path, BYTES)
  pmem.publishRegionFile(handle)
  pmem.closeRegion(handle)
  assert.equal(readFileSync(path), Buffer.alloc(BYTES))
})

test('two creators of one path: the second is refused and harms nothing', () => {
  const path = join(folder, 'a.pm')
  const first = pmem.createRegionFile(path, BYTES)
  throwsCode('ELOCKED', () => pmem.createRegionFile(path, BYTES), 'in use by another process')
  pmem.publishRegionFile(first)
  pmem.closeRegion(first)
  assert.is(statSync(path).size, BYTES)
})

test('an existing file is never replaced, whether it was there before or came meanwhile', () => {
  const path = join(folder, 'a.pm')
  writeFileSync(path, 'mine')
  throwsCode('EEXIST', () => pmem.createRegionFile(path, BYTES))
  rmSync(path)
  const handle = pmem.createRegionFile(path, BYTES)
  writeFileSync(path, 'mine')
  throwsCode('EEXIST', () => pmem.publishRegionFile(handle))
  pmem.abandonRegionFile(handle)
  assert.equal(readdirSync(folder), ['a.pm'])
  assert.is(readFileSync(path, 'utf8'), 'mine')
})

test('publishing works where the file system cannot rename without replacing', () => {
  const source = `
    import { closeRegion, createRegionFile, publishRegionFile } from MODULE
    import { readdirSync, writeFileSync } from 'node:fs'
    const path = process.argv[1] + '/a.pm'
    let handle = createRegionFile(path, 4096)
    publishRegionFile(handle)
    closeRegion(handle)
    handle = createRegionFile(path + '2', 4096)
    writeFileSync(path + '2', 'mine')
    let code = 'none'
    try { publishRegionFile(handle) } catch (error) { code = error.code }
    closeRegion(handle)
    console.log(JSON.stringify([code, readdirSync(process.argv[1])]))`
  const script = source.replaceAll('MODULE', JSON.stringify(new URL('../../storage/pmem.js', import.meta.url).href))
  const strace = [
    '-f',
    '-qq',
    '-o',
    join(folder, 'trace'),
    '-e',
    'trace=renameat2',
    '-e',
    'inject=renameat2:error=EINVAL',
  ]
  const command = [...strace, process.execPath, '--input-type=module', '-e', script, join(folder, 'files')]
  mkdirSync(join(folder, 'files'))
  const result = spawnSync('strace', command, { encoding: 'utf8', timeout: 15_000 })
  if (result.error !== undefined || result.stderr.includes('ptrace')) {
    console.log(
      `SKIP: rename without RENAME_NOREPLACE: strace cannot run here (${result.error?.message ?? result.stderr.split('\n')[0]})`,
    )
    return
  }
  assert.is(result.status, 0, result.stderr)
  assert.match(readFileSync(join(folder, 'trace'), 'utf8'), /renameat2.*INJECTED/)
  assert.equal(JSON.parse(result.stdout), ['EEXIST', ['a.pm', 'a.pm2']])
})

test('an exclusive lock excludes everyone, shared locks only writers', () => {
  const path = join(folder, 'a.pm')
  writeFileSync(path, Buffer.alloc(BYTES))
  const writer = pmem.openRegionFile(path, WRITABLE)
  throwsCode('ELOCKED', () => pmem.openRegionFile(path, WRITABLE), 'stop the process that holds it')
  throwsCode('ELOCKED', () => pmem.openRegionFile(path, READABLE))
  pmem.closeRegion(writer)
  const readers = [pmem.openRegionFile(path, READABLE), pmem.openRegionFile(path, READABLE)]
  throwsCode('ELOCKED', () => pmem.openRegionFile(path, WRITABLE))
  for (const reader of readers) pmem.closeRegion(reader)
})

test('what is no region file is refused by name and left alone', () => {
  throwsCode('ENOENT', () => pmem.openRegionFile(join(folder, 'none'), WRITABLE), 'check the path')
  throwsCode('EFTYPE', () => pmem.openRegionFile(folder, READABLE), 'neither a regular file nor a DAX device')
  throwsCode('EFTYPE', () => pmem.openRegionFile(folder, WRITABLE))
  throwsCode('EFTYPE', () => pmem.openRegionFile('/dev/null', WRITABLE))
  throwsCode('EFTYPE', () => pmem.openRegionFile('/dev/zero', READABLE))
  throwsCode('ENOTDIR', () => pmem.openRegionFile('/dev/null/a', READABLE))
  throwsCode('EINVAL', () => pmem.openRegionFile('', READABLE))
  throwsCode('EINVAL', () => pmem.openRegionFile('a\0b', READABLE))
  throwsCode('EINVAL', () => pmem.openRegionFile(`/${'x'.repeat(5000)}`, READABLE))
  assert.is(spawnSync('mkfifo', [join(folder, 'fifo')]).status, 0)
  throwsCode('EFTYPE', () => pmem.openRegionFile(join(folder, 'fifo'), READABLE))
})

test('creation in a bad place fails and leaves nothing', () => {
  throwsCode('ENOENT', () => pmem.createRegionFile(join(folder, 'no', 'a.pm'), BYTES))
  throwsCode('EFTYPE', () => pmem.createRegionFile(`${folder}/`, BYTES))
  throwsCode('EINVAL', () => pmem.createRegionFile(join(folder, 'a.pm'), 0))
  throwsCode('EINVAL', () => pmem.createRegionFile(join(folder, 'a.pm'), 1.5))
  throwsCode('EINVAL', () => pmem.createRegionFile(join(folder, 'a.pm'), Number.NaN))
  assert.throws(() => pmem.createRegionFile(join(folder, 'a.pm'), 2 ** 53 - 1)) // EFBIG or ENOSPC, by file system
  mkdirSync(join(folder, 'b.pm.creating'))
  throwsCode('EISDIR', () => pmem.createRegionFile(join(folder, 'b.pm'), BYTES))
  symlinkSync('/dev/null', join(folder, 'c.pm.creating'))
  throwsCode('EFTYPE', () => pmem.createRegionFile(join(folder, 'c.pm'), BYTES))
  symlinkSync('nowhere', join(folder, 'd.pm'))
  throwsCode('EEXIST', () => pmem.createRegionFile(join(folder, 'd.pm'), BYTES))
  assert.equal(readdirSync(folder).sort(), ['b.pm.creating', 'c.pm.creating', 'd.pm'])
})

/**
 * Runs a module in a mount namespace of its own where `folder` is a file system of that type, and gives what it
 * printed as JSON. `MODULE` in the source stands for storage/pmem. Undefined, said out loud, where that is not possible.
 */
function inMount(type: string, options: string, source: string): unknown {
  const script = source.replaceAll('MODULE', JSON.stringify(new URL('../../storage/pmem.js', import.meta.url).href))
  const mounted = `mount -t ${type} -o ${options} none "$1" || exit 77; exec "$0" --input-type=module -e "$2" "$1"`
  const shell = ['sh', '-c', mounted, process.execPath, folder, script]
  const result = spawnSync('unshare', [process.getuid?.() === 0 ? '-m' : '-rm', ...shell], {
    encoding: 'utf8',
    timeout: 15_000,
  })
  if (result.error !== undefined || result.status === 77 || result.stderr.includes('unshare failed')) {
    console.log(`SKIP: ${type} in a private mount namespace: ${result.error?.message ?? result.stderr.split('\n')[0]}`)
    return undefined
  }
  assert.is(result.status, 0, result.stderr)
  return JSON.parse(result.stdout)
}

test('a full disk at creation: ENOSPC, and nothing left', () => {
  const script = `
    import { readdirSync } from 'node:fs'
    import { createRegionFile } from MODULE
    let message = 'none'
    try { createRegionFile(process.argv[1] + '/a.pm', 8 << 20) } catch (error) { message = error.code + ' ' + error.message }
    console.log(JSON.stringify([message, readdirSync(process.argv[1])]))`
  const seen = inMount('tmpfs', 'size=4m', script)
  if (seen === undefined) return
  const [message, left] = seen as [string, string[]]
  assert.match(message, /^ENOSPC .*free space or choose a smaller size/)
  assert.equal(left, [])
})

test('a region on huge pages is written through its mapping, and must be whole huge pages', () => {
  const script = `
    import { closeRegion, createRegionFile, mapRegion, openRegionFile, persistRange, publishRegionFile, readRegion } from MODULE
    import { regionFileInfo, setRegionBarrier, syncRegion, wrapRegion, writeRegion } from MODULE
    const [path, page] = [process.argv[1] + '/a.pm', 2 << 20]
    let handle = createRegionFile(path, 2 * page)
    writeRegion(handle, page, Uint8Array.of(1, 2, 3))
    syncRegion(handle)
    publishRegionFile(handle)
    mapRegion(handle)
    setRegionBarrier(handle, 'sync')
    new Uint8Array(wrapRegion(handle, 0, page))[7] = 7
    persistRange(handle, 0, page)
    closeRegion(handle)
    handle = openRegionFile(path, { writable: false, lock: 'shared' })
    const seen = [regionFileInfo(handle).fsName, ...readRegion(handle, page, 4), ...readRegion(handle, 7, 1)]
    closeRegion(handle)
    try { mapRegion(createRegionFile(path + '2', page / 2)) } catch (error) { seen.push(error.code) }
    console.log(JSON.stringify(seen))`
  const free = Number(/^HugePages_Free: *(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0)
  if (free < 4) {
    console.log(`SKIP: hugetlbfs: ${free} huge pages are free, 4 are needed (/proc/sys/vm/nr_hugepages)`)
    return
  }
  const seen = inMount('hugetlbfs', 'pagesize=2M', script)
  if (seen !== undefined) assert.equal(seen, ['hugetlbfs', 1, 2, 3, 0, 7, 'EINVAL'])
})

test('reads and writes stay inside the file', () => {
  const handle = pmem.createRegionFile(join(folder, 'a.pm'), BYTES)
  throwsCode('ERANGE', () => pmem.writeRegion(handle, BYTES - 1, new Uint8Array(2)))
  throwsCode('ERANGE', () => pmem.readRegion(handle, BYTES - 1, 2))
  throwsCode('EINVAL', () => pmem.readRegion(handle, -1, 2))
  throwsCode('EINVAL', () => pmem.readRegion(handle, 0, 2 ** 40))
  assert.is(pmem.readRegion(handle, BYTES, 0).length, 0)
  assert.is(pmem.regionFileInfo(handle).bytes, BYTES)
  pmem.syncRegion(handle)
  pmem.abandonRegionFile(handle)
})

test('the file system is told by name', () => {
  const expected = spawnSync('stat', ['-f', '-c', '%t %T', folder], { encoding: 'utf8' }).stdout.trim().split(' ')
  const handle = pmem.createRegionFile(join(folder, 'a.pm'), BYTES)
  const info = pmem.regionFileInfo(handle)
  assert.is(info.fsType.toString(16), expected[0])
  assert.is(info.fsName, expected[1] === 'ext2/ext3' ? 'ext4' : expected[1])
  assert.is(info.device, false)
  pmem.abandonRegionFile(handle)
})

test('a wrap shows the mapping, is the same when asked again, and must not overlap', () => {
  const path = join(folder, 'a.pm')
  const handle = pmem.createRegionFile(path, BYTES)
  pmem.publishRegionFile(handle)
  throwsCode('EINVAL', () => pmem.wrapRegion(handle, 0, 4096)) // not mapped yet
  assert.is(pmem.mapRegion(handle).mapping, 'shared')
  const first = pmem.wrapRegion(handle, 4096, 8192)
  assert.is(pmem.wrapRegion(handle, 4096, 8192), first)
  for (const [offset, length] of [
    [0, 4097],
    [4096, 4096],
    [12287, 1],
    [0, BYTES],
  ]) {
    throwsCode('EEXIST', () => pmem.wrapRegion(handle, offset!, length!))
  }
  throwsCode('ERANGE', () => pmem.wrapRegion(handle, BYTES - 1, 2))
  throwsCode('EINVAL', () => pmem.wrapRegion(handle, 0, 0))
  const second = pmem.wrapRegion(handle, 12288, 4096)
  new Uint8Array(first)[0] = 17
  new Uint8Array(second)[1] = 18
  pmem.persistRange(handle, 0, BYTES)
  pmem.closeRegion(handle)
  assert.is(first.byteLength, 0)
  assert.is(second.byteLength, 0)
  const content = readFileSync(path)
  assert.is(content[4096], 17)
  assert.is(content[12289], 18)
})

test('prefaulting changes no byte and stays inside the file', () => {
  const handle = pmem.createRegionFile(join(folder, 'a.pm'), BYTES)
  throwsCode('EINVAL', () => pmem.prefaultRange(handle, 0, 4096)) // not mapped yet
  pmem.writeRegion(handle, 5000, Uint8Array.of(9))
  pmem.mapRegion(handle)
  for (const barrier of ['cpu-no-flush', 'sync'] as const) {
    pmem.setRegionBarrier(handle, barrier)
    assert.type(pmem.prefaultRange(handle, 5000, BYTES - 5000), 'boolean')
    assert.ok(pmem.prefaultRange(handle, 100, 0))
    throwsCode('ERANGE', () => pmem.prefaultRange(handle, 1, BYTES))
  }
  assert.is(pmem.readRegion(handle, 5000, 1)[0], 9)
  assert.is(new Uint8Array(pmem.wrapRegion(handle, 0, BYTES)).indexOf(9), 5000)
  pmem.abandonRegionFile(handle)
})

test('stores into a region opened for reading stay in this process', () => {
  const path = join(folder, 'a.pm')
  writeFileSync(path, Buffer.alloc(BYTES, 5))
  const handle = pmem.openRegionFile(path, READABLE)
  assert.equal(pmem.mapRegion(handle), { mapSync: false, mapping: 'private' })
  const bytes = new Uint8Array(pmem.wrapRegion(handle, 0, BYTES))
  assert.is(bytes[9], 5)
  bytes[9] = 6
  throwsCode('EROFS', () => pmem.writeRegion(handle, 0, bytes.slice(0, 1)))
  pmem.closeRegion(handle)
  assert.equal(readFileSync(path), Buffer.alloc(BYTES, 5))
})

test('a closed handle is refused everywhere and never means the next region', () => {
  const path = join(folder, 'a.pm')
  const old = pmem.createRegionFile(path, BYTES)
  pmem.abandonRegionFile(old)
  const next = pmem.createRegionFile(path, BYTES)
  assert.is.not(next, old)
  for (const handle of [
    old,
    -1,
    0,
    1.5,
    Number.NaN,
    2 ** 32,
    'x' as unknown as number,
    undefined as unknown as number,
  ]) {
    throwsCode('EBADF', () => pmem.mapRegion(handle))
    throwsCode('EBADF', () => pmem.closeRegion(handle))
    assert.is(pmem.sumView(handle, 0, 0, 1), -1)
    assert.is(pmem.execute(handle, new Int32Array(4), 4), pmem.EXECUTE_CLOSED)
  }
  pmem.abandonRegionFile(next)
})

test('a process has a bounded number of regions, and gets them back', () => {
  const handles: number[] = []
  throwsCode('EMFILE', () => {
    for (let i = 0; i < 1000; i++) handles.push(pmem.createRegionFile(join(folder, `${i}.pm`), 4096))
  })
  assert.is(handles.length, 64)
  for (const handle of handles) pmem.abandonRegionFile(handle)
  assert.equal(readdirSync(folder), [])
  pmem.abandonRegionFile(pmem.createRegionFile(join(folder, 'a.pm'), 4096))
})

test.run()
