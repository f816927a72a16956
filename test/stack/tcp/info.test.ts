/** tcpInfo against what a hand-written peer has made happen: each figure is counted here by hand. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  CA_DISORDER,
  CA_LOSS,
  CA_OPEN,
  CA_RECOVERY,
  OPTION_SACK,
  OPTION_TIMESTAMPS,
  OPTION_WINDOW_SCALE,
  TcpInfo,
  THRESHOLD_UNKNOWN,
  tcpInfo,
} from '../../../stack/tcp/info.ts'
import { patternBytes, RawPeer } from '../../support/raw-peer.ts'
import { MSS, RTT_MS, SackPeer } from '../../support/sack-peer.ts'
import { StreamApplication } from '../../support/stream-application.ts'

test('an idle connection', () => {
  const lab = new SackPeer({ timestamps: true })
  const info = tcpInfo(lab.c, new TcpInfo())
  assert.is(info.state, 1)
  assert.is(info.caState, CA_OPEN)
  assert.is(info.options, OPTION_TIMESTAMPS | OPTION_SACK | OPTION_WINDOW_SCALE)
  assert.is(info.sndWscale, 4)
  assert.is(info.sndMss, MSS, 'less the timestamps')
  assert.is(info.advmss, 1460)
  assert.is(info.pmtu, 1500)
  assert.is(info.rtt, RTT_MS * 1000)
  assert.is(info.rttvar, (RTT_MS * 1000) / 2)
  assert.is(info.rto, (RTT_MS + 200) * 1000)
  assert.is(info.minRtt, RTT_MS * 1000, 'of the handshake')
  assert.is(info.sndCwnd, 10)
  assert.is(info.sndSsthresh, THRESHOLD_UNKNOWN)
  assert.is(info.delivered, 1, 'the SYN-ACK')
  assert.equal([info.segsIn, info.segsOut, info.dataSegsIn, info.dataSegsOut], [1, 1, 0, 0])
  assert.is(lab.peer.sent.length, 0)
})

test('losses: what is in flight, SACKed, lost, sent again, and what it came to', () => {
  const lab = new SackPeer()
  const info = new TcpInfo()
  lab.write(10)
  lab.pass(RTT_MS)
  tcpInfo(lab.c, info)
  assert.equal([info.unacked, info.sacked, info.lost, info.retrans], [10, 0, 0, 0])
  assert.is(info.bytesSent, 10 * MSS)
  assert.is(info.dataSegsOut, 10)
  lab.ack(1)
  lab.ack(1, [[4, 5]])
  tcpInfo(lab.c, info)
  assert.is(info.caState, CA_DISORDER)
  lab.ack(1, [[4, 9]])
  tcpInfo(lab.c, info)
  assert.is(info.caState, CA_RECOVERY)
  assert.equal([info.unacked, info.sacked, info.lost, info.retrans], [9, 5, 3, info.totalRetrans])
  assert.ok(info.retrans >= 1)
  assert.is(info.bytesRetrans, info.totalRetrans * MSS)
  assert.is(info.bytesAcked, MSS)
  assert.is(info.delivered, 1 + 1 + 5)
  assert.is(info.minRtt, RTT_MS * 1000)
  assert.is(info.sndSsthresh, 7, 'CUBIC: 0.7 of 10')
  lab.pass(RTT_MS)
  lab.ack(10)
  tcpInfo(lab.c, info)
  assert.is(info.caState, CA_OPEN)
  assert.equal([info.unacked, info.sacked, info.lost, info.retrans], [0, 0, 0, 0])
  assert.is(info.bytesAcked, 10 * MSS)
  assert.is(info.delivered, 1 + 10)
  assert.is(info.bytesSent, (10 + info.totalRetrans) * MSS)
})

test('time-outs: state, back-off, and one retransmission each', () => {
  const lab = new SackPeer()
  lab.warmUp()
  const info = new TcpInfo()
  lab.write(1)
  lab.pass(1200)
  tcpInfo(lab.c, info)
  assert.is(info.caState, CA_LOSS)
  assert.ok(info.retransmits >= 1)
  assert.is(info.backoff, info.retransmits)
  assert.is(info.totalRetrans, lab.counters.retransmitted)
  assert.is(info.lastDataSent < 1200, true)
  lab.ack(3)
  tcpInfo(lab.c, info)
  assert.equal([info.retransmits, info.backoff], [0, 0])
})

test('a window held shut: probes are counted apart from time-outs', () => {
  const lab = new SackPeer()
  lab.warmUp()
  lab.ack(2, [], { window: 0 })
  lab.write(3)
  lab.pass(2000)
  const info = tcpInfo(lab.c, new TcpInfo())
  assert.is(info.retransmits, 0)
  assert.is(info.probes, lab.counters.zeroWindowProbes)
  assert.ok(info.probes >= 2)
  assert.is(info.sndWnd, 0)
  assert.is(info.notsentBytes, 3 * MSS)
})

test('receiving: segments, bytes, and how long ago', () => {
  const peer = new RawPeer()
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server)
  peer.establish()
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(700) })
  peer.send('PA', { seq: 1001, ack: 1, payload: patternBytes(100) })
  peer.advanceMs(250)
  const info = tcpInfo(server.connection!, new TcpInfo())
  assert.is(info.dataSegsIn, 2)
  assert.is(info.segsIn, 3, 'the ACK of the handshake, too')
  assert.is(info.bytesReceived, 700, 'in order')
  assert.is(info.rcvMss, 700)
  assert.is(info.lastDataRecv, 250)
  assert.is(info.lastAckRecv, 250)
  assert.is(info.options, 0)
})

test('an active open counts its SYN, once more for each repetition', () => {
  const peer = new RawPeer()
  const client = new StreamApplication(peer.pool)
  const c = peer.host.tcp.connect('10.0.0.1', 9, client)
  peer.poll()
  peer.advanceMs(1500)
  const syn = peer.sent[0]!
  peer.hostPort = syn.sourcePort
  peer.peerPort = 9
  peer.send('SA', { seq: 0, ack: 1 })
  const info = tcpInfo(c, new TcpInfo())
  assert.is(info.state, 1)
  assert.is(info.totalRetrans, 1)
  assert.is(info.bytesRetrans, 0)
  assert.is(info.bytesAcked, 1)
  assert.is(info.segsOut, 3, 'two SYNs and an ACK')
})

test.run()
