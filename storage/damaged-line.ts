/**
 * What a metadata line said before a byte of it changed. The CRC of a line tells that it is damaged; with the CRC and the
 * rest of the line at hand, the byte can be found.
 *
 *   line   | crc | state … keyPrefix |   + key bytes in its buffer        one byte of all these is wrong, or more than that
 *
 * CRCs are linear: by how the CRC misses depends on the change alone, not on the bytes around it. A changed byte adds an
 * entry of the table, and each byte behind it shifts that on; shifted back byte for byte, the miss becomes an entry of
 * the table where the changed byte is. Only the words that name the key are tried out, because with them other bytes are covered.
 *
 * Nothing is repaired by this: it serves to tell whose line it was, and how old (recovery-doubt.ts), or that it was no group
 * (recovery-lines.ts). Where more is damaged, a
 * byte is found wrongly with a probability of 2^-32 for each place and value, some 10^-6 in all.
 *
 * Called by: recovery-doubt.ts, recovery-lines.ts. Calls: pmem (CRC32C).
 *
 * Invariant: no byte of the region is written.
 */
import {
  BUFFER_BYTES,
  CRC_END_WORD,
  CRC_FIRST_WORD,
  KEY_LENGTH_MAX,
  KIND_HEAD,
  stateKind,
  viewLength,
  viewOffset,
  W_BUFFER,
  W_KEY,
  W_META_CRC,
  W_STATE,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from './layout.ts'
import { crc32c } from './pmem.ts'
import type { Pool } from './pool.ts'

/** Lines that a recovery looks into so, a millisecond or two each. */
export const SEARCHED_LINES_MAX = 1024

const BYTE_VALUES = 256
/** What a byte makes of an empty CRC register: from the function itself, less its complements. */
const TABLE = Int32Array.from({ length: BYTE_VALUES }, (_, byte) => ~crc32c(Uint8Array.of(byte), 0, 1, 0xffffffff))
/** Entry of the table by its highest byte: no two have the same. */
const ENTRY_BY_TOP = new Uint8Array(BYTE_VALUES)
for (const [byte, entry] of TABLE.entries()) ENTRY_BY_TOP[entry >>> 24] = byte

/** Bytes of a line that say where the key is, and whether there is one: with each try of these it is another key. */
const KEY_PLACES: readonly number[] = [
  4 * W_STATE + 2,
  ...[0, 1, 2, 3].flatMap((at) => [4 * W_BUFFER + at, 4 * W_KEY + at]),
]

export interface LostHead {
  readonly key: Uint8Array
  readonly version: number
}

/** What the CRC of a line covers, as bytes: its own index in the place of the CRC, the words behind it, the key. */
class Covered {
  readonly bytes = new Uint8Array(4 * CRC_END_WORD + KEY_LENGTH_MAX)
  length = 0
  private readonly words = new Int32Array(this.bytes.buffer, 0, CRC_END_WORD)
  private readonly pool: Pool
  private readonly stored: number

  constructor(pool: Pool, meta: number) {
    this.pool = pool
    this.stored = pool.get(meta, W_META_CRC)
    this.words[0] = meta
    for (let word = CRC_FIRST_WORD; word < CRC_END_WORD; word++) this.words[word] = pool.get(meta, word)
  }

  /** Fetches the key that the words name, if they are those of a head. False: it cannot be where they say. */
  fetchKey(): boolean {
    this.length = 4 * CRC_END_WORD
    if (this.kind !== KIND_HEAD) return true
    const { pool, words } = this
    const buffer = words[W_BUFFER]!
    const offset = viewOffset(words[W_KEY]!)
    const length = viewLength(words[W_KEY]!)
    if (!pool.isBuffer(buffer) || length > KEY_LENGTH_MAX || offset + length > BUFFER_BYTES) return false
    const start = pool.bufferStart(buffer) + offset
    this.bytes.set(pool.bufferBytes(buffer).subarray(start, start + length), this.length)
    this.length += length
    return true
  }

  /** By how the CRC misses; 0: it holds. */
  get miss(): number {
    return (crc32c(this.bytes, 0, this.length) ^ this.stored) >>> 0
  }

  /** Finds and mends the one byte that makes the CRC miss as it does. */
  mendByte(): boolean {
    const { bytes } = this
    let miss = this.miss
    for (let at = this.length - 1; at >= 4 * CRC_FIRST_WORD; at--) {
      const entry = ENTRY_BY_TOP[miss >>> 24]!
      if (TABLE[entry] === (miss | 0) && !KEY_PLACES.includes(at)) {
        bytes[at]! ^= entry
        return true
      }
      miss = (((miss ^ TABLE[entry]!) << 8) | entry) >>> 0
    }
    return false
  }

  /** Tries all values of a byte that says where the key is. */
  tryByte(at: number): boolean {
    const { bytes } = this
    const before = bytes[at]!
    for (let change = 1; change < BYTE_VALUES; change++) {
      bytes[at] = before ^ change
      if (this.fetchKey() && this.miss === 0) return true
    }
    bytes[at] = before
    return false
  }

  get kind(): number {
    return stateKind(this.words[W_STATE]!)
  }

  /** The head that the words are, if they are one. */
  get head(): LostHead | undefined {
    const { words } = this
    if (this.kind !== KIND_HEAD) return undefined
    return {
      key: this.bytes.slice(4 * CRC_END_WORD, this.length),
      version: (words[W_VERSION_HIGH]! >>> 0) * 2 ** 32 + (words[W_VERSION_LOW]! >>> 0),
    }
  }
}

/** What a damaged line was, if it was a head and one byte of what its CRC covers, or of the CRC itself, explains the damage. */
export function findLostHead(pool: Pool, meta: number): LostHead | undefined {
  return mend(pool, meta)?.head
}

/** Of what kind a damaged line was, if one such byte explains the damage. */
export function findLostKind(pool: Pool, meta: number): number | undefined {
  return mend(pool, meta)?.kind
}

function mend(pool: Pool, meta: number): Covered | undefined {
  const covered = new Covered(pool, meta)
  if (covered.fetchKey() && (isOneByte(covered.miss) || covered.mendByte())) return covered
  return KEY_PLACES.some((at) => covered.tryByte(at)) ? covered : undefined
}

function isOneByte(word: number): boolean {
  return [0xff, 0xff00, 0xff0000, 0xff000000].some((mask) => (word & ~mask) === 0)
}
