/**
 * What is known of the path's MTU to each destination (RFC 1191 6.2, RFC 8201 5.2): only where it is smaller than the
 * link's. Routers said so, or TCP has found it out by probing (tcp/mtu-probe.ts). What was learned is forgotten after
 * ten minutes, so that a path that has become wider is found again (RFC 1191 6.3).
 *
 *   destination ─► set of four entries ─► the entry, or the link's MTU
 *
 * Whoever keeps what depends on an MTU compares `generation`: as long as it is the same, nothing has changed.
 *
 * Invariants:
 *  1. No entry is below what its version allows, or above the link's MTU.
 *  2. The timer is armed while there is an entry.
 *
 * Called by: tcp/path-mtu.ts, udp.ts, icmp.ts; Host (timer). The callers check what they were told against what they
 * have in flight (RFC 5927 7).
 */
import { isMapped } from './address.ts'
import { hashAddress } from './address-hash.ts'
import { IPV6_MTU_MIN, PATH_MTU_ENTRIES_MAX, PATH_MTU_LIFETIME_MS, PATH_MTU_MIN } from './limits.ts'
import type { TimerWheel } from './timer-wheel.ts'

const WAYS = 4
const SETS = PATH_MTU_ENTRIES_MAX / WAYS
const ADDRESS_WORDS = 4

export class PathMtus {
  /** Changes whenever an entry does. */
  generation = 0
  readonly linkMtu: number
  private readonly timers: TimerWheel
  private readonly timer: number
  private readonly seed: number
  private nowMs = 0
  private used = 0
  private readonly addresses = new Int32Array(PATH_MTU_ENTRIES_MAX * ADDRESS_WORDS)
  /** 0: free. */
  private readonly mtus = new Int32Array(PATH_MTU_ENTRIES_MAX)
  private readonly deadlineMs = new Int32Array(PATH_MTU_ENTRIES_MAX)

  /** @param seed makes it hard to guess which destinations share a set */
  constructor(linkMtu: number, timers: TimerWheel, timer: number, seed: number) {
    this.linkMtu = linkMtu
    this.timers = timers
    this.timer = timer
    this.seed = seed
  }

  setNow(nowMs: number): void {
    this.nowMs = nowMs
  }

  /** Largest packet that is believed to reach the destination, bytes. */
  lookup(word0: number, word1: number, word2: number, word3: number): number {
    if (this.used === 0) return this.linkMtu
    const entry = this.find(word0, word1, word2, word3)
    return entry < 0 ? this.linkMtu : this.mtus[entry]!
  }

  /**
   * Somebody trustworthy says that packets to the destination may not be larger.
   * @param mtu bytes; 0, from routers older than RFC 1191, says nothing and is ignored, as by Linux
   * @returns true if that is news
   */
  lower(word0: number, word1: number, word2: number, word3: number, mtu: number): boolean {
    if (mtu === 0) return false
    const believed = Math.max(mtu, isMapped(word0, word1, word2) ? PATH_MTU_MIN : IPV6_MTU_MIN)
    if (believed >= this.lookup(word0, word1, word2, word3)) return false
    let entry = this.find(word0, word1, word2, word3)
    if (entry < 0) {
      entry = this.place(this.setOf(word0, word1, word2, word3))
      if (this.mtus[entry] === 0) this.used++
      this.addresses[entry * ADDRESS_WORDS] = word0
      this.addresses[entry * ADDRESS_WORDS + 1] = word1
      this.addresses[entry * ADDRESS_WORDS + 2] = word2
      this.addresses[entry * ADDRESS_WORDS + 3] = word3
    }
    this.mtus[entry] = believed
    this.deadlineMs[entry] = (this.nowMs + PATH_MTU_LIFETIME_MS) | 0
    this.generation = (this.generation + 1) | 0
    if (!this.timers.isArmed(this.timer)) this.timers.arm(this.timer, this.deadlineMs[entry]!)
    return true
  }

  /** Forgets what is too old. */
  onTimer(): void {
    let next = -1
    for (let entry = 0; entry < PATH_MTU_ENTRIES_MAX; entry++) {
      if (this.mtus[entry] === 0) continue
      const left = (this.deadlineMs[entry]! - this.nowMs) | 0
      if (left <= 0) {
        this.mtus[entry] = 0
        this.used--
        this.generation = (this.generation + 1) | 0
      } else if (next < 0 || left < next) next = left
    }
    if (next >= 0) this.timers.arm(this.timer, (this.nowMs + next) | 0)
  }

  /** Forgets everything. */
  clear(): void {
    this.mtus.fill(0)
    this.used = 0
    this.timers.disarm(this.timer)
  }

  private find(word0: number, word1: number, word2: number, word3: number): number {
    const first = this.setOf(word0, word1, word2, word3)
    for (let entry = first; entry < first + WAYS; entry++) {
      const at = entry * ADDRESS_WORDS
      if (
        this.mtus[entry] !== 0 &&
        this.addresses[at + 3] === word3 &&
        this.addresses[at + 2] === word2 &&
        this.addresses[at + 1] === word1 &&
        this.addresses[at] === word0
      )
        return entry
    }
    return -1
  }

  /** A free entry of the set, or the oldest one. */
  private place(first: number): number {
    let oldest = first
    for (let entry = first; entry < first + WAYS; entry++) {
      if (this.mtus[entry] === 0) return entry
      if (((this.deadlineMs[entry]! - this.deadlineMs[oldest]!) | 0) < 0) oldest = entry
    }
    return oldest
  }

  /** First entry of a destination's set. */
  private setOf(word0: number, word1: number, word2: number, word3: number): number {
    return ((hashAddress(this.seed, word0, word1, word2, word3) >>> 8) & (SETS - 1)) * WAYS
  }
}
