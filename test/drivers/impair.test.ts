/** The impairment device over a link in memory, in virtual time: each impairment alone, then all of them together. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { D_BUFFER, D_LENGTH, D_OFFSET, D_SUM, ReceiveBurst, TransmitBurst, TX_MORE } from '../../drivers/device.ts'
import { ImpairDevice } from '../../drivers/impair.ts'
import { parseImpairment } from '../../drivers/impairment-spec.ts'
import { MemoryPair } from '../../drivers/memory-pair.ts'
import { SeededRandom } from '../../stack/random.ts'
import { sumBytes } from '../../storage/checksum.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { createPool } from '../support/virtual-link.ts'

const seed = announceSeed('impair', 47)
const START_US = 5_000_000
const BUFFERS = 2048
const FRAME_BYTES = 100

/** The impaired end `near`, the plain end `far`, and frames that carry their number. */
class Lab {
  nowUs = START_US
  readonly nearPool = createPool(BUFFERS)
  readonly farPool = createPool(BUFFERS)
  readonly pair = new MemoryPair({ poolA: this.nearPool, poolB: this.farPool, queueLimit: 4096 })
  readonly device: ImpairDevice
  private readonly burst = new ReceiveBurst()

  constructor(spec: string, heldBuffersMax = BUFFERS / 2, clockUs?: () => number) {
    this.device = new ImpairDevice({
      device: this.pair.a,
      pool: this.nearPool,
      impairment: parseImpairment(spec),
      createRandom: (value) => {
        const random = new SeededRandom(value)
        return () => random.next()
      },
      heldBuffersMax,
      ...(clockUs !== undefined && { clockUs }),
    })
    this.device.setNow(this.nowUs)
  }

  advance(us: number): void {
    this.nowUs += us
    this.device.setNow(this.nowUs)
  }

  /** The far end sends; the impaired end takes it in at the next `receive`. */
  sendFromFar(frame: Buffer): void {
    transmit(this.farPool, this.pair.b, [frame])
  }

  /** The impaired end sends, in pieces. Its own references are gone when this returns. */
  sendFromNear(...pieces: Buffer[]): void {
    transmit(this.nearPool, this.device, pieces)
  }

  receiveNear(): { frame: Buffer; sum: number; buffer: number }[] {
    const { device, burst, nearPool: pool } = this
    const frames: { frame: Buffer; sum: number; buffer: number }[] = []
    while (device.receive(burst) > 0)
      for (let at = 0; at < burst.count * 4; at += 4) {
        const buffer = burst.descriptors[at + D_BUFFER]!
        const start = pool.bufferStart(buffer) + burst.descriptors[at + D_OFFSET]!
        const bytes = pool.bufferBytes(buffer).slice(start, start + burst.descriptors[at + D_LENGTH]!)
        frames.push({ frame: Buffer.from(bytes), sum: burst.descriptors[at + D_SUM]!, buffer })
      }
    for (const { buffer } of frames) pool.releaseBuffer(buffer)
    return frames
  }

  receiveFar(): Buffer[] {
    const { burst, farPool: pool } = this
    const frames: Buffer[] = []
    // The impaired end sends what is due when it is called.
    this.device.receive(burst)
    assert.is(burst.count, 0)
    while (this.pair.b.receive(burst) > 0)
      for (let at = 0; at < burst.count * 4; at += 4) {
        const buffer = burst.descriptors[at + D_BUFFER]!
        const start = pool.bufferStart(buffer)
        frames.push(Buffer.from(pool.bufferBytes(buffer).slice(start, start + burst.descriptors[at + D_LENGTH]!)))
        pool.releaseBuffer(buffer)
      }
    return frames
  }

  close(): void {
    this.device.close()
    this.pair.b.close()
    assert.is(this.nearPool.freeBuffers, this.nearPool.totalBuffers, 'every buffer of the impaired end is back')
    assert.is(this.farPool.freeBuffers, this.farPool.totalBuffers, 'every buffer of the far end is back')
  }
}

