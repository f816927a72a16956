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
 *  1. Time comes by `setNow`, and where a clock is given also from it: a frame that leaves at the end of a long turn must
 *     not count as sent at its start. Randomness comes from the generator given.
 *  2. At most `heldBuffersMax` references are held, in both directions together; what comes beyond is dropped and
 *     counted. `close` gives all of them back.
 *  3. Nothing is allocated for a frame.
 */
import { sumBytes } from '../storage/checksum.ts'
import { NO_BUFFER } from '../storage/layout.ts'
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
  RECEIVE_BURST_DESCRIPTORS,
  RECEIVE_BURST_FRAMES,
  ReceiveBurst,
  RX_MORE,
  receivedFrameEnd,
  TransmitBurst,
  TX_MORE,
} from './device.ts'
import { gatherFrame } from './frame-copy.ts'
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
  /** µs, from where `setNow` counts: asked twice a burst that is sent. Where time is virtual a turn takes none, and nobody has to. */
  readonly clockUs?: () => number
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
  private readonly clockUs: (() => number) | undefined
  private readonly rx: ImpairedPath
  private readonly tx: ImpairedPath
  private readonly incoming = new ReceiveBurst()
  private readonly outgoing = new TransmitBurst()
  /** Descriptors of the copy of one frame. */
  private readonly copied = new Int32Array(RECEIVE_BURST_DESCRIPTORS * DESCRIPTOR_WORDS)
  /** [0]: the time, µs. */
  private readonly now = new Float64Array(1)
  private closed = false

  constructor(options: ImpairOptions) {
    const { device, impairment, createRandom, heldBuffersMax } = options
    this.device = device
    this.pool = options.pool
    this.heldBuffersMax = heldBuffersMax
    this.clockUs = options.clockUs
    this.name = device.name
    this.mac = device.mac
    // Frames are held back, or are others; and what happens, happens to single segments.
    this.capabilities = { ...device.capabilities, receiveTime: false, segmentsTcp: false }
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
    this.device.receive(incoming)
    for (let at = 0; at < incoming.count * DESCRIPTOR_WORDS; ) {
      const next = receivedFrameEnd(incoming.descriptors, at)
      this.takeReceived(at, next)
      at = next
    }
    let count = 0
    let frames = 0
    for (; frames < RECEIVE_BURST_FRAMES; frames++) {
      const pieces = this.rx.dueDescriptors()
      if (pieces === 0 || count + pieces > RECEIVE_BURST_DESCRIPTORS) break
      count += this.rx.pop(burst.descriptors, count * DESCRIPTOR_WORDS)
    }
    burst.count = count
    return frames
  }

  /** Every frame counts as sent: what happens on the path, its sender does not learn. */
  transmit(burst: TransmitBurst): number {
    const { descriptors } = burst
    this.readClock()
    let first = 0
    let bytes = 0
    for (let index = 0; index < burst.count; index++) {
      const at = index * DESCRIPTOR_WORDS
      bytes += descriptors[at + D_LENGTH]!
      if (descriptors[at + D_FLAGS]! & TX_MORE) continue
      this.takeSent(descriptors, first, at + DESCRIPTOR_WORDS, bytes)
      first = at + DESCRIPTOR_WORDS
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

  /** Takes over a received frame, the descriptors at words [from, end), and the references to its buffers. */
  private takeReceived(from: number, end: number): void {
    const { rx, pool } = this
    const { descriptors } = this.incoming
    let bytes = 0
    for (let at = from; at < end; at += DESCRIPTOR_WORDS) bytes += descriptors[at + D_LENGTH]!
    const pieces = (end - from) / DESCRIPTOR_WORDS
    const passes = rx.admit(bytes, bytes - ETHERNET_HEADER_BYTES)
    if (!passes || !this.hasRoom(rx, pieces)) {
      this.release(descriptors, from, end)
      return
    }
    const copied = rx.duplicate && this.hasRoom(rx, 2 * pieces) && this.copy(descriptors, from, end)
    if (rx.corruptBit >= 0) {
      const touched = flipBit(pool, descriptors, from, end, bytes, rx.corruptBit)
      if (touched >= 0) rx.counters.corrupted++
      if (touched >= 0 && this.capabilities.receiveSum) this.sumAgain(descriptors, touched, touched === from)
    }
    for (let at = from; at < end; at += DESCRIPTOR_WORDS) rx.pushFrom(descriptors, at)
    rx.hold()
    if (copied) {
      rx.counters.duplicated++
      for (let at = 0; at < end - from; at += DESCRIPTOR_WORDS) rx.pushFrom(this.copied, at)
      rx.hold()
    }
  }

  /** Takes a frame to send, the descriptors at words [from, end): lent by the caller, so with references of its own. */
  private takeSent(descriptors: Int32Array, from: number, end: number, bytes: number): void {
    const { tx, pool } = this
    if (!tx.admit(bytes, bytes - ETHERNET_HEADER_BYTES)) return
    const copies = tx.duplicate ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      if (!this.hasRoom(tx, (end - from) / DESCRIPTOR_WORDS)) return
      // Not in place: the bytes may be a stored value's.
      if (copy === 0 && tx.corruptBit >= 0 && this.copy(descriptors, from, end)) {
        if (flipBit(pool, this.copied, 0, end - from, bytes, tx.corruptBit) >= 0) tx.counters.corrupted++
        for (let at = 0; at < end - from; at += DESCRIPTOR_WORDS) tx.pushFrom(this.copied, at)
        tx.hold()
        continue
      }
      for (let at = from; at < end; at += DESCRIPTOR_WORDS) {
        pool.retainBuffer(descriptors[at + D_BUFFER]!)
        tx.pushFrom(descriptors, at)
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
      this.readClock() // behind a TAP a kernel has worked off what it was given, and answered
    }
  }

  /** Not while it closes: then everything is due. */
  private readClock(): void {
    if (this.clockUs !== undefined && !this.closed) this.now[0] = this.clockUs()
  }

  private hasRoom(path: ImpairedPath, descriptors: number): boolean {
    if (this.heldBuffers + descriptors <= this.heldBuffersMax) return true
    path.counters.heldFull++
    return false
  }

  private release(descriptors: Int32Array, from: number, end: number): void {
    for (let at = from; at < end; at += DESCRIPTOR_WORDS) this.pool.releaseBuffer(descriptors[at + D_BUFFER]!)
  }

  /** Copies each piece of a frame into a buffer of its own: `copied`, from word 0 on. False if the pool has not enough. */
  private copy(descriptors: Int32Array, from: number, end: number): boolean {
    const { pool, copied } = this
    for (let at = from; at < end; at += DESCRIPTOR_WORDS) {
      const to = at - from
      const buffer = pool.allocateBuffer()
      if (buffer === NO_BUFFER) {
        this.release(copied, 0, to)
        return false
      }
      copied[to + D_BUFFER] = buffer
      copied[to + D_OFFSET] = 0
      copied[to + D_LENGTH] = descriptors[at + D_LENGTH]!
      copied[to + D_SUM] = descriptors[at + D_SUM]!
      gatherFrame(pool, descriptors, at, at + DESCRIPTOR_WORDS, pool.bufferBytes(buffer), pool.bufferStart(buffer))
    }
    return true
  }

  /** The sum of a received piece whose bytes have changed. */
  private sumAgain(descriptors: Int32Array, at: number, isFirst: boolean): void {
    const { pool } = this
    const headerBytes = isFirst ? ETHERNET_HEADER_BYTES : 0
    const buffer = descriptors[at + D_BUFFER]!
    const start = pool.bufferStart(buffer) + descriptors[at + D_OFFSET]! + headerBytes
    const sum = sumBytes(pool.bufferView(buffer), start, descriptors[at + D_LENGTH]! - headerBytes)
    descriptors[at + D_SUM] = sum | (descriptors[at + D_SUM]! & RX_MORE)
  }
}

/**
 * Flips a bit of an IP packet. Other frames, and the Ethernet header, stay whole: on a wire the Ethernet CRC guards
 * them, and nothing above does.
 * @returns the word of the descriptor in which it lies; -1 if none was flipped
 */
function flipBit(pool: Pool, descriptors: Int32Array, from: number, end: number, bytes: number, bit: number): number {
  if (bytes <= ETHERNET_HEADER_BYTES || descriptors[from + D_LENGTH]! < ETHERNET_HEADER_BYTES) return -1
  const header = pool.bufferStart(descriptors[from + D_BUFFER]!) + descriptors[from + D_OFFSET]!
  const type = pool.bufferView(descriptors[from + D_BUFFER]!).getUint16(header + ETHERTYPE_OFFSET)
  if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6) return -1
  let left = ETHERNET_HEADER_BYTES + ((bit >>> 3) % (bytes - ETHERNET_HEADER_BYTES))
  let at = from
  for (; at + DESCRIPTOR_WORDS < end && left >= descriptors[at + D_LENGTH]!; at += DESCRIPTOR_WORDS)
    left -= descriptors[at + D_LENGTH]!
  const buffer = descriptors[at + D_BUFFER]!
  pool.bufferBytes(buffer)[pool.bufferStart(buffer) + descriptors[at + D_OFFSET]! + left]! ^= 1 << (bit & 7)
  return at
}
