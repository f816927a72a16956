/** When what is sent: retransmission (RFC 6298), fast retransmit (RFC 5681), delayed ACK, zero windows, keep-alive, Nagle. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ListenOptions } from '../../../stack/tcp/application.ts'
import { CLOSE_TIMEOUT } from '../../../stack/tcp/application.ts'
import type { Connection } from '../../../stack/tcp/connection.ts'
import { patternBytes, RawPeer, type RawPeerOptions, type RawSegment } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'

const MSS = 1460

interface Established {
  peer: RawPeer
  server: StreamApplication
  c: Connection
}

/** The peer announces an MSS of 1460, and no other option. */
function established(options: ListenOptions = {}, syn: RawSegment = {}, peerOptions: RawPeerOptions = {}): Established {
  const peer = new RawPeer(peerOptions)
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, options)
  peer.establish({ options: [2, 4, 5, 180], ...syn })
  return { peer, server, c: server.connection! }
}

function send(lab: Established, bytes: number, viewBytes = MSS): void {
  lab.c.send(chainOf(lab.peer.pool, patternBytes(bytes), viewBytes))
  lab.peer.poll()
}

/** Milliseconds between `start` and each segment sent since. */
function times(peer: RawPeer, startUs: number): number[] {
  return peer.sent.map((s) => (s.atUs - startUs) / 1000)
}

test('lost data is repeated after the minimum RTO, then after doubled times (RFC 6298 (5.5))', () => {
  const lab = established()
  send(lab, 100)
  assert.equal(lab.peer.take(), ['PA 1 1 100'])
  const start = lab.peer.nowUs
  lab.peer.advanceMs(7000)
  // The handshake took no time: SRTT is next to nothing, RTO = 1 ms + the minimum of 200 ms, as in Linux.
  assert.equal(times(lab.peer, start), [201, 603, 1407, 3015, 6231])
  assert.ok(lab.peer.take().every((text) => text === 'PA 1 1 100'))
  lab.peer.send('A', { seq: 1, ack: 101 })
  lab.peer.advanceMs(300_000)
  assert.equal(lab.peer.take(), [], 'quiet once acknowledged')
})

test('the RTO follows the measured round trip: SRTT + max(4 RTTVAR, 200 ms)', () => {
  const lab = established()
  // R = 100 ms from the handshake's 0 ms: SRTT = 12.5 ms, RTTVAR = 25 ms, then three more of 100 ms.
  let acked = 1
  for (let round = 0; round < 30; round++) {
    send(lab, 100)
    lab.peer.advanceMs(100)
    acked += 100
    lab.peer.send('A', { seq: 1, ack: acked })
  }
  lab.peer.take()
  const start = lab.peer.nowUs
  send(lab, 100)
  lab.peer.sent.length = 0
  lab.peer.advanceMs(400)
  const [first] = times(lab.peer, start)
  assert.ok(first! >= 295 && first! <= 302, `SRTT near 100 ms, variance near 0: ${first} ms`)
})

test('after a time-out one segment goes first, then as many as slow start allows', () => {
  const lab = established()
  send(lab, 4 * MSS)
  assert.is(lab.peer.take().length, 4)
  lab.peer.advanceMs(250)
  assert.equal(lab.peer.take(), [`A 1 1 ${MSS}`])
  lab.peer.send('A', { seq: 1, ack: 1 + MSS })
  assert.equal(lab.peer.take(), [`A ${1 + MSS} 1 ${MSS}`, `A ${1 + 2 * MSS} 1 ${MSS}`])
})

test('three duplicate ACKs bring the first segment at once, not two (RFC 5681 3.2)', () => {
  const lab = established()
  send(lab, 8 * MSS)
  assert.is(lab.peer.take().length, 8)
  lab.peer.send('A', { seq: 1, ack: 1 + MSS })
  lab.peer.take()
  lab.peer.send('A', { seq: 1, ack: 1 + MSS })
  lab.peer.send('A', { seq: 1, ack: 1 + MSS })
  assert.equal(lab.peer.take(), [])
  lab.peer.send('A', { seq: 1, ack: 1 + MSS })
  assert.equal(lab.peer.take(), [`A ${1 + MSS} 1 ${MSS}`])
  assert.is(lab.peer.host.counters.tcp.fastRetransmits, 1)
  // A partial ACK shows the next hole (RFC 6582 3.2 (3)).
  lab.peer.send('A', { seq: 1, ack: 1 + 3 * MSS })
  assert.equal(lab.peer.take(), [`A ${1 + 3 * MSS} 1 ${MSS}`])
  lab.peer.send('A', { seq: 1, ack: 1 + 8 * MSS })
  assert.equal(lab.peer.take(), [])
  assert.is(lab.c.recoveryState, 0)
  assert.is(lab.c.sendQueuedBytes, 0)
})

