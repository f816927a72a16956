/**
 * One queue of an AF_XDP device: a socket and its four rings. Frames are received into, and sent from, the pool's own
 * buffers; a burst is taken from and given to the rings without a native call, and a kick has it sent.
 *
 *   pool ─► fill ring ─► kernel writes a frame ─► receive ring ─► stack
 *   stack ─► transmit ring ─► kernel or network card reads ─► completion ring ─► pool
 *
 * Called by: xdp.ts.
 *
 * Invariants:
 *  1. `idle` buffers are the kernel's to receive into, or received and not taken yet.
 *  2. Each transmit descriptor in the kernel's hands holds its buffer until the completion ring has named it.
 */
import { constants } from 'node:os'
import type { XdpSocket } from 'xdp-napi'
import { PackratError } from '../storage/errors.ts'
import { BUFFER_BYTES, NO_BUFFER } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import {
  D_BUFFER,
  D_LENGTH,
  D_OFFSET,
  D_SUM,
  DESCRIPTOR_WORDS,
  type DeviceCounters,
  RECEIVE_BURST_DESCRIPTORS,
  RECEIVE_BURST_FRAMES,
  type ReceiveBurst,
  RX_MORE,
} from './device.ts'
import { XDP_FRAME_DESCRIPTORS_MAX, type XdpMemory } from './xdp-memory.ts'
import { ADDRESS_WORDS_SHIFT, DESCRIPTOR_WORDS_SHIFT, RingConsumer, RingProducer } from './xdp-ring.ts'

/* Words of a receive or transmit descriptor. */
const LENGTH = 2
const OPTIONS = 3
/** XDP_PKT_CONTD: the frame goes on in the next descriptor. */
const CONTINUED = 1

/** What the program writes in front of a frame. The kernel keeps more than that free there: XDP_PACKET_HEADROOM. */
const STAMP_BYTES = 8

/** The fill ring counts as starving below this, or below its target if that is less: a burst could find it empty. */
const IDLE_BUFFERS_LOW = 32

/** What the kernel says of a socket whose interface was deleted: it is bound to nothing any more. */
const INTERFACE_DELETED = -constants.errno.ENXIO

export interface XdpQueueOptions {
  /** Of the device, for people. */
  readonly name: string
  readonly socket: XdpSocket
  readonly pool: Pool
  readonly memory: XdpMemory
  readonly counters: DeviceCounters
  /** Buffers to keep ready for reception. */
  readonly idleTarget: number
  /** The socket takes frames of several descriptors. */
  readonly scatter: boolean
  /** The driver works only when it is called (SO_PREFER_BUSY_POLL). */
  readonly busyPolled: boolean
}

export class XdpQueue {
  readonly socket: XdpSocket
  private readonly name: string
  /** Buffers held for reception. */
  idle = 0
  receivedFrames = 0
  transmittedFrames = 0
  /** Bytes copied because the socket takes only whole frames, or frames of fewer pieces. */
  bytesGathered = 0
  /** The bytes in front of each frame say when it arrived: ns, u64, 0 if the driver does not know. */
  stamped = false
  /** Descriptors in the kernel's hands. */
  private sending = 0
  private readonly pool: Pool
  private readonly memory: XdpMemory
  private readonly counters: DeviceCounters
  private readonly idleTarget: number
  private readonly scatter: boolean
  private readonly busyPolled: boolean
  private readonly fill: RingProducer
  private readonly completion: RingConsumer
  private readonly rx: RingConsumer
  private readonly tx: RingProducer

  constructor(options: XdpQueueOptions) {
    const { rings } = options.socket
    this.name = options.name
    this.socket = options.socket
    this.pool = options.pool
    this.memory = options.memory
    this.counters = options.counters
    this.idleTarget = Math.min(options.idleTarget, rings.fill.entries)
    this.scatter = options.scatter
    this.busyPolled = options.busyPolled
    this.fill = new RingProducer(rings.fill, ADDRESS_WORDS_SHIFT)
    this.completion = new RingConsumer(rings.completion, ADDRESS_WORDS_SHIFT)
    this.rx = new RingConsumer(rings.rx, DESCRIPTOR_WORDS_SHIFT)
    this.tx = new RingProducer(rings.tx, DESCRIPTOR_WORDS_SHIFT)
    this.refill()
  }

