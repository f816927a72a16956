/**
 * Neighbor Discovery (RFC 4861): who has which address on the link, and whether he is still there.
 *
 *            resolve                  solicited advertisement         30 s                used
 *   (none) ─────────► INCOMPLETE ──────────────────────► REACHABLE ──────────► STALE ────────────► DELAY
 *                         │ 3 solicitations                   ▲                  ▲                    │ 5 s
 *                         ▼                                   │ answer, or the   │ heard of           ▼
 *                       FAILED ── 3 s, then asked again       └─ transport gets ─┴─ otherwise       PROBE
 *                                                                on (RFC 4861 7.3.1)                  │ 3 × 1 s
 *                                                                                                     ▼
 *                                                                                            (none): asked anew
 *
 * Router advertisements, router solicitations and redirects are counted and ignored: prefix and gateway come from the
 * configuration, and a stranger's word does not change them.
 *
 * Invariants:
 *  1. A frame waits (pending-frames.ts) only for an INCOMPLETE entry.
 *  2. The timer is armed exactly while an entry is INCOMPLETE, DELAY or PROBE, and not later than the first is due.
 *  3. Nothing with a hop limit other than 255 is believed: it came from another link (RFC 4861 7.1).
 *
 * Called by: icmpv6.ts (input), ipv6.ts (resolve, writeHeader, park), Host (timer). Calls: neighbour-cache.ts,
 * ndp-messages.ts, duplicate-detection.ts, pending-frames.ts.
 */
import type { Pool } from '../storage/pool.ts'
import { elapsed } from './clock.ts'
import type { NdpCounters } from './counters.ts'
import type { DuplicateDetection } from './duplicate-detection.ts'
import {
  NDP_DELAY_FIRST_PROBE_MS,
  NDP_FAILED_MS,
  NDP_REACHABLE_MS,
  NDP_RETRY_MS,
  NDP_SOLICITATIONS_MAX,
} from './limits.ts'
import { findOption, NDP_HOP_LIMIT, type NdpMessages, NO_OPTION, optionsAreWhole } from './ndp-messages.ts'
import {
  NEIGHBOUR_DELAY,
  NEIGHBOUR_FAILED,
  NEIGHBOUR_INCOMPLETE,
  NEIGHBOUR_NONE,
  NEIGHBOUR_PROBE,
  NEIGHBOUR_REACHABLE,
  NEIGHBOUR_STALE,
  NeighbourCache,
  NO_NEIGHBOUR,
} from './neighbour-cache.ts'
import { ADDRESS_TENTATIVE, isMulticast, NO_ADDRESS, type OwnAddresses } from './own-addresses.ts'
import type { ReceivedPacket } from './packet.ts'
import { PendingFrames } from './pending-frames.ts'
import type { Random } from './random.ts'
import type { TimerWheel } from './timer-wheel.ts'
import type { Transmitter } from './transmitter.ts'
import { ETHERTYPE_IPV6, writeEthernetHeader } from './wire/ethernet.ts'
import { icmpCode, icmpRest } from './wire/icmp.ts'
import {
  NDP_MESSAGE_BYTES,
  NDP_NEIGHBOUR_SOLICITATION,
  NDP_OVERRIDE,
  NDP_SOLICITED,
  NDP_SOURCE_MAC,
  NDP_TARGET_MAC,
  ndpOptionMacHigh,
  ndpOptionMacLow,
  ndpTargetWord,
} from './wire/icmpv6.ts'
import { ipv6HopLimit } from './wire/ipv6.ts'

export interface NdpParts {
  readonly own: OwnAddresses
  readonly detection: DuplicateDetection
  readonly messages: NdpMessages
  readonly macHigh: number
  readonly macLow: number
  readonly pool: Pool
  readonly transmitter: Transmitter
  readonly timers: TimerWheel
  readonly timer: number
  readonly random: Random
  readonly counters: NdpCounters
}

export class Ndp {
  private readonly parts: NdpParts
  private readonly cache = new NeighbourCache()
  private readonly pending: PendingFrames
  /** RFC 4861 6.3.2: half to one and a half times the base, so that hosts do not probe in step. */
  private readonly reachableMs: number
  private nowMs = 0

