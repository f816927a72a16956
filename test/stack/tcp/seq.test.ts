/** Sequence arithmetic, against the same questions asked with BigInt, above all where numbers wrap. */
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { seqAdd, seqDiff, seqInWindow, seqLess, seqLessEqual, seqMax } from '../../../stack/tcp/seq.ts'

const SEED = Number(process.env.PACKRAT_SEED ?? 42)
const HALF = 2 ** 31 - 1

/** Anything, and often the neighbourhood of 0 and 2^31. */
const number = fc.oneof(
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  fc.integer({ min: -50, max: 50 }),
  fc.integer({ min: 0, max: 50 }).map((n) => (0x7fffffff - 25 + n) | 0),
)
const distance = fc.oneof(fc.integer({ min: 0, max: HALF }), fc.integer({ min: 0, max: 50 }))

/** n modulo 2^32, as int32. */
function wrap(n: bigint): number {
  return Number(BigInt.asIntN(32, n))
}

function check(name: string, property: fc.IProperty<unknown> | fc.IPropertyWithHooks<unknown>): void {
  test(name, () => fc.assert(property, { seed: SEED, numRuns: 2000 }))
}

check(
  'adding wraps modulo 2^32',
  fc.property(number, distance, (a, n) => assert.is(seqAdd(a, n), wrap(BigInt(a) + BigInt(n)))),
)

check(
  'the difference undoes the addition, both ways round',
  fc.property(number, distance, (a, n) => {
    assert.is(seqDiff(seqAdd(a, n), a), n)
    assert.is(seqDiff(a, seqAdd(a, n)), n === 0 ? 0 : -n)
  }),
)

check(
  'order follows distance, not magnitude',
  fc.property(number, distance, (a, n) => {
    const b = seqAdd(a, n)
    assert.is(seqLess(a, b), n > 0)
    assert.is(seqLess(b, a), false)
    assert.is(seqLessEqual(a, b), true)
    assert.is(seqLessEqual(b, a), n === 0)
    assert.is(seqMax(a, b), b)
    assert.is(seqMax(b, a), b)
  }),
)

check(
  'a window holds exactly its numbers',
  fc.property(number, distance, fc.integer({ min: 0, max: 2 ** 30 }), (low, n, length) => {
    assert.is(seqInWindow(seqAdd(low, n), low, length), n < length)
    assert.is(seqInWindow(seqAdd(low, -1), low, length), false)
  }),
)

console.log(`seed ${SEED}`)
test.run()
