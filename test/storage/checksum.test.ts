/** The checksum algebra against a slow reference (RFC 1071 1): odd lengths, odd places, both zeros. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { addSums, appendSum, foldSum, subtractSums, sumBytes, sumsEqual, swapSum } from '../../storage/checksum.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const SEED = announceSeed('checksum', 1071)
const random = seededRandom(SEED)
const below = (bound: number): number => (random() >>> 0) % bound

/** One's-complement sum of big-endian words, byte by byte, with an end-around carry at each step. */
function reference(bytes: Uint8Array): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at++) {
    sum += (at & 1) === 0 ? bytes[at]! << 8 : bytes[at]!
    if (sum > 0xffff) sum -= 0xffff
  }
  return sum
}

function randomBytes(length: number): Uint8Array {
  const kind = below(4)
  return Uint8Array.from({ length }, () => [below(256), 0, 0xff, below(2) * 0xff][kind]!)
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

test('the example of RFC 1071 (3) comes out', () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7)
  assert.is(sumBytes(viewOf(bytes), 0, 8), 0xddf2)
})

test('any length at any offset sums as the reference does', () => {
  for (let run = 0; run < 3000; run++) {
    const bytes = randomBytes(below(200))
    const offset = below(bytes.length + 1)
    const length = below(bytes.length - offset + 1)
    const expected = reference(bytes.subarray(offset, offset + length))
    assert.ok(sumsEqual(sumBytes(viewOf(bytes), offset, length), expected), `${length} bytes at ${offset}`)
  }
})

test('a whole buffer of ones does not overflow', () => {
  for (const length of [2048, 65_535, 65_536]) {
    const bytes = new Uint8Array(length).fill(0xff)
    assert.ok(sumsEqual(sumBytes(viewOf(bytes), 0, length), reference(bytes)), `${length} bytes`)
  }
})

test('sums of parts combine to the sum of the whole, wherever the cuts are', () => {
  for (let run = 0; run < 2000; run++) {
    const bytes = randomBytes(1 + below(120))
    let whole = 0
    for (let at = 0; at < bytes.length; ) {
      const length = Math.min(1 + below(20), bytes.length - at)
      whole = appendSum(whole, at, sumBytes(viewOf(bytes), at, length))
      at += length
    }
    assert.ok(sumsEqual(whole, reference(bytes)))
  }
})

test('what is cut off the front or the back is taken off the sum', () => {
  for (let run = 0; run < 2000; run++) {
    const bytes = randomBytes(1 + below(120))
    const cut = below(bytes.length + 1)
    const [front, back] = [reference(bytes.subarray(0, cut)), reference(bytes.subarray(cut))]
    const whole = reference(bytes)
    const restOfFront = subtractSums(whole, cut & 1 ? swapSum(back) : back)
    const restOfBack = subtractSums(whole, front)
    assert.ok(sumsEqual(restOfFront, front), `front of ${cut} bytes`)
    assert.ok(sumsEqual(cut & 1 ? swapSum(restOfBack) : restOfBack, back), `back behind ${cut} bytes`)
  }
})

test('adding is commutative and associative, subtracting undoes it, swapping distributes (RFC 1071 2)', () => {
  for (let run = 0; run < 2000; run++) {
    const [a, b, c] = [below(0x10000), below(0x10000), below(0x10000)]
    assert.is(addSums(a, b), addSums(b, a))
    assert.ok(sumsEqual(addSums(addSums(a, b), c), addSums(a, addSums(b, c))))
    assert.ok(sumsEqual(subtractSums(addSums(a, b), b), a))
    assert.ok(sumsEqual(swapSum(addSums(a, b)), addSums(swapSum(a), swapSum(b))))
    assert.is(swapSum(swapSum(a)), a)
  }
})

test('folding takes any 32-bit accumulator', () => {
  for (const [sum, folded] of [
    [0, 0],
    [0xffff, 0xffff],
    [0x10000, 1],
    [0x1ffff, 1],
    [0xffff_ffff, 0xffff],
    [0xfffe_0001, 0xffff],
    [0x8000_0000, 0x8000],
  ] as const) {
    assert.is(foldSum(sum), folded, sum.toString(16))
  }
})

test('0x0000 and 0xffff are equal, nothing else is', () => {
  assert.is(sumsEqual(0, 0xffff), true)
  assert.is(sumsEqual(0xffff, 0), true)
  for (let run = 0; run < 1000; run++) {
    const [a, b] = [1 + below(0xfffe), 1 + below(0xfffe)]
    assert.is(sumsEqual(a, b), a === b, `${a} ${b}`)
    assert.is(sumsEqual(a, ~a & 0xffff), a === (~a & 0xffff), 'complements are not equal')
  }
})

test.run()
