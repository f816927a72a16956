/**
 * Weeks of uptime, and silences of half an hour: what compares a moment long ago with a clock that wraps (clock.ts). A host
 * that has run for 24 days has a time in milliseconds that is negative, one for 36 minutes such a one in microseconds.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { elapsed } from '../../stack/clock.ts'
import { TimerWheel } from '../../stack/timer-wheel.ts'
import { patternBytes, RawPeer } from '../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../support/stream-application.ts'
import { VirtualNetwork } from '../support/virtual-link.ts'

const DAY_MS = 86_400_000
const MINUTE_US = 60_000_000

/** Day by day, as a host that hears something now and then. */
function passDays(peer: RawPeer, days: number): void {
  for (let day = 0; day < days; day++) peer.advanceMs(DAY_MS)
}

/** A connection of a host that has been up for a month. */
function established(timestamps?: [number, number]) {
  const peer = new RawPeer()
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server)
  passDays(peer, 30)
  peer.establish({ options: [2, 4, 5, 180], ...(timestamps !== undefined && { timestamps }) })
  peer.poll() // the neighbour had to be asked again
  peer.sent.length = 0
  return { peer, server }
}

test('elapsed time is right for a whole turn of the clock', () => {
  for (const since of [0, 5, 0x7fffffff, -0x80000000, -1])
    for (const time of [0, 1, 1000, 0x7fffffff, 0x80000000, 0xffffffff])
      assert.is(elapsed((since + time) | 0, since), time)
})

test("a peer's keep-alive probe is answered", () => {
  const { peer } = established()
  peer.send('A', { seq: 0, ack: 1 })
  assert.equal(peer.take(), ['A 1 1'])
})

test('a peer that has restarted is asked back (RFC 5961 4)', () => {
  const { peer } = established()
  peer.send('S', { seq: 1000 })
  assert.equal(peer.take(), ['A 1 1'])
})

test('after a month of silence a connection goes on: its old timestamp proves nothing (RFC 7323 5.5)', () => {
  const { peer, server } = established([1000, 0])
  passDays(peer, 30)
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(10), timestamps: [(1000 + 30 * DAY_MS) | 0, 0] })
  assert.is(server.receivedBytes, 10)
  assert.is(peer.host.counters.tcp.dropPaws, 0)
})

test('a neighbour that did not answer a month ago is asked again', () => {
  const peer = new RawPeer()
  const connect = (): void => {
    peer.host.tcp.connect('10.0.0.9', 80, new StreamApplication(peer.pool), { synRetries: 0 })
    peer.poll()
  }
  connect()
  peer.advanceMs(60_000)
  passDays(peer, 30)
  const asked = peer.host.counters.arp.requestsSent
  connect()
  assert.is(peer.host.counters.arp.requestsSent, asked + 1)
})

test('a neighbour that was heard a month ago is not believed to be where he was', () => {
  const peer = new RawPeer()
  passDays(peer, 30)
  const asked = peer.host.counters.arp.requestsSent
  peer.send('S', { seq: 0 }) // answered by a RST
  assert.is(peer.host.counters.arp.requestsSent, asked + 1)
})

test('a timer that is set after a month without any fires when it is due', () => {
  const fired: number[] = []
  const wheel = new TimerWheel(4, 0, (timer) => fired.push(timer))
  const month = (30 * DAY_MS) | 0
  wheel.advance(month)
  wheel.arm(1, (month + 200) | 0)
  assert.is(wheel.msUntilNext(month), 200)
  wheel.advance((month + 199) | 0)
  assert.equal(fired, [])
  wheel.advance((month + 200) | 0)
  assert.equal(fired, [1])
})

for (const timestamps of [true, false])
  for (const minutes of [1, 40, 70])
    test(`after ${minutes} minutes of silence the window still grows with what is read, timestamps ${timestamps}`, () => {
      const bytes = 4_000_000
      const network = new VirtualNetwork({
        seed: 7,
        buffers: 16_384,
        impairment: { delayUs: 20_000 },
        tcp: { timestamps },
      })
      const server = new StreamApplication(network.poolB)
      const client = new StreamApplication(network.poolA)
      network.hostB.tcp.listen(80, server)
      const c = network.hostA.tcp.connect('10.0.0.2', 80, client, { sendLimitBytes: bytes })
      // A round trip is measured before the silence.
      c.send(chainOf(network.poolA, patternBytes(100_000)))
      assert.ok(network.runUntil(() => server.receivedBytes === 100_000, 10_000_000))
      network.runFor(minutes * MINUTE_US)
      c.send(chainOf(network.poolA, new Uint8Array(bytes)))
      assert.ok(network.runUntil(() => server.receivedBytes === 100_000 + bytes, 60_000_000))
      const { receiveWindowBytes, receiveRttUs } = server.connection!
      assert.ok(receiveRttUs >= 30_000, `a round trip of 40 ms was measured as ${receiveRttUs} us`)
      assert.ok(receiveWindowBytes > 500_000, `window ${receiveWindowBytes}`)
    })

test.run()
