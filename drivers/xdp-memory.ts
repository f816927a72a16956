/**
 * The pool's buffers as chunks of the UMEM, and how often the device holds each.
 *
 * The UMEM is the whole mapping of the region, so an address is an offset in the region, and buffers, which are chunks
 * of 2048 bytes at multiples of 2048, keep their place:
 *
 *   mapping   [ header | lines of extent 0 | buffer 0 | buffer 1 | … | lines of extent 1 | … ]
 *   chunk       0 …                          firstChunk[0]             …
 *   address = chunk * 2048 + offset in the buffer, u64: low word chunk << 11 | offset, high word chunk >>> 21
 *
 * Called by: xdp.ts.
 *
 * Invariant: the device has one reference of the pool to a buffer for each time it is held here, and no other.
 */
import { BUFFER_BYTES, BUFFER_SHIFT, EXTENT_BUFFERS_SHIFT } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'

/** What the kernel keeps free in front of each frame that it receives: XDP_PACKET_HEADROOM. */
const HEADROOM_BYTES = 256
/** Ethernet header and one VLAN tag around the packet. */
const FRAME_OVERHEAD_BYTES = 18
/** Largest IP packet whose frame fits a buffer behind the headroom. */
export const XDP_BUFFER_MTU = BUFFER_BYTES - HEADROOM_BYTES - FRAME_OVERHEAD_BYTES
/** Descriptors of one frame that Linux takes: MAX_SKB_FRAGS and one. */
export const XDP_FRAME_DESCRIPTORS_MAX = 18
/** Largest IP packet whose frame fits so many buffers, each with headroom in front of what it holds. */
export const XDP_MTU_MAX = XDP_FRAME_DESCRIPTORS_MAX * (BUFFER_BYTES - HEADROOM_BYTES) - FRAME_OVERHEAD_BYTES

const EXTENT_BUFFERS_MASK = (1 << EXTENT_BUFFERS_SHIFT) - 1
const OFFSET_MASK = BUFFER_BYTES - 1
const HIGH_SHIFT = 32 - BUFFER_SHIFT

export class XdpMemory {
  /** ArrayBuffers of the extents, and where each begins in the mapping, bytes. */
  readonly extents: readonly ArrayBuffer[]
  readonly offsets: readonly number[]
  private readonly pool: Pool
  private readonly firstChunk: Int32Array
  private readonly endChunk: Int32Array
  /** The extent of the last chunk that was looked up: the next one is probably in it, too. */
  private extent = 0
  /** Times that each buffer is held, by buffer index: one that many clients ask for stands in the rings of every queue. */
  private readonly held: Int32Array

  constructor(pool: Pool, extentOffsets: readonly number[]) {
    this.pool = pool
    this.extents = pool.bytes.map((bytes) => bytes.buffer as ArrayBuffer)
    this.offsets = extentOffsets
    this.firstChunk = new Int32Array(this.extents.length)
    this.endChunk = new Int32Array(this.extents.length)
    for (let extent = 0; extent < this.extents.length; extent++) {
      const start = extentOffsets[extent]! + pool.dataStart[extent]!
      if (start % BUFFER_BYTES !== 0) throw new RangeError(`buffers of extent ${extent} are not chunks of the mapping`)
      this.firstChunk[extent] = start / BUFFER_BYTES
      this.endChunk[extent] = start / BUFFER_BYTES + pool.extentBuffers[extent]!
    }
    this.held = new Int32Array(pool.bufferIndexEnd)
  }

  /** Writes the address of a byte of a buffer to words[at] and words[at + 1]. */
  writeAddress(words: Int32Array, at: number, buffer: number, offset: number): void {
    const chunk = this.firstChunk[buffer >>> EXTENT_BUFFERS_SHIFT]! + (buffer & EXTENT_BUFFERS_MASK)
    words[at] = (chunk << BUFFER_SHIFT) | offset
    words[at + 1] = chunk >>> HIGH_SHIFT
  }

  /** The buffer of the address at words[at]. The kernel returns only addresses that it got from us. */
  bufferAt(words: Int32Array, at: number): number {
    const chunk = (words[at]! >>> BUFFER_SHIFT) | (words[at + 1]! << HIGH_SHIFT)
    let extent = this.extent
    if (chunk < this.firstChunk[extent]! || chunk >= this.endChunk[extent]!) {
      extent = 0
      while (chunk >= this.endChunk[extent]!) extent++
      this.extent = extent
    }
    return (extent << EXTENT_BUFFERS_SHIFT) | (chunk - this.firstChunk[extent]!)
  }

  /** Where in its buffer the address at words[at] lies. */
  offsetAt(words: Int32Array, at: number): number {
    return words[at]! & OFFSET_MASK
  }

  /** Notes that a reference of the pool's is now the device's. */
  hold(buffer: number): void {
    this.held[buffer]!++
  }

  /** The reference goes to somebody else. */
  handOver(buffer: number): void {
    this.held[buffer]!--
  }

  /** The reference goes back to the pool. */
  release(buffer: number): void {
    this.held[buffer]!--
    this.pool.releaseBuffer(buffer)
  }

  /** Everything that is held goes back to the pool: the kernel is done with the memory. */
  releaseAll(): void {
    for (let buffer = 0; buffer < this.held.length; buffer++) while (this.held[buffer]! > 0) this.release(buffer)
  }
}
