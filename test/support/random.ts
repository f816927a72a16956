/** Seeded generators for tests: everything random prints its seed and replays from it (PACKRAT_SEED). */

/** mulberry32: uniform int32 values from a seed. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return t ^ (t >>> 14)
  }
}

/** The seed of this run: PACKRAT_SEED, or the given one; printed so that a failing run can be replayed. */
export function announceSeed(suite: string, fallback: number): number {
  const seed = Number(process.env.PACKRAT_SEED ?? fallback) | 0
  console.log(`${suite}: PACKRAT_SEED=${seed}`)
  return seed
}
