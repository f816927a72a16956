/**
 * Frames that wait for a neighbour's address, for ARP and for Neighbor Discovery: a bounded number for each neighbour,
 * and for all together.
 *
 * Invariants:
 *  1. A waiting frame holds a reference to each of its buffers.
 *  2. At most PENDING_PER_NEIGHBOUR_MAX wait for one neighbour; the oldest gives way (RFC 1122 2.3.2.2, RFC 4861 7.2.2).
 *
 * Called by: arp.ts, ndp.ts. Calls: transmitter.ts.
 */
import { DESCRIPTOR_WORDS, TX_FRAME_DESCRIPTORS_MAX } from '../drivers/device.ts'
import type { Pool } from '../storage/pool.ts'
import { PENDING_MAX, PENDING_PER_NEIGHBOUR_MAX } from './limits.ts'
import type { Transmitter } from './transmitter.ts'
import { writeEthernetTo } from './wire/ethernet.ts'

const PENDING_WORDS = TX_FRAME_DESCRIPTORS_MAX * DESCRIPTOR_WORDS
const NO_ENTRY = -1
const NO_SLOT = -1

/** Where frames are counted that waited in vain, or for which there was no room to wait. */
export interface UnresolvedCounter {
  dropUnresolved: number
}

export class PendingFrames {
  private readonly pool: Pool
  private readonly transmitter: Transmitter
  private readonly counters: UnresolvedCounter

  /** Descriptors, how many of them, for which neighbour (NO_ENTRY: free), in which order they came. */
  private readonly descriptors = new Int32Array(PENDING_MAX * PENDING_WORDS)
  private readonly count = new Int32Array(PENDING_MAX)
  private readonly entryOf = new Int32Array(PENDING_MAX).fill(NO_ENTRY)
  private readonly order = new Int32Array(PENDING_MAX)
  private next = 0
  private readonly scratch = new Int32Array(PENDING_WORDS)

  constructor(pool: Pool, transmitter: Transmitter, counters: UnresolvedCounter) {
    this.pool = pool
    this.transmitter = transmitter
    this.counters = counters
  }

  /** Takes the frame that was just pushed out of the burst, to wait for the neighbour `entry`. */
  park(entry: number): void {
    const slot = this.slotFor(entry)
    if (slot === NO_SLOT) {
      this.discard()
      return
    }
    this.count[slot] = this.transmitter.withdraw(this.descriptors, slot * PENDING_WORDS)
    this.entryOf[slot] = entry
    this.order[slot] = this.next++ | 0
  }

  /** Takes the frame that was just pushed out of the burst and drops it. */
  discard(): void {
    const count = this.transmitter.withdraw(this.scratch, 0)
    this.release(this.scratch, 0, count)
    this.counters.dropUnresolved++
  }

  /** Sends what waits for `entry`, in the order in which it came, to the address found. */
  send(entry: number, macHigh: number, macLow: number): void {
    for (;;) {
      let first = NO_SLOT
      for (let slot = 0; slot < PENDING_MAX; slot++) {
        if (this.entryOf[slot] !== entry) continue
        if (first === NO_SLOT || ((this.order[slot]! - this.order[first]!) | 0) < 0) first = slot
      }
      if (first === NO_SLOT) return
      const at = first * PENDING_WORDS
      const buffer = this.descriptors[at]!
      const header = this.pool.bufferStart(buffer) + this.descriptors[at + 1]!
      writeEthernetTo(this.pool.bufferView(buffer), header, macHigh, macLow)
      this.transmitter.pushWithdrawn(this.descriptors, at, this.count[first]!)
      this.entryOf[first] = NO_ENTRY
    }
  }

  /** The neighbour does not answer: drops what waits for it. */
  drop(entry: number): void {
    for (let slot = 0; slot < PENDING_MAX; slot++) if (this.entryOf[slot] === entry) this.dropSlot(slot)
  }

  /** Gives everything back. */
  close(): void {
    for (let slot = 0; slot < PENDING_MAX; slot++) if (this.entryOf[slot] !== NO_ENTRY) this.dropSlot(slot)
  }

  /** A place for one more frame that waits for `entry`; makes room by dropping its oldest. */
  private slotFor(entry: number): number {
    let free = NO_SLOT
    let oldest = NO_SLOT
    let waiting = 0
    for (let slot = 0; slot < PENDING_MAX; slot++) {
      if (this.entryOf[slot] === NO_ENTRY) free = slot
      if (this.entryOf[slot] !== entry) continue
      waiting++
      if (oldest === NO_SLOT || ((this.order[slot]! - this.order[oldest]!) | 0) < 0) oldest = slot
    }
    if (waiting < PENDING_PER_NEIGHBOUR_MAX) return free
    this.dropSlot(oldest)
    return oldest
  }

  private dropSlot(slot: number): void {
    this.release(this.descriptors, slot * PENDING_WORDS, this.count[slot]!)
    this.entryOf[slot] = NO_ENTRY
    this.counters.dropUnresolved++
  }

  private release(descriptors: Int32Array, at: number, count: number): void {
    for (let index = 0; index < count; index++) this.pool.releaseBuffer(descriptors[at + index * DESCRIPTOR_WORDS]!)
  }
}
