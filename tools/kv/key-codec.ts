/**
 * Keys between bytes and text: percent-encoding (RFC 3986 2.1) in targets and queries, JSON in listings.
 *
 * Used by: the key-value service. `percentDecode` runs for each request with an encoded key and does not allocate; all
 * else serves listings.
 *
 * How a listing shows a key, so that no two keys look alike:
 *   valid UTF-8     "key":"grüße"
 *   anything else   "key":"%FF%00a","keyEncoding":"percent"     every byte but A-Z a-z 0-9 - . _ ~ encoded
 */
import { KEY_LENGTH_MAX } from '../../storage/layout.ts'
import { parseDecimal64 } from './decimal.ts'
import { CLASS, HEX_VALUE, PERCENT, PLUS, SP, UNRESERVED } from './http-syntax.ts'

/**
 * Decodes [at, at + length) into `target` from `targetAt` on; `source` and `target` may be the same bytes.
 * @returns the decoded length, or -1: an invalid encoding, or no room
 */
export function percentDecode(
  source: Uint8Array,
  at: number,
  length: number,
  target: Uint8Array,
  targetAt: number,
): number {
  return decode(source, at, length, target, targetAt, false)
}

function decode(
  source: Uint8Array,
  from: number,
  length: number,
  target: Uint8Array,
  targetFrom: number,
  plusIsSpace: boolean,
): number {
  const end = from + length
  let to = targetFrom
  for (let at = from; at < end; at++) {
    let byte = source[at]!
    if (byte === PERCENT) {
      if (at + 2 >= end) return -1
      const high = HEX_VALUE[source[at + 1]!]!
      const low = HEX_VALUE[source[at + 2]!]!
      if (high > 15 || low > 15) return -1
      byte = (high << 4) | low
      at += 2
    } else if (plusIsSpace && byte === PLUS) byte = SP
    if (to >= target.length) return -1
    target[to++] = byte
  }
  return to - targetFrom
}

/** Every byte that is not unreserved (RFC 3986 2.3) becomes `%XX`. */
export function percentEncode(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) {
    if ((CLASS[byte]! & UNRESERVED) !== 0) text += String.fromCharCode(byte)
    else text += `%${byte < 16 ? '0' : ''}${byte.toString(16).toUpperCase()}`
  }
  return text
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The key's text, or undefined if it is not valid UTF-8. */
export function keyText(bytes: Uint8Array): string | undefined {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    return undefined
  }
}

/** The members that show a key in a JSON object: `"key":"…"`, and `"keyEncoding":"percent"` where the header says so. */
export function keyForJson(bytes: Uint8Array): string {
  const text = keyText(bytes)
  if (text === undefined) return `"key":"${percentEncode(bytes)}","keyEncoding":"percent"`
  return `"key":${JSON.stringify(text)}`
}

/** What a listing asks for; an absent bound is undefined. */
export interface ListingQuery {
  prefix: Uint8Array | undefined
  /** First key, inclusive. */
  start: Uint8Array | undefined
  /** Last key, exclusive. */
  end: Uint8Array | undefined
  limit: number | undefined
  reverse: boolean
  /** Arrival time in ns since the epoch: at or after `since`, before `until`. */
  since: bigint | undefined
  until: bigint | undefined
  /** Identifier of the snapshot to read from. */
  snapshot: string | undefined
}

const AMPERSAND = 0x26
const EQUALS = 0x3d
const latin1 = new TextDecoder('latin1')

/**
 * Reads the query of a listing: `prefix start end limit reverse since until snapshot`, each at most once,
 * percent-encoded, with `+` for a space as forms send it. `reverse` alone means `reverse=1`.
 * @returns the query, or a text that says what is wrong with it
 */
export function parseListingQuery(bytes: Uint8Array, from: number, length: number): ListingQuery | string {
  const query: ListingQuery = {
    prefix: undefined,
    start: undefined,
    end: undefined,
    limit: undefined,
    reverse: false,
    since: undefined,
    until: undefined,
    snapshot: undefined,
  }
  const seen = new Set<string>()
  const end = from + length
  for (let at = from; at < end; ) {
    const after = indexOf(bytes, AMPERSAND, at, end)
    if (after > at) {
      const equals = indexOf(bytes, EQUALS, at, after)
      const nameBytes = decoded(bytes, at, equals)
      const value = equals < after ? decoded(bytes, equals + 1, after) : undefined
      if (nameBytes === null || value === null) return 'invalid percent-encoding in the query'
      const name = latin1.decode(nameBytes)
      if (seen.has(name)) return `query parameter ${JSON.stringify(name)} is given twice`
      seen.add(name)
      const problem = setParameter(query, name, value)
      if (problem !== undefined) return problem
    }
    at = after + 1
  }
  return query
}

/** The value of `snapshot` in the query of a key, or undefined. Other parameters mean nothing there. */
export function parseSnapshotQuery(bytes: Uint8Array, from: number, length: number): string | undefined {
  if (length === 0) return undefined
  const parameters = latin1.decode(bytes.subarray(from, from + length)).split('&')
  return parameters.find((parameter) => parameter.startsWith('snapshot='))?.slice('snapshot='.length)
}

function indexOf(bytes: Uint8Array, byte: number, from: number, to: number): number {
  let at = from
  while (at < to && bytes[at] !== byte) at++
  return at
}

/** The decoded bytes, or null if an encoding is invalid. */
function decoded(bytes: Uint8Array, from: number, to: number): Uint8Array | null {
  const target = new Uint8Array(to - from)
  const length = decode(bytes, from, to - from, target, 0, true)
  return length < 0 ? null : target.subarray(0, length)
}

/** Returns a text if the parameter is unknown or its value is not what it should be. */
function setParameter(query: ListingQuery, name: string, value: Uint8Array | undefined): string | undefined {
  switch (name) {
    case 'prefix':
    case 'start':
    case 'end':
      if (value === undefined) return `query parameter ${name} needs a value`
      if (value.length > KEY_LENGTH_MAX) return `query parameter ${name} is longer than ${KEY_LENGTH_MAX} bytes`
      query[name] = value
      return undefined
    case 'reverse':
      return setReverse(query, value === undefined ? '1' : latin1.decode(value))
    case 'limit': {
      const limit = value === undefined ? undefined : parseDecimal64(latin1.decode(value))
      if (limit === undefined || limit > BigInt(Number.MAX_SAFE_INTEGER)) return 'query parameter limit is not a number'
      query.limit = Number(limit)
      return undefined
    }
    case 'snapshot':
      if (value === undefined) return 'query parameter snapshot needs a value'
      query.snapshot = latin1.decode(value)
      return undefined
    case 'since':
    case 'until':
      query[name] = value === undefined ? undefined : parseDecimal64(latin1.decode(value))
      return query[name] === undefined ? `query parameter ${name} is not a number of nanoseconds` : undefined
    default:
      return `unknown query parameter ${JSON.stringify(name)}; known: prefix, start, end, limit, reverse, since, until, snapshot`
  }
}

function setReverse(query: ListingQuery, value: string): string | undefined {
  if (value === '1' || value === 'true') query.reverse = true
  else if (value !== '0' && value !== 'false') return 'query parameter reverse is neither 1 nor 0'
  return undefined
}