  constructor(parts: NdpParts) {
    this.parts = parts
    this.pending = new PendingFrames(parts.pool, parts.transmitter, parts.counters)
    this.reachableMs = NDP_REACHABLE_MS / 2 + ((parts.random.next() >>> 0) % NDP_REACHABLE_MS)
  }

  setNow(nowMs: number): void {
    this.nowMs = nowMs
  }

  /* --- for ipv6.ts --- */

  /** The entry of a neighbour. Asks for it if it is unknown or old; `isResolved` then says whether a frame can go. */
  resolve(w0: number, w1: number, w2: number, w3: number): number {
    const { cache } = this
    const found = cache.find(w0, w1, w2, w3)
    const entry = found === NO_NEIGHBOUR ? this.create(w0, w1, w2, w3) : found
    const state = cache.states[entry]!
    const age = elapsed(this.nowMs, cache.sinceMs[entry]!)
    if (state === NEIGHBOUR_REACHABLE && age < this.reachableMs) return entry
    if (state === NEIGHBOUR_NONE || (state === NEIGHBOUR_FAILED && age >= NDP_FAILED_MS)) {
      this.enter(entry, NEIGHBOUR_INCOMPLETE)
      this.solicit(entry)
    } else if (state === NEIGHBOUR_STALE || state === NEIGHBOUR_REACHABLE) {
      // RFC 4861 7.3.3: what the packet that goes now is answered with may save the question.
      this.enter(entry, NEIGHBOUR_DELAY)
      this.schedule(entry, NDP_DELAY_FIRST_PROBE_MS)
    }
    return entry
  }

  isResolved(entry: number): boolean {
    return this.cache.states[entry]! >= NEIGHBOUR_STALE
  }

  /** Ethernet header to the entry's neighbour; of an unresolved one the receiver is filled in later. */
  writeHeader(view: DataView, at: number, entry: number): void {
    const { macHigh, macLow } = this.parts
    writeEthernetHeader(
      view,
      at,
      this.cache.macsHigh[entry]!,
      this.cache.macsLow[entry]!,
      macHigh,
      macLow,
      ETHERTYPE_IPV6,
    )
  }

  /** Takes the frame that was just pushed out of the burst, to wait for `entry`. */
  park(entry: number): void {
    if (this.cache.states[entry] === NEIGHBOUR_INCOMPLETE) this.pending.park(entry)
    else this.pending.discard()
  }

  /** The transport got something acknowledged that went there: it is there (RFC 4861 7.3.1). */
  confirm(w0: number, w1: number, w2: number, w3: number): void {
    const entry = this.cache.find(w0, w1, w2, w3)
    if (entry === NO_NEIGHBOUR || !this.isResolved(entry)) return
    this.cache.states[entry] = NEIGHBOUR_REACHABLE
    this.cache.sinceMs[entry] = this.nowMs
  }

  /* --- for the host --- */

  /** The timer: asks again whoever did not answer. */
  onTimer(): void {
    const { states, dueMs } = this.cache
    for (let entry = 0; entry < this.cache.size; entry++)
      if (isWaiting(states[entry]!) && ((dueMs[entry]! - this.nowMs) | 0) <= 0) this.due(entry)
    for (let entry = 0; entry < this.cache.size; entry++) if (isWaiting(states[entry]!)) this.arm(dueMs[entry]!)
  }

  /** Drops all waiting frames. */
  close(): void {
    this.pending.close()
  }

  /* --- for icmpv6.ts --- */

  /** A solicitation or an advertisement whose checksum is right; checks in the order of RFC 4861 7.1. */
  input(packet: ReceivedPacket, type: number): void {
    const { counters } = this.parts
    const { view, at } = packet
    if (ipv6HopLimit(view, packet.headerAt) !== NDP_HOP_LIMIT) {
      counters.dropHopLimit++
      return
    }
    const whole = packet.length >= NDP_MESSAGE_BYTES && icmpCode(view, at) === 0
    if (!whole || isMulticast(ndpTargetWord(view, at, 0)) || !optionsAreWhole(packet)) {
      counters.dropMalformed++
      return
    }
    if (type === NDP_NEIGHBOUR_SOLICITATION) this.solicitationInput(packet)
    else this.advertisementInput(packet)
  }

