/**
 * IPv4 and IPv6 as one, for transports: whoever has the two ends of a packet sends it without asking which version
 * carries it. A mapped address is an IPv4 address (address.ts).
 *
 *   at = begin(ends, protocol, length) ─► transport header at `at` ─► push(frameHeaderBytes + …) ─► end()
 *
 * Called by: tcp/, udp.ts. Calls: ipv4.ts, ipv6.ts.
 */
import { type Address, type AddressPair, type Ends, isMapped, MAPPED_WORD_2 } from './address.ts'
import { IPV4_FRAME_HEADER_BYTES, type Ipv4 } from './ipv4.ts'
import { IPV6_FRAME_HEADER_BYTES, type Ipv6 } from './ipv6.ts'
import { NO_ADDRESS } from './own-addresses.ts'
import { IPV4_HEADER_BYTES, ipv4PseudoSum, setIpv4Ecn } from './wire/ipv4.ts'
import { FRAGMENT_HEADER_BYTES, IPV6_HEADER_BYTES, ipv6AddressSum, setIpv6Ecn } from './wire/ipv6.ts'

export function isIpv4Pair(e: AddressPair): boolean {
  return isMapped(e.remoteAddress0, e.remoteAddress1, e.remoteAddress2)
}

/** What the addresses add to the pseudo-header's sum (RFC 9293 3.1, RFC 8200 8.1), not folded: below 2^21. */
export function addressSum(e: AddressPair): number {
  return isIpv4Pair(e) ? ipv4PseudoSum(e.localAddress3, e.remoteAddress3, 0) : ipv6AddressSum(e)
}

/** IP header of the packets that go between two ends, bytes. */
export function ipHeaderBytes(e: AddressPair): number {
  return isIpv4Pair(e) ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES
}

/** The same of a fragment. */
export function fragmentHeaderBytes(e: AddressPair): number {
  return isIpv4Pair(e) ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES + FRAGMENT_HEADER_BYTES
}

export class Ip {
  /** Everything in front of the transport header, or of a fragment's bytes, in the frame being built. */
  frameHeaderBytes = IPV4_FRAME_HEADER_BYTES

  private readonly ipv4: Ipv4
  /** Undefined: the host speaks IPv4 only. */
  private ipv6: Ipv6 | undefined = undefined

  constructor(ipv4: Ipv4) {
    this.ipv4 = ipv4
  }

  /** The host speaks IPv6, too. Once, before anything is sent. */
  attach(ipv6: Ipv6): void {
    this.ipv6 = ipv6
  }

  /** A frame from e.local to e.remote with `length` bytes behind the IP header. Where these start in transmitter.view; -1 if it cannot be sent. */
  begin(e: AddressPair, protocol: number, length: number): number {
    if (isIpv4Pair(e)) {
      this.frameHeaderBytes = IPV4_FRAME_HEADER_BYTES
      return this.ipv4.begin(e.remoteAddress3, protocol, length)
    }
    this.frameHeaderBytes = IPV6_FRAME_HEADER_BYTES
    return this.ipv6 === undefined ? -1 : this.ipv6.begin(e, protocol, length)
  }

  /** The same for one fragment of a datagram; `length` bytes of it. @param offset bytes, a multiple of 8 */
  beginFragment(
    e: AddressPair,
    protocol: number,
    length: number,
    offset: number,
    more: boolean,
    identification: number,
  ): number {
    if (isIpv4Pair(e)) {
      this.frameHeaderBytes = IPV4_FRAME_HEADER_BYTES
      return this.ipv4.beginFragment(e.remoteAddress3, protocol, length, offset, more, identification)
    }
    this.frameHeaderBytes = IPV6_FRAME_HEADER_BYTES + FRAGMENT_HEADER_BYTES
    return this.ipv6 === undefined ? -1 : this.ipv6.beginFragment(e, protocol, length, offset, more, identification)
  }

  /** addressSum of the ends for which the frame was begun: the version need not be found out again. */
  beganAddressSum(e: AddressPair): number {
    const isIpv4 = this.frameHeaderBytes === IPV4_FRAME_HEADER_BYTES
    return isIpv4 ? ipv4PseudoSum(e.localAddress3, e.remoteAddress3, 0) : ipv6AddressSum(e)
  }

  /** Sets the ECN bits of the header in front of `at`, of the frame being built (RFC 3168 5). */
  setEcn(view: DataView, at: number, ecn: number): void {
    if (this.frameHeaderBytes === IPV4_FRAME_HEADER_BYTES) setIpv4Ecn(view, at - IPV4_HEADER_BYTES, ecn)
    else setIpv6Ecn(view, at - IPV6_HEADER_BYTES, ecn)
  }

  /** The frame is pushed completely. */
  end(): void {
    if (this.frameHeaderBytes === IPV4_FRAME_HEADER_BYTES) this.ipv4.end()
    else this.ipv6!.end()
  }

  /** Whether packets for an address have somewhere to go, and an address to come from. */
  hasRoute(address: Address): boolean {
    const { word0, word1, word2, word3 } = address
    if (address.isIpv4) return this.ipv4.nextHop(word3) !== 0
    const { ipv6 } = this
    if (ipv6 === undefined || ipv6.own.sourceFor(word0) === NO_ADDRESS) return false
    return ipv6.hasRoute(word0, word1, word2, word3)
  }

  /** Sets both ends of what is sent to an address. @returns false if there is no address to send from */
  setEnds(ends: Ends, remote: Address): boolean {
    ends.setRemote(remote.word0, remote.word1, remote.word2, remote.word3)
    if (remote.isIpv4) {
      ends.setLocal(0, 0, MAPPED_WORD_2, this.ipv4.address)
      return true
    }
    const index = this.ipv6 === undefined ? NO_ADDRESS : this.ipv6.own.sourceFor(remote.word0)
    if (index === NO_ADDRESS) return false
    const { word0, word1, word2, word3 } = this.ipv6!.own.addresses[index]!
    ends.setLocal(word0, word1, word2, word3)
    return true
  }

  /** The peer has acknowledged something new: packets reach it (RFC 4861 7.3.1). IPv4 does not ask. */
  confirm(e: AddressPair): void {
    if (this.ipv6 !== undefined && !isIpv4Pair(e)) this.ipv6.confirm(e)
  }
}
