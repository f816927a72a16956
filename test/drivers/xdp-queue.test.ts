/**
 * One queue of an AF_XDP device against a model of the kernel, in memory, over all four rings at once: frames of one and of
 * several buffers come in and go out at random, in whatever bursts, while the indices pass 2^32. No descriptor and no
 * buffer is lost, doubled, or given to two owners.
 *
 *   fill ─► model: writes a frame ─► receive        transmit ─► model: sends it, any time later ─► completion
 */
import { constants } from 'node:os'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { XdpRing, XdpSocket } from 'xdp-napi'
import {
  D_BUFFER,
  D_LENGTH,
  D_OFFSET,
  DESCRIPTOR_WORDS,
  DeviceCounters,
  RECEIVE_BURST_DESCRIPTORS,
  RECEIVE_BURST_FRAMES,
  ReceiveBurst,
  receivedFrameEnd,
} from '../../drivers/device.ts'
import { XdpMemory } from '../../drivers/xdp-memory.ts'
import { XdpQueue } from '../../drivers/xdp-queue.ts'
import { NO_BUFFER } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { createPool } from '../support/virtual-link.ts'

const seed = announceSeed('xdp-queue', 23)
const STEPS = 6000
const BUFFERS = 512
const IDLE_TARGET = 48
const MAPPING_OFFSET = 8192
const HEADROOM_BYTES = 256
/** XDP_PKT_CONTD. */
const CONTINUED = 1
/** MAX_SKB_FRAGS and one. */
const PIECES_MAX = 18

/* Words of a ring of the model. */
const PRODUCER = 0
const CONSUMER = 1
const FLAGS = 2
const DESCRIPTORS = 16

function makeRing(entries: number, shift: number, start: number): XdpRing {
  const words = new Int32Array(DESCRIPTORS + (entries << shift))
  words[PRODUCER] = start
  words[CONSUMER] = start
  words[FLAGS] = 1 // it wants to be called
  return { words, producer: PRODUCER, consumer: CONSUMER, flags: FLAGS, descriptors: DESCRIPTORS, entries }
}

interface Piece {
  readonly address: string
  readonly length: number
  readonly more: boolean
}

/** The kernel's ends of the rings. Addresses are kept as text: of a u64, whatever its halves. */
class KernelModel {
  readonly fill: XdpRing
  readonly completion: XdpRing
  readonly rx: XdpRing
  readonly tx: XdpRing
  kicks = 0
  wakes = 0
  /** What it answers to both. */
  status = 0
  /** Chunks that it may write frames into, and pieces that it has not sent yet. */
  readonly chunks: string[] = []
  readonly sending: Piece[] = []

  constructor(entries: number, start: number) {
    this.fill = makeRing(entries, 1, start)
    this.completion = makeRing(entries, 1, start)
    this.rx = makeRing(entries, 2, start)
    this.tx = makeRing(entries, 2, start)
  }

  get socket(): XdpSocket {
    const { fill, completion, rx, tx } = this
    const kick = (): number => {
      this.kicks++
      return this.status
    }
    const wake = (): number => {
      this.wakes++
      return this.status
    }
    return { rings: { fill, completion, rx, tx }, kick, wake } as unknown as XdpSocket
  }

  /** Entries that the other side has published: the words of each. */
  private consume(ring: XdpRing, shift: number): Int32Array[] {
    const { words } = ring
    const taken: Int32Array[] = []
    for (let at = words[CONSUMER]!; at !== words[PRODUCER]!; at = (at + 1) | 0) {
      assert.ok(((words[PRODUCER]! - at) | 0) <= ring.entries, 'no more than the ring holds')
      const entry = DESCRIPTORS + (((at >>> 0) % ring.entries) << shift)
      taken.push(words.slice(entry, entry + (1 << shift)))
    }
    words[CONSUMER] = words[PRODUCER]!
    return taken
  }

  private produce(ring: XdpRing, shift: number, entries: readonly (readonly number[])[]): void {
    const { words } = ring
    for (const entry of entries) {
      const at = words[PRODUCER]!
      assert.ok(((at - words[CONSUMER]!) | 0) < ring.entries, 'the model keeps to the ring')
      words.set(entry, DESCRIPTORS + (((at >>> 0) % ring.entries) << shift))
      words[PRODUCER] = (at + 1) | 0
    }
  }

