/**
 * IP of both versions under a script: headers around what the peer sends, and reading those of the stack.
 * What the stack asks its link (ARP, Neighbor Discovery) the gateway answers, for every address.
 *
 * Called by: frames.ts, device.ts, peer.ts.
 */
import { foldSum, sumBytes } from '../../storage/checksum.ts'
import type { IpEnds, IpVersion } from './addresses.ts'

export const LOCAL_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1)
const GATEWAY_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2)

export const IP_HEADER_BYTES = { 4: 20, 6: 40 } as const
const ETHERNET_BYTES = 14
const ETHERTYPES = { 4: 0x0800, 6: 0x86dd } as const
const ETHERTYPE_ARP = 0x0806
const DONT_FRAGMENT = 0x4000
const TTL = 255 // packetdrill's own packets
const PROTOCOL_ICMPV6 = 58
const NEIGHBOUR_SOLICITATION = 135
const NEIGHBOUR_ADVERTISEMENT = 136
const SOLICITED_OVERRIDE = 0x60000000 // RFC 4861 4.4
const TARGET_LINK_ADDRESS = 0x0201 // RFC 4861 4.6.1: type 2, 8 bytes

/** Sum of the pseudo-header and the segment, folded: 0xffff if the segment's checksum is right (RFC 9293 3.1, RFC 8200 8.1). */
export function transportSum(ends: IpEnds, protocol: number, segment: DataView): number {
  const bytes = Uint8Array.of(...ends.local, ...ends.remote)
  const addresses = sumBytes(new DataView(bytes.buffer), 0, bytes.length)
  return foldSum(addresses + protocol + segment.byteLength + sumBytes(segment, 0, segment.byteLength))
}

/** A packet of the peer's as a frame, through the gateway. @param ttl -1: packetdrill's own */
export function peerFrame(ends: IpEnds, protocol: number, payload: Uint8Array, tos: number, ttl: number): Uint8Array {
  const { version } = ends
  const frame = new Uint8Array(ETHERNET_BYTES + IP_HEADER_BYTES[version] + payload.length)
  const view = new DataView(frame.buffer)
  frame.set(LOCAL_MAC, 0)
  frame.set(GATEWAY_MAC, 6)
  view.setUint16(12, ETHERTYPES[version])
  const hops = ttl < 0 ? TTL : ttl
  writeIp(version, frame, ETHERNET_BYTES, ends.remote, ends.local, protocol, payload.length, tos, hops)
  frame.set(payload, ETHERNET_BYTES + IP_HEADER_BYTES[version])
  return frame
}

/** What an error quotes of a packet of the stack's: IP header and the first 8 bytes behind it. @param length bytes behind the header */
export function quotePacket(ends: IpEnds, protocol: number, length: number, transport: Uint8Array): Uint8Array {
  const { version } = ends
  const header = IP_HEADER_BYTES[version]
  const quoted = new Uint8Array(header + 8)
  writeIp(version, quoted, 0, ends.local, ends.remote, protocol, length, 0, TTL)
  quoted.set(transport.subarray(0, 8), header)
  return quoted
}

function writeIp(
  version: IpVersion,
  bytes: Uint8Array,
  at: number,
  source: readonly number[],
  destination: readonly number[],
  protocol: number,
  length: number,
  tos: number,
  ttl: number,
): void {
  const view = new DataView(bytes.buffer, at)
  if (version === 6) {
    view.setUint32(0, 0x60000000 | (tos << 20))
    view.setUint16(4, length)
    view.setUint16(6, (protocol << 8) | ttl)
    bytes.set(source, at + 8)
    bytes.set(destination, at + 24)
    return
  }
  view.setUint16(0, 0x4500 | tos)
  view.setUint16(2, IP_HEADER_BYTES[4] + length)
  view.setUint16(6, DONT_FRAGMENT)
  view.setUint16(8, (ttl << 8) | protocol)
  bytes.set(source, at + 12)
  bytes.set(destination, at + 16)
  view.setUint16(10, ~sumBytes(view, 0, IP_HEADER_BYTES[4]) & 0xffff)
}

/** An IP packet of the stack's. */
export interface IpPacket {
  /** It came from the local one. */
  readonly ends: IpEnds
  readonly tos: number
  readonly ttl: number
  readonly protocol: number
  /** What is behind the header. */
  readonly body: DataView
}

