/**
 * The request fields that mean something here: names, and what a value sets in the `RequestHead`.
 *
 * Called by: http-parser, for each field line that is well formed. Names: RFC 9110, RFC 9112. A field that may stand only once, or
 * whose lines would have to be joined before they can be evaluated, is refused when repeated: half a condition is
 * worse than none.
 */
import {
  AUTHORITY,
  asciiWord,
  CLASS,
  CONTENT_LENGTH_MAX,
  DIGIT_0,
  elementEnd,
  equalsWord,
  skipBlanks,
  TOKEN,
  trimBlanks,
} from './http-syntax.ts'
import { CODING_CHUNKED_LAST, CODING_UNKNOWN, type RequestHead } from './request-head.ts'

export const FIELD_OTHER = 0
const FIELD_HOST = 1
const FIELD_CONTENT_LENGTH = 2
const FIELD_TRANSFER_ENCODING = 3
const FIELD_CONNECTION = 4
const FIELD_EXPECT = 5
const FIELD_IF_MATCH = 6
const FIELD_IF_NONE_MATCH = 7
const FIELD_IF_MODIFIED_SINCE = 8
const FIELD_IF_UNMODIFIED_SINCE = 9
const FIELD_IF_RANGE = 10
const FIELD_RANGE = 11
const FIELD_CONTENT_RANGE = 12

const HOST = asciiWord('host')
const RANGE = asciiWord('range')
const EXPECT = asciiWord('expect')
const IF_MATCH = asciiWord('if-match')
const IF_RANGE = asciiWord('if-range')
const CONNECTION = asciiWord('connection')
const CONTENT_RANGE = asciiWord('content-range')
const IF_NONE_MATCH = asciiWord('if-none-match')
const CONTENT_LENGTH = asciiWord('content-length')
const TRANSFER_ENCODING = asciiWord('transfer-encoding')
const IF_MODIFIED_SINCE = asciiWord('if-modified-since')
const IF_UNMODIFIED_SINCE = asciiWord('if-unmodified-since')

const CHUNKED = asciiWord('chunked')
const CLOSE = asciiWord('close')
const KEEP_ALIVE = asciiWord('keep-alive')
const CONTINUE = asciiWord('100-continue')

/** Code of the field name, which is a token; the length alone rules nearly all others out. */
export function fieldName(bytes: Uint8Array, at: number, length: number): number {
  switch (length) {
    case 4:
      return equalsWord(bytes, at, HOST) ? FIELD_HOST : FIELD_OTHER
    case 5:
      return equalsWord(bytes, at, RANGE) ? FIELD_RANGE : FIELD_OTHER
    case 6:
      return equalsWord(bytes, at, EXPECT) ? FIELD_EXPECT : FIELD_OTHER
    case 8:
      if (equalsWord(bytes, at, IF_MATCH)) return FIELD_IF_MATCH
      return equalsWord(bytes, at, IF_RANGE) ? FIELD_IF_RANGE : FIELD_OTHER
    case 10:
      return equalsWord(bytes, at, CONNECTION) ? FIELD_CONNECTION : FIELD_OTHER
    case 13:
      if (equalsWord(bytes, at, IF_NONE_MATCH)) return FIELD_IF_NONE_MATCH
      return equalsWord(bytes, at, CONTENT_RANGE) ? FIELD_CONTENT_RANGE : FIELD_OTHER
    case 14:
      return equalsWord(bytes, at, CONTENT_LENGTH) ? FIELD_CONTENT_LENGTH : FIELD_OTHER
    case 17:
      if (equalsWord(bytes, at, TRANSFER_ENCODING)) return FIELD_TRANSFER_ENCODING
      return equalsWord(bytes, at, IF_MODIFIED_SINCE) ? FIELD_IF_MODIFIED_SINCE : FIELD_OTHER
    case 19:
      return equalsWord(bytes, at, IF_UNMODIFIED_SINCE) ? FIELD_IF_UNMODIFIED_SINCE : FIELD_OTHER
    default:
      return FIELD_OTHER
  }
}

/**
 * Takes the value [from, to) of a known field, without blanks around it.
 * @param start first byte of the head, to which offsets are relative
 * @param valueClasses character classes that all its bytes are in (blanks behind it counted too)
 * @returns 0, or the status to answer
 */
