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
/** Sizes in bytes of values that arrive in frames alone: one segment, several, many. */
const IN_FRAMES: readonly (readonly [string, number])[] = [
  ['one', 1],
  ['small', 700],
  ['several', 10_000],
  ['large', 300_000],
]
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

test.before(async () => {
  const daemon = await startDaemon({ region, flags: ['--pm-size', '16M', '--durability', 'process'] })
  for (const [key, size] of IN_FRAMES) {
    const body = randomBytes(random, size)
    assert.is((await send('PUT', keyUrl(key), { body })).status, 201)
    values.set(key, body)
  }
  values.set('grüße/1', randomBytes(random, 900))
  assert.is((await send('PUT', keyUrl('grüße/1'), { body: values.get('grüße/1')! })).status, 201)
  values.set('trickled', randomBytes(random, 400))
  await trickle('trickled', values.get('trickled')!)
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
  const followed = new Set<string>()
  for (const stream of streams.values()) {
    stream.sort((a, b) => (a.sequence - b.sequence) | 0)
    const bytes = Buffer.concat(stream.map(({ payload }) => payload))
    const key = /^PUT \/kv\/(\S+) HTTP/.exec(bytes.toString('latin1'))?.[1]
    if (key === undefined || !IN_FRAMES.some(([name]) => name === key)) continue
    followed.add(key)
    const value = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4)
    const stored = await packrat('get', region, key)
    assert.ok(value.equals(stored.stdout), `${key}: the stream carries another value`)
    assert.ok(value.equals(values.get(key)!))
    assert.is(nanoseconds(stream[0]!.time), arrivals.get(key))
  }
  assert.equal([...followed].sort(), IN_FRAMES.map(([key]) => key).sort())
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

test('a prefix and times choose records', async () => {
  const chosen = join(directory, 'chosen.pcapng')
  const records = async (...flags: string[]): Promise<number> => {
    const { stdout, status, stderr } = await packrat('export', region, '--out', chosen, ...flags)
    assert.is(status, 0, stderr)
    return Number(/^(\d+) records/.exec(stdout.toString())?.[1])
  }
  assert.is(await records('--prefix', 's'), 2)
  const several = arrivals.get('several')!
  assert.is(await records('--since', several, '--until', String(BigInt(several) + 1n)), 1)
  assert.is(await records('--until', arrivals.get('one')!), 0)
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
