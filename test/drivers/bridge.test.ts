/** The bridge between two links in memory: frames cross unchanged, also through impairments. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Bridge } from '../../drivers/bridge.ts'
import { D_BUFFER, D_LENGTH, RECEIVE_BURST_FRAMES, ReceiveBurst, TransmitBurst } from '../../drivers/device.ts'
import { ImpairDevice } from '../../drivers/impair.ts'
import { parseImpairment } from '../../drivers/impairment-spec.ts'
import { type MemoryDevice, MemoryPair } from '../../drivers/memory-pair.ts'
import type { Pool } from '../../storage/pool.ts'
import { createPool } from '../support/virtual-link.ts'

const BUFFERS = 1024

/** Two links whose inner ends the bridge joins: west — [bridge] — east. */
class Lab {
  readonly outerPool = createPool(BUFFERS)
  readonly pool = createPool(BUFFERS)
  readonly west = new MemoryPair({ poolA: this.outerPool, poolB: this.pool })
  readonly east = new MemoryPair({ poolA: this.outerPool, poolB: this.pool })

  send(device: MemoryDevice, numbers: readonly number[]): void {
    const burst = new TransmitBurst()
    for (const number of numbers) {
      const buffer = this.outerPool.allocateBuffer()
      const start = this.outerPool.bufferStart(buffer)
      this.outerPool.bufferBytes(buffer).fill(number, start, start + 60 + number)
      burst.push(buffer, 0, 60 + number, 0)
    }
    device.transmit(burst)
    for (let index = 0; index < burst.count; index++)
      this.outerPool.releaseBuffer(burst.descriptors[index * 4 + D_BUFFER]!)
  }

  /** Numbers of the frames that arrived, their bytes checked. */
  receive(device: MemoryDevice): number[] {
    const burst = new ReceiveBurst()
    const numbers: number[] = []
    while (device.receive(burst) > 0)
      for (let at = 0; at < burst.count * 4; at += 4) {
        const buffer = burst.descriptors[at + D_BUFFER]!
        const start = this.outerPool.bufferStart(buffer)
        const bytes = this.outerPool.bufferBytes(buffer).slice(start, start + burst.descriptors[at + D_LENGTH]!)
        assert.ok(bytes.every((byte) => byte === bytes[0]))
        assert.is(bytes.length, 60 + bytes[0]!)
        numbers.push(bytes[0]!)
        this.outerPool.releaseBuffer(buffer)
      }
    return numbers
  }

  close(): void {
    this.west.close()
    this.east.close()
    for (const pool of [this.pool, this.outerPool] as Pool[]) assert.is(pool.freeBuffers, pool.totalBuffers)
  }
}

test('frames cross both ways in one poll, in order, a burst at a time', () => {
  const lab = new Lab()
  const bridge = new Bridge(lab.west.b, lab.east.b, lab.pool)
  const eastward = Array.from({ length: RECEIVE_BURST_FRAMES + 20 }, (_, index) => index)
  lab.send(lab.west.a, eastward)
  lab.send(lab.east.a, [201, 202])
  assert.is(bridge.poll(1000), RECEIVE_BURST_FRAMES + 2)
  assert.equal(lab.receive(lab.west.a), [201, 202])
  assert.is(lab.pool.freeBuffers, BUFFERS - 20, 'what waits to be received, and nothing else')
  assert.is(bridge.poll(1001), 20)
  assert.equal(lab.receive(lab.east.a), eastward)
  assert.is(bridge.nextDeadlineUs(), Number.POSITIVE_INFINITY)
  lab.close()
})

test('an impaired side delays each direction by its own time, and the bridge says when to come back', () => {
  const lab = new Lab()
  const impaired = new ImpairDevice({
    device: lab.west.b,
    pool: lab.pool,
    impairment: parseImpairment('rx:delay=3ms;tx:delay=5ms'),
    createRandom: () => () => 0,
    heldBuffersMax: 64,
  })
  const bridge = new Bridge(impaired, lab.east.b, lab.pool)
  lab.send(lab.west.a, [1])
  lab.send(lab.east.a, [2])
  bridge.poll(10_000)
  assert.is(bridge.nextDeadlineUs(), 13_000)
  bridge.poll(13_000)
  assert.equal(lab.receive(lab.east.a), [1])
  assert.is(bridge.nextDeadlineUs(), 15_000)
  bridge.poll(14_999)
  assert.equal(lab.receive(lab.west.a), [])
  bridge.poll(15_000)
  assert.equal(lab.receive(lab.west.a), [2])
  lab.close()
})

test('waiting ends when either side can receive', async () => {
  const lab = new Lab()
  const bridge = new Bridge(lab.west.b, lab.east.b, lab.pool)
  for (const device of [lab.west.a, lab.east.a]) {
    const ready = new Promise<void>((resolve) => bridge.waitReadable(resolve))
    lab.send(device, [1])
    await ready
    bridge.poll(0)
  }
  assert.equal([lab.receive(lab.east.a), lab.receive(lab.west.a)], [[1], [1]])
  lab.close()
})

test.run()
