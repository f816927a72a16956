/**
 * UDP header (RFC 768).
 *
 *   0        2             4        6     8
 *   | source | destination | length | sum | payload …
 */
export const UDP_HEADER_BYTES = 8
const DESTINATION = 2
const LENGTH = 4
const CHECKSUM = 6

export function udpSourcePort(view: DataView, at: number): number {
  return view.getUint16(at)
}

export function udpDestinationPort(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION)
}

/** Header and payload, bytes. */
export function udpLength(view: DataView, at: number): number {
  return view.getUint16(at + LENGTH)
}

/** 0: the sender computed none. */
export function udpChecksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

export function writeUdpHeader(
  view: DataView,
  at: number,
  source: number,
  destination: number,
  length: number,
  checksum: number,
): void {
  view.setUint16(at, source)
  view.setUint16(at + DESTINATION, destination)
  view.setUint16(at + LENGTH, length)
  view.setUint16(at + CHECKSUM, checksum)
}
