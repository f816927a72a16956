/**
 * Loss recovery with SACK, segment by segment and to the millisecond: RFC 6675, RFC 6937, RFC 8985. Segments are named by
 * their number, 0 and up; the round trip is 40 ms. Every case also runs with sequence numbers that pass 2^32.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DUPLICATE_ACKS } from '../../../stack/limits.ts'
import { pipeBytes } from '../../../stack/tcp/scoreboard.ts'
import { RECOVERY_FAST, RECOVERY_NONE, RECOVERY_TIMEOUT } from '../../../stack/tcp/states.ts'
import { QuotedPacket } from '../../../stack/transport-errors.ts'
import { checkScoreboard } from '../../support/check-scoreboard.ts'
import { MSS, RTT_MS, SackPeer, type SackPeerOptions } from '../../support/sack-peer.ts'

function golden(name: string, body: (lab: SackPeer) => void, options: SackPeerOptions = {}): void {
  for (const hostIss of [100, -6000])
    test(`${name}${hostIss < 0 ? ', numbers passing 2^32' : ''}`, () => {
      const lab = new SackPeer({ ...options, hostIss })
      lab.warmUp()
      body(lab)
      lab.c.abort()
      lab.peer.poll()
      assert.is(lab.peer.pool.freeBuffers, lab.peer.pool.totalBuffers, 'buffers')
    })
}

golden('one loss: sent again with the third SACK, once, and the window falls in proportion', (lab) => {
  lab.write(10)
  assert.equal(lab.take(), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  lab.pass(RTT_MS)
  lab.ack(2, [[3, 4]])
  lab.ack(2, [[3, 5]])
  assert.equal(lab.take(), [], 'two may be reordering')
  lab.ack(2, [[3, 6]])
  assert.equal(lab.take(), [2])
  assert.is(lab.c.recoveryState, RECOVERY_FAST)
  lab.ack(2, [[3, 12]])
  assert.equal(lab.take(), [], 'nothing else is lost')
  lab.pass(RTT_MS)
  lab.ack(12)
  assert.is(lab.c.recoveryState, RECOVERY_NONE)
  assert.is(lab.c.congestionWindow, lab.c.slowStartThreshold)
  assert.is(lab.counters.retransmitted, 1)
  assert.is(lab.counters.timeouts, 0)
})

golden('one loss, two SACKs: sent again after a reordering window of a quarter round trip', (lab) => {
  lab.write(3)
  lab.take()
  lab.pass(RTT_MS)
  lab.ack(2, [[3, 5]])
  assert.equal(lab.take(), [])
  lab.pass(9)
  assert.equal(lab.take(), [], 'min_RTT / 4 = 10 ms')
  lab.pass(1)
  assert.equal(lab.take(), [2])
})

golden(
  'an ACK that moves on and has blocks is no sign of reordering (RFC 8985 6.2 step 3): the loss is repaired at once',
  (lab) => {
    lab.write(10)
    lab.take()
    lab.pass(RTT_MS)
    lab.ack(4, [[5, 8]])
    assert.is(lab.c.reorderingsSeen, 0)
    assert.is(lab.take()[0], 4)
    lab.pass(RTT_MS)
    lab.ack(12)
    assert.is(lab.counters.retransmitted, 1)
  },
)

golden('what arrives left of what an ACK before has reported is, and opens the reordering window', (lab) => {
  lab.write(10)
  lab.take()
  lab.pass(RTT_MS)
  lab.ack(2, [[3, 5]])
  lab.ack(5)
  assert.is(lab.c.reorderingsSeen, 1)
  lab.ack(5, [[6, 12]])
  assert.equal(
    lab.take().filter((number) => number < 12),
    [],
  )
  lab.pass(10)
  assert.is(lab.take()[0], 5, 'min_RTT / 4 = 10 ms')
})

for (const late of [3, 5])
  golden(
    `slow start counts what arrives behind a gap only where the path reorders by more than three segments: by ${late}`,
    (lab) => {
      lab.write(60)
      lab.pass(RTT_MS)
      lab.ack(2, [[1 + late, 2 + late]])
      lab.ack(2 + late)
      lab.pass(RTT_MS)
      const window = lab.c.congestionWindow
      lab.ack(2 + late, [[3 + late, 6 + late]])
      assert.is(lab.c.congestionWindow - window, late > DUPLICATE_ACKS ? 3 * MSS : 0)
    },
  )

golden('a burst of losses is repaired in one recovery, without a time-out', (lab) => {
  lab.write(10)
  lab.take()
  lab.pass(RTT_MS)
  const again: number[] = []
  for (let right = 6; right <= 12; right++) {
    lab.ack(2, [[5, right]])
    again.push(...lab.take())
  }
  assert.equal(again, [2, 3, 4], 'each of the three lost once, in order')
  lab.pass(RTT_MS)
  lab.ack(12)
  assert.is(lab.counters.fastRetransmits, 1)
  assert.is(lab.counters.timeouts, 0)
})

golden('retransmissions follow what is delivered: one a SACK, not all at once (RFC 6937)', (lab) => {
  lab.write(10)
  lab.take()
  lab.pass(RTT_MS)
  lab.ack(2, [[7, 10]])
  assert.equal(lab.take().length, 3, 'three delivered, the pipe is below the threshold')
  lab.ack(2, [[7, 11]])
  assert.equal(lab.take().length, 1)
  lab.ack(2, [[7, 12]])
  assert.equal(lab.take().length, 1)
})

golden('a retransmission that is lost, too, is found by RACK, not by a time-out', (lab) => {
  lab.write(10)
  lab.take()
  lab.pass(RTT_MS)
  lab.ack(2, [[3, 8]])
  assert.equal(lab.take()[0], 2)
  // New data behind the retransmission arrives, the retransmission does not.
  lab.write(4)
  lab.ack(2, [[3, 12]])
  const sent = lab.take()
  assert.ok(sent.includes(12), `new data went out: ${sent}`)
  lab.pass(RTT_MS)
  lab.ack(2, [[3, 13]])
  lab.pass(10)
  assert.ok(lab.take().includes(2), 'sent a third time')
  assert.is(lab.counters.timeouts, 0)
})

golden(
  'without RACK the byte counts of RFC 6675 find the same losses',
  (lab) => {
    lab.write(10)
    lab.take()
    lab.pass(RTT_MS)
    lab.ack(2, [[4, 6]])
    assert.equal(lab.take(), [])
    lab.ack(2, [[4, 7]])
    assert.equal(lab.take()[0], 2)
    lab.ack(2, [[4, 12]])
    assert.equal(lab.take(), [3])
  },
  { tcp: { rack: false } },
)

golden(
  'a loss behind the point where recovery ends is a loss of its own, if the ACK that ends it shows it, too',
  (lab) => {
    lab.write(10)
    lab.take()
    lab.pass(RTT_MS)
    lab.ack(2, [[3, 12]])
    lab.write(8)
    const sent = lab.take()
    assert.ok(sent.includes(2) && sent.includes(15), `the retransmission and new data: ${sent}`)
    const threshold = lab.c.slowStartThreshold
    lab.pass(RTT_MS)
    lab.ack(12, [[13, 16]])
    lab.pass(RTT_MS / 4) // one ACK brought both: it may have been reordering
    assert.is(lab.c.recoveryState, RECOVERY_FAST)
    assert.is(lab.counters.fastRetransmits, 2)
    assert.ok(lab.c.slowStartThreshold < threshold, 'the window is reduced for it')
    assert.ok(lab.take().includes(12))
  },
)

golden('pipe is flight less what was SACKed or lost, plus what was sent again', (lab) => {
  lab.write(10)
  assert.is(pipeBytes(lab.c), 10 * MSS)
  lab.pass(RTT_MS)
  lab.ack(2, [[4, 5]])
  assert.is(pipeBytes(lab.c), 9 * MSS)
  lab.ack(2, [[4, 8]])
  assert.is(lab.c.lostBytes, 2 * MSS)
  assert.is(pipeBytes(lab.c), 4 * MSS + lab.c.retransmittedBytes)
})

golden('a lost tail is probed after two round trips, and then repaired by SACK (RFC 8985 7)', (lab) => {
  lab.write(5)
  lab.take()
  const rttMs = lab.c.srttUs / 1000
  lab.pass(RTT_MS)
  lab.ack(4)
  lab.pass(Math.floor(2 * rttMs))
  assert.equal(lab.take(), [])
  lab.pass(4)
  assert.equal(lab.take(), [6], 'the last segment again')
  lab.pass(RTT_MS)
  lab.ack(4, [[6, 7]])
  lab.pass(11)
  assert.equal(lab.take(), [4])
  lab.pass(RTT_MS)
  lab.ack(5, [[6, 7]])
  assert.equal(lab.take(), [5])
  assert.is(lab.counters.timeouts, 0)
  assert.is(lab.counters.tailProbes, 1)
})

golden('a probe that repairs the loss by itself still reduces the window', (lab) => {
  lab.write(5)
  lab.pass(RTT_MS)
  lab.ack(6)
  const before = lab.c.congestionWindow
  lab.pass(300)
  assert.ok(lab.take().includes(6))
  assert.is(lab.counters.tailProbes, 1)
  lab.write(1)
  lab.pass(RTT_MS)
  lab.ack(8)
  assert.is(lab.counters.tailProbeRepairs, 1)
  assert.ok(lab.c.congestionWindow < before)
})

golden('a probe that arrives twice reduces nothing', (lab) => {
  lab.write(5)
  lab.pass(RTT_MS)
  lab.ack(6)
  const before = lab.c.congestionWindow
  lab.pass(300)
  lab.ack(7)
  lab.ack(7, [[6, 7]])
  assert.is(lab.counters.tailProbes, 1)
  assert.is(lab.counters.tailProbeRepairs, 0)
  assert.ok(lab.c.congestionWindow >= before)
})

golden('a time-out keeps what is SACKed, and sends the rest again in slow start', (lab) => {
  lab.write(6)
  lab.take()
  lab.pass(RTT_MS)
  lab.ack(2, [[4, 6]])
  lab.take()
  lab.pass(2000)
  assert.is(lab.c.recoveryState, RECOVERY_TIMEOUT)
  lab.take()
  lab.ack(3, [[4, 6]])
  lab.pass(1)
  assert.ok(!lab.take().some((number) => number === 4 || number === 5), 'what the peer has is not sent again')
  assert.ok(lab.counters.timeouts > 0)
})

golden('a peer that forgets what it had SACKed gets it again (RFC 2018 8)', (lab) => {
  lab.write(4)
  lab.pass(RTT_MS)
  lab.ack(2, [[3, 6]])
  lab.pass(20)
  lab.ack(3) // the gap is filled, and what was behind it is gone
  lab.take()
  lab.pass(10_000)
  assert.is(lab.c.sackedBytes, 0)
  assert.ok(lab.take().includes(3))
})

golden('SACK blocks that lie are ignored', (lab) => {
  lab.write(4)
  lab.take()
  lab.pass(RTT_MS)
  lab.ack(2, [
    [6, 50],
    [5, 3],
    [1, 4],
  ])
  assert.is(lab.c.sackedBytes, 0)
  assert.is(lab.c.duplicateAcks, 0)
})

golden('a window shut over data in flight: the first segment asks for ever, and all goes on when it opens', (lab) => {
  lab.write(4)
  lab.pass(RTT_MS)
  lab.ack(3, [], { window: 0 })
  lab.take()
  for (let round = 0; round < 20; round++) {
    lab.pass(120_000)
    const sent = lab.take()
    assert.ok(sent.length > 0 && sent.every((number) => number === 3), `round ${round}: ${sent}`)
    lab.ack(3, [], { window: 0 })
  }
  lab.ack(4)
  assert.equal(lab.take(), [4, 5], 'slow start: one segment was acknowledged')
  lab.ack(6)
  assert.is(lab.c.sendQueuedBytes, 0)
})

golden('a router that refuses full segments: they go again in smaller ones, and the window stays', (lab) => {
  lab.write(3)
  lab.take()
  const window = lab.c.congestionWindow
  const { localPort, remotePort, localAddress2, localAddress3, remoteAddress2, remoteAddress3 } = lab.c
  const segment = { localPort, remotePort, localAddress2, localAddress3, remoteAddress2, remoteAddress3 }
  const sequence = (lab.peer.hostIss + 1 + 2 * MSS) | 0
  lab.peer.host.tcp.onTooBig(Object.assign(new QuotedPacket(), segment, { sequence }), 640)
  lab.peer.poll()
  const pieces = lab.peer.sent.map((s) => [s.seq - 1, s.length])
  const full = 640 - 40
  assert.equal(pieces, [
    [2 * MSS, full],
    [2 * MSS + full, MSS - full],
    [3 * MSS, full],
    [3 * MSS + full, MSS - full],
    [4 * MSS, full],
    [4 * MSS + full, MSS - full],
  ])
  checkScoreboard(lab.c)
  assert.is(lab.c.congestionWindow, window)
  lab.ack(5)
  assert.is(lab.c.segmentCount, 0)
})

for (const sack of [true, false])
  golden(
    `limited transmit: each of the first two duplicates lets a new segment go (RFC 3042), SACK ${sack}`,
    (lab) => {
      lab.write(20)
      assert.is(lab.take().length, 10, 'the initial window (RFC 6928)')
      lab.pass(RTT_MS)
      lab.ack(2, sack ? [[3, 4]] : [])
      assert.equal(lab.take(), [12])
      lab.ack(2, sack ? [[3, 5]] : [])
      assert.equal(lab.take(), [13])
      lab.ack(2, sack ? [[3, 6]] : [])
      assert.equal(lab.take()[0], 2, 'the third brings the retransmission')
    },
    { sack },
  )

test.run()
