/**
 * The exact index: key hash → head line, in DRAM, beside the ordered skip list.
 *
 * A search of the list touches a line, and often a frame, for each key that it compares; this table answers "which
 * entry has exactly this key" with one of each, so that a GET and an overwrite never walk the list (docs/results.md
 * has both figures). Recovery rebuilds it.
 *
 *   slot   metas[slot] = head line or 0,  hashes[slot] = its full 32-bit hash      linear probing, power of two
 *
 * Called by: skip-list.ts, which keeps it in step with itself.
 *
 * Invariants:
 *  1. It holds exactly the entries of the skip list.
 *  2. At most half full, no tombstones: a removal moves the entries behind it back (Knuth, TAOCP 6.4, algorithm R).
 */
import { hashKey, keyEquals } from './key.ts'
import { NO_META, viewLength, viewOffset, W_BUFFER, W_KEY } from './layout.ts'
import type { Pool } from './pool.ts'

const INITIAL_SLOTS = 1 << 12

export class HashIndex {
  private readonly pool: Pool
  private metas = new Int32Array(INITIAL_SLOTS)
  private hashes = new Int32Array(INITIAL_SLOTS)
  private size = 0

  constructor(pool: Pool) {
    this.pool = pool
  }

  /** The entry with exactly this key, or NO_META. `hash` is hashKey of it. */
  find(hash: number, bytes: Uint8Array, start: number, length: number): number {
    const mask = this.metas.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const meta = this.metas[slot]!
      if (meta === NO_META) return NO_META
      if (this.hashes[slot] === hash && this.hasKey(meta, bytes, start, length)) return meta
    }
  }

  /** Adds an entry whose key is not in the table. */
  insert(meta: number): void {
    if (this.size * 2 >= this.metas.length) this.grow()
    this.place(meta, this.hashOf(meta))
    this.size++
  }

  /** Puts `meta` in the place of `old`, which has the same key. */
  replace(old: number, meta: number): void {
    this.metas[this.slotOf(old)] = meta
  }

  remove(meta: number): void {
    const mask = this.metas.length - 1
    let hole = this.slotOf(meta)
    for (let slot = (hole + 1) & mask; this.metas[slot] !== NO_META; slot = (slot + 1) & mask) {
      // An entry may move back to the hole if its own place is not between the hole and where it stands.
      const home = this.hashes[slot]! & mask
      if (((slot - home) & mask) >= ((slot - hole) & mask)) {
        this.metas[hole] = this.metas[slot]!
        this.hashes[hole] = this.hashes[slot]!
        hole = slot
      }
    }
    this.metas[hole] = NO_META
    this.size--
  }

  clear(): void {
    this.metas.fill(NO_META)
    this.size = 0
  }

  private hasKey(meta: number, bytes: Uint8Array, start: number, length: number): boolean {
    return keyEquals(this.pool, this.pool.get(meta, W_BUFFER), this.pool.get(meta, W_KEY), bytes, start, length)
  }

  private hashOf(meta: number): number {
    const { pool } = this
    const view = pool.get(meta, W_KEY)
    return hashKey(
      pool.dataBytes(meta),
      pool.bufferStart(pool.get(meta, W_BUFFER)) + viewOffset(view),
      viewLength(view),
    )
  }

  private slotOf(meta: number): number {
    const mask = this.metas.length - 1
    let slot = this.hashOf(meta) & mask
    while (this.metas[slot] !== meta) {
      if (this.metas[slot] === NO_META) throw new Error(`entry ${meta} is not in the exact index`)
      slot = (slot + 1) & mask
    }
    return slot
  }

  private place(meta: number, hash: number): void {
    const mask = this.metas.length - 1
    let slot = hash & mask
    while (this.metas[slot] !== NO_META) slot = (slot + 1) & mask
    this.metas[slot] = meta
    this.hashes[slot] = hash
  }

  private grow(): void {
    const { metas, hashes } = this
    this.metas = new Int32Array(metas.length * 2)
    this.hashes = new Int32Array(metas.length * 2)
    for (let slot = 0; slot < metas.length; slot++) if (metas[slot] !== NO_META) this.place(metas[slot]!, hashes[slot]!)
  }
}