test('three duplicates count, too, when the last recovery lies 2 GiB back', () => {
  const lab = established()
  // As if nothing had been lost for so many bytes: the last but one ACK comes at the end of what a difference can say.
  lab.c.recoverSequence = (lab.c.sndUna - 0x7fff_ffff + MSS) | 0
  for (let acked = 1; acked <= 2; acked++) {
    send(lab, MSS)
    lab.peer.send('A', { seq: 1, ack: 1 + acked * MSS })
  }
  send(lab, 8 * MSS)
  lab.peer.take()
  for (let duplicate = 0; duplicate < 3; duplicate++) lab.peer.send('A', { seq: 1, ack: 1 + 2 * MSS })
  assert.is(lab.peer.host.counters.tcp.fastRetransmits, 1)
  assert.ok(lab.peer.take().includes(`A ${1 + 2 * MSS} 1 ${MSS}`))
})

test('a window update is no duplicate ACK', () => {
  const lab = established()
  send(lab, 8 * MSS)
  lab.peer.take()
  for (const window of [50_000, 51_000, 52_000, 53_000]) lab.peer.send('A', { seq: 1, ack: 1, window })
  assert.equal(lab.peer.take(), [])
})

test('an unanswered connection is given up after 15 retransmissions', () => {
  const lab = established()
  send(lab, 10)
  lab.peer.take()
  lab.peer.advanceMs(2_000_000)
  assert.is(lab.peer.sent.filter((s) => s.length === 10).length, 15)
  assert.is(lab.server.closeReason, CLOSE_TIMEOUT)
  assert.is(lab.peer.pool.freeBuffers, lab.peer.pool.totalBuffers)
})

test('the user time-out gives up earlier (RFC 5482)', () => {
  const lab = established({ userTimeoutMs: 3000 })
  send(lab, 10)
  lab.peer.advanceMs(2900)
  assert.is(lab.server.closeReason, -1)
  lab.peer.advanceMs(4000)
  assert.is(lab.server.closeReason, CLOSE_TIMEOUT)
})

/** Past the quick ACKs of a young connection. */
function seasoned(lab: Established): number {
  let seq = 1
  for (let round = 0; round < 20; round++) {
    lab.peer.send('PA', { seq, ack: 1, payload: patternBytes(1000) })
    seq += 1000
    lab.peer.advanceMs(100)
  }
  lab.peer.take()
  return seq
}

test('the first segments are acknowledged at once, later a lone one after 40 ms', () => {
  const lab = established()
  lab.peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(1000) })
  assert.equal(lab.peer.take(), ['A 1 1001'])
  const late = established()
  const seq = seasoned(late)
  const start = late.peer.nowUs
  late.peer.send('PA', { seq, ack: 1, payload: patternBytes(1000) })
  late.peer.advanceMs(39)
  assert.equal(late.peer.sent.length, 0)
  late.peer.advanceMs(1)
  assert.equal(times(late.peer, start), [40])
  assert.is(late.peer.host.counters.tcp.delayedAcks > 0, true)
})

test('every second full segment is acknowledged at once (RFC 9293 3.8.6.3)', () => {
  const lab = established()
  const seq = seasoned(lab)
  lab.peer.send('A', { seq, ack: 1, payload: patternBytes(1000) })
  assert.equal(lab.peer.take(), [])
  lab.peer.send('A', { seq: seq + 1000, ack: 1, payload: patternBytes(1000) })
  assert.equal(lab.peer.take(), [`A 1 ${seq + 2000}`])
})

