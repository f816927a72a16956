/**
 * Frames between bytes and what a script says of them.
 *
 *   inbound    spec ─► tcpSegment | udpDatagram | icmpError ─► peerFrame (internet.ts) ─► device
 *   outbound   device ─► decodeFrame ─► LivePacket
 *
 * Payload bytes are zero, as packetdrill's are. Called by: device.ts, peer.ts. Calls: internet.ts.
 */
import { sumBytes } from '../../storage/checksum.ts'
import type { IpEnds } from './addresses.ts'
import { readIp, transportSum } from './internet.ts'
import type { TcpOptionSpec } from './script.ts'
import { decodeOptions, encodeOptions } from './tcp-option-bytes.ts'

export const TCP_BYTES = 20
const UDP_BYTES = 8
const ICMP_BYTES = 8
export const PROTOCOL_ICMP = 1
export const PROTOCOL_TCP = 6
export const PROTOCOL_UDP = 17
export const PROTOCOL_ICMPV6 = 58
const FLAG_ACE_HIGH = 256

/** The fields of a TCP header in live numbers, and how much payload follows. */
export interface LiveTcp {
  sourcePort: number
  destinationPort: number
  /** As in script.ts. */
  flags: number
  sequence: number
  acknowledgement: number
  window: number
  urgent: number
  options: readonly TcpOptionSpec[]
  length: number
}

export interface LivePacket {
  readonly atUs: number
  readonly tos: number
  readonly ttl: number
  readonly protocol: number
  /** Only of TCP. */
  readonly tcp: LiveTcp | undefined
  /** Of UDP: payload bytes and ports. */
  readonly udp: { readonly length: number; readonly sourcePort: number; readonly destinationPort: number } | undefined
}

/* --- towards the stack --- */

export function tcpSegment(ends: IpEnds, tcp: LiveTcp): Uint8Array {
  const options = encodeOptions(tcp.options)
  const bytes = new Uint8Array(TCP_BYTES + options.length + tcp.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, tcp.sourcePort)
  view.setUint16(2, tcp.destinationPort)
  view.setUint32(4, tcp.sequence)
  view.setUint32(8, tcp.acknowledgement)
  const high = (tcp.flags & FLAG_ACE_HIGH) !== 0 ? 1 : 0
  view.setUint16(12, ((TCP_BYTES + options.length) << 10) | (high << 8) | (tcp.flags & 255))
  view.setUint16(14, tcp.window)
  view.setUint16(18, tcp.urgent)
  bytes.set(options, TCP_BYTES)
  view.setUint16(16, ~transportSum(ends, PROTOCOL_TCP, view) & 0xffff)
  return bytes
}

export function udpDatagram(ends: IpEnds, sourcePort: number, destinationPort: number, length: number): Uint8Array {
  const bytes = new Uint8Array(UDP_BYTES + length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, sourcePort)
  view.setUint16(2, destinationPort)
  view.setUint16(4, bytes.length)
  view.setUint16(6, ~transportSum(ends, PROTOCOL_UDP, view) & 0xffff || 0xffff)
  return bytes
}

/** An error about a packet of the stack's, which it quotes (RFC 792, RFC 4443 3). */
export function icmpError(ends: IpEnds, type: number, code: number, mtu: number, quoted: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(ICMP_BYTES + quoted.length)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, type)
  view.setUint8(1, code)
  view.setUint32(4, mtu)
  bytes.set(quoted, ICMP_BYTES)
  const sum = ends.version === 6 ? transportSum(ends, PROTOCOL_ICMPV6, view) : sumBytes(view, 0, bytes.length)
  view.setUint16(2, ~sum & 0xffff)
  return bytes
}

/* --- from the stack --- */

/** A packet of the stack; undefined for what no script can expect (ARP, Neighbor Discovery, answers to pings). Throws if a checksum is wrong. */
export function decodeFrame(frame: Uint8Array, atUs: number): LivePacket | undefined {
  const ip = readIp(frame)
  if (ip === undefined || ip.protocol === PROTOCOL_ICMPV6 || ip.protocol === PROTOCOL_ICMP) return undefined
  const { protocol, body, tos, ttl } = ip
  if (transportSum(ip.ends, protocol, body) !== 0xffff) throw new Error('the stack sent a wrong transport checksum')
  return {
    atUs,
    tos,
    ttl,
    protocol,
    tcp: protocol === PROTOCOL_TCP ? decodeTcp(body) : undefined,
    udp:
      protocol === PROTOCOL_UDP
        ? { length: body.byteLength - UDP_BYTES, sourcePort: body.getUint16(0), destinationPort: body.getUint16(2) }
        : undefined,
  }
}

function decodeTcp(view: DataView): LiveTcp {
  const headerBytes = (view.getUint8(12) >>> 4) << 2
  return {
    sourcePort: view.getUint16(0),
    destinationPort: view.getUint16(2),
    flags: view.getUint16(12) & 0x1ff,
    sequence: view.getUint32(4),
    acknowledgement: view.getUint32(8),
    window: view.getUint16(14),
    urgent: view.getUint16(18),
    options: decodeOptions(view, TCP_BYTES, headerBytes),
    length: view.byteLength - headerBytes,
  }
}
