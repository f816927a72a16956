/** IPv6 fragments in and out (RFC 8200 4.5, RFC 5722, RFC 6946, RFC 6980, RFC 7112, RFC 8021), written by hand. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseAddress } from '../../stack/address.ts'
import { IPV6_FRAGMENT_TIMEOUT_MS } from '../../stack/limits.ts'
import { SeededRandom } from '../../stack/random.ts'
import { type DatagramApplication, SEND_OK, SEND_TOO_LONG, type UdpPort } from '../../stack/udp.ts'
import { sumBytes } from '../../storage/checksum.ts'
import { NO_META } from '../../storage/layout.ts'
import { announceSeed } from '../support/random.ts'
import { ALL_NODES, HOST, HOST_GROUP, NS, PEER, PEER_MAC, RawIpv6 } from '../support/raw-ipv6.ts'
import { patternBytes } from '../support/raw-peer.ts'
import { chainOf, consumeChain } from '../support/stream-application.ts'

const seed = announceSeed('ipv6-fragments', 8200)
const HEADERS = 54
const NEXT_FRAGMENT = 44
const UDP = 17
const ICMPV6 = 58
const DESTINATION_OPTIONS = 60
const PORT = 7000

class Sink implements DatagramApplication {
  readonly got: Uint8Array[] = []
  private readonly lab: RawIpv6

  constructor(lab: RawIpv6) {
    this.lab = lab
    lab.host.udp.bind(PORT, this)
  }

  onDatagrams(port: UdpPort): void {
    const { pool, udp } = this.lab.host
    for (let meta = udp.take(port); meta !== NO_META; meta = udp.take(port)) this.got.push(consumeChain(pool, meta))
  }

  onUnreachable(): void {}
  onClose(): void {}
}

function withPeer(): { lab: RawIpv6; sink: Sink } {
  const lab = new RawIpv6()
  lab.introduce()
  return { lab, sink: new Sink(lab) }
}

function allBack({ pool }: RawIpv6, label = ''): void {
  assert.is(pool.freeBuffers, pool.totalBuffers, `${label} buffers`)
  assert.is(pool.freeMetas, pool.totalMetas, `${label} lines`)
}

/** One fragment. */
function fragment(
  lab: RawIpv6,
  bytes: Uint8Array,
  next: number,
  offset: number,
  more: boolean,
  id = 9,
  to = HOST,
): Uint8Array {
  const header = [next, 0, offset >> 8, (offset & 0xf8) | (more ? 1 : 0), 0, 0, id >> 8, id & 255]
  return lab.packet([...header, ...bytes], { next: NEXT_FRAGMENT, to })
}

/** Cuts what stands behind the IPv6 header of a packet. */
function cut(lab: RawIpv6, frame: Uint8Array, next: number, size: number, id = 9): Uint8Array[] {
  const payload = frame.subarray(HEADERS)
  const frames: Uint8Array[] = []
  for (let at = 0; at < payload.length; at += size)
    frames.push(fragment(lab, payload.subarray(at, at + size), next, at, at + size < payload.length, id))
  return frames
}

/** What the host has sent, put together: next header and bytes; checks what every fragment must be. */
function takeWhole(lab: RawIpv6): { next: number; bytes: Buffer; fragments: number } {
  const parts: { offset: number; bytes: Uint8Array }[] = []
  let next = 0
  let end = -1
  const identifications = new Set<number>()
  for (const frame of lab.frames) {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
    assert.ok(frame.length <= 1514)
    assert.is(view.getUint16(18), frame.length - HEADERS)
    if (frame[20] !== NEXT_FRAGMENT) {
      next = frame[20]!
      parts.push({ offset: 0, bytes: frame.subarray(HEADERS) })
      end = frame.length - HEADERS
      continue
    }
    next = frame[HEADERS]!
    identifications.add(view.getUint32(HEADERS + 4))
    const word = view.getUint16(HEADERS + 2)
    const bytes = frame.subarray(HEADERS + 8)
    if ((word & 1) === 0) end = (word & 0xfff8) + bytes.length
    else assert.is(bytes.length % 8, 0)
    parts.push({ offset: word & 0xfff8, bytes })
  }
  assert.ok(identifications.size <= 1)
  const bytes = Buffer.concat(parts.sort((a, b) => a.offset - b.offset).map((part) => part.bytes))
  assert.is(bytes.length, end)
  const fragments = lab.frames.length
  lab.frames.length = 0
  const pseudo = Buffer.concat([addressBytes(HOST), addressBytes(PEER), Buffer.of(0, next)])
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  const all = Buffer.concat([pseudo, length, bytes])
  assert.is(sumBytes(new DataView(all.buffer, all.byteOffset, all.length), 0, all.length), 0xffff, 'checksum')
  return { next, bytes, fragments }
}

