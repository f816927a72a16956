/**
 * A device around a device through which every frame passes by somebody who may look at it, change it, drop it, double
 * it, or keep it back. For scripted runs: "drop the third data segment" is decided here.
 *
 *   stack ◄─ receive ── interceptor ◄─ device.receive
 *     └──── transmit ─► interceptor ─► device.transmit
 *
 * This is a test instrument: it copies every frame and allocates for each one. Called by: tools/scenario. Calls: the
 * pool, checksum.
 *
 * Invariants:
 *  1. The interceptor sees frames in the order in which they pass, and a copy in a buffer of this device's own: what it
 *     changes, only the receiver sees.
 *  2. Time comes by `setNow` only.
 *  3. A frame that is kept back holds one buffer reference; `close` returns all of them.
 */
import { sumBytes } from '../storage/checksum.ts'
import { BUFFER_BYTES, NO_BUFFER } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import {
  D_BUFFER,
  D_FLAGS,
  D_LENGTH,
  D_OFFSET,
  D_SUM,
  DESCRIPTOR_WORDS,
  type Device,
  type DeviceCapabilities,
  type DeviceCounters,
  type DeviceTiming,
  RECEIVE_BURST_FRAMES,
  ReceiveBurst,
  TransmitBurst,
  TX_MORE,
} from './device.ts'

const ETHERNET_HEADER_BYTES = 14 // IEEE 802.3

/** What shall happen to a frame. The interceptor fills in the one that it is given, which says `pass` at first. */
export interface Verdict {
  drop: boolean
  /** Kept back so long, µs; Infinity: until another frame of its direction releases it. */
  delayUs: number
  /** Further copies that follow it at once. */
  copies: number
  /** Frames of this direction that wait without a time follow this one. */
  releasesHeld: boolean
}

export interface Interceptor {
  /** A frame passes. Its bytes may be changed, not its length. */
  onFrame(frame: Uint8Array, isOutgoing: boolean, nowUs: number, verdict: Verdict): void
}

interface HeldFrame {
  readonly dueUs: number
  readonly buffer: number
  readonly length: number
  readonly isOutgoing: boolean
}

export class InterceptDevice implements Device, DeviceTiming {
  readonly name: string
  readonly mac: Uint8Array
  readonly capabilities: DeviceCapabilities
  readonly counters: DeviceCounters
  readonly timing: DeviceTiming = this
  private readonly device: Device
  private readonly pool: Pool
  private readonly interceptor: Interceptor
  private readonly incoming = new ReceiveBurst()
  private readonly outgoing = new TransmitBurst()
  private readonly verdict: Verdict = { drop: false, delayUs: 0, copies: 0, releasesHeld: false }
  /** In order of their time; those that came first go first. */
  private held: HeldFrame[] = []
  /** Frames that the caller of `receive` gets next: buffer, length, buffer, length... */
  private readonly arrived: number[] = []
  private nowUs = 0

  constructor(device: Device, pool: Pool, interceptor: Interceptor) {
    this.device = device
    this.pool = pool
    this.interceptor = interceptor
    this.name = device.name
    this.mac = device.mac
    this.capabilities = { ...device.capabilities, receiveTime: false } // frames are held back, or are others
    this.counters = device.counters
  }

  get idleBuffers(): number {
    return this.device.idleBuffers
  }

  setNow(nowUs: number): void {
    this.nowUs = nowUs
    this.device.timing?.setNow(nowUs)
  }

  nextDeadlineUs(): number {
    const below = this.device.timing?.nextDeadlineUs() ?? Number.POSITIVE_INFINITY
    if (this.arrived.length > 0) return this.nowUs
    return Math.min(below, this.held[0]?.dueUs ?? Number.POSITIVE_INFINITY)
  }

  receive(burst: ReceiveBurst): number {
    const { incoming, arrived, pool } = this
    this.releaseDue()
    const frames = this.device.receive(incoming)
    for (let at = 0; at < frames * DESCRIPTOR_WORDS; at += DESCRIPTOR_WORDS) {
      const copy = this.gather(incoming.descriptors, at, at + DESCRIPTOR_WORDS)
      pool.releaseBuffer(incoming.descriptors[at + D_BUFFER]!)
      if (copy !== NO_BUFFER) this.judge(copy, incoming.descriptors[at + D_LENGTH]!, false)
    }
    const count = Math.min(arrived.length / 2, RECEIVE_BURST_FRAMES)
    for (let frame = 0; frame < count; frame++) {
      const buffer = arrived[2 * frame]!
      const length = arrived[2 * frame + 1]!
      const at = frame * DESCRIPTOR_WORDS
      burst.descriptors[at + D_BUFFER] = buffer
      burst.descriptors[at + D_OFFSET] = 0
      burst.descriptors[at + D_LENGTH] = length
      burst.descriptors[at + D_SUM] = sumBytes(
        pool.bufferView(buffer),
        pool.bufferStart(buffer) + ETHERNET_HEADER_BYTES,
        length - ETHERNET_HEADER_BYTES,
      )
    }
    arrived.splice(0, 2 * count)
    burst.count = count
    return count
  }

