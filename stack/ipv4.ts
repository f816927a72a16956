/**
 * IPv4 (RFC 791, RFC 1122 3.2): input checks in strict order, cheapest first, one counter a reason; output with
 * routing (routes.ts).
 *
 * Output of a frame, for ICMP and TCP:
 *
 *   at = begin(destination, protocol, length)   takes a header slot, writes Ethernet and IPv4 headers
 *   … write the transport header at `at`, push header and views …
 *   end()                                       parks the frame if the neighbour is not resolved yet
 *
 * Called by: Host (accept), icmp.ts, tcp/output.ts (begin, end). Calls: arp.ts, transmitter.ts.
 */
import { appendSum, subtractTail } from '../storage/checksum.ts'
import { NO_META } from '../storage/layout.ts'
import { MAPPED_WORD_2, prefixMask } from './address.ts'
import type { Arp } from './arp.ts'
import type { Ipv4Counters } from './counters.ts'
import type { ReceivedPacket } from './packet.ts'
import { NO_ROUTE, type Routes } from './routes.ts'
import type { Transmitter } from './transmitter.ts'
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4 } from './wire/ethernet.ts'
import {
  IPV4_ATOMIC,
  IPV4_HEADER_BYTES,
  ipv4Destination,
  ipv4Ecn,
  ipv4FragmentWord,
  ipv4HeaderLength,
  ipv4HeaderSumIsRight,
  ipv4IsFragment,
  ipv4Protocol,
  ipv4PseudoSum,
  ipv4Source,
  ipv4TotalLength,
  ipv4Version,
  writeIpv4Header,
} from './wire/ipv4.ts'

/* What accept says of a packet. */
export const IPV4_DROPPED = 0
export const IPV4_WHOLE = 1
/** Right as far as it goes: fragments.ts wants it. */
export const IPV4_FRAGMENT = 2

/** Bytes in front of the transport header in every frame sent. */
export const IPV4_FRAME_HEADER_BYTES = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES

export class Ipv4 {
  readonly address: number
  private readonly mask: number
  private readonly routes: Routes
  private readonly arp: Arp
  private readonly transmitter: Transmitter
  private readonly counters: Ipv4Counters
  /** Entry of the frame being built. */
  private entry = 0

  constructor(
    address: number,
    prefixLength: number,
    routes: Routes,
    arp: Arp,
    transmitter: Transmitter,
    counters: Ipv4Counters,
  ) {
    this.address = address
    this.mask = prefixMask(prefixLength)
    this.routes = routes
    this.arp = arp
    this.transmitter = transmitter
    this.counters = counters
  }

