/**
 * IPv6 (RFC 8200, RFC 4291): input checks in strict order, cheapest first, one counter a reason; output with routing to
 * the next hop (routes.ts). Output of a frame works as in ipv4.ts: begin, write and push, end.
 *
 * accept ─► header ─► addresses ─► ipv6-extensions.ts ─► transport
 *
 * Called by: Host (accept), icmpv6.ts, ip.ts (begin, end). Calls: ipv6-extensions.ts, ndp.ts, transmitter.ts.
 */
import { appendSum, subtractSums, subtractTail, sumBytes } from '../storage/checksum.ts'
import { NO_META } from '../storage/layout.ts'
import { type AddressPair, isMapped } from './address.ts'
import type { Ipv6Counters } from './counters.ts'
import { CHAIN_DROPPED, CHAIN_FRAGMENT, CHAIN_PROBLEM, CHAIN_TRANSPORT, ExtensionHeaders } from './ipv6-extensions.ts'
import { IPV6_HOP_LIMIT } from './limits.ts'
import type { Ndp } from './ndp.ts'
import { NO_NEIGHBOUR } from './neighbour-cache.ts'
import { isMulticast, NO_ADDRESS, type OwnAddresses } from './own-addresses.ts'
import type { ReceivedPacket } from './packet.ts'
import { NO_ROUTE, type Routes } from './routes.ts'
import type { Transmitter } from './transmitter.ts'
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV6, MULTICAST6_MAC_HIGH, writeEthernetHeader } from './wire/ethernet.ts'
import {
  FRAGMENT_HEADER_BYTES,
  IPV6_HEADER_BYTES,
  ipv6DestinationWord,
  ipv6Ecn,
  ipv6HeaderAddressSum,
  ipv6PayloadLength,
  ipv6SourceWord,
  ipv6Version,
  NEXT_FRAGMENT,
  writeFragmentHeader,
  writeIpv6Header,
} from './wire/ipv6.ts'

/** Bytes in front of the transport header in every frame sent. */
export const IPV6_FRAME_HEADER_BYTES = ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES

/* What accept says of a packet. */
export const IPV6_DROPPED = 0
export const IPV6_ACCEPTED = 1
/** Dropped, and the sender is to be told: `extensions` knows what. */
export const IPV6_PROBLEM = 2
/** Right as far as it goes; packet.at is behind its fragment header. */
export const IPV6_FRAGMENT = 3

/** RFC 7112 5: the first fragment has all headers, the transport's as far as it is read here included; so has a long frame's first buffer. */
const FIRST_TRANSPORT_BYTES_MIN = 8

export interface Ipv6Parts {
  readonly own: OwnAddresses
  readonly routes: Routes
  readonly macHigh: number
  readonly macLow: number
  readonly ndp: Ndp
  readonly transmitter: Transmitter
  readonly counters: Ipv6Counters
}

export class Ipv6 {
  readonly own: OwnAddresses
  readonly extensions: ExtensionHeaders
  private readonly parts: Ipv6Parts
  /** Neighbour of the frame being built; NO_NEIGHBOUR for a group. */
  private entry = NO_NEIGHBOUR

  constructor(parts: Ipv6Parts) {
    this.parts = parts
    this.own = parts.own
    this.extensions = new ExtensionHeaders(parts.counters)
  }

