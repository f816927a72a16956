/**
 * UDP (RFC 768, RFC 1122 4.1): ports, and datagrams as metadata lines. As in TCP's in-place interface no byte is
 * copied: what arrives is one line on the arrival buffer, what is sent is a chain of lines that the stack takes over.
 *
 *   input ─► length ─► checksum ─► port ─► its queue        once a burst ─► application.onDatagrams ─► take() …
 *                                  └─► none: the host answers "port unreachable"
 *   send  ─► header slot + the line's view ─► transmitter
 *         └─► several lines, or longer than the path's MTU: fragmentation.ts
 *
 * The sender of a received datagram stands in words of its line that mean nothing while it is in transit:
 *
 *   W_VERSION_LOW, W_VERSION_HIGH, W_KEY, W_VALUE   address (address.ts)
 *   W_KEY_PREFIX                                    port
 *   W_NEXT                                          the next datagram in the queue of its port
 *
 * A datagram that came in fragments is a chain of lines; these words stand in the first one.
 *
 * Invariants:
 *  1. A port's queue holds at most `queueLimit` lines or one datagram, and none is added while the pool is down to its
 *     reserve: a flood of datagrams cannot take the buffers that TCP has promised to its peers.
 *
 * Called by: Host, icmp.ts (errors), applications. Calls: ip.ts, fragmentation.ts, transmitter.ts.
 */
