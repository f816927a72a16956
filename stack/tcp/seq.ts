/**
 * Sequence numbers: int32, modulo 2^32 (RFC 9293 3.4). No other file compares them with < or >.
 *
 * All functions hold for numbers less than 2^31 apart, which the window limit of 2^30 guarantees (RFC 7323 2.3).
 */

/** a + n. */
export function seqAdd(a: number, n: number): number {
  return (a + n) | 0
}

/** Distance from b to a: positive if a is right of b. */
export function seqDiff(a: number, b: number): number {
  return (a - b) | 0
}

export function seqLess(a: number, b: number): boolean {
  return ((a - b) | 0) < 0
}

export function seqLessEqual(a: number, b: number): boolean {
  return ((a - b) | 0) <= 0
}

export function seqMax(a: number, b: number): number {
  return ((a - b) | 0) < 0 ? b : a
}

/** low <= a < low + length, for 0 <= length < 2^31. */
export function seqInWindow(a: number, low: number, length: number): boolean {
  const distance = (a - low) | 0
  return distance >= 0 && distance < length
}
