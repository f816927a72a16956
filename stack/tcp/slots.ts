/** Sets of small integers: free connection slots and TIME-WAIT rows, and the work lists of a burst. */

/** "No slot". */
export const NO_SLOT = -1

export class Slots {
  private readonly free: Int32Array
  private top: number

  constructor(count: number) {
    this.free = new Int32Array(count)
    this.top = count
    for (let slot = 0; slot < count; slot++) this.free[slot] = count - 1 - slot
  }

  get used(): number {
    return this.free.length - this.top
  }

  /** A slot that nobody has, or NO_SLOT. */
  take(): number {
    return this.top === 0 ? NO_SLOT : this.free[--this.top]!
  }

  give(slot: number): void {
    this.free[this.top++] = slot
  }
}

/** A work list: each slot at most once; what is added while a batch is worked off goes into the next batch. */
export class SlotList {
  /** The batch that `takeBatch` returned the length of. */
  batch: Int32Array
  private collecting: Int32Array
  private count = 0
  private readonly listed: Uint8Array

  constructor(slots: number) {
    this.batch = new Int32Array(slots)
    this.collecting = new Int32Array(slots)
    this.listed = new Uint8Array(slots)
  }

  get isEmpty(): boolean {
    return this.count === 0
  }

  add(slot: number): void {
    if (this.listed[slot] !== 0) return
    this.listed[slot] = 1
    this.collecting[this.count++] = slot
  }

  /** Moves what was added so far into `batch`; its slots may be added again. Returns how many there are. */
  takeBatch(): number {
    const batch = this.collecting
    const count = this.count
    this.collecting = this.batch
    this.batch = batch
    this.count = 0
    for (let index = 0; index < count; index++) this.listed[batch[index]!] = 0
    return count
  }
}
