/**
 * The two ends of a ring that is shared with the kernel (AF_XDP): a producer writes entries and publishes them, a
 * consumer reads entries and releases them. Fill and transmit rings are produced here, completion and receive rings
 * consumed. Called by: xdp.ts.
 *
 *   indices run freely, modulo 2^32        consumer          producer
 *                                              ▼                ▼
 *   entries, a power of two   ─────────────────[ full, in order ]─────────── entry i lies at i mod entries
 *
 * Invariants:
 *  1. 0 <= producer - consumer <= entries, as int32 difference: so the wrap at 2^32 needs no care.
 *  2. Entries are written before the index that publishes them is stored, and read after it was loaded: both with
 *     Atomics, which order everything before and after. Only the indices are ever read from the other side's half.
 */
import type { XdpRing } from 'xdp-napi'

/** Entry of a fill or completion ring: address, u64. */
export const ADDRESS_WORDS_SHIFT = 1
/** Entry of a receive or transmit ring: address u64, length u32, options u32. */
export const DESCRIPTOR_WORDS_SHIFT = 2

/** In the flags word: the kernel sleeps until it is called. */
const NEED_WAKEUP = 1

export class RingProducer {
  readonly words: Int32Array
  private readonly ring: XdpRing
  private readonly mask: number
  private readonly shift: number
  /** Our index, and the kernel's as it was seen last. */
  private producer: number
  private consumer: number

  constructor(ring: XdpRing, entryWordsShift: number) {
    this.ring = ring
    this.words = ring.words
    this.mask = ring.entries - 1
    this.shift = entryWordsShift
    this.producer = Atomics.load(ring.words, ring.producer)
    this.consumer = Atomics.load(ring.words, ring.consumer)
  }

  /** Entries that can be written; looks at the kernel's index only if fewer than `wanted` were known to be. */
  free(wanted: number): number {
    const entries = this.ring.entries
    const known = entries - ((this.producer - this.consumer) | 0)
    if (known >= wanted) return known
    this.consumer = Atomics.load(this.words, this.ring.consumer)
    return entries - ((this.producer - this.consumer) | 0)
  }

  /** Index in `words` of the nth entry that is not published yet. */
  entry(n: number): number {
    return this.ring.descriptors + (((this.producer + n) & this.mask) << this.shift)
  }

  /** Hands the first `count` of them to the kernel. */
  publish(count: number): void {
    this.producer = (this.producer + count) | 0
    Atomics.store(this.words, this.ring.producer, this.producer)
  }

  /** Whether the kernel has not taken everything yet that was published. */
  get hasUntaken(): boolean {
    return Atomics.load(this.words, this.ring.consumer) !== this.producer
  }

  /** Whether the kernel has to be called to look at the ring. */
  get needsWakeup(): boolean {
    return (Atomics.load(this.words, this.ring.flags) & NEED_WAKEUP) !== 0
  }
}

export class RingConsumer {
  readonly words: Int32Array
  private readonly ring: XdpRing
  private readonly mask: number
  private readonly shift: number
  private consumer: number

  constructor(ring: XdpRing, entryWordsShift: number) {
    this.ring = ring
    this.words = ring.words
    this.mask = ring.entries - 1
    this.shift = entryWordsShift
    this.consumer = Atomics.load(ring.words, ring.consumer)
  }

  /** Entries that can be read. */
  available(): number {
    return (Atomics.load(this.words, this.ring.producer) - this.consumer) | 0
  }

  /** Index in `words` of the nth of them. */
  entry(n: number): number {
    return this.ring.descriptors + (((this.consumer + n) & this.mask) << this.shift)
  }

  /** Gives the first `count` of them back. */
  release(count: number): void {
    this.consumer = (this.consumer + count) | 0
    Atomics.store(this.words, this.ring.consumer, this.consumer)
  }
}
