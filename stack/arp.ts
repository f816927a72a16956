/**
 * Who has which address on the link (RFC 826, RFC 1122 2.3.2): a bounded cache, frames that wait
 * (pending-frames.ts), and one timer while anybody is being asked.
 *
 *            resolve                    reply                    45 s old and used
 *   (none) ─────────► INCOMPLETE ─────────────► REACHABLE ────────────────► REFRESHING
 *                         │ 3 requests              ▲  ▲─────── reply ──────────┘ │
 *                         ▼                         │                             │ 60 s old
 *                       FAILED ─── 3 s, then asked again ◄── INCOMPLETE ◄─────────┘
 *
 * Invariants:
 *  1. A frame waits only for an INCOMPLETE entry.
 *  2. Whoever speaks to us is learned, but never at the cost of a neighbour in use, or of one that is being asked for:
 *     a flood of requests with forged senders changes nothing for those that are spoken to.
 *
 * Called by: Host (input, announce, timer), ipv4.ts (resolve, writeHeader, park). Calls: pending-frames.ts, transmitter.ts.
 */
import type { Pool } from '../storage/pool.ts'
import { elapsed } from './clock.ts'
import type { ArpCounters } from './counters.ts'
import {
  ARP_ENTRIES_MAX,
  ARP_FAILED_MS,
  ARP_REACHABLE_MS,
  ARP_REFRESH_MS,
  ARP_REQUESTS_MAX,
  ARP_RETRY_MS,
} from './limits.ts'
import { PendingFrames } from './pending-frames.ts'
import type { TimerWheel } from './timer-wheel.ts'
import type { Transmitter } from './transmitter.ts'
import {
  ARP_BYTES,
  ARP_REPLY,
  ARP_REQUEST,
  arpIsIpv4,
  arpOperation,
  arpSenderAddress,
  arpSenderHigh,
  arpSenderLow,
  arpTargetAddress,
  writeArp,
} from './wire/arp.ts'
import { ETHERNET_HEADER_BYTES, ETHERTYPE_ARP, writeEthernetHeader } from './wire/ethernet.ts'

const STATE_NONE = 0
const STATE_INCOMPLETE = 1
const STATE_REACHABLE = 2
const STATE_REFRESHING = 3
const STATE_FAILED = 4

const BROADCAST_HIGH = 0xffff
const BROADCAST_LOW = -1

const NO_ENTRY = -1

/* What an entry is worth when the table is full. */
const WORTH_FAILED = 0
const WORTH_IDLE = 1
const WORTH_ASKED = 2
const WORTH_IN_USE = 3

export class Arp {
  /** This end's MAC address. */
  readonly macHigh: number
  readonly macLow: number

  private readonly address: number
  private readonly transmitter: Transmitter
  private readonly timers: TimerWheel
  private readonly timer: number
  private readonly counters: ArpCounters
  private nowMs = 0

  private readonly entryOf = new Map<number, number>()
  private readonly addresses = new Int32Array(ARP_ENTRIES_MAX)
  private readonly macsHigh = new Int32Array(ARP_ENTRIES_MAX)
  private readonly macsLow = new Int32Array(ARP_ENTRIES_MAX)
  private readonly states = new Uint8Array(ARP_ENTRIES_MAX)
  /** When the entry was confirmed, or (INCOMPLETE, FAILED) when it got into this state. */
  private readonly sinceMs = new Int32Array(ARP_ENTRIES_MAX)
  private readonly requests = new Uint8Array(ARP_ENTRIES_MAX)
  /** When a frame went there last, and whether one ever did. */
  private readonly usedMs = new Int32Array(ARP_ENTRIES_MAX)
  private readonly used = new Uint8Array(ARP_ENTRIES_MAX)
  /** The entry found last: most frames go to the same neighbour. */
  private lastEntry = NO_ENTRY

  private readonly pending: PendingFrames

  constructor(
    mac: Uint8Array,
    address: number,
    pool: Pool,
    transmitter: Transmitter,
    timers: TimerWheel,
    timer: number,
    counters: ArpCounters,
  ) {
    this.macHigh = (mac[0]! << 8) | mac[1]!
    this.macLow = (mac[2]! << 24) | (mac[3]! << 16) | (mac[4]! << 8) | mac[5]!
    this.address = address
    this.pending = new PendingFrames(pool, transmitter, counters)
    this.transmitter = transmitter
    this.timers = timers
    this.timer = timer
    this.counters = counters
  }

