/**
 * What conditions and ranges mean for one record: entity tags, preconditions, byte ranges. RFC 9110 (8.8.3, 13, 14).
 *
 * Called by: the key-value service, after it looked the key up. A record's entity tag is its version in decimal, in
 * quotes, and strong: the same version is the same bytes. A version is two words (high, low), as it lies in a line.
 * Nothing allocates.
 */
import { DECIMAL64_DIGITS_MAX, writeDecimal64 } from './decimal.ts'
import { parseHttpDate } from './http-date.ts'
import {
  ASTERISK,
  asciiWord,
  CLASS,
  COMMA,
  CONTENT_LENGTH_MAX,
  DASH,
  DIGIT_0,
  DQUOTE,
  ETAG,
  equalsWord,
  SLASH,
  skipBlanks,
} from './http-syntax.ts'
import { METHOD_GET, METHOD_HEAD, type RequestHead } from './request-head.ts'

/** Most bytes that `writeETag` writes. */
export const ETAG_BYTES_MAX = DECIMAL64_DIGITS_MAX + 2

const CAPITAL_W = 0x57
const BYTES_UNIT = asciiWord('bytes=')

/** Writes `"VERSION"` at `at`; returns the position behind it. */
export function writeETag(target: Uint8Array, at: number, high: number, low: number): number {
  target[at] = DQUOTE
  const end = writeDecimal64(target, at + 1, high, low)
  target[end] = DQUOTE
  return end + 1
}

/* --- entity tags --- */

/** Results of a condition. */
export const CONDITION_FALSE = 0
export const CONDITION_TRUE = 1
export const CONDITION_MALFORMED = -1

/** The current record's tag, written once for each condition. */
const currentTag = new Uint8Array(ETAG_BYTES_MAX)

/**
 * If-Match (RFC 9110 13.1.1): `*` holds if there is a record; a list, if it names the record's version; by strong
 * comparison, so weak tags never match.
 */
export function evaluateIfMatch(
  bytes: Uint8Array,
  at: number,
  length: number,
  exists: boolean,
  high: number,
  low: number,
): number {
  return findTag(bytes, at, length, exists, high, low, false)
}

/** If-None-Match (RFC 9110 13.1.2): the opposite, by weak comparison. */
export function evaluateIfNoneMatch(
  bytes: Uint8Array,
  at: number,
  length: number,
  exists: boolean,
  high: number,
  low: number,
): number {
  const found = findTag(bytes, at, length, exists, high, low, true)
  return found === CONDITION_MALFORMED ? found : CONDITION_TRUE - found
}

/** Whether `*` or a list of entity tags matches the record. The whole list is checked, also behind a match. */
function findTag(
  bytes: Uint8Array,
  from: number,
  length: number,
  exists: boolean,
  high: number,
  low: number,
  weak: boolean,
): number {
  const end = from + length
  if (length === 1 && bytes[from] === ASTERISK) return exists ? CONDITION_TRUE : CONDITION_FALSE
  const tagLength = writeETag(currentTag, 0, high, low)
  let at = from
  let tags = 0
  let found = CONDITION_FALSE
  while (at < end) {
    at = skipBlanks(bytes, at, end)
    if (at < end && bytes[at] !== COMMA) {
      const tag = isWeakPrefix(bytes, at, end) ? at + 2 : at
      const after = tagEnd(bytes, tag, end)
      if (after < 0) return CONDITION_MALFORMED
      if (exists && (weak || tag === at) && equalsCurrent(bytes, tag, after - tag, tagLength)) found = CONDITION_TRUE
      tags++
      at = skipBlanks(bytes, after, end)
      if (at < end && bytes[at] !== COMMA) return CONDITION_MALFORMED
    }
    at++ // the comma; empty elements are allowed: RFC 9110 (5.6.1.2)
  }
  return tags > 0 ? found : CONDITION_MALFORMED
}

function isWeakPrefix(bytes: Uint8Array, at: number, end: number): boolean {
  return at + 2 <= end && bytes[at] === CAPITAL_W && bytes[at + 1] === SLASH // case-sensitive: RFC 9110 (8.8.3)
}

/** Position behind the opaque tag at `at`, or -1. */
function tagEnd(bytes: Uint8Array, at: number, end: number): number {
  if (at >= end || bytes[at] !== DQUOTE) return -1
  at++
  while (at < end && (CLASS[bytes[at]!]! & ETAG) !== 0) at++
  return at < end && bytes[at] === DQUOTE ? at + 1 : -1
}

function equalsCurrent(bytes: Uint8Array, at: number, length: number, tagLength: number): boolean {
  if (length !== tagLength) return false
  for (let index = 0; index < length; index++) {
    if (bytes[at + index] !== currentTag[index]) return false
  }
  return true
}

