/**
 * A device that makes the link of another one as bad as a specification says: delay, jitter, rate, loss, bursts of
 * loss, reordering, duplicates, flipped bits, a short MTU; each direction on its own, replayable from a seed.
 *
 *   stack ◄─ receive ── rx path ◄─ device.receive ◄─ link
 *     └──── transmit ─► tx path ─► device.transmit ─► link
 *
 * A frame on its way is its descriptors and a reference to each of their buffers: nothing is copied, but for a frame
 * that is duplicated on receipt (its receiver may write into the buffer) or corrupted on sending (the buffer may hold
 * a stored value). Frames go on when the loop calls: `receive` and `transmit` move everything that is due.
 *
 * Called by: the stack's loop, around a TAP. Calls: impaired-path.ts, the pool, checksum.
 *
 * Invariants:
 *  1. Time comes by `setNow` only, randomness from the generator given.
 *  2. At most `heldBuffersMax` references are held, in both directions together; what comes beyond is dropped and
 *     counted. `close` gives all of them back.
 *  3. Nothing is allocated for a frame.
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
import { ImpairedPath, type PathCounters } from './impaired-path.ts'
import type { Impairment } from './impairment-spec.ts'

const ETHERNET_HEADER_BYTES = 14 // IEEE 802.3
const ETHERTYPE_OFFSET = 12
const ETHERTYPE_IPV4 = 0x0800
const ETHERTYPE_IPV6 = 0x86dd

export interface ImpairOptions {
  readonly device: Device
  readonly pool: Pool
  readonly impairment: Impairment
  /** Makes a generator of 32-bit numbers from a seed. */
  readonly createRandom: (seed: number) => () => number
  /** Buffer references that frames on their way may hold. */
  readonly heldBuffersMax: number
}

export class ImpairDevice implements Device, DeviceTiming {
  readonly name: string
  readonly mac: Uint8Array
  readonly capabilities: DeviceCapabilities
  /** Of the device below: what really passed the link. */
  readonly counters: DeviceCounters
  readonly timing: DeviceTiming = this
  private readonly device: Device
  private readonly pool: Pool
  private readonly heldBuffersMax: number
  private readonly rx: ImpairedPath
  private readonly tx: ImpairedPath
  private readonly incoming = new ReceiveBurst()
  private readonly outgoing = new TransmitBurst()
  /** [0]: the time, µs. */
  private readonly now = new Float64Array(1)
  private closed = false

  constructor(options: ImpairOptions) {
    const { device, impairment, createRandom, heldBuffersMax } = options
    this.device = device
    this.pool = options.pool
    this.heldBuffersMax = heldBuffersMax
    this.name = device.name
    this.mac = device.mac
    this.capabilities = { ...device.capabilities, receiveTime: false } // frames are held back, or are others
    this.counters = device.counters
    this.rx = new ImpairedPath(impairment.rx, createRandom(2 * impairment.seed), this.now, heldBuffersMax)
    this.tx = new ImpairedPath(impairment.tx, createRandom(2 * impairment.seed + 1), this.now, heldBuffersMax)
  }

  get idleBuffers(): number {
    return this.device.idleBuffers
  }

  /** What happened to the frames of each direction. */
  get paths(): { readonly rx: PathCounters; readonly tx: PathCounters } {
    return { rx: this.rx.counters, tx: this.tx.counters }
  }

  /** Buffer references that frames on their way hold. */
  get heldBuffers(): number {
    return this.rx.heldDescriptors + this.tx.heldDescriptors
  }

  setNow(nowUs: number): void {
    this.now[0] = nowUs
    this.device.timing?.setNow(nowUs)
  }

  nextDeadlineUs(): number {
    return Math.min(this.rx.nextDueUs(), this.tx.nextDueUs(), this.device.timing?.nextDeadlineUs() ?? Infinity)
  }

  receive(burst: ReceiveBurst): number {
    this.sendDue()
    const { incoming } = this
    const frames = this.device.receive(incoming)
    for (let frame = 0; frame < frames; frame++) this.takeReceived(frame * DESCRIPTOR_WORDS)
    let count = 0
    while (count < RECEIVE_BURST_FRAMES && this.rx.dueDescriptors() > 0)
      count += this.rx.pop(burst.descriptors, count * DESCRIPTOR_WORDS)
    burst.count = count
    return count
  }

  /** Every frame counts as sent: what happens on the path, its sender does not learn. */
  transmit(burst: TransmitBurst): number {
    const { descriptors } = burst
    let first = 0
    let bytes = 0
    for (let index = 0; index < burst.count; index++) {
      const at = index * DESCRIPTOR_WORDS
      bytes += descriptors[at + D_LENGTH]!
      if (descriptors[at + D_FLAGS]! & TX_MORE) continue
      this.takeSent(descriptors, first, index + 1, bytes)
      first = index + 1
      bytes = 0
    }
    this.sendDue()
    return burst.frames
  }

  waitReadable(ready: () => void): void {
    this.device.waitReadable(ready)
  }

  /** Frames that were sent and are still on their way arrive now; those that would come in later never do. */
  close(): void {
    if (this.closed) return
    this.closed = true
    try {
      this.now[0] = Number.MAX_VALUE // not Infinity: that is when nothing is due
      this.sendDue()
    } catch {
      // The link is gone, and with it what was on its way.
    }
    const { outgoing } = this
    for (const path of [this.rx, this.tx]) {
      while (path.heldDescriptors > 0) {
        const count = path.pop(outgoing.descriptors, 0)
        for (let index = 0; index < count; index++)
          this.pool.releaseBuffer(outgoing.descriptors[index * DESCRIPTOR_WORDS + D_BUFFER]!)
      }
    }
    this.device.close()
  }

