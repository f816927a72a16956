/**
 * Two devices joined by a link in memory: what one transmits the other receives. For tests in virtual time, so
 * it reads no clock, draws no random number and delivers in the order of the calls.
 *
 * Called by: tests, each end by one stack. Calls: the pool of the receiving end, checksum.
 *
 *   a.transmit ─► gather into a buffer of b's pool ─► filter ─► queue of b ─► b.receive
 *                                                       └─ hold ─► held ── releaseHeld() ─┘
 *
 * Each end has a pool of its own (or both the same one): a frame is always copied, so neither end can see the
 * other change bytes later. The sum is computed in JavaScript behind the filter: a filter that flips a bit makes
 * a frame that fails its checksum, as on a wire.
 *
 * Invariants:
 *  1. A queued or held frame holds exactly one reference to its buffer; close() returns all of them.
 *  2. `ready` runs from a microtask, never inside the peer's transmit: no end re-enters the other.
 */
import { sumBytes } from '../storage/checksum.ts'
import { PackratError } from '../storage/errors.ts'
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
  DeviceCounters,
  RECEIVE_BURST_FRAMES,
  type ReceiveBurst,
  type TransmitBurst,
  TX_MORE,
} from './device.ts'

const ETHERNET_HEADER_BYTES = 14 // IEEE 802.3: two addresses and the type
const MTU_DEFAULT = 1500
const QUEUE_LIMIT_DEFAULT = 1024 // frames; Linux's default txqueuelen is 1000

export type LinkDirection = 'a-to-b' | 'b-to-a'
/** `hold` keeps the frame aside until `releaseHeld`: the frames behind it overtake. */
export type LinkVerdict = 'pass' | 'drop' | 'duplicate' | 'hold'
/**
 * Decides about one frame. `index` counts the frames of its direction from 0. The bytes are the receiver's copy:
 * valid during the call only, and changes to them arrive.
 */
export type LinkFilter = (frame: Uint8Array, direction: LinkDirection, index: number) => LinkVerdict

export interface MemoryPairOptions {
  readonly poolA: Pool
  readonly poolB: Pool
  /** 6 bytes each; by default locally administered and distinct. */
  readonly macA?: Uint8Array
  readonly macB?: Uint8Array
  /** Largest IP packet, bytes; default 1500. */
  readonly mtu?: number
  readonly filter?: LinkFilter
  /** Frames that wait at a receiving end before the sender's are refused; default 1024. */
  readonly queueLimit?: number
}

export class MemoryPair {
  readonly a: MemoryDevice
  readonly b: MemoryDevice

  constructor(options: MemoryPairOptions) {
    const mtu = options.mtu ?? MTU_DEFAULT
    const queueLimit = options.queueLimit ?? QUEUE_LIMIT_DEFAULT
    if (mtu < 1 || mtu + ETHERNET_HEADER_BYTES > BUFFER_BYTES) throw new RangeError(`mtu ${mtu} out of range`)
    if (queueLimit < 1) throw new RangeError(`queue limit ${queueLimit} out of range`)
    const macA = options.macA ?? Uint8Array.of(0x02, 0, 0, 0, 0, 0x0a)
    const macB = options.macB ?? Uint8Array.of(0x02, 0, 0, 0, 0, 0x0b)
    this.a = new MemoryDevice('memory:a', options.poolA, macA, mtu, queueLimit, 'a-to-b', options.filter)
    this.b = new MemoryDevice('memory:b', options.poolB, macB, mtu, queueLimit, 'b-to-a', options.filter)
    this.a.connect(this.b)
    this.b.connect(this.a)
  }

  /** Delivers the held frames of a direction (or of both), oldest first. Returns how many there were. */
  releaseHeld(direction?: LinkDirection): number {
    let released = 0
    if (direction !== 'b-to-a') released += this.b.releaseHeld()
    if (direction !== 'a-to-b') released += this.a.releaseHeld()
    return released
  }

  close(): void {
    this.a.close()
    this.b.close()
  }
}

