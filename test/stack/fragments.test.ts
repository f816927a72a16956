/** IPv4 reassembly and fragmentation (RFC 791 3.2, RFC 5722, RFC 1858, RFC 6864) against fragments written by hand. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Address, parseAddress } from '../../stack/address.ts'
import { FRAGMENT_BUFFERS_MAX, FRAGMENT_TIMEOUT_MS } from '../../stack/limits.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { DatagramApplication, UdpPort } from '../../stack/udp.ts'
import { datagramAddress, SEND_OK, SEND_TOO_LONG } from '../../stack/udp.ts'
import { NO_META } from '../../storage/layout.ts'
import { announceSeed } from '../support/random.ts'
import {
  cut,
  datagram,
  echoRequest,
  every,
  type Fragment,
  FragmentPeer,
  fragmentFrame,
} from '../support/raw-fragments.ts'
import { patternBytes } from '../support/raw-peer.ts'
import { chainOf, consumeChain, StreamApplication } from '../support/stream-application.ts'

const seed = announceSeed('fragments', 791)
const ICMP = 1
const TCP = 6
const UDP = 17
const PORT = 7000
const PEER_ADDRESS = parseAddress('10.0.0.1')
const sender = new Address()

/** Takes what comes to UDP port 7000; checks the sum of every line. */
class Sink implements DatagramApplication {
  readonly got: Uint8Array[] = []
  readonly port: UdpPort
  private readonly peer: FragmentPeer

  constructor(peer: FragmentPeer) {
    this.peer = peer
    this.port = peer.host.udp.bind(PORT, this)
  }

  onDatagrams(port: UdpPort): void {
    const { pool, udp } = this.peer.host
    for (let meta = udp.take(port); meta !== NO_META; meta = udp.take(port)) {
      assert.is(String(datagramAddress(pool, meta, sender)), '10.0.0.1')
      this.got.push(consumeChain(pool, meta))
    }
  }

  onUnreachable(): void {}
  onClose(): void {}
}

function lab(buffers = 1024): { peer: FragmentPeer; sink: Sink } {
  const peer = new FragmentPeer({ buffers, seed })
  return { peer, sink: new Sink(peer) }
}

function shuffle<T>(random: SeededRandom, items: T[]): T[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = random.below(last + 1)
    const item = items[last]!
    items[last] = items[other]!
    items[other] = item
  }
  return items
}

/** Random cuts at multiples of 8, each fragment within the link's 1480 bytes. */
function randomCuts(random: SeededRandom, length: number): number[] {
  const cuts: number[] = []
  const most = length > 30_000 ? 185 : 60
  const least = length > 30_000 ? 100 : 1
  let at = 0
  for (;;) {
    at += 8 * (least + random.below(most - least + 1))
    if (at >= length) return cuts
    cuts.push(at)
  }
}

function allBack(peer: FragmentPeer, label = ''): void {
  assert.is(peer.pool.freeBuffers, peer.pool.totalBuffers, `${label} buffers`)
  assert.is(peer.pool.freeMetas, peer.pool.totalMetas, `${label} lines`)
}

test('datagrams of any size arrive whole, in any order of fragments, some of them twice', () => {
  const random = new SeededRandom(seed)
  const { peer, sink } = lab()
  for (let round = 0; round < 150; round++) {
    const size = round === 0 ? 65_507 : random.chance(0.1) ? random.below(65_508) : 10 + random.below(9000)
    const data = patternBytes(size, round)
    const fragments = shuffle(random, cut(datagram(data), UDP, round, randomCuts(random, size + 8)))
    if (fragments.length === 1) continue
    const twice = fragments.flatMap((fragment, index) =>
      random.chance(0.2) && index < fragments.length - 1 ? [fragment, fragment] : [fragment],
    )
    peer.sendFragments(twice)
    assert.is(sink.got.length, 1, `round ${round}`)
    assert.equal(Buffer.compare(sink.got.pop()!, data), 0, `round ${round}`)
    allBack(peer, `round ${round}`)
  }
  const { fragments } = peer.host.counters
  assert.ok(fragments.duplicates > 50)
  assert.is(fragments.dropOverlap, 0)
  assert.is(peer.host.armedTimers, 0)
})

