import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { D_BUFFER, D_LENGTH, D_OFFSET, D_SUM, ReceiveBurst, TransmitBurst, TX_MORE } from '../../drivers/device.ts'
import { type LinkDirection, type LinkVerdict, MemoryPair } from '../../drivers/memory-pair.ts'
import { BUFFER_BYTES, LINE_BYTES } from '../../storage/layout.ts'
import { Pool } from '../../storage/pool.ts'

const POOL_BUFFERS = 64

function makePool(): Pool {
  const pool = new Pool(
    [{ memory: new ArrayBuffer(POOL_BUFFERS * (LINE_BYTES + BUFFER_BYTES)), buffers: POOL_BUFFERS }],
    1,
  )
  pool.buildFreeLists()
  return pool
}

/** Puts bytes into a new buffer and returns it; the caller owns the reference. */
function store(pool: Pool, bytes: Uint8Array, offset = 0): number {
  const buffer = pool.allocateBuffer()
  pool.bufferBytes(buffer).set(bytes, pool.bufferStart(buffer) + offset)
  return buffer
}

function frameOf(length: number, mark: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + mark) & 0xff)
}

function received(pool: Pool, burst: ReceiveBurst, frame: number): Uint8Array {
  const at = frame * 4
  const start = pool.bufferStart(burst.descriptors[at + D_BUFFER]!) + burst.descriptors[at + D_OFFSET]!
  return pool.bufferBytes(burst.descriptors[at + D_BUFFER]!).slice(start, start + burst.descriptors[at + D_LENGTH]!)
}

/** The sum as RFC 1071 defines it, byte by byte. */
function slowSum(bytes: Uint8Array): number {
  let sum = 0
  for (const [index, byte] of bytes.entries()) sum += index & 1 ? byte : byte << 8
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return sum
}

/** A pair, and functions that send one marked frame from a to b and read the marks that arrived. */
function setUp(filter?: (frame: Uint8Array, direction: LinkDirection, index: number) => LinkVerdict, queueLimit = 16) {
  const poolA = makePool()
  const poolB = makePool()
  const pair = new MemoryPair({ poolA, poolB, queueLimit, ...(filter && { filter }) })
  const burst = new TransmitBurst()
  const arrived = new ReceiveBurst()
  const send = (mark: number, length = 60): number => {
    const buffer = store(poolA, frameOf(length, mark))
    burst.clear()
    burst.push(buffer, 0, length, 0)
    const sent = pair.a.transmit(burst)
    poolA.releaseBuffer(buffer)
    return sent
  }
  const receiveMarks = (): number[] => {
    const marks: number[] = []
    pair.b.receive(arrived)
    for (let frame = 0; frame < arrived.count; frame++) {
      marks.push(received(poolB, arrived, frame)[0]!)
      poolB.releaseBuffer(arrived.descriptors[frame * 4 + D_BUFFER]!)
    }
    return marks
  }
  return { pair, poolA, poolB, burst, arrived, send, receiveMarks }
}

test('a frame gathered from three descriptors arrives whole, with its sum, in a buffer of the receiver', () => {
  const { pair, poolA, poolB, burst, arrived } = setUp()
  const whole = frameOf(1514, 3)
  const parts = [
    store(poolA, whole.subarray(0, 14), 100),
    store(poolA, whole.subarray(14, 55), 7),
    store(poolA, whole.subarray(55)),
  ]
  burst.push(parts[0]!, 100, 14, TX_MORE)
  burst.push(parts[1]!, 7, 41, TX_MORE)
  burst.push(parts[2]!, 0, 1459, 0)
  burst.push(parts[0]!, 100, 14, 0)
  assert.is(pair.a.transmit(burst), 2)
  assert.is(pair.b.receive(arrived), 2)
  assert.equal(received(poolB, arrived, 0), whole)
  assert.is(arrived.descriptors[D_SUM], slowSum(whole.subarray(14)))
  assert.equal(received(poolB, arrived, 1), whole.subarray(0, 14))
  assert.is(arrived.descriptors[4 + D_SUM], 0, 'nothing behind the header')
  assert.is(pair.a.counters.transmittedFrames, 2)
  assert.is(pair.a.counters.transmittedBytes, 1528)
  assert.is(pair.b.counters.receivedFrames, 2)
  assert.is(pair.b.counters.receivedBytes, 1528)
  for (let frame = 0; frame < 2; frame++) poolB.releaseBuffer(arrived.descriptors[frame * 4]!)
  assert.is(poolB.freeBuffers, POOL_BUFFERS)
  for (const part of parts) assert.is(poolA.bufferReferences(part), 1, 'transmit borrows')
})

test('both directions work at once, each with its own frame index', () => {
  const seen: string[] = []
  const { pair, poolB, send, receiveMarks } = setUp((_, direction, index) => {
    seen.push(`${direction} ${index}`)
    return 'pass'
  })
  send(1)
  const back = new TransmitBurst()
  const buffer = store(poolB, frameOf(60, 2))
  back.push(buffer, 0, 60, 0)
  pair.b.transmit(back)
  send(3)
  assert.equal(seen, ['a-to-b 0', 'b-to-a 0', 'a-to-b 1'])
  assert.equal(receiveMarks(), [1, 3])
  assert.is(pair.a.pendingFrames, 1)
})

