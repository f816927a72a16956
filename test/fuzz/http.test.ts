/**
 * Mutated requests: whatever the bytes, nothing throws, every result is one of the known ones and inside its bounds, and it
 * does not depend on how the bytes were split or on what follows them.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ByteRange, evaluateIfMatch, evaluateIfNoneMatch, parseRange } from '../../tools/kv/http-fields.ts'
import { HEAD_INCOMPLETE, parseHead } from '../../tools/kv/http-parser.ts'
import { parseListingQuery, percentDecode } from '../../tools/kv/key-codec.ts'
import { RequestHead } from '../../tools/kv/request-head.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { INVALID, VALID } from '../tools/http-corpus.ts'
import { decodeInPieces, decodeSlowly, latin1, parseInPieces } from '../tools/http-reference.ts'

const HEAD_CASES = 14_000
const CHUNKED_CASES = 6_000
const STATUSES = new Set([HEAD_INCOMPLETE, 0, 400, 413, 414, 417, 431, 501, 505])
const BODY_CODES = new Set([0, 2, -400, -413, -431])

const SEED = announceSeed('http fuzz', 0x5eed4077)
const random = seededRandom(SEED)
const below = (bound: number): number => (random() >>> 0) % bound

/** Bytes that mean something to the parsers. */
const SPECIAL = latin1('\r\n\r\n\0\t :;,%?#/*"+-=0159afAFx\x7f\x80\xff')
const PHRASES = [
  '\r\n',
  '\r\n ',
  '\n',
  ' :',
  'Host: b\r\n',
  'Content-Length: 3\r\n',
  'Transfer-Encoding: chunked\r\n',
  '%2',
  '0\r\n\r\n',
]

function mutate(original: Uint8Array): Uint8Array {
  let bytes = [...original]
  for (let times = 1 + below(4); times > 0; times--) {
    const at = below(bytes.length + 1)
    switch (below(6)) {
      case 0:
        bytes[at] = SPECIAL[below(SPECIAL.length)]!
        break
      case 1:
        bytes[at] = below(256)
        break
      case 2:
        bytes.splice(at, 0, SPECIAL[below(SPECIAL.length)]!)
        break
      case 3:
        bytes.splice(at, 1 + below(8))
        break
      case 4:
        bytes.splice(at, 0, ...latin1(PHRASES[below(PHRASES.length)]!))
        break
      default:
        bytes = [...bytes.slice(0, at), ...bytes.slice(below(bytes.length + 1))]
    }
  }
  return Uint8Array.from(bytes)
}

function randomCuts(length: number): number[] {
  const cuts = new Set<number>()
  for (let count = below(6); count > 0 && length > 1; count--) cuts.add(1 + below(length - 1))
  return [...cuts].sort((a, b) => a - b)
}

function inside(head: RequestHead, start: number, length: number, label: string): void {
  assert.ok(start >= 0 && length >= 0 && start + length <= head.headerLength, label)
}

/** What must hold of every accepted head; the values go on to their own parsers. */
function checkAccepted(head: RequestHead, bytes: Uint8Array, label: string): void {
  assert.ok(head.headerLength >= 16 && head.headerLength <= bytes.length, label)
  assert.equal(bytes.subarray(head.headerLength - 4, head.headerLength), latin1('\r\n\r\n'), label)
  assert.ok(Number.isSafeInteger(head.contentLength) && head.contentLength >= -1, label)
  assert.not(head.chunked && head.contentLength >= 0, label)
  inside(head, head.keyStart, head.keyLength, label)
  inside(head, head.queryStart, head.queryLength, label)
  inside(head, head.ifMatchStart, head.ifMatchLength, label)
  inside(head, head.ifNoneMatchStart, head.ifNoneMatchLength, label)
  inside(head, head.rangeStart, head.rangeLength, label)
  if (head.keyLength > 0) {
    const target = new Uint8Array(1024)
    assert.is(percentDecode(bytes, head.keyStart, head.keyLength, target, 0), head.keyDecodedLength, label)
  }
  const query = parseListingQuery(bytes, head.queryStart, head.queryLength)
  assert.ok(query !== 'invalid percent-encoding in the query', label)
  assert.ok([-1, 0, 1].includes(evaluateIfMatch(bytes, head.ifMatchStart, head.ifMatchLength, true, 0, 1)), label)
  assert.ok(
    [-1, 0, 1].includes(evaluateIfNoneMatch(bytes, head.ifNoneMatchStart, head.ifNoneMatchLength, true, 0, 1)),
    label,
  )
  const size = below(20)
  const range = new ByteRange()
  const status = parseRange(bytes, head.rangeStart, head.rangeLength, size, range)
  assert.ok(
    status === 200 || status === 416 || (status === 206 && range.length > 0 && range.first + range.length <= size),
    label,
  )
}

test('mutated heads: known results, in bounds, whatever the split and the bytes behind', () => {
  const corpus = [...VALID, ...INVALID].filter(({ head }) => head.length < 2000).map(({ head }) => latin1(head))
  const head = new RequestHead()
  let accepted = 0
  for (let index = 0; index < HEAD_CASES; index++) {
    const bytes = mutate(corpus[below(corpus.length)]!)
    const label = `case ${index} of PACKRAT_SEED=${SEED}: ${JSON.stringify(Buffer.from(bytes).toString('latin1'))}`
    const status = parseHead(bytes, 0, bytes.length, head)
    assert.ok(STATUSES.has(status), label)
    if (status === 0) {
      accepted++
      checkAccepted(head, bytes, label)
      const alone = new RequestHead()
      assert.is(parseHead(bytes.slice(0, head.headerLength), 0, head.headerLength, alone), 0, label)
      assert.equal({ ...alone }, { ...head }, label)
    }
    const whole = parseInPieces(bytes, [])
    assert.is(parseInPieces(bytes, randomCuts(bytes.length)), whole, label)
    // Invariant 2 of the parser; and where no end was found, the head was incomplete or already refused.
    assert.not(whole.startsWith('-1'), label)
    if (whole === 'no end') assert.is.not(status, 0, label)
    else assert.is(Number.parseInt(whole, 10), status, label)
  }
  assert.ok(accepted > HEAD_CASES / 50 && accepted < HEAD_CASES, `${accepted} accepted`)
})

test('mutated chunked bodies: as the slow reference says, whatever the split', () => {
  const corpus = [
    '5\r\nhello\r\n0\r\n\r\n',
    '3;a="b"\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\n',
    '1\r\na\r\n1\r\nb\r\n1 ;x\r\nc\r\n000\r\nTrailer:\r\nA-b: c d\r\n\r\nGET / HTTP/1.1\r\n',
  ].map(latin1)
  let done = 0
  for (let index = 0; index < CHUNKED_CASES; index++) {
    const bytes = mutate(corpus[below(corpus.length)]!)
    const label = `case ${index} of PACKRAT_SEED=${SEED}: ${JSON.stringify(Buffer.from(bytes).toString('latin1'))}`
    const whole = decodeInPieces(bytes, [])
    assert.ok(BODY_CODES.has(whole.code), label)
    assert.equal(whole, decodeSlowly(bytes), label)
    assert.equal(decodeInPieces(bytes, randomCuts(bytes.length)), whole, label)
    if (whole.code === 2) done++
  }
  assert.ok(done > CHUNKED_CASES / 50 && done < CHUNKED_CASES, `${done} decoded`)
})

test.run()
