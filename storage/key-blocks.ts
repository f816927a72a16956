/**
 * The upper levels of the ordered index: blocks of keys in DRAM above the persistent list of lines. A search goes down
 * through them and ends beside the place of a key without touching a line or a frame, unless keys share their first 16
 * bytes.
 *
 * These are the volatile levels of a deterministic skip list (Munro, Papadakis & Sedgewick 1992), a node's steps to the
 * right laid side by side in memory: which makes them a B+-tree. Towers of single nodes (Pugh 1990) cost a cache miss for
 * every step; docs/results.md has both figures.
 *
 *   level 1   [ ·  c ─┐  m ─┐ … ]                      a block: up to 60 entries
 *   level 0   [ a b ] [ c d … ] [ m … ]                each entry of the list has one here
 *   list      a ► b ► c ► d …                          the lines, PM (skip-list.ts)
 *
 * Called by: skip-list.ts, which owns the list itself.
 *
 * Invariants:
 *  1. Keys ascend along each level; those below the reference i of an upper block are not less than its key i, and less
 *     than its key i + 1. Key 0 of the leftmost block of a level stands for "less than everything".
 *  2. `blockOf[meta]` is the level-0 block of each entry, 0 of every other line.
 *  3. No block but the root is empty; a root above level 0 has two references at least.
 *  4. `path` and `pathIndex` lead to the place that `locate` found, until the next change.
 */
import {
  B_COUNT,
  B_KEYS,
  B_NEXT_FREE,
  B_REFERENCES,
  BLOCK_ENTRIES,
  BLOCK_WORDS,
  CACHE_LINE_WORDS,
  chunkShiftFor,
  cutOf,
} from './block-layout.ts'
import { compareKey, KEY_WORDS, keyPrefix, sortableKeyWord } from './key.ts'
import { largeInt32Array } from './large-array.ts'
import type { Pool } from './pool.ts'

/** Blocks are half full at least but for removals: 30^8 entries. */
const LEVELS_MAX = 8
const NO_BLOCK = 0
/** Two neighbours with fewer entries together become one, once one of them has fewer than a quarter. */
const MERGED_ENTRIES_MAX = (BLOCK_ENTRIES * 3) / 4
const SPARSE_ENTRIES = BLOCK_ENTRIES / 4

export class KeyBlocks {
  private readonly pool: Pool
  private readonly random: () => number
  private readonly chunks: Int32Array[] = []
  private readonly chunkShift: number
  private readonly chunkMask: number
  /** One more than the highest block number in use. */
  private end = NO_BLOCK + 1
  private freeBlock = NO_BLOCK
  private root = NO_BLOCK
  private levels = 0
  /** While the index is rebuilt: blocks of one level in order, and how many entries the last of them shall still take. */
  private filled: number[] = []
  private room = 0
  /** Level-0 block of each entry. By line index. */
  readonly blockOf: Int32Array
  /** Block of each level, and the reference in it: the one that leads down, at level 0 the place of the key. */
  private readonly path = new Int32Array(LEVELS_MAX)
  private readonly pathIndex = new Int32Array(LEVELS_MAX)
  /** First words of the key that was located. */
  private readonly sought = new Int32Array(KEY_WORDS)
  /** Where loads end that are made for the cache's sake: without a use the compiler would leave them out. */
  touched = 0

  /** @param random uniform int32 source for the places where full blocks are cut */
  constructor(pool: Pool, random: () => number) {
    this.pool = pool
    this.random = random
    this.chunkShift = chunkShiftFor(pool.metaIndexEnd)
    this.chunkMask = (1 << this.chunkShift) - 1
    this.blockOf = largeInt32Array(pool.metaIndexEnd)
    this.clear()
  }

  /** Forgets everything. */
  clear(): void {
    this.blockOf.fill(NO_BLOCK)
    this.end = NO_BLOCK + 1
    this.freeBlock = NO_BLOCK
    this.root = this.allocate()
    this.levels = 1
    this.filled = []
    this.room = 0
  }

  /* --- looking --- */

