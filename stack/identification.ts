/**
 * Identifications of the datagrams that leave in fragments (RFC 6864 4.3, RFC 7739 5): one must not come twice for the
 * same addresses and protocol while old fragments may be about, and nobody shall guess the next one, or forge fragments
 * into it.
 *
 *   slot = keyed hash(destination, protocol)      each slot counts on from a secret start
 *   next = slot + 1 + random below the milliseconds since it was used, which hides how many were sent meanwhile
 *
 * Destinations that share a slot share its count: then numbers come less often, never more often.
 *
 * Called by: fragmentation.ts.
 */
import type { AddressPair } from './address.ts'
import { hashAddress } from './address-hash.ts'
import { elapsed } from './clock.ts'
import type { Random } from './random.ts'

const SLOTS = 1024

export class Identifications {
  private readonly random: Random
  private readonly seed: number
  private readonly counts = new Int32Array(SLOTS)
  private readonly usedMs = new Int32Array(SLOTS)

  constructor(random: Random) {
    this.random = random
    this.seed = random.next()
    for (let slot = 0; slot < SLOTS; slot++) this.counts[slot] = random.next()
  }

  /** The next number for a destination, 32 bits; IPv4 takes the lower half. */
  next(e: AddressPair, protocol: number, nowMs: number): number {
    const { remoteAddress0, remoteAddress1, remoteAddress2, remoteAddress3 } = e
    const hash = hashAddress(this.seed ^ protocol, remoteAddress0, remoteAddress1, remoteAddress2, remoteAddress3)
    const slot = (hash >>> 8) & (SLOTS - 1)
    const passedMs = elapsed(nowMs, this.usedMs[slot]!)
    this.usedMs[slot] = nowMs
    const skip = passedMs > 1 ? (this.random.next() >>> 0) % passedMs : 0
    this.counts[slot] = (this.counts[slot]! + 1 + skip) | 0
    return this.counts[slot]!
  }
}
