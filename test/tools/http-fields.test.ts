/** Conditions, ranges, dates, decimals and keys: golden tables by clause, and slow references where there is one. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseDecimal64, secondsOfNanoseconds, writeDecimal, writeDecimal64 } from '../../tools/kv/decimal.ts'
import { HTTP_DATE_BYTES, parseHttpDate, writeHttpDate } from '../../tools/kv/http-date.ts'
import {
  ByteRange,
  CONDITION_FALSE,
  CONDITION_MALFORMED,
  CONDITION_TRUE,
  evaluateIfMatch,
  evaluateIfNoneMatch,
  evaluatePreconditions,
  ifRangeHolds,
  parseRange,
  writeETag,
} from '../../tools/kv/http-fields.ts'
import { parseHead } from '../../tools/kv/http-parser.ts'
import {
  keyForJson,
  type ListingQuery,
  parseListingQuery,
  percentDecode,
  percentEncode,
} from '../../tools/kv/key-codec.ts'
import { RequestHead } from '../../tools/kv/request-head.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { latin1 } from './http-reference.ts'

const random = seededRandom(announceSeed('http-fields', 0x11f1e1d5))

/** Bytes that a writer left at offset 3 of a larger array. */
function written(write: (target: Uint8Array, at: number) => number): string {
  const target = new Uint8Array(64)
  return Buffer.from(target.subarray(3, write(target, 3))).toString('latin1')
}

/* --- decimal.ts --- */

test('integers are written as String writes them', () => {
  const values = [
    0,
    1,
    9,
    10,
    99,
    100,
    999_999_999,
    1e9,
    1e9 + 1,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32,
    1e15,
    1e15 - 1,
    2 ** 53 - 1,
  ]
  for (let index = 0; index < 2000; index++) values.push(Math.floor((random() >>> 0) * 2 ** (random() & 15)))
  for (const value of values)
    assert.is(
      written((target, at) => writeDecimal(target, at, value)),
      String(value),
    )
})

test('u64 words are written as BigInt writes them, signed or unsigned, and read back', () => {
  const words: [number, number][] = [
    [0, 0],
    [0, -1],
    [1, 0],
    [-1, -1],
    [0x7fffffff, -1],
    [0, 1e9 | 0],
  ]
  for (let index = 0; index < 2000; index++) words.push([random() >> (random() & 31), random()])
  for (const [high, low] of words) {
    const value = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
    const text = written((target, at) => writeDecimal64(target, at, high, low))
    assert.is(text, String(value))
    assert.is(
      written((target, at) => writeDecimal64(target, at, high >>> 0, low >>> 0)),
      String(value),
    )
    assert.is(parseDecimal64(text), value)
    assert.is(secondsOfNanoseconds(high, low), Number(value / 1_000_000_000n))
  }
})

test('what is not a u64 in decimal is not read as one', () => {
  for (const text of ['', '-1', '+1', '1.0', '0x1', ' 1', '1n', '18446744073709551616', '9'.repeat(21)]) {
    assert.is(parseDecimal64(text), undefined, text)
  }
})

/* --- http-date.ts, RFC 9110 (5.6.7) --- */

const NOW = 1_700_000_000

function readDate(text: string, now = NOW): number {
  const bytes = latin1(`..${text}..`)
  return parseHttpDate(bytes, 2, text.length, now)
}

test('dates are written as Date writes them and read back', () => {
  const times = [0, 951_782_400, 951_868_799, 951_868_800, 2 ** 31, 4_107_542_400, 253_402_300_799]
  for (let index = 0; index < 2000; index++) times.push((random() >>> 0) * 58)
  for (const seconds of times) {
    const text = written((target, at) => writeHttpDate(target, at, seconds))
    assert.is(text, new Date(seconds * 1000).toUTCString())
    assert.is(text.length, HTTP_DATE_BYTES)
    assert.is(readDate(text), seconds)
  }
})

test('a time that the format cannot hold becomes the nearest that it can', () => {
  assert.is(
    written((target, at) => writeHttpDate(target, at, 2 ** 53)),
    'Fri, 31 Dec 9999 23:59:59 GMT',
  )
})

test('all three forms of a date are read', () => {
  assert.is(readDate('Sun, 06 Nov 1994 08:49:37 GMT'), 784_111_777)
  assert.is(readDate('Sunday, 06-Nov-94 08:49:37 GMT'), 784_111_777)
  assert.is(readDate('Sun Nov  6 08:49:37 1994'), 784_111_777)
  assert.is(readDate('Wed Nov 16 08:49:37 1994'), 784_975_777)
})

test('a year of two digits is the latest one not more than 50 years ahead', () => {
  const year = (digits: string): number =>
    new Date(readDate(`Sunday, 06-Nov-${digits} 08:49:37 GMT`) * 1000).getUTCFullYear()
  assert.is(year('23'), 2023)
  assert.is(year('73'), 2073)
  assert.is(year('74'), 1974)
  assert.is(year('00'), 2000)
})