/** One burst of segments of 1000 bytes. @returns what is sent in answer, numbers counted from `from` */
function burst(lab: Established, from: number, places: number[]): string[] {
  for (const place of places) lab.peer.queue('A', { seq: from + place * 1000, ack: 1, payload: patternBytes(1000) })
  lab.peer.poll()
  return lab.peer.take().map((text) => text.replace(/\d+$/, (ack) => `${Number(ack) - from}`))
}

const upTo = (count: number, first = 0): number[] => Array.from({ length: count }, (_, index) => first + index)

test('a burst gets one ACK a connection, however many segments it has', () => {
  const lab = established()
  const seq = seasoned(lab)
  const calls = lab.server.events.length
  assert.equal(burst(lab, seq, upTo(40)), ['A 1 40000'])
  assert.is(lab.server.events.length, calls + 1, 'and the application one call')
})

test('while the window of a peer opens, every second segment of a burst has an ACK of its own', () => {
  const lab = established()
  assert.equal(burst(lab, 1, upTo(7)), ['A 1 2000', 'A 1 4000', 'A 1 6000', 'A 1 7000'])
  burst(lab, 7001, upTo(26))
  assert.equal(burst(lab, 33_001, upTo(10)), ['A 1 10000'], 'no longer than for 16 ACKs')
})

test('behind a loss every second segment of a burst has an ACK of its own, for 2048 segments', () => {
  const lab = established({}, { options: [1, 1, 4, 2] })
  let seq = seasoned(lab)
  const each = burst(lab, seq, [0, 2, 3, 1])
  assert.equal(each, ['A 1 1000', 'A 1 1000', 'A 1 4000'], 'and each that is out of order, or fills the gap')
  seq += 4000
  const expected = ['A 1 2000', 'A 1 4000', 'A 1 6000', 'A 1 8000', 'A 1 10000', 'A 1 11000']
  for (let round = 0; round < 186; round++, seq += 11_000) assert.equal(burst(lab, seq, upTo(11)), expected)
  burst(lab, seq, upTo(2))
  assert.equal(burst(lab, seq + 2000, upTo(11)), ['A 1 11000'], 'then one ACK a burst again')
})

test('behind a gap three segments have ACKs of their own, then one speaks for those that go on where the last one ended', () => {
  const lab = established({}, { options: [1, 1, 4, 2] })
  const seq = seasoned(lab)
  const first = (count: number): string[] => Array.from({ length: count }, () => 'A 1 1000')
  assert.equal(burst(lab, seq, [0, ...upTo(18, 2)]), first(4), 'of 18')
  assert.equal(burst(lab, seq, upTo(10, 20)), first(1), 'the next burst')
  const another = [30, 31, 33, 34, 35, 36, 32, 37, 38]
  assert.equal(burst(lab, seq, another), first(4), 'another block, what fills it, and what comes behind')
  const filled = burst(lab, seq, [1, ...upTo(5, 40)])
  assert.equal(filled, Array(5).fill('A 1 39000'), 'the gap is filled; of five behind the next one three, and the last')
})

test('without SACK each segment behind a gap has an ACK of its own', () => {
  const lab = established()
  const seq = seasoned(lab)
  assert.is(burst(lab, seq, [0, ...upTo(20, 2)]).length, 20)
})

test('behind a segment that comes twice, too, and each duplicate is reported', () => {
  const lab = established({}, { options: [1, 1, 4, 2] })
  const seq = seasoned(lab)
  assert.equal(burst(lab, seq, [0, 1, 2, 3]), ['A 1 4000'])
  assert.equal(burst(lab, seq, [0, 2]), ['A 1 4000', 'A 1 4000'])
  assert.equal(burst(lab, seq, upTo(4, 4)), ['A 1 6000', 'A 1 8000'])
})

test('a segment out of order, and one that fills the gap, is acknowledged at once, with SACK blocks', () => {
  const lab = established({}, { options: [1, 1, 4, 2] })
  const seq = seasoned(lab)
  lab.peer.send('A', { seq: seq + 1000, ack: 1, payload: patternBytes(1000) })
  lab.peer.send('A', { seq: seq + 3000, ack: 1, payload: patternBytes(1000) })
  const edges = (at: number): number[] => {
    const words = lab.peer.sent[at]!.options
    assert.equal(words.slice(0, 3), [1, 1, 5])
    const view = new DataView(Uint8Array.from(words).buffer)
    const edge = (place: number): number => (view.getInt32(place) - lab.peer.peerIss - seq) | 0
    return Array.from({ length: (words[3]! - 2) / 4 }, (_, index) => edge(4 + index * 4))
  }
  assert.equal(edges(0), [1000, 2000])
  assert.equal(edges(1), [3000, 4000, 1000, 2000], 'the latest first (RFC 2018 4)')
  lab.peer.take()
  lab.peer.send('A', { seq, ack: 1, payload: patternBytes(1000) })
  assert.equal(lab.peer.take(), [`A 1 ${seq + 2000}`])
})

