/**
 * The ordered index: a skip list made of the entries' own metadata lines (Pugh 1990; LevelDB's skiplist.h).
 *
 * Level 0 is the link word of the lines, in persistent memory; the upper levels are volatile, because recovery
 * rebuilds them in one walk. A node is a line index; line 0 is the anchor in front of all keys.
 *
 *   level 2   anchor ───────────────────────────► c ─────────────► end    `towers`, DRAM
 *   level 1   anchor ──────────► b ─────────────► c ─────────────► end    `towers`, DRAM
 *   level 0   anchor ──► a ────► b ────► b2 ────► c ────► d ─────► end    W_NEXT of each line, PM
 *
 * Called by: commit.ts (locate, insert, replace, remove), recovery.ts, store.ts (find, iteration).
 *
 * Invariants:
 *  1. Keys ascend strictly along every level (bytes, unsigned; a prefix sorts before its extensions).
 *  2. heights[meta] > 0 exactly for the nodes in the list; each node of level n is in all levels below.
 *  3. Every level-0 store is remembered in `dirtyLinks` until a persist program has flushed it.
 *  4. `locate` leaves a predecessor for every level in `predecessors`; they hold until the next change (`epoch`).
 */
import {
  ANCHOR_META,
  EXTENT_BUFFERS_SHIFT,
  LINE_WORDS_SHIFT,
  NO_META,
  viewLength,
  viewOffset,
  W_BUFFER,
  W_KEY,
  W_KEY_PREFIX,
  W_NEXT,
} from './layout.ts'
import type { Pool } from './pool.ts'

/** 4^12 = 16 M expected entries with branching 4. */
export const HEIGHT_MAX = 12
/** One node in 4 rises a level: 1.33 links a node (Pugh 1990, section "choosing p"). */
const BRANCHING_BITS = 2

export class SkipList {
  private readonly pool: Pool
  private readonly random: () => number
  /** 0: not in the list; otherwise the number of levels. By line index. */
  readonly heights: Uint8Array
  /** Where the node's links of level 1 and up start in `towers`. By line index; meaningless at height 1. */
  private readonly towerStart: Int32Array
  private towers = new Int32Array(1 << 12)
  private towersUsed = HEIGHT_MAX
  /** Freed towers by height, chained through their first word; 0 ends. */
  private readonly freeTowers = new Int32Array(HEIGHT_MAX + 1)
  private height = 1

  /** Predecessor at each level, as `locate` left them. */
  readonly predecessors = new Int32Array(HEIGHT_MAX)
  /** Changes with every insertion, replacement and removal. */
  epoch = 0
  /** Entries in the list. */
  size = 0

  /** Lines whose level-0 link was stored since the last flush. */
  dirtyLinks = new Int32Array(1024)
  dirtyLinkCount = 0
  private readonly linkIsDirty: Uint8Array

  /** @param random uniform int32 source for tower heights */
  constructor(pool: Pool, random: () => number) {
    this.pool = pool
    this.random = random
    const indices = pool.metaIndexEnd
    this.heights = new Uint8Array(indices)
    this.towerStart = new Int32Array(indices)
    this.linkIsDirty = new Uint8Array(indices)
    this.heights[ANCHOR_META] = HEIGHT_MAX
    this.towerStart[ANCHOR_META] = 0
  }

  contains(meta: number): boolean {
    return this.heights[meta] !== 0 && meta !== ANCHOR_META
  }

  /** First entry in key order, or NO_META. */
  first(): number {
    return this.pool.get(ANCHOR_META, W_NEXT)
  }

  /** Level-0 successor, or NO_META. */
  next(meta: number): number {
    return this.pool.get(meta, W_NEXT)
  }

