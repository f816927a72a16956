/**
 * Reductions that were needless are taken back: Eifel (RFC 4015) by timestamps, D-SACK (RFC 2883, RFC 3708), F-RTO
 * (RFC 5682); and the reordering window adapts (RFC 8985 6.2). Segments are named by number; the round trip is 40 ms.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RECOVERY_FAST, RECOVERY_NONE, RECOVERY_TIMEOUT } from '../../../stack/tcp/states.ts'
import { patternBytes, RawPeer } from '../../support/raw-peer.ts'
import { RTT_MS, SackPeer, type SackPeerOptions } from '../../support/sack-peer.ts'
import { StreamApplication } from '../../support/stream-application.ts'

function lab(options: SackPeerOptions = {}): SackPeer {
  const sackPeer = new SackPeer(options)
  sackPeer.warmUp()
  return sackPeer
}

/** Segment 2 is overtaken by the nine behind it, and so sent again. */
function reordered(options: SackPeerOptions = {}): SackPeer {
  const late = lab(options)
  late.write(10)
  late.take()
  late.pass(RTT_MS)
  late.ack(2, [[3, 8]])
  assert.equal(late.take(), [2])
  assert.is(late.c.recoveryState, RECOVERY_FAST)
  return late
}

test('Eifel: an ACK that echoes the original ends the recovery and restores the window', () => {
  const late = reordered({ timestamps: true })
  const before = late.c.undoWindow
  const echo = late.hostTime() - RTT_MS
  late.pass(2)
  late.ack(12, [], { echo })
  assert.is(late.c.recoveryState, RECOVERY_NONE)
  assert.is(late.counters.spuriousRecoveries, 1)
  assert.ok(late.c.congestionWindow >= before, `${late.c.congestionWindow} of ${before}`)
})

test('Eifel: an ACK that echoes the retransmission changes nothing', () => {
  const late = reordered({ timestamps: true })
  const before = late.c.undoWindow
  const echo = late.hostTime()
  late.pass(RTT_MS)
  late.ack(12, [], { echo })
  assert.is(late.counters.spuriousRecoveries, 0)
  assert.ok(late.c.congestionWindow < before)
})

test('what the recovery before had sent again, and arrives in the next one, does not prove that one needless', () => {
  const late = lab({ timestamps: true })
  late.write(40)
  late.pass(RTT_MS)
  late.take()
  late.ack(2, [[3, 12]])
  assert.equal(late.take(), [2, 12, 13, 14, 15, 16, 17])
  const repaired = late.hostTime()
  late.pass(RTT_MS)
  late.ack(2, [[13, 16]], { echo: repaired })
  assert.ok(late.take().includes(12), 'lost in the recovery, and behind its end')
  const repairedAgain = late.hostTime()
  late.ack(12, [[13, 16]], { echo: repaired })
  assert.is(late.counters.fastRetransmits, 2, 'a window of its own')
  const window = late.c.congestionWindow
  late.pass(RTT_MS)
  late.ack(16, [], { echo: repairedAgain })
  assert.is(late.counters.spuriousRecoveries, 0)
  assert.ok(late.c.congestionWindow <= window, `${late.c.congestionWindow} of ${window}`)
})

test('D-SACK: when every retransmission has arrived twice the window comes back, after the recovery, too', () => {
  const late = reordered()
  const before = late.c.undoWindow
  late.ack(12)
  assert.is(late.c.recoveryState, RECOVERY_NONE)
  assert.ok(late.c.congestionWindow < before)
  late.pass(RTT_MS)
  late.ack(12, [[2, 3]])
  assert.is(late.counters.spuriousRecoveries, 1)
  assert.ok(late.c.congestionWindow >= before)
})

test('what comes in the burst that made it count as lost was not lost: nothing is sent again, and the window comes back', () => {
  const late = lab()
  late.write(10)
  late.take()
  late.pass(RTT_MS)
  const before = late.c.congestionWindow
  late.queueAck(2, [[3, 8]])
  late.queueAck(12)
  late.peer.poll()
  assert.equal(late.take(), [])
  assert.is(late.counters.fastRetransmits, 1)
  assert.is(late.counters.spuriousRecoveries, 1)
  assert.is(late.c.recoveryState, RECOVERY_NONE)
  assert.ok(late.c.congestionWindow >= before, `${late.c.congestionWindow} of ${before}`)
})

test('reordering that was taken for loss once is waited for the next time', () => {
  const late = reordered()
  late.ack(12)
  late.pass(RTT_MS)
  late.ack(12, [[2, 3]])
  const window = late.c.congestionWindow
  late.write(8)
  late.take()
  late.pass(RTT_MS)
  late.ack(12, [[13, 20]])
  late.pass(8)
  assert.equal(late.take(), [], 'eight milliseconds late is in the window of min_RTT / 2')
  late.ack(20)
  assert.is(late.counters.retransmitted, 1)
  assert.ok(late.c.congestionWindow >= window)
})

