/** `packrat inspect`, `list` and `get` on a region file: what they print, their exit statuses, and that they change nothing. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EXTENTS_START, LINE_BYTES, W_BUFFER } from '../../storage/layout.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from '../support/random.ts'

const PROGRAM = new URL('../../tools/packrat.js', import.meta.url).pathname
const REGION_BYTES = 1 << 20
const TIMEOUT_MS = 20_000
const folder = mkdtempSync(join(tmpdir(), 'packrat-offline-'))

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))
const LONG = Array.from({ length: 3000 }, (_, i) => `${i} `).join('')
const ENTRIES: readonly (readonly [Uint8Array, string])[] = [
  [text('a'), 'one'],
  [text('ab'), ''],
  [text('b c'), LONG],
  [text('grüße'), 'text'],
  [Uint8Array.of(0xff, 0, 0x61), 'not text'],
]

interface Result {
  readonly status: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

function packrat(...argv: string[]): Result {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...argv], {
    timeout: TIMEOUT_MS,
    maxBuffer: 16 << 20,
  })
  return { status, stdout, stderr: stderr.toString() }
}

/** A region with the entries above; returns its path and the head lines by key. */
async function createRegion(name: string, clean = true): Promise<{ path: string; heads: number[] }> {
  const path = join(folder, name)
  Region.create(path, { bytes: REGION_BYTES })
  const region = new Region(path, { durability: 'process' })
  const store = new Store(region, { random: seededRandom(1), clock: () => 1_700_000_000_000_000_123n })
  region.markOpen()
  for (const [key, value] of ENTRIES) await store.put(key, text(value))
  await store.drain()
  const heads = ENTRIES.map(([key]) => store.find(key, 0, key.length))
  if (clean) region.close(store.nextVersion)
  else region.close()
  return { path, heads }
}

function damage(path: string, offset: number): void {
  const bytes = readFileSync(path)
  bytes[offset]! ^= 0x04
  writeFileSync(path, bytes)
}

const oneLine = (result: Result): void => {
  assert.is(result.stdout.length, 0, 'nothing on standard output')
  assert.match(result.stderr, /^packrat [^\n]+\n$/, 'one line says what is wrong')
}

test.after(() => rmSync(folder, { recursive: true }))

test('inspect tells header, durability, buffers, lines and entries, as JSON and for people', async () => {
  const { path } = await createRegion('inspect.pm')
  const before = readFileSync(path)
  const result = packrat('inspect', path, '--json')
  assert.is(result.status, 0, result.stderr)
  const found = JSON.parse(result.stdout.toString())
  assert.is(found.formatVersion, 1)
  assert.is(found.bytes, REGION_BYTES)
  assert.is(found.cleanShutdown, true)
  assert.match(found.uuid, /^[0-9a-f]{32}$/)
  assert.ok(['dax', 'msync', 'process'].includes(found.durability.class))
  assert.ok(found.durability.evidence.length >= 3)
  assert.is(found.records, ENTRIES.length)
  assert.is(found.buffers.total, found.buffers.free + found.buffers.stored + found.buffers.held)
  assert.is(found.buffers.held, 0)
  assert.ok(found.buffers.stored >= ENTRIES.length)
  assert.is(found.metas.total + 1, found.metas.free + found.metas.committed, 'the anchor is committed, too')
  assert.is(
    found.valueBytes,
    ENTRIES.reduce((sum, [, value]) => sum + value.length, 0),
  )
  assert.equal(found.corrupt, [])
  assert.equal(found.recovery, {
    inserted: 0,
    superseded: 0,
    orphans: 0,
    relinked: false,
    batchChangesCompleted: 0,
    batchChangesUndone: 0,
  })
  const shown = packrat('inspect', path)
  assert.is(shown.status, 0)
  assert.match(shown.stdout.toString(), /^records +5, /m)
  assert.match(shown.stdout.toString(), /last shutdown in order/)
  assert.is(Buffer.compare(readFileSync(path), before), 0, 'the file is unchanged')
})

test('inspect says that a region was not shut down in order', async () => {
  const { path } = await createRegion('unclean.pm', false)
  assert.is(JSON.parse(packrat('inspect', path, '--json').stdout.toString()).cleanShutdown, false)
  assert.match(packrat('inspect', path).stdout.toString(), /NOT in order/)
})

