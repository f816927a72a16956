/** The HTTP contract of the key-value service: message framing, refusals, pipelining and how connections end (RFC 9112). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { get, HOST, put, remove } from '../support/http-requests.ts'
import type { HttpResponse } from '../support/http-responses.ts'
import { KvBench } from '../support/kv-bench.ts'

const errorOf = (response: HttpResponse): string => (JSON.parse(response.body.toString()) as { error: string }).error

test('PUT without a length is 411, and the connection goes on', () => {
  const bench = new KvBench()
  const client = bench.connect()
  const [response] = client.exchange(`PUT /kv/a HTTP/1.1\r\n${HOST}\r\n`)
  assert.is(response!.status, 411)
  assert.is(client.exchange(put('a', 'x'))[0]!.status, 201)
  client.close()
  assert.is(bench.leaks(), '')
})

test('a value over the limit is 413, before its body and in the middle of a chunked one', () => {
  const bench = new KvBench({ maxValue: 1000 })
  assert.is(bench.one(put('a', 'x'.repeat(1000))).status, 201)
  const client = bench.connect()
  const [declared] = client.exchange(put('b', 'x'.repeat(1001)))
  assert.is(declared!.status, 413)
  assert.is(declared!.fields.get('connection'), 'close')
  bench.runUntil(() => client.finished)
  assert.is(client.closeReason === -1 || client.closeReason === 0, true, 'no reset')
  const chunked = bench.connect()
  const chunk = `100\r\n${'x'.repeat(256)}\r\n`
  chunked.send(`PUT /kv/b HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(5)}0\r\n\r\n`)
  const [refused] = chunked.responses(['PUT'])
  assert.is(refused!.status, 413)
  assert.is(bench.one(get('b')).status, 404)
  client.close()
  chunked.close()
  assert.is(bench.leaks(), '')
})

test('malformed requests are 400 and end the connection in order', () => {
  const shapes = [
    'nonsense\r\n\r\n',
    'GET /kv/a HTTP/1.1\r\n\r\n', // no Host
    `GET /kv/a HTTP/1.1\r\n${HOST}${HOST}\r\n`,
    `GET /kv/a HTTP/1.1\n${HOST}\n`,
    `GET  /kv/a HTTP/1.1\r\n${HOST}\r\n`,
    `GET /kv/%zz HTTP/1.1\r\n${HOST}\r\n`,
    `GET /kv/a HTTP/1.1\r\n${HOST}Bad Name: x\r\n\r\n`,
    `GET /kv/a HTTP/1.1\r\n${HOST} folded: x\r\n\r\n`,
    `PUT /kv/a HTTP/1.1\r\n${HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx`,
    `PUT /kv/a HTTP/1.1\r\n${HOST}Content-Length: +1\r\n\r\nx`,
    `PUT /kv/a HTTP/1.1\r\n${HOST}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `PUT /kv/a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    `PUT /kv/a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
    `PUT /kv/a HTTP/1.1\r\n${HOST}Content-Range: bytes 0-1/4\r\nContent-Length: 2\r\n\r\nxx`,
    `PUT /kv/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `GET /kv/a HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\nabc`,
  ]
  const bench = new KvBench()
  for (const shape of shapes) {
    const client = bench.connect()
    const [response] = client.exchange(`${shape}${get('smuggled')}`)
    assert.is(response?.status, 400, JSON.stringify(shape))
    assert.is(response!.fields.get('connection'), 'close', shape)
    assert.ok(errorOf(response!).length > 0)
    assert.ok(
      bench.runUntil(() => client.finished),
      `the connection ends behind ${JSON.stringify(shape)}`,
    )
    assert.is(client.bytes.length, 0, 'nothing behind it is answered')
    client.close()
  }
  assert.is(bench.service.counters.gets, 0)
  assert.is(bench.store.records, 0)
  assert.is(bench.leaks(), '')
})

test('what is not known is said with its own status: 417, 431, 501, 505, 414', () => {
  const bench = new KvBench()
  assert.is(bench.one(put('a', 'x', ['Expect: 200-maybe'])).status, 417)
  assert.is(bench.one(get('a', [`Filler: ${'x'.repeat(17_000)}`])).status, 431)
  assert.is(bench.one(`PUT /kv/a HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`).status, 501)
  assert.is(bench.one('GET /kv/a HTTP/2.0\r\n\r\n').status, 505)
  assert.is(bench.one(get('a'.repeat(9000))).status, 414)
  assert.is(bench.leaks(), '')
})

test('chunked bodies are stored without their framing, extensions and trailers', () => {
  const bench = new KvBench()
  const client = bench.connect()
  const chunks = '4;name=value\r\nWiki\r\n6\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nTrailer: ignored\r\n\r\n'
  const [response] = client.exchange(`PUT /kv/a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${chunks}`)
  assert.is(response!.status, 201)
  assert.is(client.exchange(get('a'))[0]!.body.toString(), 'Wikipedia in \r\n\r\nchunks.')
  const [empty] = client.exchange(`PUT /kv/a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`)
  assert.is(empty!.status, 204)
  assert.is(client.exchange(get('a'))[0]!.body.length, 0)
  client.close()
  assert.is(bench.leaks(), '')
})

test('Expect: 100-continue is answered by 100 before the body', () => {
  const bench = new KvBench()
  const client = bench.connect()
  const head = put('a', '0123456789', ['Expect: 100-continue']).slice(0, -10)
  client.send(head)
  const [interim] = client.responses(['CONTINUE'])
  assert.is(interim!.status, 100)
  client.send('0123456789')
  assert.is(client.responses(['PUT'])[0]!.status, 201)
  assert.is(client.exchange(get('a'))[0]!.body.toString(), '0123456789')
  client.send(put('a', 'with its body', ['Expect: 100-continue']))
  assert.is(client.responses(['PUT'])[0]!.status, 204, 'no 100 where the body is there already')
})

test('Expect: 100-continue in a head of two segments is answered as well', () => {
  const bench = new KvBench()
  const head = put('a', '0123456789', ['Expect: 100-continue']).slice(0, -10)
  for (const cut of [5, 20, head.length - 1]) {
    const client = bench.connect()
    client.trickle([Buffer.from(head.slice(0, cut)), Buffer.from(head.slice(cut))])
    assert.is(client.responses(['CONTINUE'])[0]?.status, 100, `cut at ${cut}`)
    client.send('0123456789')
    assert.ok(client.responses(['PUT'])[0]!.status < 205)
    client.close()
    const refused = bench.connect()
    const conditional = head.replace('Expect', 'If-Match: "77"\r\nExpect')
    refused.trickle([Buffer.from(conditional.slice(0, cut)), Buffer.from(conditional.slice(cut))])
    assert.is(refused.responses(['PUT'])[0]?.status, 412, `cut at ${cut}`)
    refused.close()
  }
  assert.is(bench.leaks(), '')
})

test('Expect: 100-continue of a write that cannot be done gets the final answer at once, and the connection ends', () => {
  const bench = new KvBench({ maxValue: 1000 })
  bench.one(put('a', 'x'))
  for (const [fields, length, status] of [
    [['If-None-Match: *'], 10, 412],
    [[], 1001, 413],
  ] as const) {
    const client = bench.connect()
    client.send(
      `PUT /kv/a HTTP/1.1\r\n${HOST}Content-Length: ${length}\r\n${fields.map((f) => `${f}\r\n`).join('')}Expect: 100-continue\r\n\r\n`,
    )
    const [response] = client.responses(['PUT'])
    assert.is(response!.status, status)
    assert.is(response!.fields.get('connection'), 'close')
    assert.ok(bench.runUntil(() => client.finished))
    client.close()
  }
  assert.is(bench.leaks(), '')
})

test('pipelined requests of one segment are answered in order, each seeing the writes before it', () => {
  const bench = new KvBench()
  const client = bench.connect()
  client.send(put('a', 'one') + get('a') + remove('a') + get('a') + put('a', 'two') + put('a', 'three') + get('a'))
  const responses = client.responses(['PUT', 'GET', 'DELETE', 'GET', 'PUT', 'PUT', 'GET'])
  assert.equal(
    responses.map(({ status }) => status),
    [201, 200, 204, 404, 201, 204, 200],
  )
  assert.is(responses[1]!.body.toString(), 'one')
  assert.is(responses[6]!.body.toString(), 'three')
  assert.is(responses[6]!.fields.get('etag'), responses[5]!.fields.get('etag'))
  client.close()
  assert.is(bench.leaks(), '')
})

test('pipelined writes of one burst share a batch; a deletion between two puts of a key leaves the second', () => {
  const bench = new KvBench()
  const client = bench.connect()
  client.send(put('a', '1') + put('b', '2') + remove('a') + put('a', '3') + remove('b') + remove('b'))
  const statuses = client
    .responses(['PUT', 'PUT', 'DELETE', 'PUT', 'DELETE', 'DELETE'])
    .map(({ status }: HttpResponse) => status)
  assert.equal(statuses, [201, 201, 204, 201, 204, 404])
  assert.is(bench.store.counters.batches, 1)
  assert.is(bench.store.counters.fences, 2)
  assert.is(client.exchange(get('a'))[0]!.body.toString(), '3')
  assert.is(client.exchange(get('b'))[0]!.status, 404)
  client.close()
  assert.is(bench.leaks(), '')
})

test('Connection: close and HTTP/1.0 end the connection behind the answer; HTTP/1.0 may keep it', () => {
  const bench = new KvBench()
  bench.one(put('a', 'x'))
  for (const [text, stays] of [
    [get('a', ['Connection: close']), false],
    [put('b', 'x', ['Connection: close']), false],
    ['GET /kv/a HTTP/1.0\r\n\r\n', false],
    ['GET /kv/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', true],
    ['GET /kv HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', false],
    [get('a'), true],
  ] as const) {
    const client = bench.connect()
    client.send(text)
    bench.runUntil(() => client.finished, 100_000)
    assert.is(client.finished, !stays, text)
    const [response] = client.responses([text.slice(0, 3)])
    assert.ok(response!.status < 300)
    assert.is(response!.fields.get('connection') === 'close', !stays, text)
    client.close()
  }
  const listing = bench.exchange('GET /kv HTTP/1.0\r\n\r\n')[0]!
  assert.not(listing.fields.has('transfer-encoding'), 'RFC 9112 (6.1): no chunked to HTTP/1.0')
  assert.is(listing.body.toString().split('\n').length, 3)
  assert.is(bench.leaks(), '')
})

test('a client that sends FIN behind its requests still gets all answers', () => {
  const bench = new KvBench()
  const client = bench.connect()
  client.send(put('a', 'x'.repeat(3000)) + get('a') + get('a'))
  client.close()
  const responses = client.responses(['PUT', 'GET', 'GET'])
  assert.equal(
    responses.map(({ status }) => status),
    [201, 200, 200],
  )
  assert.is(responses[2]!.body.length, 3000)
  assert.ok(bench.runUntil(() => client.closeReason !== -1))
  assert.is(client.closeReason, 0, 'orderly')
  assert.is(bench.leaks(), '')
})

test('a client that disappears in the middle of an upload leaves nothing behind', () => {
  const bench = new KvBench()
  const { freeBuffers, freeMetas } = bench.pool
  const upload = put('a', 'x'.repeat(40_000))
  const chunked = `PUT /kv/a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n1000\r\n${'y'.repeat(4000)}`
  for (const text of [upload, chunked, put('%61', 'x'.repeat(9000))]) {
    for (const cut of [10, 60, 200, 1500, text.length - 1]) {
      for (const end of ['abort', 'close'] as const) {
        const client = bench.connect()
        client.trickle([Buffer.from(text.slice(0, cut))])
        client[end]()
        bench.runFor(100_000)
        assert.is(client.bytes.length, 0)
      }
    }
  }
  assert.is(bench.store.records, 0)
  assert.is(bench.leaks(), '')
  assert.is(bench.pool.freeBuffers, freeBuffers)
  assert.is(bench.pool.freeMetas, freeMetas)
})

test.run()