  /**
   * Appends received frames to the burst, which has so many already.
   * @returns frames appended. Throws PackratError DEVICE_GONE.
   */
  receive(burst: ReceiveBurst, before: number): number {
    if (this.sending > 0) {
      // A kick leaves frames in the ring when the interface's queue is full, and nothing may come to be sent behind them.
      if (this.tx.hasUntaken) this.kick()
      this.reap()
    }
    const entries = this.wholeFrames(Math.min(this.rx.available(), RECEIVE_BURST_DESCRIPTORS - burst.count))
    const frames = entries > 0 ? this.take(burst, before, entries) : 0
    // A driver may have gone to sleep for want of buffers just after it got the last ones: then no frame will tell.
    if (frames === 0 && (this.busyPolled || this.fill.needsWakeup)) this.wake()
    if (this.idle < this.idleTarget) this.refill()
    return frames
  }

  /** How many of the first entries of the receive ring are whole frames: what follows stays for the next time. */
  private wholeFrames(entries: number): number {
    const { rx } = this
    while (entries > 0 && (rx.words[rx.entry(entries - 1) + OPTIONS]! & CONTINUED) !== 0) entries--
    return entries
  }

  private take(burst: ReceiveBurst, before: number, entries: number): number {
    const { rx, memory, counters } = this
    const words = rx.words
    const descriptors = burst.descriptors
    const framesMax = RECEIVE_BURST_FRAMES - before
    let to = burst.count * DESCRIPTOR_WORDS
    let frames = 0
    let entry = 0
    let more = 0
    for (; entry < entries && frames < framesMax; entry++, to += DESCRIPTOR_WORDS) {
      const at = rx.entry(entry)
      const buffer = memory.bufferAt(words, at)
      const isFirst = more === 0
      more = (words[at + OPTIONS]! & CONTINUED) === 0 ? 0 : RX_MORE
      memory.handOver(buffer)
      descriptors[to + D_BUFFER] = buffer
      descriptors[to + D_OFFSET] = memory.offsetAt(words, at)
      descriptors[to + D_LENGTH] = words[at + LENGTH]!
      descriptors[to + D_SUM] = more
      counters.receivedBytes += words[at + LENGTH]!
      if (this.stamped && isFirst) this.takeStamp(burst, before + frames, buffer, memory.offsetAt(words, at))
      if (more === 0) frames++
    }
    rx.release(entry)
    this.idle -= entry
    burst.count += entry
    counters.receivedFrames += frames
    this.receivedFrames += frames
    return frames
  }

  /** It is cleared where it was read: a frame that comes here without one must not be taken for another's. */
  private takeStamp(burst: ReceiveBurst, frame: number, buffer: number, offset: number): void {
    const view = this.pool.bufferView(buffer)
    const at = this.pool.bufferStart(buffer) + offset - STAMP_BYTES
    burst.setStamp(frame, view.getInt32(at, true), view.getInt32(at + 4, true))
    view.setInt32(at, 0, true)
    view.setInt32(at + 4, 0, true)
  }

  /** Gives the kernel free buffers to receive into. */
  private refill(): void {
    const wanted = this.idleTarget - this.idle
    const room = Math.min(wanted, this.fill.free(wanted))
    let count = 0
    while (count < room) {
      const buffer = this.pool.allocateBuffer()
      if (buffer === NO_BUFFER) break
      this.memory.hold(buffer)
      this.memory.writeAddress(this.fill.words, this.fill.entry(count), buffer, 0)
      count++
    }
    if (count > 0) {
      this.fill.publish(count)
      this.idle += count
      if (this.fill.needsWakeup) this.wake()
    }
    if (this.idle < Math.min(IDLE_BUFFERS_LOW, this.idleTarget)) this.counters.receiveStarved++
  }

  /** All frames of a burst are in the ring: has the kernel send them. */
  finishBurst(): void {
    if (this.sending === 0) return
    this.kick()
    this.reap()
  }