/** One end. `transmit` runs at the sender and fills the queue of the receiver, its `peer`. */
export class MemoryDevice implements Device {
  readonly name: string
  readonly mac: Uint8Array
  readonly capabilities: DeviceCapabilities
  readonly counters = new DeviceCounters()
  /** Buffers are taken when a frame comes in; none wait idle. */
  readonly idleBuffers = 0

  private readonly pool: Pool
  private readonly direction: LinkDirection
  private readonly filter: LinkFilter | undefined
  private readonly frameBytesMax: number
  private peer: MemoryDevice | undefined
  private sentIndex = 0
  private closed = false
  private ready: (() => void) | undefined
  private readySoon = false

  /** Ring of frames to receive: [buffer, length], `queued` of them from `queueHead` on. */
  private readonly queue: Int32Array
  private readonly queueLimit: number
  private queueHead = 0
  private queued = 0
  /** Frames to receive that the filter holds back: buffer, length, buffer, length... */
  private held: number[] = []

  constructor(
    name: string,
    pool: Pool,
    mac: Uint8Array,
    mtu: number,
    queueLimit: number,
    direction: LinkDirection,
    filter: LinkFilter | undefined,
  ) {
    if (mac.length !== 6) throw new RangeError('a MAC address has 6 bytes')
    this.name = name
    this.pool = pool
    this.mac = mac
    this.capabilities = { mtu, receiveSum: true }
    this.frameBytesMax = mtu + ETHERNET_HEADER_BYTES
    this.direction = direction
    this.filter = filter
    this.queueLimit = queueLimit
    this.queue = new Int32Array(queueLimit * 2)
  }

  /** Frames that wait to be received. */
  get pendingFrames(): number {
    return this.queued
  }

  get heldFrames(): number {
    return this.held.length >> 1
  }

  connect(peer: MemoryDevice): void {
    this.peer = peer
  }

  receive(burst: ReceiveBurst): number {
    this.requireOpen()
    const pool = this.pool
    const descriptors = burst.descriptors
    const frames = Math.min(this.queued, RECEIVE_BURST_FRAMES)
    for (let frame = 0; frame < frames; frame++) {
      const buffer = this.queue[this.queueHead * 2]!
      const length = this.queue[this.queueHead * 2 + 1]!
      this.queueHead = (this.queueHead + 1) % this.queueLimit
      const at = frame * DESCRIPTOR_WORDS
      descriptors[at + D_BUFFER] = buffer
      descriptors[at + D_OFFSET] = 0
      descriptors[at + D_LENGTH] = length
      descriptors[at + D_SUM] = sumBytes(
        pool.bufferView(buffer),
        pool.bufferStart(buffer) + ETHERNET_HEADER_BYTES,
        length - ETHERNET_HEADER_BYTES,
      )
      this.counters.receivedFrames++
      this.counters.receivedBytes += length
    }
    this.queued -= frames
    burst.count = frames
    return frames
  }

  transmit(burst: TransmitBurst): number {
    this.requireOpen()
    const descriptors = burst.descriptors
    const counters = this.counters
    let sent = 0
    let first = 0
    let length = 0
    for (let index = 0; index < burst.count; index++) {
      const at = index * DESCRIPTOR_WORDS
      length += descriptors[at + D_LENGTH]!
      if (descriptors[at + D_FLAGS]! & TX_MORE) continue
      if (this.send(descriptors, first, index + 1, length)) {
        sent++
        counters.transmittedFrames++
        counters.transmittedBytes += length
      } else counters.transmitDropped++
      first = index + 1
      length = 0
    }
    if (first < burst.count) throw new RangeError('the last descriptor of a transmit burst says that the frame goes on')
    return sent
  }

  waitReadable(ready: () => void): void {
    this.requireOpen()
    this.ready = ready
    if (this.queued > 0) this.scheduleReady()
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.ready = undefined
    for (; this.queued > 0; this.queued--) {
      this.pool.releaseBuffer(this.queue[this.queueHead * 2]!)
      this.queueHead = (this.queueHead + 1) % this.queueLimit
    }
    for (let at = 0; at < this.held.length; at += 2) this.pool.releaseBuffer(this.held[at]!)
    this.held = []
  }