  /**
   * Checks the packet at packet.headerAt and fills in addresses, payload and the payload's sum.
   * @param length bytes behind the Ethernet header, of a long frame those in its first buffer
   * @param sum Internet sum of those bytes
   * @param toUs the frame was addressed to this station, and to no group
   */
  accept(packet: ReceivedPacket, length: number, sum: number, toUs: boolean): number {
    const { counters } = this.parts
    const view = packet.view
    const at = packet.headerAt
    counters.received++
    if (length < IPV6_HEADER_BYTES) {
      counters.dropShort++
      return IPV6_DROPPED
    }
    if (ipv6Version(view, at) !== 6) {
      counters.dropVersion++
      return IPV6_DROPPED
    }
    const totalLength = IPV6_HEADER_BYTES + ipv6PayloadLength(view, at)
    const present = length + packet.restBytes
    // What is longer than a buffer needs no padding.
    if (totalLength > present || (totalLength < present && packet.rest !== NO_META)) {
      counters.dropPayloadLength++
      return IPV6_DROPPED
    }
    this.readAddresses(packet)
    if (!this.sourceIsSound(packet)) {
      counters.dropSource++
      return IPV6_DROPPED
    }
    if (!this.destinationIsOurs(packet, toUs)) {
      counters.dropDestination++
      return IPV6_DROPPED
    }
    const verdict = this.extensions.walk(packet, at + Math.min(totalLength, length))
    if (verdict === CHAIN_TRANSPORT || verdict === CHAIN_FRAGMENT) {
      if (verdict === CHAIN_FRAGMENT) {
        packet.at += FRAGMENT_HEADER_BYTES
        packet.length -= FRAGMENT_HEADER_BYTES
      } else if (packet.length < FIRST_TRANSPORT_BYTES_MIN && packet.rest !== NO_META) {
        counters.dropExtensionLength++ // extension headers may be longer than a buffer
        return IPV6_DROPPED
      }
      const inFirst = totalLength < length ? subtractTail(view, at, totalLength, length, sum) : sum
      packet.headerLength = packet.at - at
      packet.firstLength = packet.length
      packet.firstSum = subtractSums(inFirst, sumBytes(view, at, packet.headerLength))
      packet.length += packet.restBytes
      packet.sum = appendSum(packet.firstSum, packet.firstLength, packet.restSum)
      packet.addressSum = ipv6HeaderAddressSum(view, at)
      packet.ecn = ipv6Ecn(view, at)
      return verdict === CHAIN_FRAGMENT ? IPV6_FRAGMENT : IPV6_ACCEPTED
    }
    return verdict === CHAIN_PROBLEM ? IPV6_PROBLEM : IPV6_DROPPED
  }

  /** The fragments of a packet are together: finds the transport behind what headers there still are. */
  acceptReassembled(packet: ReceivedPacket): number {
    const { view, at, length } = packet
    const verdict = this.extensions.walkOn(packet, at + packet.firstLength)
    if (verdict === CHAIN_PROBLEM) return IPV6_PROBLEM
    if (verdict === CHAIN_DROPPED) return IPV6_DROPPED
    // A fragment of fragments, or headers that go on behind the first one.
    if (verdict === CHAIN_FRAGMENT || packet.length < FIRST_TRANSPORT_BYTES_MIN) {
      this.parts.counters.dropFragment++
      return IPV6_DROPPED
    }
    const headers = packet.at - at
    const headersSum = sumBytes(view, at, headers)
    packet.firstLength = packet.length
    packet.firstSum = subtractSums(packet.firstSum, headersSum)
    packet.length = length - headers
    packet.sum = subtractSums(packet.sum, headersSum)
    packet.headerLength += headers
    return IPV6_ACCEPTED
  }

  /** Whether packets for an address have somewhere to go. */
  hasRoute(w0: number, w1: number, w2: number, w3: number): boolean {
    return isMulticast(w0) || this.parts.routes.find(w0, w1, w2, w3) !== NO_ROUTE
  }

  /**
   * A frame from e.local to e.remote with `length` bytes behind the IPv6 header.
   * @returns where these start in transmitter.view; -1 if it cannot be sent
   */
  begin(e: AddressPair, protocol: number, length: number): number {
    const { counters, ndp, transmitter: tx } = this.parts
    const { remoteAddress0: w0, remoteAddress1: w1, remoteAddress2: w2, remoteAddress3: w3 } = e
    if (!this.hasRoute(w0, w1, w2, w3)) {
      counters.dropNoRoute++
      return -1
    }
    // Resolve first: it may send a solicitation of its own.
    this.entry = isMulticast(w0) ? NO_NEIGHBOUR : this.resolve(w0, w1, w2, w3)
    if (!tx.begin()) {
      counters.dropNoBuffer++
      return -1
    }
    const { macHigh, macLow } = this.parts
    if (this.entry !== NO_NEIGHBOUR) ndp.writeHeader(tx.view, tx.at, this.entry)
    else writeEthernetHeader(tx.view, tx.at, MULTICAST6_MAC_HIGH, w3, macHigh, macLow, ETHERTYPE_IPV6)
    const at = tx.at + ETHERNET_HEADER_BYTES
    writeIpv6Header(tx.view, at, length, protocol, IPV6_HOP_LIMIT, e)
    return at + IPV6_HEADER_BYTES
  }

