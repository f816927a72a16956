/** Explicit congestion notification, segment by segment (RFC 3168), and over a path that marks. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Connection } from '../../../stack/tcp/connection.ts'
import { CA_CWR, CA_OPEN, OPTION_ECN, OPTION_ECN_SEEN, TcpInfo, tcpInfo } from '../../../stack/tcp/info.ts'
import { sumBytes } from '../../../storage/checksum.ts'
import { patternBytes, RawPeer, type RawSegment } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'
import { VirtualNetwork } from '../../support/virtual-link.ts'

const CAPABLE = 2
const CONGESTED = 3
const MSS = 1000
const SYN_OPTIONS = [2, 4, MSS >> 8, MSS & 255]

interface Lab {
  peer: RawPeer
  server: StreamApplication
  c: Connection
}

/** Established by the peer, with ECN; the host may send ten segments of 1000 bytes. */
function established(options: { timestamps?: boolean } = {}): Lab {
  const peer = new RawPeer({ buffers: 2048 })
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, { noDelay: true })
  const offer: RawSegment = { seq: 0, options: SYN_OPTIONS }
  if (options.timestamps === true) offer.timestamps = [1, 0]
  peer.send('SEW', offer)
  assert.equal(peer.take(), ['SAE 0 1'])
  peer.advanceMs(40)
  peer.send('A', { seq: 1, ack: 1 })
  peer.take()
  return { peer, server, c: server.connection! }
}

function write(lab: Lab, segments: number): void {
  lab.c.send(chainOf(lab.peer.pool, patternBytes(segments * MSS), MSS))
  lab.peer.poll()
}

/** Segments with data, as flags and IP bits, since the last call. */
function takeMarks(peer: RawPeer): string[] {
  const marks = peer.sent.filter((s) => s.length > 0).map((s) => `${s.flags} ${s.ecn}`)
  peer.sent.length = 0
  return marks
}

test('who accepts what: tcp_ecn 0, 1, 2 against the bits of a SYN (RFC 3168 6.1.1)', () => {
  const replies: [0 | 1 | 2, string, string][] = [
    [0, 'SEW', 'SA 0 1'],
    [1, 'SEW', 'SAE 0 1'],
    [2, 'SEW', 'SAE 0 1'],
    [2, 'S', 'SA 0 1'],
    [2, 'SE', 'SA 0 1'],
    [2, 'SW', 'SA 0 1'],
  ]
  for (const [ecn, flags, reply] of replies) {
    const peer = new RawPeer({ tcp: { ecn } })
    peer.host.tcp.listen(80, new StreamApplication(peer.pool))
    peer.send(flags, { seq: 0 })
    assert.equal(peer.take(), [reply], `${ecn} ${flags}`)
  }
})

test('who asks, and which answers agree', () => {
  const answers: [0 | 1 | 2, string, string, number][] = [
    [0, 'S 0 0', 'SAE', 0],
    [2, 'S 0 0', 'SAE', 0],
    [1, 'SEW 0 0', 'SA', 0],
    [1, 'SEW 0 0', 'SAE', 1],
    [1, 'SEW 0 0', 'SAEW', 0],
    [1, 'SEW 0 0', 'SAW', 0],
  ]
  for (const [ecn, syn, answer, agreed] of answers) {
    const peer = new RawPeer({ tcp: { ecn } })
    const client = new StreamApplication(peer.pool)
    const c = peer.host.tcp.connect('10.0.0.1', 4000, client)
    peer.hostPort = c.localPort
    peer.poll()
    assert.is(peer.sent[0]!.ecn, 0, 'a SYN cannot be marked')
    assert.equal(peer.take(), [syn])
    peer.send(answer, { seq: 0, ack: 1 })
    c.send(chainOf(peer.pool, patternBytes(10)))
    peer.take()
    peer.poll()
    assert.is(peer.sent[0]!.ecn, agreed * CAPABLE, `${ecn} ${answer}`)
  }
})

test('a SYN that is sent again does not ask (RFC 3168 6.1.1.1)', () => {
  const peer = new RawPeer({ tcp: { ecn: 1 } })
  peer.host.tcp.connect('10.0.0.1', 4000, new StreamApplication(peer.pool))
  peer.poll()
  peer.advanceMs(3000)
  assert.equal(peer.take(), ['SEW 0 0', 'S 0 0', 'S 0 0'])
})