import { addSums, appendSum, foldSum, subtractSums, sumBytes } from '../storage/checksum.ts'
import { PackratError } from '../storage/errors.ts'
import {
  NO_META,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_KEY,
  W_KEY_PREFIX,
  W_NEXT,
  W_VALUE,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import { Address, Ends, isMapped } from './address.ts'
import type { UdpCounters } from './counters.ts'
import type { Fragmentation } from './fragmentation.ts'
import { addressSum, type Ip, ipHeaderBytes } from './ip.ts'
import { EPHEMERAL_PORT_FIRST, EPHEMERAL_PORT_LAST, UDP_QUEUE_BUFFERS } from './limits.ts'
import type { ReceivedPacket } from './packet.ts'
import type { PathMtus } from './path-mtu.ts'
import type { Random } from './random.ts'
import type { Transmitter } from './transmitter.ts'
import type { DatagramErrors, QuotedPacket } from './transport-errors.ts'
import { IPV4_HEADER_BYTES, IPV4_PACKET_BYTES_MAX, PROTOCOL_UDP } from './wire/ipv4.ts'
import { IPV6_PAYLOAD_BYTES_MAX } from './wire/ipv6.ts'
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
/** Longer than a datagram can be. */
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
  readonly ip: Ip
  readonly fragmentation: Fragmentation
  readonly counters: UdpCounters
  readonly random: Random
  readonly pathMtus: PathMtus
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
  /** Hears IPv4 only. */
  ipv4Only = false
  /* First lines of received datagrams, oldest first; udp.ts. `queued` counts all lines. */
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
  private readonly parts: UdpParts
  private readonly ports = new Map<number, UdpPort>()
  private readonly news: UdpPort[] = []
  private arrivalLow = 0
  private arrivalHigh = 0
  /** Addresses of the datagram that is being sent. */
  private readonly ends = new Ends()

  constructor(parts: UdpParts) {
    this.parts = parts
  }

  /* --- for applications --- */

  /** Largest payload that is sent to an address, bytes: what the packet's length field can say. */
  payloadBytesMax(address: Address): number {
    const packet = address.isIpv4 ? IPV4_PACKET_BYTES_MAX - IPV4_HEADER_BYTES : IPV6_PAYLOAD_BYTES_MAX
    return packet - UDP_HEADER_BYTES
  }

  /**
   * Takes a port; 0 takes a free one of the ephemeral range. Throws EADDRINUSE.
   * @param queueLimit buffers that may wait for the application: one a datagram, or one a fragment
   */
  bind(number: number, application: DatagramApplication, queueLimit = UDP_QUEUE_BUFFERS): UdpPort {
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
    for (let meta = this.take(port); meta !== NO_META; meta = this.take(port)) this.parts.pool.releaseChain(meta)
  }

  /** The oldest datagram, now the caller's chain, of one line unless it came in fragments; NO_META if there is none. */
  take(port: UdpPort): number {
    const meta = port.head
    if (meta === NO_META) return NO_META
    const { pool } = this.parts
    port.head = pool.get(meta, W_NEXT)
    if (port.head === NO_META) port.tail = NO_META
    for (let line = meta; line !== NO_META; line = pool.next(line)) port.queued--
    return meta
  }

  /**
   * Sends a chain's bytes as one datagram, in fragments if the path's MTU asks for it; the chain is the stack's whatever
   * comes of it. Its sums must be right. Leaves with the burst, or with Host.flush.
   */
  send(port: UdpPort, address: Address, remotePort: number, chain: number): number {
    const { pool, ip, pathMtus } = this.parts
    if (!ip.setEnds(this.ends, address)) {
      pool.releaseChain(chain)
      return SEND_NO_ROUTE
    }
    const { word0, word1, word2, word3 } = address
    const mtu = pathMtus.lookup(word0, word1, word2, word3)
    const singleBytesMax = mtu - ipHeaderBytes(this.ends) - UDP_HEADER_BYTES
    if (pool.next(chain) !== NO_META || pool.dataLength(chain) > singleBytesMax)
      return this.sendFragmented(port, address, remotePort, chain, mtu)
    return this.sendSingle(port, remotePort, chain)
  }

  /** One frame: the header's slot and one view. */
  private sendSingle(port: UdpPort, remotePort: number, meta: number): number {
    const { pool, ip, transmitter: tx, counters } = this.parts
    const length = UDP_HEADER_BYTES + pool.dataLength(meta)
    const at = ip.begin(this.ends, PROTOCOL_UDP, length)
    if (at < 0) {
      const result = pool.freeBuffers === 0 ? SEND_NO_BUFFER : SEND_NO_ROUTE
      pool.release(meta)
      return result
    }
    const checksum = udpSum(this.ends, port.number, remotePort, length, pool.sum(meta))
    writeUdpHeader(tx.view, at, port.number, remotePort, length, checksum)
    const hasPayload = length > UDP_HEADER_BYTES
    tx.push(tx.buffer, tx.offset, ip.frameHeaderBytes + UDP_HEADER_BYTES, hasPayload)
    if (hasPayload) {
      tx.push(pool.buffer(meta), pool.dataOffset(meta), length - UDP_HEADER_BYTES, false)
      pool.retainBuffer(pool.buffer(meta))
      tx.releaseLater(pool.buffer(meta))
    }
    pool.release(meta)
    ip.end()
    counters.sent++
    return SEND_OK
  }

  private sendFragmented(port: UdpPort, address: Address, remotePort: number, chain: number, mtu: number): number {
    const { pool, fragmentation, counters } = this.parts
    let bytes = 0
    let sum = 0
    for (let meta = chain; meta !== NO_META; meta = pool.next(meta)) {
      sum = appendSum(sum, bytes, pool.sum(meta))
      bytes += pool.dataLength(meta)
    }
    if (bytes > this.payloadBytesMax(address)) {
      pool.releaseChain(chain)
      return SEND_TOO_LONG
    }
    const length = UDP_HEADER_BYTES + bytes
    const checksum = udpSum(this.ends, port.number, remotePort, length, sum)
    const ports = (port.number << 16) | remotePort
    const sent = fragmentation.send(this.ends, PROTOCOL_UDP, ports, (length << 16) | checksum, chain, length, mtu)
    // Asked before the chain's own buffers come free.
    const result = sent ? SEND_OK : pool.freeBuffers === 0 ? SEND_NO_BUFFER : SEND_NO_ROUTE
    pool.releaseChain(chain)
    if (sent) counters.sent++
    return result
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
    if (surplus > 0 && packet.rest !== NO_META) {
      counters.dropLength++ // nobody sends that in fragments
      return UDP_DROPPED
    }
    const sum = surplus === 0 ? packet.sum : sumBytes(view, at, length)
    // IPv4 senders may leave it out (RFC 1122 4.1.3.4), IPv6's may not (RFC 8200 8.1).
    const without = udpChecksum(view, at) === 0 && isMapped(packet.source0, packet.source1, packet.source2)
    if (!without && !isRight(packet, length, sum)) {
      counters.dropChecksum++
      return UDP_DROPPED
    }
    const port = this.ports.get(udpDestinationPort(view, at))
    const source = udpSourcePort(view, at)
    if (port === undefined || !isFromPeer(port, packet, source)) {
      counters.dropNoPort++
      return UDP_NO_PORT
    }
    const lines = 1 + packet.restLines
    if ((port.queued > 0 && port.queued + lines > port.queueLimit) || pool.freeBuffers <= this.parts.reserveBuffers) {
      counters.dropQueue++
      return UDP_DROPPED
    }
    const payload = at - packet.bufferAt + UDP_HEADER_BYTES
    const inFirst = (packet.rest === NO_META ? length : packet.firstLength) - UDP_HEADER_BYTES
    const firstSum = packet.rest === NO_META ? sum : packet.firstSum
    const payloadSum = subtractSums(firstSum, sumBytes(view, at, UDP_HEADER_BYTES))
    const meta = pool.createView(packet.buffer, payload, inFirst, payloadSum | (packet.frameOffset << 16))
    if (meta === NO_META) {
      counters.dropQueue++
      return UDP_DROPPED
    }
    pool.setNext(meta, packet.rest)
    packet.rest = NO_META
    pool.set(meta, W_VERSION_LOW, packet.source0)
    pool.set(meta, W_VERSION_HIGH, packet.source1)
    pool.set(meta, W_KEY, packet.source2)
    pool.set(meta, W_VALUE, packet.source3)
    pool.set(meta, W_KEY_PREFIX, source)
    pool.set(meta, W_ARRIVAL_LOW, this.arrivalLow)
    pool.set(meta, W_ARRIVAL_HIGH, this.arrivalHigh)
    this.append(port, meta, lines)
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
    if (port === undefined || !isPeer(port, q)) return
    port.application.onUnreachable(port, refused)
  }

  /** RFC 1191 6.1: the next datagrams leave in fragments. Only who has the port, and speaks to the peer, could have sent it. */
  onTooBig(q: QuotedPacket, mtu: number): void {
    const port = this.ports.get(q.localPort)
    if (port === undefined || (port.remotePort !== 0 && !isPeer(port, q))) return
    this.parts.pathMtus.lower(q.remoteAddress0, q.remoteAddress1, q.remoteAddress2, q.remoteAddress3, mtu)
  }

  private append(port: UdpPort, meta: number, lines: number): void {
    this.parts.pool.set(meta, W_NEXT, NO_META)
    if (port.tail === NO_META) port.head = meta
    else this.parts.pool.set(port.tail, W_NEXT, meta)
    port.tail = meta
    port.queued += lines
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

/** What goes into the checksum field. @param sum Internet sum of the payload */
function udpSum(ends: Ends, from: number, to: number, length: number, sum: number): number {
  const header = addressSum(ends) + PROTOCOL_UDP + length + from + to + length
  const checksum = ~addSums(foldSum(header), sum) & 0xffff
  return checksum === 0 ? 0xffff : checksum // RFC 768: 0 says that there is none
}

/** @param sum Internet sum of header and payload */
function isRight(packet: ReceivedPacket, length: number, sum: number): boolean {
  return addSums(foldSum(packet.addressSum + PROTOCOL_UDP + length), sum) === 0xffff
}

/** Whether the port is connected to where the packet went. */
function isPeer(port: UdpPort, q: QuotedPacket): boolean {
  if (port.remotePort === 0 || port.remotePort !== q.remotePort) return false
  return port.remoteAddress.equals(q.remoteAddress0, q.remoteAddress1, q.remoteAddress2, q.remoteAddress3)
}

function isFromPeer(port: UdpPort, packet: ReceivedPacket, remotePort: number): boolean {
  const { source0, source1, source2, source3 } = packet
  if (port.ipv4Only && !isMapped(source0, source1, source2)) return false
  if (port.remotePort === 0) return true
  return port.remotePort === remotePort && port.remoteAddress.equals(source0, source1, source2, source3)
}
