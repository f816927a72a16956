/**
 * The ordered index: a skip list made of the entries' own metadata lines (Pugh 1990; LevelDB's skiplist.h), with the
 * exact index (hash-index.ts) kept in step beside it.
 *
 * Level 0 is the link word of the lines, in persistent memory. The upper levels are volatile, because recovery
 * rebuilds them in one walk: one node in four has a *tower* in DRAM, which carries the first bytes of its key, so
 * that a search goes down through compact DRAM and touches lines and frames only on the last steps.
 *
 *   level 2   anchor ───────────────────────────► C ─────────────► end    between towers, DRAM
 *   level 1   anchor ──────────► B ─────────────► C ─────────────► end    between towers, DRAM
 *   level 0   anchor ──► a ────► b ────► b2 ────► c ────► d ─────► end    W_NEXT of each line, PM
 *                    ◄── previous (DRAM) ──
 *
 *   tower     [ line | key word 0 | 1 | 2 | 3 | next at level 1 | next at level 2 | … ]      int32 each; a tower's
 *             number is the index of its first word, 0 is the anchor's                       16 key bytes
 *
 * Called by: commit.ts, recovery.ts, store.ts.
 *
 * Invariants:
 *  1. Keys ascend strictly along every level.
 *  2. heights[meta] > 0 exactly for the anchor and the nodes in the list; a node of height h is in the levels below h.
 *  3. Every level-0 store is remembered in `dirtyLinks` until a persist program has flushed it.
 *  4. `locate` leaves the last node before the key in `predecessor`, and the last tower of each level in
 *     `towerPredecessors`; they hold until the next change (`epoch`).
 */
import { HashIndex } from './hash-index.ts'
import { compareKey, hashKey, keyPrefix, keyWord } from './key.ts'
import { ANCHOR_META, NO_META, viewLength, viewOffset, W_BUFFER, W_KEY, W_NEXT } from './layout.ts'
import type { Pool } from './pool.ts'

/** 4^12 = 16 M expected entries with branching 4. */
export const HEIGHT_MAX = 12
/** One node in 4 rises a level: 1.33 links a node (Pugh 1990, "choosing p"). */
const BRANCHING_BITS = 2

/* Words of a tower. */
const T_LINE = 0
const T_KEY = 1
const T_KEY_WORDS = 4
/** Level 1 is the first that a tower has. */
const T_NEXT = T_KEY + T_KEY_WORDS - 1
const TOWER_KEY_BYTES = T_KEY_WORDS * 4

const ANCHOR_TOWER = 0
const NO_TOWER = 0

export class SkipList {
  private readonly pool: Pool
  private readonly random: () => number
  private readonly exact: HashIndex
  /** 0: not in the list; otherwise the number of levels. By line index. */
  readonly heights: Uint8Array
  /** Tower of a node of height 2 or more. By line index. */
  private readonly towerOf: Int32Array
  /** Level-0 predecessor of each node. By line index. */
  private readonly previous: Int32Array
  private towers = new Int32Array(1 << 12)
  private towersUsed = 0
  /** Freed towers by height, chained through their first word; 0 ends. */
  private readonly freeTowers = new Int32Array(HEIGHT_MAX + 1)
  private height = 1
  private last = ANCHOR_META

