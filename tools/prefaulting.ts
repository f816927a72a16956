/**
 * A region that has just been opened is a mapping without pages: the first byte that arrives in each of them is a page fault
 * in the middle of a receive, half a microsecond, and one that waits for the file system's journal where the mapping is
 * synchronous (MAP_SYNC). So the pages are asked for ahead, while there is nothing else to do.
 *
 *   timer     ──► one slice every TICK_MS, whatever the load
 *   loop idle ──► slice after slice, until all is there                          (a frame that arrives waits for a slice)
 *
 * Not in the class `msync`: its pages are the page cache's, which has better use for its memory than all of the region.
 *
 * Called by: serve. Calls: region.ts.
 */
import type { Region } from '../storage/region.ts'

/** About 0.1 ms of the loop, by the 0.4 ms a MiB of `prefault`. */
const SLICE_BYTES = 256 << 10
/** Under load 50 slices a second: 12 MiB/s, half a percent of the time. */
const TICK_MS = 20

export class Prefaulting {
  private readonly region: Region
  private readonly bytes: number
  private readonly timer: NodeJS.Timeout | undefined
  private done = 0

  constructor(region: Region) {
    this.region = region
    this.bytes = region.asynchronous ? 0 : region.bytes
    if (this.bytes > 0) this.timer = setInterval(() => this.slice(), TICK_MS).unref()
  }

  /** The traffic pauses: goes on. Returns whether more is to be done. */
  idle(): boolean {
    return this.slice()
  }

  close(): void {
    clearInterval(this.timer)
    this.done = this.bytes
  }

  private slice(): boolean {
    if (this.done >= this.bytes) return false
    const length = Math.min(SLICE_BYTES, this.bytes - this.done)
    const isPossible = this.region.prefault(this.done, length)
    this.done = isPossible ? this.done + length : this.bytes
    if (this.done < this.bytes) return true
    clearInterval(this.timer)
    return false
  }
}
