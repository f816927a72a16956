/**
 * The messages of Neighbor Discovery as frames (RFC 4861 4.3, 4.4): who asks whom from which address, and which option
 * goes along. What is decided by them stands in ndp.ts and duplicate-detection.ts.
 *
 *   Ethernet | IPv6, hop limit 255 | ICMPv6 type, flags | target | MAC option
 *
 * Called by: ndp.ts, duplicate-detection.ts. Calls: transmitter.ts.
 */
import { foldSum, sumBytes } from '../storage/checksum.ts'
import { Ends } from './address.ts'
import type { NdpCounters } from './counters.ts'
import type { DetectionMessages } from './duplicate-detection.ts'
import {
  GROUP_ALL_NODES,
  GROUP_LINK,
  NO_ADDRESS,
  type OwnAddresses,
  SOLICITED_NODE_WORD_2,
  solicitedNodeWord3,
} from './own-addresses.ts'
import type { ReceivedPacket } from './packet.ts'
import type { Transmitter } from './transmitter.ts'
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV6, MULTICAST6_MAC_HIGH, writeEthernetHeader } from './wire/ethernet.ts'
import { writeIcmpHeader } from './wire/icmp.ts'
import {
  NDP_MESSAGE_BYTES,
  NDP_NEIGHBOUR_ADVERTISEMENT,
  NDP_NEIGHBOUR_SOLICITATION,
  NDP_OPTION_UNIT_BYTES,
  NDP_OVERRIDE,
  NDP_SOLICITED,
  NDP_SOURCE_MAC,
  NDP_TARGET_MAC,
  ndpOptionLength,
  ndpOptionType,
  writeNdpMac,
  writeNdpTarget,
} from './wire/icmpv6.ts'
import { IPV6_HEADER_BYTES, ipv6AddressSum, PROTOCOL_ICMPV6, writeIpv6Header } from './wire/ipv6.ts'

/** Of every message, sent and believed: no router has forwarded it (RFC 4861 7.1). */
export const NDP_HOP_LIMIT = 255
export const NO_OPTION = -1

export class NdpMessages implements DetectionMessages {
  private readonly own: OwnAddresses
  private readonly macHigh: number
  private readonly macLow: number
  private readonly transmitter: Transmitter
  private readonly counters: NdpCounters
  /** Addresses of the message that is being sent. */
  private readonly ends = new Ends()

  constructor(own: OwnAddresses, macHigh: number, macLow: number, transmitter: Transmitter, counters: NdpCounters) {
    this.own = own
    this.macHigh = macHigh
    this.macLow = macLow
    this.transmitter = transmitter
    this.counters = counters
  }

  /** Asks all who might have an address (RFC 4861 7.2.2). */
  solicit(w0: number, w1: number, w2: number, w3: number): void {
    const group = solicitedNodeWord3(w3)
    this.ends.setRemote(GROUP_LINK, 0, SOLICITED_NODE_WORD_2, group)
    if (this.setSource(w0))
      this.send(NDP_NEIGHBOUR_SOLICITATION, 0, w0, w1, w2, w3, NDP_SOURCE_MAC, MULTICAST6_MAC_HIGH, group)
  }

  /** Asks a known neighbour whether he is there (RFC 4861 7.3.3). */
  probe(w0: number, w1: number, w2: number, w3: number, macHigh: number, macLow: number): void {
    this.ends.setRemote(w0, w1, w2, w3)
    if (this.setSource(w0)) this.send(NDP_NEIGHBOUR_SOLICITATION, 0, w0, w1, w2, w3, NDP_SOURCE_MAC, macHigh, macLow)
  }

  /** Answers who has asked for one of ours. */
  answer(index: number, question: ReceivedPacket, macHigh: number, macLow: number): void {
    this.ends.setRemote(question.source0, question.source1, question.source2, question.source3)
    this.advertise(index, NDP_SOLICITED | NDP_OVERRIDE, macHigh, macLow)
  }

  /* --- DetectionMessages --- */

