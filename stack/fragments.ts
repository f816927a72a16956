/**
 * Puts fragments together again (RFC 791 3.2, RFC 8200 4.5). A fragment's payload becomes one metadata line on its
 * arrival buffer, or a line on each of those of a long frame; a whole datagram is those lines in order, and no byte is
 * copied. Its Internet sum is put together from theirs.
 *
 *   input ─► checks ─► row of (source, destination, identification, protocol) ─► its place among the row's lines
 *                                                              │ all there
 *                                                              ▼
 *            packet: first fragment's buffer and headers, length and sum of the whole, the other lines in packet.rest
 *
 *   row      head ─► [offset, +length) ─► [ ‥ ) ─► tail      sorted; the offset stands in W_VALUE
 *
 * Who floods gets little: a row dies when anything overlaps, the oldest rows go when memory is short, and those of a
 * source that holds too much go first.
 *
 * Invariants:
 *  1. Lines of a row do not overlap. A row that saw an overlap holds none, and swallows what else comes for it until
 *     its time is up (RFC 5722 4; RFC 8200 4.5 says the same). Exact duplicates are no overlap, and dropped.
 *  2. At most FRAGMENT_LINES_PER_DATAGRAM_MAX lines a row, FRAGMENT_BUFFERS_MAX buffers altogether and a quarter of the
 *     pool; and no fragment is kept while the pool is down to its reserve.
 *  3. Rows stand in the list by age in the order of their deadlines; the timer is armed while there is a row.
 *
 * Called by: Host (input, timer, release). Calls: fragment-index.ts, fragment-rules.ts, the pool; ReassemblyErrors when the time of a row is up.
 */
import { appendSum, sumsEqual } from '../storage/checksum.ts'
import { NO_META, W_SUM, W_VALUE } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import type { FragmentCounters } from './counters.ts'
import { FragmentIndex, NO_ROW } from './fragment-index.ts'
import { ECN_CONTRADICTS, ecnOf, isTiny } from './fragment-rules.ts'
import {
  FRAGMENT_BUFFERS_MAX,
  FRAGMENT_BUFFERS_PER_SOURCE_MAX,
  FRAGMENT_DATAGRAMS_MAX,
  FRAGMENT_LINES_PER_DATAGRAM_MAX,
} from './limits.ts'
import { ReceivedPacket } from './packet.ts'
import type { TimerWheel } from './timer-wheel.ts'
import { ETHERNET_HEADER_BYTES } from './wire/ethernet.ts'

/* What input says. */
export const FRAGMENT_DROPPED = 0
/** The reference to the arrival buffer was taken over. */
export const FRAGMENT_HELD = 1
/** The same, and `packet` is the whole datagram now, with a reference to the buffer that it names. */
export const FRAGMENT_COMPLETES = 2

/** Told what has to be reported to senders. */
export interface ReassemblyErrors {
  /** Not all fragments came in time; the first one did, and `packet` is it (RFC 1122 3.3.2). */
  onReassemblyTimeout(packet: ReceivedPacket): void
}

export interface FragmentParts {
  readonly pool: Pool
  readonly timers: TimerWheel
  readonly timer: number
  readonly counters: FragmentCounters
  readonly errors: ReassemblyErrors
  /** Given to a datagram from its first fragment on. */
  readonly timeoutMs: number
  /** Free buffers below which nothing is kept. */
  readonly reserveBuffers: number
  /** Makes it hard to guess which rows share a chain. */
  readonly seed: number
}

const UNKNOWN = -1
const FRAGMENT_UNIT_MASK = 7

export class Fragments {
  private readonly parts: FragmentParts
  private readonly buffersMax: number
  private readonly index: FragmentIndex
  private nowMs = 0

