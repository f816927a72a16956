/**
 * One direction of an impaired link: decides what happens to each frame, and keeps those that pass until they are due.
 *
 *   frame ─► too long? ─► lost? ─► queue full? ─► rate ─► delay ± jitter ─┬─► on time ─┬─► pop, by due time
 *             (vanishes without a word, as on a real path)                └─► late ────┘
 *
 * Two first-in-first-out queues suffice for all of it: frames on time never overtake each other, and neither do the
 * late ones among themselves; only a frame on time overtakes a late one.
 *
 * Called by: impair.ts, one for each direction. Calls: held-frames.ts.
 *
 * Invariants:
 *  1. What happens to the nth frame of a direction depends on the seed, n, and the specification, not on the other
 *     direction and not on time; only the queue in front of the rate depends on time. So a run replays.
 *  2. Jitter alone never reorders.
 */
import { HeldFrames } from './held-frames.ts'
import type { PathImpairment } from './impairment-spec.ts'

const TWO_TO_32 = 4294967296
const US_PER_SECOND = 1_000_000

/** What happened to the frames of one direction. */
export class PathCounters {
  /** Frames that came to the path. */
  frames = 0
  /** Lost at random, and by the burst model. */
  lost = 0
  /** Found the queue in front of the rate full. */
  queueFull = 0
  tooLong = 0
  reordered = 0
  duplicated = 0
  corrupted = 0
  /** Dropped because more frames were on their way than memory is set aside for. */
  heldFull = 0
}

export class ImpairedPath {
  readonly counters = new PathCounters()
  /** What `admit` decided about a frame that passes: one more copy of it arrives. */
  duplicate = false
  /** This bit of it flips, counted over any length: take it modulo; -1: none. */
  corruptBit = -1

  /** [0]: the time, µs, which the device keeps: a double that is passed or returned may be an object on the heap. */
  private readonly now: Float64Array
  private readonly spec: PathImpairment
  private readonly random: () => number
  private readonly onTime: HeldFrames
  private readonly late: HeldFrames
  private isBad = false
  private number = 0
  private isLate = false
  /** [0] due time of the admitted frame, µs; [1] when the rate has sent everything before. Doubles, unboxed. */
  private readonly times = new Float64Array(2)

  /**
   * @param random the next 32 bits of a generator of this path's own
   * @param now the device's time
   * @param capacity descriptors that may wait
   */
  constructor(spec: PathImpairment, random: () => number, now: Float64Array, capacity: number) {
    this.spec = spec
    this.random = random
    this.now = now
    this.onTime = new HeldFrames(capacity)
    this.late = new HeldFrames(capacity)
  }

  /** Descriptors, hence buffer references, that wait. */
  get heldDescriptors(): number {
    return this.onTime.descriptorCount + this.late.descriptorCount
  }

  /**
   * Decides about the next frame. True: it passes; push its descriptors and call `hold`. False: it is gone.
   * @param bytes of the frame; `packetBytes` of the IP packet in it
   */
  admit(bytes: number, packetBytes: number): boolean {
    const { spec, counters } = this
    const nowUs = this.now[0]!
    counters.frames++
    // Every draw is made for every frame, whatever the others say: invariant 1.
    const isLost = this.drawLoss()
    this.duplicate = this.chance(spec.duplicate)
    const isCorrupt = this.chance(spec.corrupt)
    const bit = isCorrupt ? this.random() >>> 1 : -1
    this.isLate = this.chance(spec.reorder)
    const jitterUs = spec.jitterUs === 0 ? 0 : ((this.random() >>> 0) % (2 * spec.jitterUs + 1)) - spec.jitterUs
    this.corruptBit = bit
    if (spec.mtuBytes !== 0 && packetBytes > spec.mtuBytes) {
      counters.tooLong++
      return false
    }
    if (isLost) {
      counters.lost++
      return false
    }
    const { times } = this
    let sentUs = nowUs
    if (spec.rateBytes !== 0) {
      const startUs = Math.max(nowUs, times[1]!)
      const waitingBytes = ((startUs - nowUs) * spec.rateBytes) / US_PER_SECOND
      if (waitingBytes > 0 && waitingBytes + bytes > spec.queueBytes) {
        counters.queueFull++
        return false
      }
      sentUs = startUs + (bytes * US_PER_SECOND) / spec.rateBytes
      times[1] = sentUs
    }
    times[0] = sentUs + spec.delayUs + jitterUs + (this.isLate ? spec.reorderDelayUs : 0)
    if (this.isLate) counters.reordered++
    return true
  }

  /** Adds the descriptor at word `at` to the admitted frame, with a reference to its buffer. */
  pushFrom(descriptors: Int32Array, at: number): void {
    if (this.isLate) this.late.pushFrom(descriptors, at)
    else this.onTime.pushFrom(descriptors, at)
  }

  /** Sends the descriptors pushed since on their way: the admitted frame, or the copy of it. */
  hold(): void {
    this.number = (this.number + 1) | 0
    if (this.isLate) this.late.end(this.times[0]!, this.number)
    else this.onTime.end(this.times[0]!, this.number)
  }

  /** Descriptors of the frame that arrives next; 0 if none is due. */
  dueDescriptors(): number {
    const next = this.next()
    return next.headDueUs <= this.now[0]! ? next.headDescriptors : 0
  }

  /** Takes the frame that arrives next, with its references. @returns its descriptors */
  pop(into: Int32Array, at: number): number {
    return this.next().pop(into, at)
  }

  /** When the next frame arrives, µs; Infinity if none is on its way. */
  nextDueUs(): number {
    return this.next().headDueUs
  }

  private next(): HeldFrames {
    const { onTime, late } = this
    if (late.isEmpty) return onTime
    if (onTime.isEmpty || late.headDueUs < onTime.headDueUs) return late
    if (late.headDueUs > onTime.headDueUs) return onTime
    return ((late.headNumber - onTime.headNumber) | 0) < 0 ? late : onTime
  }

  private drawLoss(): boolean {
    const { loss, burst } = this.spec
    let isLost = this.chance(loss)
    if (burst !== undefined) {
      if (this.isBad) this.isBad = !this.chance(burst.leave)
      else this.isBad = this.chance(burst.enter)
      if (this.chance(this.isBad ? burst.lossBad : burst.lossGood)) isLost = true
    }
    return isLost
  }

  /** True with the given probability; draws nothing for 0. */
  private chance(probability: number): boolean {
    return probability !== 0 && this.random() >>> 0 < probability * TWO_TO_32
  }
}