test('reordering seen without a retransmission opens the window, too, and never past a round trip', () => {
  const late = lab()
  late.write(10)
  late.pass(RTT_MS)
  late.ack(2, [[3, 4]])
  late.ack(4) // segment 2 came late, before anything was sent again
  assert.is(late.c.reorderingsSeen, 1)
  late.c.rackWindowMultiplier = 100
  late.take()
  late.ack(4, [[5, 12]])
  assert.equal(late.take(), [])
  late.pass(RTT_MS)
  assert.equal(late.take(), [4], 'at most SRTT')
})

test('F-RTO: a delay spike, and all originals arrive: two segments of new data, then the window comes back', () => {
  const late = lab({ tcp: { tailProbes: false } })
  late.write(6)
  late.take()
  const before = late.c.congestionWindow
  late.pass(300)
  assert.equal(late.take(), [2])
  assert.is(late.c.recoveryState, RECOVERY_TIMEOUT)
  late.write(4)
  assert.equal(late.take(), [])
  late.ack(3)
  assert.equal(late.take(), [8, 9], 'new data instead of segment 3')
  late.ack(4)
  assert.is(late.counters.spuriousTimeouts, 1)
  assert.is(late.c.recoveryState, RECOVERY_NONE)
  assert.ok(late.c.congestionWindow >= before)
  late.ack(12)
  assert.is(late.counters.retransmitted, 1, 'nothing else was sent twice')
})

test('F-RTO: a duplicate after the new data means that the loss was real', () => {
  const late = lab({ tcp: { tailProbes: false } })
  late.write(6)
  late.pass(300)
  late.write(4)
  late.take()
  late.ack(3)
  assert.equal(late.take(), [8, 9])
  late.ack(3, [[8, 9]])
  late.ack(3, [[8, 10]])
  assert.is(late.counters.spuriousTimeouts, 0)
  assert.is(late.take()[0], 3)
})

test('F-RTO switched off: the time-out is believed', () => {
  const late = lab({ tcp: { tailProbes: false, frto: false } })
  late.write(6)
  late.pass(300)
  late.write(4)
  late.take()
  late.ack(3)
  assert.equal(late.take(), [3, 4])
})

test('without SACK an ACK for both copies and originals proves nothing', () => {
  const late = lab({ sack: false })
  late.write(6)
  late.pass(300)
  late.take()
  late.ack(8)
  assert.is(late.counters.spuriousTimeouts, 0)
  assert.is(late.c.recoveryState, RECOVERY_NONE)
})

/* --- the receiver: what came twice is reported --- */

function receiver(): { peer: RawPeer; send: (from: number, to: number) => number[] } {
  const peer = new RawPeer({ peerIss: -2500 })
  peer.host.tcp.listen(80, new StreamApplication(peer.pool))
  peer.establish({ options: [2, 4, 5, 180, 4, 2, 1, 1] })
  const send = (from: number, to: number): number[] => {
    peer.sent.length = 0
    peer.send('A', { seq: 1 + from, ack: 1, payload: patternBytes(to - from, from) })
    const options = peer.sent.at(-1)?.options ?? []
    const view = new DataView(Uint8Array.from(options).buffer)
    const edges = options.length === 0 ? 0 : (options[3]! - 2) / 4
    return Array.from({ length: edges }, (_, edge) => (view.getInt32(4 + edge * 4) - peer.peerIss - 1) | 0)
  }
  return { peer, send }
}

test('a segment that came twice is reported below the ACK (RFC 2883 4.1.1)', () => {
  const { send } = receiver()
  send(0, 1000)
  send(1000, 2000)
  assert.equal(send(500, 1500), [500, 1500])
  assert.equal(send(2000, 3000), [], 'once')
})

test('a duplicate of what waits out of order is reported before the block that holds it (RFC 2883 4.1.2)', () => {
  const { send } = receiver()
  assert.equal(send(2000, 3000), [2000, 3000])
  assert.equal(send(3000, 4000), [2000, 4000])
  assert.equal(send(2000, 3000), [2000, 3000, 2000, 4000])
})

test('a part that came twice is reported, the new part is kept (RFC 2883 4.2)', () => {
  const { send } = receiver()
  send(0, 1000)
  assert.equal(send(500, 1500), [500, 1000])
  assert.equal(send(1500, 2000), [])
})

test('a path that duplicates everything for an hour: the reordering window stays what it was after a minute', () => {
  const late = lab()
  let sent = 2
  const duplicate = (): void => {
    late.write(1)
    sent++
    late.pass(RTT_MS)
    late.ack(sent, [[sent - 1, sent]])
  }
  for (let round = 0; round < 1000; round++) duplicate()
  const { rackWindowMultiplier } = late.c
  assert.ok(rackWindowMultiplier > 100, `${rackWindowMultiplier}`)
  for (let round = 0; round < 1000; round++) duplicate()
  assert.is(late.c.rackWindowMultiplier, rackWindowMultiplier)
})

test.run()
