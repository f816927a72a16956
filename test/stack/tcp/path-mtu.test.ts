/**
 * The path's MTU: what routers say (RFC 1191, RFC 5927), who believes it and for how long, and what probing finds where
 * nobody says anything (RFC 4821), in virtual time.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseAddress } from '../../../stack/address.ts'
import { PATH_MTU_LIFETIME_MS } from '../../../stack/limits.ts'
import type { Connection } from '../../../stack/tcp/connection.ts'
import { SEND_OK } from '../../../stack/udp.ts'
import { sumBytes } from '../../../storage/checksum.ts'
import { announceSeed } from '../../support/random.ts'
import { FragmentPeer, HOST, PEER } from '../../support/raw-fragments.ts'
import { patternBytes } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'
import { VirtualNetwork } from '../../support/virtual-link.ts'

const seed = announceSeed('path-mtu', 1191)
const MSS = 1460
const SECOND_US = 1_000_000
const TCP = 6
const UDP = 17
const PEER_ADDRESS = parseAddress('10.0.0.1')

function established(): { peer: FragmentPeer; c: Connection } {
  const peer = new FragmentPeer({ seed })
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, {})
  peer.establish({ options: [2, 4, 5, 180] })
  return { peer, c: server.connection! }
}

function send(peer: FragmentPeer, c: Connection, bytes: number): void {
  c.send(chainOf(peer.pool, patternBytes(bytes), MSS))
  peer.poll()
}

/** "Fragmentation needed", about a packet of the host's to the peer. */
function tooBig(peer: FragmentPeer, mtu: number, protocol: number, words: readonly number[]): void {
  const frame = new Uint8Array(14 + 20 + 8 + 20 + 8)
  const view = new DataView(frame.buffer)
  frame.set(peer.device.mac, 0)
  frame.set([2, 0, 0, 0, 0, 1], 6)
  view.setUint16(12, 0x0800)
  view.setUint16(14, 0x4500)
  view.setUint16(16, frame.length - 14)
  view.setUint16(22, 0x4001)
  view.setInt32(26, 0x0a000009) // a router
  view.setInt32(30, HOST)
  view.setUint16(24, ~sumBytes(view, 14, 20) & 0xffff)
  view.setUint16(34, 0x0304)
  view.setUint16(40, mtu)
  view.setUint16(42, 0x4500)
  view.setUint16(44, 1500)
  view.setUint8(51, protocol)
  view.setInt32(54, HOST)
  view.setInt32(58, PEER)
  for (const [index, word] of words.entries()) view.setInt32(62 + 4 * index, word)
  view.setUint16(36, ~sumBytes(view, 34, frame.length - 34) & 0xffff)
  peer.device.queue.push(frame)
  peer.poll()
}

function segmentWords(peer: FragmentPeer, seq: number): number[] {
  return [(80 << 16) | peer.peerPort, (peer.hostIss + seq) | 0]
}

test('a router’s MTU shortens the segments, at once and on new connections, for ten minutes', () => {
  const { peer, c } = established()
  send(peer, c, 3 * MSS)
  assert.is(peer.take().length, 3)
  tooBig(peer, 1000, TCP, segmentWords(peer, 1))
  assert.is(c.sendMss, 960)
  assert.is(peer.sent[0]!.length, 960, 'sent again at once, shorter')
  peer.send('A', { seq: 1, ack: 1 + 3 * MSS })
  peer.peerPort = 4001
  peer.establish({ options: [2, 4, 5, 180] })
  const second = (c.application as StreamApplication).connection!
  assert.is(second.sendMss, 960)
  peer.advanceMs(PATH_MTU_LIFETIME_MS - 1000)
  send(peer, second, 10)
  assert.is(second.sendMss, 960)
  peer.send('A', { seq: 1, ack: 11 })
  peer.advanceMs(2000)
  send(peer, second, 2000)
  assert.is(second.sendMss, MSS, 'old knowledge is forgotten')
  peer.poll() // the neighbour was asked again
  assert.ok(peer.sent.some((s) => s.length === MSS))
  peer.host.close(peer.nowUs)
  assert.is(peer.host.armedTimers, 0)
})

