/**
 * Frames that are longer than a buffer, in virtual time: TCP, UDP, echo and fragments over links with an MTU of 9000 whose
 * receivers cut frames into pieces of even and of odd length. Every line's sum is checked against its bytes.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { D_BUFFER, D_LENGTH, ReceiveBurst, RX_MORE, RX_PIECE_BYTES_MIN, TransmitBurst } from '../../drivers/device.ts'
import { type LinkFilter, MemoryPair } from '../../drivers/memory-pair.ts'
import { parseAddress } from '../../stack/address.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import { type DatagramApplication, SEND_OK, type Udp, type UdpPort } from '../../stack/udp.ts'
import { foldSum, sumBytes } from '../../storage/checksum.ts'
import { BUFFER_BYTES, NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { ADDRESSES, ImpairedLab } from '../support/impaired-lab.ts'
import { announceSeed } from '../support/random.ts'
import { patternBytes } from '../support/raw-peer.ts'
import { chainOf, consumeChain, StreamApplication } from '../support/stream-application.ts'
import { createPool } from '../support/virtual-link.ts'

const seed = announceSeed('long frames', 9000)
const MTU = 9000
const PORT = 7000
const SECOND_US = 1_000_000
const PIECES = [BUFFER_BYTES, RX_PIECE_BYTES_MIN + 1, 1999]

/** Takes the datagrams of a port; consumeChain checks the sum of every line. */
class Sink implements DatagramApplication {
  readonly got: Uint8Array[] = []
  private readonly pool: Pool
  private readonly udp: Udp

  constructor(host: Host) {
    this.pool = host.pool
    this.udp = host.udp
    host.udp.bind(PORT, this)
  }

  onDatagrams(port: UdpPort): void {
    for (let meta = this.udp.take(port); meta !== NO_META; meta = this.udp.take(port))
      this.got.push(consumeChain(this.pool, meta))
  }

  onUnreachable(): void {}
  onClose(): void {}
}

const silent: DatagramApplication = { onDatagrams() {}, onUnreachable() {}, onClose() {} }

function createLab(pieceBytes: number, filter?: LinkFilter): ImpairedLab {
  const options = { impairment: 'delay=100us', seed, mtu: MTU, ipv6: true, pieceBytes }
  return new ImpairedLab(filter === undefined ? options : { ...options, filter })
}

for (const pieceBytes of PIECES) {
  for (const version of [0, 1] as const) {
    const name = `${version === 0 ? 'IPv4' : 'IPv6'}, pieces of ${pieceBytes}`

    test(`TCP segments of 9000 bytes arrive as lines with their own sums, both ways: ${name}`, () => {
      const lab = createLab(pieceBytes)
      const client = new StreamApplication(lab.poolA)
      const server = new StreamApplication(lab.poolB)
      const bytes = patternBytes(300_001)
      lab.hostB.tcp.listen(80, server)
      server.connected = (c) => c.send(chainOf(lab.poolB, bytes, 2000))
      client.connected = (c) => {
        c.send(chainOf(lab.poolA, bytes, 1777))
        c.shutdown()
      }
      lab.hostA.tcp.connect(ADDRESSES[1][version], 80, client)
      assert.ok(lab.runUntil(() => server.finished && client.finished, 10 * SECOND_US))
      assert.equal(Buffer.concat(server.received), Buffer.from(bytes))
      assert.equal(Buffer.concat(client.received), Buffer.from(bytes))
      const { dropChecksum, sent, retransmitted } = lab.hostA.counters.tcp
      assert.is(dropChecksum + lab.hostB.counters.tcp.dropChecksum + retransmitted, 0)
      assert.ok(sent < 200, `${sent} segments of up to 8948 bytes and ACKs`)
      lab.close()
    })

    test(`datagrams of one long frame, and of fragments that are long frames, arrive whole: ${name}`, () => {
      const lab = createLab(pieceBytes)
      const sink = new Sink(lab.hostB)
      const port = lab.hostA.udp.bind(5000, silent)
      const sizes = [100, 2000, 2007, 4000, 8951, 8952, 8953, 30_001, 65_000]
      for (const [index, size] of sizes.entries()) {
        const bytes = patternBytes(size)
        const chain = chainOf(lab.poolA, bytes, 2000)
        assert.is(lab.hostA.udp.send(port, parseAddress(ADDRESSES[1][version]), PORT, chain), SEND_OK)
        assert.ok(
          lab.runUntil(() => sink.got.length > index, SECOND_US),
          `${size} bytes`,
        )
        assert.equal(Buffer.from(sink.got[index]!), Buffer.from(bytes))
      }
      lab.close()
    })
  }
}

