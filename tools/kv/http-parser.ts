/**
 * Request heads of HTTP/1.1, parsed where they arrived: RFC 9112 (2, 3, 5, 6), strictly, because two readings of
 * one head are how requests are smuggled. Nothing is copied and nothing is allocated; the result is numbers in a
 * `RequestHead`.
 *
 * Called by: the key-value service. A head that lies in one piece, as nearly all do, needs only `parseHead`; it says
 * HEAD_INCOMPLETE if the piece ends too early. Then the service gathers pieces, asks `findHeadEnd` for each
 * whether the end has come (no byte is looked at twice), and parses the gathered head once.
 *
 *   [CRLF…] METHOD SP TARGET SP HTTP/1.x CRLF   *( NAME ":" OWS VALUE OWS CRLF )   CRLF  body…
 *   ^ start                                                                             ^ start + headerLength
 *
 * Invariants:
 *  1. The result depends on the bytes of the head alone: not on how they were split, nor on what follows them, nor on
 *     the heads before it, whose fields are only remembered (field-memo.ts).
 *  2. Where `findHeadEnd` finds an end, `parseHead` never says HEAD_INCOMPLETE.
 *  3. Bytes at and behind `end` are never read; no input makes these functions throw.
 */
import { FieldMemo } from './field-memo.ts'
import {
  ALL_CLASSES,
  asciiWord,
  CLASS,
  COLON,
  CR,
  DIGIT_0,
  DIGIT_9,
  DOT,
  equalsExactly,
  FIELD_VALUE,
  HEAD_BYTES_MAX,
  HEX_VALUE,
  LF,
  PERCENT,
  QUESTION,
  SP,
  skipBlanks,
  TARGET_BYTES_MAX,
  TARGET_LITERAL,
  TOKEN,
  trimBlanks,
} from './http-syntax.ts'
import { parseTarget } from './http-target.ts'
import { acceptField, FIELD_OTHER, fieldName } from './request-fields.ts'
import {
  CODING_CHUNKED_LAST,
  CODING_UNKNOWN,
  METHOD_DELETE,
  METHOD_GET,
  METHOD_HEAD,
  METHOD_OPTIONS,
  METHOD_OTHER,
  METHOD_POST,
  METHOD_PUT,
  type RequestHead,
} from './request-head.ts'

/** The bytes so far are the beginning of a head that may turn out well. */
export const HEAD_INCOMPLETE = -1

/*
 * What the byte loops use. An imported binding is read through its module's cell at each use, in optimised code too; a
 * constant of this module is not. It makes the loops about 1.7 times as fast.
 */
const classes = CLASS
const tokenClass = TOKEN
const fieldValueClass = FIELD_VALUE
const targetClass = TARGET_LITERAL
const carriageReturn = CR

const NAME_GET = asciiWord('GET')
const NAME_PUT = asciiWord('PUT')
const NAME_HEAD = asciiWord('HEAD')
const NAME_POST = asciiWord('POST')
const NAME_DELETE = asciiWord('DELETE')
const NAME_OPTIONS = asciiWord('OPTIONS')
const HTTP_NAME = asciiWord('HTTP/')

const memo = new FieldMemo()

/* States of `findHeadEnd`. AFTER_CR added to one: the last byte was a CR, so that only LF may follow. */
const AFTER_CR = 1
const BEFORE_REQUEST = 0
const IN_LINE = 2
const LINE_START = 4

/** Where the search for the end of a head stands; one for each connection. Starts over by itself when an end was found. */
export class HeadScan {
  state = BEFORE_REQUEST
  /** Bytes of the head seen so far. */
  length = 0

  reset(): void {
    this.state = BEFORE_REQUEST
    this.length = 0
  }
}

/**
 * Goes on looking for the blank line that ends a head, in the next piece [from, to) of it.
 * @returns the position behind the head, or -1 if it is not in this piece. A bare CR or LF, or HEAD_BYTES_MAX bytes,
 * end the head at once: `parseHead` of what is there gives the error to answer.
 */
