/** What a host is made of; see host.ts. */
import type { Device } from '../drivers/device.ts'
import type { Pool } from '../storage/pool.ts'
import type { WallClock } from './clock.ts'
import type { AddressNotice } from './duplicate-detection.ts'
import type { Random } from './random.ts'
import type { Route } from './routes.ts'
import type { InitialSequence } from './tcp/isn.ts'
import type { MtuProbing } from './tcp/path-mtu.ts'

/** Internet sum of a part of a buffer, folded, not complemented (storage/checksum.ts). */
export type SumView = (buffer: number, offset: number, length: number) => number

/** Fills the sums of `count` receive descriptors, of the first of each frame from byte 14 on; RX_MORE stays. */
export type SumBurst = (descriptors: Int32Array, count: number) => void

export interface TcpOptions {
  connectionsMax?: number
  timeWaitsMax?: number
  timeWaitMs?: number
  /** Buffers that the receive window never promises (default POOL_RESERVE_BUFFERS). */
  reserveBuffers?: number
  /** RFC 7323 timestamps; default true. */
  timestamps?: boolean
  /** RFC 7323 window scaling; default true. */
  windowScaling?: boolean
  /** RFC 2018 selective acknowledgements; default true. */
  sack?: boolean
  /** How the window grows: RFC 9438, the default, or RFC 5681. */
  congestion?: 'cubic' | 'reno'
  /** RFC 9406: leaves slow start when round trips grow; default true. */
  hystart?: boolean
  /** RFC 8985 loss detection by time; else RFC 6675. Default true (Linux tcp_recovery). */
  rack?: boolean
  /** RFC 8985 tail loss probes; default true (Linux tcp_early_retrans). */
  tailProbes?: boolean
  /** RFC 5682 detection of needless time-outs; default true (Linux tcp_frto). */
  frto?: boolean
  /**
   * RFC 3168: 0 never, 1 asked for and accepted, 2 accepted when the peer asks, the default. RFC 9768 (Accurate ECN), and
   * RFC 3168 where the peer has only that: 3 asked for and accepted, 4 accepted, with RFC 3168 asked for, 5 accepted.
   */
  ecn?: 0 | 1 | 2 | 3 | 4 | 5
  /** Accurate ECN's option: 0 never, 1 when it has something to tell, 2 always, the default, 3 even where it does not get through. */
  ecnOption?: 0 | 1 | 2 | 3
  /** With 1: times a round trip that it goes in any case (default ECN_OPTION_BEACON). */
  ecnOptionBeacon?: number
  /** SYNs that are lost are sent again without asking, and what nobody can have sent is not believed; default true. */
  ecnFallback?: boolean
  /**
   * RFC 7413, for all listeners that do not say it themselves: data of a SYN with a cookie is taken before the handshake
   * is over; default false.
   */
  fastOpen?: boolean
  /** Takes it without a cookie, too: for networks where no address is forged (RFC 7413 5.1 says why not elsewhere). Default false. */
  fastOpenWithoutCookie?: boolean
  /** Lets connects open so that ask for it; default true. And all of them without a cookie; default false. */
  fastOpenClient?: boolean
  fastOpenClientWithoutCookie?: boolean
  /** 16 bytes that cookies are made with: the same for all hosts behind one address (RFC 7413 4.1.2); default from the secret. */
  fastOpenKey?: Uint8Array
  /** SYN cookies: 0 never, 1 when a backlog is full, the default, 2 for every SYN. */
  synCookies?: 0 | 1 | 2
  /** Handshakes in progress, unless a listener says otherwise (default LISTEN_BACKLOG). */
  synBacklog?: number
  /** SYNs, and SYN-ACKs, sent again before giving up (default SYN_RETRIES_MAX, SYN_ACK_RETRIES_MAX). */
  synRetries?: number
  synAckRetries?: number
  /** SYNs that are sent again, beside synRetries, before time-outs double (Linux tcp_syn_linear_timeouts, 4 there); default 0: RFC 6298 (5.5). */
  synLinearTimeouts?: number
  /** Retransmissions, or probes of a shut window, before giving up (default RETRIES_MAX). */
  retries?: number
  /** The same when this side has closed and only waits for the end (default ORPHAN_RETRIES_MAX). */
  orphanRetries?: number | undefined
  /** Longest retransmission time-out, however often nothing came back (default RTO_MAX_MS). */
  rtoMaxMs?: number
  /** Silence in FIN-WAIT-2 after which the peer is probed (default FIN_WAIT_2_MS). */
  finWait2Ms?: number
  /** What connections have unless their own options say otherwise (default KEEP_ALIVE_). */
  keepAliveIdleMs?: number
  keepAliveIntervalMs?: number
  keepAliveProbes?: number
  /** RFC 5961 10, the whole host's (default CHALLENGE_ACKS_PER_SECOND). */
  challengeAcksPerSecond?: number
  /** Least time between two answers to empty segments outside of the window, of one connection (default INVALID_ACK_INTERVAL_MS). */
  invalidAckIntervalMs?: number
  /** Bytes of a probe of a shut window: 1 (RFC 9293 3.8.6.1, the default), or 0, an empty segment that asks (Linux). */
  windowProbeBytes?: 0 | 1
  /** The window shrinks after a pause (RFC 2861); default true. */
  slowStartAfterIdle?: boolean
  /** RFC 4821 probing for the path's MTU: only where long segments vanish, the default, or always (Linux tcp_mtu_probing 1, 2; it is 0 there). */
  mtuProbing?: MtuProbing
  /** Receive windows grow with what is read, where a connection has no limit of its own; default true. */
  receiveTuning?: boolean
  /** Segments leave evenly instead of in bursts; default false. */
  pacing?: boolean
  /** Replaces the RFC 6528 generator. */
  initialSequence?: InitialSequence
}

export interface HostOptions {
  device: Device
  pool: Pool
  /** This host's address with its prefix: "10.77.0.2/24". */
  address: string
  /** Next hop for everything that is not on the link. Without it such destinations are unreachable. */
  gateway?: string
  /** IPv6 address with its prefix: "fd77::2/64". Without it the host speaks IPv4 only. */
  address6?: string
  /** As `gateway`, for IPv6. */
  gateway6?: string
  /** Static routes of both versions; the longest prefix counts. Those of IPv6 want an `address6`. */
  routes?: readonly Route[]
  /** Solicitations that ask whether somebody has our IPv6 addresses before they are used; 0 asks nobody (RFC 4862 5.1). */
  dadTransmits?: number
  /** Told once for each IPv6 address of the host whether it can be used: not if another station has it. */
  onAddress?: AddressNotice
  /** Largest IP packet, bytes; default and upper bound is the device's. */
  mtu?: number
  random: Random
  /** Key of the initial sequence numbers, 16 bytes or more (RFC 6528). */
  secret: Uint8Array
  /** Stamps arrivals. */
  wallClock: WallClock
  /** Native sums where the program has them; default in JavaScript. */
  sumView?: SumView
  sumBurst?: SumBurst
  tcp?: TcpOptions
}
