/**
 * How many errors ICMP and ICMPv6 may send (RFC 1812 4.3.2.8, RFC 4443 2.4 (f)): token buckets, as Linux has them.
 *
 *   the whole host     icmp_msgs_per_sec, icmp_msgs_burst    1000 a second, 50 at once
 *   each destination   icmp_ratelimit                        1 a second, 6 at once
 *
 * Destinations fall into a fixed number of buckets by a keyed hash, and those that share one share its tokens: a scan
 * with forged sources costs no memory, and cannot make room for itself.
 *
 * Called by: icmp.ts, icmpv6.ts.
 */
import { hashAddress } from './address-hash.ts'
import {
  ICMP_ERRORS_BURST,
  ICMP_ERRORS_PER_DESTINATION_BURST,
  ICMP_ERRORS_PER_DESTINATION_INTERVAL_MS,
  ICMP_ERRORS_PER_SECOND,
} from './limits.ts'

const BUCKETS = 1024
const SECOND_MS = 1000

/* A destination's credit is counted in milliseconds: an error costs an interval. */
const CREDIT_MS_MAX = ICMP_ERRORS_PER_DESTINATION_BURST * ICMP_ERRORS_PER_DESTINATION_INTERVAL_MS

export class IcmpLimits {
  private readonly seed: number
  private nowMs: number
  private tokens = ICMP_ERRORS_BURST
  private filledMs: number
  private readonly creditMs = new Int32Array(BUCKETS).fill(CREDIT_MS_MAX)
  private readonly seenMs: Int32Array

  /** @param seed makes it hard to guess which destinations share a bucket */
  constructor(nowMs: number, seed: number) {
    this.seed = seed
    this.nowMs = nowMs
    this.filledMs = nowMs
    this.seenMs = new Int32Array(BUCKETS).fill(nowMs)
  }

  setNow(nowMs: number): void {
    this.nowMs = nowMs
  }

  /** Whether one more error may go to an address now; if so it counts. */
  take(word0: number, word1: number, word2: number, word3: number): boolean {
    this.fill()
    if (this.tokens < 1) return false
    const bucket = this.bucketOf(word0, word1, word2, word3)
    const passedMs = (this.nowMs - this.seenMs[bucket]!) | 0
    // Not used for 24 days: the difference has wrapped, and the bucket is full.
    const credit = passedMs < 0 ? CREDIT_MS_MAX : Math.min(this.creditMs[bucket]! + passedMs, CREDIT_MS_MAX)
    this.seenMs[bucket] = this.nowMs
    this.creditMs[bucket] = credit
    if (credit < ICMP_ERRORS_PER_DESTINATION_INTERVAL_MS) return false
    this.creditMs[bucket] = credit - ICMP_ERRORS_PER_DESTINATION_INTERVAL_MS
    this.tokens--
    return true
  }

  private fill(): void {
    const passedMs = (this.nowMs - this.filledMs) | 0
    this.filledMs = this.nowMs
    const more = passedMs < 0 ? ICMP_ERRORS_BURST : (passedMs * ICMP_ERRORS_PER_SECOND) / SECOND_MS
    this.tokens = Math.min(this.tokens + more, ICMP_ERRORS_BURST)
  }

  private bucketOf(word0: number, word1: number, word2: number, word3: number): number {
    return (hashAddress(this.seed, word0, word1, word2, word3) >>> 8) & (BUCKETS - 1)
  }
}
