/**
 * From a frame to its protocol: Ethernet, then ARP, IPv4 or IPv6, fragments, and what they carry.
 *
 *   input ─► ARP
 *         ├► IPv4 ─┬─ whole ──────────────────► TCP | UDP | ICMP
 *         │        └─ fragment ─► Fragments ─► ─┘
 *         └► IPv6 ─► (the same, in Ipv6Stack) ─► TCP | UDP
 *
 * Checks stand in strict order, cheapest first, one counter a reason. Called by: Host, for each frame of a burst.
 *
 * A long frame lies in several buffers: its headers in the first, and each further one becomes a line of packet.rest, as
 * of a packet that came in fragments. So everything behind IP knows one kind of packet in parts.
 *
 * Invariant: a frame's buffer reference is taken over exactly if `input` says so; `inputLong` takes all of them over.
 */
import { D_BUFFER, D_LENGTH, D_OFFSET, D_SUM, DESCRIPTOR_WORDS, RX_SUM_MASK } from '../drivers/device.ts'
import { appendSum } from '../storage/checksum.ts'
import { NO_FRAME, NO_META } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import type { Arp } from './arp.ts'
import type { StackCounters } from './counters.ts'
import { FRAGMENT_COMPLETES, FRAGMENT_DROPPED, type Fragments } from './fragments.ts'
import type { Icmp } from './icmp.ts'
import { IPV4_DROPPED, IPV4_WHOLE, type Ipv4 } from './ipv4.ts'
import { INPUT_FRAGMENT, INPUT_TRANSPORT, type Ipv6Stack } from './ipv6-stack.ts'
import { ReceivedPacket } from './packet.ts'
import type { Tcp } from './tcp/tcp.ts'
import { UDP_NO_PORT, UDP_QUEUED, type Udp } from './udp.ts'
import {
  ETHERNET_HEADER_BYTES,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ethernetToHigh,
  ethernetToLow,
  ethernetType,
  MULTICAST6_MAC_HIGH,
} from './wire/ethernet.ts'
import { UNREACHABLE_PORT, UNREACHABLE_PROTOCOL } from './wire/icmp.ts'
import {
  IPV4_PACKET_BYTES_MAX,
  ipv4FragmentOffset,
  ipv4Identification,
  ipv4MoreFragments,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from './wire/ipv4.ts'

export interface FrameInputParts {
  readonly pool: Pool
  readonly counters: StackCounters
  readonly arp: Arp
  readonly ipv4: Ipv4
  readonly fragments: Fragments
  readonly icmp: Icmp
  readonly tcp: Tcp
  readonly udp: Udp
  /** Undefined: the host speaks IPv4 only. */
  readonly ipv6Stack: Ipv6Stack | undefined
}

export class FrameInput {
  private readonly pool: Pool
  private readonly counters: StackCounters
  private readonly arp: Arp
  private readonly ipv4: Ipv4
  private readonly fragments: Fragments
  private readonly icmp: Icmp
  private readonly tcp: Tcp
  private readonly udp: Udp
  private readonly ipv6Stack: Ipv6Stack | undefined
  private readonly packet: ReceivedPacket

  constructor(parts: FrameInputParts) {
    this.pool = parts.pool
    this.counters = parts.counters
    this.arp = parts.arp
    this.ipv4 = parts.ipv4
    this.fragments = parts.fragments
    this.icmp = parts.icmp
    this.tcp = parts.tcp
    this.udp = parts.udp
    this.ipv6Stack = parts.ipv6Stack
    this.packet = new ReceivedPacket(parts.pool.views[0]!)
  }

  /** @param sum Internet sum of the frame from byte 14 on. @returns true if the buffer's reference was taken over */
  input(buffer: number, offset: number, length: number, sum: number): boolean {
    const counters = this.counters.ethernet
    counters.received++
    if (length < ETHERNET_HEADER_BYTES) {
      counters.dropShort++
      return false
    }
    const packet = this.packet
    packet.buffer = buffer
    packet.frameOffset = offset
    packet.view = this.pool.bufferView(buffer)
    packet.bufferAt = this.pool.bufferStart(buffer)
    const at = packet.bufferAt + offset
    const type = ethernetType(packet.view, at)
    if (type === ETHERTYPE_ARP) {
      this.arp.input(packet.view, at + ETHERNET_HEADER_BYTES, length - ETHERNET_HEADER_BYTES)
      return false
    }
    // RFC 9293 3.9.2.3, RFC 1122 3.3.6: nothing above answers what was sent to more than one station.
    const toHigh = ethernetToHigh(packet.view, at)
    const toUs = ethernetToLow(packet.view, at) === this.arp.macLow && toHigh === this.arp.macHigh
    packet.headerAt = at + ETHERNET_HEADER_BYTES
    if (type === ETHERTYPE_IPV6 && this.ipv6Stack !== undefined && (toUs || toHigh === MULTICAST6_MAC_HIGH))
      return this.inputIpv6(this.ipv6Stack, packet, length - ETHERNET_HEADER_BYTES, sum, toUs)
    if (!toUs) {
      counters.dropOther++
      return false
    }
    if (type !== ETHERTYPE_IPV4) {
      counters.dropType++
      return false
    }
    const verdict = this.ipv4.accept(packet, length - ETHERNET_HEADER_BYTES, sum)
    if (verdict === IPV4_WHOLE) return this.inputPacket(packet)
    return verdict !== IPV4_DROPPED && this.inputFragment(packet)
  }

  /** A frame of several buffers: the descriptors at words [from, end). Takes their references over. */
  inputLong(descriptors: Int32Array, from: number, end: number): void {
    const { packet, pool } = this
    const buffer = descriptors[from + D_BUFFER]!
    if (!this.collectRest(descriptors, from + DESCRIPTOR_WORDS, end)) {
      this.counters.ethernet.dropNoLine++
      pool.releaseBuffer(buffer)
      return
    }
    packet.buffer = buffer
    const sum = descriptors[from + D_SUM]! & RX_SUM_MASK
    const taken = this.input(buffer, descriptors[from + D_OFFSET]!, descriptors[from + D_LENGTH]!, sum)
    if (!taken) pool.releaseBuffer(buffer)
    this.releaseRest(packet)
  }

  /** Makes lines of everything behind the first buffer. False: there were none left, and the buffers are free. */
  private collectRest(descriptors: Int32Array, from: number, end: number): boolean {
    const { packet, pool } = this
    let tail = NO_META
    for (let at = from; at < end; at += DESCRIPTOR_WORDS) {
      const length = descriptors[at + D_LENGTH]!
      const sum = descriptors[at + D_SUM]! & RX_SUM_MASK
      const line = pool.createView(
        descriptors[at + D_BUFFER]!,
        descriptors[at + D_OFFSET]!,
        length,
        sum | (NO_FRAME << 16),
      )
      if (line === NO_META) {
        for (; at < end; at += DESCRIPTOR_WORDS) pool.releaseBuffer(descriptors[at + D_BUFFER]!)
        this.releaseRest(packet)
        return false
      }
      if (tail === NO_META) packet.rest = line
      else pool.setNext(tail, line)
      tail = line
      packet.restLines++
      packet.restSum = appendSum(packet.restSum, packet.restBytes, sum)
      packet.restBytes += length
    }
    return true
  }

  /** What the packet has behind its first buffer, if nobody took it; the next packet is in one piece. */
  private releaseRest(packet: ReceivedPacket): void {
    this.pool.releaseChain(packet.rest)
    packet.rest = NO_META
    packet.restLines = 0
    packet.restBytes = 0
    packet.restSum = 0
  }

  /** @returns true if the reference to the frame's own buffer was taken over */
  private inputFragment(packet: ReceivedPacket): boolean {
    const { view, headerAt } = packet
    const fate = this.fragments.input(
      packet,
      ipv4Identification(view, headerAt),
      ipv4FragmentOffset(view, headerAt),
      ipv4MoreFragments(view, headerAt),
      IPV4_PACKET_BYTES_MAX - packet.headerLength,
    )
    if (fate !== FRAGMENT_COMPLETES) return fate !== FRAGMENT_DROPPED
    this.endReassembled(packet, this.inputPacket(packet))
    return true
  }

  /** The packet was another one than the frame, with references of its own. @param taken that to packet.buffer */
  private endReassembled(packet: ReceivedPacket, taken: boolean): void {
    if (!taken) this.pool.releaseBuffer(packet.buffer)
    this.releaseRest(packet)
  }

  /** A whole packet to its protocol. @returns true if the reference to packet.buffer was taken over */
  private inputPacket(packet: ReceivedPacket): boolean {
    const { protocol } = packet
    if (protocol === PROTOCOL_TCP) return this.tcp.input(packet)
    if (protocol === PROTOCOL_UDP) return this.inputDatagram(packet)
    if (protocol === PROTOCOL_ICMP) this.icmp.input(packet)
    else {
      this.counters.ipv4.dropProtocol++
      this.icmp.sendUnreachable(packet, UNREACHABLE_PROTOCOL)
    }
    return false
  }

  private inputIpv6(ipv6Stack: Ipv6Stack, packet: ReceivedPacket, length: number, sum: number, toUs: boolean): boolean {
    const verdict = ipv6Stack.input(packet, length, sum, toUs)
    if (verdict === INPUT_TRANSPORT) return this.inputTransport6(ipv6Stack, packet)
    if (verdict !== INPUT_FRAGMENT) return false
    const fate = ipv6Stack.inputFragment(packet)
    if (fate !== FRAGMENT_COMPLETES) return fate !== FRAGMENT_DROPPED
    const forTransport = ipv6Stack.inputReassembled(packet) === INPUT_TRANSPORT
    this.endReassembled(packet, forTransport && this.inputTransport6(ipv6Stack, packet))
    return true
  }

  private inputTransport6(ipv6Stack: Ipv6Stack, packet: ReceivedPacket): boolean {
    // Connections and datagrams are between two; nothing here joins groups.
    if (packet.isMulticast !== 0) {
      this.counters.ipv6.dropDestination++
      return false
    }
    if (packet.protocol === PROTOCOL_TCP) return this.tcp.input(packet)
    const verdict = this.udp.input(packet)
    if (verdict === UDP_NO_PORT) ipv6Stack.icmp.sendPortUnreachable(packet)
    return verdict === UDP_QUEUED
  }

  private inputDatagram(packet: ReceivedPacket): boolean {
    const verdict = this.udp.input(packet)
    if (verdict === UDP_NO_PORT) this.icmp.sendUnreachable(packet, UNREACHABLE_PORT)
    return verdict === UDP_QUEUED
  }
}
