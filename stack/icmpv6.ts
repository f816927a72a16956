/**
 * ICMPv6 (RFC 4443): answers echo requests, reports what cannot be delivered at a limited rate, hands errors about our
 * own packets to TCP and UDP, and Neighbor Discovery's messages to ndp.ts.
 *
 * Called by: Host. Calls: ipv6.ts, ndp.ts, transmitter.ts, and the transports (transport-errors.ts).
 */
import { addSums, foldSum, subtractSums, sumBytes } from '../storage/checksum.ts'
import { NO_FRAME, NO_META } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import { Ends } from './address.ts'
import type { Icmpv6Counters, NdpCounters } from './counters.ts'
import type { Fragmentation } from './fragmentation.ts'
import type { ReassemblyErrors } from './fragments.ts'
import type { IcmpLimits } from './icmp-limits.ts'
import { IPV6_FRAME_HEADER_BYTES, type Ipv6 } from './ipv6.ts'
import { IPV6_MTU_MIN } from './limits.ts'
import type { Ndp } from './ndp.ts'
import { NO_ADDRESS } from './own-addresses.ts'
import type { ReceivedPacket } from './packet.ts'
import type { PathMtus } from './path-mtu.ts'
import type { Transmitter } from './transmitter.ts'
import { QuotedPacket, type Transports } from './transport-errors.ts'
import { ICMP_HEADER_BYTES, icmpChecksum, icmpCode, icmpRest, icmpType, writeIcmpHeader } from './wire/icmp.ts'
import {
  ICMPV6_ECHO,
  ICMPV6_ECHO_REPLY,
  ICMPV6_INFORMATIONAL,
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_TOO_BIG,
  ICMPV6_UNREACHABLE,
  NDP_NEIGHBOUR_ADVERTISEMENT,
  NDP_NEIGHBOUR_SOLICITATION,
  NDP_REDIRECT,
  NDP_ROUTER_ADVERTISEMENT,
  NDP_ROUTER_SOLICITATION,
  PROBLEM_NEXT_HEADER,
  PROBLEM_OPTION,
  TIME_EXCEEDED6_REASSEMBLY,
  UNREACHABLE6_PORT,
} from './wire/icmpv6.ts'
import { PROTOCOL_TCP, PROTOCOL_UDP } from './wire/ipv4.ts'
import {
  FRAGMENT_HEADER_BYTES,
  fragmentOffset,
  IPV6_HEADER_BYTES,
  ipv6AddressSum,
  ipv6DestinationWord,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6SourceWord,
  NEXT_FRAGMENT,
  PROTOCOL_ICMPV6,
} from './wire/ipv6.ts'
import { tcpDestinationPort, tcpSequence, tcpSourcePort } from './wire/tcp.ts'
import { udpDestinationPort, udpSourcePort } from './wire/udp.ts'

/** What is needed of a quoted transport header: ports, and TCP's sequence number. */
const QUOTED_TRANSPORT_BYTES = 8
/** RFC 4443 2.4 (c): as much as fits a packet that every link takes. */
const QUOTED_BYTES_MAX = IPV6_MTU_MIN - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES

export interface Icmpv6Parts {
  readonly pool: Pool
  readonly ipv6: Ipv6
  readonly ndp: Ndp
  readonly limits: IcmpLimits
  readonly pathMtus: PathMtus
  readonly fragmentation: Fragmentation
  readonly transmitter: Transmitter
  readonly transports: Transports
  readonly counters: Icmpv6Counters
  readonly ndpCounters: NdpCounters
}

export class Icmpv6 implements ReassemblyErrors {
  private readonly parts: Icmpv6Parts
  private readonly quoted = new QuotedPacket()
  /** Addresses of the message that is being sent. */
  private readonly ends = new Ends()

  constructor(parts: Icmpv6Parts) {
    this.parts = parts
  }

  input(packet: ReceivedPacket): void {
    const { counters, ndp, ndpCounters } = this.parts
    counters.received++
    if (packet.length < ICMP_HEADER_BYTES) {
      counters.dropShort++
      return
    }
    if (addSums(foldSum(packet.addressSum + PROTOCOL_ICMPV6 + packet.length), packet.sum) !== 0xffff) {
      counters.dropChecksum++
      return
    }
    const type = icmpType(packet.view, packet.at)
    // RFC 6980 5, and nobody else has reason to.
    if (packet.rest !== NO_META && type !== ICMPV6_ECHO) {
      counters.dropFragmented++
      return
    }
    switch (type) {
      case ICMPV6_ECHO:
        this.echo(packet)
        break
      case NDP_NEIGHBOUR_SOLICITATION:
      case NDP_NEIGHBOUR_ADVERTISEMENT:
        ndp.input(packet, type)
        break
      case ICMPV6_UNREACHABLE:
      case ICMPV6_TOO_BIG:
      case ICMPV6_TIME_EXCEEDED:
      case ICMPV6_PARAMETER_PROBLEM:
        this.errorInput(packet, type)
        break
      case NDP_ROUTER_SOLICITATION:
      case NDP_ROUTER_ADVERTISEMENT:
      case NDP_REDIRECT:
        ndpCounters.ignoredRouter++
        break
      default:
        counters.dropType++
    }
  }

