/**
 * The IPv6 side of a host, put together: addresses, Neighbor Discovery, IPv6, ICMPv6. It exists only where an IPv6
 * address is configured.
 *
 * Called by: Host. Calls: everything named ipv6, icmpv6 or ndp.
 */

import { PackratError } from '../storage/errors.ts'
import type { Pool } from '../storage/pool.ts'
import { type Address, isMapped, parseIpv6, parseIpv6Cidr } from './address.ts'
import type { StackCounters } from './counters.ts'
import { type AddressNotice, DuplicateDetection } from './duplicate-detection.ts'
import type { Fragmentation } from './fragmentation.ts'
import { FRAGMENT_DROPPED, Fragments } from './fragments.ts'
import type { IcmpLimits } from './icmp-limits.ts'
import { Icmpv6 } from './icmpv6.ts'
import { IPV6_ACCEPTED, IPV6_FRAGMENT, IPV6_PROBLEM, Ipv6 } from './ipv6.ts'
import { IPV6_FRAGMENT_TIMEOUT_MS } from './limits.ts'
import { Ndp } from './ndp.ts'
import { NdpMessages } from './ndp-messages.ts'
import { isMulticast, OwnAddresses } from './own-addresses.ts'
import type { ReceivedPacket } from './packet.ts'
import type { PathMtus } from './path-mtu.ts'
import type { Random } from './random.ts'
import { ipv6Routes, type Route } from './routes.ts'
import type { TimerWheel } from './timer-wheel.ts'
import type { Transmitter } from './transmitter.ts'
import type { Transports } from './transport-errors.ts'
import { PROBLEM_FIELD } from './wire/icmpv6.ts'
import {
  EXTENSION_UNIT_BYTES,
  FRAGMENT_HEADER_BYTES,
  FRAGMENT_OFFSET,
  fragmentHasMore,
  fragmentIdentification,
  fragmentOffset,
  IPV6_HEADER_BYTES,
  IPV6_PAYLOAD_BYTES_MAX,
  IPV6_PAYLOAD_LENGTH,
  NEXT_FRAGMENT,
  PROTOCOL_ICMPV6,
} from './wire/ipv6.ts'

/* What input says of a packet. */
export const INPUT_DONE = 0
export const INPUT_TRANSPORT = 1
export const INPUT_FRAGMENT = 2

export interface Ipv6StackParts {
  /** "fd77::2/64" */
  readonly address: string
  readonly gateway: string | undefined
  readonly routes: readonly Route[]
  readonly mac: Uint8Array
  readonly macHigh: number
  readonly macLow: number
  readonly pool: Pool
  readonly transmitter: Transmitter
  readonly timers: TimerWheel
  readonly neighbourTimer: number
  readonly detectionTimer: number
  readonly fragmentTimer: number
  /** Free buffers below which no fragment is kept. */
  readonly reserveBuffers: number
  /** Solicitations of duplicate address detection. */
  readonly detectionTransmits: number
  readonly random: Random
  readonly counters: StackCounters
  readonly notice: AddressNotice
  readonly transports: Transports
  readonly limits: IcmpLimits
  readonly pathMtus: PathMtus
  readonly fragmentation: Fragmentation
}

export class Ipv6Stack {
  readonly ipv6: Ipv6
  readonly icmp: Icmpv6
  /** The configured address, without its prefix. */
  readonly address: string
  private readonly ndp: Ndp
  private readonly messages: NdpMessages
  private readonly detection: DuplicateDetection
  private readonly fragments: Fragments
  private readonly neighbourTimer: number
  private readonly fragmentTimer: number
  private nowMs = 0

  /** Throws BAD_ADDRESS for an address that no host can have, and for a gateway that is not on the link. */
  constructor(parts: Ipv6StackParts) {
    const { mac, macHigh, macLow, pool, transmitter, timers, counters, random } = parts
    const { address, prefixLength } = unicastCidr(parts.address)
    const own = new OwnAddresses(address, prefixLength, mac)
    if (parts.gateway !== undefined) requireGateway(parts.gateway, parts.address)
    this.address = address.toString()
    this.neighbourTimer = parts.neighbourTimer
    this.fragmentTimer = parts.fragmentTimer
    this.detection = new DuplicateDetection(own, timers, parts.detectionTimer, parts.detectionTransmits, parts.notice)
    this.messages = new NdpMessages(own, macHigh, macLow, transmitter, counters.ndp)
    this.ndp = new Ndp({
      own,
      detection: this.detection,
      messages: this.messages,
      macHigh,
      macLow,
      pool,
      transmitter,
      timers,
      timer: parts.neighbourTimer,
      random,
      counters: counters.ndp,
    })
    const routes = ipv6Routes(parts.address, parts.gateway, parts.routes)
    this.ipv6 = new Ipv6({ own, routes, macHigh, macLow, ndp: this.ndp, transmitter, counters: counters.ipv6 })
    this.icmp = new Icmpv6({
      pool,
      ipv6: this.ipv6,
      ndp: this.ndp,
      limits: parts.limits,
      pathMtus: parts.pathMtus,
      fragmentation: parts.fragmentation,
      transmitter,
      transports: parts.transports,
      counters: counters.icmpv6,
      ndpCounters: counters.ndp,
    })
    this.fragments = new Fragments({
      pool,
      timers,
      timer: parts.fragmentTimer,
      counters: counters.ipv6Fragments,
      errors: this.icmp,
      timeoutMs: IPV6_FRAGMENT_TIMEOUT_MS,
      reserveBuffers: parts.reserveBuffers,
      seed: random.next(),
    })
  }

