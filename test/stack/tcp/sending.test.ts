/** What is held back and what lets it go: Nagle in Minshall's variant, cork, pacing; and SACK blocks beside data. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ListenOptions } from '../../../stack/tcp/application.ts'
import type { Connection } from '../../../stack/tcp/connection.ts'
import { pacingRate } from '../../../stack/tcp/pacing.ts'
import { patternBytes, RawPeer, type RawPeerOptions } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'

const MSS = 1460
/** MSS and SACK permitted. */
const SYN_OPTIONS = [2, 4, 5, 180, 4, 2, 1, 1]

interface Lab {
  peer: RawPeer
  c: Connection
}

function established(options: ListenOptions = {}, peerOptions: RawPeerOptions = {}): Lab {
  const peer = new RawPeer(peerOptions)
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, options)
  peer.establish({ options: SYN_OPTIONS })
  return { peer, c: server.connection! }
}

function send({ peer, c }: Lab, bytes: number): void {
  c.send(chainOf(peer.pool, patternBytes(bytes), MSS))
  peer.poll()
}

test('the small end of a large write does not wait for the ACK of full segments (Minshall)', () => {
  const lab = established()
  send(lab, 2 * MSS + 100)
  assert.equal(lab.peer.take(), [`A 1 1 ${MSS}`, `A ${1 + MSS} 1 ${MSS}`, `PA ${1 + 2 * MSS} 1 100`])
  send(lab, 50)
  assert.equal(lab.peer.take(), [], 'but a second small one waits for the first')
  lab.peer.send('A', { seq: 1, ack: 1 + 2 * MSS })
  assert.equal(lab.peer.take(), [], 'which has not arrived')
  lab.peer.send('A', { seq: 1, ack: 101 + 2 * MSS })
  assert.equal(lab.peer.take(), [`PA ${101 + 2 * MSS} 1 50`])
})

test('a corked connection sends full segments only, and the rest when it is uncorked', () => {
  const lab = established({ noDelay: true })
  lab.c.cork()
  send(lab, 100)
  send(lab, 200)
  assert.equal(lab.peer.take(), [])
  send(lab, MSS)
  assert.equal(lab.peer.take(), [`A 1 1 ${MSS}`], 'of three writes one full segment')
  lab.c.uncork()
  lab.peer.host.flush(lab.peer.nowUs)
  assert.equal(lab.peer.take(), [`PA ${1 + MSS} 1 300`])
})

test('nothing waits behind a cork longer than for an ACK', () => {
  const lab = established({ noDelay: true })
  lab.c.cork()
  send(lab, 100)
  const start = lab.peer.nowUs
  lab.peer.advanceMs(200)
  assert.equal(lab.peer.take(), [])
  lab.peer.advanceMs(1)
  assert.is(lab.peer.sent[0]?.atUs, start + 201_000)
  assert.equal(lab.peer.take(), ['PA 1 1 100'])
  lab.peer.send('A', { seq: 1, ack: 101 })
  send(lab, 50)
  lab.peer.advanceMs(200)
  assert.equal(lab.peer.take(), [], 'the next one waits as long again')
  lab.peer.advanceMs(1)
  assert.equal(lab.peer.take(), ['PA 101 1 50'])
  assert.is(lab.peer.host.counters.tcp.zeroWindowProbes, 0)
})

test('what is said to go on waits for the rest, for an ACK, or as long as behind a cork, and is not pushed (Linux MSG_MORE)', () => {
  const lab = established({ noDelay: true })
  const { c, peer } = lab
  const more = (bytes: number): void => {
    c.send(chainOf(peer.pool, patternBytes(bytes)), true)
    peer.poll()
  }
  more(10)
  assert.equal(peer.take(), [])
  send(lab, 5)
  assert.equal(peer.take(), ['PA 1 1 15'])
  more(20)
  assert.equal(peer.take(), [])
  peer.send('A', { seq: 1, ack: 16 })
  assert.equal(peer.take(), ['A 16 1 20'], 'an ACK lets it go')
  peer.send('A', { seq: 1, ack: 36 })
  more(30)
  c.setNoDelay(true)
  peer.poll()
  assert.equal(peer.take(), ['A 36 1 30'], 'and so does who asks for no delay')
  peer.send('A', { seq: 1, ack: 66 })
  more(40)
  peer.advanceMs(250)
  assert.equal(peer.take().slice(0, 1), ['PA 66 1 40'], 'nothing more has come')
})

