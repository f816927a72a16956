/**
 * `packrat export`: tshark opens the capture without complaint, the values followed from it equal the store's, and the
 * times are those of the arrivals.
 *
 * @timeout 120
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { Region } from '../../storage/region.ts'
import {
  keyUrl,
  lacks,
  PACKRAT_ADDRESS,
  packrat,
  randomBytes,
  run,
  scratchDirectory,
  send,
  sleep,
  startDaemon,
  untilIdle,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { seededRandom } from '../support/random.ts'

const test = privateNetworkSuite('export', import.meta.url, { timeoutMs: 120_000, missing: lacks('tshark') })

const directory = scratchDirectory()
const region = join(directory, 'export.pm')
const capture = join(directory, 'stored.pcapng')
const random = seededRandom(41)
const NO_FRAME_TYPE = 0x88b5
/** Sizes in bytes of values that arrive in frames alone: one segment, several, many. */
const IN_FRAMES: readonly (readonly [string, number])[] = [
  ['one', 1],
  ['small', 700],
  ['several', 10_000],
  ['large', 300_000],
]
/** One that comes over IPv6, in many frames. */
const OVER_IPV6 = 'over-ipv6'
const ADDRESS6 = 'fd77::2'
const FOLLOWED = [...IN_FRAMES.map(([key]) => key), OVER_IPV6]
const values = new Map<string, Uint8Array>()
const arrivals = new Map<string, string>()

interface Packet {
  readonly time: string
  readonly stream: string
  readonly sequence: number
  readonly payload: Buffer
  readonly type: number
  readonly data: Buffer
  readonly comment: string
}

/** The packets as tshark reads them. */
async function packets(file: string): Promise<Packet[]> {
  const fields = [
    'frame.time_epoch',
    'tcp.stream',
    'tcp.seq_raw',
    'tcp.payload',
    'eth.type',
    'data.data',
    'frame.comment',
  ]
  const separator = '\x1f'
  const wanted = fields.flatMap((field) => ['-e', field])
  const { stdout, stderr, status } = await run('tshark', [
    ...['-r', file, '-T', 'fields', '-E', `separator=${separator}`, '-E', 'occurrence=a'],
    ...['-d', 'tcp.port==80,data', ...wanted],
  ])
  assert.is(status, 0, stderr)
  assert.not.match(stderr, /cut short|damaged|corrupt|appears to/i)
  return stdout
    .toString()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [time, stream, sequence, payload, type, data, comment] = line.split(separator)
      return {
        time: time!,
        stream: stream!,
        sequence: Number(sequence),
        payload: Buffer.from(payload!, 'hex'),
        type: Number(type),
        data: Buffer.from(data!, 'hex'),
        comment: comment!,
      }
    })
}

/** The bytes of a stream in the direction of the PUT, as tshark follows it. */
async function follow(file: string, stream: string): Promise<Buffer> {
  const { stdout, status, stderr } = await run('tshark', ['-r', file, '-q', '-z', `follow,tcp,raw,${stream}`])
  assert.is(status, 0, stderr)
  const lines = stdout.toString().split('\n')
  return Buffer.from(lines.filter((line) => /^[0-9a-f]+$/.test(line)).join(''), 'hex')
}

const nanoseconds = (time: string): string => time.replace('.', '').replace(/^0+/, '')

/** A PUT whose bytes trickle in: head in pieces, value in pieces of 40 bytes. */
async function trickle(key: string, value: Uint8Array): Promise<void> {
  const socket = connect({ host: PACKRAT_ADDRESS, port: 80, noDelay: true })
  const answered = new Promise<string>((resolve, reject) =>
    socket.on('error', reject).on('data', (data) => resolve(`${data}`)),
  )
  const head = `PUT /kv/${key} HTTP/1.1\r\nHost: x\r\nContent-Length: ${value.length}\r\n\r\n`
  socket.write(head.slice(0, 9))
  await sleep(10)
  socket.write(head.slice(9))
  for (let at = 0; at < value.length; at += 40) {
    await sleep(4)
    socket.write(value.subarray(at, at + 40))
  }
  assert.match(await answered, /^HTTP\/1.1 201/)
  socket.destroy()
}

/** A PUT over IPv6, once the kernel may speak from its address. */
async function putOverIpv6(key: string, value: Uint8Array): Promise<void> {
  const deadline = performance.now() + 10_000
  while ((await run('ip', ['-6', 'address', 'show', 'tentative'])).stdout.length > 0) {
    assert.ok(performance.now() < deadline, 'the kernel has no IPv6 address of its own')
    await sleep(100)
  }
  const socket = connect({ host: ADDRESS6, port: 80 })
  const answered = new Promise<string>((resolve, reject) =>
    socket.on('error', reject).on('data', (data) => resolve(`${data}`)),
  )
  socket.write(`PUT /kv/${key} HTTP/1.1\r\nHost: x\r\nContent-Length: ${value.length}\r\n\r\n`)
  socket.write(value)
  assert.match(await answered, /^HTTP\/1.1 201/)
  socket.destroy()
}