function transmit(
  pool: ReturnType<typeof createPool>,
  device: { transmit(burst: TransmitBurst): number },
  pieces: readonly Buffer[],
): void {
  const burst = new TransmitBurst()
  for (const [index, bytes] of pieces.entries()) {
    const buffer = pool.allocateBuffer()
    pool.bufferBytes(buffer).set(bytes, pool.bufferStart(buffer) + index)
    burst.push(buffer, index, bytes.length, index + 1 < pieces.length ? TX_MORE : 0)
  }
  assert.is(device.transmit(burst), 1)
  for (let index = 0; index < burst.count; index++) {
    const buffer = burst.descriptors[index * 4 + D_BUFFER]!
    pool.releaseBuffer(buffer)
    // Whoever gets the buffer next writes into it: a frame on its way must not notice.
    if (pool.bufferReferences(buffer) === 0)
      pool.bufferBytes(buffer).fill(0xee, pool.bufferStart(buffer), pool.bufferStart(buffer) + 64)
  }
}

/** An IPv4 frame (by its type) that carries a number. */
function numbered(number: number, bytes = FRAME_BYTES, type = 0x0800): Buffer {
  const frame = Buffer.alloc(bytes, number)
  frame.writeUInt16BE(type, 12)
  frame.writeUInt32BE(number, 14)
  return frame
}

function numberOf(frame: Buffer): number {
  return frame.readUInt32BE(14)
}

/** Numbers of the frames that arrive of `count` sent towards the impaired end, in order of arrival. */
function arrivals(spec: string, count: number, gapUs = 10, alsoSend = false): number[] {
  const lab = new Lab(spec)
  const numbers: number[] = []
  for (let number = 0; number < count; number++) {
    lab.sendFromFar(numbered(number))
    if (alsoSend) lab.sendFromNear(numbered(number))
    for (const { frame } of lab.receiveNear()) numbers.push(numberOf(frame))
    if (alsoSend) lab.receiveFar()
    lab.advance(gapUs)
  }
  lab.advance(10_000_000)
  for (const { frame } of lab.receiveNear()) numbers.push(numberOf(frame))
  lab.close()
  return numbers
}

function sequence(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}

test('a frame that leaves at the end of a long turn is not ahead of its time, where there is a clock', () => {
  for (const [clock, atUs] of [
    [undefined, 1000],
    [() => START_US + 400, 1400],
  ] as const) {
    const lab = new Lab('delay=1ms', undefined, clock)
    lab.sendFromNear(Buffer.alloc(FRAME_BYTES))
    lab.advance(atUs - 1)
    assert.is(lab.receiveFar().length, 0)
    lab.advance(1)
    assert.is(lab.receiveFar().length, 1)
    lab.close()
  }
})

test('a perfect link passes frames in the turn in which they come, both ways', () => {
  const lab = new Lab('loss=0%')
  lab.sendFromFar(numbered(1))
  const [received] = lab.receiveNear()
  assert.ok(received!.frame.equals(numbered(1)))
  lab.sendFromNear(numbered(2).subarray(0, 40), numbered(2).subarray(40, 41), numbered(2).subarray(41))
  assert.equal(lab.receiveFar(), [numbered(2)])
  assert.is(lab.device.nextDeadlineUs(), Number.POSITIVE_INFINITY)
  assert.is(lab.device.heldBuffers, 0)
  lab.close()
})

test('a delayed frame arrives when it is due, not a microsecond before, and the deadline says so', () => {
  const lab = new Lab('rx:delay=3ms;tx:delay=5ms')
  lab.sendFromFar(numbered(1))
  assert.is(lab.receiveNear().length, 0)
  assert.is(lab.device.nextDeadlineUs(), START_US + 3000)
  lab.sendFromNear(numbered(2).subarray(0, 50), numbered(2).subarray(50))
  assert.is(lab.device.heldBuffers, 3)
  lab.advance(2999)
  assert.is(lab.receiveNear().length, 0)
  lab.advance(1)
  assert.is(lab.receiveNear().length, 1)
  assert.is(lab.device.nextDeadlineUs(), START_US + 5000)
  lab.advance(1999)
  assert.equal(lab.receiveFar(), [])
  lab.advance(1)
  assert.equal(lab.receiveFar(), [numbered(2)])
  lab.close()
})