  private readonly head = new Int32Array(FRAGMENT_DATAGRAMS_MAX)
  private readonly tail = new Int32Array(FRAGMENT_DATAGRAMS_MAX)
  private readonly lines = new Int32Array(FRAGMENT_DATAGRAMS_MAX)
  private readonly bytes = new Int32Array(FRAGMENT_DATAGRAMS_MAX)
  /** Length of the whole; UNKNOWN until the last fragment is there. */
  private readonly total = new Int32Array(FRAGMENT_DATAGRAMS_MAX)
  private readonly refused = new Uint8Array(FRAGMENT_DATAGRAMS_MAX)
  /** fragment-rules.ts */
  private readonly codepoints = new Uint8Array(FRAGMENT_DATAGRAMS_MAX)
  private readonly deadlineMs = new Int32Array(FRAGMENT_DATAGRAMS_MAX)
  /** Of the list by age; free rows are linked through `younger`, too. */
  private readonly older = new Int32Array(FRAGMENT_DATAGRAMS_MAX)
  private readonly younger = new Int32Array(FRAGMENT_DATAGRAMS_MAX)
  private oldest = NO_ROW
  private youngest = NO_ROW
  private free = NO_ROW
  private heldBuffers = 0
  private readonly expired: ReceivedPacket

  constructor(parts: FragmentParts) {
    this.parts = parts
    this.index = new FragmentIndex(parts.seed)
    this.buffersMax = Math.min(FRAGMENT_BUFFERS_MAX, parts.pool.totalBuffers >> 2)
    this.expired = new ReceivedPacket(parts.pool.views[0]!)
    for (let row = FRAGMENT_DATAGRAMS_MAX - 1; row >= 0; row--) {
      this.younger[row] = this.free
      this.free = row
    }
  }

  setNow(nowMs: number): void {
    this.nowMs = nowMs
  }

  /** Buffers that incomplete datagrams hold. */
  get buffers(): number {
    return this.heldBuffers
  }

  /**
   * Takes a fragment in.
   * @param packet its payload is the fragment's
   * @param offset of the payload in the datagram, bytes
   * @param more whether others follow
   * @param lengthMax of the whole datagram's payload: what the length field of its header can say
   */
  input(packet: ReceivedPacket, identification: number, offset: number, more: boolean, lengthMax: number): number {
    const { counters } = this.parts
    counters.received++
    const end = offset + packet.length
    if (packet.length === 0 || (more && (packet.length & FRAGMENT_UNIT_MASK) !== 0) || end > lengthMax) {
      counters.dropMalformed++ // the last: the "ping of death"
      return FRAGMENT_DROPPED
    }
    if (isTiny(packet.protocol, offset, packet.length)) {
      counters.dropTiny++
      return FRAGMENT_DROPPED
    }
    let row = this.index.find(packet, identification)
    if (row === NO_ROW) row = this.create(packet.protocol, identification)
    if (this.refused[row] !== 0) {
      counters.dropOverlap++
      return FRAGMENT_DROPPED
    }
    // RFC 8200 4.5: where the datagram ends is said once. A second end, or bytes behind it, is an overlap in disguise.
    const total = this.total[row]!
    if (total !== UNKNOWN && (more ? end > total : end !== total)) return this.refuse(row)
    if (!more && this.tail[row] !== NO_META && this.endOf(this.tail[row]!) > end) return this.refuse(row)
    return this.place(row, packet, offset, more)
  }

  /** The time of the oldest rows is up. */
  onTimer(): void {
    const { counters, errors, pool, timer, timers } = this.parts
    while (this.oldest !== NO_ROW && ((this.deadlineMs[this.oldest]! - this.nowMs) | 0) <= 0) {
      const row = this.oldest
      const first = this.head[row]!
      counters.timeouts++
      if (first !== NO_META && pool.get(first, W_VALUE) === 0) {
        this.describeFirst(row, first)
        errors.onReassemblyTimeout(this.expired)
      }
      this.discard(row)
    }
    if (this.oldest !== NO_ROW) timers.arm(timer, this.deadlineMs[this.oldest]!)
  }

  /** Gives all buffers back: the pool ran dry, or the host closes. */
  release(): void {
    while (this.oldest !== NO_ROW) this.discard(this.oldest)
  }