  /**
   * Finds the place of a key: fills `predecessors` with the last node before it at every level.
   * @returns the entry with exactly this key, or NO_META
   */
  locate(bytes: Uint8Array, start: number, length: number): number {
    const prefix = keyPrefix(bytes, start, length)
    const predecessors = this.predecessors
    for (let level = HEIGHT_MAX - 1; level >= this.height; level--) predecessors[level] = ANCHOR_META
    let node = ANCHOR_META
    let bound = NO_META // a node known not to precede the key: no second comparison one level down
    let found = NO_META
    for (let level = this.height - 1; level >= 0; level--) {
      for (;;) {
        const next = this.link(node, level)
        if (next === NO_META) {
          bound = NO_META
          break
        }
        if (next === bound) break
        const order = this.compareKey(next, bytes, start, length, prefix)
        if (order >= 0) {
          if (order === 0) found = next
          bound = next
          break
        }
        node = next
      }
      predecessors[level] = node
    }
    return found
  }

  /**
   * Brings predecessors that were right at an earlier epoch up to date for levels below `levels`, by walking
   * forward; searches anew when one of them has left the list.
   * @returns the entry with exactly this key, or NO_META
   */
  relocate(saved: Int32Array, at: number, levels: number, bytes: Uint8Array, start: number, length: number): number {
    const prefix = keyPrefix(bytes, start, length)
    const predecessors = this.predecessors
    let found = NO_META
    for (let level = levels - 1; level >= 0; level--) {
      let node = saved[at + level]!
      if (this.heights[node]! <= level) return this.locate(bytes, start, length)
      for (;;) {
        const next = this.link(node, level)
        if (next === NO_META) break
        const order = this.compareKey(next, bytes, start, length, prefix)
        if (order === 0) found = next
        if (order >= 0) break
        node = next
      }
      predecessors[level] = node
    }
    return found
  }

  /** Height for a new node: geometric, from the injected source. */
  drawHeight(): number {
    let bits = this.random()
    let height = 1
    while (height < HEIGHT_MAX && (bits & ((1 << BRANCHING_BITS) - 1)) === 0) {
      height++
      bits >>>= BRANCHING_BITS
    }
    return height
  }

  /** Links a node behind `predecessors`. */
  insert(meta: number, height: number): void {
    if (height > this.height) this.height = height
    this.heights[meta] = height
    if (height > 1) this.towerStart[meta] = this.allocateTower(height)
    for (let level = height - 1; level >= 1; level--) {
      const predecessor = this.predecessors[level]!
      this.setUpper(meta, level, this.link(predecessor, level))
      this.setUpper(predecessor, level, meta)
    }
    const predecessor = this.predecessors[0]!
    this.setLink(meta, this.next(predecessor))
    this.setLink(predecessor, meta)
    this.size++
    this.epoch++
  }

  /** Puts `meta` in the place of `old`, which has the same key and whose predecessors are in `predecessors`. */
  replace(old: number, meta: number): void {
    const height = this.heights[old]!
    this.heights[meta] = height
    this.towerStart[meta] = this.towerStart[old]!
    this.heights[old] = 0
    for (let level = height - 1; level >= 1; level--) this.setUpper(this.predecessors[level]!, level, meta)
    this.setLink(meta, this.next(old))
    this.setLink(this.predecessors[0]!, meta)
    this.epoch++
  }

  /** Unlinks a node whose predecessors are in `predecessors`. Its own level-0 link stays as it is: walks pass through until reuse. */
  remove(meta: number): void {
    const height = this.heights[meta]!
    for (let level = height - 1; level >= 1; level--) {
      this.setUpper(this.predecessors[level]!, level, this.link(meta, level))
    }
    this.setLink(this.predecessors[0]!, this.next(meta))
    if (height > 1) this.freeTower(this.towerStart[meta]!, height)
    this.heights[meta] = 0
    this.size--
    this.epoch++
  }

  /** Starts a rebuild: the list is empty, but no level-0 link is touched yet. */
  beginRebuild(): void {
    this.heights.fill(0)
    this.heights[ANCHOR_META] = HEIGHT_MAX
    this.towers.fill(0)
    this.towersUsed = HEIGHT_MAX
    this.freeTowers.fill(0)
    this.predecessors.fill(ANCHOR_META)
    this.height = 1
    this.size = 0
    this.epoch++
  }