test('interleaved datagrams are told apart by identification, source and protocol', () => {
  const { peer, sink } = lab()
  const datas = [0, 1, 2, 3].map((id) => patternBytes(4000, id * 1000))
  const sets = datas.map((data, id) => cut(datagram(data), UDP, id, every(1480, data.length + 8)))
  for (let index = 0; index < 3; index++) peer.sendFragments(sets.map((set) => set[index]!))
  // The same number with another protocol is another datagram.
  peer.sendFragments(cut(echoRequest(patternBytes(2000)), ICMP, 3, [1480]))
  assert.equal(
    sink.got.map((bytes) => Buffer.from(bytes)),
    datas.map((data) => Buffer.from(data)),
  )
  assert.is(peer.takePackets().length, 1)
  allBack(peer)
})

test('an echo request in fragments is answered in fragments, byte for byte, without DF', () => {
  for (const size of [1473, 8000, 8001, 65_507]) {
    const { peer } = lab()
    const request = echoRequest(patternBytes(size))
    peer.sendFragments(cut(request, ICMP, 9, every(1480, request.length)))
    assert.ok(peer.frames.every((frame) => frame.length <= 1514))
    const [reply] = peer.takePackets()
    const expected = request.slice()
    expected[0] = 0
    assert.equal(reply!.payload.subarray(8), Buffer.from(expected.subarray(8)))
    assert.is(reply!.payload[0], 0)
    assert.is(checksumOf(reply!.payload), 0xffff)
    allBack(peer, `${size}`)
  }
})

test('what is too long for the link leaves in fragments, whatever the lines are like', () => {
  const random = new SeededRandom(seed)
  const { peer } = lab()
  const { udp, pool } = peer.host
  const port = udp.bind(0, { onDatagrams() {}, onUnreachable() {}, onClose() {} })
  const identifications = new Set<number>()
  for (let round = 0; round < 60; round++) {
    const size = round === 0 ? 65_507 : 1 + random.below(round < 20 ? 3000 : 12_000)
    const data = patternBytes(size, round)
    const chain = size > 12_000 ? chainOf(pool, data, 2048) : randomChain(pool, random, data)
    assert.is(udp.send(port, PEER_ADDRESS, 9, chain), SEND_OK)
    peer.host.flush(peer.nowUs)
    if (peer.frames.length > 1) identifications.add(new DataView(peer.frames[0]!.buffer).getUint16(18))
    assert.ok(peer.frames.every((frame) => frame.length <= 1514))
    const packets = peer.takePackets()
    assert.is(packets.length, 1)
    const { payload } = packets[0]!
    assert.is(Buffer.compare(payload.subarray(8), data), 0, `round ${round}`)
    assert.is(udpSumOf(payload), 0xffff, `round ${round}`)
    allBack(peer, `round ${round}`)
  }
  assert.ok(identifications.size > 30, 'numbers of their own')
  const long = chainOf(pool, new Uint8Array(65_508), 2048)
  assert.is(udp.send(port, PEER_ADDRESS, 9, long), SEND_TOO_LONG)
  allBack(peer)
})