export function findHeadEnd(scan: HeadScan, bytes: Uint8Array, from: number, to: number): number {
  let state = scan.state
  const room = HEAD_BYTES_MAX - scan.length
  const limit = to - from < room ? to : from + room
  for (let at = from; at < limit; at++) {
    const byte = bytes[at]!
    if (state === IN_LINE && byte > carriageReturn) continue // nearly all bytes
    let ended = false
    if (byte === LF) {
      // The blank line, or a bare LF.
      ended = state === LINE_START + AFTER_CR || (state & AFTER_CR) === 0
      state = state === BEFORE_REQUEST + AFTER_CR ? BEFORE_REQUEST : LINE_START
    } else if ((state & AFTER_CR) !== 0) {
      ended = true // a bare CR: RFC 9112 (2.2)
    } else if (byte === CR) {
      state += AFTER_CR
    } else {
      state = IN_LINE
    }
    if (ended) {
      scan.reset()
      return at + 1
    }
  }
  if (limit - from === room) {
    scan.reset()
    return limit
  }
  scan.state = state
  scan.length += to - from
  return -1
}

/**
 * Parses the head that starts at `start`; `end` may lie behind it.
 * @returns 0 (`head` is filled), HEAD_INCOMPLETE, or the HTTP status to answer before closing the connection:
 * 400 malformed · 413 Content-Length beyond 2^53 · 414 target or key too long · 417 unknown expectation ·
 * 431 head too long · 501 unknown transfer coding · 505 not HTTP/1
 */
export function parseHead(bytes: Uint8Array, start: number, end: number, head: RequestHead): number {
  head.reset()
  const limit = end - start < HEAD_BYTES_MAX ? end : start + HEAD_BYTES_MAX
  let at = start
  // RFC 9112 (2.2): empty lines before the request line are ignored.
  while (at < limit && bytes[at] === CR) {
    at = lineEnd(bytes, at, limit)
    if (at < 0) return failure(at, end - start, 414)
  }
  at = parseRequestLine(bytes, start, at, limit, head)
  if (at < 0) return failure(at, end - start, 414)
  const fields = at
  at += memo.recall(bytes, fields, limit, head)
  if (at === fields) {
    at = parseFields(bytes, start, fields, limit, head)
    if (at < 0) return failure(at, end - start, 431)
    memo.remember(bytes, fields, at, head)
  }
  head.headerLength = at - start
  return conclude(head)
}

/** Functions below return a position, HEAD_INCOMPLETE or a negative status; this makes the result of it. */
function failure(code: number, available: number, tooLong: number): number {
  if (code !== HEAD_INCOMPLETE) return -code
  return available < HEAD_BYTES_MAX ? HEAD_INCOMPLETE : tooLong
}

/** Position behind the CRLF at `at`. */
function lineEnd(bytes: Uint8Array, at: number, limit: number): number {
  if (at >= limit) return HEAD_INCOMPLETE
  if (bytes[at] !== CR) return -400
  if (at + 1 >= limit) return HEAD_INCOMPLETE
  return bytes[at + 1] === LF ? at + 2 : -400
}

/** RFC 9112 (3). Exactly one SP between the parts: the lenient reading of (3) is a smuggling risk. */
function parseRequestLine(bytes: Uint8Array, start: number, from: number, limit: number, head: RequestHead): number {
  let at = from
  while (at < limit && (classes[bytes[at]!]! & tokenClass) !== 0) at++
  if (at >= limit) return HEAD_INCOMPLETE
  if (at === from || bytes[at] !== SP) return -400
  head.method = methodCode(bytes, from, at - from)

  const target = ++at
  let query = -1
  let encoded = false
  for (;;) {
    while (at < limit && (classes[bytes[at]!]! & targetClass) !== 0) at++
    if (at >= limit) return HEAD_INCOMPLETE
    const byte = bytes[at]!
    if (byte === PERCENT) {
      encoded = true
      for (const after = at + 2; at < after; ) {
        if (++at >= limit) return HEAD_INCOMPLETE
        if (HEX_VALUE[bytes[at]!]! > 15) return -400 // RFC 3986 (2.1)
      }
      at++
    } else if (byte === QUESTION) {
      if (query < 0) query = at
      at++
    } else break
  }
  if (at === target || bytes[at] !== SP) return -400
  if (at - target > TARGET_BYTES_MAX) return -414
  const targetEnd = at

  at = parseVersion(bytes, at + 1, limit, head)
  if (at < 0) return at
  at = lineEnd(bytes, at, limit)
  if (at < 0) return at
  const status = parseTarget(bytes, start, target, targetEnd, query, encoded, head)
  return status === 0 ? at : -status
}

