/** SipHash-2-4 against the vectors of its paper's reference code, and the int32 version against one in BigInt. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SeededRandom } from '../../stack/random.ts'
import { deriveKey, SipHash } from '../../stack/siphash.ts'

const MASK = 0xffffffffffffffffn

/** From appendix A of the paper, and vectors.h of the reference code: key 00 01 … 0f, message 00 01 … of this length. */
const VECTORS: [number, string][] = [
  [0, '310e0edd47db6f72'],
  [1, 'fd67dc93c539f874'],
  [2, '5a4fa9d909806c0d'],
  [3, '2d7efbd796666785'],
  [4, 'b7877127e09427cf'],
  [5, '8da699cd64557618'],
  [6, 'cee3fe586e46c9cb'],
  [7, '37d1018bf50002ab'],
  [8, '6224939a79f5f593'],
  [15, 'e545be4961ca29a1'],
]

/** The paper's definition, slow and plain. */
function reference(key: Uint8Array, message: Uint8Array): bigint {
  const rotate = (value: bigint, by: bigint): bigint => ((value << by) | (value >> (64n - by))) & MASK
  const keys = new DataView(key.buffer, key.byteOffset, 16)
  const k0 = keys.getBigUint64(0, true)
  const k1 = keys.getBigUint64(8, true)
  let v0 = k0 ^ 0x736f6d6570736575n
  let v1 = k1 ^ 0x646f72616e646f6dn
  let v2 = k0 ^ 0x6c7967656e657261n
  let v3 = k1 ^ 0x7465646279746573n
  const round = (): void => {
    v0 = (v0 + v1) & MASK
    v1 = rotate(v1, 13n) ^ v0
    v0 = rotate(v0, 32n)
    v2 = (v2 + v3) & MASK
    v3 = rotate(v3, 16n) ^ v2
    v0 = (v0 + v3) & MASK
    v3 = rotate(v3, 21n) ^ v0
    v2 = (v2 + v1) & MASK
    v1 = rotate(v1, 17n) ^ v2
    v2 = rotate(v2, 32n)
  }
  const padded = new Uint8Array((Math.floor(message.length / 8) + 1) * 8)
  padded.set(message)
  padded[padded.length - 1] = message.length
  const blocks = new DataView(padded.buffer)
  for (let at = 0; at < padded.length; at += 8) {
    const block = blocks.getBigUint64(at, true)
    v3 ^= block
    round()
    round()
    v0 ^= block
  }
  v2 ^= 0xffn
  for (let turn = 0; turn < 4; turn++) round()
  return v0 ^ v1 ^ v2 ^ v3
}

test('the reference gives the published vectors', () => {
  const key = Uint8Array.from({ length: 16 }, (_, index) => index)
  for (const [length, hex] of VECTORS) {
    const hash = Buffer.alloc(8)
    hash.writeBigUInt64LE(
      reference(
        key,
        Uint8Array.from({ length }, (_, index) => index),
      ),
    )
    assert.is(hash.toString('hex'), hex, `length ${length}`)
  }
})

test('the int32 version gives what the reference gives, for keys and messages of every length', () => {
  const seed = Number(process.env.SEED ?? 3)
  const random = new SeededRandom(seed)
  for (let run = 0; run < 500; run++) {
    const key = Uint8Array.from({ length: 16 }, () => random.below(256))
    const words = Int32Array.from({ length: 12 }, () => (random.chance(0.2) ? -1 : random.next() | 0))
    const count = run % 13
    const hash = new SipHash(key)
    hash.hash(words, count)
    const got = (BigInt(hash.high >>> 0) << 32n) | BigInt(hash.low >>> 0)
    assert.is(got, reference(key, new Uint8Array(words.buffer, 0, count * 4)), `seed ${seed}, run ${run}`)
  }
})

test('keys of different purposes differ, and a key of another length is refused', () => {
  const secret = new Uint8Array(32)
  assert.not.equal(deriveKey(secret, 'a'), deriveKey(secret, 'b'))
  assert.throws(() => new SipHash(new Uint8Array(15)), /16 bytes/)
})

test.run()