test('a closed window is probed with one byte, ever more rarely, and never given up while the peer answers', () => {
  const lab = established({}, { window: 100 })
  lab.peer.send('A', { seq: 1, ack: 1, window: 0 })
  send(lab, 50)
  assert.equal(lab.peer.take(), [])
  const start = lab.peer.nowUs
  for (let probe = 0; probe < 25; probe++) {
    lab.peer.advanceMs(125_000)
    assert.ok(lab.peer.sent.length > 0, `probe ${probe}`)
    if (probe === 0) assert.equal(times(lab.peer, start).slice(0, 3), [201, 603, 1407])
    assert.equal([...new Set(lab.peer.take())], ['A 1 1 1'])
    lab.peer.send('A', { seq: 1, ack: 1, window: 0 })
  }
  lab.peer.send('A', { seq: 1, ack: 1, window: 1000 })
  assert.equal(lab.peer.take(), ['PA 1 1 50'], 'the lost window update is answered at once')
})

test('a probe byte that the peer takes is not sent twice', () => {
  const lab = established({}, { window: 100 })
  lab.peer.send('A', { seq: 1, ack: 1, window: 0 })
  send(lab, 50)
  lab.peer.advanceMs(201)
  assert.equal(lab.peer.take(), ['A 1 1 1'])
  lab.peer.send('A', { seq: 1, ack: 2, window: 1000 })
  assert.equal(lab.peer.take(), ['PA 2 1 49'])
})

test('without bytes a closed window is probed as Linux does: by an empty segment left of it', () => {
  const lab = established({}, { window: 100 }, { tcp: { windowProbeBytes: 0 } })
  lab.peer.send('A', { seq: 1, ack: 1, window: 0 })
  send(lab, 50)
  const start = lab.peer.nowUs
  lab.peer.advanceMs(1500)
  assert.equal(times(lab.peer, start), [201, 603, 1407])
  assert.equal([...new Set(lab.peer.take())], ['A 0 1'])
  lab.peer.send('A', { seq: 1, ack: 1, window: 1000 })
  assert.equal(lab.peer.take(), ['PA 1 1 50'])
})

test('two ends with closed windows do not answer each other for ever', () => {
  const lab = established({ receiveLimitBytes: 2000 }, { window: 100 })
  lab.server.reading = false
  lab.peer.send('A', { seq: 1, ack: 1, payload: patternBytes(2000), window: 0 })
  assert.is(lab.peer.sent.at(-1)!.window, 0)
  send(lab, 50)
  lab.peer.take()
  let answers = 0
  for (let round = 0; round < 100; round++) {
    lab.peer.send('A', { seq: 2001, ack: 1, window: 0 })
    answers += lab.peer.take().length
  }
  assert.is(answers, 0)
  // A probe of the peer's is answered, for its byte, and its ACK is heard.
  lab.peer.send('A', { seq: 2001, ack: 1, window: 500, payload: patternBytes(1) })
  assert.equal(lab.peer.take(), ['PA 1 2001 50'])
})

test('the window closes as data waits and opens when it is taken, without silly steps (RFC 9293 3.8.6.2.2)', () => {
  const lab = established({ receiveLimitBytes: 10_000 })
  lab.server.reading = false
  let seq = 1
  const windows: number[] = []
  for (let index = 0; index < 10; index++) {
    lab.peer.send('A', { seq, ack: 1, payload: patternBytes(1000) })
    seq += 1000
    windows.push(lab.peer.sent.at(-1)!.window)
  }
  assert.equal(windows, [9000, 8000, 7000, 6000, 5000, 4000, 3000, 2000, 1000, 0])
  lab.peer.take()
  lab.server.take(lab.c)
  lab.peer.host.flush(lab.peer.nowUs)
  assert.is(lab.peer.sent[0]!.window, 10_000, 'told at once')
  assert.is(lab.server.receivedBytes, 10_000)
})

