/**
 * Commit sequence numbers: u64, ascending, never handed out twice, not even when the newest entry was deleted and the
 * process died: the header promises a floor ahead of what is in use, and recovery starts at it.
 *
 * Two int32 halves, so that stamping a line makes neither a double nor a BigInt. Called by: commit.ts.
 */
import { W_VERSION_HIGH, W_VERSION_LOW } from './layout.ts'
import type { Persistence } from './persistence.ts'

/** How far ahead the floor in the header is raised: versions. A crash skips at most so many. */
const RESERVE = 1 << 20

export class Versions {
  private readonly persistence: Persistence
  private low = 1
  private high = 0
  /** Versions that may be used before the floor has to be raised again. */
  private left = 0

  constructor(persistence: Persistence) {
    this.persistence = persistence
  }

  /** The next version, from recovery: above everything found and everything ever reserved. */
  start(next: number): void {
    this.low = next | 0
    this.high = Math.floor(next / 2 ** 32) | 0
    this.left = 0
  }

  get next(): number {
    return (this.high >>> 0) * 2 ** 32 + (this.low >>> 0)
  }

  /** Lower half of the next version, as int32: tells generations of a line apart. */
  get nextLow(): number {
    return this.low
  }

  /** Gives a line the next version. Returns 0, or the negative error number with which the header could not be written. */
  stamp(meta: number): number {
    let error = 0
    if (this.left === 0) {
      error = this.persistence.reserveVersions(this.next + RESERVE)
      this.left = RESERVE
    }
    this.left--
    const { pool } = this.persistence
    pool.set(meta, W_VERSION_LOW, this.low)
    pool.set(meta, W_VERSION_HIGH, this.high)
    this.low = (this.low + 1) | 0
    if (this.low === 0) this.high = (this.high + 1) | 0
    return error
  }
}
