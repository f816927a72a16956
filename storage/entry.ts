/**
 * Entries as chains of metadata lines: reading and writing the fields of a head and its fragments.
 *
 *   head ── key view and first data view, in one buffer
 *    └─ W_NEXT_FRAGMENT ─► fragment ─► fragment ─► 0     each one view of the value, in order
 *
 * A received segment's own line becomes the head or a fragment: nothing is allocated and no payload moves.
 * Called by: the HTTP service (adopting), store.ts, commit.ts, recovery.ts.
 */

import { compareKey, keyPrefix } from './key.ts'
import {
  ARRIVAL_BY_HARDWARE,
  BUFFER_BYTES,
  EXTENT_BUFFERS_SHIFT,
  FLAG_HARDWARE_TIME,
  KEY_LENGTH_MAX,
  LINE_WORDS_SHIFT,
  NO_FRAME,
  NO_META,
  packState,
  packView,
  stateFlags,
  viewLength,
  viewOffset,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_BUFFER,
  W_KEY,
  W_KEY_PREFIX,
  W_NEXT,
  W_NEXT_FRAGMENT,
  W_PAYLOAD_CRC,
  W_PAYLOAD_CRC_COMPLEMENT,
  W_STATE,
  W_SUM,
  W_VALUE,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from './layout.ts'
import type { Pool } from './pool.ts'

/** Arrival times are below this, ns since the epoch: the uppermost bit is ARRIVAL_BY_HARDWARE. */
export const ARRIVAL_END_NS = 1n << 63n

/** Makes a line in transit the head of an entry: its data view is the first piece of the value, the key lies in the same buffer. */
export function adoptHead(pool: Pool, meta: number, keyOffset: number, keyLength: number): void {
  const words = pool.lines[meta >>> pool.lineShift]!
  const at = (meta & pool.lineMask) << LINE_WORDS_SHIFT
  const buffer = words[at + W_BUFFER]!
  words[at + W_KEY] = packView(keyOffset, keyLength)
  words[at + W_KEY_PREFIX] = keyPrefix(
    pool.bytes[buffer >>> EXTENT_BUFFERS_SHIFT]!,
    pool.bufferStart(buffer) + keyOffset,
    keyLength,
  )
  words[at + W_VALUE] = pool.dataLength(meta)
  words[at + W_NEXT_FRAGMENT] = NO_META
  words[at + W_NEXT] = NO_META
  words[at + W_PAYLOAD_CRC] = 0
  words[at + W_PAYLOAD_CRC_COMPLEMENT] = 0
}

/** Makes a line in transit the next fragment of an entry being received. Only `tail` and `head` change besides it. */
export function adoptFragment(pool: Pool, head: number, tail: number, meta: number): void {
  const words = pool.lines[meta >>> pool.lineShift]!
  const at = (meta & pool.lineMask) << LINE_WORDS_SHIFT
  const offset = pool.get(head, W_VALUE)
  words[at + W_VERSION_LOW] = head
  words[at + W_VERSION_HIGH] = 0
  words[at + W_KEY] = 0
  words[at + W_KEY_PREFIX] = 0
  words[at + W_VALUE] = offset
  words[at + W_NEXT_FRAGMENT] = NO_META
  words[at + W_NEXT] = NO_META
  words[at + W_PAYLOAD_CRC] = 0
  words[at + W_PAYLOAD_CRC_COMPLEMENT] = 0
  pool.setNext(tail, meta)
  pool.set(head, W_VALUE, (offset + pool.dataLength(meta)) | 0)
}

/** Length of the whole value, bytes. */
export function valueLength(pool: Pool, head: number): number {
  return pool.get(head, W_VALUE) >>> 0
}

export function keyOffset(pool: Pool, head: number): number {
  return viewOffset(pool.get(head, W_KEY))
}

export function keyLength(pool: Pool, head: number): number {
  return viewLength(pool.get(head, W_KEY))
}

/** Byte offset of the key inside the extent of the head's buffer. */
export function keyStart(pool: Pool, head: number): number {
  return pool.bufferStart(pool.get(head, W_BUFFER)) + keyOffset(pool, head)
}

/** Order of two entries by their keys. */
export function compareEntryKeys(pool: Pool, a: number, b: number): number {
  const bytes = pool.dataBytes(b)
  const start = keyStart(pool, b)
  const length = keyLength(pool, b)
  return compareKey(pool, a, bytes, start, length, keyPrefix(bytes, start, length))
}

/** A copy of the key. */
export function copyKey(pool: Pool, head: number): Uint8Array {
  const start = keyStart(pool, head)
  return pool.dataBytes(head).slice(start, start + keyLength(pool, head))
}

/**
 * A copy of the key of a line that may be damaged: undefined unless its view is plausible and the prefix word tells the
 * same as the bytes.
 */
export function readableKey(pool: Pool, meta: number): Uint8Array | undefined {
  const length = keyLength(pool, meta)
  if (!pool.isBuffer(pool.get(meta, W_BUFFER)) || length > KEY_LENGTH_MAX || length === 0) return undefined
  if (keyOffset(pool, meta) + length > BUFFER_BYTES) return undefined
  const prefix = keyPrefix(pool.dataBytes(meta), keyStart(pool, meta), length)
  return prefix === pool.get(meta, W_KEY_PREFIX) ? copyKey(pool, meta) : undefined
}

/** Commit sequence number; allocates, for listings and tools. */
export function versionOf(pool: Pool, head: number): bigint {
  return joinWords(pool.get(head, W_VERSION_LOW), pool.get(head, W_VERSION_HIGH))
}

/** The same as a number: versions stay below 2^53. */
export function versionNumber(pool: Pool, head: number): number {
  return (pool.get(head, W_VERSION_HIGH) >>> 0) * 2 ** 32 + (pool.get(head, W_VERSION_LOW) >>> 0)
}

/** Arrival, ns since the epoch; allocates, for listings and tools. */
export function arrivalOf(pool: Pool, head: number): bigint {
  return joinWords(pool.get(head, W_ARRIVAL_LOW), pool.get(head, W_ARRIVAL_HIGH))
}

/** Writes the arrival time of a line in transit. */
export function setArrival(pool: Pool, meta: number, nowNs: bigint): void {
  pool.set(meta, W_ARRIVAL_LOW, Number(BigInt.asIntN(32, nowNs)))
  pool.set(meta, W_ARRIVAL_HIGH, Number(BigInt.asIntN(32, nowNs >> 32n)))
}

/**
 * The state word to seal a line with. That its arrival is a hardware time stood in the arrival while it was in transit,
 * and stands in the flags from now on.
 */
export function stateToSeal(pool: Pool, meta: number, generation: number, kind: number, flags: number): number {
  const high = pool.get(meta, W_ARRIVAL_HIGH)
  if ((high & ARRIVAL_BY_HARDWARE) === 0) return packState(generation, kind, flags)
  pool.set(meta, W_ARRIVAL_HIGH, high & ~ARRIVAL_BY_HARDWARE)
  return packState(generation, kind, flags | FLAG_HARDWARE_TIME)
}

/** Whether the network interface stamped the arrival of a sealed line. */
export function isHardwareTime(pool: Pool, meta: number): boolean {
  return (stateFlags(pool.get(meta, W_STATE)) & FLAG_HARDWARE_TIME) !== 0
}

/** Gives a line in transit the arrival of a sealed one. */
export function copyArrival(pool: Pool, sealed: number, meta: number): void {
  const mark = isHardwareTime(pool, sealed) ? ARRIVAL_BY_HARDWARE : 0
  pool.set(meta, W_ARRIVAL_LOW, pool.get(sealed, W_ARRIVAL_LOW))
  pool.set(meta, W_ARRIVAL_HIGH, pool.get(sealed, W_ARRIVAL_HIGH) | mark)
}

/** Orders two lines by their version words. */
export function compareVersions(pool: Pool, a: number, b: number): number {
  const high = (pool.get(a, W_VERSION_HIGH) >>> 0) - (pool.get(b, W_VERSION_HIGH) >>> 0)
  return high !== 0 ? high : (pool.get(a, W_VERSION_LOW) >>> 0) - (pool.get(b, W_VERSION_LOW) >>> 0)
}

/** First byte of the buffer that belongs to the entry's durable image: the whole frame is kept, or only the view. */
export function durableStart(pool: Pool, meta: number): number {
  const frame = pool.get(meta, W_SUM) >>> 16
  if (frame !== NO_FRAME) return frame
  const key = pool.get(meta, W_KEY)
  const data = pool.dataOffset(meta)
  return viewLength(key) > 0 && viewOffset(key) < data ? viewOffset(key) : data
}

/** First byte behind the entry's durable image in the buffer. */
export function durableEnd(pool: Pool, meta: number): number {
  const key = pool.get(meta, W_KEY)
  const keyEnd = viewOffset(key) + viewLength(key)
  const dataEnd = pool.dataOffset(meta) + pool.dataLength(meta)
  return Math.max(keyEnd, dataEnd)
}

function joinWords(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
}