  /** Between which lines the fragment belongs. */
  private place(row: number, packet: ReceivedPacket, offset: number, more: boolean): number {
    const { counters, pool } = this.parts
    const end = offset + packet.length
    let before = this.tail[row]!
    let after = NO_META
    // Nearly always it comes behind all others.
    if (before !== NO_META && pool.get(before, W_VALUE) >= offset) {
      before = NO_META
      after = this.head[row]!
      while (after !== NO_META && pool.get(after, W_VALUE) < offset) {
        before = after
        after = pool.next(after)
      }
    }
    if (after !== NO_META && this.isThere(after, offset, end, packet.sum)) {
      counters.duplicates++
      return FRAGMENT_DROPPED
    }
    if (before !== NO_META && this.endOf(before) > offset) return this.refuse(row)
    if (after !== NO_META && pool.get(after, W_VALUE) < end) return this.refuse(row)
    const meta = this.createLines(row, packet, offset)
    if (meta === NO_META) {
      counters.dropMemory++
      return FRAGMENT_DROPPED
    }
    let last = meta
    while (pool.next(last) !== NO_META) last = pool.next(last)
    pool.setNext(last, after)
    if (before === NO_META) this.head[row] = meta
    else pool.setNext(before, meta)
    if (after === NO_META) this.tail[row] = last
    this.bytes[row]! += packet.length
    if (!more) this.total[row] = end
    this.codepoints[row]! |= 1 << packet.ecn
    if (this.bytes[row] !== this.total[row]) return FRAGMENT_HELD
    const ecn = ecnOf(this.codepoints[row]!, packet.ecn)
    if (ecn === ECN_CONTRADICTS) {
      counters.dropEcn++
      this.discard(row)
      return FRAGMENT_HELD
    }
    packet.ecn = ecn
    this.complete(row, packet)
    return FRAGMENT_COMPLETES
  }

  /** Whether the lines from `meta` on hold just the bytes [offset, end), and the same ones. */
  private isThere(meta: number, offset: number, end: number, wanted: number): boolean {
    const { pool } = this.parts
    let at = offset
    let sum = 0
    for (let line = meta; line !== NO_META && pool.get(line, W_VALUE) === at && at < end; line = pool.next(line)) {
      sum = appendSum(sum, at - offset, pool.sum(line))
      at = this.endOf(line)
    }
    return at === end && sumsEqual(sum, wanted)
  }

  /** A chain of lines for the payload, one for each of its buffers, if memory allows for it; older datagrams make room. */
  private createLines(row: number, packet: ReceivedPacket, offset: number): number {
    const { pool, reserveBuffers } = this.parts
    const lines = 1 + packet.restLines
    if (this.lines[row]! + lines > FRAGMENT_LINES_PER_DATAGRAM_MAX || !this.makeRoom(row, lines)) return NO_META
    if (pool.freeBuffers <= reserveBuffers) return NO_META
    const start = packet.at - packet.bufferAt
    const first = pool.createView(
      packet.buffer,
      start,
      packet.firstLength,
      packet.firstSum | (packet.frameOffset << 16),
    )
    if (first === NO_META) return NO_META
    pool.setNext(first, packet.rest)
    let at = offset
    for (let meta = first; meta !== NO_META; meta = pool.next(meta)) {
      pool.set(meta, W_VALUE, at)
      at += pool.dataLength(meta)
    }
    packet.rest = NO_META
    packet.restLines = 0
    this.lines[row]! += lines
    this.heldBuffers += lines
    return first
  }

  /** Everything is there: the row's lines become the packet. */
  private complete(row: number, packet: ReceivedPacket): void {
    const { counters, pool } = this.parts
    const first = this.head[row]!
    let sum = 0
    for (let meta = first; meta !== NO_META; meta = pool.next(meta))
      sum = appendSum(sum, pool.get(meta, W_VALUE), pool.sum(meta))
    this.describe(packet, first)
    packet.length = this.total[row]!
    packet.sum = sum
    packet.rest = pool.next(first)
    packet.restLines = this.lines[row]! - 1
    this.heldBuffers -= this.lines[row]!
    this.head[row] = NO_META
    this.lines[row] = 0
    pool.freeMeta(first) // its reference to the buffer is the packet's now
    this.discard(row)
    counters.reassembled++
  }

  /** For a report about it: the row's first fragment alone. */
  private describeFirst(row: number, first: number): void {
    this.describe(this.expired, first)
    this.index.describe(row, this.expired)
    this.expired.length = this.expired.firstLength
    this.expired.sum = this.expired.firstSum
  }

