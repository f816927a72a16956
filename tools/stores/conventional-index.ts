/**
 * The index of the conventional store: a persistent skip list whose nodes are cells of their own, as in LevelDB's and
 * NoveLSM's memtables, with an exact index in DRAM beside it, as our own store has one: a baseline without it would lose
 * by its index, not by the copying that it is there to show.
 *
 *   node    [ record | key prefix | height | next at level 0 | next at level 1 | … ]     int32 each, one cache line
 *   anchor ─► a ─► b ─► c ─► 0       level 0 is durable; recovery rebuilds the levels above in one walk
 *
 * Called by: conventional.ts, which flushes what changes here.
 *
 * Invariants:
 *  1. Keys ascend strictly along every level.
 *  2. A link of level 0 leads to a node that was durable before the link was stored.
 */
import { hashKey, keyPrefix } from '../../storage/key.ts'
import type { Area } from './area.ts'
import { recordKeyLength, recordKeyStart } from './conventional-record.ts'

export const NODE_BYTES = 64
/** 3 words, then as many links as fit the line. */
const HEIGHT_MAX = 12
/** One node in 4 rises a level. */
const BRANCHING_BITS = 2

export const N_RECORD = 0
const N_PREFIX = 1
const N_HEIGHT = 2
export const N_NEXT = 3

/** The anchor stands behind the line of the area's header. */
export const ANCHOR_NODE = 64
export const NO_NODE = 0

const INITIAL_SLOTS = 1 << 12

export class ConventionalIndex {
  /** Entries. */
  size = 0
  /** Changes with every insertion and removal: until then `predecessors` hold. */
  epoch = 0
  private readonly words: Int32Array
  private readonly bytes: Uint8Array
  private readonly random: () => number
  private readonly predecessors = new Int32Array(HEIGHT_MAX)
  private height = 1
  private nodes = new Int32Array(INITIAL_SLOTS)
  private hashes = new Int32Array(INITIAL_SLOTS)

  constructor(area: Area, random: () => number) {
    this.words = area.words
    this.bytes = area.bytes
    this.random = random
  }

  /** Level-0 successor of a node, or NO_NODE. */
  next(node: number): number {
    return this.words[(node >> 2) + N_NEXT]!
  }

  record(node: number): number {
    return this.words[(node >> 2) + N_RECORD]!
  }