  /**
   * Checks the packet at packet.headerAt and fills in addresses, payload and the payload's sum.
   * @param length bytes behind the Ethernet header, of a long frame those in its first buffer
   * @param sum Internet sum of those bytes
   */
  accept(packet: ReceivedPacket, length: number, sum: number): number {
    const view = packet.view
    const at = packet.headerAt
    const counters = this.counters
    counters.received++
    if (length < IPV4_HEADER_BYTES) {
      counters.dropShort++
      return IPV4_DROPPED
    }
    if (ipv4Version(view, at) !== 4) {
      counters.dropVersion++
      return IPV4_DROPPED
    }
    const headerLength = ipv4HeaderLength(view, at)
    if (headerLength < IPV4_HEADER_BYTES || headerLength > length) {
      counters.dropHeaderLength++
      return IPV4_DROPPED
    }
    const totalLength = ipv4TotalLength(view, at)
    const present = length + packet.restBytes
    // What is longer than a buffer needs no padding.
    if (totalLength < headerLength || totalLength > present || (totalLength < present && packet.rest !== NO_META)) {
      counters.dropTotalLength++
      return IPV4_DROPPED
    }
    if (!ipv4HeaderSumIsRight(view, at, headerLength)) {
      counters.dropChecksum++
      return IPV4_DROPPED
    }
    const source = ipv4Source(view, at)
    if (!this.isForeignUnicast(source)) {
      counters.dropSource++
      return IPV4_DROPPED
    }
    if (ipv4Destination(view, at) !== this.address) {
      counters.dropDestination++
      return IPV4_DROPPED
    }

    packet.source0 = 0
    packet.source1 = 0
    packet.source2 = MAPPED_WORD_2
    packet.source3 = source
    packet.destination0 = 0
    packet.destination1 = 0
    packet.destination2 = MAPPED_WORD_2
    packet.destination3 = this.address
    packet.addressSum = ipv4PseudoSum(source, this.address, 0)
    packet.protocol = ipv4Protocol(view, at)
    packet.ecn = ipv4Ecn(view, at)
    packet.headerLength = headerLength
    packet.at = at + headerLength
    packet.length = totalLength - headerLength
    // The header is one's-complement zero: what is left is the payload, and the padding of a short Ethernet frame.
    if (packet.rest === NO_META) {
      packet.sum = totalLength === length ? sum : subtractTail(view, at, totalLength, length, sum)
      packet.firstLength = packet.length
      packet.firstSum = packet.sum
    } else {
      packet.sum = appendSum(sum, length, packet.restSum)
      packet.firstLength = length - headerLength
      packet.firstSum = sum
    }
    return ipv4IsFragment(view, at) ? IPV4_FRAGMENT : IPV4_WHOLE
  }

  /** Where a packet for `destination` goes next: itself, a gateway, or 0 for nowhere. */
  nextHop(destination: number): number {
    const route = this.routes.find(0, 0, MAPPED_WORD_2, destination)
    if (route === NO_ROUTE) return 0
    return this.routes.gateway(route)?.word3 ?? destination
  }

  /** A frame to `destination` with `length` bytes behind the IPv4 header. Where these start in transmitter.view; -1 if it cannot be sent. */
  begin(destination: number, protocol: number, length: number): number {
    return this.beginWith(destination, protocol, length, IPV4_ATOMIC)
  }

  /** The same for one fragment of a datagram; `length` bytes of it. @param offset bytes, a multiple of 8 */
  beginFragment(
    destination: number,
    protocol: number,
    length: number,
    offset: number,
    more: boolean,
    identification: number,
  ): number {
    const at = this.beginWith(destination, protocol, length, ipv4FragmentWord(identification, offset, more))
    if (at >= 0) this.counters.fragmentsSent++
    return at
  }

  /** @param fragmentWord second word of the header (wire/ipv4.ts) */
  private beginWith(destination: number, protocol: number, length: number, fragmentWord: number): number {
    const nextHop = this.nextHop(destination)
    if (nextHop === 0) {
      this.counters.dropNoRoute++
      return -1
    }
    // Resolve first: it may send a request of its own.
    this.entry = this.arp.resolve(nextHop)
    const tx = this.transmitter
    if (!tx.begin()) {
      this.counters.dropNoBuffer++
      return -1
    }
    this.arp.writeHeader(tx.view, tx.at, this.entry, ETHERTYPE_IPV4)
    const at = tx.at + ETHERNET_HEADER_BYTES
    writeIpv4Header(tx.view, at, IPV4_HEADER_BYTES + length, fragmentWord, protocol, this.address, destination)
    return at + IPV4_HEADER_BYTES
  }

  /** The frame is pushed completely. */
  end(): void {
    this.counters.sent++
    if (!this.arp.isResolved(this.entry)) this.arp.park(this.entry)
  }

  /** Not multicast, reserved, broadcast, loopback, "this network" or ourselves (RFC 1122 3.2.1.3). */
  private isForeignUnicast(source: number): boolean {
    const first = source >>> 24
    if (first === 0 || first === 127 || first >= 224) return false
    if (source === this.address) return false
    const onLink = ((source ^ this.address) & this.mask) === 0
    return !(onLink && (source | this.mask) === -1 && this.mask < -2)
  }
}
