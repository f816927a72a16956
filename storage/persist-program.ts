/**
 * A persist program: what a batch commit does to persistent memory, as data.
 *
 * commit.ts and reclamation.ts append operations (region.ts, when it creates the anchor; scrub.ts programs of its own);
 * the region hands the whole array to ONE native call (or, in the `msync` class, to a native thread); the crash tests
 * interpret the very same array. An operation is four int32:
 *
 *   [FLUSH_VIEW, buffer, offset, length]   make a piece of a buffer durable at the next fence
 *   [FLUSH_LINE, meta, 0, 0]               the same for a metadata line
 *   [FENCE, 0, 0, 0]                       everything flushed before is durable from here on
 *   [SEAL_LINE, meta, state, 0]            line CRC, then the commit word in one 8-byte store; flush the line
 *   [CLEAR_LINE, meta, 0, 0]               commit word := 0 in one 8-byte store; flush the line
 *   [CRC_VIEW, meta, 0, 0]                 payload CRC32C of the line and its complement := those of its data view (no flush)
 *
 * The native side checks a whole program before it executes the first operation.
 *
 * Invariant: no cache line of a buffer is flushed twice because two views that were added one behind the other meet in it
 * (requests that came in one segment, packed entries that share a buffer): the second extends the flush of the first.
 */
import { LINE_SHIFT } from './layout.ts'

export const OP_WORDS = 4

export const OP_FLUSH_VIEW = 1
export const OP_FLUSH_LINE = 2
export const OP_FENCE = 3
export const OP_SEAL_LINE = 4
export const OP_CLEAR_LINE = 5
export const OP_CRC_VIEW = 6

/** Operations that a fresh program has room for; it doubles when full (a large value), and stays that size. */
const INITIAL_OPERATIONS = 256

export class PersistProgram {
  words = new Int32Array(INITIAL_OPERATIONS * OP_WORDS)
  /** Words used. */
  length = 0
  /** Where the last FLUSH_VIEW since the last fence stands, or -1. */
  private lastView = -1

  flushView(buffer: number, offset: number, length: number): void {
    if (this.extendsLastView(buffer, offset, length)) return
    this.lastView = this.length
    this.push(OP_FLUSH_VIEW, buffer, offset, length)
  }

  flushLine(meta: number): void {
    this.push(OP_FLUSH_LINE, meta, 0, 0)
  }

  fence(): void {
    this.lastView = -1
    this.push(OP_FENCE, 0, 0, 0)
  }

  sealLine(meta: number, state: number): void {
    this.push(OP_SEAL_LINE, meta, state, 0)
  }

  clearLine(meta: number): void {
    this.push(OP_CLEAR_LINE, meta, 0, 0)
  }

  crcView(meta: number): void {
    this.push(OP_CRC_VIEW, meta, 0, 0)
  }

  reset(): void {
    this.length = 0
    this.lastView = -1
  }

  /** Makes the last flush cover this view as well, if no cache line lies between the two. */
  private extendsLastView(buffer: number, offset: number, length: number): boolean {
    const { words, lastView } = this
    if (lastView < 0 || words[lastView + 1] !== buffer) return false
    const start = words[lastView + 2]!
    const end = start + words[lastView + 3]!
    const viewEnd = offset + length
    if (offset >> LINE_SHIFT > ((end - 1) >> LINE_SHIFT) + 1) return false
    if (start >> LINE_SHIFT > ((viewEnd - 1) >> LINE_SHIFT) + 1) return false
    words[lastView + 2] = Math.min(start, offset)
    words[lastView + 3] = Math.max(end, viewEnd) - words[lastView + 2]!
    return true
  }

  private push(op: number, a: number, b: number, c: number): void {
    const at = this.length
    if (at === this.words.length) this.grow()
    const words = this.words
    words[at] = op
    words[at + 1] = a
    words[at + 2] = b
    words[at + 3] = c
    this.length = at + OP_WORDS
  }

  private grow(): void {
    const larger = new Int32Array(this.words.length * 2)
    larger.set(this.words)
    this.words = larger
  }
}
