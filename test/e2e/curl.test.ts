/**
 * What a new user does: curl against the daemon over TAP. Every answer is compared with what was stored, byte by byte.
 *
 * @timeout 240
 */
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import {
  curl,
  curlStatus,
  type Daemon,
  keyUrl,
  LAB_HAS_LONG_FRAMES,
  lacks,
  PACKRAT_ADDRESS,
  PACKRAT_URL,
  randomBytes,
  run,
  scratchDirectory,
  send,
  startDaemon,
  untilIdle,
  within,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const MAX_VALUE_BYTES = 256 << 20
const ANSWER_TIMEOUT_MS = 10_000

const test = privateNetworkSuite('curl', import.meta.url, { timeoutMs: 240_000, missing: lacks('curl', 'ping') })

const random = seededRandom(announceSeed('curl', 77))
let directory = ''
let daemon: Daemon

test.before(async () => {
  directory = scratchDirectory()
  daemon = await startDaemon({
    region: join(directory, 'curl.pm'),
    flags: ['--pm-size', '1G', '--durability', 'process', '--max-value', '256M'],
  })
})

test.after(async () => {
  if (daemon?.alive) await daemon.stop()
})

/** A file of random bytes; large ones repeat a 1 MiB block with its number in front, so that no two blocks are equal. */
function valueFile(name: string, bytes: number): { file: string; value: Buffer } {
  const block = Buffer.from(randomBytes(random, Math.min(bytes, 1 << 20)))
  const value = Buffer.alloc(bytes)
  for (let at = 0; at < bytes; at += block.length) {
    block.copy(value, at)
    if (at + 4 <= bytes) value.writeUInt32LE(at, at)
  }
  const file = join(directory, name)
  writeFileSync(file, value)
  return { file, value }
}

async function remove(key: string): Promise<void> {
  assert.is((await send('DELETE', keyUrl(key))).status, 204)
}

test('ping is answered', async () => {
  const { status, stdout } = await run('ping', ['-c', '3', '-i', '0.2', '-W', '2', PACKRAT_ADDRESS])
  assert.is(status, 0, stdout.toString())
  assert.match(stdout.toString(), /3 received/)
})

for (const [label, bytes] of [
  ['0 B', 0],
  ['1 B', 1],
  ['1 KB', 1000],
  ['1460 B', 1460],
  ['64 KB', 64 << 10],
  ['16 MB', 16 << 20],
  ['200 MB', 200 << 20],
] as const) {
  test(`curl -T stores ${label}, and curl reads the same bytes`, async () => {
    const { file, value } = valueFile('upload', bytes)
    const url = `${PACKRAT_URL}/kv/upload`
    assert.is(await curlStatus('-T', file, url), 201)
    const { stdout, status, stderr } = await curl(url)
    assert.is(status, 0, stderr)
    assert.is(stdout.length, bytes)
    assert.ok(stdout.equals(value), 'the bytes differ')
    await remove('upload')
  })
}

test('a second PUT replaces: 204, another ETag, the new bytes', async () => {
  const first = await send('PUT', keyUrl('replaced'), { body: Buffer.from('first') })
  const second = await send('PUT', keyUrl('replaced'), { body: Buffer.from('second') })
  assert.is(first.status, 201)
  assert.is(second.status, 204)
  assert.match(first.headers.etag!, /^"\d+"$/)
  assert.is.not(first.headers.etag, second.headers.etag)
  const read = await send('GET', keyUrl('replaced'))
  assert.is(read.body.toString(), 'second')
  assert.is(read.headers.etag, second.headers.etag)
  assert.match(read.headers['packrat-arrival'] as string, /^\d{19}$/)
  assert.ok(Math.abs(Date.now() - Date.parse(read.headers['last-modified']!)) < 60_000)
})

test('HEAD has the headers of GET and no body; a missing key is 404', async () => {
  await send('PUT', keyUrl('head'), { body: Buffer.alloc(3000, 'h') })
  const head = await send('HEAD', keyUrl('head'))
  assert.is(head.status, 200)
  assert.is(head.headers['content-length'], '3000')
  assert.is(head.body.length, 0)
  for (const method of ['GET', 'HEAD', 'DELETE']) assert.is((await send(method, keyUrl('never'))).status, 404, method)
})

test('DELETE removes the value', async () => {
  await send('PUT', keyUrl('deleted'), { body: Buffer.from('x') })
  assert.is(await curlStatus('-X', 'DELETE', keyUrl('deleted')), 204)
  assert.is(await curlStatus(keyUrl('deleted')), 404)
})

test('ranges give exactly their bytes, or 416', async () => {
  const { file, value } = valueFile('ranged', 100_000)
  assert.is(await curlStatus('-T', file, keyUrl('ranged')), 201)
  for (const [range, start, end] of [
    ['0-0', 0, 1],
    ['0-99999', 0, 100_000],
    ['1-4', 1, 5],
    ['1447-1449', 1447, 1450],
    ['50000-', 50_000, 100_000],
    ['-7', 99_993, 100_000],
    ['99999-200000', 99_999, 100_000],
  ] as const) {
    const part = await send('GET', keyUrl('ranged'), { headers: { range: `bytes=${range}` } })
    assert.is(part.status, 206, range)
    assert.is(part.headers['content-range'], `bytes ${start}-${end - 1}/100000`)
    assert.ok(part.body.equals(value.subarray(start, end)), `bytes ${range} differ`)
  }
  const beyond = await send('GET', keyUrl('ranged'), { headers: { range: 'bytes=100000-' } })
  assert.is(beyond.status, 416)
  assert.is(beyond.headers['content-range'], 'bytes */100000')
})

test('conditional requests: 304 and 412 by ETag, and nothing is changed by a refused PUT', async () => {
  const created = await send('PUT', keyUrl('conditional'), {
    body: Buffer.from('one'),
    headers: { 'if-none-match': '*' },
  })
  assert.is(created.status, 201)
  const etag = created.headers.etag!
  assert.is((await send('GET', keyUrl('conditional'), { headers: { 'if-none-match': etag } })).status, 304)
  assert.is((await send('GET', keyUrl('conditional'), { headers: { 'if-none-match': '"0"' } })).status, 200)
  for (const headers of [{ 'if-none-match': '*' }, { 'if-match': '"0"' }] as Record<string, string>[]) {
    const refused = await send('PUT', keyUrl('conditional'), { body: Buffer.from('two'), headers })
    assert.is(refused.status, 412, JSON.stringify(headers))
  }
  assert.is((await send('GET', keyUrl('conditional'))).body.toString(), 'one')
  const matched = await send('PUT', keyUrl('conditional'), {
    body: Buffer.from('three'),
    headers: { 'if-match': etag },
  })
  assert.is(matched.status, 204)
  assert.is((await send('GET', keyUrl('conditional'))).body.toString(), 'three')
})

test('keys hold every byte value', async () => {
  for (let byte = 0; byte < 256; byte++) {
    const key = Uint8Array.of(0x62, byte, 0x65) // b?e
    assert.is((await send('PUT', keyUrl(key), { body: Uint8Array.of(byte) })).status, 201, `byte ${byte}`)
  }
  for (let byte = 0; byte < 256; byte++) {
    const { status, body } = await send('GET', keyUrl(Uint8Array.of(0x62, byte, 0x65)))
    assert.is(status, 200, `byte ${byte}`)
    assert.equal([...body], [byte], `byte ${byte}`)
  }
  // Upper and lower case escapes, and an escape that is not needed, name the same key.
  for (const path of ['b%fFe', 'b%FFe', '%62%ff%65']) {
    assert.equal([...(await send('GET', `${PACKRAT_URL}/kv/${path}`)).body], [255], path)
  }
})

test('the listing is in key order, and prefix, start, end, limit and reverse select', async () => {
  const names = ['list/b', 'list/a', 'list/ab', 'list/c', 'list/B', 'list/a b']
  for (const name of names) await send('PUT', keyUrl(name), { body: Buffer.from(name) })
  const list = async (query: string): Promise<{ key: string; size: number; version: number; arrival: unknown }[]> => {
    const { status, body } = await send('GET', `${PACKRAT_URL}/kv?${query}`)
    assert.is(status, 200, query)
    return body
      .toString()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
  }
  const keys = async (query: string) => (await list(query)).map(({ key }) => key)
  const ordered = [...names].sort()
  assert.equal(await keys('prefix=list/'), ordered)
  assert.equal(await keys('prefix=list%2F&reverse=true'), [...ordered].reverse())
  assert.equal(await keys('prefix=list/&limit=2'), ordered.slice(0, 2))
  assert.equal(await keys('start=list/ab&end=list/c'), ['list/ab', 'list/b'])
  assert.equal(await keys('prefix=nothing/'), [])
  const [entry] = await list('prefix=list/ab')
  assert.equal(Object.keys(entry!).sort(), ['arrival', 'key', 'size', 'version'])
  assert.is(entry!.size, 'list/ab'.length)
})

test('the listing shows every key byte, in byte order; what is not UTF-8 is percent-encoded and says so', async () => {
  for (let byte = 0; byte < 256; byte++) {
    await send('PUT', keyUrl(Uint8Array.of(0x7e, byte, 0x65)), { body: Buffer.from('x') }) // ~?e
  }
  const { body } = await send('GET', `${PACKRAT_URL}/kv?prefix=~&limit=1000`)
  const entries = body.toString().trim().split('\n')
  assert.is(entries.length, 256)
  for (let byte = 0; byte < 256; byte++) {
    const { key, keyEncoding } = JSON.parse(entries[byte]!)
    const text = byte < 0x80
    assert.is(key, text ? `~${String.fromCharCode(byte)}e` : `~%${byte.toString(16).toUpperCase()}e`, `byte ${byte}`)
    assert.is(keyEncoding, text ? undefined : 'percent', `byte ${byte}`)
  }
})

/** Bytes copied of a chunked upload: where its chunks end is a matter of time, and small pieces are put together. */
let chunkBytesCopied = 0

test('an upload of unknown length comes chunked and is stored whole', async () => {
  const value = Buffer.from(randomBytes(random, 300_000))
  const before = (await untilIdle(daemon)).payloadBytesCopied
  const { status, stdout } = await run(
    'curl',
    ['-sS', '-o', '/dev/null', '-w', '%{http_code}', '-T', '-', keyUrl('chunked')],
    { input: value },
  )
  assert.is(status, 0)
  assert.is(stdout.toString(), '201')
  assert.ok((await send('GET', keyUrl('chunked'))).body.equals(value))
  chunkBytesCopied = (await untilIdle(daemon)).payloadBytesCopied - before
  assert.ok(chunkBytesCopied < value.length / 10, `${chunkBytesCopied} bytes copied`)
})

test('Expect: 100-continue is answered before the body is sent', async () => {
  const { file, value } = valueFile('expected', 5000)
  const outcome = await curl(
    '-v',
    '-H',
    'Expect: 100-continue',
    '--expect100-timeout',
    '30',
    '-T',
    file,
    keyUrl('expected'),
  )
  assert.is(outcome.status, 0, outcome.stderr)
  assert.match(outcome.stderr, /< HTTP\/1\.1 100/)
  assert.match(outcome.stderr, /< HTTP\/1\.1 201/)
  assert.ok((await send('GET', keyUrl('expected'))).body.equals(value))
})

test('a value over the limit is refused before it is sent', async () => {
  const { stderr, status } = await raw(
    `PUT /kv/huge HTTP/1.1\r\nHost: x\r\nContent-Length: ${MAX_VALUE_BYTES + 1}\r\n\r\n`,
    (text) => /^HTTP\/1\.1 \d{3}/.test(text),
  ).then(
    (text) => ({ stderr: text, status: Number(text.slice(9, 12)) }),
    (error: Error) => ({ stderr: error.message, status: 0 }),
  )
  assert.is(status, 413, stderr)
})

/** Sends bytes on a socket of its own and collects the answer until `complete` or the end of the connection. */
function raw(bytes: string, complete: (text: string) => boolean): Promise<string> {
  const socket = connect(80, PACKRAT_ADDRESS)
  let text = ''
  const answer = new Promise<string>((resolve, reject) => {
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (complete(text)) resolve(text)
    })
    socket.on('end', () => resolve(text))
    socket.on('error', reject)
  })
  socket.write(bytes, 'latin1')
  return within(ANSWER_TIMEOUT_MS, answer, `no complete answer (so far: ${JSON.stringify(text)})`).finally(() =>
    socket.destroy(),
  )
}