  /** RFC 4861 7.2.3. */
  private solicitationInput(packet: ReceivedPacket): void {
    const { own, counters, detection, messages } = this.parts
    const { view, at } = packet
    const fromNobody = (packet.source0 | packet.source1 | packet.source2 | packet.source3) === 0
    const option = findOption(packet, NDP_SOURCE_MAC)
    if (fromNobody && (option !== NO_OPTION || packet.isMulticast === 0)) {
      counters.dropMalformed++ // RFC 4861 7.1.1
      return
    }
    counters.solicitationsReceived++
    const target = own.find(
      ndpTargetWord(view, at, 0),
      ndpTargetWord(view, at, 1),
      ndpTargetWord(view, at, 2),
      ndpTargetWord(view, at, 3),
    )
    if (target === NO_ADDRESS || (own.states[target] === ADDRESS_TENTATIVE && !fromNobody)) {
      counters.dropTarget++ // RFC 4862 5.4.3: who asks for a tentative address gets no answer
      return
    }
    // RFC 4862 5.4.3: somebody wants the address that we want.
    if (fromNobody && own.states[target] === ADDRESS_TENTATIVE) counters.duplicates++
    if (fromNobody && detection.object(target)) return
    if (!own.isUsable(target)) return
    if (fromNobody) {
      messages.announce(target) // RFC 4861 7.2.4: to all, for he has no address yet
      return
    }
    const { source0, source1, source2, source3 } = packet
    if (option !== NO_OPTION)
      this.learn(source0, source1, source2, source3, ndpOptionMacHigh(view, option), ndpOptionMacLow(view, option))
    this.answer(packet, target)
  }

  private answer(packet: ReceivedPacket, target: number): void {
    const { source0, source1, source2, source3 } = packet
    const { cache } = this
    const entry = cache.find(source0, source1, source2, source3)
    if (entry !== NO_NEIGHBOUR && this.isResolved(entry))
      this.parts.messages.answer(target, packet, cache.macsHigh[entry]!, cache.macsLow[entry]!)
    // He did not say where he is, so that he has to be asked first; he will ask again.
    else this.resolve(source0, source1, source2, source3)
  }

  /** RFC 4861 7.2.3: a source and its MAC, as he says himself in a question. */
  private learn(w0: number, w1: number, w2: number, w3: number, high: number, low: number): void {
    if ((high & 0x0100) !== 0) return // no station has a group address
    const { cache } = this
    const found = cache.find(w0, w1, w2, w3)
    const entry = found === NO_NEIGHBOUR ? this.create(w0, w1, w2, w3) : found
    const state = cache.states[entry]!
    const same = cache.macsHigh[entry] === high && cache.macsLow[entry] === low
    if (state >= NEIGHBOUR_STALE && same) return
    this.setMac(entry, high, low, NEIGHBOUR_STALE)
  }

  /** RFC 4861 7.2.5. */
  private advertisementInput(packet: ReceivedPacket): void {
    const { own, counters, detection } = this.parts
    const { view, at } = packet
    const flags = icmpRest(view, at)
    const solicited = (flags & NDP_SOLICITED) !== 0
    if (solicited && packet.isMulticast !== 0) {
      counters.dropMalformed++ // RFC 4861 7.1.2
      return
    }
    counters.advertisementsReceived++
    const w0 = ndpTargetWord(view, at, 0)
    const w1 = ndpTargetWord(view, at, 1)
    const w2 = ndpTargetWord(view, at, 2)
    const w3 = ndpTargetWord(view, at, 3)
    const mine = own.find(w0, w1, w2, w3)
    if (mine !== NO_ADDRESS) {
      counters.duplicates++ // RFC 4862 5.4.4
      detection.object(mine)
      return
    }
    const entry = this.cache.find(w0, w1, w2, w3)
    if (entry === NO_NEIGHBOUR) {
      counters.dropTarget++
      return
    }
    const option = findOption(packet, NDP_TARGET_MAC)
    const high = option === NO_OPTION ? 0 : ndpOptionMacHigh(view, option)
    if ((high & 0x0100) !== 0) counters.dropMalformed++
    else this.update(entry, flags, option !== NO_OPTION, high, option === NO_OPTION ? 0 : ndpOptionMacLow(view, option))
  }