test.before(async () => {
  const flags = ['--pm-size', '16M', '--durability', 'process', '--address6', `${ADDRESS6}/64`]
  const daemon = await startDaemon({ region, flags })
  for (const [key, size] of IN_FRAMES) {
    const body = randomBytes(random, size)
    assert.is((await send('PUT', keyUrl(key), { body })).status, 201)
    values.set(key, body)
  }
  values.set('grüße/1', randomBytes(random, 900))
  assert.is((await send('PUT', keyUrl('grüße/1'), { body: values.get('grüße/1')! })).status, 201)
  values.set('trickled', randomBytes(random, 400))
  await trickle('trickled', values.get('trickled')!)
  values.set(OVER_IPV6, randomBytes(random, 50_000))
  await putOverIpv6(OVER_IPV6, values.get(OVER_IPV6)!)
  for (const key of values.keys()) {
    arrivals.set(key, String((await send('HEAD', keyUrl(key))).headers['packrat-arrival']))
  }
  await untilIdle(daemon)
  await daemon.stop()
})

test('values followed from the TCP streams of the capture equal the stored ones, times equal Packrat-Arrival', async () => {
  const { status, stdout, stderr } = await packrat('export', region, '--out', capture)
  assert.is(status, 0, stderr)
  assert.match(stdout.toString(), `${values.size} records`)
  const all = await packets(capture)
  const times = all.map(({ time }) => BigInt(nanoseconds(time)))
  assert.ok(
    times.every((time, i) => i === 0 || time >= times[i - 1]!),
    'in arrival order',
  )

  const streams = new Map<string, Packet[]>()
  for (const packet of all) {
    if (packet.stream !== '') streams.set(packet.stream, [...(streams.get(packet.stream) ?? []), packet])
  }
  // On a busy machine small segments may have waited and been copied together: their bytes are in no frame then.
  const copied = new Set(
    all
      .filter(({ type }) => type === NO_FRAME_TYPE)
      .flatMap(({ comment }) => [...comment.matchAll(/key=(\S+) /g)].map(([, key]) => decodeURIComponent(key!)))
      .filter((key) => FOLLOWED.includes(key)),
  )
  for (const key of copied) console.log(`${key}: some of its segments were copied together`)
  const followed = new Set<string>()
  for (const stream of streams.values()) {
    stream.sort((a, b) => (a.sequence - b.sequence) | 0)
    const bytes = Buffer.concat(stream.map(({ payload }) => payload))
    const key = /^PUT \/kv\/(\S+) HTTP/.exec(bytes.toString('latin1'))?.[1]
    if (key === undefined || !FOLLOWED.includes(key) || copied.has(key)) continue
    followed.add(key)
    assert.ok(bytes.equals(await follow(capture, stream[0]!.stream)), `${key}: tshark follows another stream`)
    assert.ok(stream.every(({ type }) => type === (key === OVER_IPV6 ? 0x86dd : 0x0800)))
    const value = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4)
    const stored = await packrat('get', region, key)
    assert.ok(value.equals(stored.stdout), `${key}: the stream carries another value`)
    assert.ok(value.equals(values.get(key)!))
    assert.is(nanoseconds(stream[0]!.time), arrivals.get(key))
  }
  assert.equal([...followed, ...copied].sort(), [...FOLLOWED].sort())
  assert.ok(followed.size >= 2)
  assert.ok(copied.has('large') || all.some(({ payload }) => payload.length > 2048), 'frames longer than a buffer')
})

test('the comments say where each value lies, copied bytes included', async () => {
  const found = new Map<string, Buffer>([...values].map(([key, value]) => [key, Buffer.alloc(value.length)]))
  let copied = 0
  const raw = await frames(capture)
  for (const { comment, bytes } of raw) {
    if (comment.includes('no-frame')) {
      copied++
      assert.is(bytes.readUInt16BE(12), 0x88b5)
    }
    for (const [, key, offset, length, at] of comment.matchAll(/key=(\S+) .*?value=(\d+)\+(\d+) at=(\d+)/g)) {
      bytes.copy(found.get(decodeURIComponent(key!))!, Number(offset), Number(at), Number(at) + Number(length))
    }
  }
  for (const [key, value] of values) assert.ok(found.get(key)!.equals(value), key)
  assert.ok(copied >= 3, 'the keys of two requests, and gathered pieces')
})