  room(ring: XdpRing): number {
    return ring.entries - ((ring.words[PRODUCER]! - ring.words[CONSUMER]!) | 0)
  }

  takeFill(): void {
    for (const [low, high] of this.consume(this.fill, 1)) {
      const chunk = `${high}:${low}`
      assert.not(this.chunks.includes(chunk), 'no chunk is offered twice')
      this.chunks.push(chunk)
    }
  }

  /** A frame comes in, in so many chunks: addresses and lengths as they are published. */
  receive(lengths: readonly number[]): Piece[] {
    const pieces = lengths.map((length, index) => {
      const [high, low] = this.chunks.shift()!.split(':').map(Number)
      const address = (low! | HEADROOM_BYTES) >>> 0
      return { address: `${high}:${address | 0}`, length, more: index < lengths.length - 1 }
    })
    this.produce(
      this.rx,
      2,
      pieces.map(({ address, length, more }) => {
        const [high, low] = address.split(':').map(Number)
        return [low!, high!, length, more ? CONTINUED : 0]
      }),
    )
    return pieces
  }

  takeTransmit(): Piece[] {
    const pieces = this.consume(this.tx, 2).map((words) => ({
      address: `${words[1]}:${words[0]}`,
      length: words[2]!,
      more: (words[3]! & CONTINUED) !== 0,
    }))
    this.sending.push(...pieces)
    return pieces
  }

  /** The first of what is being sent has left. */
  complete(count: number): void {
    const done = this.sending.splice(0, count)
    this.produce(
      this.completion,
      1,
      done.map(({ address }) => {
        const [high, low] = address.split(':').map(Number)
        return [low!, high!]
      }),
    )
  }
}

class Bench {
  readonly pool: Pool = createPool(BUFFERS)
  readonly counters = new DeviceCounters()
  readonly kernel: KernelModel
  readonly memory: XdpMemory
  readonly queue: XdpQueue

  constructor(entries: number, start: number, scatter = true, idleTarget = IDLE_TARGET) {
    this.kernel = new KernelModel(entries, start)
    this.memory = new XdpMemory(this.pool, [MAPPING_OFFSET])
    const { pool, memory, counters } = this
    const options = { name: 'xdp:model', pool, memory, counters, idleTarget, scatter, busyPolled: false }
    this.queue = new XdpQueue({ socket: this.kernel.socket, ...options })
  }

  /** @returns frames */
  receiveAndRelease(burst: ReceiveBurst): number {
    burst.count = 0
    const frames = this.queue.receive(burst, 0)
    for (let at = 0; at < burst.count * DESCRIPTOR_WORDS; at += DESCRIPTOR_WORDS)
      this.pool.releaseBuffer(burst.descriptors[at + D_BUFFER]!)
    return frames
  }

  addressOf(buffer: number, offset: number): string {
    const words = new Int32Array(2)
    this.memory.writeAddress(words, 0, buffer, offset)
    return `${words[1]}:${words[0]}`
  }
}