/**
 * All preconditions in their order, RFC 9110 (13.2.2), except If-Range, which belongs to the range.
 * @param headStart position of the head that `head` describes
 * @param modifiedSeconds what Last-Modified says of the record
 * @param nowSeconds the present, for the century of two-digit years
 * @returns 0 (go on), 304, 412, or 400 for an entity-tag list that cannot be read
 */
export function evaluatePreconditions(
  head: RequestHead,
  bytes: Uint8Array,
  headStart: number,
  exists: boolean,
  high: number,
  low: number,
  modifiedSeconds: number,
  nowSeconds: number,
): number {
  const reading = head.method === METHOD_GET || head.method === METHOD_HEAD
  if (head.ifMatchStart !== 0) {
    const holds = evaluateIfMatch(bytes, headStart + head.ifMatchStart, head.ifMatchLength, exists, high, low)
    if (holds !== CONDITION_TRUE) return holds === CONDITION_FALSE ? 412 : 400
  } else if (head.ifUnmodifiedSinceStart !== 0 && exists) {
    const at = headStart + head.ifUnmodifiedSinceStart
    // A date that cannot be read is NaN, and the condition is ignored: RFC 9110 (13.1.4).
    if (modifiedSeconds > parseHttpDate(bytes, at, head.ifUnmodifiedSinceLength, nowSeconds)) return 412
  }
  if (head.ifNoneMatchStart !== 0) {
    const at = headStart + head.ifNoneMatchStart
    const holds = evaluateIfNoneMatch(bytes, at, head.ifNoneMatchLength, exists, high, low)
    if (holds === CONDITION_MALFORMED) return 400
    if (holds === CONDITION_FALSE) return reading ? 304 : 412
  } else if (head.ifModifiedSinceStart !== 0 && reading && exists) {
    const at = headStart + head.ifModifiedSinceStart
    if (modifiedSeconds <= parseHttpDate(bytes, at, head.ifModifiedSinceLength, nowSeconds)) return 304
  }
  return 0
}

/**
 * If-Range (RFC 9110 13.1.5): whether the range applies. Only the record's own strong tag does it: a date of whole
 * seconds cannot tell two versions of one second apart (8.8.2.2), and ignoring the range is always right.
 */
export function ifRangeHolds(bytes: Uint8Array, at: number, length: number, high: number, low: number): boolean {
  return equalsCurrent(bytes, at, length, writeETag(currentTag, 0, high, low))
}

/* --- ranges --- */

/** The range that `parseRange` found: one object, used again. */
export class ByteRange {
  first = 0
  length = 0
}

/** Number that the last `readPosition` read. */
let position = 0

/** Reads digits from `at`; returns the position behind them. Numbers too large to be exact become CONTENT_LENGTH_MAX. */
function readPosition(bytes: Uint8Array, at: number, end: number): number {
  position = 0
  while (at < end) {
    const digit = bytes[at]! - DIGIT_0
    if (digit < 0 || digit > 9) break
    position = Math.min(position * 10 + digit, CONTENT_LENGTH_MAX)
    at++
  }
  return at
}

/**
 * Range of a GET (RFC 9110 14.1.2, 14.2) on a value of `size` bytes: one of `bytes=a-b`, `bytes=a-`, `bytes=-n`.
 * @returns 206 (`range` is filled), 416 (nothing of it exists), or 200: no range, several, another unit or malformed:
 * send the whole, as 14.2 allows
 */
export function parseRange(bytes: Uint8Array, from: number, length: number, size: number, range: ByteRange): number {
  const end = from + length
  const spec = from + BYTES_UNIT.length
  if (length <= BYTES_UNIT.length || !equalsWord(bytes, from, BYTES_UNIT)) return 200
  const afterFirst = readPosition(bytes, spec, end)
  const first = position
  if (afterFirst >= end || bytes[afterFirst] !== DASH) return 200
  const afterLast = readPosition(bytes, afterFirst + 1, end)
  if (afterLast !== end) return 200
  const lastPresent = afterLast > afterFirst + 1
  if (afterFirst === spec) {
    if (!lastPresent) return 200
    if (position === 0) return 416
    if (size === 0) return 200 // satisfiable (14.1.2), but Content-Range cannot express an empty part
    range.first = Math.max(size - position, 0)
    range.length = size - range.first
    return 206
  }
  if (lastPresent && position < first) return 200
  if (first >= size) return 416
  range.first = first
  range.length = (lastPresent ? Math.min(position + 1, size) : size) - first
  return 206
}
