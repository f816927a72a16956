/**
 * The allocator of the conventional store: cells of whole cache lines out of an area, in size classes.
 *
 *   free ranges ──bump──► cell          a class with no free cell
 *   free list of the class ──pop──► cell, back with release
 *
 * Up to 64 lines a class for each size; above, sixteen classes for each power of two, so that at most 1/16 is lost.
 * All of it is volatile: what is in use is what the list reaches, and `restart` is told so. Called by: conventional.ts.
 *
 * Invariants:
 *  1. A cell is on a free list only when no durable pointer leads to it.
 *  2. The link of a free cell is its first word; whoever allocates it overwrites it.
 */

export const CELL_SHIFT = 6
const CELL_BYTES = 1 << CELL_SHIFT
/** Sizes in lines up to this have a class each. */
const EXACT_LINES = 64
const EXACT_SHIFT = 6
const STEPS_SHIFT = 4
const CLASSES = EXACT_LINES + 1 + (1 << STEPS_SHIFT) * 24

export class Arena {
  private readonly words: Int32Array
  private readonly heads = new Int32Array(CLASSES)
  /** Free ranges that cells are cut from: [start, end) each; the last one first. */
  private ranges: number[] = []
  private position = 0
  private limit = 0
  /** Bytes in the ranges not yet reached. */
  private ahead = 0

  constructor(words: Int32Array) {
    this.words = words
  }

  /** Bytes that were never allocated since `restart`. */
  get unusedBytes(): number {
    return this.limit - this.position + this.ahead
  }

  /** Begins with these free ranges, [start, end) each in bytes, whole lines. */
  restart(ranges: readonly (readonly [number, number])[]): void {
    this.heads.fill(0)
    this.ranges = ranges.flat()
    this.position = 0
    this.limit = 0
    this.ahead = ranges.reduce((sum, [start, end]) => sum + end - start, 0)
  }

  /** A cell for so many bytes, or 0. */
  allocate(bytes: number): number {
    const size = classOf(bytes)
    const cell = this.heads[size]!
    if (cell !== 0) {
      this.heads[size] = this.words[cell >> 2]!
      return cell
    }
    const length = cellBytes(bytes)
    while (this.limit - this.position < length) if (!this.nextRange()) return 0
    const fresh = this.position
    this.position += length
    return fresh
  }

  /** Gives back a cell that was allocated for so many bytes. */
  release(cell: number, bytes: number): void {
    const size = classOf(bytes)
    this.words[cell >> 2] = this.heads[size]!
    this.heads[size] = cell
  }

  private nextRange(): boolean {
    const end = this.ranges.pop()
    const start = this.ranges.pop()
    if (start === undefined || end === undefined) return false
    const rest = this.limit - this.position
    if (rest > 0 && rest <= EXACT_LINES << CELL_SHIFT) this.release(this.position, rest)
    this.position = start
    this.limit = end
    this.ahead -= end - start
    return true
  }
}

/** Bytes that an allocation of so many takes. */
export function cellBytes(bytes: number): number {
  const lines = (bytes + CELL_BYTES - 1) >> CELL_SHIFT
  if (lines <= EXACT_LINES) return lines << CELL_SHIFT
  const step = 1 << (31 - Math.clz32(lines) - STEPS_SHIFT)
  return ((lines + step - 1) & -step) << CELL_SHIFT
}

function classOf(bytes: number): number {
  const lines = cellBytes(bytes) >> CELL_SHIFT
  if (lines <= EXACT_LINES) return lines
  const power = 31 - Math.clz32(lines)
  return EXACT_LINES + ((power - EXACT_SHIFT) << STEPS_SHIFT) + (lines >> (power - STEPS_SHIFT)) - (1 << STEPS_SHIFT)
}