  setNow(nowMs: number): void {
    this.nowMs = nowMs
  }

  /** Tells the link who we are, so that stale entries for our address get right (RFC 5227 2.3). */
  announce(): void {
    this.send(ARP_REQUEST, BROADCAST_HIGH, BROADCAST_LOW, 0, 0, this.address)
    this.counters.requestsSent++
  }

  /**
   * The entry of a neighbour. Asks for it if it is unknown or old; `isResolved` then says whether a frame can go.
   */
  resolve(address: number): number {
    let entry = this.lastEntry
    if (entry === NO_ENTRY || this.addresses[entry] !== address || this.states[entry] === STATE_NONE) {
      entry = this.entryOf.get(address) ?? this.create(address, this.leastWorth(WORTH_IN_USE))
      this.lastEntry = entry
    }
    this.used[entry] = 1
    this.usedMs[entry] = this.nowMs
    const state = this.states[entry]!
    const age = elapsed(this.nowMs, this.sinceMs[entry]!)
    if (state === STATE_REACHABLE) {
      if (age >= ARP_REACHABLE_MS) this.ask(entry)
      else if (age >= ARP_REFRESH_MS) this.refresh(entry)
    } else if (state === STATE_NONE || (state === STATE_FAILED && age >= ARP_FAILED_MS)) this.ask(entry)
    return entry
  }

  isResolved(entry: number): boolean {
    const state = this.states[entry]!
    return state === STATE_REACHABLE || state === STATE_REFRESHING
  }

  /** Ethernet header to the entry's neighbour; of an unresolved one the receiver is filled in later. */
  writeHeader(view: DataView, at: number, entry: number, type: number): void {
    writeEthernetHeader(view, at, this.macsHigh[entry]!, this.macsLow[entry]!, this.macHigh, this.macLow, type)
  }

  /** Takes the frame that was just pushed out of the burst, to wait for `entry`. */
  park(entry: number): void {
    // Nobody answers there if the entry is not being asked for.
    if (this.states[entry] === STATE_INCOMPLETE) this.pending.park(entry)
    else this.pending.discard()
  }

  /** @param at where the ARP packet starts in `view`, @param length bytes that are there */
  input(view: DataView, at: number, length: number): void {
    this.counters.received++
    if (length < ARP_BYTES || !arpIsIpv4(view, at)) {
      this.counters.dropMalformed++
      return
    }
    const operation = arpOperation(view, at)
    if (operation !== ARP_REQUEST && operation !== ARP_REPLY) {
      this.counters.dropMalformed++
      return
    }
    const sender = arpSenderAddress(view, at)
    const high = arpSenderHigh(view, at)
    const low = arpSenderLow(view, at)
    const forUs = arpTargetAddress(view, at) === this.address
    if (sender === this.address) {
      this.counters.conflicts++
      return
    }
    // RFC 826: update what is known; learn new senders only if they speak to us. Sender 0 is a probe (RFC 5227 1.1).
    if (sender !== 0 && (high & 0x0100) === 0) {
      const known = this.entryOf.get(sender)
      if (known !== undefined) this.confirm(known, high, low)
      else if (forUs) this.learn(sender, high, low)
    }
    if (operation === ARP_REQUEST && forUs) {
      this.send(ARP_REPLY, high, low, high, low, sender)
      this.counters.repliesSent++
    }
  }

  /** The timer: asks again whoever did not answer. */
  onTimer(): void {
    let waiting = false
    for (let entry = 0; entry < ARP_ENTRIES_MAX; entry++) {
      const state = this.states[entry]!
      if (state !== STATE_INCOMPLETE && state !== STATE_REFRESHING) continue
      if (this.requests[entry]! < ARP_REQUESTS_MAX) {
        this.request(entry)
        waiting = true
      } else if (state === STATE_INCOMPLETE) this.fail(entry)
      else this.states[entry] = STATE_REACHABLE // still trusted until it is ARP_REACHABLE_MS old
    }
    if (waiting) this.timers.arm(this.timer, (this.nowMs + ARP_RETRY_MS) | 0)
  }

  /** Drops all waiting frames. */
  close(): void {
    this.pending.close()
  }

