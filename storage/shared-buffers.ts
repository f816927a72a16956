/**
 * Buffers that several entries share: where packing puts what it copies.
 *
 *   open   [ key value | key value | … | free ]     best fit: the fullest one that has room
 *   closed [ key value | key value | … ]            belongs to its entries alone
 *
 * An open buffer is referenced by this object, so that it stays when its entries go. Bytes are only ever added behind
 * those that are there, so what is durable in an open buffer never changes.
 *
 * Called by: packing.ts. Calls: pool.
 *
 * Invariants:
 *  1. A buffer is closed only when another one had to be opened, and it is the fullest of them then. So a closed buffer
 *     is more than half full, whatever sizes come: of two that do not fit into one buffer, the larger fills half of it.
 *  2. At most OPEN_MAX buffers are open between two calls.
 */
import { BUFFER_BYTES, NO_BUFFER } from './layout.ts'
import type { Pool } from './pool.ts'

/** Enough that pieces of mixed sizes find a fit. */
const OPEN_MAX = 8

export class SharedBuffers {
  /** Where the bytes that `take` gave begin in the buffer that it returned. */
  offset = 0
  private readonly pool: Pool
  private readonly open: { readonly buffer: number; used: number }[] = []

  constructor(pool: Pool) {
    this.pool = pool
  }

  /** Room for so many bytes: a buffer, with a reference for the caller's line. NO_BUFFER if none is free. */
  take(length: number): number {
    const { pool, open } = this
    let best: { readonly buffer: number; used: number } | undefined
    for (const candidate of open) {
      if (candidate.used + length <= BUFFER_BYTES && (best === undefined || candidate.used > best.used))
        best = candidate
    }
    if (best === undefined) {
      const buffer = pool.allocateBuffer()
      if (buffer === NO_BUFFER) return NO_BUFFER
      best = { buffer, used: 0 }
      open.push(best)
    }
    this.offset = best.used
    best.used += length
    pool.retainBuffer(best.buffer)
    if (open.length > OPEN_MAX) this.closeFullest()
    return best.buffer
  }

  isOpen(buffer: number): boolean {
    for (const candidate of this.open) if (candidate.buffer === buffer) return true
    return false
  }

  closeAll(): void {
    for (const { buffer } of this.open) this.pool.releaseBuffer(buffer)
    this.open.length = 0
  }

  private closeFullest(): void {
    let fullest = 0
    for (let i = 1; i < this.open.length; i++) if (this.open[i]!.used > this.open[fullest]!.used) fullest = i
    const [closed] = this.open.splice(fullest, 1)
    this.pool.releaseBuffer(closed!.buffer)
  }
}
