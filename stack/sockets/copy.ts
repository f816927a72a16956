/**
 * The one place where bytes are copied between the stack's lines and the Buffers that node's interfaces want.
 *
 *   in    lines ─► copyChain ─► Buffer                                    read, receive
 *   out   Buffers ─► OutgoingBytes ─► lines of a segment's size each      write, send
 *
 * A line as long as a segment brings its Internet sum along, so that the bytes are not read again when it is sent.
 *
 * Called by: channel.ts, datagram.ts. Calls: the pool.
 */
import { BUFFER_BYTES, NO_BUFFER, NO_FRAME, NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import type { SumView } from '../host-options.ts'

/** The chain's bytes; the chain is released. */
export function copyChain(pool: Pool, chain: number): Buffer {
  let length = 0
  for (let meta = chain; meta !== NO_META; meta = pool.next(meta)) length += pool.dataLength(meta)
  const bytes = Buffer.allocUnsafe(length)
  let at = 0
  let meta = chain
  while (meta !== NO_META) {
    const start = pool.dataStartOf(meta)
    const end = start + pool.dataLength(meta)
    bytes.set(pool.dataBytes(meta).subarray(start, end), at)
    at += end - start
    meta = pool.release(meta)
  }
  return bytes
}

/** Buffers that wait to be copied into lines; they must not change until `left` is 0. */
export class OutgoingBytes {
  left = 0
  private chunks: readonly Uint8Array[] = []
  private index = 0
  private offset = 0

  /** Only when nothing is left of what was there before. */
  set(chunks: readonly Uint8Array[]): void {
    this.chunks = chunks
    this.index = 0
    this.offset = 0
    this.left = 0
    for (const chunk of chunks) this.left += chunk.length
  }

  /** Forgets what is left. */
  clear(): void {
    this.set([])
  }

  /** A new line with the next bytes, `limitBytes` at most and no more than a buffer; NO_META (and nothing taken) if the pool is empty. */
  nextLine(pool: Pool, sumView: SumView, limitBytes: number): number {
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) return NO_META
    const length = Math.min(limitBytes, BUFFER_BYTES, this.left)
    const meta = pool.createView(buffer, 0, length, NO_FRAME << 16)
    if (meta === NO_META) {
      pool.releaseBuffer(buffer)
      return NO_META
    }
    this.take(pool.bufferBytes(buffer), pool.bufferStart(buffer), length)
    pool.setSum(meta, sumView(buffer, 0, length))
    return meta
  }

  private take(target: Uint8Array, at: number, length: number): void {
    this.left -= length
    while (length > 0) {
      const chunk = this.chunks[this.index]!
      const part = Math.min(length, chunk.length - this.offset)
      target.set(chunk.subarray(this.offset, this.offset + part), at)
      at += part
      length -= part
      this.offset += part
      if (this.offset < chunk.length) continue
      this.index++
      this.offset = 0
    }
  }
}
