/**
 * Keys where they lie: in the frame (or buffer) of their entry's head. Comparison, prefixes, hashes; no copies.
 *
 * Called by: skip-list.ts, hash-index.ts, batch.ts, commit.ts, entry.ts, recovery.ts. Order is by unsigned bytes; a prefix sorts before its
 * extensions.
 */
import {
  EXTENT_BUFFERS_SHIFT,
  LINE_WORDS_SHIFT,
  viewLength,
  viewOffset,
  W_BUFFER,
  W_KEY,
  W_KEY_PREFIX,
} from './layout.ts'
import type { Pool } from './pool.ts'

/** Words of a key that the index holds, and that a scan reads: its first 16 bytes. */
export const KEY_WORDS = 4
const SIGN = 1 << 31

/** Big-endian word of the key bytes [at, at + 4), zero padded behind the key's end; compare as unsigned. */
export function keyWord(bytes: Uint8Array, start: number, length: number, at: number): number {
  const from = start + at
  if (at + 4 <= length) {
    return (bytes[from]! << 24) | (bytes[from + 1]! << 16) | (bytes[from + 2]! << 8) | bytes[from + 3]!
  }
  let word = 0
  for (let i = at; i < length; i++) word |= bytes[start + i]! << (24 - 8 * (i - at))
  return word
}

/** The same word so that it compares as signed, which is how typed arrays give it. */
export function sortableKeyWord(bytes: Uint8Array, start: number, length: number, at: number): number {
  return keyWord(bytes, start, length, at) ^ SIGN
}

/** First four key bytes: what a line carries in W_KEY_PREFIX. */
export function keyPrefix(bytes: Uint8Array, start: number, length: number): number {
  return keyWord(bytes, start, length, 0)
}

/** Key of the entry against the given one: negative, 0 or positive. The first word decides without leaving the line. */
export function compareKey(
  pool: Pool,
  meta: number,
  bytes: Uint8Array,
  start: number,
  length: number,
  prefix: number,
): number {
  const words = pool.lines[meta >>> pool.lineShift]!
  const at = (meta & pool.lineMask) << LINE_WORDS_SHIFT
  const ownPrefix = words[at + W_KEY_PREFIX]!
  if (ownPrefix !== prefix) return ownPrefix >>> 0 < prefix >>> 0 ? -1 : 1
  const key = words[at + W_KEY]!
  const ownLength = viewLength(key)
  const shared = Math.min(ownLength, length)
  const buffer = words[at + W_BUFFER]!
  const own = pool.bytes[buffer >>> EXTENT_BUFFERS_SHIFT]!
  const ownStart = pool.bufferStart(buffer) + viewOffset(key)
  for (let i = 4; i < shared; i++) {
    const difference = own[ownStart + i]! - bytes[start + i]!
    if (difference !== 0) return difference
  }
  return ownLength - length
}

/** Whether a key in a buffer has exactly these bytes. */
export function keyEquals(
  pool: Pool,
  buffer: number,
  view: number,
  bytes: Uint8Array,
  start: number,
  length: number,
): boolean {
  if (viewLength(view) !== length) return false
  const own = pool.bytes[buffer >>> EXTENT_BUFFERS_SHIFT]!
  const ownStart = pool.bufferStart(buffer) + viewOffset(view)
  for (let i = 0; i < length; i++) if (own[ownStart + i] !== bytes[start + i]) return false
  return true
}

/** FNV-1a, with the upper bits folded into the lower ones that tables use; int32. */
export function hashKey(bytes: Uint8Array, start: number, length: number): number {
  let hash = 0x811c9dc5 | 0
  for (let i = start; i < start + length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  return hash ^ (hash >>> 15)
}
