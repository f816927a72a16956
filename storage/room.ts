/**
 * Room for writes: what is free, less what the network keeps; and what can be done when there is none.
 *
 *   too little ─► settle: publish what is staged, clear what it superseded, release it ─► end the oldest snapshots that keep some
 *
 * Called by: store.ts. Calls: commit, snapshot.
 */
import type { Commit } from './commit.ts'
import type { Pool } from './pool.ts'
import type { Snapshots } from './snapshot.ts'

/**
 * Buffers that writes never take, so that the network keeps working when the store is full: 1/16 of all, within these
 * bounds, but never more than a quarter. The least is twice what a device keeps ready for reception, so that windows stay
 * open.
 */
const RESERVE_SHARE = 16
const RESERVE_MIN = 256
const RESERVE_MAX = 4096
const RESERVE_SHARE_MAX = 4

/** Programs from a superseding change to the release of all that it superseded. */
const SETTLES_MAX = 4

export class Room {
  /** Buffers that writes never take. */
  readonly reserve: number
  private readonly pool: Pool
  private readonly commitment: Commit
  private readonly snapshots: Snapshots
  private readonly idleBuffers: () => number

  /** @param idleBuffers buffers that count as free although a device holds them ready for reception */
  constructor(pool: Pool, commitment: Commit, snapshots: Snapshots, idleBuffers: () => number) {
    this.pool = pool
    this.commitment = commitment
    this.snapshots = snapshots
    this.idleBuffers = idleBuffers
    const { totalBuffers } = pool
    const share = Math.min(Math.max(Math.floor(totalBuffers / RESERVE_SHARE), RESERVE_MIN), RESERVE_MAX)
    this.reserve = Math.min(share, Math.floor(totalBuffers / RESERVE_SHARE_MAX))
  }

  /** Buffers and lines that writes may still take. */
  get left(): number {
    return Math.min(this.pool.freeBuffers + this.idleBuffers(), this.pool.freeMetas) - this.reserve
  }

  /** Whether a program that is due or on its way may still make room. */
  get isOwed(): boolean {
    const { commitment } = this
    return commitment.poisoned === 0 && (commitment.busy || commitment.hasDebts || commitment.hasStaged)
  }

  /** Whether a write that needs so many buffers may be taken; cleans up first if that may help, and ends snapshots if it does not. */
  has(buffers: number): boolean {
    do {
      this.settle(buffers)
    } while (this.left < buffers && !this.commitment.busy && this.snapshots.endForRoom(buffers - this.left))
    return this.left >= buffers
  }

  private settle(buffers: number): void {
    // Publishing what is staged, clearing what it superseded, clearing that one's fragments, releasing all of it.
    for (let programs = SETTLES_MAX; programs > 0 && this.left < buffers; programs--) {
      if (this.commitment.busy || !this.isOwed) break
      this.commitment.settle()
    }
  }
}
