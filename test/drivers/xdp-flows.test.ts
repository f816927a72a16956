/** Flows and queues, in memory: an answer leaves on the queue that its flow came in on, whatever else comes in between. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DESCRIPTOR_WORDS } from '../../drivers/device.ts'
import { XdpFlows } from '../../drivers/xdp-flows.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { createPool } from '../support/virtual-link.ts'

const seed = announceSeed('xdp-flows', 3)
const AT_IPV4_ADDRESSES = 26
const AT_IPV6_ADDRESSES = 22

interface Flow {
  readonly isIpv4: boolean
  readonly theirs: Buffer
  readonly ours: Buffer
  readonly ports: Buffer
  readonly protocol: number
}

/** A frame of the flow, from them or to them. */
function frameOf(flow: Flow, fromThem: boolean, optionBytes = 0): Buffer {
  const size = flow.isIpv4 ? 4 : 16
  const ip = flow.isIpv4 ? 20 + optionBytes : 40
  const frame = Buffer.alloc(14 + ip + 8)
  frame.writeUInt16BE(flow.isIpv4 ? 0x0800 : 0x86dd, 12)
  frame[14] = flow.isIpv4 ? 0x40 | (ip / 4) : 0x60
  frame[flow.isIpv4 ? 23 : 20] = flow.protocol
  const at = flow.isIpv4 ? AT_IPV4_ADDRESSES : AT_IPV6_ADDRESSES
  const [source, destination] = fromThem ? [flow.theirs, flow.ours] : [flow.ours, flow.theirs]
  source.copy(frame, at)
  destination.copy(frame, at + size)
  const [first, second] = fromThem ? [0, 2] : [2, 0]
  flow.ports.copy(frame, 14 + ip, first, first + 2)
  flow.ports.copy(frame, 14 + ip + 2, second, second + 2)
  return frame
}

class Bench {
  readonly pool = createPool(4)
  readonly buffer = this.pool.allocateBuffer()
  readonly flows = new XdpFlows(this.pool)
  private readonly descriptor = new Int32Array(DESCRIPTOR_WORDS)

  private place(frame: Buffer): Int32Array {
    this.pool.bufferBytes(this.buffer).set(frame, this.pool.bufferStart(this.buffer) + 256)
    this.descriptor.set([this.buffer, 256, frame.length, 0])
    return this.descriptor
  }

  receive(frame: Buffer, queue: number): void {
    this.flows.received(this.place(frame), 0, queue)
  }

  queueOf(frame: Buffer): number {
    return this.flows.queueOf(this.place(frame), 0)
  }
}

function randomFlow(random: () => number): Flow {
  const isIpv4 = (random() & 1) === 0
  const bytes = (count: number): Buffer => Buffer.from(Array.from({ length: count }, () => random() & 0xff))
  const size = isIpv4 ? 4 : 16
  return {
    isIpv4,
    theirs: bytes(size),
    ours: bytes(size),
    ports: bytes(4),
    protocol: (random() & 1) === 0 ? 6 : 17,
  }
}

test('what is sent to a flow leaves where the flow came in, and moves with it', () => {
  const random = seededRandom(seed)
  const bench = new Bench()
  for (let round = 0; round < 2000; round++) {
    const flow = randomFlow(random)
    const options = flow.isIpv4 ? (random() & 3) * 4 : 0
    for (const queue of [(random() & 7) + 1, (random() & 7) + 1]) {
      bench.receive(frameOf(flow, true, options), queue)
      assert.is(bench.queueOf(frameOf(flow, false)), queue)
    }
  }
})

test('a thousand flows at a time seldom share an entry', () => {
  const random = seededRandom(seed + 1)
  const bench = new Bench()
  const flows = Array.from({ length: 1000 }, () => randomFlow(random))
  flows.forEach((flow, index) => {
    bench.receive(frameOf(flow, true), index % 64)
  })
  const kept = flows.filter((flow, index) => bench.queueOf(frameOf(flow, false)) === index % 64)
  assert.ok(kept.length > 930, `${kept.length} of 1000 flows kept their queue`)
})

test('many ports of one client spread as well', () => {
  const bench = new Bench()
  const flow = randomFlow(seededRandom(seed + 2))
  const ports = Array.from({ length: 1000 }, (_, index) => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt16BE(32768 + index, 0)
    bytes.writeUInt16BE(80, 2)
    return { ...flow, protocol: 6, ports: bytes }
  })
  ports.forEach((one, index) => {
    bench.receive(frameOf(one, true), index % 64)
  })
  const kept = ports.filter((one, index) => bench.queueOf(frameOf(one, false)) === index % 64)
  assert.ok(kept.length > 930, `${kept.length} of 1000 flows kept their queue`)
})

test('ARP, short frames and flows that nobody heard of leave on the first queue', () => {
  const bench = new Bench()
  const arp = Buffer.alloc(60)
  arp.writeUInt16BE(0x0806, 12)
  bench.receive(arp, 5)
  assert.is(bench.queueOf(arp), 0)
  const flow = randomFlow(seededRandom(seed + 3))
  assert.is(bench.queueOf(frameOf(flow, false)), 0)
  for (let length = 0; length < 60; length++) {
    bench.receive(frameOf(flow, true).subarray(0, length), 0)
    bench.queueOf(frameOf(flow, false).subarray(0, length))
  }
})

test.run()