  private confirm(entry: number, high: number, low: number): void {
    const wasIncomplete = this.states[entry] === STATE_INCOMPLETE
    this.macsHigh[entry] = high
    this.macsLow[entry] = low
    this.states[entry] = STATE_REACHABLE
    this.sinceMs[entry] = this.nowMs
    if (wasIncomplete) this.pending.send(entry, high, low)
  }

  private ask(entry: number): void {
    this.states[entry] = STATE_INCOMPLETE
    this.sinceMs[entry] = this.nowMs
    this.requests[entry] = 0
    this.request(entry)
    if (!this.timers.isArmed(this.timer)) this.timers.arm(this.timer, (this.nowMs + ARP_RETRY_MS) | 0)
  }

  private refresh(entry: number): void {
    this.states[entry] = STATE_REFRESHING
    this.requests[entry] = 0
    this.request(entry)
    if (!this.timers.isArmed(this.timer)) this.timers.arm(this.timer, (this.nowMs + ARP_RETRY_MS) | 0)
  }

  private fail(entry: number): void {
    this.states[entry] = STATE_FAILED
    this.sinceMs[entry] = this.nowMs
    this.pending.drop(entry)
  }

  /** Broadcast for the unknown, unicast for the known (RFC 1122 2.3.2.1 (2)). */
  private request(entry: number): void {
    this.requests[entry]!++
    const known = this.states[entry] === STATE_REFRESHING
    const high = known ? this.macsHigh[entry]! : BROADCAST_HIGH
    const low = known ? this.macsLow[entry]! : BROADCAST_LOW
    this.send(ARP_REQUEST, high, low, 0, 0, this.addresses[entry]!)
    this.counters.requestsSent++
  }

  private send(
    operation: number,
    toHigh: number,
    toLow: number,
    targetHigh: number,
    targetLow: number,
    target: number,
  ): void {
    const tx = this.transmitter
    if (!tx.begin()) return
    writeEthernetHeader(tx.view, tx.at, toHigh, toLow, this.macHigh, this.macLow, ETHERTYPE_ARP)
    const at = tx.at + ETHERNET_HEADER_BYTES
    writeArp(tx.view, at, operation, this.macHigh, this.macLow, this.address, targetHigh, targetLow, target)
    tx.push(tx.buffer, tx.offset, ETHERNET_HEADER_BYTES + ARP_BYTES, false)
  }

  /** Who has asked for us will be answered, and spoken to. */
  private learn(address: number, high: number, low: number): void {
    const entry = this.leastWorth(WORTH_IDLE)
    if (entry === NO_ENTRY) this.counters.dropFull++
    else this.confirm(this.create(address, entry), high, low)
  }

  /** @param entry from leastWorth: a new one, or one that is given up */
  private create(address: number, entry: number): number {
    if (entry < this.entryOf.size) {
      this.fail(entry)
      this.entryOf.delete(this.addresses[entry]!)
    }
    this.states[entry] = STATE_NONE
    this.used[entry] = 0
    this.addresses[entry] = address
    this.entryOf.set(address, entry)
    return entry
  }

  /** A free entry, or the one that is worth least, the oldest of equals; NO_ENTRY if all are worth more than `most`. */
  private leastWorth(most: number): number {
    if (this.entryOf.size < ARP_ENTRIES_MAX) return this.entryOf.size
    let least = NO_ENTRY
    let leastWorth = most
    for (let entry = 0; entry < ARP_ENTRIES_MAX; entry++) {
      const worth = this.worth(entry)
      if (worth > leastWorth) continue
      if (worth < leastWorth || least === NO_ENTRY || ((this.lastMs(entry) - this.lastMs(least)) | 0) < 0) least = entry
      leastWorth = worth
    }
    return least
  }

  private worth(entry: number): number {
    if (this.states[entry] === STATE_FAILED) return WORTH_FAILED
    if (!this.isResolved(entry)) return WORTH_ASKED
    const inUse = this.used[entry] !== 0 && elapsed(this.nowMs, this.usedMs[entry]!) < ARP_REACHABLE_MS
    return inUse ? WORTH_IN_USE : WORTH_IDLE
  }

  private lastMs(entry: number): number {
    return this.used[entry] !== 0 ? this.usedMs[entry]! : this.sinceMs[entry]!
  }
}
