/**
 * ARP for IPv4 over Ethernet (RFC 826).
 *
 *   0    2    4  5  6    8             14        18            24        28
 *   | hw | pr |hl|pl| op | sender MAC  | sender  | target MAC  | target  |
 */
export const ARP_BYTES = 28
const HARDWARE = 0
const PROTOCOL = 2
const LENGTHS = 4
const OPERATION = 6
const SENDER_MAC = 8
const SENDER_ADDRESS = 14
const TARGET_MAC = 18
const TARGET_ADDRESS = 24

export const ARP_REQUEST = 1
export const ARP_REPLY = 2

const HARDWARE_ETHERNET = 1
const PROTOCOL_IPV4 = 0x0800
/** Hardware address 6 bytes, protocol address 4. */
const LENGTHS_ETHERNET_IPV4 = 0x0604

/** Ethernet and IPv4 in every field that says so. */
export function arpIsIpv4(view: DataView, at: number): boolean {
  return (
    view.getUint16(at + HARDWARE) === HARDWARE_ETHERNET &&
    view.getUint16(at + PROTOCOL) === PROTOCOL_IPV4 &&
    view.getUint16(at + LENGTHS) === LENGTHS_ETHERNET_IPV4
  )
}

export function arpOperation(view: DataView, at: number): number {
  return view.getUint16(at + OPERATION)
}

export function arpSenderHigh(view: DataView, at: number): number {
  return view.getUint16(at + SENDER_MAC)
}

export function arpSenderLow(view: DataView, at: number): number {
  return view.getInt32(at + SENDER_MAC + 2)
}

export function arpSenderAddress(view: DataView, at: number): number {
  return view.getInt32(at + SENDER_ADDRESS)
}

export function arpTargetAddress(view: DataView, at: number): number {
  return view.getInt32(at + TARGET_ADDRESS)
}

export function writeArp(
  view: DataView,
  at: number,
  operation: number,
  senderHigh: number,
  senderLow: number,
  senderAddress: number,
  targetHigh: number,
  targetLow: number,
  targetAddress: number,
): void {
  view.setUint16(at + HARDWARE, HARDWARE_ETHERNET)
  view.setUint16(at + PROTOCOL, PROTOCOL_IPV4)
  view.setUint16(at + LENGTHS, LENGTHS_ETHERNET_IPV4)
  view.setUint16(at + OPERATION, operation)
  view.setUint16(at + SENDER_MAC, senderHigh)
  view.setInt32(at + SENDER_MAC + 2, senderLow)
  view.setInt32(at + SENDER_ADDRESS, senderAddress)
  view.setUint16(at + TARGET_MAC, targetHigh)
  view.setInt32(at + TARGET_MAC + 2, targetLow)
  view.setInt32(at + TARGET_ADDRESS, targetAddress)
}
