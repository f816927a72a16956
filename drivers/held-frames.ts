/**
 * Frames that wait for their time, first in, first out. A frame is one descriptor or several, as in a transmit burst.
 *
 *   frames       [ due µs | number | descriptors ]  ring; `due` never decreases from one frame to the next
 *   descriptors  [ buffer, offset, length, word ]   ring, in the same order
 *
 * Called by: impaired-path.ts.
 *
 * Invariants:
 *  1. A frame that waits holds one reference to the buffer of each of its descriptors: the caller brings it with
 *     `pushFrom` and gets it back with `pop`.
 *  2. Nothing is allocated after construction.
 */
import { DESCRIPTOR_WORDS } from './device.ts'

export class HeldFrames {
  private readonly mask: number
  private readonly dueUs: Float64Array
  private readonly numbers: Int32Array
  private readonly counts: Int32Array
  private readonly descriptors: Int32Array
  /** Ring positions, counting up; wrapped by the mask on use. */
  private frameHead = 0
  private frameTail = 0
  private descriptorHead = 0
  private descriptorTail = 0
  /** Descriptors pushed for a frame that `end` has not closed yet. */
  private open = 0

  /** @param capacity descriptors, hence also frames, that may wait */
  constructor(capacity: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(capacity, 2)))
    this.mask = size - 1
    this.dueUs = new Float64Array(size)
    this.numbers = new Int32Array(size)
    this.counts = new Int32Array(size)
    this.descriptors = new Int32Array(size * DESCRIPTOR_WORDS)
  }

  get isEmpty(): boolean {
    return this.frameHead === this.frameTail
  }

  get descriptorCount(): number {
    return (this.descriptorTail - this.descriptorHead) | 0
  }

  /** Adds the descriptor at word `from` to the frame that `end` closes. The caller has checked that there is room. */
  pushFrom(descriptors: Int32Array, from: number): void {
    const at = (this.descriptorTail & this.mask) * DESCRIPTOR_WORDS
    for (let word = 0; word < DESCRIPTOR_WORDS; word++) this.descriptors[at + word] = descriptors[from + word]!
    this.descriptorTail = (this.descriptorTail + 1) | 0
    this.open++
  }

  /** Closes a frame. It is due at `dueUs`, but not before the frame in front of it. */
  end(dueUs: number, number: number): void {
    const slot = this.frameTail & this.mask
    const before = this.isEmpty ? dueUs : this.dueUs[(this.frameTail - 1) & this.mask]!
    this.dueUs[slot] = Math.max(dueUs, before)
    this.numbers[slot] = number
    this.counts[slot] = this.open
    this.open = 0
    this.frameTail = (this.frameTail + 1) | 0
  }

  /** When the first frame is due, µs; Infinity if none waits. */
  get headDueUs(): number {
    return this.isEmpty ? Number.POSITIVE_INFINITY : this.dueUs[this.frameHead & this.mask]!
  }

  /** Number of the first frame: the order of arrival among frames that are due together. */
  get headNumber(): number {
    return this.numbers[this.frameHead & this.mask]!
  }

  get headDescriptors(): number {
    return this.counts[this.frameHead & this.mask]!
  }

  /** Moves the first frame's descriptors into `into`, from word `at` on. @returns how many */
  pop(into: Int32Array, at: number): number {
    const count = this.headDescriptors
    for (let index = 0; index < count; index++) {
      const from = ((this.descriptorHead + index) & this.mask) * DESCRIPTOR_WORDS
      const to = at + index * DESCRIPTOR_WORDS
      for (let word = 0; word < DESCRIPTOR_WORDS; word++) into[to + word] = this.descriptors[from + word]!
    }
    this.descriptorHead = (this.descriptorHead + count) | 0
    this.frameHead = (this.frameHead + 1) | 0
    return count
  }
}