test('list prints the entries in key order, one JSON object a line, and takes bounds', async () => {
  const { path } = await createRegion('list.pm')
  const keys = (...flags: string[]): string[] => {
    const result = packrat('list', path, ...flags)
    assert.is(result.status, 0, result.stderr)
    const lines = result.stdout.toString().split('\n')
    assert.is(lines.pop(), '')
    return lines.map((line) => JSON.parse(line).key)
  }
  assert.equal(keys(), ['a', 'ab', 'b c', 'grüße', '%FF%00a'])
  assert.equal(keys('--prefix', 'a'), ['a', 'ab'])
  assert.equal(keys('--start', 'ab', '--end', 'g'), ['ab', 'b c'])
  assert.equal(keys('--limit', '2', '--reverse'), ['%FF%00a', 'grüße'])
  assert.equal(keys('--prefix', 'zzz'), [])
  const first = packrat('list', path, '--limit', '1').stdout.toString()
  assert.is(first, '{"key":"a","size":3,"version":1,"arrival":1700000000000000123}\n')
  const document = JSON.parse(packrat('list', path, '--json').stdout.toString())
  assert.is(document.entries.length, ENTRIES.length)
  assert.is(document.entries[4].keyEncoding, 'percent')
  assert.equal(JSON.parse(packrat('list', path, '--json', '--prefix', 'zzz').stdout.toString()), { entries: [] })
})

test('get prints exactly the bytes of a value', async () => {
  const { path } = await createRegion('get.pm')
  for (const [key, value] of ENTRIES) {
    const encoded = [...key].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
    const result = packrat('get', path, '--percent', encoded)
    assert.is(result.status, 0, result.stderr)
    assert.is(result.stdout.toString(), value)
  }
  assert.is(packrat('get', path, 'grüße').stdout.toString(), 'text')
  const missing = packrat('get', path, 'nothing')
  assert.is(missing.status, 1)
  oneLine(missing)
  assert.is(packrat('get', path, '--percent', '%zz').status, 1)
})

test('a damaged value is named and never printed; the others are', async () => {
  const { path } = await createRegion('payload.pm')
  damage(path, readFileSync(path).indexOf('100 101 102'))
  const result = packrat('get', path, 'b c')
  assert.is(result.status, 1)
  oneLine(result)
  assert.match(result.stderr, /corrupt/)
  assert.is(packrat('get', path, 'a').stdout.toString(), 'one')
})

test('an entry whose key is lost is missed loudly by list and export, exit status 1', async () => {
  const { path, heads } = await createRegion('lost-key.pm')
  const bufferIndex = EXTENTS_START + heads[2]! * LINE_BYTES + W_BUFFER * 4
  damage(path, bufferIndex + 3)
  const listed = packrat('list', path)
  assert.is(listed.status, 1)
  assert.is(listed.stdout.toString().split('\n').length - 1, ENTRIES.length - 1)
  assert.match(listed.stderr, /^packrat list: CORRUPT: an entry with an unreadable key: [^\n]+\n$/)
  const exported = packrat('export', path, '--out', join(folder, 'lost-key.pcapng'))
  assert.is(exported.status, 1)
  assert.match(exported.stdout.toString(), /^4 records, /)
  assert.match(exported.stderr, /^packrat export: CORRUPT, and left out: an entry with an unreadable key: [^\n]+\n$/)
})