test('fragments that are long frames: a copy of each is known as one, in every order', () => {
  for (const pieceBytes of PIECES) {
    let fragments = 0
    const isLong = (frame: Uint8Array): boolean => frame.length > BUFFER_BYTES
    const lab = createLab(pieceBytes, (frame) => {
      if (!isLong(frame)) return 'pass'
      return ++fragments % 3 === 0 ? 'hold' : 'duplicate'
    })
    const sink = new Sink(lab.hostB)
    const port = lab.hostA.udp.bind(5000, silent)
    const bytes = patternBytes(40_000)
    assert.is(lab.hostA.udp.send(port, parseAddress(ADDRESSES[1][0]), PORT, chainOf(lab.poolA, bytes, 2000)), SEND_OK)
    lab.runFor(SECOND_US)
    assert.is(sink.got.length, 0, 'some are held back')
    lab.releaseHeld()
    assert.ok(lab.runUntil(() => sink.got.length === 1, SECOND_US))
    assert.equal(Buffer.from(sink.got[0]!), Buffer.from(bytes))
    assert.is(lab.hostB.counters.fragments.dropOverlap, 0)
    assert.ok(lab.hostB.counters.fragments.duplicates >= 3, 'copies were told from overlaps')
    lab.close()
  }
})

/** A host on one end of a pair, and what is needed to send it frames written by hand. */
function rawLab(lines: number, ipv6 = false) {
  const near = createPool(64)
  const pool = createPool(64)
  const pair = new MemoryPair({ poolA: near, poolB: pool, mtu: MTU })
  const host = new Host(
    {
      device: pair.b,
      pool,
      address: '10.0.0.2/24',
      ...(ipv6 && { address6: 'fd00::2/64', dadTransmits: 0 }),
      random: new SeededRandom(seed),
      secret: new Uint8Array(16),
      wallClock: { low: 0, high: 0, read() {} },
      tcp: { connectionsMax: 4, timeWaitsMax: 4, reserveBuffers: 8 },
    },
    SECOND_US,
  )
  const taken = Array.from({ length: pool.freeMetas - lines }, () => pool.allocateMeta())
  // The next buffer is the last one of its extent: who reads behind its end throws.
  const buffers = Array.from({ length: pool.freeBuffers }, () => pool.allocateBuffer())
  for (const buffer of buffers.sort((a, b) => a - b)) pool.releaseBuffer(buffer)
  let nowUs = SECOND_US
  const send = (frame: Uint8Array): void => {
    const burst = new TransmitBurst()
    const chain = chainOf(near, frame, BUFFER_BYTES)
    for (let meta = chain; meta !== NO_META; meta = near.next(meta))
      burst.push(near.buffer(meta), 0, near.dataLength(meta), near.next(meta) === NO_META ? 0 : 1)
    assert.is(pair.a.transmit(burst), 1)
    near.releaseChain(chain)
    nowUs += 1000
    host.poll(nowUs)
  }
  const close = (): void => {
    for (const meta of taken) pool.freeMeta(meta)
    host.close(nowUs)
    pair.close()
    assert.is(pool.freeBuffers, pool.totalBuffers, 'buffers')
    assert.is(pool.freeMetas, pool.totalMetas, 'lines')
  }
  return { host, pair, near, send, close }
}

