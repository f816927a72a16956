/** `packrat import`: captures and lines of JSON come in whole or are refused before anything is written. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DIRECTION_UNKNOWN, PcapngWriter } from '../../drivers/pcapng.ts'
import { adoptHead } from '../../storage/entry.ts'
import { PackratError } from '../../storage/errors.ts'
import { NO_META } from '../../storage/layout.ts'
import { OP_WORDS } from '../../storage/persist-program.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { CaptureImport } from '../../tools/import/capture.ts'
import { LinesImport } from '../../tools/import/lines.ts'
import { Progress } from '../../tools/import/progress.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const PROGRAM = new URL('../../tools/packrat.js', import.meta.url).pathname
const TIMEOUT_MS = 30_000
const MIB = 1 << 20
const folder = mkdtempSync(join(tmpdir(), 'packrat-import-'))
const random = seededRandom(announceSeed('import', 8))
test.after(() => rmSync(folder, { recursive: true, force: true }))

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

function packrat(...argv: string[]): { status: number | null; stdout: Buffer; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...argv], {
    timeout: TIMEOUT_MS,
    maxBuffer: 64 << 20,
  })
  return { status, stdout, stderr: stderr.toString() }
}

function emptyRegion(name: string, bytes = MIB): string {
  const path = join(folder, name)
  Region.create(path, { bytes })
  return path
}

async function withStore(path: string, body: (store: Store) => Promise<void>): Promise<void> {
  const region = new Region(path, { durability: 'process' })
  let time = 1_700_000_000_000_000_000n
  const store = new Store(region, { random: seededRandom(1), clock: () => time++ })
  region.markOpen()
  await body(store)
  await store.drain()
  region.close(store.nextVersion)
}

const listing = (file: string): string => packrat('list', file).stdout.toString()

test('a capture of copied values comes in again: keys of any bytes, empty, small and long values, times, order', async () => {
  const source = emptyRegion('source.pm', 2 * MIB)
  await withStore(source, async (store) => {
    for (let index = 0; index < 60; index++) {
      const key = Uint8Array.from({ length: 1 + (index % 40) }, () => random())
      await store.put(
        key,
        Uint8Array.from({ length: (index * 173) % 7000 }, () => random()),
      )
    }
    await store.put(bytesOf('empty'), new Uint8Array(0))
    await store.put(bytesOf('k'.repeat(1024)), bytesOf('long key'))
  })
  const capture = join(folder, 'source.pcapng')
  assert.is(packrat('export', source, '--out', capture).status, 0)
  const target = emptyRegion('target.pm', 2 * MIB)
  const result = packrat('import', target, '--from', capture)
  assert.is(result.status, 0, result.stderr)
  assert.match(result.stdout.toString(), /^62 records imported from .*source\.pcapng; .*target\.pm has 62 now\n$/)
  assert.is(listing(target), listing(source))
  assert.is(packrat('verify', target).status, 0)
  const again = join(folder, 'target.pcapng')
  assert.is(packrat('export', target, '--out', again).status, 0)
  assert.is(packrat('import', target, '--from', again).status, 0, 'over itself')
  assert.is(listing(target).replaceAll(/"version":\d+/g, ''), listing(source).replaceAll(/"version":\d+/g, ''))
})

test('a capture that is damaged or cut anywhere is refused, and the region is not touched', async () => {
  const source = emptyRegion('cut.pm')
  await withStore(source, async (store) => {
    await store.put(bytesOf('first'), new Uint8Array(5000).fill(1))
    await store.put(bytesOf('second'), bytesOf('short'))
  })
  const capture = join(folder, 'cut.pcapng')
  assert.is(packrat('export', source, '--out', capture).status, 0)
  const whole = readFileSync(capture)
  const target = emptyRegion('untouched.pm')
  const before = readFileSync(target)
  const damaged = join(folder, 'damaged.pcapng')
  const refused = (bytes: Uint8Array, expected: RegExp): void => {
    writeFileSync(damaged, bytes)
    const { status, stderr } = packrat('import', target, '--from', damaged)
    assert.is(status, 3, stderr)
    assert.match(stderr, /^packrat import: [^\n]+\n$/)
    assert.match(stderr, expected)
    assert.ok(readFileSync(target).equals(before), 'the region is as it was')
  }
  refused(new Uint8Array(0), /ends inside a block|no pcapng/)
  refused(bytesOf('this is no capture, whatever its name'), /is no pcapng file/)
  for (const share of [0.3, 0.6, 0.9]) {
    refused(whole.subarray(0, Math.floor((whole.length * share) / 4) * 4 + 1), /ends inside a block/)
  }
  // Without the last packet that holds a piece of the first value.
  const blocks: Buffer[] = []
  for (let at = 0; at < whole.length; at += whole.readUInt32LE(at + 4)) {
    blocks.push(whole.subarray(at, at + whole.readUInt32LE(at + 4)))
  }
  const pieces = blocks.filter((block) => block.includes('key=first'))
  assert.ok(pieces.length > 2)
  for (const missing of pieces) {
    refused(
      Buffer.concat(blocks.filter((block) => block !== missing)),
      /key first, version 1, not every piece is there/,
    )
  }
  refused(Buffer.from(whole.toString('latin1').replace('value=0+', 'value=0-'), 'latin1'), /comment that is none/)
  refused(Buffer.from(whole.toString('latin1').replace(/ at=(\d)/, ' at=9'), 'latin1'), /shorter than its comment says/)
})

interface MadePacket {
  readonly comment: string
  readonly bytes: Uint8Array
  readonly timeHigh?: number
}

function makeCapture(packets: readonly MadePacket[]): string {
  const path = join(folder, 'made.pcapng')
  const chunks: Uint8Array[] = []
  const writer = new PcapngWriter((chunk) => chunks.push(chunk))
  writer.writeSection({ application: 'made' })
  const wire = writer.writeInterface({ name: 'made' })
  for (const { comment, bytes, timeHigh = 1 } of packets) {
    writer.beginPacket(wire, 0, timeHigh, bytes.length, DIRECTION_UNKNOWN, comment)
    writer.append(bytes, 0, bytes.length)
    writer.endPacket()
  }
  writer.flush()
  writeFileSync(path, Buffer.concat(chunks))
  return path
}

test('views that no buffer can hold are refused before anything is written', () => {
  const target = emptyRegion('made.pm')
  const before = readFileSync(target)
  const copy = 'packrat no-frame: bytes of which the store has no frame\n'
  const bytes = new Uint8Array(3000).fill(0x6b)
  for (const [packet, expected] of [
    [{ comment: `${copy}packrat key=k version=1 size=4 key-at=14+1 value=0+4 at=9` }, /in the header that export made/],
    [{ comment: `${copy}packrat key=k version=1 size=4 key-at=3+1 value=0+4 at=20` }, /in the header that export made/],
    [{ comment: 'packrat key=k version=1 size=4 key-at=2500+1 value=0+4 at=60' }, /not in its first buffer/],
    [{ comment: 'packrat key=k version=1 size=4 key-at=60+1 value=0+4 at=2500' }, /not in its first buffer/],
    [{ comment: 'packrat key=k version=1 size=4 key-at=60+1 value=0+4 at=70', timeHigh: 2 ** 31 }, /has a time/],
  ] as const) {
    const length = packet.comment.startsWith(copy) ? 100 : bytes.length
    const capture = makeCapture([{ bytes: bytes.subarray(0, length), ...packet }])
    const { status, stderr } = packrat('import', target, '--from', capture)
    assert.is(status, 3, stderr)
    assert.match(stderr, expected)
    assert.ok(readFileSync(target).equals(before))
  }
})

test('whether a packet is a frame is told by its comment alone', () => {
  const target = emptyRegion('told.pm')
  const bytes = Uint8Array.from({ length: 2062 }, (_, at) => at)
  bytes.set([0x88, 0xb5], 12)
  const capture = makeCapture([
    { comment: 'packrat key=%00 version=1 size=3 key-at=0+1 value=0+3 at=2', bytes },
    {
      comment: 'packrat no-frame\npackrat key=%10 version=2 size=2 key-at=16+1 value=0+2 at=2060',
      bytes: bytes.slice().fill(8, 12, 14),
    },
  ])
  const { status, stderr } = packrat('import', target, '--from', capture)
  assert.is(status, 0, stderr)
  assert.equal([...packrat('get', target, '--percent', '%00').stdout], [2, 3, 4])
  assert.equal([...packrat('get', target, '--percent', '%10').stdout], [2060 & 0xff, 2061 & 0xff])
})

test('bytes flipped anywhere in a capture are refused in words, or make no difference to what it says', () => {
  const whole = readFileSync(join(folder, 'cut.pcapng'))
  const flippedFile = join(folder, 'flipped.pcapng')
  let refused = 0
  for (let at = 0; at < whole.length; at += 7) {
    const flipped = Buffer.from(whole)
    flipped[at]! ^= 1 << (random() & 7)
    writeFileSync(flippedFile, flipped)
    try {
      new CaptureImport(flippedFile).close()
    } catch (error) {
      assert.ok(error instanceof PackratError, `byte ${at}: ${error}`)
      refused++
    }
  }
  console.log(
    `${refused} of ${Math.ceil(whole.length / 7)} flips refused; the others are in bytes of values, times and names`,
  )
  assert.ok(refused > 10)
})

test('lines of JSON: text, base 64, deletions, arrival times', async () => {
  const target = emptyRegion('lines.pm')
  const file = join(folder, 'lines.ndjson')
  const lines = [
    '{"key":"a","value":"text","arrival":"1700000000000000001"}',
    '',
    '{"op":"put","key":"b","valueBase64":"AAEC"}',
    '{"keyBase64":"/w==","value":"no text in the key"}',
    '{"key":"gone","value":"x"}',
    '{"op":"delete","key":"gone"}',
  ]
  writeFileSync(file, lines.join('\n'))
  const { status, stdout, stderr } = packrat('import', target, '--from', file, '--json')
  assert.is(status, 0, stderr)
  assert.equal(JSON.parse(stdout.toString()), { imported: 5, records: 3 })
  assert.match(listing(target), /^\{"key":"a","size":4,"version":1,"arrival":1700000000000000001\}\n/)
  assert.equal([...packrat('get', target, 'b').stdout], [0, 1, 2])
  assert.is(packrat('get', target, '--percent', '%FF').stdout.toString(), 'no text in the key')
  assert.is(packrat('get', target, 'gone').status, 1)
})

test('large records are committed one by one: what a program holds has a limit', async () => {
  const region = new TracingRegion({ regionBytes: 32 * MIB })
  const store = new Store(region, { random: seededRandom(1) })
  const progress = new Progress(store)
  const { execute } = region
  let longest = 0
  region.execute = (program, words) => {
    longest = Math.max(longest, words)
    return execute.call(region, program, words)
  }
  const buffers = 5000
  for (const name of ['a', 'b']) {
    await progress.makeRoom(buffers)
    let head = NO_META
    let tail = NO_META
    for (let i = 0; i < buffers; i++) {
      const meta = store.pool.createView(store.pool.allocateBuffer(), 0, 1, 0)
      if (head === NO_META) {
        store.pool.bufferBytes(store.pool.buffer(meta))[store.pool.dataStartOf(meta)] = name.charCodeAt(0)
        adoptHead(store.pool, meta, 0, 1)
        head = meta
      } else store.appendFragment(head, tail, meta)
      tail = meta
    }
    store.stagePut(head, tail)
    await progress.staged()
  }
  await progress.finish()
  assert.is(progress.records, 2)
  assert.ok(longest < 2 * buffers * OP_WORDS + 100, `${longest} words`)
})

test('records whose sync failed are not counted as imported', async () => {
  const file = join(folder, 'failing.ndjson')
  writeFileSync(file, '{"key":"a","value":"x"}\n')
  const region = new TracingRegion({ asynchronous: true })
  const lines = new LinesImport(file)
  const store = new Store(region, { random: seededRandom(1), clock: lines.clock })
  const progress = new Progress(store)
  await lines.write(store, progress)
  assert.is(progress.records, 1)
  region.failure = -5
  let code = ''
  await lines.write(store, progress).catch((error: { code: string }) => {
    code = error.code
  })
  assert.is(code, 'POISONED')
  assert.is(progress.records, 1)
})

test('a bad line is named, and the lines before it are not written', () => {
  const target = emptyRegion('bad-lines.pm')
  const before = readFileSync(target)
  const file = join(folder, 'bad.ndjson')
  for (const [line, expected] of [
    ['{"key":"b"}', /line 2: exactly one of "value"/],
    ['[]', /line 2: not a JSON object/],
    ['{"key":"b","value":"x","colour":"red"}', /line 2: unknown member "colour"/],
    ['{"key":"b","value":"x","ifNoneMatch":"*"}', /line 2: conditions are for/],
    ['{"key":"b","value":"x","arrival":17}', /line 2: "arrival" is no string/],
    ['{"key":"b","value":"x","arrival":"9223372036854775808"}', /line 2: "arrival" is no string/],
  ] as const) {
    writeFileSync(file, `{"key":"a","value":"good"}\n${line}\n`)
    const { status, stderr } = packrat('import', target, '--from', file)
    assert.is(status, 3)
    assert.match(stderr, expected)
    assert.ok(readFileSync(target).equals(before))
  }
})

test('a region that becomes full says how much is stored, and takes the rest once it has grown', () => {
  const target = emptyRegion('small.pm')
  const file = join(folder, 'many.ndjson')
  const many = Array.from({ length: 600 }, (_, index) => JSON.stringify({ key: `k${index}`, value: 'v'.repeat(1500) }))
  writeFileSync(file, many.join('\n'))
  const full = packrat('import', target, '--from', file)
  assert.is(full.status, 3)
  const stored = Number(/full after (\d+) records, which are stored/.exec(full.stderr)?.[1])
  assert.ok(stored > 50 && stored < 600, full.stderr)
  assert.is(listing(target).trim().split('\n').length, stored)
  assert.is(packrat('grow', target, '4M').status, 0)
  assert.is(packrat('import', target, '--from', file).status, 0)
  assert.is(listing(target).trim().split('\n').length, 600)
  assert.is(packrat('verify', target).status, 0)
})

test('wrong usage is exit status 2, a missing file or region 3', () => {
  const target = emptyRegion('usage.pm')
  assert.is(packrat('import', target).status, 2)
  assert.match(packrat('import', target, '--from', 'x.csv').stderr, /neither \.pcapng nor \.ndjson/)
  assert.is(packrat('import', target, '--from', join(folder, 'missing.ndjson')).status, 3)
  assert.is(packrat('import', target, '--from', join(folder, 'missing.pcapng')).status, 3)
  writeFileSync(join(folder, 'one.ndjson'), '{"key":"a","value":"b"}')
  assert.is(packrat('import', join(folder, 'missing.pm'), '--from', join(folder, 'one.ndjson')).status, 3)
})

test.run()