  /** The same for one fragment of a datagram; `length` bytes of it. @param offset bytes, a multiple of 8 */
  beginFragment(
    e: AddressPair,
    protocol: number,
    length: number,
    offset: number,
    more: boolean,
    identification: number,
  ): number {
    const at = this.begin(e, NEXT_FRAGMENT, FRAGMENT_HEADER_BYTES + length)
    if (at < 0) return -1
    writeFragmentHeader(this.parts.transmitter.view, at, protocol, offset, more, identification)
    this.parts.counters.fragmentsSent++
    return at + FRAGMENT_HEADER_BYTES
  }

  /** The frame is pushed completely. */
  end(): void {
    this.parts.counters.sent++
    if (this.entry !== NO_NEIGHBOUR && !this.parts.ndp.isResolved(this.entry)) this.parts.ndp.park(this.entry)
  }

  /** The transport got something acknowledged from there: the next hop works (RFC 4861 7.3.1). */
  confirm(e: AddressPair): void {
    const { ndp, routes } = this.parts
    const { remoteAddress0: w0, remoteAddress1: w1, remoteAddress2: w2, remoteAddress3: w3 } = e
    const route = routes.find(w0, w1, w2, w3)
    if (route === NO_ROUTE) return
    const gateway = routes.gateway(route)
    if (gateway === undefined) ndp.confirm(w0, w1, w2, w3)
    else ndp.confirm(gateway.word0, gateway.word1, gateway.word2, gateway.word3)
  }

  /** The neighbour that a packet for this address goes to: itself, or a gateway. It has a route. */
  private resolve(w0: number, w1: number, w2: number, w3: number): number {
    const { ndp, routes } = this.parts
    const gateway = routes.gateway(routes.find(w0, w1, w2, w3))
    if (gateway === undefined) return ndp.resolve(w0, w1, w2, w3)
    return ndp.resolve(gateway.word0, gateway.word1, gateway.word2, gateway.word3)
  }

  private readAddresses(packet: ReceivedPacket): void {
    const { view, headerAt: at } = packet
    packet.source0 = ipv6SourceWord(view, at, 0)
    packet.source1 = ipv6SourceWord(view, at, 1)
    packet.source2 = ipv6SourceWord(view, at, 2)
    packet.source3 = ipv6SourceWord(view, at, 3)
    packet.destination0 = ipv6DestinationWord(view, at, 0)
    packet.destination1 = ipv6DestinationWord(view, at, 1)
    packet.destination2 = ipv6DestinationWord(view, at, 2)
    packet.destination3 = ipv6DestinationWord(view, at, 3)
    packet.isMulticast = isMulticast(packet.destination0) ? 1 : 0
  }

  /**
   * Not a group, not loopback, not ourselves unless to a group, no IPv4 address in disguise (RFC 4291 2.5.3, 2.7; it would meet the mapped
   * addresses of IPv4). "::" is somebody who has no address yet and may speak to groups only (RFC 4291 2.5.2).
   */
  private sourceIsSound(packet: ReceivedPacket): boolean {
    const { source0, source1, source2, source3 } = packet
    if (isMulticast(source0) || isMapped(source0, source1, source2)) return false
    if ((source0 | source1 | source2) === 0) {
      if (source3 === 1) return false
      if (source3 === 0) return packet.isMulticast !== 0
    }
    const index = this.own.find(source0, source1, source2, source3)
    // Another station speaks from an address of ours: heard where that tells of a duplicate (RFC 4862 5.4.4).
    return index === NO_ADDRESS || packet.isMulticast !== 0
  }

  /** RFC 4862 5.4: an address that is not known to be ours alone receives nothing. */
  private destinationIsOurs(packet: ReceivedPacket, toUs: boolean): boolean {
    const { destination0, destination1, destination2, destination3 } = packet
    if (packet.isMulticast !== 0) return this.own.isMember(destination0, destination1, destination2, destination3)
    const index = this.own.find(destination0, destination1, destination2, destination3)
    return toUs && index !== NO_ADDRESS && this.own.isUsable(index)
  }
}