function addressBytes(text: string): Buffer {
  const { word0, word1, word2, word3 } = parseAddress(text)
  const bytes = Buffer.alloc(16)
  for (const [index, word] of [word0, word1, word2, word3].entries()) bytes.writeInt32BE(word, index * 4)
  return bytes
}

test('datagrams arrive whole, in any order of fragments', () => {
  const random = new SeededRandom(seed)
  const { lab, sink } = withPeer()
  for (let round = 0; round < 60; round++) {
    const data = patternBytes(1 + random.below(round < 5 ? 65_000 : 6000), round)
    const frame = lab.udp(PORT, [...data])
    const size = data.length > 20_000 ? 1400 : 8 * (2 + random.below(170))
    const frames = cut(lab, frame, UDP, size, round)
    if (frames.length > 128) continue
    for (let last = frames.length - 1; last > 0; last--) {
      const other = random.below(last + 1)
      const moved = frames[last]!
      frames[last] = frames[other]!
      frames[other] = moved
    }
    for (const part of frames) lab.send(part)
    assert.is(sink.got.length, 1, `round ${round}, ${frames.length} fragments`)
    assert.is(Buffer.compare(sink.got.pop()!, data), 0)
    allBack(lab, `round ${round}`)
  }
})

test('an echo request in fragments is answered in fragments; a long datagram leaves in fragments', () => {
  const { lab } = withPeer()
  const data = patternBytes(8001)
  const request = lab.icmp([128, 0, 0, 0, 0, 7, 0, 1, ...data])
  lab.send(...cut(lab, request, ICMPV6, 1432))
  const reply = takeWhole(lab)
  assert.is(reply.next, ICMPV6)
  assert.is(reply.bytes[0], 129)
  assert.is(reply.fragments, 6)
  assert.is(Buffer.compare(reply.bytes.subarray(8), data), 0)
  const { udp, pool } = lab.host
  const port = udp.bind(0, { onDatagrams() {}, onUnreachable() {}, onClose() {} })
  for (const size of [1452, 1453, 20_001, 65_527]) {
    const bytes = patternBytes(size)
    assert.is(udp.send(port, parseAddress(PEER), 9, chainOf(pool, bytes, 2048)), SEND_OK)
    lab.host.flush(lab.nowUs)
    const sent = takeWhole(lab)
    assert.is(sent.next, UDP)
    assert.is(sent.fragments === 1, size === 1452)
    assert.is(Buffer.compare(sent.bytes.subarray(8), bytes), 0, `${size}`)
  }
  assert.is(udp.send(port, parseAddress(PEER), 9, chainOf(pool, new Uint8Array(65_528), 2048)), SEND_TOO_LONG)
  // Small lines, one frame: no fragment header around what is whole (RFC 8021).
  udp.send(port, parseAddress(PEER), 9, chainOf(pool, patternBytes(100), 10))
  lab.host.flush(lab.nowUs)
  assert.is(lab.frames[0]![20], UDP)
  lab.host.close(lab.nowUs)
  allBack(lab)
})

test('options between the fragment header and the transport are walked through, in the first fragment only', () => {
  const { lab, sink } = withPeer()
  const data = patternBytes(3000)
  const datagram = lab.udp(PORT, [...data]).subarray(HEADERS)
  const options = [UDP, 1, 1, 12, ...new Array(12).fill(0)]
  const payload = Uint8Array.from([...options, ...datagram])
  const send = (id: number, cuts: number[]): void => {
    const edges = [0, ...cuts, payload.length]
    for (let index = 0; index + 1 < edges.length; index++) {
      const part = payload.subarray(edges[index]!, edges[index + 1]!)
      // Only the first fragment's next header counts (RFC 8200 4.5).
      const next = index === 0 ? DESTINATION_OPTIONS : 59
      lab.send(fragment(lab, part, next, edges[index]!, edges[index + 1]! < payload.length, id))
    }
  }
  send(1, [1400, 2800])
  assert.is(sink.got.length, 1)
  assert.is(Buffer.compare(sink.got.pop()!, data), 0)
  const { ipv6 } = lab.host.counters
  send(2, [16, 1400]) // ends where the transport begins
  assert.is(ipv6.dropFragment, 1)
  send(3, [8, 1400]) // ends inside of the options
  assert.is(ipv6.dropExtensionLength, 1)
  assert.is(sink.got.length, 0)
  allBack(lab)
})