test('when buffers run out, the window closes; when they come back, the peer is told', () => {
  const lab = established({}, {}, { buffers: 256, tcp: { reserveBuffers: 64 } })
  const { pool } = lab.peer
  const held: number[] = []
  // As if the store had filled up, down to the reserve.
  while (pool.freeBuffers > 64) held.push(pool.allocateBuffer())
  let seq = 1
  let guard = 0
  for (; guard < 200; guard++) {
    const offered = lab.c.rcvAdvertised - lab.c.rcvNxt
    if (offered < 1000) break
    lab.peer.send('A', { seq, ack: 1, payload: patternBytes(1000) })
    seq += 1000
  }
  assert.ok(guard < 200, 'closed')
  lab.peer.take()
  for (const buffer of held) pool.releaseBuffer(buffer)
  lab.peer.host.flush(lab.peer.nowUs)
  assert.is(lab.peer.sent.length, 1)
  assert.ok(lab.peer.sent[0]!.window > 10_000)
})

test('when buffers come back one by one, the peer is told as soon as there is room for a segment', () => {
  const lab = established({}, {}, { buffers: 256, tcp: { reserveBuffers: 64 } })
  const { pool } = lab.peer
  const held: number[] = []
  while (pool.freeBuffers > 64) held.push(pool.allocateBuffer())
  for (let seq = 1; lab.c.rcvAdvertised - lab.c.rcvNxt >= 1000; seq += 1000)
    lab.peer.send('A', { seq, ack: 1, payload: patternBytes(1000) })
  lab.peer.take()
  for (const buffer of held) {
    pool.releaseBuffer(buffer)
    lab.peer.host.flush(lab.peer.nowUs)
  }
  assert.is(lab.peer.sent.length, 1)
  assert.ok(lab.peer.sent[0]!.window >= MSS)
})

test('Nagle holds a small segment while data is in flight; noDelay does not', () => {
  const lab = established()
  send(lab, 10)
  send(lab, 10)
  assert.equal(lab.peer.take(), ['PA 1 1 10'])
  lab.peer.send('A', { seq: 1, ack: 11 })
  assert.equal(lab.peer.take(), ['PA 11 1 10'])
  const quick = established({ noDelay: true })
  send(quick, 10)
  send(quick, 10)
  assert.equal(quick.peer.take(), ['PA 1 1 10', 'PA 11 1 10'])
})

test('views are kept whole: a head and full frames become one segment each', () => {
  const lab = established()
  lab.c.send(chainOf(lab.peer.pool, patternBytes(200)))
  lab.c.send(chainOf(lab.peer.pool, patternBytes(3 * MSS), MSS))
  lab.peer.poll()
  assert.equal(
    lab.peer.sent.map((s) => s.length),
    [200, MSS, MSS, MSS],
  )
  // Small views share a segment; one that is longer than a segment is cut.
  const other = established()
  send(other, 1000, 100)
  assert.equal(
    other.peer.sent.map((s) => s.length),
    [1000],
  )
  const long = established({ noDelay: true })
  send(long, 4000, 2000)
  assert.equal(
    long.peer.sent.map((s) => s.length),
    [MSS, MSS, 4000 - 2 * MSS],
  )
})

test('keep-alive probes a silent peer and gives up after the last', () => {
  const lab = established({ keepAlive: true, keepAliveIdleMs: 10_000, keepAliveIntervalMs: 1000, keepAliveProbes: 3 })
  const start = lab.peer.nowUs
  lab.peer.advanceMs(10_500)
  assert.equal(times(lab.peer, start), [10_000])
  assert.equal(lab.peer.take(), ['A 0 1'], 'a number left of the window')
  lab.peer.send('A', { seq: 1, ack: 1 })
  lab.peer.advanceMs(9000)
  assert.equal(lab.peer.take(), [], 'an answer starts the silence anew')
  lab.peer.advanceMs(1000)
  assert.equal(lab.peer.take().length, 1)
  lab.peer.advanceMs(3000)
  assert.is(lab.server.closeReason, CLOSE_TIMEOUT)
})

test.run()
