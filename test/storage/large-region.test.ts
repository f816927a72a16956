/**
 * Regions beyond 4 GiB: values in every extent, up to the end of the file, are written by a process that is killed, and
 * read back by every tool. The file has all its blocks, few of them are ever touched; what a disk lacks is skipped.
 *
 *   PACKRAT_LARGE_DIRECTORY=/dev/shm   another place: tmpfs, say, where every block is memory
 *   PACKRAT_LARGE_BYTES=8589934592     another size than 16 GiB
 *
 * @alone
 * @timeout 180
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { statfsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RegionError } from '../../storage/errors.ts'
import { openStore } from '../../storage/index.ts'
import { BUFFER_BYTES, EXTENT_BUFFERS_MAX, EXTENTS_MAX, LINE_BYTES } from '../../storage/layout.ts'
import { Region } from '../../storage/region.ts'
import { crossingKey, crossingValue } from '../support/crossing-values.ts'
import { packrat, run, scratchDirectory } from '../support/lab.ts'

const GIB = 2 ** 30
const DIRECTORY = process.env.PACKRAT_LARGE_DIRECTORY ?? tmpdir()
const LARGE_BYTES = Number(process.env.PACKRAT_LARGE_BYTES ?? 16 * GIB)
/** What a test leaves free for others. */
const SPARE_BYTES = 2 * GIB
const WRITER = fileURLToPath(new URL('../support/extent-writer.js', import.meta.url))
const WRITER_TIMEOUT_MS = 60_000

const directory = scratchDirectory(DIRECTORY)

/** Creates a region, or says why this machine cannot hold it. */
function created(path: string, bytes: number, needed = bytes): boolean {
  const { bavail, bsize } = statfsSync(directory)
  const free = bavail * bsize
  if (free < needed + SPARE_BYTES) {
    console.log(
      `SKIP: ${(needed + SPARE_BYTES) / GIB} GiB are needed in ${DIRECTORY}, ${(free / GIB).toFixed(1)} are free`,
    )
    return false
  }
  try {
    Region.create(path, { bytes })
    return true
  } catch (error) {
    if (!(error instanceof RegionError) || error.code !== 'ENOTSUP') throw error
    console.log(`SKIP: ${error.message}`)
    return false
  }
}

