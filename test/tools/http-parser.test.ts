/** Request heads and chunked bodies: what is accepted, what is refused, and that no split changes either. */
import * as http from 'node:http'
import { Duplex } from 'node:stream'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CHUNKED_DONE, CHUNKED_NEED_MORE, CHUNKED_PIECE, ChunkedDecoder } from '../../tools/kv/http-chunked.ts'
import { findHeadEnd, HEAD_INCOMPLETE, HeadScan, parseHead } from '../../tools/kv/http-parser.ts'
import { HEAD_BYTES_MAX, TRAILER_BYTES_MAX } from '../../tools/kv/http-syntax.ts'
import { RequestHead } from '../../tools/kv/request-head.ts'
import { type Expected, INVALID, VALID } from './http-corpus.ts'
import { decodeInPieces, decodeSlowly, latin1, parseInPieces } from './http-reference.ts'

/** Heads lie somewhere in an extent, between other bytes. */
const OFFSET = 77

function place(text: string, behind = 'GARBAGE\r\n\r\n'): Uint8Array {
  const bytes = new Uint8Array(OFFSET + text.length + behind.length).fill(0x0a)
  bytes.set(latin1(text), OFFSET)
  bytes.set(latin1(behind), OFFSET + text.length)
  return bytes
}

function viewText(bytes: Uint8Array, start: number, length: number): string {
  return Buffer.from(bytes.subarray(OFFSET + start, OFFSET + start + length)).toString('latin1')
}

function checkExpected(head: RequestHead, bytes: Uint8Array, expected: Expected, label: string): void {
  const texts: Record<string, string> = {
    KEY: viewText(bytes, head.keyStart, head.keyLength),
    QUERY: viewText(bytes, head.queryStart, head.queryLength),
    IF_MATCH: viewText(bytes, head.ifMatchStart, head.ifMatchLength),
    IF_NONE_MATCH: viewText(bytes, head.ifNoneMatchStart, head.ifNoneMatchLength),
    IF_RANGE: viewText(bytes, head.ifRangeStart, head.ifRangeLength),
    RANGE: viewText(bytes, head.rangeStart, head.rangeLength),
  }
  const numbers = head as unknown as Record<string, unknown>
  for (const [name, value] of Object.entries(expected)) {
    assert.is(name in texts ? texts[name] : numbers[name], value, `${label}: ${name}`)
  }
}

test('the corpus is large enough to mean something', () => {
  assert.ok(VALID.length >= 40 && INVALID.length >= 60)
})

test('a valid head is understood as its clause says, wherever it lies and whatever follows', () => {
  const head = new RequestHead()
  for (const { clause, head: text, expected } of VALID) {
    for (const behind of ['', 'GARBAGE\r\n\r\n', '\n\n\r\n', '\0']) {
      const bytes = place(text, behind)
      assert.is(parseHead(bytes, OFFSET, bytes.length, head), 0, `${clause}: ${text}`)
      assert.is(head.headerLength, text.length, `${clause}: ${text}`)
      checkExpected(head, bytes, expected, `${clause}: ${text}`)
    }
  }
})

test('a head means the same whatever head came before it, its fields repeated or changed in one byte', () => {
  const head = new RequestHead()
  const before = new RequestHead()
  const all = [...VALID.map(({ head: text }) => text), ...INVALID.map(({ head: text }) => text)]
  const alone = all.map((text) => {
    // One that has no fields to remember: the next one is parsed from scratch.
    parseHead(place('GET / HTTP/1.0\r\n\r\n'), OFFSET, OFFSET + 18, before)
    const status = parseHead(place(text), OFFSET, OFFSET + text.length, head)
    return JSON.stringify(status === 0 ? head : status)
  })
  for (let second = 0; second < all.length; second++) {
    for (const first of [second, (second + 1) % all.length, (second * 7 + 3) % all.length]) {
      parseHead(place(all[first]!), OFFSET, OFFSET + all[first]!.length, before)
      const text = all[second]!
      const status = parseHead(place(text), OFFSET, OFFSET + text.length, head)
      assert.is(JSON.stringify(status === 0 ? head : status), alone[second], `${text} behind ${all[first]}`)
    }
  }
  const fields = 'Host: a\r\nContent-Length: 17\r\n\r\n'
  for (let at = 0; at < fields.length; at++) {
    const text = `PUT /kv/a HTTP/1.1\r\n${fields}`
    const changed = Uint8Array.from(place(text))
    changed[OFFSET + text.length - fields.length + at]! ^= 1
    assert.is(parseHead(place(text), OFFSET, OFFSET + text.length, head), 0)
    const status = parseHead(changed, OFFSET, OFFSET + text.length, head)
    assert.ok(status !== 0 || head.contentLength !== 17 || at < 9, `byte ${at} changed, and nothing of it seen`)
  }
})

