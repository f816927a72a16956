/**
 * Ethernet II header (IEEE 802.3 clause 3). Byte offsets and free functions; `at` is where the frame starts in the view.
 *
 *   0         6         12     14
 *   | to      | from    | type | payload …
 */
export const ETHERNET_HEADER_BYTES = 14
const TO = 0
const FROM = 6
const TYPE = 12

export const ETHERTYPE_IPV4 = 0x0800
export const ETHERTYPE_ARP = 0x0806
export const ETHERTYPE_IPV6 = 0x86dd

/** Upper 16 bits of the MAC of an IPv6 group; the lower 32 are the group's own (RFC 2464 7). */
export const MULTICAST6_MAC_HIGH = 0x3333

/* A MAC address is handled as two numbers, so that it fits fields: the upper 16 and the lower 32 bits. */

export function ethernetToHigh(view: DataView, at: number): number {
  return view.getUint16(at + TO)
}

export function ethernetToLow(view: DataView, at: number): number {
  return view.getInt32(at + TO + 2)
}

export function ethernetType(view: DataView, at: number): number {
  return view.getUint16(at + TYPE)
}

export function writeEthernetHeader(
  view: DataView,
  at: number,
  toHigh: number,
  toLow: number,
  fromHigh: number,
  fromLow: number,
  type: number,
): void {
  view.setUint16(at + TO, toHigh)
  view.setInt32(at + TO + 2, toLow)
  view.setUint16(at + FROM, fromHigh)
  view.setInt32(at + FROM + 2, fromLow)
  view.setUint16(at + TYPE, type)
}

/** Fills in the receiver of a frame that waited for its neighbour. */
export function writeEthernetTo(view: DataView, at: number, toHigh: number, toLow: number): void {
  view.setUint16(at + TO, toHigh)
  view.setInt32(at + TO + 2, toLow)
}
