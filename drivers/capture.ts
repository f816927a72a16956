/**
 * A device that shows every frame of another one to a capture file: received frames as they are handed over,
 * transmitted ones as they are offered, before the device can refuse them.
 *
 *   stack ◄── receive ── CaptureDevice ◄── device ◄── link
 *     └────── transmit ─►     │         ─► device ─► link
 *                         CaptureFile
 *
 * Called by: serve and wire, around a TAP or an impaired device. Calls: capture-file.ts.
 *
 * Invariants:
 *  1. It holds no buffer and changes no descriptor: the stack and the device notice nothing of it.
 *  2. Nothing is allocated for a frame.
 */
import type { Pool } from '../storage/pool.ts'
import type { CaptureFile } from './capture-file.ts'
import {
  D_BUFFER,
  D_FLAGS,
  D_LENGTH,
  D_OFFSET,
  DESCRIPTOR_WORDS,
  type Device,
  type DeviceCapabilities,
  type DeviceCounters,
  type DeviceTiming,
  type ReceiveBurst,
  receivedFrameEnd,
  type TransmitBurst,
  TX_MORE,
} from './device.ts'
import { DIRECTION_INBOUND, DIRECTION_OUTBOUND } from './pcapng.ts'

export class CaptureDevice implements Device {
  readonly name: string
  readonly mac: Uint8Array
  readonly capabilities: DeviceCapabilities
  readonly counters: DeviceCounters
  readonly timing: DeviceTiming | undefined
  private readonly device: Device
  private readonly pool: Pool
  private readonly file: CaptureFile
  private readonly interfaceNumber: number

  /** @param file stays the caller's, who closes it after the device */
  constructor(device: Device, pool: Pool, file: CaptureFile) {
    this.device = device
    this.pool = pool
    this.file = file
    this.name = device.name
    this.mac = device.mac
    this.capabilities = device.capabilities
    this.counters = device.counters
    this.timing = device.timing
    this.interfaceNumber = file.addInterface(device.name)
  }

  get idleBuffers(): number {
    return this.device.idleBuffers
  }

  receive(burst: ReceiveBurst): number {
    const frames = this.device.receive(burst)
    if (frames > 0) this.file.readClock()
    const { descriptors } = burst
    const end = burst.count * DESCRIPTOR_WORDS
    for (let at = 0; at < end; ) {
      const next = receivedFrameEnd(descriptors, at)
      let length = 0
      for (let piece = at; piece < next; piece += DESCRIPTOR_WORDS) length += descriptors[piece + D_LENGTH]!
      this.captureFrame(descriptors, at, next, length, DIRECTION_INBOUND)
      at = next
    }
    return frames
  }

  transmit(burst: TransmitBurst): number {
    this.file.readClock()
    const { descriptors } = burst
    let first = 0
    let length = 0
    for (let index = 0; index < burst.count; index++) {
      const at = index * DESCRIPTOR_WORDS
      length += descriptors[at + D_LENGTH]!
      if (descriptors[at + D_FLAGS]! & TX_MORE) continue
      this.captureFrame(descriptors, first, at + DESCRIPTOR_WORDS, length, DIRECTION_OUTBOUND)
      first = at + DESCRIPTOR_WORDS
      length = 0
    }
    return this.device.transmit(burst)
  }

  /** The loop calls this when the traffic pauses: the moment to bring the file up to date. */
  waitReadable(ready: () => void): void {
    this.file.flush()
    this.device.waitReadable(ready)
  }

  close(): void {
    this.device.close()
  }

  /** One frame of `length` bytes: the descriptors at words [from, end). */
  private captureFrame(descriptors: Int32Array, from: number, end: number, length: number, direction: number): void {
    const { file, pool } = this
    if (!file.beginFrame(this.interfaceNumber, length, direction)) return
    for (let at = from; at < end; at += DESCRIPTOR_WORDS) {
      const buffer = descriptors[at + D_BUFFER]!
      const start = pool.bufferStart(buffer) + descriptors[at + D_OFFSET]!
      file.append(pool.bufferBytes(buffer), start, descriptors[at + D_LENGTH]!)
    }
    file.endFrame()
  }
}