test('overlaps refuse the whole; exact duplicates do not; atomic fragments wait for nobody (RFC 5722, RFC 6946)', () => {
  const { lab, sink } = withPeer()
  const frame = lab.udp(PORT, [...patternBytes(2000)])
  const [a, b] = cut(lab, frame, UDP, 1400) as [Uint8Array, Uint8Array]
  const payload = frame.subarray(HEADERS)
  lab.send(a, a, b)
  assert.is(sink.got.length, 1)
  assert.is(lab.host.counters.ipv6Fragments.duplicates, 1)
  lab.send(a, fragment(lab, payload.subarray(80, 160), UDP, 80, true), b)
  assert.is(sink.got.length, 1)
  assert.is(lab.host.counters.ipv6Fragments.dropOverlap, 2)
  allBack(lab)
  // Atomic, with the number of a datagram that is under way.
  lab.send(fragment(lab, payload.subarray(0, 1400), UDP, 0, true, 10))
  lab.send(fragment(lab, lab.udp(PORT, [1, 2, 3]).subarray(HEADERS), UDP, 0, false, 10))
  assert.equal([...sink.got.at(-1)!], [1, 2, 3])
  lab.send(fragment(lab, payload.subarray(1400), UDP, 1400, false, 10))
  assert.is(sink.got.length, 3)
  allBack(lab)
})

test('what cannot be right is reported to the sender (RFC 8200 4.5), with the place of the fault', () => {
  const { lab } = withPeer()
  const pointer = (): number => new DataView(lab.frames[0]!.buffer, lab.frames[0]!.byteOffset).getUint32(58)
  lab.send(fragment(lab, patternBytes(101), UDP, 0, true))
  assert.is(pointer(), 4, 'the payload length')
  assert.match(lab.take()[0]!, /^4\/0 /)
  lab.send(fragment(lab, patternBytes(1000), UDP, 65_528, false))
  assert.is(pointer(), 42, 'the fragment offset')
  assert.match(lab.take()[0]!, /^4\/0 /)
  lab.send(fragment(lab, patternBytes(101), UDP, 0, true, 9, ALL_NODES))
  assert.equal(lab.take(), [], 'not about what went to a group')
  assert.is(lab.host.counters.ipv6Fragments.dropMalformed, 3)
  allBack(lab)
})

test('after 60 s a datagram is given up; its sender hears of it if the first fragment was there', () => {
  const { lab } = withPeer()
  const [a, b] = cut(lab, lab.udp(PORT, [...patternBytes(2000)]), UDP, 1000) as [Uint8Array, Uint8Array]
  lab.send(a)
  lab.advanceMs(IPV6_FRAGMENT_TIMEOUT_MS - 1)
  assert.is(lab.frames.filter((frame) => frame[HEADERS] === 3).length, 0)
  lab.advanceMs(1)
  const error = lab.frames.find((frame) => frame[HEADERS] === 3)!
  assert.is(error[HEADERS + 1], 1)
  assert.equal([...error.subarray(62, 62 + 100)], [...a.subarray(14, 114)], 'quoted')
  lab.frames.length = 0
  lab.send(b)
  lab.advanceMs(IPV6_FRAGMENT_TIMEOUT_MS)
  assert.is(lab.frames.filter((frame) => frame[HEADERS] === 3).length, 0)
  lab.host.close(lab.nowUs)
  allBack(lab)
})

test('nobody is told that what he sent to a group in fragments never became whole (RFC 4443 2.4)', () => {
  const { lab } = withPeer()
  for (const group of [ALL_NODES, HOST_GROUP]) lab.send(fragment(lab, patternBytes(800), UDP, 0, true, 9, group))
  lab.advanceMs(IPV6_FRAGMENT_TIMEOUT_MS)
  assert.is(lab.host.counters.ipv6Fragments.timeouts, 2)
  assert.equal(lab.take(), [])
  allBack(lab)
})

test('no error about an error, though it comes in fragments that are wrong or never whole (RFC 4443 2.4)', () => {
  const { lab } = withPeer()
  const message = (type: number, length: number): Uint8Array => Uint8Array.of(type, 0, ...patternBytes(length - 2))
  for (const type of [1, 3, 127]) {
    lab.send(fragment(lab, message(type, 800), ICMPV6, 0, true, type))
    lab.send(fragment(lab, message(type, 801), ICMPV6, 0, true, type))
  }
  lab.advanceMs(IPV6_FRAGMENT_TIMEOUT_MS)
  assert.is(lab.host.counters.ipv6Fragments.timeouts, 3)
  assert.equal(lab.take(), [])
  lab.introduce()
  lab.take()
  lab.send(fragment(lab, message(128, 801), ICMPV6, 0, true))
  assert.match(lab.take()[0]!, /^4\/0 /, 'an echo request is none')
  allBack(lab)
})

test('Neighbor Discovery in fragments is not listened to (RFC 6980)', () => {
  const { lab } = withPeer()
  const solicitation = lab.ndp(NS, HOST, { to: HOST_GROUP, option: PEER_MAC })
  const payload = solicitation.subarray(HEADERS)
  lab.send(
    fragment(lab, payload.subarray(0, 16), ICMPV6, 0, true, 5, HOST_GROUP),
    fragment(lab, payload.subarray(16), ICMPV6, 16, false, 5, HOST_GROUP),
  )
  assert.is(lab.host.counters.icmpv6.dropFragmented, 1)
  assert.equal(lab.take(), [])
  allBack(lab)
})

test.run()