test('what is no date is not read as one', () => {
  for (const text of [
    '',
    '0',
    'Sun, 06 Nov 1994 08:49:37 UTC',
    'Sun, 06 Nov 1994 08:49:37 GM',
    'sun, 06 Nov 1994 08:49:37 GMT',
    'Sun, 6 Nov 1994 08:49:37 GMT',
    'Sun, 31 Nov 1994 08:49:37 GMT',
    'Wed, 29 Feb 2023 08:49:37 GMT',
    'Sun, 00 Nov 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 24:49:37 GMT',
    'Sun, 06 Nov 1994 08:60:37 GMT',
    'Sun, 06 Nov 1994 08:49:61 GMT',
    'Sun, 06 Foo 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 08 49 37 GMT',
    'Sunday, 06 Nov 94 08:49:37 GMT',
    'Sunday, 06-Nov-9x 08:49:37 GMT',
    'Sun Nov 06 08:49:37 94',
    'Sun Nov xx 08:49:37 1994',
  ]) {
    assert.ok(Number.isNaN(readDate(text)), text)
  }
})

/* --- entity tags, RFC 9110 (8.8.3, 13.1) --- */

test('an entity tag is the version in quotes', () => {
  assert.is(
    written((target, at) => writeETag(target, at, 0, 7)),
    '"7"',
  )
  assert.is(
    written((target, at) => writeETag(target, at, -1, -1)),
    '"18446744073709551615"',
  )
})

/** Value, record exists, If-Match, If-None-Match; the version is 2^32 + 7. */
const TAG = '"4294967303"'
const CONDITIONS: readonly (readonly [string, boolean, number, number])[] = [
  ['*', true, CONDITION_TRUE, CONDITION_FALSE],
  ['*', false, CONDITION_FALSE, CONDITION_TRUE],
  [TAG, true, CONDITION_TRUE, CONDITION_FALSE],
  [TAG, false, CONDITION_FALSE, CONDITION_TRUE],
  [`W/${TAG}`, true, CONDITION_FALSE, CONDITION_FALSE], // 8.8.3.2: weak never matches strongly
  ['"7"', true, CONDITION_FALSE, CONDITION_TRUE],
  ['"04294967303"', true, CONDITION_FALSE, CONDITION_TRUE],
  ['""', true, CONDITION_FALSE, CONDITION_TRUE],
  [`"a", "b,c" ,${TAG}`, true, CONDITION_TRUE, CONDITION_FALSE],
  [`,, ${TAG},`, true, CONDITION_TRUE, CONDITION_FALSE], // 5.6.1.2: empty elements
  ['"caf\u00e9!"', true, CONDITION_FALSE, CONDITION_TRUE],
  ['', true, CONDITION_MALFORMED, CONDITION_MALFORMED],
  [',', true, CONDITION_MALFORMED, CONDITION_MALFORMED],
  ['4294967303', true, CONDITION_MALFORMED, CONDITION_MALFORMED],
  ['"4294967303', true, CONDITION_MALFORMED, CONDITION_MALFORMED],
  [`w/${TAG}`, true, CONDITION_MALFORMED, CONDITION_MALFORMED],
  [`W/ ${TAG}`, true, CONDITION_MALFORMED, CONDITION_MALFORMED],
  [`${TAG} "8"`, true, CONDITION_MALFORMED, CONDITION_MALFORMED],
  [`${TAG}, x`, true, CONDITION_MALFORMED, CONDITION_MALFORMED],
  [`*, ${TAG}`, true, CONDITION_MALFORMED, CONDITION_MALFORMED],
  ['"a b"', true, CONDITION_MALFORMED, CONDITION_MALFORMED],
  ['W/', true, CONDITION_MALFORMED, CONDITION_MALFORMED],
]

test('If-Match compares strongly, If-None-Match weakly', () => {
  for (const [value, exists, match, noneMatch] of CONDITIONS) {
    // A quote behind the value must not be taken for its end.
    const bytes = latin1(`..${value}"`)
    assert.is(evaluateIfMatch(bytes, 2, value.length, exists, 1, 7), match, `If-Match: ${value}`)
    assert.is(evaluateIfNoneMatch(bytes, 2, value.length, exists, 1, 7), noneMatch, `If-None-Match: ${value}`)
  }
})

test('If-Range holds for the strong tag of the version alone', () => {
  const holds = (value: string): boolean => ifRangeHolds(latin1(`..${value}`), 2, value.length, 1, 7)
  assert.ok(holds(TAG))
  for (const value of [`W/${TAG}`, '"7"', '', 'Sun, 06 Nov 1994 08:49:37 GMT', `${TAG}, ${TAG}`])
    assert.not(holds(value))
})

