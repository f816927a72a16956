/**
 * When the packer of a daemon runs. Packing costs the frames that the values came in, so it is done for want of room, not
 * for tidiness: a pass begins when less than half of the buffers are free, and again only when enough has changed since.
 *
 *   timer     ──► one slice every TICK_MS, a larger one while room is short
 *   loop idle ──► more slices, while a pass is under way                          (a frame that arrives waits for a slice)
 *   batch durable ──► one slice (asynchronous classes: the only moments without a program on its way)
 *
 * Called by: serve. Calls: storage/packing.ts.
 */
import { BUFFER_BYTES } from '../storage/layout.ts'
import { PACK_DONE, PACK_MORE, type PackCounters, Packer } from '../storage/packing.ts'
import type { Persistence } from '../storage/persistence.ts'
import type { CorruptEntry } from '../storage/recovery.ts'
import type { Store } from '../storage/store.ts'

/** Bytes looked at or copied in one go in a pause: 14 values of 100 bytes, 75 µs; that long a frame may wait. */
const SLICE_BYTES = 4 << 10
/** Under load so much 100 times a second: 1.3 % of a core (docs/results.md). */
const TICK_MS = 10
const TICK_BYTES = 8 << 10
/** The same with less than an eighth of the buffers free: 7 % of a core, which is better than refusing writes. */
const SHORT_TICK_BYTES = 64 << 10
/** Half empty: two entries' room for one is the least gain that pays for copying both. */
const SPARSE_BYTES = BUFFER_BYTES / 2
/** Longer values come in full segments, and moving one would take as many buffers at once. */
const LINES_MAX = 64
/** Between two passes so much of the number of lines must have been written or deleted. */
const CHANGES_SHARE = 1 / 32

export class Packing {
  private readonly store: Store
  private readonly packer: Packer
  private readonly timer: NodeJS.Timeout
  /** A pass is under way. */
  private active = false
  /** No pass begins before so many changes. */
  private dueChanges = 0

  constructor(store: Store, persistence: Persistence, onFinding: (finding: CorruptEntry) => void) {
    this.store = store
    const reserve = store.reservedBuffers >> 1 // the network keeps half of what it has when the store is full
    this.packer = new Packer(store, persistence, { sparseBytes: SPARSE_BYTES, linesMax: LINES_MAX, reserve, onFinding })
    this.timer = setInterval(() => this.tick(), TICK_MS).unref()
    if (store.asynchronous) store.onComplete(() => this.slice(SLICE_BYTES))
  }

  get counters(): PackCounters {
    return this.packer.counters
  }

  /** The traffic pauses: goes on with the pass. Returns whether it is to be called again. */
  idle(): boolean {
    return this.slice(SLICE_BYTES)
  }

  close(): void {
    clearInterval(this.timer)
    this.packer.close()
  }

  private tick(): void {
    this.slice(this.freeShare < 1 / 8 ? SHORT_TICK_BYTES : TICK_BYTES)
  }

  private get freeShare(): number {
    const { pool, idleBuffers } = this.store
    return (pool.freeBuffers + idleBuffers()) / pool.totalBuffers
  }

  private slice(budgetBytes: number): boolean {
    const { store } = this
    if (!this.active) {
      if (store.counters.changes < this.dueChanges || this.freeShare >= 1 / 2) return false
      this.active = true
      this.dueChanges = store.counters.changes + Math.ceil(store.pool.totalMetas * CHANGES_SHARE)
    }
    const outcome = this.packer.step(budgetBytes)
    if (outcome === PACK_DONE) this.active = false
    return outcome === PACK_MORE
  }
}