  /** The packet's first part: the fragment with offset 0, behind whose frame header the IP header starts. */
  private describe(packet: ReceivedPacket, first: number): void {
    const { pool } = this.parts
    const buffer = pool.buffer(first)
    packet.buffer = buffer
    packet.view = pool.bufferView(buffer)
    packet.bufferAt = pool.bufferStart(buffer)
    packet.frameOffset = pool.get(first, W_SUM) >>> 16
    packet.headerAt = packet.bufferAt + packet.frameOffset + ETHERNET_HEADER_BYTES
    packet.at = packet.bufferAt + pool.dataOffset(first)
    packet.headerLength = packet.at - packet.headerAt
    packet.firstLength = pool.dataLength(first)
    packet.firstSum = pool.sum(first)
  }

  /** RFC 5722 4: the whole datagram is refused, with what has not come yet. */
  private refuse(row: number): number {
    this.parts.counters.dropOverlap++
    this.releaseLines(row)
    this.refused[row] = 1
    return FRAGMENT_DROPPED
  }

  /** Evicts until so many more buffers may be held; not the row that they are for. @returns false if that would not help */
  private makeRoom(row: number, buffers: number): boolean {
    const { pool, reserveBuffers } = this.parts
    if (this.heldBuffers >= Math.min(FRAGMENT_BUFFERS_PER_SOURCE_MAX, this.buffersMax >> 1)) this.curbSource(row)
    while (this.heldBuffers + buffers > this.buffersMax || pool.freeBuffers <= reserveBuffers) {
      let victim = this.oldest
      while (victim !== NO_ROW && (victim === row || this.lines[victim] === 0)) victim = this.younger[victim]!
      if (victim === NO_ROW) return false
      this.evict(victim)
    }
    return true
  }

  /** The oldest rows of the source of `row` go, while it holds more than its share. */
  private curbSource(row: number): void {
    const limit = Math.min(FRAGMENT_BUFFERS_PER_SOURCE_MAX, this.buffersMax >> 1)
    let held = 0
    for (let other = this.oldest; other !== NO_ROW; other = this.younger[other]!)
      if (this.index.isSameSource(other, row)) held += this.lines[other]!
    let victim = this.oldest
    while (held >= limit && victim !== NO_ROW) {
      const next = this.younger[victim]!
      if (victim !== row && this.index.isSameSource(victim, row) && this.lines[victim]! > 0) {
        held -= this.lines[victim]!
        this.evict(victim)
      }
      victim = next
    }
  }

  private evict(row: number): void {
    this.parts.counters.evicted++
    this.discard(row)
  }

  private create(protocol: number, identification: number): number {
    if (this.free === NO_ROW) this.evict(this.oldest)
    const row = this.free
    this.free = this.younger[row]!
    this.index.insert(row, protocol, identification)
    this.head[row] = NO_META
    this.tail[row] = NO_META
    this.lines[row] = 0
    this.bytes[row] = 0
    this.total[row] = UNKNOWN
    this.refused[row] = 0
    this.codepoints[row] = 0
    this.deadlineMs[row] = (this.nowMs + this.parts.timeoutMs) | 0
    this.older[row] = this.youngest
    this.younger[row] = NO_ROW
    if (this.youngest === NO_ROW) {
      this.oldest = row
      this.parts.timers.arm(this.parts.timer, this.deadlineMs[row]!)
    } else this.younger[this.youngest] = row
    this.youngest = row
    return row
  }

  /** Frees a row with all it holds. */
  private discard(row: number): void {
    this.releaseLines(row)
    this.index.remove(row)
    const older = this.older[row]!
    const younger = this.younger[row]!
    if (older === NO_ROW) this.oldest = younger
    else this.younger[older] = younger
    if (younger === NO_ROW) this.youngest = older
    else this.older[younger] = older
    this.younger[row] = this.free
    this.free = row
    if (this.oldest === NO_ROW) this.parts.timers.disarm(this.parts.timer)
  }

  private releaseLines(row: number): void {
    this.parts.pool.releaseChain(this.head[row]!)
    this.heldBuffers -= this.lines[row]!
    this.head[row] = NO_META
    this.tail[row] = NO_META
    this.lines[row] = 0
  }

  /** Behind the last byte of a line. */
  private endOf(meta: number): number {
    return this.parts.pool.get(meta, W_VALUE) + this.parts.pool.dataLength(meta)
  }
}
