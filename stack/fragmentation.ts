/**
 * Sends a datagram that no single frame takes: cuts it into fragments (RFC 791 3.2, RFC 8200 4.5). The payload is a chain
 * of lines
 * that may begin and end anywhere; fragments are views of it, and no byte is copied.
 *
 *   transport header, 8 bytes ─┐                       chain:   line ─────────► line ──► line ─────►
 *   fragment 0   [eth | IP | header] [view] [view]               └────────┘└────┘
 *   fragment 1   [eth | IP] [view] [view] …                                      └──┘└────┘
 *
 * Every fragment but the last carries a multiple of 8 bytes: as much as the MTU takes, or as the descriptors of one
 * frame do when the lines are short.
 *
 * Called by: udp.ts, icmp.ts, icmpv6.ts. Calls: ip.ts, transmitter.ts.
 */
import { TX_FRAME_DESCRIPTORS_MAX } from '../drivers/device.ts'
import { NO_META } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import type { AddressPair } from './address.ts'
import { Identifications } from './identification.ts'
import { fragmentHeaderBytes, type Ip } from './ip.ts'
import type { Random } from './random.ts'
import type { Transmitter } from './transmitter.ts'

/** Both UDP's and ICMP's. */
const TRANSPORT_HEADER_BYTES = 8
const FRAGMENT_UNIT_MASK = 7
/** Views of one fragment; one descriptor is the headers'. */
const VIEWS_MAX = TX_FRAME_DESCRIPTORS_MAX - 1

export class Fragmentation {
  private readonly pool: Pool
  private readonly ip: Ip
  private readonly transmitter: Transmitter
  private readonly identifications: Identifications
  private nowMs = 0
  /** Where the next fragment starts: line, and offset in it. */
  private meta = NO_META
  private offset = 0
  /** The views of the fragment being built. */
  private readonly metas = new Int32Array(VIEWS_MAX)
  private readonly buffers = new Int32Array(VIEWS_MAX)
  private readonly offsets = new Int32Array(VIEWS_MAX)
  private readonly lengths = new Int32Array(VIEWS_MAX)
  private count = 0

  constructor(pool: Pool, ip: Ip, transmitter: Transmitter, random: Random) {
    this.pool = pool
    this.ip = ip
    this.transmitter = transmitter
    this.identifications = new Identifications(random)
  }

  setNow(nowMs: number): void {
    this.nowMs = nowMs
  }

  /**
   * Sends a datagram; the chain stays the caller's, its buffers are held until they have left.
   * @param header0 transport header, its first and its last four bytes
   * @param length of the whole payload, transport header included
   * @param mtu of the path, bytes
   * @returns false if a fragment could not be sent: then those before it are for nothing
   */
  send(
    e: AddressPair,
    protocol: number,
    header0: number,
    header1: number,
    chain: number,
    length: number,
    mtu: number,
  ): boolean {
    const identification = this.identifications.next(e, protocol, this.nowMs)
    const bytesMax = (mtu - fragmentHeaderBytes(e)) & ~FRAGMENT_UNIT_MASK
    this.meta = chain
    this.offset = 0
    let sent = 0
    while (sent < length) {
      const header = sent === 0 ? TRANSPORT_HEADER_BYTES : 0
      const left = length - sent - header
      const bytes = header + this.gather(Math.min(bytesMax - header, left), left)
      const more = sent + bytes < length
      // All in one after all, of several lines: no fragment (RFC 8021 says why not to call it one).
      const at =
        sent === 0 && !more
          ? this.ip.begin(e, protocol, bytes)
          : this.ip.beginFragment(e, protocol, bytes, sent, more, identification)
      if (at < 0) return false
      if (header > 0) {
        this.transmitter.view.setInt32(at, header0)
        this.transmitter.view.setInt32(at + 4, header1)
      }
      this.push(header)
      sent += bytes
    }
    return true
  }

  /** Collects views of up to `limit` bytes, and moves on behind them. @param left what is left of the datagram */
  private gather(limit: number, left: number): number {
    const { pool } = this
    let bytes = 0
    this.count = 0
    while (bytes < limit && this.count < VIEWS_MAX) {
      const take = Math.min(pool.dataLength(this.meta) - this.offset, limit - bytes)
      if (take > 0) {
        this.metas[this.count] = this.meta
        this.buffers[this.count] = pool.buffer(this.meta)
        this.offsets[this.count] = pool.dataOffset(this.meta) + this.offset
        this.lengths[this.count] = take
        this.count++
        bytes += take
        this.offset += take
      }
      if (this.offset === pool.dataLength(this.meta)) {
        this.meta = pool.next(this.meta)
        this.offset = 0
      }
    }
    return bytes === left ? bytes : this.roundDown(bytes)
  }

  /** Gives back what is beyond a multiple of 8 bytes: others follow. */
  private roundDown(bytes: number): number {
    let surplus = bytes & FRAGMENT_UNIT_MASK
    const rounded = bytes - surplus
    while (surplus > 0) {
      const last = this.count - 1
      const cut = Math.min(surplus, this.lengths[last]!)
      this.lengths[last]! -= cut
      this.meta = this.metas[last]!
      this.offset = this.offsets[last]! - this.pool.dataOffset(this.meta) + this.lengths[last]!
      if (this.lengths[last] === 0) this.count--
      surplus -= cut
    }
    return rounded
  }

  private push(header: number): void {
    const tx = this.transmitter
    const last = this.count - 1
    tx.push(tx.buffer, tx.offset, this.ip.frameHeaderBytes + header, last >= 0)
    for (let index = 0; index <= last; index++) {
      this.pool.retainBuffer(this.buffers[index]!)
      tx.releaseLater(this.buffers[index]!)
      tx.push(this.buffers[index]!, this.offsets[index]!, this.lengths[index]!, index < last)
    }
    this.ip.end()
  }
}
