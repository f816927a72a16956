/**
 * ICMP (RFC 792, RFC 1122 3.2.2): answers echo requests, reports unreachable protocols and ports at a limited rate, and
 * hands errors about our own segments and datagrams to TCP and UDP.
 *
 * The echo reply is the request's own bytes: a new header in a slot, the data as a view of the arrival buffer, and a
 * checksum that follows from the request's by the one word that changed (RFC 1624).
 *
 * Called by: Host. Calls: ipv4.ts, transmitter.ts, and the transports through TransportErrors and DatagramErrors.
 */
import { addSums, foldSum, subtractSums, sumBytes } from '../storage/checksum.ts'
import { NO_FRAME, NO_META } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import { Ends, MAPPED_WORD_2 } from './address.ts'
import type { IcmpCounters } from './counters.ts'
import type { Fragmentation } from './fragmentation.ts'
import type { ReassemblyErrors } from './fragments.ts'
import type { IcmpLimits } from './icmp-limits.ts'
import { IPV4_FRAME_HEADER_BYTES, type Ipv4 } from './ipv4.ts'
import type { ReceivedPacket } from './packet.ts'
import type { PathMtus } from './path-mtu.ts'
import type { Transmitter } from './transmitter.ts'
import { type DatagramErrors, QuotedPacket, type TransportErrors } from './transport-errors.ts'
import {
  ICMP_ECHO,
  ICMP_ECHO_REPLY,
  ICMP_HEADER_BYTES,
  ICMP_REDIRECT,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  icmpChecksum,
  icmpCode,
  icmpIsError,
  icmpMtu,
  icmpRest,
  icmpType,
  TIME_EXCEEDED_REASSEMBLY,
  UNREACHABLE_FRAGMENTATION_NEEDED,
  UNREACHABLE_PORT,
  UNREACHABLE_PROTOCOL,
  writeIcmpHeader,
} from './wire/icmp.ts'
import {
  IPV4_HEADER_BYTES,
  ipv4Destination,
  ipv4HeaderLength,
  ipv4Protocol,
  ipv4Source,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from './wire/ipv4.ts'
import { tcpDestinationPort, tcpSequence, tcpSourcePort } from './wire/tcp.ts'
import { udpDestinationPort, udpSourcePort } from './wire/udp.ts'

/** Of the offending packet an error quotes the header and 8 bytes at least (RFC 792). */
const QUOTED_TRANSPORT_BYTES = 8

export class Icmp implements ReassemblyErrors {
  private readonly pool: Pool
  private readonly ipv4: Ipv4
  private readonly fragmentation: Fragmentation
  private readonly pathMtus: PathMtus
  private readonly limits: IcmpLimits
  private readonly transmitter: Transmitter
  private readonly transport: TransportErrors
  private readonly datagrams: DatagramErrors
  private readonly counters: IcmpCounters
  private readonly quoted = new QuotedPacket()
  /** Addresses of the datagram that is being sent. */
  private readonly ends = new Ends()

  constructor(
    pool: Pool,
    ipv4: Ipv4,
    fragmentation: Fragmentation,
    pathMtus: PathMtus,
    limits: IcmpLimits,
    transmitter: Transmitter,
    transport: TransportErrors,
    datagrams: DatagramErrors,
    counters: IcmpCounters,
  ) {
    this.pool = pool
    this.ipv4 = ipv4
    this.fragmentation = fragmentation
    this.pathMtus = pathMtus
    this.limits = limits
    this.transmitter = transmitter
    this.transport = transport
    this.datagrams = datagrams
    this.counters = counters
    this.quoted.localAddress2 = MAPPED_WORD_2
    this.quoted.remoteAddress2 = MAPPED_WORD_2
  }

  input(packet: ReceivedPacket): void {
    const counters = this.counters
    counters.received++
    if (packet.length < ICMP_HEADER_BYTES) {
      counters.dropShort++
      return
    }
    if (packet.sum !== 0xffff) {
      counters.dropChecksum++
      return
    }
    const type = icmpType(packet.view, packet.at)
    if (type === ICMP_ECHO) this.echo(packet)
    else if (type === ICMP_UNREACHABLE) this.unreachable(packet)
    else if (type === ICMP_REDIRECT) counters.ignoredRedirect++
    else counters.dropType++
  }

  /** Answers `packet` with destination unreachable, unless too many were sent this second (RFC 1812 4.3.2.8). */
  sendUnreachable(packet: ReceivedPacket, code: number): void {
    this.sendError(packet, ICMP_UNREACHABLE, code)
  }

  onReassemblyTimeout(packet: ReceivedPacket): void {
    // RFC 1122 3.2.2: no error about an error.
    if (packet.protocol === PROTOCOL_ICMP && icmpIsError(packet.view, packet.at)) return
    this.sendError(packet, ICMP_TIME_EXCEEDED, TIME_EXCEEDED_REASSEMBLY)
  }

  private sendError(packet: ReceivedPacket, type: number, code: number): void {
    const { source0, source1, source2, source3 } = packet
    if (!this.limits.take(source0, source1, source2, source3)) {
      this.counters.dropRate++
      return
    }
    const quoted = packet.headerLength + Math.min(packet.firstLength, QUOTED_TRANSPORT_BYTES)
    const at = this.ipv4.begin(packet.source3, PROTOCOL_ICMP, ICMP_HEADER_BYTES + quoted)
    if (at < 0) return
    const sum = addSums(foldSum((type << 8) | code), sumBytes(packet.view, packet.headerAt, quoted))
    this.reply(packet, at, type, code, ~sum & 0xffff, 0, packet.headerAt - packet.bufferAt, quoted)
    this.counters.errorsSent++
  }

  private echo(packet: ReceivedPacket): void {
    this.counters.echoRequests++
    const dataLength = packet.length - ICMP_HEADER_BYTES
    const rest = icmpRest(packet.view, packet.at)
    const old = icmpChecksum(packet.view, packet.at)
    const code = icmpCode(packet.view, packet.at)
    // RFC 1624 eqn. 3: only the type changes, from 8 to 0. It says 0 for a reply whose bytes are all 0, where only 0xffff is
    // right; where both are, 0xffff says the same.
    const checksum = ~subtractSums(~old & 0xffff, ICMP_ECHO << 8) & 0xffff || 0xffff
    const { source0, source1, source2, source3 } = packet
    const mtu = this.pathMtus.lookup(source0, source1, source2, source3)
    if (packet.rest !== NO_META || packet.length + IPV4_HEADER_BYTES > mtu) {
      if (this.echoFragmented(packet, mtu, (ICMP_ECHO_REPLY << 24) | (code << 16) | checksum, rest))
        this.counters.echoReplies++
      return
    }
    const at = this.ipv4.begin(source3, PROTOCOL_ICMP, packet.length)
    if (at < 0) return
    const data = packet.at - packet.bufferAt + ICMP_HEADER_BYTES
    this.reply(packet, at, ICMP_ECHO_REPLY, code, checksum, rest, data, dataLength)
    this.counters.echoReplies++
  }

  /** The reply to a request that came in fragments, or is too long for the way back. */
  private echoFragmented(packet: ReceivedPacket, mtu: number, header0: number, header1: number): boolean {
    const { pool } = this
    const data = packet.at - packet.bufferAt + ICMP_HEADER_BYTES
    // The sum of the line is not asked for: the checksum is known.
    const chain = pool.createView(packet.buffer, data, packet.firstLength - ICMP_HEADER_BYTES, NO_FRAME << 16)
    if (chain === NO_META) return false
    pool.retainBuffer(packet.buffer)
    pool.setNext(chain, packet.rest)
    packet.rest = NO_META
    const { ends } = this
    ends.setRemote(packet.source0, packet.source1, packet.source2, packet.source3)
    const { length } = packet
    const sent = this.fragmentation.send(ends, PROTOCOL_ICMP, header0, header1, chain, length, mtu)
    pool.releaseChain(chain)
    return sent
  }

  /** Completes the frame: the ICMP header, and a view of the arrival buffer. */
  private reply(
    packet: ReceivedPacket,
    at: number,
    type: number,
    code: number,
    checksum: number,
    rest: number,
    dataOffset: number,
    dataLength: number,
  ): void {
    const tx = this.transmitter
    writeIcmpHeader(tx.view, at, type, code, checksum, rest)
    tx.push(tx.buffer, tx.offset, IPV4_FRAME_HEADER_BYTES + ICMP_HEADER_BYTES, dataLength > 0)
    if (dataLength > 0) {
      this.pool.retainBuffer(packet.buffer)
      tx.releaseLater(packet.buffer)
      tx.push(packet.buffer, dataOffset, dataLength, false)
    }
    this.ipv4.end()
  }

  private unreachable(packet: ReceivedPacket): void {
    const view = packet.view
    const quoted = packet.at + ICMP_HEADER_BYTES
    const left = packet.firstLength - ICMP_HEADER_BYTES
    if (left < IPV4_HEADER_BYTES) {
      this.counters.dropShort++
      return
    }
    const headerLength = ipv4HeaderLength(view, quoted)
    if (headerLength < IPV4_HEADER_BYTES || left < headerLength + QUOTED_TRANSPORT_BYTES) {
      this.counters.dropShort++
      return
    }
    this.counters.errorsReceived++
    if (ipv4Source(view, quoted) !== this.ipv4.address) return
    const protocol = ipv4Protocol(view, quoted)
    if (protocol !== PROTOCOL_UDP && protocol !== PROTOCOL_TCP) return
    const transport = quoted + headerLength
    const q = this.quoted
    q.localAddress3 = this.ipv4.address
    q.remoteAddress3 = ipv4Destination(view, quoted)
    const code = icmpCode(view, packet.at)
    const refused = code === UNREACHABLE_PORT || code === UNREACHABLE_PROTOCOL
    if (protocol === PROTOCOL_UDP) {
      q.localPort = udpSourcePort(view, transport)
      q.remotePort = udpDestinationPort(view, transport)
      if (code === UNREACHABLE_FRAGMENTATION_NEEDED) this.datagrams.onTooBig(q, icmpMtu(view, packet.at))
      else this.datagrams.onUnreachable(q, refused)
      return
    }
    q.localPort = tcpSourcePort(view, transport)
    q.remotePort = tcpDestinationPort(view, transport)
    q.sequence = tcpSequence(view, transport)
    if (code === UNREACHABLE_FRAGMENTATION_NEEDED) this.transport.onTooBig(q, icmpMtu(view, packet.at))
    else this.transport.onUnreachable(q, refused)
  }
}