test('a damaged line is reported by inspect with its key, exit status 1', async () => {
  const { path, heads } = await createRegion('line.pm')
  damage(path, EXTENTS_START + heads[2]! * LINE_BYTES + 8)
  const result = packrat('inspect', path, '--json')
  assert.is(result.status, 1)
  const { corrupt } = JSON.parse(result.stdout.toString())
  assert.is(corrupt.length, 1)
  assert.is(corrupt[0].key, 'b c')
  assert.is(corrupt[0].meta, heads[2])
  const shown = packrat('inspect', path)
  assert.is(shown.status, 1)
  assert.match(shown.stdout.toString(), /^CORRUPT +\{"key":"b c"/m)
  assert.is(packrat('get', path, 'b c').status, 1)
  assert.is(packrat('get', path, 'a').status, 0)
})

test('what is no region, damaged, in use or not there is one line and exit status 3', async () => {
  const { path } = await createRegion('held.pm')
  const stranger = join(folder, 'stranger')
  writeFileSync(stranger, 'a file that is no region\n'.repeat(2000))
  const truncated = join(folder, 'truncated.pm')
  writeFileSync(truncated, readFileSync(path).subarray(0, REGION_BYTES - 4096))
  const headless = join(folder, 'headless.pm')
  const bytes = readFileSync(path)
  for (const at of [100, 4096 + 100]) bytes[at]! ^= 1
  writeFileSync(headless, bytes)
  const held = new Region(path, { durability: 'process' })
  try {
    for (const file of [join(folder, 'missing.pm'), stranger, truncated, headless, folder, path]) {
      for (const command of ['inspect', 'list']) {
        const result = packrat(command, file)
        assert.is(result.status, 3, `${command} ${file}: ${result.stderr}`)
        oneLine(result)
        assert.ok(result.stderr.includes(file), 'it names the file')
      }
      assert.is(packrat('get', file, 'a').status, 3)
    }
  } finally {
    held.close()
  }
  assert.is(packrat('get', path, 'a').status, 0, 'free again')
})

test('grow makes a region larger and keeps its entries; inspect shows it', async () => {
  const { path } = await createRegion('grown.pm')
  const grown = packrat('grow', path, '3M', '--json')
  assert.is(grown.status, 0, grown.stderr)
  const { bytesBefore, bytes, buffersBefore, buffers } = JSON.parse(grown.stdout.toString())
  assert.equal([bytesBefore, bytes], [REGION_BYTES, 3 << 20])
  const found = JSON.parse(packrat('inspect', path, '--json').stdout.toString())
  assert.ok(buffers > buffersBefore)
  assert.is(found.buffers.total, buffers)
  assert.equal([found.bytes, found.growingTo, found.extents.length], [3 << 20, 0, 2])
  assert.is(packrat('get', path, 'b c').stdout.toString(), LONG)
  assert.match(packrat('grow', path, '4M').stdout.toString(), /3M grew to 4M: \d+ buffers instead of \d+, in 3 extents/)
  const less = packrat('grow', path, '4M')
  assert.is(less.status, 3)
  assert.match(less.stderr, /^packrat grow: .*no growth; name a larger size\n$/)
  assert.is(packrat('grow', path, 'large').status, 2)
})

test('what cannot be written is one line and exit status 3', async () => {
  const { path } = await createRegion('full-disk.pm')
  const full = openSync('/dev/full', 'w')
  for (const argv of [
    ['list', path],
    ['get', path, 'a'],
  ]) {
    const stdio: ['ignore', number, 'pipe'] = ['ignore', full, 'pipe']
    const { status, stderr } = spawnSync(process.execPath, [PROGRAM, ...argv], { timeout: TIMEOUT_MS, stdio })
    assert.is(status, 3)
    assert.match(stderr.toString(), /^packrat [^\n]*cannot write to standard output: ENOSPC[^\n]+\n$/)
  }
  closeSync(full)
})

test('a value that does not fit into the file it is sent to is not cut short in silence', async () => {
  const { path } = await createRegion('short-write.pm')
  const file = join(folder, 'short-write.out')
  const get = `"${process.execPath}" "${PROGRAM}" get ${path} 'b c'`
  const { status, stderr } = spawnSync('bash', ['-c', `ulimit -f 4; ${get} > ${file}`], { timeout: TIMEOUT_MS })
  assert.is(status, 3)
  assert.match(stderr.toString(), /^packrat get: cannot write to standard output: EFBIG[^\n]+\n$/)
  spawnSync('bash', ['-c', `${get} > ${file}; ${get} >> ${file}`], { timeout: TIMEOUT_MS })
  assert.is(readFileSync(file, 'utf8'), LONG + LONG)
})

test('wrong usage is one line and exit status 2; --help is 0', () => {
  for (const argv of [
    ['inspect'],
    ['inspect', 'a', 'b'],
    ['inspect', 'a', '--jsno'],
    ['list', 'a', '--limit', 'many'],
    ['get', 'a'],
    ['nonsense'],
  ]) {
    const result = packrat(...argv)
    assert.is(result.status, 2, argv.join(' '))
    assert.match(result.stderr, /^packrat[^\n]+\n$/)
  }
  for (const command of ['inspect', 'list', 'get']) {
    const result = packrat(command, '--help')
    assert.is(result.status, 0)
    assert.match(result.stdout.toString(), new RegExp(`^packrat ${command}: `))
  }
})

for (const [command, ...rest] of [['list'], ['list', '--json'], ['get', 'long']] as const) {
  test(`${command} ${rest.join(' ')} ends quietly when its reader has seen enough`, async () => {
    const path = join(folder, 'much.pm')
    rmSync(path, { force: true })
    Region.create(path, { bytes: REGION_BYTES })
    const region = new Region(path, { durability: 'process' })
    const store = new Store(region, { random: seededRandom(1) })
    for (let i = 0; i < 200; i++) await store.put(text(`${'k'.repeat(1000)}${i}`), text('v'))
    await store.put(text('long'), new Uint8Array(200_000))
    await store.drain()
    region.close(store.nextVersion)
    const child = spawn(process.execPath, [PROGRAM, command, path, ...rest], { timeout: TIMEOUT_MS })
    let stderr = ''
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk
    })
    child.stdout.once('data', () => child.stdout.destroy())
    const [status] = await once(child, 'close')
    assert.is(status, 0)
    assert.is(stderr, '')
  })
}

test.run()