test('jitter varies the delay within its bounds and never reorders', () => {
  const lab = new Lab('delay=10ms,jitter=4ms')
  const delays: number[] = []
  const sentUs = new Map<number, number>()
  const order: number[] = []
  for (let step = 0; step < 40_000; step++) {
    if (step % 100 === 0 && step < 30_000) {
      sentUs.set(sentUs.size, lab.nowUs)
      lab.sendFromFar(numbered(sentUs.size - 1))
    }
    for (const { frame } of lab.receiveNear()) {
      order.push(numberOf(frame))
      delays.push(lab.nowUs - sentUs.get(numberOf(frame))!)
    }
    lab.advance(50)
  }
  assert.equal(order, sequence(300))
  assert.ok(Math.min(...delays) >= 6000 && Math.min(...delays) < 6500, `shortest ${Math.min(...delays)} us`)
  assert.ok(Math.max(...delays) <= 14_050 && Math.max(...delays) > 13_000, `longest ${Math.max(...delays)} us`)
  lab.close()
})

test('a rate spaces frames by their length, and its queue takes no more than it should', () => {
  // 1 MB/s: 1000 bytes take 1 ms. One frame is on the wire; 3 wait.
  const lab = new Lab('rate=8mbit,queue=3500')
  for (let number = 0; number < 8; number++) lab.sendFromFar(numbered(number, 1000))
  const arrived: [number, number][] = []
  for (let step = 0; step < 60; step++) {
    for (const { frame } of lab.receiveNear()) arrived.push([numberOf(frame), lab.nowUs - START_US])
    lab.advance(100)
  }
  assert.equal(arrived, [
    [0, 1000],
    [1, 2000],
    [2, 3000],
  ])
  assert.is(lab.device.paths.rx.queueFull, 5)
  // The link was idle since: no credit is left over from that.
  lab.sendFromFar(numbered(9, 500))
  lab.receiveNear()
  assert.is(lab.device.nextDeadlineUs(), lab.nowUs + 500)
  lab.advance(500)
  lab.close()
})

test('at the end all that was sent and is still on its way arrives, be it many bursts, with a clock of its own as well', () => {
  for (const clockUs of [undefined, () => START_US]) {
    const lab = new Lab('tx:delay=50ms', BUFFERS / 2, clockUs)
    for (const number of sequence(1020)) lab.sendFromNear(numbered(number))
    assert.is(lab.device.heldBuffers, 1020)
    lab.device.close()
    assert.is(lab.pair.b.pendingFrames, 1020)
    lab.close()
  }
})

test('loss hits the given share, the same frames for the same seed, whatever the other direction does', () => {
  const first = arrivals(`loss=10%,seed=${seed}`, 5000)
  const lost = 5000 - first.length
  assert.ok(lost > 400 && lost < 600, `${lost} of 5000 lost`)
  assert.equal(arrivals(`loss=10%,seed=${seed}`, 5000), first)
  assert.equal(arrivals(`loss=10%,seed=${seed}`, 5000, 777, true), first)
  assert.not.equal(arrivals(`loss=10%,seed=${seed + 1}`, 5000), first)
})

test('bursts lose runs of frames, as long as the model says', () => {
  const arrived = new Set(arrivals(`burst=1%/25%,seed=${seed}`, 20_000))
  const runs: number[] = []
  let run = 0
  for (const number of sequence(20_000)) {
    if (!arrived.has(number)) run++
    else if (run > 0) {
      runs.push(run)
      run = 0
    }
  }
  const lost = 20_000 - arrived.size
  // Stationary share of the bad state: 1 / (1 + 25); mean run: 1 / 25 %.
  assert.ok(lost > 600 && lost < 950, `${lost} of 20000 lost`)
  const mean = lost / runs.length
  assert.ok(mean > 3.4 && mean < 4.6, `runs of ${mean}`)
})

