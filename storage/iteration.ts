/**
 * Ordered iteration over the published entries, or those that a snapshot sees: by range or prefix and time of arrival,
 * forward or backward.
 *
 * Between two steps anything may happen to the store, so an iteration remembers its place by key and finds it again:
 * an entry that is written or removed meanwhile may or may not be seen, every other one is seen exactly once.
 *
 * Called by: store.ts, snapshot.ts. Calls: skip-list.ts.
 */
import { arrivalOf, copyKey, isHardwareTime, valueLength, versionOf } from './entry.ts'
import { KEY_LENGTH_MAX, NO_META } from './layout.ts'
import type { Pool } from './pool.ts'
import type { SkipList } from './skip-list.ts'

export interface Range {
  readonly prefix?: Uint8Array | undefined
  /** First key, inclusive. */
  readonly start?: Uint8Array | undefined
  /** Last key, exclusive. */
  readonly end?: Uint8Array | undefined
  readonly limit?: number | undefined
  readonly reverse?: boolean | undefined
  /** Arrival in ns since the epoch: at or after `since`, before `until`. Entries outside are passed over; `limit` does not count them. */
  readonly since?: bigint | undefined
  readonly until?: bigint | undefined
}

/** Where entries are looked for by key. Each method returns a head line, or NO_META if there is none. */
export interface EntrySource {
  /** The entry with the smallest key that is not below `key`. */
  atOrBehind(key: Uint8Array): number
  /** The entry with the smallest key above `key`. */
  behind(key: Uint8Array): number
  /** The entry with the greatest key below `key`. */
  before(key: Uint8Array): number
}

export interface EntryInfo {
  readonly key: Uint8Array
  readonly size: number
  readonly version: bigint
  /** ns since the epoch. */
  readonly arrival: bigint
  /** The network interface stamped the arrival; otherwise software did. */
  readonly hardwareTime: boolean
  /** Head line, valid until the next commit. */
  readonly meta: number
}

/** No key is longer than KEY_LENGTH_MAX, so this one is greater than all. */
const BEHIND_ALL = new Uint8Array(KEY_LENGTH_MAX + 1).fill(0xff)

const BEFORE_ALL = new Uint8Array(0)

/** The published entries. */
export class ListSource implements EntrySource {
  private readonly list: SkipList

  constructor(list: SkipList) {
    this.list = list
  }

  atOrBehind(key: Uint8Array): number {
    return this.list.locate(key, 0, key.length)
  }

  behind(key: Uint8Array): number {
    const exact = this.list.find(key, 0, key.length)
    return exact !== NO_META ? this.list.next(exact) : this.list.locate(key, 0, key.length)
  }

  before(key: Uint8Array): number {
    this.list.locate(key, 0, key.length)
    return this.list.predecessor
  }
}

/** The entries of a range in its order. */
export function* iterate(source: EntrySource, pool: Pool, range: Range): Generator<EntryInfo> {
  for (const info of scan(source, pool, range)) if (info !== undefined) yield info
}

/** The same step by step: undefined for each entry that is passed over, so that who may not take long can stop there. */
export function* scan(source: EntrySource, pool: Pool, range: Range): Generator<EntryInfo | undefined> {
  let left = range.limit ?? Number.POSITIVE_INFINITY
  if (left <= 0) return
  let meta = range.reverse ? seekLast(source, range) : seekFirst(source, range)
  while (meta !== NO_META) {
    const info = describeEntry(pool, meta)
    if (range.reverse ? isBefore(info.key, range) : isBehind(info.key, range)) return
    if (isInTime(info.arrival, range)) {
      yield info
      if (--left === 0) return
    } else yield undefined
    // Found anew by key: the entry itself may have been replaced or removed meanwhile.
    meta = range.reverse ? source.before(info.key) : source.behind(info.key)
  }
}

function isInTime(arrival: bigint, { since, until }: Range): boolean {
  return (since === undefined || arrival >= since) && (until === undefined || arrival < until)
}

export function describeEntry(pool: Pool, meta: number): EntryInfo {
  return {
    key: copyKey(pool, meta),
    size: valueLength(pool, meta),
    version: versionOf(pool, meta),
    arrival: arrivalOf(pool, meta),
    hardwareTime: isHardwareTime(pool, meta),
    meta,
  }
}

/** Unsigned bytewise order; a prefix sorts before its extensions. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}

function seekFirst(source: EntrySource, range: Range): number {
  return source.atOrBehind(largerKey(range.prefix, range.start) ?? BEFORE_ALL)
}

function seekLast(source: EntrySource, range: Range): number {
  const end = smallerKey(range.prefix && keyBehindPrefix(range.prefix), range.end)
  return source.before(end ?? BEHIND_ALL)
}

function isBehind(key: Uint8Array, range: Range): boolean {
  if (range.end !== undefined && compareBytes(key, range.end) >= 0) return true
  return range.prefix !== undefined && !startsWith(key, range.prefix)
}

function isBefore(key: Uint8Array, range: Range): boolean {
  if (range.start !== undefined && compareBytes(key, range.start) < 0) return true
  return range.prefix !== undefined && !startsWith(key, range.prefix)
}

function startsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  return key.length >= prefix.length && compareBytes(key.subarray(0, prefix.length), prefix) === 0
}

/** The smallest key greater than every key with this prefix; undefined if there is none (all bytes 0xff). */
function keyBehindPrefix(prefix: Uint8Array): Uint8Array | undefined {
  let length = prefix.length
  while (length > 0 && prefix[length - 1] === 0xff) length--
  if (length === 0) return undefined
  const key = prefix.slice(0, length)
  key[length - 1]!++
  return key
}

function largerKey(a: Uint8Array | undefined, b: Uint8Array | undefined): Uint8Array | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return compareBytes(a, b) >= 0 ? a : b
}

function smallerKey(a: Uint8Array | undefined, b: Uint8Array | undefined): Uint8Array | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return compareBytes(a, b) <= 0 ? a : b
}
