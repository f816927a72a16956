/**
 * ICMPv6 (RFC 4443) and the messages of Neighbor Discovery (RFC 4861 4.3, 4.4, 4.6). The first 8 bytes are laid out as
 * ICMP's: wire/icmp.ts reads and writes them.
 *
 *   0      1      2     4                     8
 *   | type | code | sum | rest of the header  | echo data, or as much of the offending packet as fits
 *
 *   0      1      2     4              8               24
 *   | type | code | sum | R S O flags  | target        | options …      solicitation, advertisement
 *
 *   0      1        2
 *   | type | length | MAC …      an option; `length` counts 8-byte units
 */
export const ICMPV6_UNREACHABLE = 1
export const ICMPV6_TOO_BIG = 2
export const ICMPV6_TIME_EXCEEDED = 3
export const TIME_EXCEEDED6_REASSEMBLY = 1
export const ICMPV6_PARAMETER_PROBLEM = 4
/** Types below are errors (RFC 4443 2.1). */
export const ICMPV6_INFORMATIONAL = 128
export const ICMPV6_ECHO = 128
export const ICMPV6_ECHO_REPLY = 129
export const NDP_ROUTER_SOLICITATION = 133
export const NDP_ROUTER_ADVERTISEMENT = 134
export const NDP_NEIGHBOUR_SOLICITATION = 135
export const NDP_NEIGHBOUR_ADVERTISEMENT = 136
export const NDP_REDIRECT = 137

/* Codes of unreachable. */
export const UNREACHABLE6_PORT = 4
/* Codes of parameter problem. */
export const PROBLEM_FIELD = 0
export const PROBLEM_NEXT_HEADER = 1
export const PROBLEM_OPTION = 2

/** Flags of an advertisement, in the rest of the header; the router flag, bit 31, is never sent and never needed. */
export const NDP_SOLICITED = 0x40000000
export const NDP_OVERRIDE = 0x20000000

const TARGET = 8
export const NDP_MESSAGE_BYTES = 24
const OPTION_LENGTH = 1
const OPTION_MAC = 2
export const NDP_OPTION_UNIT_BYTES = 8
export const NDP_SOURCE_MAC = 1
export const NDP_TARGET_MAC = 2

/** @param word 0 to 3 */
export function ndpTargetWord(view: DataView, at: number, word: number): number {
  return view.getInt32(at + TARGET + word * 4)
}

export function writeNdpTarget(view: DataView, at: number, w0: number, w1: number, w2: number, w3: number): void {
  view.setInt32(at + TARGET, w0)
  view.setInt32(at + TARGET + 4, w1)
  view.setInt32(at + TARGET + 8, w2)
  view.setInt32(at + TARGET + 12, w3)
}

export function ndpOptionType(view: DataView, at: number): number {
  return view.getUint8(at)
}

/** Whole length, bytes; 0 is malformed. */
export function ndpOptionLength(view: DataView, at: number): number {
  return view.getUint8(at + OPTION_LENGTH) * NDP_OPTION_UNIT_BYTES
}

export function ndpOptionMacHigh(view: DataView, at: number): number {
  return view.getUint16(at + OPTION_MAC)
}

export function ndpOptionMacLow(view: DataView, at: number): number {
  return view.getInt32(at + OPTION_MAC + 2)
}

/** Link-layer address option of 8 bytes. */
export function writeNdpMac(view: DataView, at: number, type: number, high: number, low: number): void {
  view.setUint16(at, (type << 8) | 1)
  view.setUint16(at + OPTION_MAC, high)
  view.setInt32(at + OPTION_MAC + 2, low)
}
