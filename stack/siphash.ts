/**
 * SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) over 32-bit words: the keyed hash behind
 * everything that an outsider must not be able to compute and that is computed per packet. Nothing is allocated per call;
 * 64-bit numbers are pairs of int32, low word first.
 *
 * Called by: tcp/isn.ts, tcp/syn-cookies.ts, tcp/fast-open.ts.
 */
import { createHmac } from 'node:crypto'

export const SIPHASH_KEY_BYTES = 16

/* v0 to v3, low and high words. */
const v = new Int32Array(8)

export class SipHash {
  /** The 64 bits of the last `hash`. */
  low = 0
  high = 0
  private readonly key: Int32Array

  constructor(key: Uint8Array) {
    if (key.length !== SIPHASH_KEY_BYTES) throw new RangeError(`a SipHash key has ${SIPHASH_KEY_BYTES} bytes`)
    const view = new DataView(key.buffer, key.byteOffset, key.length)
    this.key = Int32Array.from([0, 4, 8, 12], (at) => view.getInt32(at, true))
  }

  /** Hashes the first `count` words, as the bytes that they are in little-endian order. */
  hash(words: Int32Array, count: number): void {
    const key = this.key
    v[0] = key[0]! ^ 0x70736575
    v[1] = key[1]! ^ 0x736f6d65
    v[2] = key[2]! ^ 0x6e646f6d
    v[3] = key[3]! ^ 0x646f7261
    v[4] = key[0]! ^ 0x6e657261
    v[5] = key[1]! ^ 0x6c796765
    v[6] = key[2]! ^ 0x79746573
    v[7] = key[3]! ^ 0x74656462
    let word = 0
    for (; word + 2 <= count; word += 2) compress(words[word]!, words[word + 1]!)
    // The last block: what is left, and the number of bytes in the highest one.
    compress(word < count ? words[word]! : 0, (count << 2) << 24)
    v[4] = v[4]! ^ 0xff
    for (let turn = 0; turn < 4; turn++) round()
    this.low = v[0]! ^ v[2]! ^ v[4]! ^ v[6]!
    this.high = v[1]! ^ v[3]! ^ v[5]! ^ v[7]!
  }
}

/** One key a purpose, so that what is seen of one hash says nothing of another. */
export function deriveKey(secret: Uint8Array, purpose: string): Uint8Array {
  return createHmac('sha256', secret).update(purpose).digest().subarray(0, SIPHASH_KEY_BYTES)
}

function compress(low: number, high: number): void {
  v[6] = v[6]! ^ low
  v[7] = v[7]! ^ high
  round()
  round()
  v[0] = v[0]! ^ low
  v[1] = v[1]! ^ high
}

/** SipRound. Rotations by 32 swap the words; those below 32 are written out. */
function round(): void {
  let v0l = v[0]!
  let v0h = v[1]!
  let v1l = v[2]!
  let v1h = v[3]!
  let v2l = v[4]!
  let v2h = v[5]!
  let v3l = v[6]!
  let v3h = v[7]!
  let low: number

  low = (v0l + v1l) | 0 // v0 += v1
  v0h = (v0h + v1h + (low >>> 0 < v1l >>> 0 ? 1 : 0)) | 0
  v0l = low
  low = (v1l << 13) | (v1h >>> 19) // v1 <<<= 13, ^= v0
  v1h = ((v1h << 13) | (v1l >>> 19)) ^ v0h
  v1l = low ^ v0l
  low = v0l // v0 <<<= 32
  v0l = v0h
  v0h = low

  low = (v2l + v3l) | 0 // v2 += v3
  v2h = (v2h + v3h + (low >>> 0 < v3l >>> 0 ? 1 : 0)) | 0
  v2l = low
  low = (v3l << 16) | (v3h >>> 16) // v3 <<<= 16, ^= v2
  v3h = ((v3h << 16) | (v3l >>> 16)) ^ v2h
  v3l = low ^ v2l

  low = (v0l + v3l) | 0 // v0 += v3
  v0h = (v0h + v3h + (low >>> 0 < v3l >>> 0 ? 1 : 0)) | 0
  v0l = low
  low = (v3l << 21) | (v3h >>> 11) // v3 <<<= 21, ^= v0
  v3h = ((v3h << 21) | (v3l >>> 11)) ^ v0h
  v3l = low ^ v0l

  low = (v2l + v1l) | 0 // v2 += v1
  v2h = (v2h + v1h + (low >>> 0 < v1l >>> 0 ? 1 : 0)) | 0
  v2l = low
  low = (v1l << 17) | (v1h >>> 15) // v1 <<<= 17, ^= v2
  v1h = ((v1h << 17) | (v1l >>> 15)) ^ v2h
  v1l = low ^ v2l
  low = v2l // v2 <<<= 32
  v2l = v2h
  v2h = low

  v[0] = v0l
  v[1] = v0h
  v[2] = v1l
  v[3] = v1h
  v[4] = v2l
  v[5] = v2h
  v[6] = v3l
  v[7] = v3h
}
