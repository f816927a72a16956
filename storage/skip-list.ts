/**
 * The ordered index: a skip list whose lowest level is made of the entries' own metadata lines, with the exact index
 * (hash-index.ts) kept in step beside it.
 *
 * Level 0 is the link word of the lines, in persistent memory. The upper levels are volatile, because recovery
 * rebuilds them in one walk; they are blocks of keys in DRAM (key-blocks.ts), so that a search touches lines and frames
 * only at its end.
 *
 *   upper levels   [ … ] [ … ] [ … ]                                   key-blocks.ts, DRAM
 *   level 0        anchor ──► a ──► b ──► b2 ──► c ──► d ──► end       W_NEXT of each line, PM
 *                         ◄── previous (DRAM) ──
 *
 * Called by: commit.ts, recovery-links.ts, store.ts.
 *
 * Invariants:
 *  1. Keys ascend strictly along the links.
 *  2. The upper levels and the exact index hold exactly the entries of level 0.
 *  3. Every level-0 store is remembered in `dirtyLinks` until a persist program has flushed it, or its line has left the
 *     list: then the link that leads past the line is in the same program, and no walk comes to the line behind it.
 *  4. `locate` leaves the last node before the key in `predecessor`; it holds until the next change (`epoch`).
 */
import { HashIndex } from './hash-index.ts'
import { hashKey } from './key.ts'
import { KeyBlocks } from './key-blocks.ts'
import { largeInt32Array } from './large-array.ts'
import { ANCHOR_META, NO_META, viewLength, viewOffset, W_BUFFER, W_KEY, W_NEXT } from './layout.ts'
import type { Pool } from './pool.ts'

export class SkipList {
  private readonly pool: Pool
  private readonly exact: HashIndex
  private readonly blocks: KeyBlocks
  /** Level-0 predecessor of each node. By line index. */
  private readonly previous: Int32Array

  /** What `locate` found: the last node before the key. */
  predecessor = ANCHOR_META
  /** Changes with every insertion, replacement and removal. */
  epoch = 0
  /** Entries in the list. */
  size = 0

  /** Lines whose level-0 link was stored since the last flush. */
  dirtyLinks = new Int32Array(64)
  dirtyLinkCount = 0
  private readonly linkIsDirty: Uint8Array

  /** @param random uniform int32 source for the upper levels */
  constructor(pool: Pool, random: () => number) {
    this.pool = pool
    this.exact = new HashIndex(pool)
    this.blocks = new KeyBlocks(pool, random)
    this.previous = largeInt32Array(pool.metaIndexEnd)
    this.linkIsDirty = new Uint8Array(pool.metaIndexEnd)
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

  /** Whether a line is an entry of the list. */
  has(meta: number): boolean {
    return this.blocks.blockOf[meta] !== 0
  }

  /** Finds the place of a key: fills `predecessor`. Returns the first node that is not before it, or NO_META. */
  locate(bytes: Uint8Array, start: number, length: number): number {
    const { blocks } = this
    blocks.locate(bytes, start, length)
    const { here, before } = blocks
    if (before !== NO_META) this.predecessor = before
    else this.predecessor = here !== NO_META ? this.previous[here]! : ANCHOR_META // no block but an empty root is empty
    return here !== NO_META ? here : this.next(this.predecessor)
  }

  /* --- changing --- */

  /** Links a node whose key is not in the list. Here and below `hash` is that of its key. */
  insert(meta: number, hash = this.exact.hashOf(meta)): void {
    const { pool } = this
    const view = pool.get(meta, W_KEY)
    const start = pool.bufferStart(pool.get(meta, W_BUFFER)) + viewOffset(view)
    const successor = this.locate(pool.dataBytes(meta), start, viewLength(view))
    const { predecessor } = this
    this.blocks.insert(meta)
    this.setLink(meta, successor)
    this.setLink(predecessor, meta)
    this.previous[meta] = predecessor
    if (successor !== NO_META) this.previous[successor] = meta
    this.exact.insert(meta, hash)
    this.size++
    this.epoch++
  }

  /** Puts `meta` in the place of `old`, which has the same key. Needs no search. */
  replace(old: number, meta: number, hash = this.exact.hashOf(old)): void {
    const predecessor = this.previous[old]!
    const successor = this.next(old)
    this.exact.replace(old, meta, hash)
    this.blocks.replace(old, meta)
    this.setLink(meta, successor)
    this.setLink(predecessor, meta)
    this.previous[meta] = predecessor
    if (successor !== NO_META) this.previous[successor] = meta
    this.linkIsDirty[old] = 0
    this.epoch++
  }

  /** Unlinks a node. Its own level-0 link stays as it is: a walk of recovery passes through it until the line is used again. */
  remove(meta: number, hash = this.exact.hashOf(meta)): void {
    const { pool } = this
    const view = pool.get(meta, W_KEY)
    const start = pool.bufferStart(pool.get(meta, W_BUFFER)) + viewOffset(view)
    this.blocks.locate(pool.dataBytes(meta), start, viewLength(view))
    this.blocks.remove()
    const predecessor = this.previous[meta]!
    const successor = this.next(meta)
    this.setLink(predecessor, successor)
    if (successor !== NO_META) this.previous[successor] = predecessor
    this.exact.remove(meta, hash)
    this.linkIsDirty[meta] = 0
    this.size--
    this.epoch++
  }

  /* --- recovery --- */

  /** Starts a rebuild: the list is empty, but no level-0 link is touched yet. */
  beginRebuild(): void {
    this.blocks.clear()
    this.exact.clear()
    this.size = 0
    this.epoch++
  }

  /**
   * Puts entries whose keys ascend behind all others: `metas` from the second on. The first is the last one appended, or the
   * anchor. No link is stored.
   * @param keys KEY_WORDS sortable words for each of `metas`
   */
  appendRun(metas: Int32Array, keys: Int32Array): void {
    const { previous } = this
    this.blocks.appendRun(metas, keys)
    for (let i = 1; i < metas.length; i++) previous[metas[i]!] = metas[i - 1]!
    this.size += metas.length - 1
  }

  /** Ends a rebuild behind `last`, the last one appended or the anchor. `hashes`: of the keys, by line index. */
  endRebuild(last: number, hashes: Int32Array): void {
    this.setLink(last, NO_META)
    this.blocks.endRebuild()
    this.exact.insertAll(this.blocks.blockOf, hashes, this.size)
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

  /** Whether the link of a line in `dirtyLinks` still needs a flush of its own. */
  needsFlush(meta: number): boolean {
    return this.linkIsDirty[meta] !== 0
  }

  /** A persist program flushes the whole line, for its commit word: the link in it needs no flush of its own. */
  flushedWithLine(meta: number): void {
    this.linkIsDirty[meta] = 0
  }

  /** The dirty links are part of a persist program now. */
  clearDirtyLinks(): void {
    for (let i = 0; i < this.dirtyLinkCount; i++) this.linkIsDirty[this.dirtyLinks[i]!] = 0
    this.dirtyLinkCount = 0
  }
}

function doubled(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2)
  larger.set(array)
  return larger
}