test('reordered frames come later by their extra delay and lose nothing', () => {
  const numbers = arrivals(`delay=1ms,reorder=5%/500us,seed=${seed}`, 1000, 100)
  assert.equal(
    numbers.toSorted((a, b) => a - b),
    sequence(1000),
  )
  const overtaken = numbers.filter((number, place) => numbers.slice(place + 1).some((later) => later < number)).length
  assert.ok(overtaken > 100, `${overtaken} frames overtook another`)
  // 500 us at one frame each 100 us: a late frame is overtaken by 5 at most.
  for (const [place, number] of numbers.entries()) assert.ok(Math.abs(place - number) <= 5)
})

test('a duplicate is the same frame in a buffer of its own, received or sent', () => {
  const lab = new Lab('dup=100%,delay=1ms')
  lab.sendFromFar(numbered(3))
  lab.receiveNear()
  lab.sendFromNear(numbered(4).subarray(0, 60), numbered(4).subarray(60))
  lab.advance(1000)
  const received = lab.receiveNear()
  assert.equal(
    received.map(({ frame }) => frame),
    [numbered(3), numbered(3)],
  )
  assert.is.not(received[0]!.buffer, received[1]!.buffer)
  assert.equal(lab.receiveFar(), [numbered(4), numbered(4)])
  assert.is(lab.device.paths.rx.duplicated, 1)
  assert.is(lab.device.paths.tx.duplicated, 1)
  lab.close()
})

function differingBits(a: Buffer, b: Buffer): number[] {
  const bits: number[] = []
  for (let bit = 0; bit < a.length * 8; bit++) if (((a[bit >> 3]! ^ b[bit >> 3]!) >> (bit & 7)) & 1) bits.push(bit)
  return bits
}

test('corruption flips one bit of the packet; the sum is that of the bytes; what is sent stays whole at its sender', () => {
  const lab = new Lab('corrupt=100%')
  const places = new Set<number>()
  for (let number = 0; number < 200; number++) {
    lab.sendFromFar(numbered(number))
    const { frame, sum } = lab.receiveNear()[0]!
    const bits = differingBits(frame, numbered(number))
    assert.is(bits.length, 1)
    assert.ok(bits[0]! >= 14 * 8, 'the Ethernet header is whole')
    places.add(bits[0]!)
    assert.is(sum, sumBytes(new DataView(frame.buffer, frame.byteOffset), 14, frame.length - 14))
  }
  assert.ok(places.size > 100, 'bits all over the packet')

  const { nearPool: pool } = lab
  const buffer = pool.allocateBuffer()
  const start = pool.bufferStart(buffer)
  pool.bufferBytes(buffer).set(numbered(5), start)
  const burst = new TransmitBurst()
  burst.push(buffer, 0, 70, TX_MORE)
  burst.push(buffer, 70, 30, 0)
  lab.device.transmit(burst)
  assert.ok(Buffer.from(pool.bufferBytes(buffer).slice(start, start + FRAME_BYTES)).equals(numbered(5)))
  assert.is(differingBits(lab.receiveFar()[0]!, numbered(5)).length, 1)
  pool.releaseBuffer(buffer)
  lab.close()
})

test('frames without a checksum of their own, such as ARP, are not corrupted', () => {
  const lab = new Lab('corrupt=100%')
  lab.sendFromFar(numbered(1, 60, 0x0806))
  assert.ok(lab.receiveNear()[0]!.frame.equals(numbered(1, 60, 0x0806)))
  lab.sendFromNear(numbered(2, 60, 0x0806))
  assert.equal(lab.receiveFar(), [numbered(2, 60, 0x0806)])
  assert.is(lab.device.paths.rx.corrupted + lab.device.paths.tx.corrupted, 0)
  lab.close()
})

