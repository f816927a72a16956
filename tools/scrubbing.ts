/**
 * When the scrubber of a daemon runs: in the pauses of the traffic as much as is due, under load a little at every tick.
 *
 *   timer     ──► one slice every TICK_MS, whatever the load
 *   loop idle ──► more slices, while the last one left something due              (a frame that arrives waits for a slice)
 *   batch durable ──► one slice (asynchronous classes: the only moments without a program on its way)
 *
 * Called by: serve. Calls: storage/scrub.ts.
 */
import type { Persistence } from '../storage/persistence.ts'
import type { CorruptEntry } from '../storage/recovery.ts'
import { Scrubber, type ScrubCounters } from '../storage/scrub.ts'
import type { Store } from '../storage/store.ts'
import { UsageError } from './arguments.ts'

/** Bytes read in one go: about 20 µs for values of 1 KB that no cache holds; that long a frame may wait. */
const SLICE_BYTES = 32 << 10
/** Under load 50 slices a second: 1.5 MiB/s, 0.1 % of the time. */
const TICK_MS = 20
/** A value that carries only its TCP sum gets a CRC32C within this time of its commit. */
const UPGRADE_MS = 60_000
const PASS_SECONDS_MAX = 10_000_000

/** @returns the time of a pass in ms; 0: no scrubbing. Throws UsageError. */
export function parseScrub(text: string): number {
  if (text === 'off') return 0
  const seconds = /^\d{1,8}$/.test(text) ? Number(text) : 0
  if (seconds < 1 || seconds > PASS_SECONDS_MAX) {
    throw new UsageError(`--scrub '${text}' is neither off nor a number of seconds from 1 to ${PASS_SECONDS_MAX}`)
  }
  return seconds * 1000
}

export class Scrubbing {
  private readonly scrubber: Scrubber
  private readonly timer: NodeJS.Timeout
  /** The last slice ended before what was due was done. */
  private behind = false

  /** @param passMs everything is verified once in this time; upgrades come no later than that either */
  constructor(store: Store, persistence: Persistence, passMs: number, onFinding: (finding: CorruptEntry) => void) {
    const upgradeMs = Math.min(UPGRADE_MS, passMs)
    this.scrubber = new Scrubber(store, persistence, { passMs, upgradeMs, onFinding, nowMs: performance.now() })
    this.timer = setInterval(() => this.slice(), TICK_MS).unref()
    if (store.asynchronous) store.onComplete(() => this.slice())
  }

  get counters(): ScrubCounters {
    return this.scrubber.counters
  }

  /** The traffic pauses: catches up. Returns whether more is due. */
  idle(): boolean {
    if (this.behind) this.slice()
    return this.behind
  }

  close(): void {
    clearInterval(this.timer)
  }
  private slice(): void {
    this.behind = this.scrubber.step(performance.now(), SLICE_BYTES)
  }
}