test('the filter drops, duplicates and holds; held frames arrive when released', () => {
  const verdicts: LinkVerdict[] = ['pass', 'drop', 'hold', 'duplicate', 'hold', 'pass']
  const { pair, poolB, send, receiveMarks } = setUp((_, __, index) => verdicts[index]!)
  for (let mark = 0; mark < verdicts.length; mark++) assert.is(send(mark), 1, 'the sender never learns of it')
  assert.equal(receiveMarks(), [0, 3, 3, 5])
  assert.is(pair.b.heldFrames, 2)
  assert.is(pair.releaseHeld('b-to-a'), 0)
  assert.is(pair.releaseHeld('a-to-b'), 2)
  assert.equal(receiveMarks(), [2, 4])
  assert.is(poolB.freeBuffers, POOL_BUFFERS)
})

test('the two frames of a duplicate lie in different buffers', () => {
  const { pair, arrived, send } = setUp(() => 'duplicate')
  send(1)
  pair.b.receive(arrived)
  assert.is(arrived.count, 2)
  assert.is.not(arrived.descriptors[D_BUFFER], arrived.descriptors[4 + D_BUFFER])
})

test('a bit that the filter flips shows in the sum and not at the sender', () => {
  const { pair, poolA, poolB, burst, arrived } = setUp((frame) => {
    frame[20]! ^= 0x10
    return 'pass'
  })
  const whole = frameOf(80, 9)
  const buffer = store(poolA, whole)
  burst.push(buffer, 0, 80, 0)
  pair.a.transmit(burst)
  pair.b.receive(arrived)
  assert.is.not(arrived.descriptors[D_SUM], slowSum(whole.subarray(14)))
  assert.is(arrived.descriptors[D_SUM], slowSum(received(poolB, arrived, 0).subarray(14)))
  assert.is(poolA.bufferBytes(buffer)[poolA.bufferStart(buffer) + 20], whole[20])
})

test('a full queue refuses frames and counts them; those before arrive in order', () => {
  const { pair, poolB, send, receiveMarks } = setUp(undefined, 4)
  assert.equal(
    [0, 1, 2, 3, 4, 5].map((mark) => send(mark)),
    [1, 1, 1, 1, 0, 0],
  )
  assert.is(pair.a.counters.transmitDropped, 2)
  assert.equal(receiveMarks(), [0, 1, 2, 3])
  assert.equal(
    [6, 7].map((mark) => send(mark)),
    [1, 1],
    'the ring turns over',
  )
  assert.equal(receiveMarks(), [6, 7])
  assert.is(poolB.freeBuffers, POOL_BUFFERS)
})

test('a receiver without free buffers counts the starvation, and the frame is lost', () => {
  const { pair, poolB, send, receiveMarks } = setUp()
  const taken = Array.from({ length: POOL_BUFFERS }, () => poolB.allocateBuffer())
  assert.is(send(1), 0)
  assert.is(pair.b.counters.receiveStarved, 1)
  assert.is(pair.a.counters.transmitDropped, 1)
  poolB.releaseBuffer(taken[0]!)
  assert.is(send(2), 1)
  assert.equal(receiveMarks(), [2])
})

test('frames shorter than an Ethernet header or longer than the MTU allows are refused', () => {
  const { pair, send } = setUp()
  assert.equal(
    [13, 14, 1514, 1515].map((length) => send(0, length)),
    [0, 1, 1, 0],
  )
  assert.is(pair.a.counters.transmitDropped, 2)
})

test('a burst that ends inside a frame is an error', () => {
  const { pair, poolA, burst } = setUp()
  burst.push(store(poolA, frameOf(60, 0)), 0, 60, TX_MORE)
  assert.throws(() => pair.a.transmit(burst), /goes on/)
})

test('readiness comes once for each wait, outside the transmit call, at once when frames wait already', async () => {
  const { pair, send, receiveMarks } = setUp()
  let calls = 0
  pair.b.waitReadable(() => calls++)
  send(1)
  send(2)
  assert.is(calls, 0, 'not inside transmit')
  await Promise.resolve()
  assert.is(calls, 1)
  send(3)
  await Promise.resolve()
  assert.is(calls, 1, 'one-shot')
  pair.b.waitReadable(() => (calls += 100))
  pair.b.waitReadable(() => (calls += 10))
  await Promise.resolve()
  assert.is(calls, 11, 'a new wait replaces the earlier one')
  assert.equal(receiveMarks(), [1, 2, 3])
})

test('a closed end gives its queued and held frames back, refuses calls, and drops what is sent to it', async () => {
  const { pair, poolB, arrived, send } = setUp((_, __, index) => (index === 0 ? 'hold' : 'pass'))
  send(1)
  send(2)
  assert.is(poolB.freeBuffers, POOL_BUFFERS - 2)
  pair.b.waitReadable(() => assert.unreachable('closed'))
  pair.b.close()
  pair.b.close()
  await Promise.resolve()
  assert.is(poolB.freeBuffers, POOL_BUFFERS)
  assert.throws(
    () => pair.b.receive(arrived),
    (error: { code?: string }) => error.code === 'DEVICE_CLOSED',
  )
  assert.is(send(3), 0)
  assert.is(pair.a.counters.transmitDropped, 1)
})

test.run()
