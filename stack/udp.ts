/**
 * UDP (RFC 768, RFC 1122 4.1): ports, and datagrams as metadata lines. As in TCP's in-place interface no byte is
 * copied: what arrives is one line on the arrival buffer, what is sent is one line that the stack takes over.
 *
 *   input ─► length ─► checksum ─► port ─► its queue        once a burst ─► application.onDatagrams ─► take() …
 *                                  └─► none: the host answers "port unreachable"
 *   send  ─► header slot + the line's view ─► transmitter
 *
 * The sender of a received datagram stands in words of its line that mean nothing while it is in transit:
 *
 *   W_VERSION_LOW, W_VERSION_HIGH, W_KEY, W_VALUE   address (address.ts)
 *   W_KEY_PREFIX                                    port
 *
 * Invariants:
 *  1. A port's queue holds at most `queueLimit` lines, and none is added while the pool is down to its reserve: a flood
 *     of datagrams cannot take the buffers that TCP has promised to its peers.
 *  2. Nothing is fragmented: a datagram fits the MTU or is not sent.
 *
 * Called by: Host, icmp.ts (errors), applications. Calls: ipv4.ts, transmitter.ts.
 */
import { addSums, foldSum, subtractSums, sumBytes } from '../storage/checksum.ts'
import { PackratError } from '../storage/errors.ts'
import {
  NO_META,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_KEY,
  W_KEY_PREFIX,
  W_VALUE,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import { Address } from './address.ts'
import type { UdpCounters } from './counters.ts'
import { IPV4_FRAME_HEADER_BYTES, type Ipv4 } from './ipv4.ts'
import { EPHEMERAL_PORT_FIRST, EPHEMERAL_PORT_LAST, UDP_QUEUE_DATAGRAMS } from './limits.ts'
import type { ReceivedPacket } from './packet.ts'
import type { Random } from './random.ts'
import type { Transmitter } from './transmitter.ts'
import type { DatagramErrors, QuotedPacket } from './transport-errors.ts'
import { IPV4_HEADER_BYTES, ipv4PseudoSum, PROTOCOL_UDP } from './wire/ipv4.ts'
import {
  UDP_HEADER_BYTES,
  udpChecksum,
  udpDestinationPort,
  udpLength,
  udpSourcePort,
  writeUdpHeader,
} from './wire/udp.ts'

/* What input says of a datagram. */
export const UDP_DROPPED = 0
/** Its buffer's reference was taken over. */
export const UDP_QUEUED = 1
/** Nobody has the port (RFC 1122 4.1.3.1). */
export const UDP_NO_PORT = 2

/* What send says. */
export const SEND_OK = 0
/** Longer than the MTU lets through. */
export const SEND_TOO_LONG = -1
export const SEND_NO_ROUTE = -2
export const SEND_NO_BUFFER = -3

export interface DatagramApplication {
  /** Datagrams are queued: take() until NO_META. Called once a burst. */
  onDatagrams(port: UdpPort): void
  /** The peer of a connected port cannot be reached. @param refused the host is there, but nobody has the port */
  onUnreachable(port: UdpPort, refused: boolean): void
  /** The host was closed, and the port with it. */
  onClose(port: UdpPort): void
}

export interface UdpParts {
  readonly pool: Pool
  readonly transmitter: Transmitter
  readonly ipv4: Ipv4
  readonly counters: UdpCounters
  readonly random: Random
  readonly mtu: number
  /** Free buffers below which received datagrams are dropped. */
  readonly reserveBuffers: number
}

/** A local port. */
export class UdpPort {
  readonly number: number
  readonly application: DatagramApplication
  readonly queueLimit: number
  /** The only peer, if connected: others' datagrams find no port. 0, 0: anybody. */
  readonly remoteAddress = new Address()
  remotePort = 0
  /* Received lines, oldest first; udp.ts. */
  head = NO_META
  tail = NO_META
  queued = 0
  /** Stands in the list of ports with news. */
  hasNews = false

  constructor(number: number, application: DatagramApplication, queueLimit: number) {
    this.number = number
    this.application = application
    this.queueLimit = queueLimit
  }
}

/** Fills in the sender's address of a received line, and returns it. */
export function datagramAddress(pool: Pool, meta: number, into: Address): Address {
  const high = pool.get(meta, W_VERSION_HIGH)
  return into.set(pool.get(meta, W_VERSION_LOW), high, pool.get(meta, W_KEY), pool.get(meta, W_VALUE))
}

export function datagramPort(pool: Pool, meta: number): number {
  return pool.get(meta, W_KEY_PREFIX)
}

export class Udp implements DatagramErrors {
  /** Largest payload that is sent, bytes. */
  readonly payloadBytesMax: number
  private readonly parts: UdpParts
  private readonly ports = new Map<number, UdpPort>()
  private readonly news: UdpPort[] = []
  private arrivalLow = 0
  private arrivalHigh = 0

  constructor(parts: UdpParts) {
    this.parts = parts
    this.payloadBytesMax = parts.mtu - IPV4_HEADER_BYTES - UDP_HEADER_BYTES
  }

  /* --- for applications --- */

  /**
   * Takes a port; 0 takes a free one of the ephemeral range. Throws EADDRINUSE.
   * @param queueLimit datagrams that may wait for the application
   */
  bind(number: number, application: DatagramApplication, queueLimit = UDP_QUEUE_DATAGRAMS): UdpPort {
    if (!Number.isInteger(number) || number < 0 || number > 65_535) throw new RangeError(`port ${number} out of range`)
    if (this.ports.has(number))
      throw new PackratError('EADDRINUSE', `UDP port ${number} is taken already: choose another one or close that`)
    const port = new UdpPort(number === 0 ? this.chooseEphemeralPort() : number, application, queueLimit)
    this.ports.set(port.number, port)
    return port
  }

  /** Gives a port back, with what is queued. */
  unbind(port: UdpPort): void {
    if (this.ports.get(port.number) !== port) return
    this.ports.delete(port.number)
    this.parts.pool.releaseChain(port.head)
    port.head = NO_META
    port.tail = NO_META
    port.queued = 0
  }

  /** The oldest datagram, now the caller's line; NO_META if there is none. */
  take(port: UdpPort): number {
    const meta = port.head
    if (meta === NO_META) return NO_META
    const { pool } = this.parts
    port.head = pool.next(meta)
    if (port.head === NO_META) port.tail = NO_META
    pool.setNext(meta, NO_META)
    port.queued--
    return meta
  }

  /** Sends one line's view; the line is the stack's whatever comes of it. Its sum must be right. Leaves with the burst, or with Host.flush. */
  send(port: UdpPort, address: Address, remotePort: number, meta: number): number {
    const { pool, ipv4, transmitter: tx, counters } = this.parts
    const length = UDP_HEADER_BYTES + pool.dataLength(meta)
    if (length > UDP_HEADER_BYTES + this.payloadBytesMax) {
      pool.release(meta)
      return SEND_TOO_LONG
    }
    const at = address.isIpv4 ? ipv4.begin(address.word3, PROTOCOL_UDP, length) : -1
    if (at < 0) {
      const result = pool.freeBuffers === 0 ? SEND_NO_BUFFER : SEND_NO_ROUTE
      pool.release(meta)
      return result
    }
    const header = ipv4PseudoSum(ipv4.address, address.word3, PROTOCOL_UDP) + length + port.number + remotePort + length
    const checksum = ~addSums(foldSum(header), pool.sum(meta)) & 0xffff
    // RFC 768: a checksum that is 0 goes out as all ones, for 0 says that there is none.
    writeUdpHeader(tx.view, at, port.number, remotePort, length, checksum === 0 ? 0xffff : checksum)
    const hasPayload = length > UDP_HEADER_BYTES
    tx.push(tx.buffer, tx.offset, IPV4_FRAME_HEADER_BYTES + UDP_HEADER_BYTES, hasPayload)
    if (hasPayload) {
      tx.push(pool.buffer(meta), pool.dataOffset(meta), length - UDP_HEADER_BYTES, false)
      pool.retainBuffer(pool.buffer(meta))
      tx.releaseLater(pool.buffer(meta))
    }
    pool.release(meta)
    ipv4.end()
    counters.sent++
    return SEND_OK
  }

  /* --- for the host --- */

  /** Arrival of the burst that comes now, ns since the epoch. */
  setArrival(low: number, high: number): void {
    this.arrivalLow = low
    this.arrivalHigh = high
  }

  input(packet: ReceivedPacket): number {
    const { counters, pool } = this.parts
    const { view, at } = packet
    counters.received++
    const length = packet.length < UDP_HEADER_BYTES ? 0 : udpLength(view, at)
    if (length < UDP_HEADER_BYTES || length > packet.length) {
      counters.dropLength++
      return UDP_DROPPED
    }
    // Behind the datagram the packet may have bytes that belong to nobody.
    const surplus = packet.length - length
    const sum = surplus === 0 ? packet.sum : sumBytes(view, at, length)
    if (udpChecksum(view, at) !== 0 && !isRight(packet, length, sum)) {
      counters.dropChecksum++
      return UDP_DROPPED
    }
    const port = this.ports.get(udpDestinationPort(view, at))
    const source = udpSourcePort(view, at)
    if (port === undefined || !isFromPeer(port, packet, source)) {
      counters.dropNoPort++
      return UDP_NO_PORT
    }
    if (port.queued >= port.queueLimit || pool.freeBuffers <= this.parts.reserveBuffers) {
      counters.dropQueue++
      return UDP_DROPPED
    }
    const payload = at - packet.bufferAt + UDP_HEADER_BYTES
    const payloadSum = subtractSums(sum, sumBytes(view, at, UDP_HEADER_BYTES))
    const meta = pool.createView(
      packet.buffer,
      payload,
      length - UDP_HEADER_BYTES,
      payloadSum | (packet.frameOffset << 16),
    )
    if (meta === NO_META) {
      counters.dropQueue++
      return UDP_DROPPED
    }
    pool.set(meta, W_VERSION_LOW, packet.source0)
    pool.set(meta, W_VERSION_HIGH, packet.source1)
    pool.set(meta, W_KEY, packet.source2)
    pool.set(meta, W_VALUE, packet.source3)
    pool.set(meta, W_KEY_PREFIX, source)
    pool.set(meta, W_ARRIVAL_LOW, this.arrivalLow)
    pool.set(meta, W_ARRIVAL_HIGH, this.arrivalHigh)
    this.append(port, meta)
    return UDP_QUEUED
  }

  /** Whether callbacks are due. */
  get hasNews(): boolean {
    return this.news.length > 0
  }

  /** All frames of the burst are in: tells the applications. */
  deliver(): void {
    for (let index = 0; index < this.news.length; index++) {
      const port = this.news[index]!
      port.hasNews = false
      if (port.head !== NO_META) port.application.onDatagrams(port)
    }
    this.news.length = 0
  }

  /** Gives all ports back. */
  close(): void {
    for (const port of this.ports.values()) {
      this.unbind(port)
      port.application.onClose(port)
    }
  }

  /* --- DatagramErrors --- */

  /** RFC 1122 4.1.3.3: only who is connected to the peer can tell whose datagram it was. */
  onUnreachable(q: QuotedPacket, refused: boolean): void {
    const port = this.ports.get(q.localPort)
    if (port === undefined || port.remotePort === 0 || port.remotePort !== q.remotePort) return
    if (!port.remoteAddress.equals(q.remoteAddress0, q.remoteAddress1, q.remoteAddress2, q.remoteAddress3)) return
    port.application.onUnreachable(port, refused)
  }

  private append(port: UdpPort, meta: number): void {
    if (port.tail === NO_META) port.head = meta
    else this.parts.pool.setNext(port.tail, meta)
    port.tail = meta
    port.queued++
    if (port.hasNews) return
    port.hasNews = true
    this.news.push(port)
  }

  /** RFC 6056 3.3.1: random, then the next that is free. */
  private chooseEphemeralPort(): number {
    const count = EPHEMERAL_PORT_LAST - EPHEMERAL_PORT_FIRST + 1
    const start = (this.parts.random.next() >>> 0) % count
    for (let step = 0; step < count; step++) {
      const number = EPHEMERAL_PORT_FIRST + ((start + step) % count)
      if (!this.ports.has(number)) return number
    }
    throw new PackratError('EADDRNOTAVAIL', 'no ephemeral UDP port is free: close some')
  }
}

/** @param sum Internet sum of header and payload */
function isRight(packet: ReceivedPacket, length: number, sum: number): boolean {
  return addSums(foldSum(packet.addressSum + PROTOCOL_UDP + length), sum) === 0xffff
}

function isFromPeer(port: UdpPort, packet: ReceivedPacket, remotePort: number): boolean {
  if (port.remotePort === 0) return true
  const { source0, source1, source2, source3 } = packet
  return port.remotePort === remotePort && port.remoteAddress.equals(source0, source1, source2, source3)
}
