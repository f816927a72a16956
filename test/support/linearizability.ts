/**
 * Whether what clients saw of one key can have happened in some order: a register with reads, writes and deletions, some of
 * whose outcomes nobody was told (Wing and Gong 1993, "Testing and verifying concurrent objects"; Lowe's memoization).
 *
 * Each operation takes effect at one moment between its call and its return; one that never returned, at any moment behind
 * its call, or never. The search takes operations that may come first, one after the other, and remembers where it was.
 */

export interface RegisterOperation {
  /** The value written; undefined deletes. Absent: the operation only reads. */
  readonly write?: { readonly value: string | undefined }
  /** What it found, as far as it was told: a value, undefined for absent, or only that there was one. */
  readonly found?: { readonly value: string | undefined } | 'something'
  readonly called: number
  /** Infinity: the client never knew. */
  readonly returned: number
}

const agrees = (found: RegisterOperation['found'], state: string | undefined): boolean =>
  found === undefined || (found === 'something' ? state !== undefined : found.value === state)

/** The states that the register may be in behind all operations; none: what was seen cannot have happened. */
export function finalStates(
  initial: readonly (string | undefined)[],
  operations: readonly RegisterOperation[],
): Set<string | undefined> {
  const ordered = [...operations].sort((a, b) => a.called - b.called)
  const final = new Set<string | undefined>()
  const visited = new Set<string>()
  const search = (done: bigint, state: string | undefined): void => {
    const place = `${done.toString(36)} ${state ?? ''}${state === undefined ? '-' : '+'}`
    if (visited.has(place)) return
    visited.add(place)
    const left = ordered.map((_, i) => i).filter((i) => ((done >> BigInt(i)) & 1n) === 0n)
    const deadline = Math.min(...left.map((i) => ordered[i]!.returned))
    if (deadline === Number.POSITIVE_INFINITY) final.add(state) // all that is left may never have happened
    for (const i of left) {
      const { called, found, write } = ordered[i]!
      if (called > deadline) break
      if (agrees(found, state)) search(done | (1n << BigInt(i)), write === undefined ? state : write.value)
    }
  }
  for (const state of initial) search(0n, state)
  return final
}
