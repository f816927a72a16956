/** Frames larger than a buffer, both ways, over a veth pair whose MTU is 9000: whole, in order, and nothing is lost of them. */
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import {
  D_BUFFER,
  D_LENGTH,
  D_OFFSET,
  DESCRIPTOR_WORDS,
  RECEIVE_BURST_FRAMES,
  ReceiveBurst,
  RX_PIECE_BYTES_MIN,
  receivedFrameEnd,
  TransmitBurst,
} from '../../drivers/device.ts'
import type { XdpDevice } from '../../drivers/xdp.ts'
import { XDP_BUFFER_MTU, XDP_MTU_MAX } from '../../drivers/xdp-memory.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { command, lacksXdpPair, PEER, withSocket, XdpPair } from '../support/xdp-pair.ts'

const test = privateNetworkSuite('xdp fragments', import.meta.url, { missing: lacksXdpPair })
const seed = announceSeed('xdp fragments', 17)

const MTU = 9000
const HEADER_BYTES = 42
const PAYLOAD_BYTES_MAX = MTU - 28

let pair: XdpPair

test.before(() => {
  pair = new XdpPair(2)
  command(`ip link set pr-a mtu ${MTU}`)
  setMtu(MTU)
})

test.after(() => pair?.close())

/** Of both ends: the driver of veth looks at what the other end may send. */
function setMtu(mtu: number): void {
  for (const end of ['pr-a', 'pr-b']) command(`ip link set ${end} mtu ${mtu}`)
}

function randomText(random: () => number, length: number): string {
  let text = `${length}:`
  while (text.length < length) text += (random() >>> 0).toString(36)
  return text.slice(0, length)
}

/** The payloads of a burst; their buffers go back. */
function payloadsOf(burst: ReceiveBurst): string[] {
  const { pool } = pair.region
  const payloads: string[] = []
  const { descriptors } = burst
  for (let at = 0; at < burst.count * DESCRIPTOR_WORDS; ) {
    const end = receivedFrameEnd(descriptors, at)
    const pieces: Buffer[] = []
    for (; at < end; at += DESCRIPTOR_WORDS) {
      const buffer = descriptors[at + D_BUFFER]!
      const start = pool.bufferStart(buffer) + descriptors[at + D_OFFSET]!
      const length = descriptors[at + D_LENGTH]!
      pieces.push(Buffer.from(pool.bufferBytes(buffer).slice(start, start + length)))
      if (at + DESCRIPTOR_WORDS < end) assert.ok(length >= RX_PIECE_BYTES_MIN, `a piece of ${length} bytes`)
      pool.releaseBuffer(buffer)
    }
    payloads.push(Buffer.concat(pieces).subarray(HEADER_BYTES).toString('latin1'))
  }
  return payloads
}

async function receiveAll(device: XdpDevice, count: number): Promise<string[]> {
  const burst = new ReceiveBurst()
  const payloads: string[] = []
  const deadline = performance.now() + 2000
  while (payloads.length < count && performance.now() < deadline) {
    const frames = device.receive(burst)
    const got = payloadsOf(burst)
    assert.is(frames, got.length, 'receive says how many frames there are')
    assert.ok(frames <= RECEIVE_BURST_FRAMES)
    payloads.push(...got)
    if (frames === 0) await sleep(1)
  }
  return payloads
}

for (const timestamps of ['software', 'hardware'] as const) {
  test(`frames of all sizes arrive whole, with times of ${timestamps}`, async () => {
    const random = seededRandom(seed)
    await withSocket('udp4', (socket) =>
      pair.withDevice(
        async (device) => {
          const edges = [
            1,
            1750,
            1751,
            1752,
            1792 - HEADER_BYTES,
            1793 - HEADER_BYTES,
            3584 - HEADER_BYTES,
            PAYLOAD_BYTES_MAX,
          ]
          let sent: string[] = []
          let all = 0
          for (let round = 0; round < 30; round++) {
            sent = Array.from({ length: 20 }, (_, index) => {
              const length =
                round === 0 && index < edges.length ? edges[index]! : 1 + ((random() >>> 0) % PAYLOAD_BYTES_MAX)
              return randomText(random, length)
            })
            for (const text of sent) socket.send(text, 9, PEER)
            const got = await receiveAll(device, sent.length)
            assert.equal(got.map((text) => text.length).sort(), sent.map((text) => text.length).sort())
            assert.equal(got.sort(), sent.sort())
            all += got.length
          }
          assert.is(device.counters.receivedFrames, all)
          const { dropped, invalidReceive, receiveRingFull } = device.readStatistics()
          assert.equal([dropped, invalidReceive, receiveRingFull], [0, 0, 0])
        },
        { queues: [0, 1], timestamps },
      ),
    )
  })
}

for (const pieces of [1, 2, 7, 18, 19, 40, 64]) {
  test(`frames of ${pieces} piece(s) of any sizes leave whole`, async () => {
    const random = seededRandom(seed + pieces)
    await withSocket('udp4', (socket) =>
      pair.withDevice(async (device) => {
        const got: string[] = []
        socket.on('message', (message) => got.push(message.toString('latin1')))
        const sent: string[] = []
        for (let round = 0; round < 25; round++) {
          const burst = new TransmitBurst()
          const buffers: number[] = []
          // Each piece is a page to the kernel's socket, whose queue is short.
          for (let index = 0; index < 2; index++) {
            const most = Math.min(PAYLOAD_BYTES_MAX, pieces * 1500)
            const text = randomText(random, pieces + ((random() >>> 0) % (most - pieces)))
            buffers.push(...pair.pushPieces(device, burst, text, pieces, random))
            sent.push(text)
          }
          assert.is(device.transmit(burst), 2)
          for (const buffer of buffers) pair.region.pool.releaseBuffer(buffer)
          for (let wait = 0; wait < 200 && got.length < sent.length; wait++) await sleep(1)
        }
        assert.is(
          got.findIndex((text, index) => text !== sent[index]),
          -1,
          'in order, byte for byte',
        )
        assert.is(got.length, sent.length)
        const bytes = sent.reduce((sum, text) => sum + HEADER_BYTES + text.length, 0)
        assert.is(device.readStatistics().bytesGathered, pieces > 18 ? bytes : 0)
        device.receive(new ReceiveBurst())
        assert.is(
          pair.region.pool.freeBuffers + device.idleBuffers,
          pair.region.pool.totalBuffers,
          'all completions came',
        )
      }),
    )
  })
}

test('an MTU that fits one buffer is served as before; one that passes what a frame can hold is refused', async () => {
  for (const mtu of [XDP_BUFFER_MTU, XDP_BUFFER_MTU + 1, XDP_MTU_MAX]) {
    setMtu(mtu)
    await pair.withDevice((device) => assert.is(device.capabilities.mtu, mtu))
  }
  setMtu(XDP_MTU_MAX + 1)
  assert.match(pair.refusal({}).message, /MTU of 32239, too large for AF_XDP; set it to 32238 or less/)
  setMtu(MTU)
})

test.run()
