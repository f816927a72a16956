/**
 * What is sent: one buffer with a pattern, which every sent view is a clone of, so that sending costs a line and no byte;
 * and buffers of their own for the heads of datagrams, which differ.
 *
 *   pattern     [2048 bytes]  ◄─ view ◄─ clone ◄─ clone …        a segment each, the sum of all is known
 *   datagram    [seconds u32, microseconds u32, number u32 or u64 | pattern]        one buffer a datagram in flight
 *
 * Invariants:
 *  1. A buffer of the ring is written only while nobody else holds it: not before its last datagram has left.
 *
 * Called by: tcp-stream.ts, udp-stream.ts; closed by session.ts, client.ts.
 */
import type { Host } from '../../stack/host.ts'
import { appendSum, sumBytes } from '../../storage/checksum.ts'
import { BUFFER_BYTES, NO_BUFFER, NO_FRAME, NO_META } from '../../storage/layout.ts'

/** Datagrams that may be on their way at once: as many as a burst of two descriptors each has. */
const RING_BUFFERS = 512

/** Lines of the pool that senders leave to others: one in so many. */
const POOL_SHARE = 4

export class Filler {
  private readonly host: Host
  private readonly pattern: number
  private readonly ring: number[] = []
  private next = 0
  /** Views of the pattern by their length. */
  private readonly views = new Map<number, number>()
  /** The sum of what stands behind a datagram's head, by length and width of the head; the last one asked for. */
  private tailLength = -1
  private tailStart = -1
  private tailSum = 0

  /** Check `isReady`: the pool may be empty. */
  constructor(host: Host) {
    this.host = host
    this.pattern = this.filledBuffer()
  }

  get isReady(): boolean {
    return this.pattern !== NO_BUFFER
  }

  /** A line with `length` bytes of the pattern, to be cloned; the filler's own. NO_META if the pool is empty. */
  view(length: number): number {
    const known = this.views.get(length)
    if (known !== undefined) return known
    const { pool } = this.host
    const sum = this.host.sumView(this.pattern, 0, length) | (NO_FRAME << 16)
    const meta = pool.createView(this.pattern, 0, length, sum)
    if (meta === NO_META) return NO_META
    pool.retainBuffer(this.pattern)
    this.views.set(length, meta)
    return meta
  }

  /** A clone of a view, the caller's; NO_META when so few lines are free that they are for others. */
  clone(view: number): number {
    const { pool } = this.host
    return pool.freeMetas <= Math.trunc(pool.totalMetas / POOL_SHARE) ? NO_META : pool.clone(view)
  }

  /** Shortens a clone to its first bytes. */
  cut(meta: number, length: number): void {
    const { pool } = this.host
    pool.setData(meta, 0, length)
    pool.setSum(meta, this.host.sumView(this.pattern, 0, length))
  }

  /** Takes the buffers for datagrams. @returns false if the pool has none to spare */
  prepareDatagrams(): boolean {
    const { pool } = this.host
    while (this.ring.length < RING_BUFFERS) {
      if (pool.freeBuffers <= Math.trunc(pool.totalBuffers / POOL_SHARE)) break
      this.ring.push(this.filledBuffer())
    }
    return this.ring.length > 0
  }

  /**
   * A chain that is a datagram; NO_META if all are on their way, or no line is free.
   * @param wide numbers have 64 bits
   */
  datagram(length: number, nowUs: number, number: number, wide: boolean): number {
    const { pool } = this.host
    const buffer = this.ring[this.next]!
    if (pool.bufferReferences(buffer) > 1) return NO_META
    const view = pool.bufferView(buffer)
    const at = pool.bufferStart(buffer)
    const seconds = Math.floor(nowUs / 1e6)
    view.setUint32(at, seconds)
    view.setUint32(at + 4, nowUs - seconds * 1e6)
    if (wide) view.setUint32(at + 8, Math.floor(number / 0x1_0000_0000))
    view.setUint32(at + (wide ? 12 : 8), number >>> 0)
    const head = wide ? 16 : 12
    const inFirst = Math.min(length, BUFFER_BYTES)
    if (this.tailLength !== inFirst || this.tailStart !== head) {
      this.tailLength = inFirst
      this.tailStart = head
      this.tailSum = this.host.sumView(buffer, head, inFirst - head)
    }
    const sum = appendSum(sumBytes(view, at, head), head, this.tailSum)
    const first = pool.createView(buffer, 0, inFirst, sum | (NO_FRAME << 16))
    if (first === NO_META) return NO_META
    pool.retainBuffer(buffer)
    this.next = (this.next + 1) % this.ring.length
    return length > inFirst ? this.lengthen(first, length - inFirst) : first
  }

  /** Gives every buffer back; what is still on its way keeps its own references. */
  close(): void {
    const { pool } = this.host
    for (const meta of this.views.values()) pool.release(meta)
    for (const buffer of this.ring) pool.releaseBuffer(buffer)
    if (this.pattern !== NO_BUFFER) pool.releaseBuffer(this.pattern)
    this.views.clear()
    this.ring.length = 0
  }

  /** Adds bytes of the pattern behind a line. */
  private lengthen(first: number, bytes: number): number {
    const { pool } = this.host
    let tail = first
    for (let left = bytes; left > 0; left -= BUFFER_BYTES) {
      const view = this.view(Math.min(left, BUFFER_BYTES))
      const meta = view === NO_META ? NO_META : this.clone(view)
      if (meta === NO_META) {
        pool.releaseChain(first)
        return NO_META
      }
      pool.setNext(tail, meta)
      tail = meta
    }
    return first
  }

  private filledBuffer(): number {
    const { pool } = this.host
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) return NO_BUFFER
    const start = pool.bufferStart(buffer)
    const bytes = pool.bufferBytes(buffer)
    // iperf3 sends digits, too.
    for (let index = 0; index < BUFFER_BYTES; index++) bytes[start + index] = 0x30 + (index % 10)
    return buffer
  }
}