test('a FIN goes through a cork, with what waits', () => {
  const lab = established()
  lab.c.cork()
  send(lab, 100)
  lab.c.shutdown()
  lab.peer.host.flush(lab.peer.nowUs)
  assert.equal(lab.peer.take(), ['FPA 1 1 100'])
})

test('data carries SACK blocks where there is room, and no ACK goes beside it', () => {
  const lab = established({ noDelay: true })
  lab.peer.queue('A', { seq: 1001, ack: 1, payload: patternBytes(500) })
  lab.c.send(chainOf(lab.peer.pool, patternBytes(100)))
  lab.peer.poll()
  assert.is(lab.peer.sent.length, 1)
  const [segment] = lab.peer.sent
  assert.is(segment!.length, 100)
  assert.equal(segment!.options.slice(0, 4), [1, 1, 5, 10])
  assert.is(edge(segment!.options, 4), lab.peer.peerIss + 1001)
  assert.is(edge(segment!.options, 8), lab.peer.peerIss + 1501)
})

test('full segments have no room for SACK blocks: an ACK brings them', () => {
  const lab = established({ noDelay: true })
  lab.peer.queue('A', { seq: 1001, ack: 1, payload: patternBytes(500) })
  lab.c.send(chainOf(lab.peer.pool, patternBytes(2 * MSS), MSS))
  lab.peer.poll()
  assert.equal(
    lab.peer.sent.map((s) => [s.length, s.options.length]),
    [
      [MSS, 0],
      [MSS, 0],
      [0, 12],
    ],
  )
})

function edge(options: number[], at: number): number {
  return ((options[at]! << 24) | (options[at + 1]! << 16) | (options[at + 2]! << 8) | options[at + 3]!) >>> 0
}

const RTT_MS = 100

/** A bulk sender with a round trip of 100 ms whose every segment is acknowledged a round trip later: times of its segments. */
function bulkTimes(pacing: boolean, rounds: number): { lab: Lab; times: number[] } {
  const lab = established({ noDelay: true }, { buffers: 4096, tcp: { pacing, hystart: false } })
  const { peer, c } = lab
  const times: number[] = []
  c.send(chainOf(peer.pool, patternBytes(1_000_000), MSS))
  peer.poll()
  let acked = 1
  const due: { atUs: number; ack: number }[] = []
  const end = peer.nowUs + rounds * RTT_MS * 1000
  while (peer.nowUs < end) {
    for (const s of peer.sent) {
      if (s.length === 0) continue
      times.push(s.atUs)
      due.push({ atUs: s.atUs + RTT_MS * 1000, ack: s.seq + s.length })
    }
    peer.sent.length = 0
    peer.nowUs = Math.max(peer.nowUs, Math.min(due[0]?.atUs ?? end, peer.host.nextDeadlineUs()))
    while (due.length > 0 && due[0]!.atUs <= peer.nowUs) acked = due.shift()!.ack
    peer.send('A', { seq: 1, ack: acked, window: 65_535 })
  }
  return { lab, times }
}

test('paced segments leave evenly, at 1.2 times window over round trip, in steps finer than a millisecond', () => {
  const { lab, times } = bulkTimes(true, 12)
  // The peer's window of 65535 holds 44 segments in flight; pacing knows the congestion window only.
  const rate = pacingRate(lab.c)
  const gapUs = (MSS * 1_000_000) / rate
  const late = times.slice(-200)
  const gaps = late.slice(1).map((time, index) => time - late[index]!)
  const inBursts = gaps.filter((gap) => gap === 0).length
  assert.is(inBursts, 0, 'no two segments at once')
  const least = Math.min(...gaps)
  assert.ok(least >= gapUs / 2 - 1, `gaps of ${least} µs where the rate says ${gapUs.toFixed(0)}`)
  assert.ok(
    gaps.some((gap) => gap % 1000 !== 0),
    'not on the ticks of the wheel',
  )
})

test('without pacing the same sender sends in bursts', () => {
  const { times } = bulkTimes(false, 12)
  const late = times.slice(-200)
  assert.ok(late.slice(1).filter((time, index) => time === late[index]).length > 20)
})

test('pacing costs no throughput: a window a round trip goes out', () => {
  const paced = bulkTimes(true, 10).times.length
  const bursts = bulkTimes(false, 10).times.length
  assert.ok(paced > 0.8 * bursts, `${paced} segments paced, ${bursts} in bursts`)
})

test('the first window is not paced', () => {
  const { times } = bulkTimes(true, 1)
  assert.ok(times.filter((time) => time === times[0]).length >= 10)
})

test.run()