for (const entries of [64, 256]) {
  for (const start of [-700, 0x7ffffe00, 0]) {
    test(`nothing is lost or doubled in any ring: ${entries} entries from ${start >>> 0}`, () => {
      const random = seededRandom(seed + entries + (start >>> 0))
      const below = (count: number): number => (random() >>> 0) % count
      const bench = new Bench(entries, start | 0)
      const { pool, kernel, queue, counters } = bench
      const burst = new ReceiveBurst()
      const expected: Piece[][] = []
      const held: number[] = []
      let received = 0
      let sent = 0
      let completed = 0
      for (let step = 0; step < STEPS; step++) {
        const action = below(6)
        kernel.takeFill()
        if (action === 0 || action === 1) {
          for (let frames = below(20); frames > 0; frames--) {
            const count = below(4) === 0 ? 1 + below(6) : 1
            if (kernel.chunks.length < count || kernel.room(kernel.rx) < count) break
            expected.push(kernel.receive(Array.from({ length: count }, () => 60 + below(1700))))
          }
        } else if (action === 2 || action === 3) {
          burst.count = 0
          const frames = queue.receive(burst, 0)
          received += frames
          assert.ok(frames <= RECEIVE_BURST_FRAMES && burst.count <= RECEIVE_BURST_DESCRIPTORS)
          for (let at = 0; at < burst.count * DESCRIPTOR_WORDS; ) {
            const end = receivedFrameEnd(burst.descriptors, at)
            const wanted = expected.shift()!
            const got: Piece[] = []
            for (; at < end; at += DESCRIPTOR_WORDS) {
              const buffer = burst.descriptors[at + D_BUFFER]!
              assert.is(pool.bufferReferences(buffer), 1, 'the caller alone has it')
              const address = bench.addressOf(buffer, burst.descriptors[at + D_OFFSET]!)
              got.push({ address, length: burst.descriptors[at + D_LENGTH]!, more: at + DESCRIPTOR_WORDS < end })
              if (below(8) === 0) held.push(buffer)
              else pool.releaseBuffer(buffer)
            }
            assert.equal(got, wanted, 'frames come in order, whole, and as the kernel wrote them')
          }
          while (held.length > 100) pool.releaseBuffer(held.splice(below(held.length), 1)[0]!)
        } else if (action === 4) {
          const wanted: Piece[] = []
          for (let frames = below(12); frames > 0; frames--) {
            const count = 1 + below(PIECES_MAX)
            const descriptors = new Int32Array(count * DESCRIPTOR_WORDS)
            const pieces: Piece[] = []
            for (let piece = 0; piece < count; piece++) {
              if (held.length === 0) break
              const buffer = held[below(held.length)]!
              const offset = below(1000)
              const length = 1 + below(1000)
              descriptors.set([buffer, offset, length, piece < count - 1 ? 1 : 0], piece * DESCRIPTOR_WORDS)
              pieces.push({ address: bench.addressOf(buffer, offset), length, more: piece < count - 1 })
            }
            if (pieces.length < count) break
            if (!queue.send(descriptors, 0, (count - 1) * DESCRIPTOR_WORDS)) break
            wanted.push(...pieces)
            sent += count
          }
          queue.finishBurst()
          assert.equal(kernel.takeTransmit(), wanted, 'what is sent reaches the ring as it is, in order')
        } else {
          const count = Math.min(below(kernel.sending.length + 1), kernel.room(kernel.completion))
          completed += count
          kernel.complete(count)
        }
      }
      assert.ok(received > entries && sent > entries * 4 && completed > entries * 4, 'the rings went round')
      if (start < 0) assert.ok(kernel.fill.words[PRODUCER]! >= 0 && kernel.tx.words[PRODUCER]! >= 0, 'and past 2^32')

      while (kernel.sending.length > 0) {
        kernel.complete(Math.min(kernel.sending.length, kernel.room(kernel.completion)))
        received += bench.receiveAndRelease(burst)
      }
      received += bench.receiveAndRelease(burst)
      for (const buffer of held) pool.releaseBuffer(buffer)
      assert.is(pool.freeBuffers + queue.idle, pool.totalBuffers, 'every buffer is free, or the kernel may write it')
      bench.memory.releaseAll()
      assert.is(pool.freeBuffers, pool.totalBuffers)
      assert.is(counters.receivedFrames, received)
    })
  }
}

test('a frame that the kernel has not published to its end waits in the ring', () => {
  const bench = new Bench(64, -3)
  const { kernel, queue } = bench
  const burst = new ReceiveBurst()
  kernel.takeFill()
  kernel.receive([100])
  kernel.receive([1792, 1792, 50])
  const end = kernel.rx.words[PRODUCER]!
  for (let hidden = 3; hidden > 0; hidden--) {
    kernel.rx.words[PRODUCER] = (end - hidden) | 0
    assert.is(bench.receiveAndRelease(burst), hidden === 3 ? 1 : 0)
  }
  kernel.rx.words[PRODUCER] = end
  burst.count = 0
  assert.is(queue.receive(burst, 0), 1)
  assert.is(burst.count, 3)
})