  private update(entry: number, flags: number, hasMac: boolean, high: number, low: number): void {
    const { cache } = this
    const solicited = (flags & NDP_SOLICITED) !== 0
    if (!this.isResolved(entry)) {
      // Nothing to be learnt without a MAC.
      if (hasMac) this.setMac(entry, high, low, solicited ? NEIGHBOUR_REACHABLE : NEIGHBOUR_STALE)
      return
    }
    const changed = hasMac && (cache.macsHigh[entry] !== high || cache.macsLow[entry] !== low)
    if (changed && (flags & NDP_OVERRIDE) === 0) {
      // Another one answers for this address, without insisting: whom to believe is found out by asking.
      if (cache.states[entry] === NEIGHBOUR_REACHABLE) this.enter(entry, NEIGHBOUR_STALE)
      return
    }
    if (changed) {
      cache.macsHigh[entry] = high
      cache.macsLow[entry] = low
    }
    if (solicited) this.enter(entry, NEIGHBOUR_REACHABLE)
    else if (changed) this.enter(entry, NEIGHBOUR_STALE)
  }

  private setMac(entry: number, high: number, low: number, state: number): void {
    this.cache.macsHigh[entry] = high
    this.cache.macsLow[entry] = low
    const waited = this.cache.states[entry] === NEIGHBOUR_INCOMPLETE
    this.enter(entry, state)
    if (waited) this.pending.send(entry, high, low)
  }

  private create(w0: number, w1: number, w2: number, w3: number): number {
    const entry = this.cache.vacancy()
    this.pending.drop(entry)
    this.cache.insert(entry, w0, w1, w2, w3)
    return entry
  }

  private enter(entry: number, state: number): void {
    this.cache.states[entry] = state
    this.cache.sinceMs[entry] = this.nowMs
    this.cache.solicitations[entry] = 0
  }

  private schedule(entry: number, inMs: number): void {
    this.cache.dueMs[entry] = (this.nowMs + inMs) | 0
    this.arm(this.cache.dueMs[entry]!)
  }

  /** Not later than `dueMs`. */
  private arm(dueMs: number): void {
    const { timers, timer } = this.parts
    if (!timers.isArmed(timer) || ((dueMs - timers.deadlineOf(timer)) | 0) < 0) timers.arm(timer, dueMs)
  }

  private due(entry: number): void {
    const { states, solicitations } = this.cache
    if (states[entry] === NEIGHBOUR_DELAY) this.enter(entry, NEIGHBOUR_PROBE)
    if (solicitations[entry]! < NDP_SOLICITATIONS_MAX) {
      this.solicit(entry)
      return
    }
    this.parts.counters.unreachable++
    // RFC 4861 7.3.3: who was there and is no more is looked for anew, perhaps elsewhere, with the next packet.
    this.enter(entry, states[entry] === NEIGHBOUR_PROBE ? NEIGHBOUR_NONE : NEIGHBOUR_FAILED)
    this.pending.drop(entry)
  }

  /** By multicast whoever is unknown, by unicast whoever is to confirm that he is there (RFC 4861 7.2.2, 7.3.3). */
  private solicit(entry: number): void {
    const { cache, parts } = this
    cache.solicitations[entry]!++
    this.schedule(entry, NDP_RETRY_MS)
    const at = entry * 4
    const [w0, w1, w2, w3] = [cache.words[at]!, cache.words[at + 1]!, cache.words[at + 2]!, cache.words[at + 3]!]
    const { messages } = parts
    if (cache.states[entry] !== NEIGHBOUR_PROBE) messages.solicit(w0, w1, w2, w3)
    else messages.probe(w0, w1, w2, w3, cache.macsHigh[entry]!, cache.macsLow[entry]!)
  }
}

function isWaiting(state: number): boolean {
  return state === NEIGHBOUR_INCOMPLETE || state === NEIGHBOUR_DELAY || state === NEIGHBOUR_PROBE
}