test('a TCP segment in fragments is taken like smaller segments, FIN last', () => {
  const { peer } = lab()
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server)
  peer.establish({ options: [2, 4, 0x23, 0] })
  const data = patternBytes(6001)
  const segment = (flags: string, seq: number, payload: Uint8Array, id: number): Fragment[] => {
    const bytes = peer.segmentBytes(flags, { seq, ack: 1, payload })
    return cut(bytes, TCP, id, every(1480, bytes.length))
  }
  // Out of order, then what is missing together with what is there already.
  peer.sendFragments(segment('A', 3001, data.subarray(3000), 1).reverse())
  assert.is(server.receivedBytes, 0)
  assert.equal(peer.take(), ['A 1 1'])
  peer.sendFragments(segment('A', 1, data.subarray(0, 4500), 2))
  assert.equal(Buffer.from(server.bytes), Buffer.from(data))
  // Half of it old, and the FIN behind the last part.
  const more = patternBytes(5000, 6001)
  const tail = Buffer.concat([data.subarray(4001), more])
  peer.sendFragments(segment('FPA', 4002, tail, 3))
  assert.equal(Buffer.from(server.bytes), Buffer.concat([data, more]))
  assert.is(server.finished, true)
  assert.is(peer.host.counters.tcp.dropChecksum, 0)
  peer.send('A', { seq: 11_003, ack: 2 })
  allBack(peer)
})

test('a mark of congestion on any fragment is one on the whole; where not all could be marked, it is dropped (RFC 3168 5.3)', () => {
  const { peer } = lab()
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server)
  peer.send('SEW', { seq: 0, options: [2, 4, 0x23, 0] })
  assert.equal(peer.take(), ['SAE 0 1'])
  peer.send('A', { seq: 1, ack: 1 })
  const data = patternBytes(4000)
  let seq = 1
  const send = (marks: readonly number[], flags = 'A'): string[] => {
    const bytes = peer.segmentBytes(flags, { seq, ack: 1, payload: data })
    const fragments = cut(bytes, TCP, 100 + seq, every(1480, bytes.length))
    assert.is(fragments.length, marks.length)
    peer.sendFragments(fragments.map((fragment, index) => ({ ...fragment, ecn: marks[index]! })))
    peer.advanceMs(50)
    return peer.take()
  }
  assert.equal(send([2, 2, 2]), ['A 1 4001'])
  seq += 4000
  for (const marks of [
    [3, 2, 2],
    [2, 3, 2],
    [2, 2, 3],
  ]) {
    assert.equal(send(marks, 'AW'), [`AE 1 ${seq + 4000}`], `${marks}`)
    seq += 4000
  }
  const { counters } = peer.host
  assert.equal(send([3, 0, 2]), [])
  assert.equal(send([0, 2, 3]), [])
  assert.is(counters.fragments.dropEcn, 2)
  assert.equal(send([0, 0, 0], 'AW'), [`A 1 ${seq + 4000}`])
  assert.is(server.receivedBytes, 5 * 4000)
  peer.send('RA', { seq: seq + 4000, ack: 1 })
  allBack(peer)
})

test('fragments that part a transport header are refused (RFC 1858, RFC 3128)', () => {
  const { peer } = lab()
  const counters = peer.host.counters.fragments
  const bytes = peer.segmentBytes('S', { seq: 0, options: [2, 4, 5, 180] })
  for (const [protocol, cuts] of [
    [TCP, [8]],
    [TCP, [16]],
  ] as const)
    peer.sendFragments(cut(bytes, protocol, cuts[0]!, cuts))
  assert.is(counters.dropTiny, 4, 'the first fragments, and those that begin inside of the header')
  // Options are no part of the fixed header, but the header must be in one piece when it is read.
  const withData = peer.segmentBytes('S', { seq: 0, options: [2, 4, 5, 180, 1, 1, 4, 2], payload: patternBytes(40) })
  peer.sendFragments(cut(withData, TCP, 77, [24]))
  assert.is(peer.host.counters.tcp.dropShort, 1)
  assert.is(peer.sent.length, 0)
  peer.host.close(peer.nowUs)
  allBack(peer)
})

