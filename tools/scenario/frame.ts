/**
 * Takes a TCP segment apart: the fields that scripts, measurements and diagrams need, as an object. For the
 * instrument only; the stack has its own way (stack/tcp/segment.ts).
 *
 * Called by: flow.ts, observer in simulation.ts. Specifications: RFC 791, RFC 8200, RFC 9293 3.1, RFC 7323, RFC 2018.
 */

import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ethernetType } from '../../stack/wire/ethernet.ts'
import { ipv4HeaderLength, ipv4IsFragment, ipv4Protocol, ipv4TotalLength, PROTOCOL_TCP } from '../../stack/wire/ipv4.ts'
import { IPV6_HEADER_BYTES, ipv6Ecn, ipv6NextHeader, ipv6PayloadLength, setIpv6Ecn } from '../../stack/wire/ipv6.ts'
import { FLAG_SYN, TCP_HEADER_BYTES, tcpFlags, tcpHeaderLength, tcpSequence } from '../../stack/wire/tcp.ts'
import { foldSum } from '../../storage/checksum.ts'

const OPTION_END = 0
const OPTION_NOP = 1
const OPTION_SCALE = 3
const OPTION_SACK = 5
const IPV4_HEADER_BYTES = 20
const IPV4_CHECKSUM = 10
const TRAFFIC_CLASS = 1
const ECN_MASK = 3
const CONGESTION_EXPERIENCED = 3

export interface TcpFrame {
  readonly sourcePort: number
  readonly destinationPort: number
  /** Raw numbers, int32. */
  readonly sequence: number
  readonly acknowledgement: number
  readonly flags: number
  /** As it stands in the header, unscaled. */
  readonly window: number
  readonly payloadBytes: number
  /** Where the payload begins in the frame. */
  readonly payloadAt: number
  /** Left and right edges, raw. */
  readonly sack: readonly (readonly [number, number])[]
  /** Window scale option of a SYN; -1: none. */
  readonly scale: number
  readonly packetBytes: number
  /** RFC 3168 5: the two bits of the IP header. */
  readonly ecn: number
}

/** Where a TCP segment lies in a frame. */
interface Place {
  readonly tcp: number
  readonly end: number
  readonly ecn: number
}

function findInIpv4(view: DataView, ip: number): Place | undefined {
  if (view.byteLength < ip + IPV4_HEADER_BYTES) return undefined
  if (ipv4Protocol(view, ip) !== PROTOCOL_TCP || ipv4IsFragment(view, ip)) return undefined
  const ecn = view.getUint8(ip + TRAFFIC_CLASS) & ECN_MASK
  return { tcp: ip + ipv4HeaderLength(view, ip), end: ip + ipv4TotalLength(view, ip), ecn }
}

/** Nobody here sends TCP behind extension headers. */
function findInIpv6(view: DataView, ip: number): Place | undefined {
  if (view.byteLength < ip + IPV6_HEADER_BYTES || ipv6NextHeader(view, ip) !== PROTOCOL_TCP) return undefined
  const tcp = ip + IPV6_HEADER_BYTES
  return { tcp, end: tcp + ipv6PayloadLength(view, ip), ecn: ipv6Ecn(view, ip) }
}

/** Undefined if the frame holds no whole TCP segment. */
export function decodeFrame(frame: Uint8Array): TcpFrame | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  if (frame.length < ETHERNET_HEADER_BYTES) return undefined
  const ip = ETHERNET_HEADER_BYTES
  const type = ethernetType(view, 0)
  const found =
    type === ETHERTYPE_IPV4 ? findInIpv4(view, ip) : type === ETHERTYPE_IPV6 ? findInIpv6(view, ip) : undefined
  if (found === undefined) return undefined
  const { tcp, end, ecn } = found
  if (end > frame.length || tcp + TCP_HEADER_BYTES > end) return undefined
  const payloadAt = tcp + tcpHeaderLength(view, tcp)
  if (payloadAt > end) return undefined
  const options = decodeOptions(view, tcp + TCP_HEADER_BYTES, payloadAt)
  return {
    sourcePort: view.getUint16(tcp),
    destinationPort: view.getUint16(tcp + 2),
    sequence: tcpSequence(view, tcp),
    acknowledgement: view.getInt32(tcp + 8),
    flags: tcpFlags(view, tcp),
    window: view.getUint16(tcp + 14),
    payloadBytes: end - payloadAt,
    payloadAt,
    sack: options.sack,
    scale: (tcpFlags(view, tcp) & FLAG_SYN) === 0 ? -1 : options.scale,
    packetBytes: end - ip,
    ecn,
  }
}

function decodeOptions(view: DataView, from: number, end: number): { sack: [number, number][]; scale: number } {
  const sack: [number, number][] = []
  let scale = -1
  for (let at = from; at < end; ) {
    const kind = view.getUint8(at)
    if (kind === OPTION_END) break
    if (kind === OPTION_NOP) {
      at++
      continue
    }
    const length = at + 1 < end ? view.getUint8(at + 1) : 0
    if (length < 2 || at + length > end) break
    if (kind === OPTION_SCALE && length === 3) scale = view.getUint8(at + 2)
    if (kind === OPTION_SACK)
      for (let edge = at + 2; edge + 8 <= at + length; edge += 8)
        sack.push([view.getInt32(edge), view.getInt32(edge + 4)])
    at += length
  }
  return { sack, scale }
}

/** Flips a bit in the middle of the payload, or of the acknowledgement number where there is none. */
export function corrupt(frame: Uint8Array, { payloadAt, payloadBytes }: TcpFrame): void {
  const at = payloadBytes > 0 ? payloadAt + (payloadBytes >>> 1) : payloadAt - 12
  frame[at]! ^= 0x10
}

/** Says that the link was congested (RFC 3168 5), if the packet is ECN-capable. @returns whether it was */
export function markCongestion(frame: Uint8Array, { ecn }: TcpFrame): boolean {
  if (ecn === 0) return false
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const ip = ETHERNET_HEADER_BYTES
  if (ethernetType(view, 0) === ETHERTYPE_IPV6) {
    setIpv6Ecn(view, ip, CONGESTION_EXPERIENCED)
    return true
  }
  const before = view.getUint16(ip)
  frame[ip + TRAFFIC_CLASS]! |= CONGESTION_EXPERIENCED
  // RFC 1624 3: HC' = ~(~HC + ~m + m')
  const sum = (~view.getUint16(ip + IPV4_CHECKSUM) & 0xffff) + (~before & 0xffff) + view.getUint16(ip)
  view.setUint16(ip + IPV4_CHECKSUM, ~foldSum(sum) & 0xffff)
  return true
}
