/** Gaps in a loop that only reads the clock: their share of the time, and the longest. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { describeGaps, measureGaps } from '../../tools/bench/gaps.ts'

/** A clock that goes on by one step a reading. */
function clockOf(steps: readonly number[]): () => number {
  let time = 0
  let reading = 0
  return () => {
    const now = time
    time += steps[reading++] ?? 1
    return now
  }
}

test('what is longer than a tenth of a millisecond is lost, what is shorter is not', () => {
  const gaps = measureGaps(10, clockOf([0.05, 0.09, 4, 0.06, 1, 0.05, 4.75]))
  assert.is(gaps.lost.toFixed(3), '0.975')
  assert.is(gaps.longestMs.toFixed(2), '4.75')
  assert.is(describeGaps(gaps), '97.5 % of the time, the longest 4.8 ms')
})

test('a quiet machine has none', () => {
  const steps = Array.from({ length: 400 }, () => 0.05)
  assert.equal(measureGaps(10, clockOf(steps)), { lost: 0, longestMs: 0 })
  assert.is(describeGaps({ lost: 0, longestMs: 0 }), 'none')
})

test('the real clock is read for as long as was asked for', () => {
  const start = performance.now()
  const { lost, longestMs } = measureGaps(20)
  assert.ok(performance.now() - start >= 20)
  assert.ok(lost >= 0 && lost <= 1 && longestMs >= 0)
})

test.run()
