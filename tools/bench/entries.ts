/**
 * Small entries made in memory as the network makes them of pipelined PUTs: several share a buffer through lines of
 * their own, each with its key and value behind the other. So ten million fit where a buffer each would not.
 *
 *   buffer   [key value][key value]…      ENTRIES_PER_BUFFER of them
 *
 * Called by: store.ts, memory-bench.ts: `place`, then the key is written at `start`, then `finish`.
 */
import { adoptHead } from '../../storage/entry.ts'
import { BUFFER_BYTES, NO_BUFFER, NO_FRAME } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'

/** Lines a buffer that a region for such entries needs. */
export const ENTRIES_PER_BUFFER = 8

export class EntryMaker {
  /** Where the key of the entry that was placed belongs. */
  bytes: Uint8Array
  start = 0
  private readonly pool: Pool
  private readonly sumView: (buffer: number, offset: number, length: number) => number
  private readonly keyBytes: number
  private readonly valueBytes: number
  private buffer = NO_BUFFER
  private used = ENTRIES_PER_BUFFER

  constructor(options: {
    pool: Pool
    sumView: (buffer: number, offset: number, length: number) => number
    keyBytes: number
    valueBytes: number
  }) {
    const { keyBytes, valueBytes } = options
    if (ENTRIES_PER_BUFFER * (keyBytes + valueBytes) > BUFFER_BYTES)
      throw new RangeError('such entries share no buffer')
    this.pool = options.pool
    this.sumView = options.sumView
    this.keyBytes = keyBytes
    this.valueBytes = valueBytes
    this.bytes = options.pool.bytes[0]!
  }

  /** Whether the next entry needs a buffer of its own. */
  get needsBuffer(): boolean {
    return this.used === ENTRIES_PER_BUFFER
  }

  /** Finds the place of the next entry. */
  place(): void {
    const { pool } = this
    if (this.needsBuffer) {
      // Each entry holds a reference of its own; the one that came with the buffer goes when the next one is taken.
      if (this.buffer !== NO_BUFFER) pool.releaseBuffer(this.buffer)
      this.buffer = pool.allocateBuffer()
      if (this.buffer === NO_BUFFER) throw new Error('the region is full')
      this.used = 0
    }
    this.bytes = pool.bufferBytes(this.buffer)
    this.start = pool.bufferStart(this.buffer) + this.used++ * (this.keyBytes + this.valueBytes)
  }

  /** Fills the value of the entry that was placed. @returns its line, a head, to be staged */
  finish(fill: number): number {
    const { pool, keyBytes, valueBytes, start } = this
    const offset = start - pool.bufferStart(this.buffer)
    this.bytes.fill(fill, start + keyBytes, start + keyBytes + valueBytes)
    pool.retainBuffer(this.buffer)
    const sum = this.sumView(this.buffer, offset + keyBytes, valueBytes)
    const head = pool.createView(this.buffer, offset + keyBytes, valueBytes, sum | (NO_FRAME << 16))
    adoptHead(pool, head, offset, keyBytes)
    return head
  }

  /** Gives up the rest of the last buffer. */
  close(): void {
    if (this.buffer !== NO_BUFFER) this.pool.releaseBuffer(this.buffer)
    this.buffer = NO_BUFFER
    this.used = ENTRIES_PER_BUFFER
  }
}