export function acceptField(
  name: number,
  bytes: Uint8Array,
  start: number,
  from: number,
  to: number,
  valueClasses: number,
  head: RequestHead,
): number {
  const offset = from - start
  const length = to - from
  switch (name) {
    case FIELD_HOST:
      return acceptHost(bytes, from, to, valueClasses, head)
    case FIELD_CONTENT_LENGTH:
      return acceptContentLength(bytes, from, to, head)
    case FIELD_TRANSFER_ENCODING:
      return acceptTransferEncoding(bytes, from, to, head)
    case FIELD_CONNECTION:
      acceptConnection(bytes, from, to, head)
      return 0
    case FIELD_EXPECT:
      if (isWord(bytes, from, to, CONTINUE)) head.expectContinue = true
      else head.expectUnknown = true // RFC 9110 (10.1.1): 417, unless the head is malformed anyway
      return 0
    case FIELD_IF_MATCH:
      if (head.ifMatchStart !== 0) return 400
      head.ifMatchStart = offset
      head.ifMatchLength = length
      return 0
    case FIELD_IF_NONE_MATCH:
      if (head.ifNoneMatchStart !== 0) return 400
      head.ifNoneMatchStart = offset
      head.ifNoneMatchLength = length
      return 0
    case FIELD_IF_MODIFIED_SINCE:
      if (head.ifModifiedSinceStart !== 0) return 400
      head.ifModifiedSinceStart = offset
      head.ifModifiedSinceLength = length
      return 0
    case FIELD_IF_UNMODIFIED_SINCE:
      if (head.ifUnmodifiedSinceStart !== 0) return 400
      head.ifUnmodifiedSinceStart = offset
      head.ifUnmodifiedSinceLength = length
      return 0
    case FIELD_IF_RANGE:
      if (head.ifRangeStart !== 0) return 400
      head.ifRangeStart = offset
      head.ifRangeLength = length
      return 0
    case FIELD_RANGE:
      if (head.rangeStart !== 0) return 400
      head.rangeStart = offset
      head.rangeLength = length
      return 0
    default:
      head.contentRangePresent = true
      return 0
  }
}

/** RFC 9112 (3.2): at most one, with a valid value; it may be empty. */
function acceptHost(bytes: Uint8Array, from: number, to: number, valueClasses: number, head: RequestHead): number {
  if (head.hostPresent) return 400
  head.hostPresent = true
  if ((valueClasses & AUTHORITY) !== 0) return 0
  for (let at = from; at < to; at++) {
    if ((CLASS[bytes[at]!]! & AUTHORITY) === 0) return 400
  }
  return 0
}

/** RFC 9110 (8.6): digits. Repetitions, even of the same number, may be refused, and are. */
function acceptContentLength(bytes: Uint8Array, from: number, to: number, head: RequestHead): number {
  if (head.contentLength >= 0 || from === to) return 400
  let value = 0
  for (let at = from; at < to; at++) {
    const digit = bytes[at]! - DIGIT_0
    if (digit < 0 || digit > 9) return 400
    value = value * 10 + digit
  }
  // Sums beyond the largest safe integer are inexact, but stay beyond it.
  if (value > CONTENT_LENGTH_MAX) return 413
  head.contentLength = value
  return 0
}

/**
 * RFC 9112 (6.1, 7): a list, over all its lines, that must end with `chunked`, once. Empty elements and parameters of
 * `chunked` are refused (7.1).
 */
function acceptTransferEncoding(bytes: Uint8Array, from: number, to: number, head: RequestHead): number {
  let at = from
  for (;;) {
    if ((head.transferCodings & CODING_CHUNKED_LAST) !== 0) return 400
    const comma = elementEnd(bytes, at, to)
    const first = skipBlanks(bytes, at, comma)
    const last = trimBlanks(bytes, first, comma)
    if (isWord(bytes, first, last, CHUNKED)) head.transferCodings |= CODING_CHUNKED_LAST
    else if (first < last && (CLASS[bytes[first]!]! & TOKEN) !== 0) head.transferCodings |= CODING_UNKNOWN
    else return 400
    if (comma === to) return 0
    at = comma + 1
  }
}

/** RFC 9110 (7.6.1): a list of options, of which two are known. */
function acceptConnection(bytes: Uint8Array, from: number, to: number, head: RequestHead): void {
  let at = from
  while (at < to) {
    const comma = elementEnd(bytes, at, to)
    const first = skipBlanks(bytes, at, comma)
    const last = trimBlanks(bytes, first, comma)
    if (isWord(bytes, first, last, CLOSE)) head.connectionClose = true
    else if (isWord(bytes, first, last, KEEP_ALIVE)) head.connectionKeepAlive = true
    at = comma + 1
  }
}

/** Whether [from, to) is `word`, in any case. */
function isWord(bytes: Uint8Array, from: number, to: number, word: Uint8Array): boolean {
  return to - from === word.length && equalsWord(bytes, from, word)
}
