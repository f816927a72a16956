/**
 * What a request target names: a key, the listing, or one of the few fixed resources. RFC 9112 (3.2); nothing is
 * normalised (`/kv/../a` is the key `../a`), so two different targets never name the same key by a path trick.
 *
 * Called by: http-parser, once the request line is known to be well formed (its percent-encodings are valid).
 */
import { KEY_LENGTH_MAX } from '../../storage/layout.ts'
import {
  ASTERISK,
  AUTHORITY,
  asciiWord,
  CLASS,
  COLON,
  equalsExactly,
  equalsWord,
  PERCENT,
  QUESTION,
  SLASH,
} from './http-syntax.ts'
import {
  METHOD_OPTIONS,
  METHOD_POST,
  type RequestHead,
  TARGET_BATCH,
  TARGET_KEY,
  TARGET_LISTING,
  TARGET_OTHER,
  TARGET_ROOT,
  TARGET_SERVER,
  TARGET_SNAPSHOT,
  TARGET_STATS,
} from './request-head.ts'

const SCHEME = asciiWord('http://')
const COLLECTION = asciiWord('/kv')
const BATCH = asciiWord('_batch')
const SNAPSHOT = asciiWord('_snapshot')
const STATS = asciiWord('/stats')

/**
 * Fills the target fields of `head`.
 * @param start first byte of the head, to which offsets are relative
 * @param query position of the first `?`, or -1
 * @param encoded whether there is a `%` anywhere in the target
 * @returns 0, or the status to answer
 */
export function parseTarget(
  bytes: Uint8Array,
  start: number,
  from: number,
  to: number,
  query: number,
  encoded: boolean,
  head: RequestHead,
): number {
  let path = from
  if (bytes[from] !== SLASH) {
    if (bytes[from] === ASTERISK && to === from + 1 && head.method === METHOD_OPTIONS) {
      head.target = TARGET_SERVER
      return 0
    }
    path = absolutePath(bytes, from, to)
    if (path < 0) return 400
  }
  const pathEnd = query < 0 ? to : query
  if (query >= 0) {
    head.queryStart = query + 1 - start
    head.queryLength = to - query - 1
  }
  const length = pathEnd - path
  if (length <= 1) {
    head.target = TARGET_ROOT // `/`, and the empty path of an absolute-form
    return 0
  }
  if (startsWith(bytes, path, pathEnd, COLLECTION) && (length === 3 || bytes[path + 3] === SLASH)) {
    if (length <= 4) {
      head.target = TARGET_LISTING
      return 0
    }
    if (head.method === METHOD_POST && length === 10 && startsWith(bytes, path + 4, pathEnd, BATCH)) {
      head.target = TARGET_BATCH
      return 0
    }
    if (head.method === METHOD_POST && length === 13 && startsWith(bytes, path + 4, pathEnd, SNAPSHOT)) {
      head.target = TARGET_SNAPSHOT
      return 0
    }
    return acceptKey(bytes, start, path + 4, pathEnd, encoded, head)
  }
  head.target = length === STATS.length && startsWith(bytes, path, pathEnd, STATS) ? TARGET_STATS : TARGET_OTHER
  return 0
}

function acceptKey(
  bytes: Uint8Array,
  start: number,
  from: number,
  to: number,
  encoded: boolean,
  head: RequestHead,
): number {
  const escapes = encoded ? countEscapes(bytes, from, to) : 0
  const decodedLength = to - from - 2 * escapes
  if (decodedLength > KEY_LENGTH_MAX) return 414
  head.target = TARGET_KEY
  head.keyStart = from - start
  head.keyLength = to - from
  head.keyEncoded = escapes > 0
  head.keyDecodedLength = decodedLength
  return 0
}

function countEscapes(bytes: Uint8Array, from: number, to: number): number {
  let escapes = 0
  for (let at = from; at < to; at++) {
    if (bytes[at] === PERCENT) escapes++
  }
  return escapes
}

/** Start of the path of an absolute-form (RFC 9112 3.2.2), or -1 if it is none, or not for a server of plain http. */
function absolutePath(bytes: Uint8Array, from: number, to: number): number {
  if (to - from <= SCHEME.length || !equalsWord(bytes, from, SCHEME)) return -1
  const host = from + SCHEME.length
  let at = host
  while (at < to && (CLASS[bytes[at]!]! & AUTHORITY) !== 0) at++
  if (at === host || bytes[host] === COLON) return -1 // RFC 9110 (4.2.1): no empty host
  return at === to || bytes[at] === SLASH || bytes[at] === QUESTION ? at : -1
}

/** Whether [at, end) begins with `word`; paths are case-sensitive. */
function startsWith(bytes: Uint8Array, at: number, end: number, word: Uint8Array): boolean {
  return end - at >= word.length && equalsExactly(bytes, at, word)
}