  /** Every frame counts as sent: what happens on the way, its sender does not learn. */
  transmit(burst: TransmitBurst): number {
    const { descriptors } = burst
    let first = 0
    let bytes = 0
    for (let index = 0; index < burst.count; index++) {
      const at = index * DESCRIPTOR_WORDS
      bytes += descriptors[at + D_LENGTH]!
      if (descriptors[at + D_FLAGS]! & TX_MORE) continue
      const copy = this.gather(descriptors, first * DESCRIPTOR_WORDS, (index + 1) * DESCRIPTOR_WORDS)
      if (copy !== NO_BUFFER) this.judge(copy, bytes, true)
      first = index + 1
      bytes = 0
    }
    this.send()
    return burst.frames
  }

  waitReadable(ready: () => void): void {
    this.device.waitReadable(ready)
  }

  close(): void {
    for (const { buffer } of this.held) this.pool.releaseBuffer(buffer)
    for (let at = 0; at < this.arrived.length; at += 2) this.pool.releaseBuffer(this.arrived[at]!)
    this.held = []
    this.arrived.length = 0
    this.device.close()
  }

  /** Takes over the buffer: asks what shall happen to the frame in it, and does it. */
  private judge(buffer: number, length: number, isOutgoing: boolean): void {
    const { pool, verdict, nowUs } = this
    verdict.drop = false
    verdict.delayUs = 0
    verdict.copies = 0
    verdict.releasesHeld = false
    const start = pool.bufferStart(buffer)
    const frame = pool.bufferBytes(buffer).subarray(start, start + length)
    this.interceptor.onFrame(frame, isOutgoing, nowUs, verdict)
    const { drop, delayUs, copies, releasesHeld } = verdict
    if (drop) {
      pool.releaseBuffer(buffer)
    } else if (delayUs > 0) {
      this.hold({ dueUs: nowUs + delayUs, buffer, length, isOutgoing })
    } else {
      this.pass(buffer, length, isOutgoing)
      for (let copy = 0; copy < copies; copy++) this.passCopy(frame, isOutgoing)
    }
    if (releasesHeld) this.release((held) => held.dueUs === Number.POSITIVE_INFINITY && held.isOutgoing === isOutgoing)
  }

  private hold(frame: HeldFrame): void {
    let place = this.held.length
    while (place > 0 && this.held[place - 1]!.dueUs > frame.dueUs) place--
    this.held.splice(place, 0, frame)
  }

  private releaseDue(): void {
    this.release(({ dueUs }) => dueUs <= this.nowUs)
    this.send()
  }

  private release(isFree: (frame: HeldFrame) => boolean): void {
    const free = this.held.filter(isFree)
    if (free.length === 0) return
    this.held = this.held.filter((frame) => !isFree(frame))
    for (const { buffer, length, isOutgoing } of free) this.pass(buffer, length, isOutgoing)
  }

  private pass(buffer: number, length: number, isOutgoing: boolean): void {
    if (!isOutgoing) {
      this.arrived.push(buffer, length)
      return
    }
    if (!this.outgoing.hasRoom()) this.send()
    this.outgoing.push(buffer, 0, length, 0)
  }

  private passCopy(frame: Uint8Array, isOutgoing: boolean): void {
    const { pool } = this
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) return
    pool.bufferBytes(buffer).set(frame, pool.bufferStart(buffer))
    this.pass(buffer, frame.length, isOutgoing)
  }

  /** Gives what passed to the device below. */
  private send(): void {
    const { outgoing, pool } = this
    if (outgoing.count === 0) return
    try {
      this.device.transmit(outgoing)
    } finally {
      for (let index = 0; index < outgoing.count; index++)
        pool.releaseBuffer(outgoing.descriptors[index * DESCRIPTOR_WORDS + D_BUFFER]!)
      outgoing.clear()
    }
  }

  /** The frame of the descriptors at words [from, end), in a buffer of its own; NO_BUFFER, hence lost, if none is free. */
  private gather(descriptors: Int32Array, from: number, end: number): number {
    const { pool } = this
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) {
      this.counters.receiveStarved++
      return NO_BUFFER
    }
    const target = pool.bufferBytes(buffer)
    const start = pool.bufferStart(buffer)
    let to = start
    for (let at = from; at < end; at += DESCRIPTOR_WORDS) {
      const source = pool.bufferStart(descriptors[at + D_BUFFER]!) + descriptors[at + D_OFFSET]!
      const length = descriptors[at + D_LENGTH]!
      if (to - start + length > BUFFER_BYTES) throw new RangeError('a frame is longer than a buffer')
      target.set(pool.bufferBytes(descriptors[at + D_BUFFER]!).subarray(source, source + length), to)
      to += length
    }
    return buffer
  }
}
