/**
 * Two devices joined by a link in memory: what one transmits the other receives. For tests in virtual time, so
 * it reads no clock, draws no random number and delivers in the order of the calls.
 *
 * Called by: tests, each end by one stack. Calls: the pool of the receiving end, checksum.
 *
 *   a.transmit ─► gather into a buffer of b's pool ─► filter ─► queue of b ─► b.receive
 *                                                       └─ hold ─► held ── releaseHeld() ─┘
 *
 * A frame that is longer than a piece lies in several buffers of the receiver, of which each but the last is filled with
 * one piece.
 *
 * Each end has a pool of its own (or both the same one): a frame is always copied, so neither end can see the
 * other change bytes later. The sum is computed in JavaScript behind the filter: a filter that flips a bit makes
 * a frame that fails its checksum, as on a wire.
 *
 * Invariants:
 *  1. A queued or held frame holds exactly one reference to its buffer; close() returns all of them.
 *  2. `ready` runs from a microtask, never inside the peer's transmit: no end re-enters the other.
 */
import { PackratError } from '../storage/errors.ts'
import { BUFFER_BYTES, NO_BUFFER } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import {
  D_BUFFER,
  D_FLAGS,
  D_LENGTH,
  D_OFFSET,
  DESCRIPTOR_WORDS,
  type Device,
  type DeviceCapabilities,
  DeviceCounters,
  RECEIVE_BURST_DESCRIPTORS,
  RECEIVE_BURST_FRAMES,
  type ReceiveBurst,
  RX_PIECE_BYTES_MIN,
  type TransmitBurst,
  TX_MORE,
} from './device.ts'
import { gatherFrame, scatterFrame, sumFrame } from './frame-copy.ts'

