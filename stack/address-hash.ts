/**
 * A keyed hash of an address, for tables whose slots an outsider shall not be able to choose: fragments, path MTUs, rate
 * limits, identifications. Not for secrets.
 */

/** @param seed of the table, drawn once. @returns 32 bits; the upper ones are the better ones */
export function hashAddress(seed: number, word0: number, word1: number, word2: number, word3: number): number {
  let hash = Math.imul(seed ^ word0, 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 15) ^ word1, 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 15) ^ word2, 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 15) ^ word3, 0x85ebca6b)
  return hash ^ (hash >>> 13)
}