  /** Moves held frames into the queue, oldest first; those over its limit are lost. Returns how many were held. */
  releaseHeld(): number {
    const held = this.held
    this.held = []
    for (let at = 0; at < held.length; at += 2) {
      if (!this.enqueue(held[at]!, held[at + 1]!)) this.pool.releaseBuffer(held[at]!)
    }
    return held.length >> 1
  }

  /** Takes one frame, descriptors [first, end), to the peer. False: the link refused it. */
  private send(descriptors: Int32Array, first: number, end: number, length: number): boolean {
    const peer = this.peer
    if (peer === undefined || peer.closed) return false
    if (length < ETHERNET_HEADER_BYTES || length > this.frameBytesMax) return false
    if (peer.queued === peer.queueLimit) return false
    const pool = peer.pool
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) {
      peer.counters.receiveStarved++
      return false
    }
    const start = pool.bufferStart(buffer)
    this.gather(descriptors, first, end, pool.bufferBytes(buffer), start)
    if (this.filter === undefined) return peer.enqueue(buffer, length)

    const frame = pool.bufferBytes(buffer).subarray(start, start + length)
    switch (this.filter(frame, this.direction, this.sentIndex++)) {
      case 'drop':
        pool.releaseBuffer(buffer)
        break
      case 'hold':
        peer.held.push(buffer, length)
        break
      case 'duplicate':
        peer.enqueueCopy(frame)
        peer.deliver(buffer, length)
        break
      case 'pass':
        peer.deliver(buffer, length)
    }
    return true // what the filter does happens on the wire: the sender does not learn of it
  }

  private gather(descriptors: Int32Array, first: number, end: number, target: Uint8Array, start: number): void {
    const pool = this.pool
    for (let index = first; index < end; index++) {
      const at = index * DESCRIPTOR_WORDS
      const buffer = descriptors[at + D_BUFFER]!
      const from = pool.bufferStart(buffer) + descriptors[at + D_OFFSET]!
      const source = pool.bufferBytes(buffer)
      const length = descriptors[at + D_LENGTH]!
      if (descriptors[at + D_OFFSET]! + length > BUFFER_BYTES)
        throw new RangeError(`view passes the end of buffer ${buffer}`)
      for (let byte = 0; byte < length; byte++) target[start + byte] = source[from + byte]!
      start += length
    }
  }

  /** A frame in a buffer of its own, like the first: the receiver may change one and keep the other. */
  private enqueueCopy(frame: Uint8Array): void {
    const buffer = this.pool.allocateBuffer()
    if (buffer === NO_BUFFER) {
      this.counters.receiveStarved++
      return
    }
    this.pool.bufferBytes(buffer).set(frame, this.pool.bufferStart(buffer))
    this.deliver(buffer, frame.length)
  }

  /** Enqueues, or frees the buffer when the queue is full. */
  private deliver(buffer: number, length: number): void {
    if (!this.enqueue(buffer, length)) this.pool.releaseBuffer(buffer)
  }

  private enqueue(buffer: number, length: number): boolean {
    if (this.queued === this.queueLimit) return false
    const at = ((this.queueHead + this.queued) % this.queueLimit) * 2
    this.queue[at] = buffer
    this.queue[at + 1] = length
    this.queued++
    if (this.ready !== undefined) this.scheduleReady()
    return true
  }

  private scheduleReady(): void {
    if (this.readySoon) return
    this.readySoon = true
    queueMicrotask(() => {
      this.readySoon = false
      const ready = this.ready
      if (ready === undefined || this.queued === 0) return
      this.ready = undefined
      ready()
    })
  }

  private requireOpen(): void {
    if (this.closed) throw new PackratError('DEVICE_CLOSED', `${this.name} is closed: no frame can pass any more`)
  }
}