const MODIFIED = 784_111_777
const SAME = 'Sun, 06 Nov 1994 08:49:37 GMT'
const BEFORE = 'Sun, 06 Nov 1994 08:49:36 GMT'

/** Method, fields, record exists, result: RFC 9110 (13.2.2). The version is 7. */
const PRECONDITIONS: readonly (readonly [string, string, boolean, number])[] = [
  ['GET', '', true, 0],
  ['PUT', 'If-Match: "7"\r\n', true, 0],
  ['PUT', 'If-Match: "8"\r\n', true, 412],
  ['PUT', 'If-Match: *\r\n', false, 412],
  ['PUT', 'If-Match: 7\r\n', true, 400],
  ['GET', 'If-Match: "8"\r\n', true, 412],
  ['PUT', 'If-None-Match: *\r\n', false, 0],
  ['PUT', 'If-None-Match: *\r\n', true, 412],
  ['DELETE', 'If-None-Match: "7"\r\n', true, 412],
  ['GET', 'If-None-Match: W/"7"\r\n', true, 304],
  ['HEAD', 'If-None-Match: "7"\r\n', true, 304],
  ['GET', 'If-None-Match: "8"\r\n', true, 0],
  ['GET', 'If-None-Match: 8\r\n', true, 400],
  ['GET', `If-Modified-Since: ${SAME}\r\n`, true, 304],
  ['GET', `If-Modified-Since: ${BEFORE}\r\n`, true, 0],
  ['GET', 'If-Modified-Since: yesterday\r\n', true, 0],
  ['PUT', `If-Modified-Since: ${SAME}\r\n`, true, 0],
  ['GET', `If-Modified-Since: ${SAME}\r\n`, false, 0],
  ['PUT', `If-Unmodified-Since: ${SAME}\r\n`, true, 0],
  ['PUT', `If-Unmodified-Since: ${BEFORE}\r\n`, true, 412],
  ['PUT', `If-Unmodified-Since: ${BEFORE}\r\n`, false, 0],
  ['PUT', 'If-Unmodified-Since: yesterday\r\n', true, 0],
  // The tag decides, the date beside it is ignored.
  ['GET', `If-None-Match: "8"\r\nIf-Modified-Since: ${SAME}\r\n`, true, 0],
  ['PUT', `If-Match: "7"\r\nIf-Unmodified-Since: ${BEFORE}\r\n`, true, 0],
  ['GET', 'If-Match: "7"\r\nIf-None-Match: "7"\r\n', true, 304],
]

test('preconditions are evaluated in their order', () => {
  const head = new RequestHead()
  for (const [method, fields, exists, expected] of PRECONDITIONS) {
    const bytes = latin1(`xx${method} /kv/k HTTP/1.1\r\nHost: a\r\n${fields}\r\n`)
    assert.is(parseHead(bytes, 2, bytes.length, head), 0)
    assert.is(evaluatePreconditions(head, bytes, 2, exists, 0, 7, MODIFIED, NOW), expected, `${method} ${fields}`)
  }
})

/* --- ranges, RFC 9110 (14.1.2, 14.2) --- */

/** Range, size of the value, result: [first, length], 416, or 200 for the whole. */
const RANGES: readonly (readonly [string, number, readonly [number, number] | number])[] = [
  ['bytes=0-0', 10, [0, 1]],
  ['bytes=0-9', 10, [0, 10]],
  ['bytes=2-4', 10, [2, 3]],
  ['bytes=2-', 10, [2, 8]],
  ['bytes=9-', 10, [9, 1]],
  ['bytes=5-100', 10, [5, 5]],
  ['bytes=0-99999999999999999999999', 10, [0, 10]],
  ['bytes=-3', 10, [7, 3]],
  ['bytes=-10', 10, [0, 10]],
  ['bytes=-11', 10, [0, 10]],
  ['BYTES=1-2', 10, [1, 2]],
  ['bytes=10-', 10, 416],
  ['bytes=10-12', 10, 416],
  ['bytes=99999999999999999999-', 10, 416],
  ['bytes=-0', 10, 416],
  ['bytes=0-', 0, 416],
  ['bytes=-5', 0, 200],
  ['bytes=4-2', 10, 200],
  ['bytes=0-1,3-4', 10, 200],
  ['bytes=0-1, ', 10, 200],
  ['bytes=', 10, 200],
  ['bytes=-', 10, 200],
  ['bytes=a-b', 10, 200],
  ['bytes=1', 10, 200],
  ['bytes= 1-2', 10, 200],
  ['bytes=1-2x', 10, 200],
  ['bytes=--1', 10, 200],
  ['bytes', 10, 200],
  ['items=0-1', 10, 200],
  ['', 10, 200],
]