test('teardrop: any overlap refuses the whole datagram, with what comes later (RFC 5722)', () => {
  const whole = datagram(patternBytes(2992))
  const [a, b, c] = cut(whole, UDP, 1, [1000, 2000]) as [Fragment, Fragment, Fragment]
  const shapes: Record<string, Fragment[]> = {
    'inside another': [a, { ...a, offset: 240, bytes: a.bytes.subarray(240, 480) }, b, c],
    'covers another': [b, { ...a, offset: 800, bytes: whole.subarray(800, 2400) }, a, c],
    'ends inside of the next': [b, { ...a, bytes: whole.subarray(0, 1008) }, a, c],
    'begins inside of the last': [a, { ...b, offset: 992, bytes: whole.subarray(992, 2000) }, b, c],
    'other bytes at the same place': [a, { ...a, bytes: a.bytes.map((byte) => byte ^ 1) }, b, c],
    'a second, shorter end': [c, { ...c, bytes: c.bytes.subarray(0, 400) }, a, b],
    'bytes behind the end': [c, { ...a, offset: 3000, bytes: new Uint8Array(8) }, a, b],
    'an end before what is there': [c, { ...b, more: false, bytes: b.bytes.subarray(0, 504) }, a, b],
  }
  for (const [shape, fragments] of Object.entries(shapes)) {
    const { peer, sink } = lab()
    peer.sendFragments(fragments)
    assert.is(sink.got.length, 0, shape)
    assert.is(peer.host.counters.fragments.dropOverlap, 3, shape)
    allBack(peer, shape)
    peer.advanceMs(FRAGMENT_TIMEOUT_MS)
    peer.sendFragments([a, b, c])
    assert.is(sink.got.length, 1, `${shape}: its number is free again`)
    allBack(peer, shape)
  }
})

test('what no sender sends is dropped: odd lengths, nothing at all, more than a packet can hold', () => {
  const { peer } = lab()
  const fragment = { offset: 0, more: true, protocol: ICMP, identification: 5 }
  peer.sendFragments([
    { ...fragment, bytes: new Uint8Array(1001) },
    { ...fragment, bytes: new Uint8Array(0) },
    { ...fragment, offset: 65_528, more: false, bytes: new Uint8Array(1000) }, // the ping of death
    { ...fragment, offset: 65_512, more: false, bytes: new Uint8Array(4) },
  ])
  assert.is(peer.host.counters.fragments.dropMalformed, 4)
  allBack(peer)
})

test('who waits too long is given up after 30 s, and told so if the first fragment was there (RFC 792)', () => {
  const { peer } = lab()
  const bytes = datagram(patternBytes(2000))
  peer.sendFragments([cut(bytes, UDP, 1, [1480])[0]!])
  peer.advanceMs(10_000)
  peer.sendFragments([cut(bytes, UDP, 2, [1480])[1]!])
  assert.is(peer.pool.totalBuffers - peer.pool.freeBuffers, 2)
  peer.advanceMs(FRAGMENT_TIMEOUT_MS - 10_001)
  assert.is(peer.frames.length, 0)
  peer.advanceMs(1)
  const [error, ...others] = peer.takePackets()
  assert.is(others.length, 0)
  assert.equal([...error!.payload.subarray(0, 2)], [11, 1])
  assert.is(checksumOf(error!.payload), 0xffff)
  assert.equal(error!.payload.subarray(28), Buffer.from(bytes.subarray(0, 8)), 'quotes the header and 8 bytes')
  peer.advanceMs(10_000)
  assert.is(peer.frames.length, 0, 'nothing for the one without its beginning')
  assert.is(peer.host.counters.fragments.timeouts, 2)
  assert.is(peer.host.armedTimers, 0)
  allBack(peer)
})

test('a flood of beginnings holds a bounded number of buffers, and whole datagrams still come through', () => {
  for (const sources of [1, 5000]) {
    const { peer, sink } = lab(2048)
    const limit = Math.min(FRAGMENT_BUFFERS_MAX, 2048 >> 2)
    let most = 0
    for (let round = 0; round < 100; round++) {
      const flood = Array.from({ length: 60 }, (_, index) => ({
        offset: 1480 * (index % 8),
        more: true,
        bytes: new Uint8Array(1480),
        protocol: UDP,
        identification: round * 8 + (index >> 3),
        source: 0x0a000010 + ((round * 8 + (index >> 3)) % sources),
      }))
      peer.sendFragments(flood)
      most = Math.max(most, peer.pool.totalBuffers - peer.pool.freeBuffers)
      if (round % 10 === 9) peer.sendFragments(cut(datagram(patternBytes(5000)), UDP, round, every(1480, 5008)))
    }
    assert.ok(most <= limit, `${most} buffers of ${limit}`)
    assert.is(sink.got.length, 10)
    assert.ok(peer.host.counters.fragments.evicted > 100)
    peer.advanceMs(FRAGMENT_TIMEOUT_MS + 4000) // reports wait for neighbours that do not exist
    allBack(peer)
    assert.is(peer.host.armedTimers, 0)
  }
})

