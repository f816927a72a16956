/**
 * What ICMP and ICMPv6 tell the transports: an error about a packet of ours, which it quotes. The quotation is read
 * into one long-lived object. Nothing in it is trusted beyond what the transport can check against what it has in
 * flight (RFC 5927).
 *
 *   icmp.ts, icmpv6.ts ─► TransportErrors (tcp.ts), DatagramErrors (udp.ts)
 */
import type { Endpoints } from './tcp/demux.ts'

/** Addresses and ports of the packet that was sent; TCP's sequence number. */
export class QuotedPacket implements Endpoints {
  localPort = 0
  remotePort = 0
  localAddress0 = 0
  localAddress1 = 0
  localAddress2 = 0
  localAddress3 = 0
  remoteAddress0 = 0
  remoteAddress1 = 0
  remoteAddress2 = 0
  remoteAddress3 = 0
  /** TCP's only. */
  sequence = 0
}

/** What TCP wants to know. */
export interface TransportErrors {
  /** A segment of ours could not be delivered. @param refused the host is there, but not the port or the protocol */
  onUnreachable(quoted: QuotedPacket, refused: boolean): void
  /** A segment of ours was too big for a link; `mtu` is what the router says, or 0. */
  onTooBig(quoted: QuotedPacket, mtu: number): void
}

/** Who is told; the host. */
export interface Transports {
  readonly tcp: TransportErrors
  readonly udp: DatagramErrors
}

/** What UDP wants to know. */
export interface DatagramErrors {
  /** A datagram of ours was too big for a link; `mtu` is what the router says, or 0. */
  onTooBig(quoted: QuotedPacket, mtu: number): void
  /** A datagram of ours could not be delivered. @param refused the host is there, but not the port or the protocol */
  onUnreachable(quoted: QuotedPacket, refused: boolean): void
}