test('a range selects the bytes it names, or none, or is ignored', () => {
  const range = new ByteRange()
  for (const [value, size, expected] of RANGES) {
    const bytes = latin1(`..${value}5-6`)
    const result = parseRange(bytes, 2, value.length, size, range)
    if (typeof expected === 'number') assert.is(result, expected, value)
    else {
      assert.is(result, 206, value)
      assert.equal([range.first, range.length], expected, value)
    }
  }
})

/* --- key-codec.ts --- */

test('every key survives percent-encoding', () => {
  const all = Uint8Array.from({ length: 256 }, (_, byte) => byte)
  const encoded = latin1(percentEncode(all))
  const target = new Uint8Array(260)
  assert.is(percentDecode(encoded, 0, encoded.length, target, 4), 256)
  assert.equal(target.subarray(4), all)
  assert.is(percentDecode(encoded, 0, encoded.length, encoded, 0), 256, 'in place')
  assert.equal(encoded.subarray(0, 256), all)
})

test('decoding refuses bad encodings and more than there is room for', () => {
  const decode = (text: string, room: number): number =>
    percentDecode(latin1(`${text}41`), 0, text.length, new Uint8Array(room), 0)
  assert.is(decode('a%4', 9), -1)
  assert.is(decode('a%', 9), -1)
  assert.is(decode('%g0', 9), -1)
  assert.is(decode('%0g', 9), -1)
  assert.is(decode('a+b', 9), 3)
  assert.is(decode('%61bc', 3), 3)
  assert.is(decode('%61bc', 2), -1)
})

test('a listing shows UTF-8 keys as text, all others percent-encoded and marked, and no two alike', () => {
  const shown = (bytes: Uint8Array): string => keyForJson(bytes)
  assert.is(shown(Buffer.from('grüße "\n')), '"key":"grüße \\"\\n"')
  assert.is(shown(latin1('%FF')), '"key":"%FF"')
  assert.is(shown(latin1('\xff')), '"key":"%FF","keyEncoding":"percent"')
  assert.is(shown(Buffer.from('\ufeffa')), '"key":"\ufeffa"', 'a byte order mark is part of the key')
  assert.is(shown(latin1('a\xc0\x80 ')), '"key":"a%C0%80%20","keyEncoding":"percent"', 'an overlong form is no UTF-8')
  const seen = new Set<string>()
  for (let first = 0; first < 256; first++) {
    for (let second = 0; second < 256; second++) seen.add(shown(Uint8Array.of(first, second)))
  }
  assert.is(seen.size, 65536)
})

function listing(text: string): ListingQuery | string {
  return parseListingQuery(latin1(`?${text}`), 1, text.length)
}

test('a listing query is read with both encodings of a space', () => {
  const query = listing('prefix=a+b%20%2B&&start=%00&end=%ff&limit=10&reverse&since=1&until=18446744073709551615')
  if (typeof query === 'string') throw new Error(query)
  assert.equal(query.prefix, latin1('a b +'))
  assert.equal(query.start, latin1('\0'))
  assert.equal(query.end, latin1('\xff'))
  assert.is(query.limit, 10)
  assert.is(query.reverse, true)
  assert.is(query.since, 1n)
  assert.is(query.until, 2n ** 64n - 1n)
})

test('an empty listing query asks for everything', () => {
  for (const text of ['', '&', '&&']) {
    const query = listing(text)
    if (typeof query === 'string') throw new Error(query)
    assert.is(query.prefix ?? query.start ?? query.end ?? query.limit ?? query.since ?? query.until, undefined)
    assert.is(query.reverse, false)
  }
  for (const text of ['reverse=0', 'reverse=false']) assert.is((listing(text) as ListingQuery).reverse, false)
  for (const text of ['reverse=1', 'reverse=true']) assert.is((listing(text) as ListingQuery).reverse, true)
})

test('a listing query with anything unknown, repeated or unreadable says what', () => {
  for (const [text, problem] of [
    ['prefx=a', /unknown query parameter "prefx"/],
    ['=a', /unknown query parameter ""/],
    ['prefix=a&prefix=a', /"prefix" is given twice/],
    ['%70refix=a&prefix=b', /"prefix" is given twice/],
    ['prefix', /prefix needs a value/],
    [`start=${'a'.repeat(1025)}`, /start is longer/],
    ['limit=-1', /limit is not a number/],
    ['limit', /limit is not a number/],
    ['limit=99999999999999999', /limit is not a number/],
    ['since=now', /since is not/],
    ['until', /until is not/],
    ['reverse=yes', /reverse is neither/],
    ['prefix=%4', /invalid percent-encoding/],
  ] as const) {
    const result = listing(text)
    assert.type(result, 'string', text)
    assert.match(result as string, problem)
  }
})

test.run()