/** HTTP-version, RFC 9112 (2.3). */
function parseVersion(bytes: Uint8Array, from: number, limit: number, head: RequestHead): number {
  let at = from
  for (let index = 0; index < HTTP_NAME.length; index++, at++) {
    if (at >= limit) return HEAD_INCOMPLETE
    if (bytes[at] !== HTTP_NAME[index]) return -400
  }
  if (at >= limit) return HEAD_INCOMPLETE
  const major = bytes[at]!
  if (!isDigit(major)) return -400
  if (++at >= limit) return HEAD_INCOMPLETE
  if (bytes[at] !== DOT) return -400
  if (++at >= limit) return HEAD_INCOMPLETE
  const minor = bytes[at]!
  if (!isDigit(minor)) return -400
  if (major !== DIGIT_0 + 1) return -505
  // RFC 9110 (2.5): a higher minor version is treated as the highest one known.
  head.version = minor === DIGIT_0 ? 10 : 11
  return at + 1
}

/** All field lines, and the blank line behind them. */
function parseFields(bytes: Uint8Array, start: number, from: number, limit: number, head: RequestHead): number {
  let at = from
  while (at < limit && bytes[at] !== carriageReturn) {
    at = parseField(bytes, start, at, limit, head)
    if (at < 0) return at
  }
  return lineEnd(bytes, at, limit)
}

/** One field line, RFC 9112 (5). No obs-fold (5.2), no space before the colon (5.1). */
function parseField(bytes: Uint8Array, start: number, from: number, limit: number, head: RequestHead): number {
  let at = from
  while (at < limit && (classes[bytes[at]!]! & tokenClass) !== 0) at++
  if (at >= limit) return HEAD_INCOMPLETE
  if (at === from || bytes[at] !== COLON) return -400
  const name = fieldName(bytes, from, at - from)
  const value = skipBlanks(bytes, at + 1, limit)
  at = value
  let valueClasses = ALL_CLASSES
  for (; at < limit; at++) {
    const byteClasses = classes[bytes[at]!]!
    if ((byteClasses & fieldValueClass) === 0) break
    valueClasses &= byteClasses
  }
  const valueEnd = at
  at = lineEnd(bytes, at, limit)
  if (at < 0 || name === FIELD_OTHER) return at
  const status = acceptField(name, bytes, start, value, trimBlanks(bytes, value, valueEnd), valueClasses, head)
  return status === 0 ? at : -status
}

function methodCode(bytes: Uint8Array, at: number, length: number): number {
  switch (length) {
    case 3:
      if (equalsExactly(bytes, at, NAME_GET)) return METHOD_GET
      return equalsExactly(bytes, at, NAME_PUT) ? METHOD_PUT : METHOD_OTHER
    case 4:
      if (equalsExactly(bytes, at, NAME_HEAD)) return METHOD_HEAD
      return equalsExactly(bytes, at, NAME_POST) ? METHOD_POST : METHOD_OTHER
    case 6:
      return equalsExactly(bytes, at, NAME_DELETE) ? METHOD_DELETE : METHOD_OTHER
    case 7:
      return equalsExactly(bytes, at, NAME_OPTIONS) ? METHOD_OPTIONS : METHOD_OTHER
    default:
      return METHOD_OTHER
  }
}

function isDigit(byte: number): boolean {
  return byte >= DIGIT_0 && byte <= DIGIT_9
}

/** What follows from all fields together: Host, message framing, persistence. */
function conclude(head: RequestHead): number {
  const version11 = head.version === 11
  if (version11 && !head.hostPresent) return 400 // RFC 9112 (3.2)
  const codings = head.transferCodings
  if (codings !== 0) {
    // RFC 9112 (6.1, 6.3): both lengths, chunked in HTTP/1.0, or a body whose last coding is not chunked.
    if (head.contentLength >= 0 || !version11 || (codings & CODING_CHUNKED_LAST) === 0) return 400
    if ((codings & CODING_UNKNOWN) !== 0) return 501
    head.chunked = true
  }
  // RFC 9110 (14.4): a part must not be stored as if it were the whole.
  if (head.contentRangePresent && head.method === METHOD_PUT) return 400
  if (version11) {
    if (head.expectUnknown) return 417
  } else head.expectContinue = false // RFC 9110 (10.1.1)
  head.keepAlive = !head.connectionClose && (version11 || head.connectionKeepAlive) // RFC 9112 (9.3)
  return 0
}