  /** RFC 4862 5.4.2: from nobody, and without our MAC. */
  solicitOwn(index: number): void {
    const { word0, word1, word2, word3 } = this.own.addresses[index]!
    const group = solicitedNodeWord3(word3)
    this.ends.setLocal(0, 0, 0, 0)
    this.ends.setRemote(GROUP_LINK, 0, SOLICITED_NODE_WORD_2, group)
    this.send(NDP_NEIGHBOUR_SOLICITATION, 0, word0, word1, word2, word3, NO_OPTION, MULTICAST6_MAC_HIGH, group)
  }

  /** Tells the whole link where the address is (RFC 4861 7.2.6). */
  announce(index: number): void {
    this.ends.setRemote(GROUP_LINK, 0, 0, GROUP_ALL_NODES)
    this.advertise(index, NDP_OVERRIDE, MULTICAST6_MAC_HIGH, GROUP_ALL_NODES)
  }

  private setSource(destination0: number): boolean {
    const index = this.own.sourceFor(destination0)
    if (index === NO_ADDRESS) return false
    const { word0, word1, word2, word3 } = this.own.addresses[index]!
    this.ends.setLocal(word0, word1, word2, word3)
    return true
  }

  private advertise(index: number, flags: number, toHigh: number, toLow: number): void {
    const { word0, word1, word2, word3 } = this.own.addresses[index]!
    this.ends.setLocal(word0, word1, word2, word3)
    this.send(NDP_NEIGHBOUR_ADVERTISEMENT, flags, word0, word1, word2, word3, NDP_TARGET_MAC, toHigh, toLow)
  }

  /** One message between `ends`, about the address in the four words. @param option which MAC option, or NO_OPTION */
  private send(
    type: number,
    flags: number,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    option: number,
    toHigh: number,
    toLow: number,
  ): void {
    const { transmitter: tx, macHigh, macLow, counters } = this
    if (!tx.begin()) return
    const { view } = tx
    const length = NDP_MESSAGE_BYTES + (option === NO_OPTION ? 0 : NDP_OPTION_UNIT_BYTES)
    writeEthernetHeader(view, tx.at, toHigh, toLow, macHigh, macLow, ETHERTYPE_IPV6)
    writeIpv6Header(view, tx.at + ETHERNET_HEADER_BYTES, length, PROTOCOL_ICMPV6, NDP_HOP_LIMIT, this.ends)
    const at = tx.at + ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES
    writeIcmpHeader(view, at, type, 0, 0, flags)
    writeNdpTarget(view, at, w0, w1, w2, w3)
    if (option !== NO_OPTION) writeNdpMac(view, at + NDP_MESSAGE_BYTES, option, macHigh, macLow)
    const sum = foldSum(ipv6AddressSum(this.ends) + length + PROTOCOL_ICMPV6 + sumBytes(view, at, length))
    writeIcmpHeader(view, at, type, 0, ~sum & 0xffff, flags)
    tx.push(tx.buffer, tx.offset, ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + length, false)
    if (type === NDP_NEIGHBOUR_SOLICITATION) counters.solicitationsSent++
    else counters.advertisementsSent++
  }
}

/** RFC 4861 7.1: every option has a length, and fits. */
export function optionsAreWhole(packet: ReceivedPacket): boolean {
  const end = packet.at + packet.length
  let at = packet.at + NDP_MESSAGE_BYTES
  while (at < end) {
    if (at + NDP_OPTION_UNIT_BYTES > end) return false
    const length = ndpOptionLength(packet.view, at)
    if (length === 0 || at + length > end) return false
    at += length
  }
  return true
}

/** Where an option of this type stands in packet.view; the packet's options are whole. */
export function findOption(packet: ReceivedPacket, type: number): number {
  const end = packet.at + packet.length
  for (let at = packet.at + NDP_MESSAGE_BYTES; at < end; at += ndpOptionLength(packet.view, at))
    if (ndpOptionType(packet.view, at) === type) return at
  return NO_OPTION
}