  /** The node with exactly this key, or NO_NODE. */
  find(hash: number, key: Uint8Array, start: number, length: number): number {
    const mask = this.nodes.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const node = this.nodes[slot]!
      if (node === NO_NODE || (this.hashes[slot] === hash && this.hasKey(node, key, start, length))) return node
    }
  }

  /** Finds the place of a key: fills `predecessors`. */
  locate(key: Uint8Array, start: number, length: number): void {
    const { words, predecessors } = this
    const prefix = keyPrefix(key, start, length)
    for (let level = HEIGHT_MAX - 1; level >= this.height; level--) predecessors[level] = ANCHOR_NODE
    let node = ANCHOR_NODE
    for (let level = this.height - 1; level >= 0; level--) {
      for (;;) {
        const next = words[(node >> 2) + N_NEXT + level]!
        if (next === NO_NODE || this.compare(next, prefix, key, start, length) >= 0) break
        node = next
      }
      predecessors[level] = node
    }
  }

  /** Fills a fresh node for the place that `locate` found; nothing leads to it yet. */
  prepare(node: number, record: number, prefix: number): void {
    const at = node >> 2
    this.words[at + N_RECORD] = record
    this.words[at + N_PREFIX] = prefix
    this.words[at + N_HEIGHT] = this.drawHeight()
    this.words[at + N_NEXT] = this.next(this.predecessors[0]!)
  }

  /** Links a prepared node at the place that `locate` found. @returns the node whose level-0 link changed */
  insert(node: number, hash: number): number {
    const { words, predecessors } = this
    const at = node >> 2
    const height = words[at + N_HEIGHT]!
    if (height > this.height) this.height = height
    for (let level = 0; level < height; level++) {
      const link = (predecessors[level]! >> 2) + N_NEXT + level
      words[at + N_NEXT + level] = words[link]!
      words[link] = node
    }
    this.addExact(node, hash)
    return predecessors[0]!
  }

  /** Takes a node out. @returns the node whose level-0 link changed */
  remove(node: number): number {
    const { words, predecessors } = this
    const record = this.record(node)
    this.locate(this.bytes, recordKeyStart(record), recordKeyLength(words, record))
    const height = words[(node >> 2) + N_HEIGHT]!
    for (let level = 0; level < height; level++) {
      words[(predecessors[level]! >> 2) + N_NEXT + level] = words[(node >> 2) + N_NEXT + level]!
    }
    this.removeExact(node)
    return predecessors[0]!
  }

  /** Empties everything volatile; then `adopt` takes the nodes in again, in the order of level 0. */
  clear(): void {
    this.nodes.fill(NO_NODE)
    this.size = 0
    this.epoch++
    this.height = 1
    this.predecessors.fill(ANCHOR_NODE)
    for (let level = 1; level < HEIGHT_MAX; level++) this.words[(ANCHOR_NODE >> 2) + N_NEXT + level] = NO_NODE
  }

  adopt(node: number): void {
    const { words, predecessors } = this
    const at = node >> 2
    const height = Math.min(Math.max(words[at + N_HEIGHT]!, 1), HEIGHT_MAX)
    words[at + N_HEIGHT] = height
    if (height > this.height) this.height = height
    for (let level = 1; level < height; level++) {
      words[(predecessors[level]! >> 2) + N_NEXT + level] = node
      words[at + N_NEXT + level] = NO_NODE
      predecessors[level] = node
    }
    const record = this.record(node)
    this.addExact(node, hashKey(this.bytes, recordKeyStart(record), recordKeyLength(words, record)))
  }

  /** Key of a node against the given one: negative, 0 or positive. */
  private compare(node: number, prefix: number, key: Uint8Array, start: number, length: number): number {
    const own = this.words[(node >> 2) + N_PREFIX]!
    if (own !== prefix) return own >>> 0 < prefix >>> 0 ? -1 : 1
    const { bytes } = this
    const record = this.record(node)
    const ownStart = recordKeyStart(record)
    const ownLength = recordKeyLength(this.words, record)
    const shared = Math.min(ownLength, length)
    for (let i = 4; i < shared; i++) {
      const difference = bytes[ownStart + i]! - key[start + i]!
      if (difference !== 0) return difference
    }
    return ownLength - length
  }

  private hasKey(node: number, key: Uint8Array, start: number, length: number): boolean {
    const record = this.record(node)
    if (recordKeyLength(this.words, record) !== length) return false
    const own = recordKeyStart(record)
    for (let i = 0; i < length; i++) if (this.bytes[own + i] !== key[start + i]) return false
    return true
  }

  private drawHeight(): number {
    let bits = this.random()
    let height = 1
    while (height < HEIGHT_MAX && (bits & ((1 << BRANCHING_BITS) - 1)) === 0) {
      height++
      bits >>>= BRANCHING_BITS
    }
    return height
  }

  /* --- exact index: linear probing, at most half full --- */

  private addExact(node: number, hash: number): void {
    if (++this.size * 2 > this.nodes.length) this.growExact()
    this.place(node, hash)
    this.epoch++
  }

  private place(node: number, hash: number): void {
    const mask = this.nodes.length - 1
    let slot = hash & mask
    while (this.nodes[slot] !== NO_NODE) slot = (slot + 1) & mask
    this.nodes[slot] = node
    this.hashes[slot] = hash
  }

  private removeExact(node: number): void {
    const mask = this.nodes.length - 1
    const record = this.record(node)
    let hole = hashKey(this.bytes, recordKeyStart(record), recordKeyLength(this.words, record)) & mask
    while (this.nodes[hole] !== node) hole = (hole + 1) & mask
    // Entries behind the hole move back, unless their own place lies between (Knuth, TAOCP 6.4, algorithm R).
    for (let slot = (hole + 1) & mask; this.nodes[slot] !== NO_NODE; slot = (slot + 1) & mask) {
      if (((slot - (this.hashes[slot]! & mask)) & mask) < ((slot - hole) & mask)) continue
      this.nodes[hole] = this.nodes[slot]!
      this.hashes[hole] = this.hashes[slot]!
      hole = slot
    }
    this.nodes[hole] = NO_NODE
    this.size--
    this.epoch++
  }

  private growExact(): void {
    const { nodes, hashes } = this
    this.nodes = new Int32Array(nodes.length * 2)
    this.hashes = new Int32Array(nodes.length * 2)
    for (let slot = 0; slot < nodes.length; slot++) {
      if (nodes[slot] !== NO_NODE) this.place(nodes[slot]!, hashes[slot]!)
    }
  }
}