/** Whole frames with their comments, read block by block. */
async function frames(file: string): Promise<{ comment: string; bytes: Buffer }[]> {
  const block = readFileSync(file)
  const out: { comment: string; bytes: Buffer }[] = []
  for (let at = 0; at < block.length; at += block.readUInt32LE(at + 4)) {
    if (block.readUInt32LE(at) !== 6) continue
    const length = block.readUInt32LE(at + 20)
    const option = at + 28 + ((length + 3) & ~3)
    assert.is(block.readUInt16LE(option), 1)
    const comment = block.toString('utf8', option + 4, option + 4 + block.readUInt16LE(option + 2))
    out.push({ comment, bytes: block.subarray(at + 28, at + 28 + length) })
  }
  return out
}

test('imported into a new region the values, their times and their very frames are the same', async () => {
  const copy = join(directory, 'imported.pm')
  Region.create(copy, { bytes: 16 << 20 })
  const { status, stdout, stderr } = await packrat('import', copy, '--from', capture, '--json')
  assert.is(status, 0, stderr)
  assert.equal(JSON.parse(stdout.toString()), { imported: values.size, records: values.size })
  assert.is((await packrat('verify', copy)).status, 0)
  const listing = async (file: string): Promise<string> =>
    (await packrat('list', file)).stdout.toString().replaceAll(/"version":\d+,/g, '')
  assert.is(await listing(copy), await listing(region))
  for (const [key, value] of values) assert.ok((await packrat('get', copy, key)).stdout.equals(value), key)
  const again = join(directory, 'again.pcapng')
  assert.is((await packrat('export', copy, '--out', again)).status, 0)
  const unversioned = (comment: string): string => comment.replaceAll(/version=\d+/g, '')
  const before = await frames(capture)
  const after = await frames(again)
  assert.is(after.length, before.length)
  for (const [index, { comment, bytes }] of before.entries()) {
    assert.is(unversioned(after[index]!.comment), unversioned(comment))
    assert.ok(after[index]!.bytes.equals(bytes), `frame ${index}`)
  }
})

test('a prefix and times choose records: their frames, and no others', async () => {
  const chosen = join(directory, 'chosen.pcapng')
  const nextNs = (key: string): string => String(BigInt(arrivals.get(key)!) + 1n)
  /** The keys of the records that are exported, by the comments of their frames. */
  const keys = async (...flags: string[]): Promise<string[]> => {
    const { stdout, status, stderr } = await packrat('export', region, '--out', chosen, ...flags)
    assert.is(status, 0, stderr)
    const found = new Set<string>()
    for (const { comment } of await frames(chosen))
      for (const [, key] of comment.matchAll(/key=(\S+) .*?value=/g)) found.add(decodeURIComponent(key!))
    assert.is(Number(/^(\d+) records/.exec(stdout.toString())?.[1]), found.size)
    return [...found].sort()
  }
  const between = (from: bigint, to: bigint): string[] =>
    [...values.keys()].filter((key) => from <= BigInt(arrivals.get(key)!) && BigInt(arrivals.get(key)!) < to).sort()
  assert.equal(await keys('--prefix', 's'), ['several', 'small'])
  assert.equal(await keys('--prefix', 'over'), [OVER_IPV6])
  assert.equal(await keys('--prefix', 'no such'), [])
  const [several, large] = ['several', 'large'].map((key) => BigInt(arrivals.get(key)!))
  assert.equal(await keys('--since', String(several), '--until', nextNs('several')), ['several'])
  assert.equal(await keys('--since', String(several)), between(several!, 1n << 63n))
  assert.equal(await keys('--until', String(large)), between(0n, large!))
  assert.equal(await keys('--prefix', 's', '--since', String(several)), ['several'])
  assert.equal(await keys('--until', arrivals.get('one')!), [])
  assert.is((await packets(chosen)).length, 0)
})

test('the region is never the capture, and what cannot be written leaves nothing', async () => {
  const bytes = statSync(region).size
  const same = await packrat('export', region, '--out', region)
  assert.is(same.status, 2)
  assert.match(same.stderr, /is the region itself/)
  assert.is(statSync(region).size, bytes)
  assert.is((await packrat('verify', region)).status, 0)
  const nowhere = join(directory, 'missing', 'x.pcapng')
  assert.is((await packrat('export', region, '--out', nowhere)).status, 3)
  assert.not(existsSync(nowhere))
  assert.is((await packrat('export', region)).status, 2)
})

test.run()