  /** Takes over a received frame, and the reference to its buffer. */
  private takeReceived(at: number): void {
    const { rx, pool } = this
    const { descriptors } = this.incoming
    const buffer = descriptors[at + D_BUFFER]!
    const offset = descriptors[at + D_OFFSET]!
    const bytes = descriptors[at + D_LENGTH]!
    let sum = descriptors[at + D_SUM]!
    const passes = rx.admit(bytes, bytes - ETHERNET_HEADER_BYTES)
    if (!passes || !this.hasRoom(rx, 1)) {
      pool.releaseBuffer(buffer)
      return
    }
    const copy = rx.duplicate && this.hasRoom(rx, 2) ? this.gather(descriptors, at, at + DESCRIPTOR_WORDS) : NO_BUFFER
    if (rx.corruptBit >= 0 && this.flipBit(buffer, offset, bytes, rx.corruptBit)) {
      rx.counters.corrupted++
      if (this.capabilities.receiveSum)
        sum = sumBytes(
          pool.bufferView(buffer),
          pool.bufferStart(buffer) + offset + ETHERNET_HEADER_BYTES,
          bytes - ETHERNET_HEADER_BYTES,
        )
    }
    rx.push(buffer, offset, bytes, sum)
    rx.hold()
    if (copy !== NO_BUFFER) {
      rx.counters.duplicated++
      rx.push(copy, 0, bytes, descriptors[at + D_SUM]!)
      rx.hold()
    }
  }

  /** Takes a frame to send, descriptors [first, end): lent by the caller, so with references of its own. */
  private takeSent(descriptors: Int32Array, first: number, end: number, bytes: number): void {
    const { tx, pool } = this
    if (!tx.admit(bytes, bytes - ETHERNET_HEADER_BYTES)) return
    const copies = tx.duplicate ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      if (!this.hasRoom(tx, end - first)) return
      if (copy === 0 && tx.corruptBit >= 0 && bytes <= BUFFER_BYTES) {
        // Not in place: the bytes may be a stored value's.
        const whole = this.gather(descriptors, first * DESCRIPTOR_WORDS, end * DESCRIPTOR_WORDS)
        if (whole !== NO_BUFFER) {
          if (this.flipBit(whole, 0, bytes, tx.corruptBit)) tx.counters.corrupted++
          tx.push(whole, 0, bytes, 0)
          tx.hold()
          continue
        }
      }
      for (let at = first * DESCRIPTOR_WORDS; at < end * DESCRIPTOR_WORDS; at += DESCRIPTOR_WORDS) {
        pool.retainBuffer(descriptors[at + D_BUFFER]!)
        tx.push(
          descriptors[at + D_BUFFER]!,
          descriptors[at + D_OFFSET]!,
          descriptors[at + D_LENGTH]!,
          descriptors[at + D_FLAGS]!,
        )
      }
      tx.hold()
      if (copy > 0) tx.counters.duplicated++
    }
  }

  /** Gives every frame that is due to the device below. */
  private sendDue(): void {
    const { tx, outgoing, pool } = this
    while (tx.dueDescriptors() > 0) {
      while (outgoing.hasRoom() && tx.dueDescriptors() > 0) {
        outgoing.count += tx.pop(outgoing.descriptors, outgoing.count * DESCRIPTOR_WORDS)
        outgoing.frames++
      }
      try {
        this.device.transmit(outgoing)
      } finally {
        for (let index = 0; index < outgoing.count; index++)
          pool.releaseBuffer(outgoing.descriptors[index * DESCRIPTOR_WORDS + D_BUFFER]!)
        outgoing.clear()
      }
    }
  }

  private hasRoom(path: ImpairedPath, descriptors: number): boolean {
    if (this.heldBuffers + descriptors <= this.heldBuffersMax) return true
    path.counters.heldFull++
    return false
  }

  /** The frame of the descriptors at words [from, end), in a buffer of its own; NO_BUFFER if none is free. */
  private gather(descriptors: Int32Array, from: number, end: number): number {
    const { pool } = this
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) return NO_BUFFER
    const target = pool.bufferBytes(buffer)
    let to = pool.bufferStart(buffer)
    for (let at = from; at < end; at += DESCRIPTOR_WORDS) {
      const source = pool.bufferBytes(descriptors[at + D_BUFFER]!)
      const start = pool.bufferStart(descriptors[at + D_BUFFER]!) + descriptors[at + D_OFFSET]!
      for (let index = 0; index < descriptors[at + D_LENGTH]!; index++) target[to++] = source[start + index]!
    }
    return buffer
  }

  /**
   * Flips a bit of an IP packet. Other frames, and the Ethernet header, stay whole: on a wire the Ethernet CRC guards
   * them, and nothing above does.
   */
  private flipBit(buffer: number, offset: number, bytes: number, bit: number): boolean {
    const view = this.pool.bufferView(buffer)
    const start = this.pool.bufferStart(buffer) + offset
    if (bytes <= ETHERNET_HEADER_BYTES) return false
    const type = view.getUint16(start + ETHERTYPE_OFFSET)
    if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6) return false
    const at = start + ETHERNET_HEADER_BYTES + ((bit >>> 3) % (bytes - ETHERNET_HEADER_BYTES))
    view.setUint8(at, view.getUint8(at) ^ (1 << (bit & 7)))
    return true
  }
}
