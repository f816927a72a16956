/** POST /kv/_batch: all or nothing, in order with what is pipelined around it, and every refusal names its line. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BATCH_OPERATIONS_MAX, parseBatchLines } from '../../tools/kv/batch-lines.ts'
import { HeldRegion } from '../support/held-region.ts'
import { get, HOST, put, remove, request } from '../support/http-requests.ts'
import { KvBench } from '../support/kv-bench.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const lines = (...operations: object[]): string => operations.map((line) => `${JSON.stringify(line)}\n`).join('')
const batch = (body: string, fields: readonly string[] = []): string =>
  request('POST', '/kv/_batch', fields, Buffer.from(body).toString('latin1'))
const json = (body: Buffer): Record<string, unknown> => JSON.parse(body.toString()) as Record<string, unknown>

function refusal(bench: KvBench, body: string): { status: number; line: unknown; error: string } {
  const { status, body: answer } = bench.one(batch(body))
  const { line, error } = json(answer)
  return { status, line, error: String(error) }
}

test('puts and deletes of one request are done together; the reply counts them and tells the version', () => {
  const bench = new KvBench()
  const client = bench.connect()
  client.exchange(put('gone', 'x'))
  const copied = bench.store.payloadBytesCopied
  const [reply] = client.exchange(
    batch(
      lines(
        { op: 'put', key: 'grüße', value: 'straße' },
        { op: 'put', keyBase64: '/wA=', valueBase64: 'AAECAw==' },
        { op: 'delete', key: 'gone' },
        { op: 'put', key: 'twice', value: 'first' },
        { op: 'put', key: 'twice', value: 'last' },
      ),
    ),
  )
  assert.is(reply!.status, 200)
  assert.equal(json(reply!.body), { committed: 5, version: 5 })
  assert.is(client.exchange(get('gr%C3%BC%C3%9Fe'))[0]!.body.toString(), 'straße')
  assert.equal([...client.exchange(get('%FF%00'))[0]!.body], [0, 1, 2, 3])
  assert.is(client.exchange(get('twice'))[0]!.body.toString(), 'last')
  assert.is(client.exchange(get('gone'))[0]!.status, 404)
  assert.is(bench.store.payloadBytesCopied - copied, 7 + 4 + 4, 'what is copied is counted')
  assert.is(bench.service.counters.batches, 1)
  client.close()
  assert.is(bench.leaks(), '')
})

test('the key _batch is a key like any other for GET, PUT and DELETE', () => {
  const bench = new KvBench()
  assert.is(bench.one(put('_batch', 'x')).status, 201)
  assert.is(bench.one(batch(lines({ op: 'delete', key: '_batch' }))).status, 200)
  assert.is(bench.one(get('_batch')).status, 404)
  assert.is(bench.one(remove('_batch')).status, 404)
})

test('a body may be chunked, split anywhere, and end without a line feed', () => {
  const bench = new KvBench()
  const body = Buffer.from(`\n${lines({ op: 'put', key: 'a', value: 'ü'.repeat(700) })}\r\n{"op":"delete","key":"b"}`)
  const half = body.length >> 1
  const coded = Buffer.concat([
    Buffer.from(`POST /kv/_batch HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${half.toString(16)}\r\n`),
    body.subarray(0, half),
    Buffer.from(`\r\n${(body.length - half).toString(16)}\r\n`),
    body.subarray(half),
    Buffer.from('\r\n0\r\n\r\n'),
  ])
  const whole = Buffer.from(batch(body.toString()), 'latin1')
  for (const bytes of [coded, whole]) {
    for (let cut = 1; cut < bytes.length; cut += 37) {
      const client = bench.connect()
      client.trickle([bytes.subarray(0, cut), bytes.subarray(cut)])
      const [reply] = client.responses(['POST'])
      assert.is(reply!.status, 200, `cut at ${cut}`)
      client.close()
    }
  }
  assert.is(bench.one(get('a')).body.toString(), 'ü'.repeat(700))
  assert.is(bench.leaks(), '')
})

test('requests pipelined around a batch are answered in order, each on the state that it finds', () => {
  const bench = new KvBench()
  const client = bench.connect()
  const responses = client.exchange(
    put('a', '1') +
      batch(lines({ op: 'put', key: 'a', value: '2' })) +
      get('a') +
      batch('\n') +
      put('a', '3') +
      get('a'),
    ['PUT', 'POST', 'GET', 'POST', 'PUT', 'GET'],
  )
  assert.equal(
    responses.map(({ status }) => status),
    [201, 200, 200, 200, 204, 200],
  )
  assert.is(responses[2]!.body.toString(), '2')
  assert.is(responses[5]!.body.toString(), '3')
  client.close()
  assert.is(bench.leaks(), '')
})

const MALFORMED: [string, string, RegExp][] = [
  ['text that is no JSON', '{op}', /not a JSON object/],
  ['an array', '[]', /not a JSON object/],
  ['null', 'null', /not a JSON object/],
  ['bytes that are no UTF-8', '{"op":"delete","key":"\xff"}', /not UTF-8/],
  ['no op', '{"key":"a"}', /"op" is neither/],
  ['an unknown op', '{"op":"get","key":"a"}', /"op" is neither/],
  ['an unknown member', '{"op":"delete","key":"a","ifmatch":"1"}', /unknown member "ifmatch"/],
  ['no key', '{"op":"delete"}', /exactly one of "key"/],
  ['two keys', '{"op":"delete","key":"a","keyBase64":"YQ=="}', /exactly one of "key"/],
  ['an empty key', '{"op":"delete","key":""}', /0 bytes/],
  ['a long key', `{"op":"delete","key":"${'k'.repeat(1025)}"}`, /1025 bytes/],
  ['a key that is no string', '{"op":"delete","key":1}', /"key" is not a string/],
  ['half a surrogate pair', '{"op":"delete","key":"\\ud800"}', /surrogate/],
  ['base 64 without padding', '{"op":"delete","keyBase64":"YQ"}', /base 64/],
  ['no value', '{"op":"put","key":"a"}', /exactly one of "value"/],
  ['two values', '{"op":"put","key":"a","value":"","valueBase64":""}', /exactly one of "value"/],
  ['a delete with a value', '{"op":"delete","key":"a","value":""}', /a delete has no value/],
  ['both conditions', '{"op":"delete","key":"a","ifMatch":"1","ifNoneMatch":"*"}', /exclude/],
  ['a condition on another version', '{"op":"delete","key":"a","ifNoneMatch":"1"}', /"ifNoneMatch"/],
  ['a version that is no number', '{"op":"delete","key":"a","ifMatch":"one"}', /"ifMatch"/],
]

for (const [name, line, expected] of MALFORMED) {
  test(`${name} is 400 with the number of the line, and nothing is changed`, () => {
    const bench = new KvBench()
    const valid = lines({ op: 'put', key: 'b', value: '1' })
    const client = bench.connect()
    const body = `${valid}\n${line}\n${valid}`
    const [reply] = client.exchange(request('POST', '/kv/_batch', [], body))
    assert.is(reply!.status, 400)
    const document = json(reply!.body)
    assert.is(document.line, 3)
    assert.match(String(document.error), expected)
    assert.match(String(document.error), /^line 3: /)
    assert.is(client.exchange(get('b'))[0]!.status, 404, 'the connection goes on')
    assert.is(bench.store.records, 0)
  })
}

test('a condition that does not hold is 412 with its line and the version there, and nothing is changed', () => {
  const bench = new KvBench()
  bench.one(put('a', '1'))
  const first = { op: 'put', key: 'b', value: '1' }
  for (const [condition, version] of [
    [{ key: 'a', ifNoneMatch: '*' }, 1],
    [{ key: 'a', ifMatch: '2' }, 1],
    [{ key: 'a', ifMatch: 7 }, 1],
    [{ key: 'c', ifMatch: '*' }, null],
  ] as const) {
    const { status, body } = bench.one(batch(`\n${lines(first, { op: 'delete', ...condition })}`))
    assert.is(status, 412)
    assert.equal(json(body), { error: 'line 3: the condition does not hold', line: 3, version })
  }
  assert.is(bench.store.records, 1)
  const holding = lines({ op: 'put', key: 'a', value: '2', ifMatch: '"1"' }, { ...first, ifNoneMatch: '*' })
  assert.is(bench.one(batch(holding)).status, 200)
  assert.is(bench.one(batch(holding)).status, 412, 'not twice')
})

test('a batch is refused that is too large, too long, without a length, or partial', () => {
  const bench = new KvBench({ maxValue: 3 << 20 })
  const small = new KvBench({ maxValue: 100 })
  assert.is(small.one(batch(lines({ op: 'put', key: 'a', value: 'x'.repeat(100) }))).status, 413)
  const chunked = `POST /kv/_batch HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n70\r\n${' '.repeat(0x70)}\r\n`
  assert.is(small.one(chunked).status, 413)
  assert.is(small.one(`POST /kv/_batch HTTP/1.1\r\n${HOST}\r\n`).status, 411)
  assert.is(small.one(batch('', ['Content-Length: 0', 'Content-Range: bytes 0-0/1'])).status, 400)
  const operation = '{"op":"delete","key":"a"}\n'
  const { status, line } = refusal(bench, operation.repeat(BATCH_OPERATIONS_MAX + 1))
  assert.equal([status, line], [400, BATCH_OPERATIONS_MAX + 1])
  assert.is(bench.one(batch(operation.repeat(BATCH_OPERATIONS_MAX))).status, 200)
})

test('a batch that does not fit is 507, changes nothing, and fits when something is deleted', () => {
  const bench = new KvBench({ region: new TracingRegion({ regionBytes: 1 << 20 }) })
  const value = 'v'.repeat(1900)
  const part = (name: string): string =>
    lines(...Array.from({ length: 90 }, (_, i) => ({ op: 'put', key: `${name}${i}`, value })))
  assert.is(bench.one(batch(part('a'))).status, 200)
  assert.is(bench.one(batch(part('b'))).status, 200)
  assert.is(bench.one(batch(part('c') + part('d'))).status, 507)
  assert.is(bench.store.records, 180)
  assert.is(bench.one(get('c0')).status, 404)
  const deletions = Array.from({ length: 90 }, (_, i) => ({ op: 'delete', key: `a${i}` }))
  assert.is(bench.one(batch(lines(...deletions))).status, 200)
  assert.is(bench.one(batch(part('c'))).status, 200)
  assert.is(bench.store.records, 180)
  assert.is(bench.leaks(), '')
})

test('Expect: 100-continue is answered before the body comes', () => {
  const bench = new KvBench()
  const client = bench.connect()
  const body = lines({ op: 'put', key: 'a', value: '1' })
  client.send(`POST /kv/_batch HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`)
  bench.runFor(1000)
  assert.match(client.bytes.toString(), /^HTTP\/1.1 100 Continue\r\n/)
  client.send(body)
  bench.runFor(1000)
  assert.match(client.bytes.toString(), /HTTP\/1.1 200 OK\r\n/)
})

test('where barriers are asynchronous, no reply leaves before the batch is durable', () => {
  const region = new HeldRegion({ regionBytes: 2 << 20, asynchronous: true })
  const bench = new KvBench({ region })
  const client = bench.connect()
  client.send(batch(lines({ op: 'put', key: 'a', value: '1' }, { op: 'put', key: 'b', value: '1' })))
  bench.runFor(20_000)
  assert.ok(region.isHolding)
  assert.is(client.bytes.length, 0)
  assert.is(bench.one(get('a')).status, 404)
  // A condition sees what is on its way, and its refusal waits for that.
  const other = bench.connect()
  other.send(batch(lines({ op: 'put', key: 'a', value: '2', ifNoneMatch: '*' })))
  bench.runFor(20_000)
  assert.is(other.bytes.length, 0)
  bench.settle()
  assert.is(client.responses(['POST'])[0]!.status, 200)
  assert.is(other.responses(['POST'])[0]!.status, 412)
  client.close()
  other.close()
  assert.is(bench.leaks(), '')
})

test('a batch that finds no room while a program is on its way waits for it', () => {
  const region = new HeldRegion({ regionBytes: 1 << 20, asynchronous: true })
  const bench = new KvBench({ region })
  const client = bench.connect()
  const value = 'v'.repeat(1900)
  let waited = 0
  for (let round = 0; round < 12; round++) {
    // Old and new values fit beside each other, a third set does not.
    const operations = Array.from({ length: 120 }, (_, i) => ({ op: 'put', key: `k${i}`, value: `${round}${value}` }))
    client.send(batch(lines(...operations)))
    for (let turn = 0; turn < 100 && client.bytes.length === 0; turn++) {
      bench.runFor(1000)
      if (bench.service.hasStalled) waited++
      if (region.isHolding) region.complete()
      bench.resume()
    }
    assert.is(client.responses(['POST'])[0]!.status, 200, `round ${round}`)
  }
  assert.ok(waited > 0)
  assert.is(bench.store.records, 120)
  client.close()
  assert.is(bench.leaks(), '')
})

test('a connection that ends halfway through a batch leaves nothing', () => {
  const bench = new KvBench()
  const text = batch(lines({ op: 'put', key: 'a', value: '1' }))
  const client = bench.connect()
  client.send(text.slice(0, -5))
  client.close()
  bench.runFor(10_000)
  const aborted = bench.connect()
  aborted.send(text.slice(0, -5))
  bench.runFor(10_000)
  aborted.abort()
  assert.is(bench.leaks(), '')
  assert.is(bench.store.records, 0)
})

test('FIN in the middle of a batch behind a PUT whose reply is held: the PUT is answered, the batch never was', () => {
  const whole = batch(lines({ op: 'put', key: 'b', value: 'x'.repeat(100) }))
  for (const cut of [1, 50]) {
    const bench = new KvBench()
    const client = bench.connect()
    client.send(put('a', 'x') + whole.slice(0, -cut))
    client.close()
    assert.is(client.responses(['PUT'])[0]?.status, 201)
    bench.runFor(1_000_000)
    assert.ok(client.finished)
    assert.equal(client.bytes.length, 0, 'no answer to the batch')
    assert.is(bench.one(get('b')).status, 404)
    assert.is(bench.one(get('a')).status, 200)
    assert.is(bench.leaks(), '')
  }
})

test('base 64 of any length is read, and its padding looked at', () => {
  const parse = (valueBase64: string): string | number => {
    const parsed = parseBatchLines(Buffer.from(lines({ op: 'put', key: 'a', valueBase64 })))
    if ('error' in parsed) return parsed.error
    const [operation] = parsed.operations
    return operation?.op === 'put' ? operation.value.length : -1
  }
  const megabytes = 'QUJD'.repeat(8 << 20)
  assert.is(parse(megabytes), 3 * (8 << 20))
  assert.is(parse(`${megabytes}QQ==`), 3 * (8 << 20) + 1)
  assert.match(String(parse(`${megabytes}Q!==`)), /is not base 64/)
  for (const [text, length] of [
    ['', 0],
    ['QQ==', 1],
    ['QUI=', 2],
    ['QUJD', 3],
  ] as const)
    assert.is(parse(text), length)
  for (const text of ['=', '==', '====', 'Q===', 'QQ=', 'QQ', 'QUJDQ', 'QQ==QQ==', 'Q=Q=', 'QU-_', 'QU\n='])
    assert.match(String(parse(text)), /is not base 64/, text)
})

test('an error repeats no more of an unknown member than its beginning', () => {
  const bench = new KvBench()
  const { status, error } = refusal(bench, lines({ op: 'delete', key: 'a', ['n'.repeat(100_000)]: 1 }))
  assert.is(status, 400)
  assert.match(error, /unknown member "n+"$/)
  assert.ok(error.length < 100, `${error.length} characters`)
  assert.is(bench.leaks(), '')
})

test('bodies that come in together have a bound: 503 for the one that passes it, and all is given back', () => {
  const maxValue = 1 << 20
  const bench = new KvBench({ maxValue })
  const head = request('POST', '/kv/_batch', ['Transfer-Encoding: chunked'])
  const piece = ' '.repeat(1 << 16)
  const chunk = `${piece.length.toString(16)}\r\n${piece}\r\n`
  for (let round = 0; round < 2; round++) {
    const clients = Array.from({ length: 5 }, () => bench.connect())
    for (const client of clients) client.send(head)
    for (let sent = 0; sent + piece.length < maxValue; sent += piece.length) {
      for (const client of clients) {
        if (client.finished) continue
        client.send(chunk)
        bench.runUntil(() => client.finished || client.connection!.sendQueuedBytes === 0)
      }
    }
    const refused = clients.filter((client) => client.finished)
    assert.ok(refused.length >= 1 && refused.length < clients.length, `${refused.length} of 5 refused`)
    for (const client of refused) assert.is(client.responses(['POST'])[0]!.status, 503)
    const [other] = clients.filter((client) => !client.finished)
    assert.is(other!.exchange('0\r\n\r\n', ['POST'])[0]!.status, 200, 'the others go on')
    for (const client of clients) client.abort()
    bench.runFor(1_000_000)
  }
  assert.is(bench.leaks(), '')
})

test.run()