test('forged, stale, zero and growing MTUs change nothing; absurd ones little (RFC 5927 7)', () => {
  const { peer, c } = established()
  send(peer, c, MSS)
  peer.take()
  tooBig(peer, 1000, TCP, segmentWords(peer, -5000)) // long acknowledged
  tooBig(peer, 1000, TCP, segmentWords(peer, 1 + MSS)) // not sent yet
  tooBig(peer, 1000, TCP, [(80 << 16) | 4444, peer.hostIss + 1]) // another connection's
  tooBig(peer, 0, TCP, segmentWords(peer, 1))
  tooBig(peer, 1500, TCP, segmentWords(peer, 1))
  tooBig(peer, 9000, TCP, segmentWords(peer, 1))
  assert.is(c.sendMss, MSS)
  assert.equal(peer.take(), [])
  tooBig(peer, 68, TCP, segmentWords(peer, 1))
  assert.is(c.sendMss, 552 - 40)
})

test('UDP learns of it, too, and goes on in fragments; who has no such port is not told anything', () => {
  const peer = new FragmentPeer({ seed })
  const { udp, pool } = peer.host
  const port = udp.bind(5000, { onDatagrams() {}, onUnreachable() {}, onClose() {} })
  const data = patternBytes(1400)
  const sendOne = (): number => {
    assert.is(udp.send(port, PEER_ADDRESS, 9, chainOf(pool, data, 2048)), SEND_OK)
    peer.host.flush(peer.nowUs)
    peer.poll() // the neighbour may have been asked
    const frames = peer.frames.length
    assert.equal(peer.takePackets()[0]!.payload.subarray(8), Buffer.from(data))
    return frames
  }
  assert.is(sendOne(), 1)
  tooBig(peer, 800, UDP, [(5001 << 16) | 9, 0])
  assert.is(sendOne(), 1)
  tooBig(peer, 800, UDP, [(5000 << 16) | 9, 0])
  assert.is(sendOne(), 2)
  port.remotePort = 10
  port.remoteAddress.set(0, 0, 0xffff, PEER)
  tooBig(peer, 600, UDP, [(5000 << 16) | 9, 0])
  assert.is(sendOne(), 2, 'connected elsewhere: not what it has sent')
  peer.advanceMs(PATH_MTU_LIFETIME_MS)
  assert.is(sendOne(), 1)
})

/** Bytes from A to B over a path that swallows longer packets. @returns seconds it took, and the sender */
function overBlackHole(
  mtuBytes: number,
  bytes: number,
  options: { loss?: number; linkMtu?: number; mtuProbing?: 'off' | 'on-black-hole' | 'always' } = {},
): { network: VirtualNetwork; seconds: number; sender: Connection; done: boolean } {
  const network = new VirtualNetwork({
    seed,
    buffers: 8192,
    mtu: options.linkMtu ?? 1500,
    impairment: { delayUs: 10_000, loss: options.loss ?? 0 },
    filter: (frame) => frame.length - 14 <= mtuBytes,
    tcp: { mtuProbing: options.mtuProbing ?? 'on-black-hole' },
  })
  const { sender, seconds, done } = transfer(network, bytes, 80)
  return { network, seconds, sender, done }
}

function transfer(
  network: VirtualNetwork,
  bytes: number,
  port: number,
): { sender: Connection; seconds: number; done: boolean } {
  const server = new StreamApplication(network.poolB)
  network.hostB.tcp.listen(port, server, {})
  const client = new StreamApplication(network.poolA)
  const data = patternBytes(bytes)
  client.connected = (c) => {
    c.send(chainOf(network.poolA, data, MSS))
  }
  const sender = network.hostA.tcp.connect('10.0.0.2', port, client)
  const start = network.nowUs
  const done = network.runUntil(() => server.receivedBytes === bytes, 60 * SECOND_US)
  if (done) assert.is(Buffer.compare(server.bytes, data), 0)
  return { sender, seconds: (network.nowUs - start) / SECOND_US, done }
}