/** Has values written into every extent, and kills the writer. @returns the number of extents */
async function writeAndKill(path: string, durability: string, prefix: string): Promise<number> {
  const child = spawn(process.execPath, [WRITER, path, durability, prefix], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const timer = setTimeout(() => child.kill('SIGKILL'), WRITER_TIMEOUT_MS)
  let extents = 0
  for await (const line of createInterface({ input: child.stdout })) {
    extents = Number(/^written: (\d+)$/.exec(line)?.[1])
    break
  }
  child.kill('SIGKILL')
  clearTimeout(timer)
  await exited
  assert.ok(extents > 0, 'the writer did not get through')
  return extents
}

/** Opens the region as it was left, and reads every value. */
async function assertRecovers(path: string, written: ReadonlyMap<string, Buffer>): Promise<void> {
  const from = performance.now()
  const store = openStore(path, { durability: 'process' })
  const openMs = performance.now() - from
  assert.equal(store.corrupt, [])
  assert.is(store.records, written.size)
  for (const [key, value] of written) assert.ok(value.equals(store.get(key)!), key)
  await store.put('after the crash', 'written')
  assert.is(Buffer.from(store.get('after the crash')!).toString(), 'written')
  assert.ok(await store.delete('after the crash'))
  await store.close()
  console.log(`${path}: opened behind a kill in ${openMs.toFixed(0)} ms`)
}

interface Inspection {
  readonly bytes: number
  readonly unusedBytes: number
  readonly linesPerBuffer: number
  readonly extents: readonly { readonly offset: number; readonly buffers: number }[]
  readonly buffers: Record<'total' | 'free' | 'stored' | 'held', number>
  readonly records: number
}

/** Every offline tool reads the same. */
async function assertTools(path: string, bytes: number, written: ReadonlyMap<string, Buffer>): Promise<void> {
  const inspection = await packrat('inspect', path, '--json')
  assert.is(inspection.status, 0, inspection.stderr)
  const found = JSON.parse(inspection.stdout.toString()) as Inspection
  assert.is(found.bytes, bytes)
  assert.is(found.records, written.size)
  assert.is(found.buffers.free + found.buffers.stored + found.buffers.held, found.buffers.total)
  const extentsEnd = found.extents.at(-1)!
  const bufferBytes = BUFFER_BYTES + found.linesPerBuffer * LINE_BYTES
  assert.is(extentsEnd.offset + extentsEnd.buffers * bufferBytes + found.unusedBytes, bytes)
  const verified = await packrat('verify', path, '--json')
  assert.is(verified.status, 0, verified.stderr)
  assert.equal(JSON.parse(verified.stdout.toString()).corrupt, [])
  const listed = await packrat('list', path)
  assert.is(listed.stdout.toString().trimEnd().split('\n').length, written.size)
  const lastKey = [...written.keys()].at(-1)!
  assert.ok(written.get(lastKey)!.equals((await packrat('get', path, lastKey)).stdout))
  const capture = `${path}.pcapng`
  const exported = await packrat('export', path, '--out', capture)
  assert.is(exported.status, 0, exported.stderr)
  assert.match(exported.stdout.toString(), new RegExp(`^${written.size} records`))
  await run('rm', [capture])
}

/** Where the bytes are, said by the file itself: each value but the last begins in the third buffer from its extent's end. */
async function assertPlaces(path: string, prefix: string): Promise<void> {
  const region = new Region(path, { readOnly: true })
  const { extents, linesPerBuffer } = region.header
  region.close()
  const file = await open(path)
  for (const [extent, { offset, buffers }] of extents.slice(0, -1).entries()) {
    const place = offset + buffers * linesPerBuffer * LINE_BYTES + (buffers - 3) * BUFFER_BYTES
    const key = crossingKey(prefix, extent)
    const { buffer } = await file.read(Buffer.alloc(key.length), 0, key.length, place)
    assert.is(buffer.toString(), key, `at byte ${place}`)
  }
  await file.close()
}

function expect(written: Map<string, Buffer>, prefix: string, extents: number): void {
  for (let extent = 0; extent < extents; extent++)
    written.set(crossingKey(prefix, extent), crossingValue(prefix, extent))
}

test(`a region of ${LARGE_BYTES / GIB} GiB: values in each extent survive a kill, and every tool reads them`, async () => {
  const path = join(directory, 'large.pm')
  if (!created(path, LARGE_BYTES)) return
  const written = new Map<string, Buffer>()
  const extents = await writeAndKill(path, process.env.PACKRAT_LARGE_DIRECTORY ? 'process' : 'msync', 'large')
  assert.is(extents, Math.ceil(LARGE_BYTES / (EXTENT_BUFFERS_MAX * (BUFFER_BYTES + 2 * LINE_BYTES))))
  expect(written, 'large', extents)
  await assertPlaces(path, 'large')
  await assertRecovers(path, written)
  await assertTools(path, LARGE_BYTES, written)
  await run('rm', [path])
})

test('a region of 2 GiB grows to 6: what was in it and what comes into the new extents survive kills', async () => {
  const path = join(directory, 'grown.pm')
  if (!created(path, 2 * GIB, 6 * GIB)) return
  const written = new Map<string, Buffer>()
  const before = await writeAndKill(path, 'process', 'before')
  expect(written, 'before', before)
  const growth = await packrat('grow', path, '6G', '--json')
  assert.is(growth.status, 0, growth.stderr)
  const { extents, buffers, buffersBefore } = JSON.parse(growth.stdout.toString())
  assert.ok(extents > before && buffers > 2.9 * buffersBefore)
  assert.is(await writeAndKill(path, 'process', 'grown'), extents)
  expect(written, 'grown', extents)
  await assertRecovers(path, written)
  await assertTools(path, 6 * GIB, written)
  await run('rm', [path])
})

test('what is beyond the largest region is left unused, not wrapped around', () => {
  const path = join(directory, 'huge.pm')
  const largest = EXTENTS_MAX * EXTENT_BUFFERS_MAX * (BUFFER_BYTES + 2 * LINE_BYTES)
  if (!created(path, largest + GIB)) return
  const region = new Region(path, { readOnly: true })
  const { extents } = region.header
  assert.is(extents.length, EXTENTS_MAX)
  assert.is(region.pool.totalBuffers, EXTENTS_MAX * EXTENT_BUFFERS_MAX)
  assert.ok(region.pool.isBuffer(region.pool.bufferIndexEnd - 1) && !region.pool.isBuffer(region.pool.bufferIndexEnd))
  assert.ok(region.pool.isMeta(region.pool.metaIndexEnd - 1) && !region.pool.isMeta(region.pool.metaIndexEnd))
  region.close()
})

test.run()