  /** Answers a datagram to a port that nobody has (RFC 4443 3.1). */
  sendPortUnreachable(packet: ReceivedPacket): void {
    if (packet.isMulticast === 0) this.sendError(packet, ICMPV6_UNREACHABLE, UNREACHABLE6_PORT, 0)
  }

  /** Answers a packet that cannot be processed (RFC 4443 3.4). @param pointer offset of the offending byte */
  sendParameterProblem(packet: ReceivedPacket, code: number, pointer: number): void {
    // RFC 4443 2.4 (e.3): about what was sent to a group, only options that ask for it.
    if (packet.isMulticast === 0 || code === PROBLEM_OPTION)
      this.sendError(packet, ICMPV6_PARAMETER_PROBLEM, code, pointer)
  }

  /** RFC 4443 3.3, and 2.4 (e.3): not about what was sent to a group. */
  onReassemblyTimeout(packet: ReceivedPacket): void {
    if (packet.isMulticast === 0) this.sendError(packet, ICMPV6_TIME_EXCEEDED, TIME_EXCEEDED6_REASSEMBLY, 0)
  }

  /** @param rest pointer or MTU, the second word of the message */
  private sendError(packet: ReceivedPacket, type: number, code: number, rest: number): void {
    const { counters } = this.parts
    // RFC 4443 2.4 (e.6): "::" is nobody.
    if ((packet.source0 | packet.source1 | packet.source2 | packet.source3) === 0) return
    if (packet.protocol === NEXT_FRAGMENT && beginsError(packet)) return
    const { source0, source1, source2, source3 } = packet
    if (!this.parts.limits.take(source0, source1, source2, source3)) {
      counters.dropRate++
      return
    }
    const { view, headerAt } = packet
    const quoted = Math.min(IPV6_HEADER_BYTES + ipv6PayloadLength(view, headerAt), QUOTED_BYTES_MAX)
    const sum = addSums(
      sumBytes(view, headerAt, quoted),
      foldSum(((type << 8) | code) + (rest >>> 16) + (rest & 0xffff)),
    )
    if (this.reply(packet, type, code, rest, sum, headerAt - packet.bufferAt, quoted)) counters.errorsSent++
  }

  private echo(packet: ReceivedPacket): void {
    const { counters, pathMtus } = this.parts
    counters.echoRequests++
    const { view, at, length } = packet
    const code = icmpCode(view, at)
    // The reply's bytes but for the type and the checksum (RFC 4443 4.2).
    const own = subtractSums(packet.sum, addSums(icmpChecksum(view, at), (ICMPV6_ECHO << 8) | code))
    const sum = addSums(own, (ICMPV6_ECHO_REPLY << 8) | code)
    const data = at - packet.bufferAt + ICMP_HEADER_BYTES
    const { source0, source1, source2, source3 } = packet
    const mtu = pathMtus.lookup(source0, source1, source2, source3)
    if (packet.rest !== NO_META || length + IPV6_HEADER_BYTES > mtu) {
      if (this.echoFragmented(packet, mtu, (ICMPV6_ECHO_REPLY << 24) | (code << 16), sum)) counters.echoReplies++
      return
    }
    if (this.reply(packet, ICMPV6_ECHO_REPLY, code, icmpRest(view, at), sum, data, length - ICMP_HEADER_BYTES))
      counters.echoReplies++
  }

  /** The reply to a request that came in fragments, or is too long for the way back. @param sum of the reply but for its checksum */
  private echoFragmented(packet: ReceivedPacket, mtu: number, header0: number, sum: number): boolean {
    const { fragmentation, pool } = this.parts
    const { ends } = this
    if (!this.setEnds(packet)) return false
    const data = packet.at - packet.bufferAt + ICMP_HEADER_BYTES
    // The sum of the line is not asked for: the checksum is known.
    const chain = pool.createView(packet.buffer, data, packet.firstLength - ICMP_HEADER_BYTES, NO_FRAME << 16)
    if (chain === NO_META) return false
    pool.retainBuffer(packet.buffer)
    pool.setNext(chain, packet.rest)
    packet.rest = NO_META
    const { length } = packet
    const checksum = ~addSums(foldSum(ipv6AddressSum(ends) + length + PROTOCOL_ICMPV6), sum) & 0xffff
    const rest = icmpRest(packet.view, packet.at)
    const sent = fragmentation.send(ends, PROTOCOL_ICMPV6, header0 | checksum, rest, chain, length, mtu)
    pool.releaseChain(chain)
    return sent
  }