test('new data can be marked; ACKs, retransmissions, window probes and a FIN alone cannot', () => {
  const lab = established()
  const { peer, c } = lab
  write(lab, 2)
  assert.equal(takeMarks(peer), [`A ${CAPABLE}`, `PA ${CAPABLE}`])
  peer.advanceMs(300)
  assert.ok(
    takeMarks(peer).every((text) => text.endsWith(' 0')),
    'sent again',
  )
  peer.send('PA', { seq: 1, ack: 1 + 2 * MSS, payload: patternBytes(10), ecn: CAPABLE, window: 0 })
  assert.equal(
    peer.sent.map((s) => s.ecn),
    [0],
    'a pure ACK',
  )
  peer.sent.length = 0
  write(lab, 1)
  peer.advanceMs(2000)
  assert.equal(takeMarks(peer)[0], 'A 0', 'a probe')
  peer.send('A', { seq: 11, ack: 1 + 2 * MSS })
  assert.equal(takeMarks(peer), ['PA 0'], "begins with the probe's byte")
  peer.send('A', { seq: 11, ack: 1 + 3 * MSS })
  peer.sent.length = 0
  c.shutdown()
  peer.poll()
  assert.equal(
    peer.sent.map((s) => `${s.flags} ${s.ecn}`),
    ['FA 0'],
  )
})

test('a mark is echoed on everything until CWR comes, and at once (RFC 3168 6.1.3)', () => {
  const { peer, c } = established()
  let seq = 1
  const data = (flags: string, ecn: number): string[] => {
    peer.send(flags, { seq, ack: 1, payload: patternBytes(100), ecn })
    seq += 100
    return peer.take().map((text) => text.split(' ')[0]!)
  }
  c.quickAcks = 0
  data('A', CAPABLE)
  data('A', CAPABLE)
  assert.equal(data('A', CONGESTED), ['AE'], 'not delayed')
  assert.equal(data('A', CAPABLE).concat(data('A', CAPABLE)), ['AE'])
  assert.equal(data('A', CAPABLE).concat(data('AW', CAPABLE)), ['A'])
  assert.equal(data('AW', CONGESTED), ['AE'], 'congestion behind the reduction')
  assert.is(peer.host.counters.tcp.congestionMarks, 2)
  assert.ok(tcpInfo(c, new TcpInfo()).options & OPTION_ECN_SEEN)
})

test('marks on what lies outside the window, or on packets without data, are nothing (RFC 3168 6.1.5)', () => {
  const { peer } = established()
  peer.send('A', { seq: 1_000_000, ack: 1, payload: patternBytes(100), ecn: CONGESTED })
  peer.send('A', { seq: 1, ack: 1, ecn: CONGESTED })
  peer.send('A', { seq: 1, ack: 1, payload: patternBytes(100), ecn: CAPABLE })
  assert.ok(peer.take().every((text) => text.startsWith('A ')))
  assert.is(peer.host.counters.tcp.congestionMarks, 0)
})

test('without agreement marks and echoes are nothing', () => {
  const peer = new RawPeer()
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, { noDelay: true })
  peer.establish({ options: SYN_OPTIONS })
  const lab = { peer, server, c: server.connection! }
  peer.send('A', { seq: 1, ack: 1, payload: patternBytes(100), ecn: CONGESTED })
  assert.equal(peer.take(), ['A 1 101'])
  write(lab, 4)
  assert.equal(takeMarks(peer).at(-1), 'PA 0')
  const window = lab.c.congestionWindow
  peer.send('AE', { seq: 101, ack: 1 + 4 * MSS })
  assert.ok(lab.c.congestionWindow >= window)
})

test('an echo reduces the window once a round trip, tells so with CWR, and sends nothing again', () => {
  const lab = established()
  const { peer, c } = lab
  const info = new TcpInfo()
  write(lab, 30)
  assert.is(takeMarks(peer).length, 10)
  peer.advanceMs(40)
  peer.send('AE', { seq: 1, ack: 1 + 2 * MSS })
  assert.is(c.slowStartThreshold, 7 * MSS, 'CUBIC: 0.7 of ten segments')
  assert.is(tcpInfo(c, info).caState, CA_CWR)
  for (let acked = 4; acked <= 10; acked += 2) peer.send('AE', { seq: 1, ack: 1 + acked * MSS })
  assert.is(c.slowStartThreshold, 7 * MSS, 'the same congestion')
  assert.is(peer.host.counters.tcp.congestionEchoes, 1)
  const marks = takeMarks(peer)
  assert.is(marks[0], `AW ${CAPABLE}`, 'the first new data')
  assert.ok(marks.slice(1).every((text) => text === `A ${CAPABLE}`))
  assert.is(c.inFlightBytes, 7 * MSS)
  peer.advanceMs(40)
  peer.send('A', { seq: 1, ack: 1 + 12 * MSS })
  assert.is(tcpInfo(c, info).caState, CA_OPEN)
  assert.is(info.deliveredCe, 10)
  assert.ok(info.options & OPTION_ECN)
  peer.send('AE', { seq: 1, ack: 1 + 13 * MSS })
  assert.is(peer.host.counters.tcp.congestionEchoes, 2, 'new congestion')
  assert.ok(c.slowStartThreshold < 7 * MSS)
  assert.is(peer.host.counters.tcp.retransmitted, 0)
})

