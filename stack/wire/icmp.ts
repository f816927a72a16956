/**
 * ICMP for IPv4 (RFC 792, RFC 1191).
 *
 *   0      1      2     4                     8
 *   | type | code | sum | rest of the header  | echo data, or the offending IP header and 8 bytes
 */
export const ICMP_HEADER_BYTES = 8
const CODE = 1
const CHECKSUM = 2
const REST = 4
/** RFC 1191 4: next-hop MTU in the lower half of the rest. */
const MTU = 6

export const ICMP_ECHO_REPLY = 0
export const ICMP_UNREACHABLE = 3
const ICMP_SOURCE_QUENCH = 4
export const ICMP_REDIRECT = 5
export const ICMP_ECHO = 8
export const ICMP_TIME_EXCEEDED = 11
const ICMP_PARAMETER_PROBLEM = 12

export const UNREACHABLE_PROTOCOL = 2
export const UNREACHABLE_PORT = 3
export const UNREACHABLE_FRAGMENTATION_NEEDED = 4

export const TIME_EXCEEDED_REASSEMBLY = 1

export function icmpType(view: DataView, at: number): number {
  return view.getUint8(at)
}

/** RFC 1122 3.2.2: an error message, not a query. */
export function icmpIsError(view: DataView, at: number): boolean {
  switch (icmpType(view, at)) {
    case ICMP_UNREACHABLE:
    case ICMP_SOURCE_QUENCH:
    case ICMP_REDIRECT:
    case ICMP_TIME_EXCEEDED:
    case ICMP_PARAMETER_PROBLEM:
      return true
    default:
      return false
  }
}

export function icmpCode(view: DataView, at: number): number {
  return view.getUint8(at + CODE)
}

export function icmpChecksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

export function icmpRest(view: DataView, at: number): number {
  return view.getInt32(at + REST)
}

export function icmpMtu(view: DataView, at: number): number {
  return view.getUint16(at + MTU)
}

export function writeIcmpHeader(
  view: DataView,
  at: number,
  type: number,
  code: number,
  checksum: number,
  rest: number,
): void {
  view.setUint16(at, (type << 8) | code)
  view.setUint16(at + CHECKSUM, checksum)
  view.setInt32(at + REST, rest)
}