test('an invalid head is refused with the status of its clause', () => {
  const head = new RequestHead()
  for (const { clause, head: text, status } of INVALID) {
    const bytes = place(text, '')
    assert.is(parseHead(bytes, OFFSET, bytes.length, head), status, `${clause}: ${text.slice(0, 200)}`)
  }
})

test('one object serves head after head: nothing of the last one is left', () => {
  const used = new RequestHead()
  for (const { head: text } of [...VALID, ...INVALID]) {
    const bytes = place(text)
    parseHead(bytes, OFFSET, bytes.length, used)
    const plain = place('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    const fresh = new RequestHead()
    assert.is(parseHead(plain, OFFSET, plain.length, used), parseHead(plain, OFFSET, plain.length, fresh))
    assert.equal({ ...used }, { ...fresh }, text)
  }
})

test('a prefix of a valid head is incomplete, never wrong and never right', () => {
  const head = new RequestHead()
  for (const { head: text } of VALID) {
    const bytes = place(text)
    for (let length = 0; length < text.length; length++) {
      assert.is(parseHead(bytes, OFFSET, OFFSET + length, head), HEAD_INCOMPLETE, `${length} bytes of ${text}`)
    }
  }
})

test('a head that cannot become valid is not waited for: a bare CR or LF ends it at once', () => {
  for (const { head: text, status } of INVALID) {
    const result = parseInPieces(latin1(text), [])
    assert.ok(result.startsWith(`${status} at `), `${result}: ${text.slice(0, 200)}`)
  }
  assert.is(parseInPieces(latin1('GET / HTTP/1.1\nHost: a\r\n\r\n'), []), '400 at 15')
  assert.is(parseInPieces(latin1('GET / HTTP/1.1\rHost: a\r\n\r\n'), []), '400 at 16')
})

test('a head split at any byte gives the same result as in one piece', () => {
  for (const { head: text } of [...VALID, ...INVALID]) {
    const bytes = latin1(text)
    const whole = parseInPieces(bytes, [])
    for (let cut = 1; cut < bytes.length; cut++) assert.is(parseInPieces(bytes, [cut]), whole, `${text} cut at ${cut}`)
    const everyByte = Array.from({ length: bytes.length - 1 }, (_, index) => index + 1)
    assert.is(parseInPieces(bytes, everyByte), whole, `${text} byte by byte`)
  }
})

test('a short head split at any two bytes gives the same result as in one piece', () => {
  for (const { head: text } of [...VALID, ...INVALID]) {
    if (text.length > 70) continue
    const bytes = latin1(text)
    const whole = parseInPieces(bytes, [])
    for (let first = 1; first < bytes.length; first++) {
      for (let second = first + 1; second < bytes.length; second++) {
        const result = parseInPieces(bytes, [first, second])
        if (result !== whole) assert.is(result, whole, `${text} cut at ${first} and ${second}`)
      }
    }
  }
})

test('the end of pipelined heads is found one after the other, with one scan', () => {
  const first = 'GET /kv/a HTTP/1.1\r\nHost: a\r\n\r\n'
  const second = '\r\nDELETE /kv/b HTTP/1.1\r\nHost: a\r\n\r\n'
  const bytes = latin1(first + second)
  const scan = new HeadScan()
  assert.is(findHeadEnd(scan, bytes, 0, bytes.length), first.length)
  assert.is(findHeadEnd(scan, bytes, first.length, bytes.length), bytes.length)
})

test('a head of the largest size is taken; one byte more is refused before it ends', () => {
  const rest = 'GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n'.length
  const head = new RequestHead()
  for (const [excess, status] of [
    [0, 0],
    [1, 431],
    [5000, 431],
  ] as const) {
    const value = 'x'.repeat(HEAD_BYTES_MAX - rest + excess)
    const bytes = latin1(`GET / HTTP/1.1\r\nHost: a\r\nX: ${value}\r\n\r\n`)
    assert.is(parseHead(bytes, 0, bytes.length, head), status)
    assert.is(findHeadEnd(new HeadScan(), bytes, 0, bytes.length), HEAD_BYTES_MAX)
  }
})

/** What node:http makes of a request, or undefined if it refuses it. */
function askNode(text: string): Promise<http.IncomingMessage | undefined> {
  return new Promise((resolve) => {
    const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
    const server = http.createServer()
    const answer = (message: http.IncomingMessage | undefined): void => {
      resolve(message)
      socket.destroy()
    }
    server.on('request', answer)
    server.on('checkContinue', answer)
    server.on('clientError', () => answer(undefined))
    server.emit('connection', socket)
    socket.push(latin1(text))
  })
}

const METHOD_NAMES = ['', 'GET', 'HEAD', 'PUT', 'DELETE', 'POST', 'OPTIONS']

test("Node's own parser reads the valid heads the same way", async () => {
  const head = new RequestHead()
  for (const { head: text, nodeRefuses } of VALID) {
    const message = await askNode(text)
    assert.is(message === undefined, nodeRefuses !== undefined, `${text}: ${nodeRefuses}`)
    if (message === undefined) continue
    const bytes = place(text)
    assert.is(parseHead(bytes, OFFSET, bytes.length, head), 0)
    if (head.method !== 0) assert.is(message.method, METHOD_NAMES[head.method], text)
    assert.is(message.headers['content-length'] === undefined, head.contentLength < 0, text)
    if (head.contentLength >= 0) assert.is(Number(message.headers['content-length']), head.contentLength, text)
    assert.is(message.headers['transfer-encoding'] !== undefined, head.chunked, text)
    assert.is(message.headers.range ?? '', viewText(bytes, head.rangeStart, head.rangeLength), text)
    assert.is(message.headers['if-match'] ?? '', viewText(bytes, head.ifMatchStart, head.ifMatchLength), text)
    const mark = message.url!.indexOf('?')
    assert.is(mark < 0 ? '' : message.url!.slice(mark + 1), viewText(bytes, head.queryStart, head.queryLength), text)
    if (head.keyLength > 0) assert.ok(message.url!.includes(viewText(bytes, head.keyStart, head.keyLength)), text)
  }
})

/* --- chunked bodies, RFC 9112 (7.1) --- */

/** Body, what it decodes to or the status; a body that decodes is followed by bytes of the next request. */
const CHUNKED: readonly (readonly [string, string | number])[] = [
  ['0\r\n\r\n', ''],
  ['5\r\nhello\r\n0\r\n\r\n', 'hello'],
  ['1\r\na\r\n00A\r\n0123456789\r\n000\r\n\r\n', 'a0123456789'],
  ['a\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n', '\r\n\r\n\r\n\r\n\r\n'],
  ['3;x\r\nabc\r\n0;y="q;\\"r"\r\n\r\n', 'abc'],
  ['3 \t;x = y ;z\r\nabc\r\n0\r\n\r\n', 'abc'],
  ['2\r\nab\r\n0\r\nX: y\r\nEmpty:\r\n\r\n', 'ab'],
  ['0000000000000001\r\na\r\n0\r\n\r\n', 'a'],
  [`1\r\na\r\n0\r\nX: ${'x'.repeat(TRAILER_BYTES_MAX - 7)}\r\n\r\n`, 'a'],
  [`1\r\na\r\n0\r\nX: ${'x'.repeat(TRAILER_BYTES_MAX - 6)}\r\n\r\n`, 431],
  [`1;${'x'.repeat(16 * 1024)}\r\na\r\n0\r\n\r\n`, 413],
  [`1\r\na\r\n1;${'x'.repeat(16 * 1024)}\r\na\r\n0\r\n\r\n`, 'aa'],
  ['20000000000000\r\n', 413],
  ['1\r\na\r\n1fffffffffffff\r\n', 413],
  ['00000000000000001\r\na\r\n0\r\n\r\n', 400],
  ['\r\n', 400],
  ['g\r\n', 400],
  ['0x5\r\nhello\r\n0\r\n\r\n', 400],
  ['-5\r\nhello\r\n', 400],
  ['+5\r\nhello\r\n', 400],
  [' 5\r\nhello\r\n', 400],
  ['5 \r\nhello\r\n', 400],
  [';x\r\n', 400],
  ['5\nhello\n0\n\n', 400],
  ['5\r\nhello\n0\r\n\r\n', 400],
  ['5\r\nhello\r0\r\n\r\n', 400],
  ['5\r\nhello0\r\n\r\n', 400],
  ['5\rX\nhello', 400],
  ['5;a\nhello\r\n', 400],
  ['5;a\0\r\nhello\r\n', 400],
  ['0\r\n X: y\r\n\r\n', 400],
  ['0\r\nX : y\r\n\r\n', 400],
  ['0\r\nX\r\n\r\n', 400],
  ['0\r\nX: y\n\r\n', 400],
  ['0\r\nX: \0\r\n\r\n', 400],
  ['0\r\n\n', 400],
  ['0\r\n\rX', 400],
]

const NEXT = 'GET / HTTP/1.1\r\n'

test('a chunked body decodes to its data and ends where it ends, or is refused', () => {
  for (const [body, expected] of CHUNKED) {
    const result = decodeInPieces(latin1(body + NEXT), [])
    if (typeof expected === 'number') assert.is(result.code, -expected, body.slice(0, 80))
    else {
      assert.is(result.code, CHUNKED_DONE, body.slice(0, 80))
      assert.is(result.data, expected)
      assert.is(result.consumed, body.length)
    }
  }
})

test('the slow reference agrees, on whole bodies and on every prefix', () => {
  for (const [body] of CHUNKED) {
    for (let length = Math.max(0, body.length - 200); length <= body.length; length++) {
      const bytes = latin1(body.slice(0, length))
      assert.equal(decodeInPieces(bytes, []), decodeSlowly(bytes), body.slice(0, 80))
    }
  }
})

test('a chunked body split at any byte, and into single bytes, gives the same', () => {
  for (const [body] of CHUNKED) {
    const bytes = latin1(body + NEXT)
    const whole = decodeInPieces(bytes, [])
    const step = bytes.length > 300 ? 97 : 1
    for (let cut = 1; cut < bytes.length; cut += step)
      assert.equal(decodeInPieces(bytes, [cut]), whole, `${body} at ${cut}`)
    const everyByte = Array.from({ length: bytes.length - 1 }, (_, index) => index + 1)
    assert.equal(decodeInPieces(bytes, everyByte), whole, body)
  }
})

test('data is handed out in place: one piece for each run of bytes, empty input is no piece', () => {
  const bytes = latin1('5\r\nhello\r\n0\r\n\r\n')
  const decoder = new ChunkedDecoder()
  assert.is(decoder.decode(bytes, 0, 0), CHUNKED_NEED_MORE)
  assert.is(decoder.decode(bytes, 0, 5), CHUNKED_PIECE)
  assert.equal([decoder.pieceStart, decoder.pieceLength, decoder.position, decoder.decodedLength], [3, 2, 5, 2])
  assert.is(decoder.decode(bytes, 5, 5), CHUNKED_NEED_MORE)
  assert.is(decoder.decode(bytes, 5, bytes.length), CHUNKED_PIECE)
  assert.equal([decoder.pieceStart, decoder.pieceLength, decoder.decodedLength], [5, 3, 5])
  assert.is(decoder.decode(bytes, decoder.position, bytes.length), CHUNKED_DONE)
  assert.is(decoder.position, bytes.length)
  assert.is(decoder.decode(bytes, 0, bytes.length), CHUNKED_DONE)
  assert.is(decoder.position, 0)
  decoder.reset()
  assert.is(decoder.decode(bytes, 0, bytes.length), CHUNKED_PIECE)
})

test('an error stays an error', () => {
  const decoder = new ChunkedDecoder()
  assert.is(decoder.decode(latin1('x'), 0, 1), -400)
  assert.is(decoder.decode(latin1('0\r\n\r\n'), 0, 5), -400)
})

test.run()
