/**
 * The exact index: key hash → head line, in DRAM, beside the ordered skip list.
 *
 * A search of the list touches a line, and often a frame, for each key that it compares; this table answers "which
 * entry has exactly this key" with one of each, so that a GET and an overwrite never walk the list (docs/results.md
 * has both figures). Recovery rebuilds it.
 *
 *   slot   [ head line or 0 | its full 32-bit hash ]      int32 each; linear probing, a power of two of slots
 *
 * Called by: skip-list.ts, which keeps it in step with itself.
 *
 * Invariants:
 *  1. It holds exactly the entries of the skip list.
 *  2. At most half full, no tombstones: a removal moves the entries behind it back (Knuth, TAOCP 6.4, algorithm R).
 */
import { hashKey, keyEquals } from './key.ts'
import { largeInt32Array } from './large-array.ts'
import { NO_META, viewLength, viewOffset, W_BUFFER, W_KEY } from './layout.ts'
import type { Pool } from './pool.ts'

const INITIAL_SLOTS = 1 << 8
/** Words of a slot, as a shift: line and hash share a cache line, so that a probe misses once. */
const SLOT_SHIFT = 1
const S_HASH = 1
/** Entries whose slots a bulk insertion asks for before it places them. */
const BLOCK_ENTRIES = 64

export class HashIndex {
  private readonly pool: Pool
  private slots = new Int32Array(INITIAL_SLOTS << SLOT_SHIFT)
  /** Number of slots, less one. */
  private mask = INITIAL_SLOTS - 1
  private size = 0
  /** Where loads end that are made for the cache's sake: without a use the compiler would leave them out. */
  touched = 0

  constructor(pool: Pool) {
    this.pool = pool
  }

  /** The entry with exactly this key, or NO_META. `hash` is hashKey of it. */
  find(hash: number, bytes: Uint8Array, start: number, length: number): number {
    const { slots, mask } = this
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const meta = slots[slot << SLOT_SHIFT]!
      if (meta === NO_META) return NO_META
      if (slots[(slot << SLOT_SHIFT) + S_HASH] === hash && this.hasKey(meta, bytes, start, length)) return meta
    }
  }

  /** Adds an entry whose key is not in the table. Here and below `hash` is `hashOf` it: who staged the change knows it. */
  insert(meta: number, hash: number): void {
    if (this.size * 2 > this.mask) this.resize((this.mask + 1) * 2)
    this.place(meta, hash)
    this.size++
  }

  /** Puts `meta` in the place of `old`, which has the same key. */
  replace(old: number, meta: number, hash: number): void {
    this.slots[this.slotOf(old, hash) << SLOT_SHIFT] = meta
  }

  remove(meta: number, hash: number): void {
    const { slots, mask } = this
    let hole = this.slotOf(meta, hash)
    for (let slot = (hole + 1) & mask; slots[slot << SLOT_SHIFT] !== NO_META; slot = (slot + 1) & mask) {
      // An entry may move back to the hole if its own place is not between the hole and where it stands.
      const home = slots[(slot << SLOT_SHIFT) + S_HASH]! & mask
      if (((slot - home) & mask) >= ((slot - hole) & mask)) {
        slots[hole << SLOT_SHIFT] = slots[slot << SLOT_SHIFT]!
        slots[(hole << SLOT_SHIFT) + S_HASH] = slots[(slot << SLOT_SHIFT) + S_HASH]!
        hole = slot
      }
    }
    slots[hole << SLOT_SHIFT] = NO_META
    this.size--
  }

  /** Empties the table. */
  clear(): void {
    this.slots.fill(NO_META)
    this.size = 0
  }

  /**
   * Adds `count` entries at once, none of whose keys is in the table. Every slot is a cache miss; touching a block of them
   * in a loop that does nothing else lets the processor wait for many at a time.
   * @param listed by line index, not 0: the lines to add
   * @param allHashes by line index: hashKey of their keys
   */
  insertAll(listed: Int32Array, allHashes: Int32Array, count: number): void {
    let slots = this.mask + 1
    while (slots < (this.size + count) * 2) slots *= 2
    if (slots > this.mask + 1) this.resize(slots)
    const metas = new Int32Array(BLOCK_ENTRIES)
    const hashes = new Int32Array(BLOCK_ENTRIES)
    let block = 0
    for (let meta = NO_META + 1; meta < listed.length; meta++) {
      if (listed[meta] === 0) continue
      metas[block] = meta
      hashes[block++] = allHashes[meta]!
      if (block < BLOCK_ENTRIES) continue
      this.touch(hashes)
      for (let i = 0; i < BLOCK_ENTRIES; i++) this.place(metas[i]!, hashes[i]!)
      block = 0
    }
    for (let i = 0; i < block; i++) this.place(metas[i]!, hashes[i]!)
    this.size += count
  }

  /** Brings the slots of a block into the cache. */
  private touch(hashes: Int32Array): void {
    const { slots, mask } = this
    let seen = 0
    for (let i = 0; i < BLOCK_ENTRIES; i++) seen |= slots[(hashes[i]! & mask) << SLOT_SHIFT]!
    this.touched = seen
  }

  private hasKey(meta: number, bytes: Uint8Array, start: number, length: number): boolean {
    return keyEquals(this.pool, this.pool.get(meta, W_BUFFER), this.pool.get(meta, W_KEY), bytes, start, length)
  }

  /** The hash of an entry's key, read from where it lies. */
  hashOf(meta: number): number {
    const { pool } = this
    const view = pool.get(meta, W_KEY)
    return hashKey(
      pool.dataBytes(meta),
      pool.bufferStart(pool.get(meta, W_BUFFER)) + viewOffset(view),
      viewLength(view),
    )
  }

  private slotOf(meta: number, hash: number): number {
    const { slots, mask } = this
    let slot = hash & mask
    for (; slots[slot << SLOT_SHIFT] !== meta; slot = (slot + 1) & mask) {
      if (slots[slot << SLOT_SHIFT] === NO_META) throw new Error(`entry ${meta} is not in the exact index`)
    }
    return slot
  }

  private place(meta: number, hash: number): void {
    const { slots, mask } = this
    let slot = hash & mask
    while (slots[slot << SLOT_SHIFT] !== NO_META) slot = (slot + 1) & mask
    slots[slot << SLOT_SHIFT] = meta
    slots[(slot << SLOT_SHIFT) + S_HASH] = hash
  }

  private resize(count: number): void {
    const { slots } = this
    this.slots = largeInt32Array(count << SLOT_SHIFT)
    this.mask = count - 1
    for (let at = 0; at < slots.length; at += 1 << SLOT_SHIFT) {
      if (slots[at] !== NO_META) this.place(slots[at]!, slots[at + S_HASH]!)
    }
  }
}