  /** Goes to the place of a key: behind all entries that are less. */
  locate(bytes: Uint8Array, start: number, length: number): void {
    this.seek(bytes, start, length)
    let block = this.root
    for (let level = this.levels - 1; ; level--) {
      this.path[level] = block
      if (level === 0) break
      // The last key that is not greater; key 0 is not looked at.
      const index = this.bound(block, level, 1, bytes, start, length) - 1
      this.pathIndex[level] = index
      block = this.reference(block, index)
    }
    this.touch(block)
    this.pathIndex[0] = this.bound(block, 0, 0, bytes, start, length)
  }

  /** The entry at the place, or behind it; 0 if it is the end of its block. */
  get here(): number {
    const block = this.path[0]!
    return this.pathIndex[0]! < this.count(block) ? this.reference(block, this.pathIndex[0]!) : 0
  }

  /** The entry before the place; 0 if it is the beginning of its block. */
  get before(): number {
    return this.pathIndex[0]! > 0 ? this.reference(this.path[0]!, this.pathIndex[0]! - 1) : 0
  }

  /* --- changing --- */

  /** Puts an entry, whose key was located, at the place. */
  insert(meta: number): void {
    this.place(0, meta, this.sought, 0)
  }

  /** Puts `meta` where `old` is, which has the same key. Needs no search. */
  replace(old: number, meta: number): void {
    const block = this.blockOf[old]!
    const words = this.chunks[block >>> this.chunkShift]!
    let at = (block & this.chunkMask) * BLOCK_WORDS + B_REFERENCES
    while (words[at] !== old) at++
    words[at] = meta
    this.blockOf[meta] = block
    this.blockOf[old] = NO_BLOCK
  }

  /** Removes the entry at the place. */
  remove(): void {
    this.blockOf[this.here] = NO_BLOCK
    this.take(0)
  }

  /* --- rebuilding --- */

  /**
   * Puts entries whose keys ascend behind all others: `metas` from the second on. Blocks are filled as far as cutOf would
   * leave them; until `endRebuild` nothing leads to them.
   * @param keys KEY_WORDS sortable words for each of `metas`
   */
  appendRun(metas: Int32Array, keys: Int32Array): void {
    for (let next = 1; next < metas.length; ) {
      if (this.room === 0) this.beginBlock()
      const block = this.filled[this.filled.length - 1]!
      const words = this.chunks[block >>> this.chunkShift]!
      const base = (block & this.chunkMask) * BLOCK_WORDS
      const count = words[base + B_COUNT]!
      const end = Math.min(next + this.room, metas.length)
      words.set(metas.subarray(next, end), base + B_REFERENCES + count)
      words.set(keys.subarray(next * KEY_WORDS, end * KEY_WORDS), base + B_KEYS + count * KEY_WORDS)
      words[base + B_COUNT] = count + end - next
      this.room -= end - next
      for (; next < end; next++) this.blockOf[metas[next]!] = block
    }
  }

  /** Builds the upper levels above the blocks that were filled. */
  endRebuild(): void {
    let level = this.filled
    if (level.length === 0) return
    this.release(this.root)
    for (; level.length > 1; this.levels++) {
      this.filled = []
      this.room = 0
      for (const reference of level) {
        if (this.room === 0) this.beginBlock()
        this.room--
        this.addReference(this.filled[this.filled.length - 1]!, reference)
      }
      level = this.filled
    }
    this.root = level[0]!
    this.filled = []
    this.room = 0
  }

  private beginBlock(): void {
    this.filled.push(this.allocate())
    this.room = cutOf(BLOCK_ENTRIES, this.random())
  }

  /** Puts a block behind the others below a block of the next level. */
  private addReference(block: number, reference: number): void {
    const words = this.chunks[block >>> this.chunkShift]!
    const base = (block & this.chunkMask) * BLOCK_WORDS
    const count = words[base + B_COUNT]++
    const from = (reference & this.chunkMask) * BLOCK_WORDS + B_KEYS
    words[base + B_REFERENCES + count] = reference
    words.set(
      this.chunks[reference >>> this.chunkShift]!.subarray(from, from + KEY_WORDS),
      base + B_KEYS + count * KEY_WORDS,
    )
  }

