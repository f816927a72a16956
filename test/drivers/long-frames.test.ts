/**
 * Frames of several buffers through the devices that stand around others: what comes out has the bytes that went in, sums
 * of each piece, and no buffer is lost.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Bridge } from '../../drivers/bridge.ts'
import { CaptureDevice } from '../../drivers/capture.ts'
import { CaptureFile } from '../../drivers/capture-file.ts'
import {
  D_BUFFER,
  D_LENGTH,
  D_OFFSET,
  D_SUM,
  type Device,
  ReceiveBurst,
  RX_MORE,
  RX_SUM_MASK,
  receivedFrameEnd,
  TransmitBurst,
} from '../../drivers/device.ts'
import { ImpairDevice } from '../../drivers/impair.ts'
import { parseImpairment } from '../../drivers/impairment-spec.ts'
import { InterceptDevice } from '../../drivers/intercept.ts'
import { MemoryPair } from '../../drivers/memory-pair.ts'
import { SeededRandom } from '../../stack/random.ts'
import { sumBytes } from '../../storage/checksum.ts'
import { BUFFER_BYTES, NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { scratchDirectory } from '../support/lab.ts'
import { readCapture } from '../support/pcapng-reader.ts'
import { announceSeed } from '../support/random.ts'
import { chainOf } from '../support/stream-application.ts'
import { createPool } from '../support/virtual-link.ts'

const seed = announceSeed('long frames of devices', 15)
const MTU = 9000
const PIECE_BYTES = 1777
const SIZES = [60, 1777, 1778, 9014, 5000, 14]

/** An IPv4 frame by its type, of random bytes. */
function randomFrame(random: SeededRandom, length: number): Buffer {
  const frame = Buffer.from(Uint8Array.from({ length }, () => random.next() & 255))
  frame.writeUInt16BE(0x0800, 12)
  return frame
}

function transmit(pool: Pool, device: Device, frame: Buffer): void {
  const chain = chainOf(pool, frame, BUFFER_BYTES - 1)
  const burst = new TransmitBurst()
  for (let meta = chain; meta !== NO_META; meta = pool.next(meta))
    burst.push(pool.buffer(meta), 0, pool.dataLength(meta), pool.next(meta) === NO_META ? 0 : 1)
  assert.is(device.transmit(burst), 1)
  pool.releaseChain(chain)
}

/** Every frame that can be received; the sum of each piece is checked. */
function receive(pool: Pool, device: Device): Buffer[] {
  const burst = new ReceiveBurst()
  const { descriptors } = burst
  const frames: Buffer[] = []
  while (device.receive(burst) > 0)
    for (let at = 0; at < burst.count * 4; ) {
      const end = receivedFrameEnd(descriptors, at)
      const pieces: Uint8Array[] = []
      for (let header = 14; at < end; at += 4, header = 0) {
        const buffer = descriptors[at + D_BUFFER]!
        const start = pool.bufferStart(buffer) + descriptors[at + D_OFFSET]!
        const length = descriptors[at + D_LENGTH]!
        const sum = sumBytes(pool.bufferView(buffer), start + header, length - header)
        assert.is(descriptors[at + D_SUM]! & RX_SUM_MASK, sum)
        assert.is((descriptors[at + D_SUM]! & RX_MORE) !== 0, at + 4 < end)
        pieces.push(pool.bufferBytes(buffer).slice(start, start + length))
        pool.releaseBuffer(buffer)
      }
      frames.push(Buffer.concat(pieces))
    }
  return frames
}

class Lab {
  readonly near = createPool(512)
  readonly far = createPool(512)
  readonly pair = new MemoryPair({ poolA: this.near, poolB: this.far, mtu: MTU, pieceBytes: PIECE_BYTES })
  readonly frames: Buffer[]

  constructor() {
    const random = new SeededRandom(seed)
    this.frames = SIZES.map((size) => randomFrame(random, size))
  }

  impaired(spec: string): ImpairDevice {
    return new ImpairDevice({
      device: this.pair.a,
      pool: this.near,
      impairment: parseImpairment(spec),
      createRandom: (value) => {
        const random = new SeededRandom(value)
        return () => random.next()
      },
      heldBuffersMax: 256,
    })
  }

