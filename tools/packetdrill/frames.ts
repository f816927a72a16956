/**
 * Frames between bytes and what a script says of them.
 *
 *   inbound    spec ─► tcpSegment | udpDatagram | icmpError ─► ipv4Frame ─► device
 *   outbound   device ─► decodeFrame ─► LivePacket
 *
 * Payload bytes are zero, as packetdrill's are. Called by: device.ts, peer.ts.
 */
import { foldSum, sumBytes } from '../../storage/checksum.ts'
import { GATEWAY_MAC, LOCAL_ADDRESS, LOCAL_MAC, REMOTE_ADDRESS } from './addresses.ts'
import type { TcpOptionSpec } from './script.ts'
import { decodeOptions, encodeOptions } from './tcp-option-bytes.ts'

const ETHERNET_BYTES = 14
const IPV4_BYTES = 20
export const TCP_BYTES = 20
const UDP_BYTES = 8
const ICMP_BYTES = 8
export const PROTOCOL_ICMP = 1
export const PROTOCOL_TCP = 6
export const PROTOCOL_UDP = 17
const DONT_FRAGMENT = 0x4000
const TTL = 255 // packetdrill's own packets
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

export function tcpSegment(tcp: LiveTcp): Uint8Array {
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
  view.setUint16(16, ~transportSum(view, PROTOCOL_TCP) & 0xffff)
  return bytes
}

export function udpDatagram(sourcePort: number, destinationPort: number, length: number): Uint8Array {
  const bytes = new Uint8Array(UDP_BYTES + length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, sourcePort)
  view.setUint16(2, destinationPort)
  view.setUint16(4, bytes.length)
  view.setUint16(6, ~transportSum(view, PROTOCOL_UDP) & 0xffff || 0xffff)
  return bytes
}

/** An error about a packet of ours, which it quotes: IP header and the first 8 bytes behind it (RFC 792). */
export function icmpError(type: number, code: number, mtu: number, quoted: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(ICMP_BYTES + quoted.length)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, type)
  view.setUint8(1, code)
  view.setUint16(6, mtu)
  bytes.set(quoted, ICMP_BYTES)
  view.setUint16(2, ~sumBytes(view, 0, bytes.length) & 0xffff)
  return bytes
}

/** What an error quotes of a packet of ours that carries `length` bytes: `ports` and `sequence` are its first 8 bytes. */
export function quotePacket(protocol: number, length: number, transport: Uint8Array): Uint8Array {
  const quoted = new Uint8Array(IPV4_BYTES + 8)
  writeIpv4(new DataView(quoted.buffer), 0, LOCAL_ADDRESS, REMOTE_ADDRESS, protocol, length, 0, TTL)
  quoted.set(transport.subarray(0, 8), IPV4_BYTES)
  return quoted
}

/** A frame from the peer, through the gateway. */
export function ipv4Frame(protocol: number, payload: Uint8Array, tos: number, ttl: number): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES + IPV4_BYTES + payload.length)
  const view = new DataView(frame.buffer)
  frame.set(LOCAL_MAC, 0)
  frame.set(GATEWAY_MAC, 6)
  view.setUint16(12, 0x0800)
  writeIpv4(view, ETHERNET_BYTES, REMOTE_ADDRESS, LOCAL_ADDRESS, protocol, payload.length, tos, ttl < 0 ? TTL : ttl)
  frame.set(payload, ETHERNET_BYTES + IPV4_BYTES)
  return frame
}

function writeIpv4(
  view: DataView,
  at: number,
  source: number,
  destination: number,
  protocol: number,
  length: number,
  tos: number,
  ttl: number,
): void {
  view.setUint16(at, 0x4500 | tos)
  view.setUint16(at + 2, IPV4_BYTES + length)
  view.setUint16(at + 6, DONT_FRAGMENT)
  view.setUint16(at + 8, (ttl << 8) | protocol)
  view.setUint32(at + 12, source)
  view.setUint32(at + 16, destination)
  view.setUint16(at + 10, ~sumBytes(view, at, IPV4_BYTES) & 0xffff)
}

function transportSum(view: DataView, protocol: number): number {
  const pseudo = (LOCAL_ADDRESS >>> 16) + (LOCAL_ADDRESS & 0xffff) + (REMOTE_ADDRESS >>> 16) + (REMOTE_ADDRESS & 0xffff)
  return foldSum(pseudo + protocol + view.byteLength + sumBytes(view, 0, view.byteLength))
}

/** The answer to an ARP request, for whatever address it asks; undefined if the frame is no request. */
export function arpReply(frame: Uint8Array): Uint8Array | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  if (view.getUint16(12) !== 0x0806 || view.getUint16(20) !== 1) return undefined
  const asker = frame.subarray(28, 32)
  const asked = frame.subarray(38, 42)
  if (Buffer.compare(asker, asked) === 0) return undefined // an announcement
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

/* --- from the stack --- */

/** A packet of the stack; undefined for what no script speaks of (ARP). Throws if a checksum is wrong. */
export function decodeFrame(frame: Uint8Array, atUs: number): LivePacket | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  if (view.getUint16(12) !== 0x0800) return undefined
  if (sumBytes(view, ETHERNET_BYTES, IPV4_BYTES) !== 0xffff) throw new Error('the stack sent a wrong IP checksum')
  const protocol = view.getUint8(ETHERNET_BYTES + 9)
  const length = view.getUint16(ETHERNET_BYTES + 2) - IPV4_BYTES
  const at = ETHERNET_BYTES + IPV4_BYTES
  const body = new DataView(frame.buffer, frame.byteOffset + at, length)
  if (protocol !== PROTOCOL_ICMP && transportSum(body, protocol) !== 0xffff)
    throw new Error('the stack sent a wrong transport checksum')
  return {
    atUs,
    tos: view.getUint8(ETHERNET_BYTES + 1),
    ttl: view.getUint8(ETHERNET_BYTES + 8),
    protocol,
    tcp: protocol === PROTOCOL_TCP ? decodeTcp(body) : undefined,
    udp:
      protocol === PROTOCOL_UDP
        ? { length: length - UDP_BYTES, sourcePort: body.getUint16(0), destinationPort: body.getUint16(2) }
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
