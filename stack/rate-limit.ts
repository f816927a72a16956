/**
 * So many a second, for ICMP's and ICMPv6's errors (RFC 1812 4.3.2.8, RFC 4443 2.4 (f)).
 *
 * Called by: icmp.ts, icmpv6.ts.
 */
export class RateLimit {
  private readonly perSecond: number
  private left: number
  private sinceMs = 0

  constructor(perSecond: number) {
    this.perSecond = perSecond
    this.left = perSecond
  }

  /** Whether one more may go in this second; if so it counts. */
  take(nowMs: number): boolean {
    if (((nowMs - this.sinceMs) | 0) >= 1000) {
      this.sinceMs = nowMs
      this.left = this.perSecond
    }
    if (this.left === 0) return false
    this.left--
    return true
  }
}