test('the fill ring is kept full while the pool has buffers; when it runs dry that is counted, and it recovers', () => {
  const bench = new Bench(64, 0)
  const { kernel, queue, pool, counters } = bench
  const burst = new ReceiveBurst()
  const stored: number[] = []
  kernel.takeFill()
  assert.is(kernel.chunks.length, IDLE_TARGET)
  // Every frame is kept, as a store does that fills up.
  for (let round = 0; counters.receiveStarved === 0; round++) {
    assert.ok(round < BUFFERS, 'it ends')
    assert.is(kernel.chunks.length, IDLE_TARGET, 'the kernel has all that it is to have')
    kernel.receive([60])
    burst.count = 0
    assert.is(queue.receive(burst, 0), 1)
    stored.push(burst.descriptors[D_BUFFER]!)
    kernel.takeFill()
    if (kernel.chunks.length < IDLE_TARGET) break
  }
  assert.is(pool.freeBuffers, 0)
  // The rest of the ring serves those that are there, and a burst finds something in it to the last.
  while (kernel.chunks.length > 0) {
    kernel.receive([60])
    burst.count = 0
    assert.is(queue.receive(burst, 0), 1)
    stored.push(burst.descriptors[D_BUFFER]!)
    kernel.takeFill()
  }
  assert.ok(counters.receiveStarved > 0, 'starvation is counted')
  assert.is(stored.length, BUFFERS)
  const wakes = kernel.wakes
  for (const buffer of stored) pool.releaseBuffer(buffer)
  burst.count = 0
  queue.receive(burst, 0)
  kernel.takeFill()
  assert.is(kernel.chunks.length, IDLE_TARGET, 'full again')
  assert.ok(kernel.wakes > wakes, 'and the kernel is told')
})

test('a queue that is to have few buffers, and has them, does not starve', () => {
  const bench = new Bench(64, 0, true, 8)
  const { kernel, counters, pool } = bench
  const burst = new ReceiveBurst()
  for (let round = 0; round < 20; round++) {
    kernel.takeFill()
    for (let frame = 0; frame < 8; frame++) kernel.receive([60])
    assert.is(bench.receiveAndRelease(burst), 8)
  }
  assert.is(counters.receiveStarved, 0)
  for (let buffer = pool.allocateBuffer(); buffer !== NO_BUFFER; buffer = pool.allocateBuffer());
  kernel.takeFill()
  kernel.receive([60])
  bench.queue.receive(burst, 0)
  assert.is(counters.receiveStarved, 1)
})

/** Frames of one buffer each, sent and released: only the device holds them. */
function sendFrames({ pool, queue }: Bench, frames: number): void {
  for (let frame = 0; frame < frames; frame++) {
    const buffer = pool.allocateBuffer()
    assert.ok(queue.send(Int32Array.of(buffer, 0, 60, 0), 0, 0))
    pool.releaseBuffer(buffer)
  }
  queue.finishBurst()
}

test('frames that a kick left in the ring are kicked again, though nothing is sent behind them', () => {
  const bench = new Bench(64, -2)
  const { kernel, pool, queue } = bench
  const burst = new ReceiveBurst()
  sendFrames(bench, 3)
  assert.is(kernel.kicks, 1)
  // The interface was busy and took none.
  bench.receiveAndRelease(burst)
  assert.is(kernel.kicks, 2)
  kernel.takeTransmit()
  bench.receiveAndRelease(burst)
  assert.is(kernel.kicks, 2, 'what is taken is not kicked')
  kernel.complete(3)
  bench.receiveAndRelease(burst)
  assert.is(pool.freeBuffers + queue.idle, pool.totalBuffers)
})

test('a driver that fell asleep behind a full fill ring is woken, one that is awake is left alone', () => {
  const bench = new Bench(64, 0)
  const { kernel, queue } = bench
  const burst = new ReceiveBurst()
  assert.is(queue.idle, IDLE_TARGET, 'nothing is to be added')
  kernel.fill.words[FLAGS] = 0
  const wakes = kernel.wakes
  bench.receiveAndRelease(burst)
  assert.is(kernel.wakes, wakes)
  kernel.fill.words[FLAGS] = 1
  bench.receiveAndRelease(burst)
  assert.is(kernel.wakes, wakes + 1)
})

test('an interface that was deleted is an error with the next frame to send, one that is down is none', () => {
  const bench = new Bench(64, 0)
  const { kernel } = bench
  kernel.status = -constants.errno.ENETDOWN
  sendFrames(bench, 1)
  kernel.status = -constants.errno.ENXIO
  assert.throws(
    () => sendFrames(bench, 1),
    (error: { code?: string }) => error.code === 'DEVICE_GONE',
  )
})

test.run()