const ETHERNET_HEADER_BYTES = 14 // IEEE 802.3: two addresses and the type
const MTU_DEFAULT = 1500
const MTU_MAX = 65_535 // RFC 791: the longest packet
const QUEUE_LIMIT_DEFAULT = 1024 // frames; Linux's default txqueuelen is 1000
/** In a word of the queue, beside a length: the frame goes on. */
const MORE = 1 << 16
const LENGTH_MASK = 0xffff

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
  /** Bytes of a frame that a buffer of a receiver takes; default 2048. */
  readonly pieceBytes?: number
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
    const pieceBytes = options.pieceBytes ?? BUFFER_BYTES
    if (mtu < 1 || mtu > MTU_MAX) throw new RangeError(`mtu ${mtu} out of range`)
    if (pieceBytes < RX_PIECE_BYTES_MIN || pieceBytes > BUFFER_BYTES)
      throw new RangeError(`piece of ${pieceBytes} bytes out of range`)
    if (queueLimit < 1) throw new RangeError(`queue limit ${queueLimit} out of range`)
    const macA = options.macA ?? Uint8Array.of(0x02, 0, 0, 0, 0, 0x0a)
    const macB = options.macB ?? Uint8Array.of(0x02, 0, 0, 0, 0, 0x0b)
    this.a = new MemoryDevice('memory:a', options.poolA, macA, mtu, pieceBytes, queueLimit, 'a-to-b', options.filter)
    this.b = new MemoryDevice('memory:b', options.poolB, macB, mtu, pieceBytes, queueLimit, 'b-to-a', options.filter)
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

  /** Bytes of a frame that a buffer takes, and the words of the queue that a frame takes at most. */
  private readonly pieceBytes: number
  private readonly frameWordsMax: number
  /** Ring of what is to be received, [buffer, length | MORE]: words [queueHead, queueTail), counting up, `queued` frames. */
  private readonly queue: Int32Array
  private readonly queueLimit: number
  private queueHead = 0
  private queueTail = 0
  private queued = 0
  /** Frames to receive that the filter holds back, as words of the queue. */
  private held: number[][] = []
  /** A frame of several pieces that is being sent here: its bytes, and its descriptors. */
  private readonly longFrame: Uint8Array
  private readonly pieces: Int32Array

  constructor(
    name: string,
    pool: Pool,
    mac: Uint8Array,
    mtu: number,
    pieceBytes: number,
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
    this.pieceBytes = pieceBytes
    this.direction = direction
    this.filter = filter
    const pieces = Math.ceil(this.frameBytesMax / pieceBytes)
    this.frameWordsMax = 2 * pieces
    this.queueLimit = queueLimit
    this.queue = new Int32Array((queueLimit + 1) * this.frameWordsMax) // head and tail meet only when it is empty
    this.longFrame = new Uint8Array(pieces > 1 ? this.frameBytesMax : 0)
    this.pieces = new Int32Array(pieces * DESCRIPTOR_WORDS)
  }

  /** Frames that wait to be received. */
  get pendingFrames(): number {
    return this.queued
  }

  get heldFrames(): number {
    return this.held.length
  }

  connect(peer: MemoryDevice): void {
    this.peer = peer
  }

  receive(burst: ReceiveBurst): number {
    this.requireOpen()
    const { counters, pool } = this
    const { descriptors } = burst
    const end = (RECEIVE_BURST_DESCRIPTORS - (this.frameWordsMax >> 1)) * DESCRIPTOR_WORDS
    const limit = Math.min(this.queued, RECEIVE_BURST_FRAMES)
    let frames = 0
    let to = 0
    for (; frames < limit && to <= end; frames++) {
      const from = to
      for (let more = MORE; more !== 0; to += DESCRIPTOR_WORDS) {
        const word = this.queue[this.queueHead + 1]!
        more = word & MORE
        descriptors[to + D_BUFFER] = this.queue[this.queueHead]!
        descriptors[to + D_OFFSET] = 0
        descriptors[to + D_LENGTH] = word & LENGTH_MASK
        counters.receivedBytes += word & LENGTH_MASK
        this.queueHead = (this.queueHead + 2) % this.queue.length
      }
      sumFrame(pool, descriptors, from, to)
    }
    counters.receivedFrames += frames
    this.queued -= frames
    burst.count = to / DESCRIPTOR_WORDS
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
    for (; this.queueHead !== this.queueTail; this.queueHead = (this.queueHead + 2) % this.queue.length)
      this.pool.releaseBuffer(this.queue[this.queueHead]!)
    this.queued = 0
    for (const frame of this.held) this.releaseWords(frame)
    this.held = []
  }

  /** Moves held frames into the queue, oldest first; those over its limit are lost. Returns how many were held. */
  releaseHeld(): number {
    const { held } = this
    this.held = []
    for (const frame of held) this.deliverWords(frame)
    return held.length
  }

  /** Takes one frame, descriptors [first, end), to the peer. False: the link refused it. */
  private send(descriptors: Int32Array, first: number, end: number, length: number): boolean {
    const peer = this.peer
    if (peer === undefined || peer.closed) return false
    if (length < ETHERNET_HEADER_BYTES || length > this.frameBytesMax) return false
    if (peer.queued === peer.queueLimit) return false
    const from = first * DESCRIPTOR_WORDS
    if (length > peer.pieceBytes) return this.sendLong(peer, descriptors, from, end * DESCRIPTOR_WORDS, length)
    const pool = peer.pool
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) {
      peer.counters.receiveStarved++
      return false
    }
    const start = pool.bufferStart(buffer)
    gatherFrame(this.pool, descriptors, from, end * DESCRIPTOR_WORDS, pool.bufferBytes(buffer), start)
    if (this.filter === undefined) return peer.enqueue(buffer, length)

    const frame = pool.bufferBytes(buffer).subarray(start, start + length)
    switch (this.filter(frame, this.direction, this.sentIndex++)) {
      case 'drop':
        pool.releaseBuffer(buffer)
        break
      case 'hold':
        peer.held.push([buffer, length])
        break
      case 'duplicate':
        peer.deliverCopy(frame)
        peer.deliver(buffer, length)
        break
      case 'pass':
        peer.deliver(buffer, length)
    }
    return true // what the filter does happens on the wire: the sender does not learn of it
  }

  /** The same for a frame of several pieces: the filter sees it before it is cut. */
  private sendLong(peer: MemoryDevice, descriptors: Int32Array, from: number, end: number, length: number): boolean {
    const frame = this.longFrame.subarray(0, length)
    gatherFrame(this.pool, descriptors, from, end, frame, 0)
    const verdict = this.filter?.(frame, this.direction, this.sentIndex++) ?? 'pass'
    if (verdict === 'drop') return true
    if (verdict === 'duplicate') peer.deliverCopy(frame)
    const words = peer.scatter(frame)
    if (words === undefined) return false
    if (verdict === 'hold') peer.held.push(words)
    else peer.deliverWords(words)
    return true
  }

  /** A frame in buffers of its own, like the first: the receiver may change one and keep the other. */
  private deliverCopy(frame: Uint8Array): void {
    const words = this.scatter(frame)
    if (words !== undefined) this.deliverWords(words)
  }

  /** A frame as words of the queue; undefined if the pool has not enough buffers. */
  private scatter(frame: Uint8Array): number[] | undefined {
    const { pieces } = this
    const end = scatterFrame(this.pool, frame, this.pieceBytes, pieces, 0)
    if (end === 0) {
      this.counters.receiveStarved++
      return undefined
    }
    const words: number[] = []
    for (let at = 0; at < end; at += DESCRIPTOR_WORDS) {
      const more = at + DESCRIPTOR_WORDS < end ? MORE : 0
      words.push(pieces[at + D_BUFFER]!, pieces[at + D_LENGTH]! | more)
    }
    return words
  }

  /** Enqueues, or frees the buffers when the queue is full. */
  private deliverWords(words: readonly number[]): void {
    if (this.queued === this.queueLimit) {
      this.releaseWords(words)
      return
    }
    for (const word of words) {
      this.queue[this.queueTail] = word
      this.queueTail = (this.queueTail + 1) % this.queue.length
    }
    this.noteQueued()
  }

  private releaseWords(words: readonly number[]): void {
    for (let at = 0; at < words.length; at += 2) this.pool.releaseBuffer(words[at]!)
  }

  /** Enqueues, or frees the buffer when the queue is full. */
  private deliver(buffer: number, length: number): void {
    if (!this.enqueue(buffer, length)) this.pool.releaseBuffer(buffer)
  }

  private enqueue(buffer: number, length: number): boolean {
    if (this.queued === this.queueLimit) return false
    this.queue[this.queueTail] = buffer
    this.queue[this.queueTail + 1] = length
    this.queueTail = (this.queueTail + 2) % this.queue.length
    this.noteQueued()
    return true
  }

  private noteQueued(): void {
    this.queued++
    if (this.ready !== undefined) this.scheduleReady()
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