test('one datagram holds no more than its share of lines, and none is kept when the pool is down to its reserve', () => {
  const { peer } = lab()
  const fragments = Array.from({ length: 400 }, (_, index) => ({
    offset: index * 8,
    more: true,
    bytes: new Uint8Array(8),
    protocol: UDP,
    identification: 1,
  }))
  peer.sendFragments(fragments)
  assert.is(peer.pool.totalBuffers - peer.pool.freeBuffers, 128)
  assert.is(peer.host.counters.fragments.dropMemory, 400 - 128)
  peer.advanceMs(FRAGMENT_TIMEOUT_MS)
  allBack(peer)

  const small = new FragmentPeer({ buffers: 256, seed, tcp: { reserveBuffers: 64 } })
  const held: number[] = []
  while (small.pool.freeBuffers > 70) held.push(small.pool.allocateBuffer())
  small.sendFragments(fragments.slice(0, 40))
  assert.ok(small.pool.freeBuffers >= 64)
  for (const buffer of held) small.pool.releaseBuffer(buffer)
  small.advanceMs(FRAGMENT_TIMEOUT_MS)
  allBack(small)
})

test('random fragments do no harm, and nothing leaks', () => {
  const random = new SeededRandom(seed)
  const { peer, sink } = lab(512)
  peer.host.tcp.listen(80, new StreamApplication(peer.pool))
  const payload = datagram(patternBytes(1992))
  for (let round = 0; round < 20_000; round++) {
    const offset = random.chance(0.9) ? 8 * random.below(250) : 8 * random.below(8192)
    const frame = fragmentFrame(peer.device.mac, {
      offset,
      more: random.chance(0.8),
      bytes: payload.subarray(Math.min(offset, 1900), Math.min(offset, 1900) + (random.below(60) << 3)),
      protocol: [ICMP, TCP, UDP, 99][random.below(4)]!,
      identification: random.below(64),
    })
    if (random.chance(0.1)) frame[14 + random.below(frame.length - 14)]! ^= 1 << random.below(8)
    peer.device.queue.push(frame)
    if (random.chance(0.1)) peer.poll()
    if (random.chance(0.001)) peer.advanceMs(FRAGMENT_TIMEOUT_MS >> 1)
  }
  peer.poll()
  assert.ok(sink.got.every((bytes) => bytes.length <= 65_507))
  peer.host.close(peer.nowUs)
  allBack(peer)
})

/** A chain of lines of 1 to 700 bytes. */
function randomChain(pool: FragmentPeer['pool'], random: SeededRandom, data: Uint8Array): number {
  let head = NO_META
  let tail = NO_META
  for (let at = 0; at < data.length; ) {
    const length = Math.min(data.length - at, random.chance(0.5) ? 1 + random.below(20) : 1 + random.below(700))
    const line = chainOf(pool, data.slice(at, at + length), 2048)
    if (head === NO_META) head = line
    else pool.setNext(tail, line)
    tail = line
    at += length
  }
  return head
}

function checksumOf(bytes: Uint8Array): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return sum
}

function udpSumOf(payload: Uint8Array): number {
  const pseudo = Uint8Array.of(10, 0, 0, 2, 10, 0, 0, 1, 0, 17, payload.length >> 8, payload.length & 255)
  return checksumOf(Buffer.concat([pseudo, payload]))
}

test.run()
