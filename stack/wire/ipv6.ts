/**
 * IPv6 header and extension headers (RFC 8200 3, 4).
 *
 *   0             4        6    7    8             24                 40
 *   |v|class|flow | length |next|hops| source      | destination      | extension headers, payload …
 *
 *   0    1        2                                      an extension header: `length` counts 8-byte units, less one
 *   |next| length | options, or routing type and segments left …
 */
import type { AddressPair } from '../address.ts'

export const IPV6_HEADER_BYTES = 40
/** Largest packet behind that header: what its length field can say. */
export const IPV6_PAYLOAD_BYTES_MAX = 65_535
/** Lower half of the traffic class, and the first bits of the flow label. */
const SERVICE = 1
export const IPV6_PAYLOAD_LENGTH = 4
/** Public, for parameter problems point at fields. */
export const IPV6_NEXT_HEADER = 6
const HOP_LIMIT = 7
const SOURCE = 8
const DESTINATION = 24
const ADDRESSES_BYTES = 32
const VERSION = 0x60000000

/* Next header numbers that are no transport. */
export const NEXT_HOP_BY_HOP = 0
export const NEXT_ROUTING = 43
export const NEXT_FRAGMENT = 44
export const NEXT_NONE = 59
export const NEXT_DESTINATION = 60
export const PROTOCOL_ICMPV6 = 58

export const EXTENSION_UNIT_BYTES = 8
const EXTENSION_LENGTH = 1
export const ROUTING_TYPE = 2
const ROUTING_SEGMENTS_LEFT = 3
export const FRAGMENT_OFFSET = 2
const FRAGMENT_IDENTIFICATION = 4
export const FRAGMENT_HEADER_BYTES = 8
const FRAGMENT_OFFSET_MASK = 0xfff8
const FRAGMENT_MORE = 1

/* Options of hop-by-hop and destination headers. */
export const OPTION_PAD1 = 0
export const OPTION_PADN = 1
export const OPTION_HEADER_BYTES = 2

export function ipv6Version(view: DataView, at: number): number {
  return view.getUint8(at) >>> 4
}

/** The two ECN bits, the last of the traffic class (RFC 3168 5, RFC 8200 7). */
export function ipv6Ecn(view: DataView, at: number): number {
  return (view.getUint8(at + SERVICE) >>> 4) & 3
}

/** Sets ECN bits in a header that was written without any. */
export function setIpv6Ecn(view: DataView, at: number, ecn: number): void {
  view.setUint8(at + SERVICE, view.getUint8(at + SERVICE) | (ecn << 4))
}

/** Bytes behind the 40 of the header. */
export function ipv6PayloadLength(view: DataView, at: number): number {
  return view.getUint16(at + IPV6_PAYLOAD_LENGTH)
}

export function ipv6NextHeader(view: DataView, at: number): number {
  return view.getUint8(at + IPV6_NEXT_HEADER)
}

export function ipv6HopLimit(view: DataView, at: number): number {
  return view.getUint8(at + HOP_LIMIT)
}

/** @param word 0 to 3 */
export function ipv6SourceWord(view: DataView, at: number, word: number): number {
  return view.getInt32(at + SOURCE + word * 4)
}

/** @param word 0 to 3 */
export function ipv6DestinationWord(view: DataView, at: number, word: number): number {
  return view.getInt32(at + DESTINATION + word * 4)
}

/** What the two addresses of a header add to the pseudo-header's sum (RFC 8200 8.1), not folded. */
export function ipv6HeaderAddressSum(view: DataView, at: number): number {
  let sum = 0
  for (let offset = at + SOURCE; offset < at + SOURCE + ADDRESSES_BYTES; offset += 4)
    sum += halves(view.getInt32(offset))
  return sum
}

/** The same from words. */
export function ipv6AddressSum(e: AddressPair): number {
  return (
    halves(e.localAddress0) +
    halves(e.localAddress1) +
    halves(e.localAddress2) +
    halves(e.localAddress3) +
    halves(e.remoteAddress0) +
    halves(e.remoteAddress1) +
    halves(e.remoteAddress2) +
    halves(e.remoteAddress3)
  )
}

/** From the pair's local to its remote address. @param payloadLength bytes behind this header */
export function writeIpv6Header(
  view: DataView,
  at: number,
  payloadLength: number,
  nextHeader: number,
  hopLimit: number,
  e: AddressPair,
): void {
  view.setInt32(at, VERSION)
  view.setInt32(at + IPV6_PAYLOAD_LENGTH, (payloadLength << 16) | (nextHeader << 8) | hopLimit)
  view.setInt32(at + SOURCE, e.localAddress0)
  view.setInt32(at + SOURCE + 4, e.localAddress1)
  view.setInt32(at + SOURCE + 8, e.localAddress2)
  view.setInt32(at + SOURCE + 12, e.localAddress3)
  view.setInt32(at + DESTINATION, e.remoteAddress0)
  view.setInt32(at + DESTINATION + 4, e.remoteAddress1)
  view.setInt32(at + DESTINATION + 8, e.remoteAddress2)
  view.setInt32(at + DESTINATION + 12, e.remoteAddress3)
}

/** Whole length of an extension header other than the fragment header, bytes. */
export function extensionLength(view: DataView, at: number): number {
  return (view.getUint8(at + EXTENSION_LENGTH) + 1) * EXTENSION_UNIT_BYTES
}

export function routingSegmentsLeft(view: DataView, at: number): number {
  return view.getUint8(at + ROUTING_SEGMENTS_LEFT)
}

/** Where the bytes behind a fragment header belong (RFC 8200 4.5). */
export function fragmentOffset(view: DataView, at: number): number {
  return view.getUint16(at + FRAGMENT_OFFSET) & FRAGMENT_OFFSET_MASK
}

export function fragmentHasMore(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT_OFFSET) & FRAGMENT_MORE) !== 0
}

export function fragmentIdentification(view: DataView, at: number): number {
  return view.getInt32(at + FRAGMENT_IDENTIFICATION)
}

/** @param offset bytes, a multiple of 8 */
export function writeFragmentHeader(
  view: DataView,
  at: number,
  nextHeader: number,
  offset: number,
  more: boolean,
  identification: number,
): void {
  view.setInt32(at, (nextHeader << 24) | offset | (more ? FRAGMENT_MORE : 0))
  view.setInt32(at + FRAGMENT_IDENTIFICATION, identification)
}

/** A fragment header without offset and without more to come: the packet is whole (RFC 6946). */
export function fragmentIsAtomic(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT_OFFSET) & (FRAGMENT_OFFSET_MASK | FRAGMENT_MORE)) === 0
}

function halves(word: number): number {
  return (word >>> 16) + (word & 0xffff)
}
