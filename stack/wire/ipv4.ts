/**
 * IPv4 header (RFC 791 3.1).
 *
 *   0      2        4    6            8    9     10    12       16            20
 *   |v|h|ds| length | id | flags+frag | ttl| prot| sum | source | destination | options …
 */
import { foldSum, sumBytes } from '../../storage/checksum.ts'
import { IPV4_TTL } from '../limits.ts'

export const IPV4_HEADER_BYTES = 20
const SERVICE = 1
const LENGTH = 2
const IDENTIFICATION = 4
const FRAGMENT = 6
const PROTOCOL = 9
const CHECKSUM = 10
const SOURCE = 12
const DESTINATION = 16

export const PROTOCOL_ICMP = 1
export const PROTOCOL_TCP = 6
export const PROTOCOL_UDP = 17

/** More-fragments bit and fragment offset: anything here makes the packet a fragment. */
const FRAGMENT_MASK = 0x3fff
const OFFSET_MASK = 0x1fff
/** The offset counts units of 8 bytes. */
const OFFSET_SHIFT = 3
const MORE_FRAGMENTS = 0x2000
/** Largest packet, header included: what its length field can say. */
export const IPV4_PACKET_BYTES_MAX = 65_535
/** Version 4, five words of header, no differentiated services. */
const FIRST_WORD = 0x4500
const DONT_FRAGMENT = 0x4000

export function ipv4Version(view: DataView, at: number): number {
  return view.getUint8(at) >>> 4
}

export function ipv4HeaderLength(view: DataView, at: number): number {
  return (view.getUint8(at) & 15) << 2
}

export function ipv4TotalLength(view: DataView, at: number): number {
  return view.getUint16(at + LENGTH)
}

/** The two ECN bits (RFC 3168 5). */
export function ipv4Ecn(view: DataView, at: number): number {
  return view.getUint8(at + SERVICE) & 3
}

/** Sets ECN bits in a header that was written without any, and corrects its checksum (RFC 1624). */
export function setIpv4Ecn(view: DataView, at: number, ecn: number): void {
  view.setUint8(at + SERVICE, view.getUint8(at + SERVICE) | ecn)
  const sum = (~view.getUint16(at + CHECKSUM) & 0xffff) + ecn
  view.setUint16(at + CHECKSUM, ~foldSum(sum) & 0xffff)
}

export function ipv4IsFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & FRAGMENT_MASK) !== 0
}

export function ipv4MoreFragments(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & MORE_FRAGMENTS) !== 0
}

/** Where the payload belongs in the datagram, bytes. */
export function ipv4FragmentOffset(view: DataView, at: number): number {
  return (view.getUint16(at + FRAGMENT) & OFFSET_MASK) << OFFSET_SHIFT
}

export function ipv4Identification(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFICATION)
}

export function ipv4Protocol(view: DataView, at: number): number {
  return view.getUint8(at + PROTOCOL)
}

export function ipv4Source(view: DataView, at: number): number {
  return view.getInt32(at + SOURCE)
}

export function ipv4Destination(view: DataView, at: number): number {
  return view.getInt32(at + DESTINATION)
}

/** A right header sums to one's-complement zero. */
export function ipv4HeaderSumIsRight(view: DataView, at: number, headerLength: number): boolean {
  return sumBytes(view, at, headerLength) === 0xffff
}

/** What source, destination and protocol add to a segment's sum (RFC 9293 3.1); the length is added by the caller. */
export function ipv4PseudoSum(source: number, destination: number, protocol: number): number {
  return (
    (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol // < 2^19
  )
}

/**
 * Second word of the header of a packet that is whole and stays so. The identification of an atomic datagram means
 * nothing (RFC 6864 4.1), so it is 0.
 */
export const IPV4_ATOMIC = DONT_FRAGMENT

/** Second word of the header of a fragment. @param offset bytes, a multiple of 8 */
export function ipv4FragmentWord(identification: number, offset: number, more: boolean): number {
  return (identification << 16) | (more ? MORE_FRAGMENTS : 0) | (offset >>> OFFSET_SHIFT)
}

/**
 * Writes a header without options.
 * @param totalLength header and payload, bytes
 * @param fragmentWord IPV4_ATOMIC, or that of a fragment
 */
export function writeIpv4Header(
  view: DataView,
  at: number,
  totalLength: number,
  fragmentWord: number,
  protocol: number,
  source: number,
  destination: number,
): void {
  view.setInt32(at, (FIRST_WORD << 16) | totalLength)
  view.setInt32(at + IDENTIFICATION, fragmentWord)
  view.setUint16(at + 8, (IPV4_TTL << 8) | protocol)
  const sum =
    FIRST_WORD +
    totalLength +
    (fragmentWord >>> 16) +
    (fragmentWord & 0xffff) +
    (IPV4_TTL << 8) +
    ipv4PseudoSum(source, destination, protocol)
  view.setUint16(at + CHECKSUM, ~foldSum(sum) & 0xffff)
  view.setInt32(at + SOURCE, source)
  view.setInt32(at + DESTINATION, destination)
}
