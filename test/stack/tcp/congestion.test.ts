/** Congestion control by itself: CUBIC (RFC 9438), Reno (RFC 5681), HyStart++ (RFC 9406), windows after silence (RFC 2861). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { CongestionControl } from '../../../stack/tcp/congestion/congestion.ts'
import { Cubic } from '../../../stack/tcp/congestion/cubic.ts'
import { Reno } from '../../../stack/tcp/congestion/reno.ts'
import { MSS, SackPeer } from '../../support/sack-peer.ts'

const ROUND_MS = 40

/** A connection whose window is used up and acknowledged whole, once a round. */
class Rounds {
  readonly lab = new SackPeer()
  readonly c = this.lab.c
  readonly control: CongestionControl

  constructor(control: CongestionControl, windowSegments: number) {
    this.control = control
    control.initialize(this.c)
    this.c.congestionWindow = windowSegments * MSS
    this.c.srttUs = ROUND_MS * 1000
  }

  /** Window in segments. */
  get window(): number {
    return this.c.congestionWindow / MSS
  }

  lose(): void {
    this.control.onLoss(this.c, this.c.congestionWindow)
    this.c.congestionWindow = this.c.slowStartThreshold
  }

  round(): void {
    this.lab.pass(ROUND_MS)
    this.c.windowFull = 1
    // Segment by segment, as ACKs come.
    for (let left = this.c.congestionWindow; left > 0; left -= MSS) this.control.onAck(this.c, Math.min(left, MSS), -1)
  }
}

test('CUBIC keeps 0.7 of the window, and is back after K = cbrt(W (1 - beta) / C) seconds', () => {
  for (const segments of [100, 400, 1000]) {
    const rounds = new Rounds(new Cubic(false), segments)
    rounds.lose()
    assert.ok(Math.abs(rounds.window - segments * 0.7) < 0.01)
    const plateau = Math.cbrt((segments * 0.3) / 0.4)
    for (let at = ROUND_MS / 1000; at < plateau * 1.5; at += ROUND_MS / 1000) {
      rounds.round()
      // The first ACK begins the epoch, and windows aim a round trip ahead.
      const low = 0.4 * (at - 2 * (ROUND_MS / 1000) - plateau) ** 3 + segments
      const high = 0.4 * (at + ROUND_MS / 1000 - plateau) ** 3 + segments
      const reno = segments * 0.7 + (at / (ROUND_MS / 1000)) * 1.1
      assert.ok(rounds.window > low - 2, `${segments}: ${rounds.window} at ${at} s is below the curve, ${low}`)
      assert.ok(rounds.window < Math.max(high, reno) + 2, `${segments}: ${rounds.window} at ${at} s is above ${high}`)
    }
  }
})

test('on a short path CUBIC is not slower than Reno (RFC 9438 4.3)', () => {
  const cubic = new Rounds(new Cubic(false), 20)
  cubic.lose()
  const start = cubic.window
  for (let round = 0; round < 40; round++) cubic.round()
  // AIMD with beta 0.7 grows 0.53 segments a round up to the old maximum, then one.
  assert.ok(cubic.window >= start + 40 * 0.5, `${cubic.window} from ${start}`)
})

test('a flow that loses below its last maximum makes room (RFC 9438 4.7)', () => {
  const rounds = new Rounds(new Cubic(false), 100)
  rounds.lose()
  assert.is(rounds.c.cubicMaxBytes, 100 * MSS)
  rounds.lose()
  assert.is(rounds.c.cubicMaxBytes, Math.trunc(70 * MSS * 0.85))
  rounds.control.onUndo(rounds.c)
  assert.is(rounds.c.cubicMaxBytes, 100 * MSS, 'a needless reduction leaves no trace')
})

test('Reno halves, and grows one segment a round', () => {
  const rounds = new Rounds(new Reno(false), 100)
  rounds.lose()
  assert.is(rounds.window, 50)
  for (let round = 0; round < 20; round++) rounds.round()
  assert.ok(Math.abs(rounds.window - 70) <= 1, `${rounds.window}`)
})

test('a window that was not used does not grow', () => {
  for (const control of [new Cubic(false), new Reno(false)]) {
    const rounds = new Rounds(control, 10)
    rounds.c.windowFull = 0
    control.onAck(rounds.c, 10 * MSS, -1)
    assert.is(rounds.window, 10)
  }
})

/** Slow start rounds with given round trips, ten samples each; the window behind each. */
function slowStartRounds(control: CongestionControl, tripsMs: number[]): Rounds {
  const rounds = new Rounds(control, 10)
  const { c } = rounds
  c.windowFull = 1
  for (const tripMs of tripsMs) {
    // Each round: everything that was sent when it began is acknowledged.
    c.sndNxt = (c.sndNxt + 10 * MSS) | 0
    c.sndUna = c.hystartRoundEnd
    for (let sample = 0; sample < 10; sample++) {
      control.onAck(c, MSS, tripMs * 1000)
      c.sndUna = (c.sndUna + 1) | 0
    }
  }
  c.sndUna = c.sndNxt
  return rounds
}

test('HyStart++ leaves slow start when round trips grow, after five conservative rounds (RFC 9406)', () => {
  const steady = slowStartRounds(new Cubic(true), [40, 40, 40, 40, 40, 40, 40, 40, 40, 40])
  assert.is(steady.window, 110, 'steady round trips: every delivered byte counts')
  const growing = slowStartRounds(new Cubic(true), [40, 40, 46, 46, 46, 46, 46, 46, 46, 46])
  assert.ok(growing.c.slowStartThreshold < 1_000_000, 'left')
  assert.ok(growing.window < 60, `${growing.window}`)
  const passing = slowStartRounds(new Cubic(true), [40, 40, 46, 40, 40, 40, 40, 40, 40, 40])
  assert.is(passing.c.hystartRounds, 0, 'a passing growth: back to slow start')
  assert.ok(passing.c.slowStartThreshold > 1_000_000)
  const off = slowStartRounds(new Cubic(false), [40, 40, 46, 46, 46, 46, 46, 46, 46, 46])
  assert.is(off.window, 110)
})

test('after silence the window halves for every time-out, and never falls below the initial one', () => {
  for (const control of [new Cubic(false), new Reno(false)]) {
    const rounds = new Rounds(control, 160)
    rounds.c.rtoMs = 300
    control.onRestart(rounds.c, 299)
    assert.is(rounds.window, 160)
    control.onRestart(rounds.c, 650)
    assert.is(rounds.window, 40)
    assert.ok(rounds.c.slowStartThreshold >= 120 * MSS, 'and remembers where it was')
    control.onRestart(rounds.c, 60_000)
    assert.is(rounds.window, 10)
  }
})

test.run()