  /** Every frame both ways through the device around end a. */
  exchange(device: Device): { received: Buffer[]; sent: Buffer[] } {
    for (const frame of this.frames) transmit(this.far, this.pair.b, frame)
    const received = receive(this.near, device)
    for (const frame of this.frames) transmit(this.near, device, frame)
    return { received, sent: receive(this.far, this.pair.b) }
  }

  close(device: Device): void {
    device.close()
    this.pair.b.close()
    assert.is(this.near.freeBuffers, this.near.totalBuffers, 'every buffer of the near end is back')
    assert.is(this.far.freeBuffers, this.far.totalBuffers, 'every buffer of the far end is back')
  }
}

function countBits(a: Buffer, b: Buffer): number {
  let bits = 0
  for (let at = 0; at < a.length; at++) for (let x = a[at]! ^ b[at]!; x !== 0; x &= x - 1) bits++
  return bits
}

test('an impaired link passes them, also twice', () => {
  const lab = new Lab()
  const device = lab.impaired('dup=100%')
  const { received, sent } = lab.exchange(device)
  const twice = lab.frames.flatMap((frame) => [frame, frame])
  assert.equal(received, twice)
  assert.equal(sent, twice)
  lab.close(device)
})

test('an impaired link flips a bit in any piece of them, once each', () => {
  const lab = new Lab()
  const device = lab.impaired('corrupt=100%')
  const firstBytes: number[] = []
  for (let round = 0; round < 40; round++) {
    const { received, sent } = lab.exchange(device)
    for (const frames of [received, sent])
      for (const [index, frame] of frames.entries()) {
        assert.is(countBits(frame, lab.frames[index]!), frame.length > 14 ? 1 : 0)
        if (frame.length === 9014) firstBytes.push(frame.findIndex((byte, at) => byte !== lab.frames[index]![at]))
      }
  }
  assert.ok(Math.min(...firstBytes) < PIECE_BYTES, 'in the first piece')
  assert.ok(Math.max(...firstBytes) > 4 * PIECE_BYTES, 'in the last')
  lab.close(device)
})

test('frames that are on their way when an impaired device closes are given back', () => {
  const lab = new Lab()
  const device = lab.impaired('delay=10ms')
  assert.equal(lab.exchange(device), { received: [], sent: [] })
  assert.is(device.heldBuffers, 14 + 12, 'buffers of the frames received, and sent')
  lab.close(device)
})

test('an interceptor sees them whole, and may change any byte', () => {
  const lab = new Lab()
  const seen: Buffer[] = []
  const device = new InterceptDevice(lab.pair.a, lab.near, {
    onFrame(frame, isOutgoing, _nowUs, verdict) {
      seen.push(Buffer.from(frame))
      frame[frame.length - 1]! ^= 1
      if (!isOutgoing) verdict.copies = 1
    },
  })
  const { received, sent } = lab.exchange(device)
  assert.equal(seen, [...lab.frames, ...lab.frames])
  for (const frame of lab.frames) frame[frame.length - 1]! ^= 1
  assert.equal(
    received,
    lab.frames.flatMap((frame) => [frame, frame]),
  )
  assert.equal(sent, lab.frames)
  lab.close(device)
})

test('a capture has them whole', () => {
  const lab = new Lab()
  const path = join(scratchDirectory(), 'long.pcapng')
  const clock = { low: 0, high: 0, read() {} }
  const file = new CaptureFile({ path, application: 'test', clock, report: (message) => assert.unreachable(message) })
  const device = new CaptureDevice(lab.pair.a, lab.near, file)
  const { received, sent } = lab.exchange(device)
  assert.equal([received, sent], [lab.frames, lab.frames])
  lab.close(device)
  file.close()
  const { packets } = readCapture(readFileSync(path))
  assert.equal(
    packets.map(({ frame }) => Buffer.from(frame)),
    [...lab.frames, ...lab.frames],
  )
})

test('a bridge passes them on', () => {
  const lab = new Lab()
  const other = new MemoryPair({ poolA: lab.near, poolB: lab.far, mtu: MTU, pieceBytes: PIECE_BYTES })
  const bridge = new Bridge(lab.pair.a, other.a, lab.near)
  for (const frame of lab.frames) transmit(lab.far, lab.pair.b, frame)
  for (const frame of lab.frames) transmit(lab.far, other.b, frame)
  bridge.poll(0)
  assert.equal(receive(lab.far, other.b), lab.frames)
  assert.equal(receive(lab.far, lab.pair.b), lab.frames)
  other.close()
  lab.close(lab.pair.a)
})

test.run()
