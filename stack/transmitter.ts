/**
 * Collects the frames of one loop turn and hands them to the device. A frame is a header, written into a slot that
 * is cut from a pool buffer, and views that lie wherever they lie:
 *
 *   begin()   [slot 128 bytes | slot | … 16 a buffer]   header goes here
 *   push(header), push(view), push(view) …              descriptors of a TransmitBurst
 *   flush()   device.transmit, then the header buffers and the buffers of releaseLater go back
 *
 * Invariants:
 *  1. Between begin() and the last push() of a frame the burst is not flushed.
 *  2. After flush() the transmitter holds no buffer.
 *
 * Called by: arp.ts, ipv4.ts, icmp.ts, tcp/output.ts; flushed by Host.
 */
import {
  DESCRIPTOR_WORDS,
  type Device,
  TRANSMIT_BURST_DESCRIPTORS,
  TransmitBurst,
  TX_FRAME_DESCRIPTORS_MAX,
  TX_MORE,
  TX_SEGMENT_SHIFT,
  TX_TCP,
} from '../drivers/device.ts'
import { BUFFER_BYTES, NO_BUFFER } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import { HEADER_SLOT_BYTES } from './limits.ts'

export class Transmitter {
  /** The slot of the frame being built: buffer and offset in it, and where that is in `view`. */
  buffer = NO_BUFFER
  offset = 0
  view: DataView
  at = 0
  /** First descriptor of the frame being built. */
  frameStart = 0

  private readonly device: Device
  private readonly pool: Pool
  private readonly burst = new TransmitBurst()
  /** Where the next slot lies: NO_BUFFER if a new buffer is needed. */
  private slotBuffer = NO_BUFFER
  private slotOffset = 0
  private readonly releases = new Int32Array(TRANSMIT_BURST_DESCRIPTORS)
  private releaseCount = 0

  constructor(device: Device, pool: Pool) {
    this.device = device
    this.pool = pool
    this.view = pool.views[0]!
  }

  /** Starts a frame: takes a header slot. False if the pool is empty. */
  begin(): boolean {
    // Of a frame: the slot's buffer, and those of its views.
    if (!this.burst.hasRoom() || this.releaseCount + TX_FRAME_DESCRIPTORS_MAX > this.releases.length) this.flush()
    if (this.slotBuffer === NO_BUFFER) {
      const buffer = this.pool.allocateBuffer()
      if (buffer === NO_BUFFER) return false
      this.releases[this.releaseCount++] = buffer
      this.slotBuffer = buffer
      this.slotOffset = 0
    }
    this.buffer = this.slotBuffer
    this.offset = this.slotOffset
    this.view = this.pool.bufferView(this.buffer)
    this.at = this.pool.bufferStart(this.buffer) + this.offset
    this.frameStart = this.burst.count
    this.slotOffset += HEADER_SLOT_BYTES
    if (this.slotOffset === BUFFER_BYTES) this.slotBuffer = NO_BUFFER
    return true
  }

  /** Adds a piece to the frame; `more` says that another follows. */
  push(buffer: number, offset: number, length: number, more: boolean): void {
    this.burst.push(buffer, offset, length, more ? TX_MORE : 0)
  }

  /**
   * The same for the headers of a TCP segment; with `segmentBytes` the payload behind them is that of several segments of
   * so many bytes.
   */
  pushTcpHeaders(length: number, more: boolean, segmentBytes: number): void {
    const flags = (segmentBytes << TX_SEGMENT_SHIFT) | TX_TCP
    this.burst.push(this.buffer, this.offset, length, more ? flags | TX_MORE : flags)
  }

  /** Takes over a reference and gives it back when the burst has left. */
  releaseLater(buffer: number): void {
    this.releases[this.releaseCount++] = buffer
  }

  /**
   * Takes the finished frame back out of the burst, into `into` from word `at` on, with a reference to each of its buffers.
   * @returns number of descriptors
   */
  withdraw(into: Int32Array, at: number): number {
    const count = this.burst.count - this.frameStart
    const from = this.frameStart * DESCRIPTOR_WORDS
    for (let word = 0; word < count * DESCRIPTOR_WORDS; word++) into[at + word] = this.burst.descriptors[from + word]!
    for (let index = 0; index < count; index++) this.pool.retainBuffer(into[at + index * DESCRIPTOR_WORDS]!)
    this.burst.count = this.frameStart
    this.burst.frames--
    return count
  }

  /** Sends what withdraw() took out; its references go with it. */
  pushWithdrawn(from: Int32Array, at: number, count: number): void {
    if (!this.burst.hasRoom() || this.releaseCount + count > this.releases.length) this.flush()
    for (let index = 0; index < count; index++) {
      const d = at + index * DESCRIPTOR_WORDS
      this.burst.push(from[d]!, from[d + 1]!, from[d + 2]!, from[d + 3]!)
      this.releaseLater(from[d]!)
    }
  }

  /** Gives everything collected to the device. */
  flush(): void {
    if (this.burst.count > 0) {
      this.device.transmit(this.burst)
      this.burst.clear()
    }
    for (let index = 0; index < this.releaseCount; index++) this.pool.releaseBuffer(this.releases[index]!)
    this.releaseCount = 0
    this.slotBuffer = NO_BUFFER
  }
}