/** An echo request of `length` bytes in a frame with `padding` behind it. */
function echoFrame(mac: Uint8Array, length: number, padding: number): Uint8Array {
  const frame = new Uint8Array(14 + length + padding)
  const view = new DataView(frame.buffer)
  frame.set(mac)
  frame.set([2, 0, 0, 0, 0, 0x0a], 6)
  view.setUint16(12, 0x0800)
  view.setUint16(14, 0x4500)
  view.setUint16(16, length)
  view.setUint16(22, 0x4001)
  view.setUint32(26, 0x0a000001)
  view.setUint32(30, 0x0a000002)
  view.setUint16(24, ~sumBytes(view, 14, 20) & 0xffff)
  frame.fill(7, 42, 14 + length)
  frame[34] = 8
  view.setUint16(36, ~sumBytes(view, 34, length - 20) & 0xffff)
  return frame
}

test('a long frame is echoed; one with padding, or cut short, or for which there are no lines, is dropped and counted', () => {
  const { host, pair, send, close } = rawLab(4)
  const { counters } = host
  send(echoFrame(pair.b.mac, 6000, 0))
  assert.is(counters.icmp.echoRequests, 1)
  send(echoFrame(pair.b.mac, 6000, 1))
  send(echoFrame(pair.b.mac, 6000, 0).subarray(0, 6013))
  assert.is(counters.ipv4.dropTotalLength, 2)
  send(echoFrame(pair.b.mac, 8990, 0)) // five buffers, four lines behind the first: none is left for the reply
  send(echoFrame(pair.b.mac, 2034 + 2048 * 3, 0))
  assert.is(counters.icmp.echoRequests, 3)
  close()
  const starved = rawLab(3)
  starved.send(echoFrame(starved.pair.b.mac, 8990, 0))
  assert.is(starved.host.counters.ethernet.dropNoLine, 1)
  assert.is(starved.host.counters.icmp.echoRequests, 0)
  starved.close()
})

/** An IPv6 echo request of one short frame. */
function echoFrame6(mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(14 + 40 + 64)
  const view = new DataView(frame.buffer)
  frame.set(mac)
  frame.set([2, 0, 0, 0, 0, 0x0a], 6)
  view.setUint16(12, 0x86dd)
  view.setUint32(14, 0x60000000)
  view.setUint32(18, (64 << 16) | (58 << 8) | 64)
  view.setUint32(22, 0xfd000000)
  view.setUint32(34, 1)
  view.setUint32(38, 0xfd000000)
  view.setUint32(50, 2)
  view.setUint16(54, 0x8000)
  view.setUint16(56, ~foldSum(sumBytes(view, 22, 32) + sumBytes(view, 54, 64) + 64 + 58) & 0xffff)
  return frame
}

test('what there were no lines for leaves nothing to the frames behind it', () => {
  const { host, pair, send, close } = rawLab(3, true)
  const { counters } = host
  send(echoFrame(pair.b.mac, 8990, 0))
  assert.is(counters.ethernet.dropNoLine, 1)
  send(echoFrame6(pair.b.mac))
  assert.is(counters.icmpv6.echoRequests, 1, 'its length is its own')
  send(echoFrame(pair.b.mac, 900, 0).subarray(0, 300))
  assert.is(counters.ipv4.dropTotalLength, 1, 'more than came is not believed')
  close()
})

/**
 * An IPv6 packet of 3000 bytes whose extension headers fill the first buffer but for `left` bytes: there the transport begins.
 */