  /* --- blocks --- */

  private count(block: number): number {
    return this.chunks[block >>> this.chunkShift]![(block & this.chunkMask) * BLOCK_WORDS + B_COUNT]!
  }

  private reference(block: number, index: number): number {
    return this.chunks[block >>> this.chunkShift]![(block & this.chunkMask) * BLOCK_WORDS + B_REFERENCES + index]!
  }

  private allocate(): number {
    let block = this.freeBlock
    if (block === NO_BLOCK) {
      block = this.end++
      if (block >>> this.chunkShift === this.chunks.length)
        this.chunks.push(largeInt32Array(BLOCK_WORDS << this.chunkShift))
    }
    const words = this.chunks[block >>> this.chunkShift]!
    const base = (block & this.chunkMask) * BLOCK_WORDS
    if (block === this.freeBlock) this.freeBlock = words[base + B_NEXT_FREE]!
    words[base + B_COUNT] = 0
    return block
  }

  private release(block: number): void {
    this.chunks[block >>> this.chunkShift]![(block & this.chunkMask) * BLOCK_WORDS + B_NEXT_FREE] = this.freeBlock
    this.freeBlock = block
  }

  /** Asks for all cache lines of a block at once; the search would ask for one behind the other. */
  private touch(block: number): void {
    const words = this.chunks[block >>> this.chunkShift]!
    const base = (block & this.chunkMask) * BLOCK_WORDS
    let seen = 0
    for (let at = base; at < base + BLOCK_WORDS; at += CACHE_LINE_WORDS) seen |= words[at]!
    this.touched = seen
  }

  private seek(bytes: Uint8Array, start: number, length: number): void {
    for (let i = 0; i < KEY_WORDS; i++) this.sought[i] = sortableKeyWord(bytes, start, length, 4 * i)
  }