test('packets over the MTU vanish; those of just that length pass', () => {
  const lab = new Lab('mtu=500')
  lab.sendFromNear(numbered(1, 515))
  lab.sendFromNear(numbered(2, 514))
  assert.equal(lab.receiveFar().map(numberOf), [2])
  assert.is(lab.device.paths.tx.tooLong, 1)
  lab.close()
})

test('frames on their way never hold more than their share of the pool', () => {
  const lab = new Lab('delay=1s', 64)
  for (let number = 0; number < 100; number++) {
    lab.sendFromFar(numbered(number))
    lab.receiveNear()
    lab.sendFromNear(numbered(number).subarray(0, 50), numbered(number).subarray(50))
  }
  assert.ok(lab.device.heldBuffers > 60 && lab.device.heldBuffers <= 64)
  assert.is(lab.nearPool.totalBuffers - lab.nearPool.freeBuffers, lab.device.heldBuffers)
  const { rx, tx } = lab.device.paths
  assert.is(100 - rx.heldFull + 2 * (100 - tx.heldFull), lab.device.heldBuffers)
  lab.close()
})

test('closing sends what was on its way out and frees what was on its way in', () => {
  const lab = new Lab('delay=1s,reorder=50%,dup=20%')
  for (let number = 0; number < 20; number++) {
    lab.sendFromFar(numbered(number))
    lab.receiveNear()
    lab.sendFromNear(numbered(number).subarray(0, 50), numbered(number).subarray(50))
  }
  assert.ok(lab.device.heldBuffers > 60)
  lab.device.close()
  assert.is(lab.nearPool.freeBuffers, lab.nearPool.totalBuffers)
  assert.is(lab.pair.b.pendingFrames, 20 + lab.device.paths.tx.duplicated)
  lab.close()
})

test('any mixture, both ways: what arrives was sent, counts add up, no buffer is lost', () => {
  const random = seededRandom(seed)
  const pick = (limit: number): number => (random() >>> 0) % limit
  for (let round = 0; round < 60; round++) {
    const spec = [
      `delay=${2000 + pick(20_000)}us,jitter=${pick(2000)}us,loss=${pick(20)}%,burst=${pick(5)}%/30%,reorder=${pick(50)}%/${pick(9)}ms`,
      `rate=${1 + pick(100)}mbit,queue=${2000 + pick(60_000)},dup=${pick(20)}%,corrupt=${pick(20)}%,mtu=${400 + pick(1000)}`,
      `seed=${1 + pick(1_000_000)}`,
    ].join(',')
    const lab = new Lab(spec, 16 + pick(512))
    const received = { rx: 0, tx: 0 }
    const turn = (): void => {
      received.rx += lab.receiveNear().length
      received.tx += lab.pair.b.pendingFrames
      while (lab.pair.b.pendingFrames > 0) lab.receiveFar()
    }
    for (let number = 0; number < 200; number++) {
      const frame = numbered(number, 60 + pick(1400))
      if (pick(2) === 0) lab.sendFromFar(frame)
      else lab.sendFromNear(frame.subarray(0, 20), frame.subarray(20, 33), frame.subarray(33))
      turn()
      lab.advance(pick(500))
    }
    lab.advance(100_000_000)
    turn()
    for (const direction of ['rx', 'tx'] as const) {
      const { frames, lost, queueFull, tooLong, heldFull, duplicated } = lab.device.paths[direction]
      // A copy that found no room counts as held back too: heldFull is at least what it dropped of the frames.
      const least = frames - lost - queueFull - tooLong - heldFull + duplicated
      const most = frames - lost - queueFull - tooLong + duplicated
      assert.ok(received[direction] >= least && received[direction] <= most, `${direction} ${spec}`)
    }
    assert.is(lab.device.heldBuffers, 0)
    assert.is(lab.device.nextDeadlineUs(), Number.POSITIVE_INFINITY)
    lab.close()
  }
})

test.run()
