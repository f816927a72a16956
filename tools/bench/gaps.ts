/**
 * How quiet a machine is: a loop that only reads the clock, and what it misses. On a machine whose processors others use too
 * (a hypervisor's guests are not even told) gaps of milliseconds show, and nothing that is measured there has a smaller
 * 99th percentile than they allow. Called by: environment.ts.
 */

/** An interrupt or a collection of garbage takes less. */
const GAP_MS = 0.1

export interface Gaps {
  /** Part of the time that was lost, 0 to 1. */
  readonly lost: number
  readonly longestMs: number
}

/** Reads the clock for `ms`. @param now clock, ms */
export function measureGaps(ms: number, now: () => number = () => performance.now()): Gaps {
  const start = now()
  let before = start
  let lostMs = 0
  let longestMs = 0
  while (before - start < ms) {
    const time = now()
    const gapMs = time - before
    if (gapMs > GAP_MS) {
      lostMs += gapMs
      if (gapMs > longestMs) longestMs = gapMs
    }
    before = time
  }
  return { lost: lostMs / (before - start), longestMs }
}

export function describeGaps({ lost, longestMs }: Gaps): string {
  return lost === 0 ? 'none' : `${(lost * 100).toFixed(1)} % of the time, the longest ${longestMs.toFixed(1)} ms`
}