/** The packet in a frame; undefined if it is not IP. Throws if the header's checksum is wrong. */
export function readIp(frame: Uint8Array): IpPacket | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  const type = view.getUint16(12)
  const at = frame.byteOffset + ETHERNET_BYTES
  const ip = new DataView(frame.buffer, at, frame.length - ETHERNET_BYTES)
  if (type === ETHERTYPES[6]) {
    const body = new DataView(frame.buffer, at + IP_HEADER_BYTES[6], ip.getUint16(4))
    const ends: IpEnds = { version: 6, local: bytesOf(ip, 8, 16), remote: bytesOf(ip, 24, 16) }
    return { ends, tos: (ip.getUint16(0) >> 4) & 255, ttl: ip.getUint8(7), protocol: ip.getUint8(6), body }
  }
  if (type !== ETHERTYPES[4]) return undefined
  if (sumBytes(ip, 0, IP_HEADER_BYTES[4]) !== 0xffff) throw new Error('the stack sent a wrong IP checksum')
  const body = new DataView(frame.buffer, at + IP_HEADER_BYTES[4], ip.getUint16(2) - IP_HEADER_BYTES[4])
  const ends: IpEnds = { version: 4, local: bytesOf(ip, 12, 4), remote: bytesOf(ip, 16, 4) }
  return { ends, tos: ip.getUint8(1), ttl: ip.getUint8(8), protocol: ip.getUint8(9), body }
}

function bytesOf(view: DataView, at: number, length: number): readonly number[] {
  return [...new Uint8Array(view.buffer, view.byteOffset + at, length)]
}

/** The gateway's answer to a question about an address; undefined if the frame is none. */
export function answerQuestion(frame: Uint8Array): Uint8Array | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  if (view.getUint16(12) === ETHERTYPE_ARP) return answerArp(frame, view)
  const isIcmp6 = view.getUint16(12) === ETHERTYPES[6] && view.getUint8(20) === PROTOCOL_ICMPV6
  return isIcmp6 && view.getUint8(54) === NEIGHBOUR_SOLICITATION ? answerSolicitation(frame) : undefined
}

/** RFC 826. */
function answerArp(frame: Uint8Array, view: DataView): Uint8Array | undefined {
  const asker = frame.subarray(28, 32)
  const asked = frame.subarray(38, 42)
  if (view.getUint16(20) !== 1 || Buffer.compare(asker, asked) === 0) return undefined // an answer, or an announcement
  const reply = new Uint8Array(42)
  reply.set(frame.subarray(6, 12), 0)
  reply.set(GATEWAY_MAC, 6)
  reply.set(frame.subarray(12, 20), 12)
  reply[21] = 2
  reply.set(GATEWAY_MAC, 22)
  reply.set(asked, 28)
  reply.set(frame.subarray(22, 28), 32)
  reply.set(asker, 38)
  return reply
}

/** RFC 4861 7.2.4. */
function answerSolicitation(frame: Uint8Array): Uint8Array {
  const target = [...frame.subarray(62, 78)]
  const asker = [...frame.subarray(22, 38)]
  const reply = new Uint8Array(ETHERNET_BYTES + IP_HEADER_BYTES[6] + 32)
  const view = new DataView(reply.buffer)
  reply.set(frame.subarray(6, 12), 0)
  reply.set(GATEWAY_MAC, 6)
  view.setUint16(12, ETHERTYPES[6])
  writeIp(6, reply, ETHERNET_BYTES, target, asker, PROTOCOL_ICMPV6, 32, 0, TTL)
  const at = ETHERNET_BYTES + IP_HEADER_BYTES[6]
  view.setUint8(at, NEIGHBOUR_ADVERTISEMENT)
  view.setUint32(at + 4, SOLICITED_OVERRIDE)
  reply.set(target, at + 8)
  view.setUint16(at + 24, TARGET_LINK_ADDRESS)
  reply.set(GATEWAY_MAC, at + 26)
  const sum = foldSum(PROTOCOL_ICMPV6 + 32 + sumBytes(view, ETHERNET_BYTES + 8, 32) + sumBytes(view, at, 32))
  view.setUint16(at + 2, ~sum & 0xffff)
  return reply
}
