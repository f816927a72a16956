/** Puts the checksums of a frame right as far as its lengths allow, so that a mutant passes the first checks. */
import { foldSum, sumBytes } from '../../storage/checksum.ts'

const ETHERNET_BYTES = 14
const IPV4_AT = 14
const IPV6_BYTES = 40
const ICMP = 1
const TCP = 6
const UDP = 17
const ICMPV6 = 58
/** Extension headers of IPv6 that are as long as they say: hop-by-hop, routing, destination options. */
const EXTENSIONS = [0, 43, 60]
/** Where the checksum lies in the header of a transport, and the shortest header. */
const CHECKSUM_AT: Readonly<Record<number, number>> = { [ICMP]: 2, [TCP]: 16, [UDP]: 6, [ICMPV6]: 2 }
const HEADER_BYTES: Readonly<Record<number, number>> = { [ICMP]: 8, [TCP]: 20, [UDP]: 8, [ICMPV6]: 8 }

/** Where the transport header of a frame begins, and what it is; protocol -1 if there is none. */
export interface Transport {
  protocol: number
  at: number
  end: number
}

const NONE: Transport = { protocol: -1, at: 0, end: 0 }

export function findTransport(frame: Uint8Array): Transport {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  if (frame.length >= 34 && view.getUint16(12) === 0x0800) {
    const headerBytes = (frame[IPV4_AT]! & 15) << 2
    const end = IPV4_AT + view.getUint16(16)
    if (headerBytes < 20 || end > frame.length || IPV4_AT + headerBytes > end) return NONE
    return { protocol: frame[23]!, at: IPV4_AT + headerBytes, end }
  }
  if (frame.length >= ETHERNET_BYTES + IPV6_BYTES && view.getUint16(12) === 0x86dd) {
    const end = ETHERNET_BYTES + IPV6_BYTES + view.getUint16(18)
    if (end > frame.length) return NONE
    let protocol = frame[20]!
    let at = ETHERNET_BYTES + IPV6_BYTES
    while (EXTENSIONS.includes(protocol) && at + 8 <= end) {
      protocol = frame[at]!
      at += (frame[at + 1]! + 1) << 3
    }
    return at <= end ? { protocol, at, end } : NONE
  }
  return NONE
}

export function repairChecksums(frame: Uint8Array): void {
  const { protocol, at, end } = findTransport(frame)
  if (protocol < 0) return
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  const isIpv4 = frame[13] === 0
  if (isIpv4) {
    view.setUint16(24, 0)
    view.setUint16(24, ~sumBytes(view, IPV4_AT, (frame[IPV4_AT]! & 15) << 2) & 0xffff)
    if ((view.getUint16(20) & 0x3fff) !== 0) return // a fragment: the sum is the whole packet's
  }
  const length = end - at
  const place = CHECKSUM_AT[protocol]
  if (place === undefined || length < HEADER_BYTES[protocol]!) return
  view.setUint16(at + place, 0)
  const addresses = isIpv4 ? sumBytes(view, 26, 8) : sumBytes(view, 22, 32)
  const pseudo = protocol === ICMP ? 0 : addresses + protocol + length
  view.setUint16(at + place, ~foldSum(pseudo + sumBytes(view, at, length)) & 0xffff)
}