  /** Both ends of an answer. RFC 4443 2.2: from the address that was spoken to; if it was a group's, from one of ours. */
  private setEnds(packet: ReceivedPacket): boolean {
    const { ipv6 } = this.parts
    const { ends } = this
    // Who uses our address could not be told apart from us.
    if (ipv6.own.find(packet.source0, packet.source1, packet.source2, packet.source3) !== NO_ADDRESS) return false
    ends.setRemote(packet.source0, packet.source1, packet.source2, packet.source3)
    if (packet.isMulticast === 0) {
      ends.setLocal(packet.destination0, packet.destination1, packet.destination2, packet.destination3)
      return true
    }
    const index = ipv6.own.sourceFor(packet.source0)
    if (index === NO_ADDRESS) return false
    const { word0, word1, word2, word3 } = ipv6.own.addresses[index]!
    ends.setLocal(word0, word1, word2, word3)
    return true
  }

  /**
   * One message back to the sender: a header of ours, and a view of the arrival buffer.
   * @param sum Internet sum of the message with a checksum of 0
   */
  private reply(
    packet: ReceivedPacket,
    type: number,
    code: number,
    rest: number,
    sum: number,
    dataOffset: number,
    dataLength: number,
  ): boolean {
    const { ipv6, transmitter: tx, pool } = this.parts
    const { ends } = this
    if (!this.setEnds(packet)) return false
    const length = ICMP_HEADER_BYTES + dataLength
    const at = ipv6.begin(ends, PROTOCOL_ICMPV6, length)
    if (at < 0) return false
    const checksum = ~addSums(foldSum(ipv6AddressSum(ends) + length + PROTOCOL_ICMPV6), sum) & 0xffff
    writeIcmpHeader(tx.view, at, type, code, checksum, rest)
    tx.push(tx.buffer, tx.offset, IPV6_FRAME_HEADER_BYTES + ICMP_HEADER_BYTES, dataLength > 0)
    if (dataLength > 0) {
      pool.retainBuffer(packet.buffer)
      tx.releaseLater(packet.buffer)
      tx.push(packet.buffer, dataOffset, dataLength, false)
    }
    ipv6.end()
    return true
  }

  /** An error about a packet of ours: what it quotes says which. */
  private errorInput(packet: ReceivedPacket, type: number): void {
    const { counters, ipv6, transports } = this.parts
    const { view } = packet
    const header = packet.at + ICMP_HEADER_BYTES
    const end = packet.at + packet.length
    let at = header + IPV6_HEADER_BYTES
    if (at + QUOTED_TRANSPORT_BYTES > end) {
      counters.dropShort++
      return
    }
    let protocol = ipv6NextHeader(view, header)
    // Of a datagram in fragments the first one has the ports (RFC 8200 4.5); no other header stands in front of ours.
    if (
      protocol === NEXT_FRAGMENT &&
      fragmentOffset(view, at) === 0 &&
      at + FRAGMENT_HEADER_BYTES + QUOTED_TRANSPORT_BYTES <= end
    ) {
      protocol = view.getUint8(at)
      at += FRAGMENT_HEADER_BYTES
    }
    counters.errorsReceived++
    const q = this.quoted
    q.localAddress0 = ipv6SourceWord(view, header, 0)
    q.localAddress1 = ipv6SourceWord(view, header, 1)
    q.localAddress2 = ipv6SourceWord(view, header, 2)
    q.localAddress3 = ipv6SourceWord(view, header, 3)
    q.remoteAddress0 = ipv6DestinationWord(view, header, 0)
    q.remoteAddress1 = ipv6DestinationWord(view, header, 1)
    q.remoteAddress2 = ipv6DestinationWord(view, header, 2)
    q.remoteAddress3 = ipv6DestinationWord(view, header, 3)
    if (ipv6.own.find(q.localAddress0, q.localAddress1, q.localAddress2, q.localAddress3) === NO_ADDRESS) return
    const code = icmpCode(view, packet.at)
    const refused =
      (type === ICMPV6_UNREACHABLE && code === UNREACHABLE6_PORT) ||
      (type === ICMPV6_PARAMETER_PROBLEM && code === PROBLEM_NEXT_HEADER)
    const mtu = icmpRest(view, packet.at) >>> 0
    if (protocol === PROTOCOL_UDP) {
      q.localPort = udpSourcePort(view, at)
      q.remotePort = udpDestinationPort(view, at)
      if (type === ICMPV6_TOO_BIG) transports.udp.onTooBig(q, mtu)
      else transports.udp.onUnreachable(q, refused)
    } else if (protocol === PROTOCOL_TCP) {
      q.localPort = tcpSourcePort(view, at)
      q.remotePort = tcpDestinationPort(view, at)
      q.sequence = tcpSequence(view, at)
      if (type === ICMPV6_TOO_BIG) transports.tcp.onTooBig(q, mtu)
      else transports.tcp.onUnreachable(q, refused)
    }
  }
}

/** Whether a fragment is the first one of an ICMPv6 error: never answered by another (RFC 4443 2.4 (e.1)). */
function beginsError({ view, at }: ReceivedPacket): boolean {
  const header = at - FRAGMENT_HEADER_BYTES
  if (view.getUint8(header) !== PROTOCOL_ICMPV6 || fragmentOffset(view, header) !== 0) return false
  return icmpType(view, at) < ICMPV6_INFORMATIONAL
}