  /** Appends a node whose key is greater than all before it. Its own level-0 link is not touched, so a walk may go on behind it. */
  appendRebuilt(meta: number): void {
    const height = this.drawHeight()
    if (height > this.height) this.height = height
    this.heights[meta] = height
    if (height > 1) this.towerStart[meta] = this.allocateTower(height)
    for (let level = height - 1; level >= 1; level--) {
      this.setUpper(meta, level, NO_META)
      this.setUpper(this.predecessors[level]!, level, meta)
      this.predecessors[level] = meta
    }
    this.setLink(this.predecessors[0]!, meta)
    this.predecessors[0] = meta
    this.size++
  }

  /** Ends the list behind the last node appended. */
  endRebuild(): void {
    this.setLink(this.predecessors[0]!, NO_META)
    this.epoch++
  }

  /** Stores a level-0 link and remembers to flush it; storing what stands there already costs nothing. */
  setLink(meta: number, next: number): void {
    if (this.pool.get(meta, W_NEXT) === next) return
    this.pool.set(meta, W_NEXT, next)
    if (this.linkIsDirty[meta] !== 0) return
    this.linkIsDirty[meta] = 1
    if (this.dirtyLinkCount === this.dirtyLinks.length) {
      const larger = new Int32Array(this.dirtyLinks.length * 2)
      larger.set(this.dirtyLinks)
      this.dirtyLinks = larger
    }
    this.dirtyLinks[this.dirtyLinkCount++] = meta
  }

  /** The dirty links are part of a persist program now. */
  clearDirtyLinks(): void {
    for (let i = 0; i < this.dirtyLinkCount; i++) this.linkIsDirty[this.dirtyLinks[i]!] = 0
    this.dirtyLinkCount = 0
  }

  /** Key of the entry against the given one: negative, 0 or positive. */
  compareKey(meta: number, bytes: Uint8Array, start: number, length: number, prefix: number): number {
    const pool = this.pool
    const words = pool.lines[meta >>> pool.lineShift]!
    const at = (meta & pool.lineMask) << LINE_WORDS_SHIFT
    const ownPrefix = words[at + W_KEY_PREFIX]!
    if (ownPrefix !== prefix) return ownPrefix >>> 0 < prefix >>> 0 ? -1 : 1
    const key = words[at + W_KEY]!
    const ownLength = viewLength(key)
    const shared = ownLength < length ? ownLength : length
    const buffer = words[at + W_BUFFER]!
    const own = pool.bytes[buffer >>> EXTENT_BUFFERS_SHIFT]!
    const ownStart = pool.bufferStart(buffer) + viewOffset(key)
    for (let i = 4; i < shared; i++) {
      const difference = own[ownStart + i]! - bytes[start + i]!
      if (difference !== 0) return difference
    }
    return ownLength - length
  }

  private link(node: number, level: number): number {
    return level === 0 ? this.pool.get(node, W_NEXT) : this.towers[this.towerStart[node]! + level - 1]!
  }

  private setUpper(node: number, level: number, next: number): void {
    this.towers[this.towerStart[node]! + level - 1] = next
  }

  private allocateTower(height: number): number {
    const free = this.freeTowers[height]!
    if (free !== 0) {
      this.freeTowers[height] = this.towers[free]!
      return free
    }
    const start = this.towersUsed
    this.towersUsed += height - 1
    if (this.towersUsed > this.towers.length) {
      const larger = new Int32Array(this.towers.length * 2)
      larger.set(this.towers)
      this.towers = larger
    }
    return start
  }

  private freeTower(start: number, height: number): void {
    this.towers[start] = this.freeTowers[height]!
    this.freeTowers[height] = start
  }
}

/** First four key bytes, big-endian, zero padded, as int32; compare as unsigned. */
export function keyPrefix(bytes: Uint8Array, start: number, length: number): number {
  if (length >= 4) {
    return (bytes[start]! << 24) | (bytes[start + 1]! << 16) | (bytes[start + 2]! << 8) | bytes[start + 3]!
  }
  let prefix = 0
  for (let i = 0; i < length; i++) prefix |= bytes[start + i]! << (24 - 8 * i)
  return prefix
}