test('a loss says CWR too, and an echo of the same window does not reduce again (RFC 3168 6.1.2)', () => {
  const lab = established()
  const { peer, c } = lab
  write(lab, 30)
  takeMarks(peer)
  peer.advanceMs(40)
  for (let duplicate = 0; duplicate < 3; duplicate++) peer.send('A', { seq: 1, ack: 1 })
  const threshold = c.slowStartThreshold
  assert.ok(threshold < 10 * MSS)
  peer.advanceMs(40)
  peer.send('AE', { seq: 1, ack: 1 + 10 * MSS })
  assert.is(c.slowStartThreshold, threshold)
  const marks = takeMarks(peer)
  const repair = marks.lastIndexOf('A 0')
  assert.ok(repair >= 0, 'sent again')
  assert.is(marks[repair + 1], `AW ${CAPABLE}`, 'the first new data behind it')
  assert.is(marks.filter((text) => text.includes('W')).length, 1)
})

test('a loss while an echo is being answered does not reduce again either', () => {
  const lab = established()
  const { peer, c } = lab
  write(lab, 30)
  peer.advanceMs(40)
  peer.send('AE', { seq: 1, ack: 1 + 2 * MSS })
  for (let duplicate = 0; duplicate < 3; duplicate++) peer.send('A', { seq: 1, ack: 1 + 2 * MSS })
  assert.is(peer.host.counters.tcp.fastRetransmits, 1)
  assert.is(c.slowStartThreshold, 7 * MSS)
})

test('a reduction is not taken back when an echo came with it', () => {
  for (const [flags, undone] of [
    ['A', 1],
    ['AE', 0],
  ] as const) {
    const lab = established({ timestamps: true })
    const { peer } = lab
    write(lab, 30)
    const sentAt = peer.sent.at(-1)!.timestamps![0]
    peer.advanceMs(40)
    for (let duplicate = 0; duplicate < 3; duplicate++)
      peer.send(duplicate === 2 ? flags : 'A', { seq: 1, ack: 1, timestamps: [2, sentAt] })
    assert.is(peer.host.counters.tcp.fastRetransmits, 1)
    peer.send('A', { seq: 1, ack: 1 + 4 * MSS, timestamps: [3, sentAt] }) // the first copies, late
    assert.is(peer.host.counters.tcp.spuriousRecoveries, undone, flags)
  }
})

test('a path that marks instead of dropping: windows follow, nothing is sent twice', () => {
  const seed = Number(process.env.SEED ?? 11)
  const bytes = patternBytes(400_000)
  let carried = 0
  let marked = 0
  const network = new VirtualNetwork({
    seed,
    buffers: 4096,
    impairment: { delayUs: 10_000 },
    tcp: { ecn: 1 },
    filter(frame) {
      const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
      if (view.getUint16(12) !== 0x0800 || (frame[15]! & 3) !== CAPABLE || ++carried % 50 !== 0) return true
      marked++
      frame[15]! |= CONGESTED
      view.setUint16(24, 0)
      view.setUint16(24, ~sumBytes(view, 14, 20) & 0xffff)
      return true
    },
  })
  const server = new StreamApplication(network.poolB)
  network.hostB.tcp.listen(80, server)
  const client = new StreamApplication(network.poolA)
  const c = network.hostA.tcp.connect('10.0.0.2', 80, client)
  client.connected = () => {
    c.send(chainOf(network.poolA, bytes))
    c.shutdown()
  }
  assert.ok(
    network.runUntil(() => server.finished, 60_000_000),
    `seed ${seed}`,
  )
  assert.equal(Buffer.compare(server.bytes, bytes), 0)
  const sender = network.hostA.counters.tcp
  assert.ok(marked >= 4, `${marked} marks`)
  assert.is(network.hostB.counters.tcp.congestionMarks, marked)
  assert.ok(sender.congestionEchoes >= 2 && sender.congestionEchoes <= marked, `${sender.congestionEchoes} reductions`)
  assert.is(sender.retransmitted, 0)
})

test.run()