function behindHeadersFrame(mac: Uint8Array, protocol: number, left: number, message: readonly number[]): Uint8Array {
  const headers = BUFFER_BYTES - 14 - 40 - left
  const frame = new Uint8Array(14 + 3000)
  const view = new DataView(frame.buffer)
  frame.set(mac)
  frame.set([2, 0, 0, 0, 0, 0x0a], 6)
  view.setUint16(12, 0x86dd)
  view.setUint32(14, 0x60000000)
  view.setUint16(18, 3000 - 40)
  view.setUint16(20, (60 << 8) | 64)
  view.setUint32(22, 0xfd000000)
  view.setUint32(34, 1)
  view.setUint32(38, 0xfd000000)
  view.setUint32(50, 2)
  frame.set([protocol, headers / 8 - 1], 54)
  // Padding, in few options (RFC 8200 4.2).
  for (let at = 56; at < 54 + headers; ) {
    const bytes = Math.min(54 + headers - at, 250)
    frame.set([1, bytes - 2], at)
    at += bytes
  }
  const at = 54 + headers
  frame.set(message, at)
  const length = frame.length - at
  const sum = foldSum(sumBytes(view, 22, 32) + sumBytes(view, at, length) + length + protocol)
  view.setUint16(at + (protocol === 58 ? 2 : protocol === 17 ? 6 : 16), ~sum & 0xffff)
  return frame
}

test('headers that fill the first buffer, so that the transport goes on in the second, bring nothing and break nothing', () => {
  const messages: [string, number, number[]][] = [
    ['echo', 58, [128, 0, 0, 0, 0, 7, 0, 1]],
    ['UDP', 17, [0x10, 0, 0x1b, 0x58, 0, 8]],
    ['TCP', 6, [0x10, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff]],
  ]
  for (const [name, protocol, message] of messages)
    for (const left of [2, 10]) {
      const lab = rawLab(64, true)
      const { counters } = lab.host
      lab.send(behindHeadersFrame(lab.pair.b.mac, protocol, left, message))
      const text = `${name}, ${left} bytes in the first buffer`
      assert.is(counters.ipv6.received, 1, text)
      if (left < 8) assert.is(counters.ipv6.dropExtensionLength, 1, text)
      assert.is(counters.tcp.dropShort, protocol === 6 && left >= 8 ? 1 : 0, text)
      assert.is(counters.icmpv6.echoReplies, protocol === 58 && left >= 8 ? 1 : 0, text)
      lab.close()
    }
})

test('what the link gives is as long as its pieces say, in the order in which it was sent', () => {
  const pool = createPool(64)
  const pair = new MemoryPair({ poolA: pool, poolB: pool, mtu: MTU, pieceBytes: 1601 })
  const out = new TransmitBurst()
  const burst = new ReceiveBurst()
  const sizes = [60, 1601, 1602, 9014, 3202, 14]
  for (const [index, size] of sizes.entries()) {
    const chain = chainOf(pool, new Uint8Array(size).fill(index + 1), BUFFER_BYTES)
    out.clear()
    for (let meta = chain; meta !== NO_META; meta = pool.next(meta))
      out.push(pool.buffer(meta), 0, pool.dataLength(meta), pool.next(meta) === NO_META ? 0 : 1)
    assert.is(pair.a.transmit(out), 1)
    pool.releaseChain(chain)
  }
  assert.is(pair.b.receive(burst), sizes.length)
  const lengths: number[] = []
  let length = 0
  for (let at = 0; at < burst.count * 4; at += 4) {
    const buffer = burst.descriptors[at + D_BUFFER]!
    const isWhole = (burst.descriptors[at + 3]! & RX_MORE) === 0
    assert.is(pool.bufferBytes(buffer)[pool.bufferStart(buffer)], lengths.length + 1)
    length += burst.descriptors[at + D_LENGTH]!
    if (!isWhole) assert.is(burst.descriptors[at + D_LENGTH], 1601)
    if (isWhole) lengths.push(length)
    if (isWhole) length = 0
    pool.releaseBuffer(buffer)
  }
  assert.equal(lengths, sizes)
  pair.close()
  assert.is(pool.freeBuffers, pool.totalBuffers)
})

test.run()
