/**
 * `--store copy`: the simple application of the paper's Figure 2. It copies each value into persistent memory, round
 * and round an area, and flushes it; there is no index, no checksum, no allocation. The bytes of the last values are in
 * the file after a crash, but nothing says whose they are: GET and DELETE are not to be had.
 *
 *   area   [value][value]…      each begins on a cache line; at the end it starts over
 *
 * Called by: baseline-store.ts.
 */
import { valueLength } from '../../storage/entry.ts'
import { LINE_BYTES, NO_META, W_VERSION_HIGH, W_VERSION_LOW } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import type { Area } from './area.ts'
import { type Engine, Found, PUT_FULL, PUT_REPLACED } from './engine.ts'

export class CopyEngine implements Engine {
  readonly name = 'copy'
  readonly promise: string
  readonly hasIndex = false
  readonly isAsynchronous = false
  readonly records = 0
  readonly found = new Found()
  private readonly area: Area
  private position = 0

  constructor(area: Area) {
    this.area = area
    this.promise = `values are flushed, and cannot be found again; ${area.region.durability.class}`
  }

  hasRoom(bytes: number): boolean {
    return bytes <= this.area.length
  }

  put(pool: Pool, head: number): number {
    const { area } = this
    const length = valueLength(pool, head)
    if (length > area.length) return PUT_FULL
    if (this.position + length > area.length) this.position = 0
    copyValue(pool, head, area.bytes, this.position)
    area.flush(this.position, length)
    this.position = (this.position + length + LINE_BYTES - 1) & -LINE_BYTES
    pool.set(head, W_VERSION_LOW, 0)
    pool.set(head, W_VERSION_HIGH, 0)
    return PUT_REPLACED
  }

  remove(): boolean {
    return false
  }

  find(): boolean {
    return false
  }

  commit(done: (error: number) => void): void {
    done(this.area.fence())
  }

  close(): void {
    this.area.close()
  }
}

/** Copies the value of an entry in transit to `target` from `at` on. */
export function copyValue(pool: Pool, head: number, target: Uint8Array, at: number): void {
  for (let meta = head; meta !== NO_META; meta = pool.next(meta)) {
    const start = pool.dataStartOf(meta)
    const length = pool.dataLength(meta)
    target.set(pool.dataBytes(meta).subarray(start, start + length), at)
    at += length
  }
}