test('a black hole is found after three time-outs, and then how wide the path is', () => {
  for (const mtu of [1400, 1280, 1100, 1493]) {
    const { network, seconds, sender } = overBlackHole(mtu, 2_000_000)
    assert.ok(seconds < 6, `${seconds} s over ${mtu}`)
    const { mtuBlackHoles, mtuProbesSent } = network.hostA.counters.tcp
    assert.is(mtuBlackHoles, 1)
    assert.ok(mtuProbesSent >= 3 && mtuProbesSent <= 10, `${mtuProbesSent} probes`)
    const found = sender.sendMss + 52
    assert.ok(found <= mtu && found > mtu - 8, `${found} of ${mtu}`)
    // The next connection starts with what was found.
    const next = transfer(network, 100_000, 81)
    assert.is(next.sender.sendMss, sender.sendMss)
    assert.ok(next.seconds < 1, `${next.seconds} s`)
    assert.is(network.hostA.counters.tcp.mtuBlackHoles, 1)
  }
})

test('where even the base is too long for the path, shorter segments get through', () => {
  for (const [linkMtu, mtu] of [
    [772, 697],
    [1064, 700],
    [1500, 700],
  ] as const) {
    const { network, done } = overBlackHole(mtu, 40_000, { linkMtu })
    assert.ok(done, `link ${linkMtu}, path ${mtu}`)
    assert.ok(network.hostA.counters.tcp.mtuBlackHoles >= 1)
  }
})

test('without probing the transfer over a black hole hangs: the control', () => {
  const { done } = overBlackHole(1400, 100_000, { mtuProbing: 'off' })
  assert.is(done, false)
})

test('a lost probe is no congestion', () => {
  const { network, sender } = overBlackHole(1300, 3_000_000, { mtuProbing: 'always' })
  const { mtuProbesLost, fastRetransmits, timeouts, retransmitted } = network.hostA.counters.tcp
  assert.ok(mtuProbesLost >= 3, `${mtuProbesLost} lost`)
  assert.is(fastRetransmits, 0)
  assert.is(timeouts, 0)
  assert.is(retransmitted, 2 * mtuProbesLost, 'each probe again, in two')
  assert.ok(sender.sendMss + 52 > 1292)
})

test('probing always finds the link’s own MTU with one probe', () => {
  const { network, sender } = overBlackHole(1500, 500_000, { mtuProbing: 'always' })
  assert.is(network.hostA.counters.tcp.mtuProbesSent, 1)
  assert.is(sender.sendMss, MSS - 12)
})

test('among other losses probing still ends, within the path’s MTU, and every byte arrives', () => {
  const { sender, done, network } = overBlackHole(1400, 3_000_000, { loss: 0.005 })
  assert.is(done, true)
  assert.ok(sender.sendMss + 52 <= 1400)
  assert.ok(network.hostA.counters.tcp.mtuProbesSent > 0)
})

test('a path that has become wider is found again', () => {
  let mtu = 1300
  const network = new VirtualNetwork({
    seed,
    buffers: 8192,
    impairment: { delayUs: 10_000 },
    filter: (frame) => frame.length - 14 <= mtu,
  })
  transfer(network, 2_000_000, 80)
  const narrow = transfer(network, 1_000_000, 81)
  assert.ok(narrow.sender.sendMss + 52 <= 1300)
  mtu = 1500
  network.runFor(PATH_MTU_LIFETIME_MS * 1000)
  const wide = transfer(network, 1_000_000, 82)
  assert.is(wide.sender.sendMss, MSS - 12)
  narrow.sender.send(chainOf(network.poolA, patternBytes(1_000_000), MSS))
  network.runFor(10 * SECOND_US)
  assert.is(narrow.sender.sendMss, MSS - 12, 'the old connection learns of it')
})

test.run()
