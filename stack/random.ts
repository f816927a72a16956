/**
 * Randomness, injected: ephemeral ports, timestamp offsets, jitter. A seeded generator makes every run repeatable;
 * what must be unguessable (initial sequence numbers) comes from a keyed hash in tcp/isn.ts instead.
 */
export interface Random {
  /** The next 32 random bits, as int32. */
  next(): number
}

/** xorshift128 (Marsaglia 2003): small, fast, good enough for everything that is no secret. */
export class SeededRandom implements Random {
  private a: number
  private b = 0x6c078965
  private c = 0x5d588b65
  private d = 0x2545f491

  constructor(seed: number) {
    this.a = seed | 0 || 1
    for (let warm = 0; warm < 16; warm++) this.next()
  }

  next(): number {
    let t = this.a ^ (this.a << 11)
    t ^= t >>> 8
    this.a = this.b
    this.b = this.c
    this.c = this.d
    this.d = this.d ^ (this.d >>> 19) ^ t
    return this.d
  }

  /** Uniform enough for tests and ports: an integer in [0, bound). */
  below(bound: number): number {
    return (this.next() >>> 0) % bound
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.next() >>> 0 < probability * 4294967296
  }
}