  setNow(nowMs: number): void {
    this.nowMs = nowMs
    this.ndp.setNow(nowMs)
    this.fragments.setNow(nowMs)
  }

  /** The link is up: finds out whether the addresses are ours alone. */
  start(): void {
    this.detection.start(this.messages, this.nowMs)
  }

  /**
   * A packet at packet.headerAt; see Ipv6.accept.
   * @returns INPUT_TRANSPORT if it is for the transport packet.protocol; INPUT_FRAGMENT if it is for inputFragment
   */
  input(packet: ReceivedPacket, length: number, sum: number, toUs: boolean): number {
    const verdict = this.ipv6.accept(packet, length, sum, toUs)
    return verdict === IPV6_FRAGMENT ? INPUT_FRAGMENT : this.deliver(packet, verdict)
  }

  /** @returns what Fragments.input does */
  inputFragment(packet: ReceivedPacket): number {
    const { view, headerAt } = packet
    const header = packet.at - FRAGMENT_HEADER_BYTES
    const offset = fragmentOffset(view, header)
    const more = fragmentHasMore(view, header)
    const { length } = packet
    const lengthMax = IPV6_PAYLOAD_BYTES_MAX - (header - headerAt - IPV6_HEADER_BYTES)
    // RFC 8200 4.5: addresses and identification tell datagrams apart; the first fragment says what they carry.
    packet.protocol = NEXT_FRAGMENT
    const fate = this.fragments.input(packet, fragmentIdentification(view, header), offset, more, lengthMax)
    if (fate === FRAGMENT_DROPPED) {
      if (more && length % EXTENSION_UNIT_BYTES !== 0)
        this.icmp.sendParameterProblem(packet, PROBLEM_FIELD, IPV6_PAYLOAD_LENGTH)
      else if (offset + length > lengthMax)
        this.icmp.sendParameterProblem(packet, PROBLEM_FIELD, header + FRAGMENT_OFFSET - headerAt)
    }
    return fate
  }

  /** A packet that inputFragment has made whole. @returns as input */
  inputReassembled(packet: ReceivedPacket): number {
    return this.deliver(packet, this.ipv6.acceptReassembled(packet))
  }

  private deliver(packet: ReceivedPacket, verdict: number): number {
    if (verdict === IPV6_ACCEPTED) {
      if (packet.protocol !== PROTOCOL_ICMPV6) return INPUT_TRANSPORT
      this.icmp.input(packet)
    } else if (verdict === IPV6_PROBLEM) {
      const { problemCode, problemPointer } = this.ipv6.extensions
      this.icmp.sendParameterProblem(packet, problemCode, problemPointer)
    }
    return INPUT_DONE
  }

  onTimer(timer: number): void {
    if (timer === this.neighbourTimer) this.ndp.onTimer()
    else if (timer === this.fragmentTimer) this.fragments.onTimer()
    else this.detection.onTimer(this.messages, this.nowMs)
  }

  /** Gives the fragments up: the pool ran dry. */
  relieve(): void {
    this.fragments.release()
  }

  /** Drops all waiting frames and fragments. */
  close(): void {
    this.ndp.close()
    this.fragments.release()
  }
}

/** "fd77::2/64" to its parts. Throws BAD_ADDRESS, also for an address that no station can have. */
export function unicastCidr(text: string): { address: Address; prefixLength: number } {
  const parts = parseIpv6Cidr(text)
  if (!isUnicast(parts.address)) throw unusable(text, 'a station can only have a unicast address')
  return parts
}

/** Throws BAD_ADDRESS for a gateway that is not on the link of the address with its prefix. */
export function requireGateway(gateway: string, cidr: string): void {
  const { address, prefixLength } = parseIpv6Cidr(cidr)
  const { word0, word1, word2, word3 } = parseIpv6(gateway)
  const onLink = new OwnAddresses(address, prefixLength, new Uint8Array(6)).isOnLink(word0, word1, word2, word3)
  if (!onLink || !isUnicast(parseIpv6(gateway)))
    throw unusable(gateway, `the gateway must be link-local or in the network of ${cidr}`)
}

/** Neither a group, nor "::", nor loopback, nor an IPv4 address in disguise (RFC 4291 2.4). */
function isUnicast({ word0, word1, word2, word3 }: Address): boolean {
  if (isMulticast(word0) || isMapped(word0, word1, word2)) return false
  return (word0 | word1 | word2) !== 0 || word3 >>> 0 > 1
}

function unusable(text: string, reason: string): PackratError {
  return new PackratError('BAD_ADDRESS', `"${text}" cannot be used: ${reason}`)
}
