/**
 * Time as the stack sees it. No module of the stack reads a clock: whoever drives the loop passes the time in, once
 * a burst, as integer microseconds since any fixed moment; tests pass virtual time.
 *
 *   nowUs     number, up to 2^53            at the edge: Host.poll, Host.flush, Host.nextDeadlineUs
 *   nowUs32   int32, wraps every 71 min     round-trip samples; compared by subtraction | 0
 *   nowMs     int32, wraps every 49 days    timers and TCP timestamps; compared by subtraction | 0
 *
 * Such a difference turns negative after half of a turn, 35 minutes or 24 days: what may lie as long ago is for `elapsed`.
 *
 * Wall-clock time is a second, separate thing: it only stamps arrivals (ns since the epoch, two 32-bit halves).
 *
 * Called by: the program that runs the loop (tools), and Host for arrival stamps.
 */

/** Time from `since`, which is past, to `now`, both of one of the clocks that wrap: right for a whole turn of it. */
export function elapsed(now: number, since: number): number {
  return (now - since) >>> 0
}

/** A monotonic clock, integer microseconds. */
export interface Clock {
  nowUs(): number
}

/** Nanoseconds since the epoch as two 32-bit halves, so that no BigInt is made. */
export interface WallClock {
  /** Lower and upper half of the last reading, as int32. */
  low: number
  high: number
  /** Takes a reading. Called once per burst that brought frames. */
  read(): void
}

const TWO_TO_32 = 4294967296

/** The process's monotonic clock. */
export class SystemClock implements Clock {
  nowUs(): number {
    return Math.floor(performance.now() * 1000)
  }
}

/** The system's time of day, with the microsecond resolution that V8 offers. */
export class SystemWallClock implements WallClock {
  low = 0
  high = 0

  read(): void {
    const us = Math.floor((performance.timeOrigin + performance.now()) * 1000)
    // us < 2^53, but us * 1000 is not: multiply the halves.
    const lowNs = (us % TWO_TO_32) * 1000
    this.low = (lowNs % TWO_TO_32) | 0
    this.high = (Math.floor(us / TWO_TO_32) * 1000 + Math.floor(lowNs / TWO_TO_32)) | 0
  }
}