test('pipelined requests are answered in their order', async () => {
  const rounds = 50
  let bytes = ''
  for (let round = 0; round < rounds; round++) {
    const value = `value ${round}`
    bytes += `PUT /kv/pipe HTTP/1.1\r\nHost: x\r\nContent-Length: ${value.length}\r\n\r\n${value}`
    bytes += 'GET /kv/pipe HTTP/1.1\r\nHost: x\r\n\r\n'
  }
  bytes += 'GET /kv/pipe-absent HTTP/1.1\r\nHost: x\r\n\r\n'
  const text = await raw(bytes, (sofar) => sofar.includes('HTTP/1.1 404'))
  const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => match[1])
  assert.equal(statuses, ['201', '200', ...Array.from({ length: rounds - 1 }, () => ['204', '200']).flat(), '404'])
  const values = [...text.matchAll(/value (\d+)/g)].map((match) => Number(match[1]))
  assert.equal(
    values,
    Array.from({ length: rounds }, (_, round) => round),
  )
})

test('malformed requests and request-smuggling shapes get 400 and a closed connection', async () => {
  for (const [name, request] of [
    ['two lengths', 'PUT /kv/s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
    [
      'length and chunked',
      'PUT /kv/s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['space before colon', 'GET /kv/s HTTP/1.1\r\nHost : x\r\n\r\n'],
    ['bare line feed in a header', 'GET /kv/s HTTP/1.1\r\nHost: x\nEvil: y\r\n\r\n'],
    ['no host', 'GET /kv/s HTTP/1.1\r\n\r\n'],
    ['bad escape', 'GET /kv/%zz HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['negative length', 'PUT /kv/s HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n'],
  ] as const) {
    const text = await raw(request, () => false) // until the server closes
    assert.match(text, /^HTTP\/1\.1 400/, name)
  }
  assert.is((await send('GET', keyUrl('s'))).status, 404)
})

test('PUT without a length is 411, a key over 1024 bytes 414', async () => {
  const text = await raw('PUT /kv/l HTTP/1.1\r\nHost: x\r\n\r\n', (sofar) => sofar.includes('\r\n\r\n'))
  assert.match(text, /^HTTP\/1\.1 411/)
  assert.is((await send('PUT', keyUrl('k'.repeat(1024)), { body: Buffer.from('v') })).status, 201)
  assert.is((await send('PUT', keyUrl('k'.repeat(1025)), { body: Buffer.from('v') })).status, 414)
})

/**
 * Of all other uploads, 216 MB: the pieces at the ends of curl's writes may be small, and are put together then. Where those ends
 * are is a matter of time, too.
 */
const WRITE_ENDS_COPIED_MAX = 65_536

test('statistics are the same document by both addresses, and no payload byte was copied but at the ends of writes', async () => {
  const admin = await untilIdle(daemon)
  const own = await daemon.stats(PACKRAT_URL)
  assert.equal(Object.keys(own).sort(), Object.keys(admin).sort())
  assert.is(own.records, admin.records)
  // The last piece of a frame that is larger than a buffer may be small: it is put beside its neighbour then.
  const copied = admin.payloadBytesCopied - chunkBytesCopied
  if (!LAB_HAS_LONG_FRAMES) assert.ok(copied <= WRITE_ENDS_COPIED_MAX, `${copied} bytes copied`)
  assert.is(admin.buffers.free + admin.buffers.stored, admin.buffers.total)
})

test('an orderly stop ends with status 0', async () => {
  assert.equal(await daemon.stop(), { status: 0, signal: null })
})

test.run()