  /** Level 0: the first index whose key is not less than the sought one. Above: the first from 1 on whose key is greater. */
  private bound(block: number, level: number, first: 0 | 1, bytes: Uint8Array, start: number, length: number): number {
    const words = this.chunks[block >>> this.chunkShift]!
    const base = (block & this.chunkMask) * BLOCK_WORDS
    const { sought } = this
    let low: number = first
    let high = words[base + B_COUNT]!
    while (low < high) {
      const middle = (low + high) >>> 1
      const at = base + B_KEYS + middle * KEY_WORDS
      let word = 0
      while (word < KEY_WORDS && words[at + word] === sought[word]) word++
      const order =
        word < KEY_WORDS
          ? words[at + word]! < sought[word]!
            ? -1
            : 1
          : this.compareWhole(level, words[base + B_REFERENCES + middle]!, bytes, start, length)
      if (order < first) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Keys that share their first words: by the first entry below the reference. */
  private compareWhole(level: number, reference: number, bytes: Uint8Array, start: number, length: number): number {
    let entry = reference
    for (; level > 0; level--) entry = this.reference(entry, 0)
    return compareKey(this.pool, entry, bytes, start, length, keyPrefix(bytes, start, length))
  }

  /** Inserts a reference with the key words at `from[key]` at the place of its level. */
  private place(level: number, reference: number, from: Int32Array, key: number): void {
    let block = this.path[level]!
    let index = this.pathIndex[level]!
    if (this.count(block) === BLOCK_ENTRIES) {
      const cut = cutOf(index, this.random())
      const right = this.split(level, block, cut)
      if (index > cut) {
        block = right
        index -= cut
      }
    }
    const words = this.chunks[block >>> this.chunkShift]!
    const base = (block & this.chunkMask) * BLOCK_WORDS
    const count = words[base + B_COUNT]!
    const references = base + B_REFERENCES
    const keys = base + B_KEYS
    words.copyWithin(references + index + 1, references + index, references + count)
    words.copyWithin(keys + (index + 1) * KEY_WORDS, keys + index * KEY_WORDS, keys + count * KEY_WORDS)
    words[references + index] = reference
    for (let i = 0; i < KEY_WORDS; i++) words[keys + index * KEY_WORDS + i] = from[key + i]!
    words[base + B_COUNT] = count + 1
    if (level === 0) this.blockOf[reference] = block
  }

  /** Moves the entries from `cut` on to a new block on the right. The path of the level above leads to the new block then. */
  private split(level: number, block: number, cut: number): number {
    const right = this.allocate()
    this.move(level, block, cut, right)
    const words = this.chunks[block >>> this.chunkShift]!
    words[(block & this.chunkMask) * BLOCK_WORDS + B_COUNT] = cut
    if (level + 1 === this.levels) this.raise(block)
    this.pathIndex[level + 1]!++
    this.place(
      level + 1,
      right,
      this.chunks[right >>> this.chunkShift]!,
      (right & this.chunkMask) * BLOCK_WORDS + B_KEYS,
    )
    return right
  }

  /** A new root above the old one. */
  private raise(block: number): void {
    this.root = this.allocate()
    const words = this.chunks[this.root >>> this.chunkShift]!
    const base = (this.root & this.chunkMask) * BLOCK_WORDS
    words[base + B_COUNT] = 1
    words[base + B_REFERENCES] = block
    this.path[this.levels] = this.root
    this.pathIndex[this.levels] = 0
    this.levels++
  }

  /** Moves the entries of one block, from `first` on, to the end of another. */
  private move(level: number, from: number, first: number, to: number): void {
    const source = this.chunks[from >>> this.chunkShift]!
    const sourceBase = (from & this.chunkMask) * BLOCK_WORDS
    const target = this.chunks[to >>> this.chunkShift]!
    const targetBase = (to & this.chunkMask) * BLOCK_WORDS
    const end = source[sourceBase + B_COUNT]!
    let count = target[targetBase + B_COUNT]!
    for (let index = first; index < end; index++, count++) {
      const reference = source[sourceBase + B_REFERENCES + index]!
      target[targetBase + B_REFERENCES + count] = reference
      for (let i = 0; i < KEY_WORDS; i++) {
        target[targetBase + B_KEYS + count * KEY_WORDS + i] = source[sourceBase + B_KEYS + index * KEY_WORDS + i]!
      }
      if (level === 0) this.blockOf[reference] = to
    }
    target[targetBase + B_COUNT] = count
  }

  /** Removes the reference that the path of its level leads to. */
  private take(level: number): void {
    const block = this.path[level]!
    const index = this.pathIndex[level]!
    const words = this.chunks[block >>> this.chunkShift]!
    const base = (block & this.chunkMask) * BLOCK_WORDS
    const count = words[base + B_COUNT]! - 1
    const references = base + B_REFERENCES
    const keys = base + B_KEYS
    words.copyWithin(references + index, references + index + 1, references + count + 1)
    words.copyWithin(keys + index * KEY_WORDS, keys + (index + 1) * KEY_WORDS, keys + (count + 1) * KEY_WORDS)
    words[base + B_COUNT] = count
    if (block === this.root) {
      this.lower()
    } else if (count === 0) {
      this.release(block)
      this.take(level + 1)
    } else if (count < SPARSE_ENTRIES) {
      this.merge(level)
    }
  }

  /** A root that leads to one block only is none. */
  private lower(): void {
    while (this.levels > 1 && this.count(this.root) === 1) {
      const { root } = this
      this.root = this.reference(root, 0)
      this.levels--
      this.release(root)
    }
  }

  /** Joins a sparse block with a neighbour below the same block, if they fit. */
  private merge(level: number): void {
    const parent = this.path[level + 1]!
    const index = this.pathIndex[level + 1]!
    const left = index + 1 < this.count(parent) ? index : index - 1
    if (left < 0) return
    const kept = this.reference(parent, left)
    const emptied = this.reference(parent, left + 1)
    if (this.count(kept) + this.count(emptied) > MERGED_ENTRIES_MAX) return
    this.move(level, emptied, 0, kept)
    this.release(emptied)
    this.pathIndex[level + 1] = left + 1
    this.take(level + 1)
  }
}
