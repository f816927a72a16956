/**
 * From the addresses and ports of a segment to the connection's slot: a hash table with chains on Int32Arrays.
 *
 *   buckets[hash] ─► slot ─► next[slot] ─► …
 *   keys[slot * 9]   ports, local address (4 words), remote address (4 words)
 *
 * Slots below connectionsMax are connections, the others rows of TIME-WAIT. The hash is keyed, so that nobody
 * outside can aim at one chain.
 *
 * Invariant: a key is in the table at most once.
 */
import type { AddressPair } from '../address.ts'
import { NO_SLOT } from './slots.ts'

/** What carries a full address: a segment or a connection. */
export interface Endpoints extends AddressPair {
  readonly localPort: number
  readonly remotePort: number
}

export type MutableEndpoints = { -readonly [K in keyof Endpoints]: Endpoints[K] }

export function copyEndpoints(into: MutableEndpoints, e: Endpoints): void {
  into.localPort = e.localPort
  into.remotePort = e.remotePort
  into.localAddress0 = e.localAddress0
  into.localAddress1 = e.localAddress1
  into.localAddress2 = e.localAddress2
  into.localAddress3 = e.localAddress3
  into.remoteAddress0 = e.remoteAddress0
  into.remoteAddress1 = e.remoteAddress1
  into.remoteAddress2 = e.remoteAddress2
  into.remoteAddress3 = e.remoteAddress3
}

const KEY_WORDS = 9

export class Demux {
  private readonly buckets: Int32Array
  private readonly next: Int32Array
  private readonly keys: Int32Array
  private readonly mask: number
  private readonly key: number
  private used = 0

  /** @param slots connections and TIME-WAIT rows together, @param key 32 random bits */
  constructor(slots: number, key: number) {
    const buckets = 2 ** Math.ceil(Math.log2(Math.max(slots, 2)))
    this.buckets = new Int32Array(buckets).fill(NO_SLOT)
    this.mask = buckets - 1
    this.next = new Int32Array(slots).fill(NO_SLOT)
    this.keys = new Int32Array(slots * KEY_WORDS)
    this.key = key
  }

  /** Connections and TIME-WAIT rows in the table. */
  get size(): number {
    return this.used
  }

  lookup(e: Endpoints): number {
    const ports = (e.localPort << 16) | e.remotePort
    const keys = this.keys
    let slot = this.buckets[this.hash(ports, e)]!
    while (slot !== NO_SLOT) {
      const at = slot * KEY_WORDS
      if (
        keys[at] === ports &&
        keys[at + 8] === e.remoteAddress3 &&
        keys[at + 4] === e.localAddress3 &&
        keys[at + 7] === e.remoteAddress2 &&
        keys[at + 6] === e.remoteAddress1 &&
        keys[at + 5] === e.remoteAddress0 &&
        keys[at + 3] === e.localAddress2 &&
        keys[at + 2] === e.localAddress1 &&
        keys[at + 1] === e.localAddress0
      )
        return slot
      slot = this.next[slot]!
    }
    return NO_SLOT
  }

  insert(slot: number, e: Endpoints): void {
    const at = slot * KEY_WORDS
    const keys = this.keys
    const ports = (e.localPort << 16) | e.remotePort
    keys[at] = ports
    keys[at + 1] = e.localAddress0
    keys[at + 2] = e.localAddress1
    keys[at + 3] = e.localAddress2
    keys[at + 4] = e.localAddress3
    keys[at + 5] = e.remoteAddress0
    keys[at + 6] = e.remoteAddress1
    keys[at + 7] = e.remoteAddress2
    keys[at + 8] = e.remoteAddress3
    const bucket = this.hash(ports, e)
    this.next[slot] = this.buckets[bucket]!
    this.buckets[bucket] = slot
    this.used++
  }

  /** Removes the slot, which must be in the table. */
  remove(slot: number): void {
    const at = slot * KEY_WORDS
    const bucket = this.hashWords(this.keys[at]!, this.keys[at + 6]!, this.keys[at + 7]!, this.keys[at + 8]!)
    let link = this.buckets[bucket]!
    if (link === slot) this.buckets[bucket] = this.next[slot]!
    else {
      while (this.next[link] !== slot) link = this.next[link]!
      this.next[link] = this.next[slot]!
    }
    this.next[slot] = NO_SLOT
    this.used--
  }

  private hash(ports: number, e: Endpoints): number {
    return this.hashWords(ports, e.remoteAddress1, e.remoteAddress2, e.remoteAddress3)
  }

  /** Ports and the remote address vary; the local address hardly does. */
  private hashWords(ports: number, remote1: number, remote2: number, remote3: number): number {
    let h = Math.imul(ports ^ this.key, 0x9e3779b1)
    h = Math.imul((h ^ (h >>> 15)) + remote3, 0x85ebca77)
    h = Math.imul((h ^ (h >>> 13)) + remote2 + Math.imul(remote1, 0x27d4eb2f), 0xc2b2ae3d)
    return (h ^ (h >>> 16)) & this.mask
  }
}