  /** What `locate` found: the last node before the key, and the last tower of each level from 1 up. */
  predecessor = ANCHOR_META
  readonly towerPredecessors = new Int32Array(HEIGHT_MAX)
  /** Key words of the search in progress. */
  private readonly searchWords = new Int32Array(T_KEY_WORDS)
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
    this.exact = new HashIndex(pool)
    this.heights = new Uint8Array(pool.metaIndexEnd)
    this.towerOf = new Int32Array(pool.metaIndexEnd)
    this.previous = new Int32Array(pool.metaIndexEnd)
    this.linkIsDirty = new Uint8Array(pool.metaIndexEnd)
    this.reset()
  }

  /* --- looking --- */

  /** First entry in key order, or NO_META. */
  first(): number {
    return this.pool.get(ANCHOR_META, W_NEXT)
  }

  /** Level-0 successor, or NO_META. */
  next(meta: number): number {
    return this.pool.get(meta, W_NEXT)
  }

  /** Level-0 predecessor of an entry, or NO_META at the front. */
  before(meta: number): number {
    return this.previous[meta]!
  }

  /** The entry with exactly this key, or NO_META. */
  find(bytes: Uint8Array, start: number, length: number): number {
    return this.exact.find(hashKey(bytes, start, length), bytes, start, length)
  }

  /** The same, with the hash already known. */
  findHashed(hash: number, bytes: Uint8Array, start: number, length: number): number {
    return this.exact.find(hash, bytes, start, length)
  }

  /** Finds the place of a key: fills `predecessor` and `towerPredecessors`. Returns the first node that is not before it, or NO_META. */
  locate(bytes: Uint8Array, start: number, length: number): number {
    this.loadSearch(bytes, start, length)
    const { towers, towerPredecessors } = this
    for (let level = HEIGHT_MAX - 1; level >= this.height; level--) towerPredecessors[level] = ANCHOR_TOWER
    let tower = ANCHOR_TOWER
    let bound = NO_TOWER // a tower known not to precede the key: no second comparison one level down
    for (let level = this.height - 1; level >= 1; level--) {
      for (;;) {
        const next = towers[tower + T_NEXT + level]!
        if (next === NO_TOWER || next === bound) break
        if (this.compareTower(next, bytes, start, length) >= 0) {
          bound = next
          break
        }
        tower = next
      }
      towerPredecessors[level] = tower
    }
    return this.walk(towers[tower + T_LINE]!, bytes, start, length)
  }

  /**
   * Brings a place that was right at an earlier epoch up to date, for a node of the given height: by walking forward
   * on level 0, or by a new search if the predecessor has left the list or the node will have a tower.
   */
  relocate(predecessor: number, height: number, bytes: Uint8Array, start: number, length: number): void {
    if (height > 1 || this.heights[predecessor] === 0) this.locate(bytes, start, length)
    else this.walk(predecessor, bytes, start, length)
  }

  /* --- changing --- */

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

  /** Links a node at the place that `locate` found. */
  insert(meta: number, height: number): void {
    const { predecessor } = this
    const successor = this.next(predecessor)
    this.heights[meta] = height
    if (height > 1) this.insertTower(meta, height)
    this.setLink(meta, successor)
    this.setLink(predecessor, meta)
    this.previous[meta] = predecessor
    if (successor !== NO_META) this.previous[successor] = meta
    this.exact.insert(meta)
    this.size++
    this.epoch++
  }

  /** Puts `meta` in the place of `old`, which has the same key. Needs no search. */
  replace(old: number, meta: number): void {
    const height = this.heights[old]!
    const predecessor = this.previous[old]!
    const successor = this.next(old)
    this.exact.replace(old, meta)
    this.heights[meta] = height
    this.heights[old] = 0
    if (height > 1) {
      const tower = this.towerOf[old]!
      this.towerOf[meta] = tower
      this.towers[tower + T_LINE] = meta
    }
    this.setLink(meta, successor)
    this.setLink(predecessor, meta)
    this.previous[meta] = predecessor
    if (successor !== NO_META) this.previous[successor] = meta
    this.epoch++
  }

  /** Unlinks a node. Its own level-0 link stays as it is: a walk of recovery passes through it until the line is used again. */
  remove(meta: number): void {
    const height = this.heights[meta]!
    if (height > 1) this.removeTower(meta, height)
    const predecessor = this.previous[meta]!
    const successor = this.next(meta)
    this.setLink(predecessor, successor)
    if (successor !== NO_META) this.previous[successor] = predecessor
    this.exact.remove(meta)
    this.heights[meta] = 0
    this.size--
    this.epoch++
  }

  /* --- recovery --- */

  /** Starts a rebuild: the list is empty, but no level-0 link is touched yet. */
  beginRebuild(): void {
    this.heights.fill(0)
    this.reset()
    this.epoch++
  }

  /** Appends a node whose key is greater than all before it. Its own level-0 link is not touched, so a walk may go on behind it. */
  appendRebuilt(meta: number): void {
    const height = this.drawHeight()
    this.heights[meta] = height
    if (height > 1) {
      this.insertTower(meta, height)
      for (let level = 1; level < height; level++) this.towerPredecessors[level] = this.towerOf[meta]!
    }
    this.setLink(this.last, meta)
    this.previous[meta] = this.last
    this.last = meta
    this.size++
  }

  /** Ends the list behind the last node appended. */
  endRebuild(): void {
    this.setLink(this.last, NO_META)
    // In the order of the lines, not of the keys: then keys that are hashed one after the other lie beside each other.
    this.exact.insertAll(this.heights, this.size)
    this.epoch++
  }

  /* --- links --- */

  /** Stores a level-0 link and remembers to flush it; storing what stands there already costs nothing. */
  setLink(meta: number, next: number): void {
    if (this.pool.get(meta, W_NEXT) === next) return
    this.pool.set(meta, W_NEXT, next)
    if (this.linkIsDirty[meta] !== 0) return
    this.linkIsDirty[meta] = 1
    if (this.dirtyLinkCount === this.dirtyLinks.length) this.dirtyLinks = doubled(this.dirtyLinks)
    this.dirtyLinks[this.dirtyLinkCount++] = meta
  }

  /** The dirty links are part of a persist program now. */
  clearDirtyLinks(): void {
    for (let i = 0; i < this.dirtyLinkCount; i++) this.linkIsDirty[this.dirtyLinks[i]!] = 0
    this.dirtyLinkCount = 0
  }

  private reset(): void {
    this.towers.fill(0)
    this.towersUsed = T_NEXT + HEIGHT_MAX
    this.freeTowers.fill(0)
    this.towerPredecessors.fill(ANCHOR_TOWER)
    this.exact.clear()
    this.heights[ANCHOR_META] = HEIGHT_MAX
    this.height = 1
    this.last = ANCHOR_META
    this.size = 0
  }

  private loadSearch(bytes: Uint8Array, start: number, length: number): void {
    for (let i = 0; i < T_KEY_WORDS; i++) this.searchWords[i] = keyWord(bytes, start, length, 4 * i)
  }

  /** Walks level 0 from a node before the key. */
  private walk(node: number, bytes: Uint8Array, start: number, length: number): number {
    const prefix = keyPrefix(bytes, start, length)
    for (;;) {
      const next = this.next(node)
      if (next === NO_META || compareKey(this.pool, next, bytes, start, length, prefix) >= 0) {
        this.predecessor = node
        return next
      }
      node = next
    }
  }

  /** Key of the tower against the search key. */
  private compareTower(tower: number, bytes: Uint8Array, start: number, length: number): number {
    const { towers, searchWords } = this
    for (let i = 0; i < T_KEY_WORDS; i++) {
      const own = towers[tower + T_KEY + i]!
      const sought = searchWords[i]!
      if (own !== sought) return own >>> 0 < sought >>> 0 ? -1 : 1
    }
    return compareKey(this.pool, towers[tower + T_LINE]!, bytes, start, length, searchWords[0]!)
  }

  private insertTower(meta: number, height: number): void {
    if (height > this.height) this.height = height
    const tower = this.allocateTower(height)
    this.towerOf[meta] = tower
    this.towers[tower + T_LINE] = meta
    const { pool } = this
    const view = pool.get(meta, W_KEY)
    const start = pool.bufferStart(pool.get(meta, W_BUFFER)) + viewOffset(view)
    const length = Math.min(viewLength(view), TOWER_KEY_BYTES)
    for (let i = 0; i < T_KEY_WORDS; i++)
      this.towers[tower + T_KEY + i] = keyWord(pool.dataBytes(meta), start, length, 4 * i)
    for (let level = 1; level < height; level++) {
      const before = this.towerPredecessors[level]!
      this.towers[tower + T_NEXT + level] = this.towers[before + T_NEXT + level]!
      this.towers[before + T_NEXT + level] = tower
    }
  }

  private removeTower(meta: number, height: number): void {
    const { pool } = this
    const view = pool.get(meta, W_KEY)
    this.locate(pool.dataBytes(meta), pool.bufferStart(pool.get(meta, W_BUFFER)) + viewOffset(view), viewLength(view))
    const tower = this.towerOf[meta]!
    for (let level = 1; level < height; level++) {
      this.towers[this.towerPredecessors[level]! + T_NEXT + level] = this.towers[tower + T_NEXT + level]!
    }
    this.towers[tower] = this.freeTowers[height]!
    this.freeTowers[height] = tower
  }

  private allocateTower(height: number): number {
    const free = this.freeTowers[height]!
    if (free !== 0) {
      this.freeTowers[height] = this.towers[free]!
      return free
    }
    const tower = this.towersUsed
    this.towersUsed += T_NEXT + height
    if (this.towersUsed > this.towers.length) this.towers = doubled(this.towers)
    return tower
  }
}

function doubled(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2)
  larger.set(array)
  return larger
}