  /** Puts the frame of the descriptors first … last into the ring. False if there is no room. */
  send(descriptors: Int32Array, first: number, last: number): boolean {
    const pieces = (last - first) / DESCRIPTOR_WORDS + 1
    if (pieces > (this.scatter ? XDP_FRAME_DESCRIPTORS_MAX : 1)) return this.sendGathered(descriptors, first, last)
    if (!this.makeRoom(pieces)) return false
    for (let at = first, piece = 0; at <= last; at += DESCRIPTOR_WORDS, piece++) {
      const buffer = descriptors[at + D_BUFFER]!
      this.pool.retainBuffer(buffer)
      this.write(piece, buffer, descriptors[at + D_OFFSET]!, descriptors[at + D_LENGTH]!, at === last ? 0 : CONTINUED)
    }
    this.publish(pieces)
    return true
  }

  /** The same for more pieces than the socket takes: they are copied into as few buffers as hold them. */
  private sendGathered(descriptors: Int32Array, first: number, last: number): boolean {
    const { pool } = this
    let bytes = 0
    for (let at = first; at <= last; at += DESCRIPTOR_WORDS) bytes += descriptors[at + D_LENGTH]!
    const buffers = Math.ceil(bytes / BUFFER_BYTES)
    if (buffers > (this.scatter ? XDP_FRAME_DESCRIPTORS_MAX : 1)) return false
    if (pool.freeBuffers < buffers || !this.makeRoom(buffers)) return false
    let at = first
    let from = 0
    for (let n = 0; n < buffers; n++) {
      const buffer = pool.allocateBuffer()
      let to = 0
      while (at <= last && to < BUFFER_BYTES) {
        const length = Math.min(descriptors[at + D_LENGTH]! - from, BUFFER_BYTES - to)
        this.copy(descriptors[at + D_BUFFER]!, descriptors[at + D_OFFSET]! + from, buffer, to, length)
        to += length
        from += length
        if (from < descriptors[at + D_LENGTH]!) continue
        at += DESCRIPTOR_WORDS
        from = 0
      }
      this.write(n, buffer, 0, to, n < buffers - 1 ? CONTINUED : 0)
    }
    this.bytesGathered += bytes
    this.publish(buffers)
    return true
  }

  private copy(source: number, offset: number, target: number, to: number, length: number): void {
    const from = this.pool.bufferBytes(source)
    const into = this.pool.bufferBytes(target)
    const start = this.pool.bufferStart(source) + offset
    const end = this.pool.bufferStart(target) + to
    for (let index = 0; index < length; index++) into[end + index] = from[start + index]!
  }

  /** The nth entry to publish; its buffer's reference is the device's from here on. */
  private write(n: number, buffer: number, offset: number, length: number, options: number): void {
    const words = this.tx.words
    const entry = this.tx.entry(n)
    this.memory.hold(buffer)
    this.memory.writeAddress(words, entry, buffer, offset)
    words[entry + LENGTH] = length
    words[entry + OPTIONS] = options
    this.counters.transmittedBytes += length
  }

  /** A frame goes into the ring whole: the kernel could look at it at any time. */
  private publish(pieces: number): void {
    this.tx.publish(pieces)
    this.sending += pieces
    this.counters.transmittedFrames++
    this.transmittedFrames++
  }

  private makeRoom(entries: number): boolean {
    if (this.tx.free(entries) >= entries) return true
    this.kick()
    this.reap()
    return this.tx.free(entries) >= entries
  }

  private kick(): void {
    if (this.tx.needsWakeup) this.check(this.socket.kick())
  }

  /** Has the driver look at the fill ring. Throws PackratError DEVICE_GONE. */
  wake(): void {
    this.check(this.socket.wake())
  }

  /** Other errors pass: an interface that is down may come up again. */
  private check(status: number): void {
    if (status === INTERFACE_DELETED)
      throw new PackratError(
        'DEVICE_GONE',
        `${this.name} was deleted by another program; restart when it is there again`,
      )
  }

  /** Gives back the buffers of frames that have left. */
  private reap(): void {
    const { completion, memory } = this
    const count = completion.available()
    if (count === 0) return
    for (let index = 0; index < count; index++) {
      memory.release(memory.bufferAt(completion.words, completion.entry(index)))
    }
    completion.release(count)
    this.sending -= count
  }
}
