/** The timer wheel against a naive list: the same timers fire at the same milliseconds, whatever is armed and skipped. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SeededRandom } from '../../stack/random.ts'
import { TimerWheel } from '../../stack/timer-wheel.ts'

const SEED = Number(process.env.PACKRAT_SEED ?? 3)

/** What a wheel is measured by: deadlines in a map, looked through every time. */
class NaiveTimers {
  readonly deadlines = new Map<number, number>()

  due(nowMs: number): number[] {
    return [...this.deadlines]
      .filter(([, deadline]) => ((deadline - nowMs) | 0) <= 0)
      .map(([timer]) => timer)
      .sort((a, b) => a - b)
  }
}

function compare(seed: number, startMs: number, spanMs: number, stepMs: number): void {
  const random = new SeededRandom(seed)
  const timers = 64
  let fired: number[] = []
  const wheel = new TimerWheel(timers, startMs, (timer) => fired.push(timer))
  const naive = new NaiveTimers()
  let now = startMs
  for (let step = 0; step < 3000; step++) {
    for (let change = random.below(4); change > 0; change--) {
      const timer = random.below(timers)
      if (random.chance(0.25)) {
        wheel.disarm(timer)
        naive.deadlines.delete(timer)
      } else {
        const deadline = (now + 1 + random.below(random.chance(0.5) ? 300 : spanMs)) | 0
        wheel.arm(timer, deadline)
        naive.deadlines.set(timer, deadline)
      }
    }
    const quiet = wheel.msUntilNext(now)
    if (naive.deadlines.size === 0) assert.is(quiet, -1)
    else {
      const soonest = Math.min(...[...naive.deadlines.values()].map((deadline) => (deadline - now) | 0))
      assert.ok(quiet >= 0 && quiet <= soonest, `step ${step}: wake in ${quiet} ms, ${soonest} ms would be late`)
    }
    now = (now + (random.chance(0.1) ? random.below(spanMs) : random.below(stepMs))) | 0
    fired = []
    wheel.advance(now)
    const due = naive.due(now)
    for (const timer of due) naive.deadlines.delete(timer)
    assert.equal(
      fired.sort((a, b) => a - b),
      due,
      `seed ${seed}, step ${step}, at ${now} ms`,
    )
    assert.is(wheel.armedTimers, naive.deadlines.size)
  }
}

test('fires what a naive list fires, over short and long spans', () => {
  for (let round = 0; round < 6; round++) {
    compare(SEED + round, 0, 1000, 20)
    compare(SEED + round, 12345, 100_000, 3000)
    compare(SEED + round, 999, 30_000_000, 1_000_000)
  }
})

test('fires what a naive list fires while the milliseconds wrap', () => {
  compare(SEED, 0x7fffffff - 20_000, 5000, 50)
  compare(SEED, -20_000, 5000, 50)
  compare(SEED, 0x7fffffff - 2_000_000, 400_000, 10_000)
})

test('timers fire in the order of their deadlines within one advance', () => {
  const order: number[] = []
  const wheel = new TimerWheel(4, 0, (timer) => order.push(timer))
  wheel.arm(0, 900)
  wheel.arm(1, 100)
  wheel.arm(2, 70_000)
  wheel.arm(3, 300)
  wheel.advance(100_000)
  assert.equal(order, [1, 3, 0, 2])
})

test('a timer that is re-armed later, again and again, fires once, at its last deadline', () => {
  const at: number[] = []
  let now = 0
  const wheel = new TimerWheel(1, 0, () => at.push(now))
  for (now = 0; now < 5000; now++) {
    wheel.advance(now)
    if (now < 4000) wheel.arm(0, now + 200)
  }
  assert.equal(at, [4199])
})

test('a handler may arm its own and other timers', () => {
  const fired: number[] = []
  const wheel: TimerWheel = new TimerWheel(3, 0, (timer) => {
    fired.push(timer)
    if (timer === 0) {
      wheel.arm(0, 20)
      wheel.disarm(1)
      wheel.arm(2, 10)
    }
  })
  wheel.arm(0, 10)
  wheel.arm(1, 11)
  wheel.advance(19)
  assert.equal(fired, [0, 2], 'a deadline in the tick that runs fires in the next one; a disarmed timer does not')
  wheel.advance(20)
  assert.equal(fired, [0, 2, 0])
})

console.log(`seed ${SEED}`)
test.run()
