/**
 * The frames that hold chosen entries, in arrival order. Several lines, of several entries, may name one buffer (one
 * segment brought pipelined requests): it is one frame, and it is met once.
 *
 *   entries ──► add(head) ──► lines by frame ──► frames sorted by arrival ──► frames()
 *
 * A frame that is longer than a buffer begins in one and goes on in others. Its payload is a piece of a stream, and so is
 * the value that runs over the end of the first buffer: the value's next lines are the rest of the frame.
 *
 * A buffer without a frame holds copied bytes: a key that was percent-encoded or came in pieces, small pieces of a value
 * that were gathered, a value from the library, small values that were packed; or a later buffer of a long frame of which
 * the value has nothing else. The bytes of each line are exported as a
 * frame of EtherType 0x88b5 (IEEE 802 local experimental), from and to the address 0, at the time of their own arrival:
 * so the capture holds every value whole, and nothing in it passes for a packet that never was.
 *
 * Called by: tools/export.ts.
 */
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ethernetType } from '../stack/wire/ethernet.ts'
import { ipv4TotalLength } from '../stack/wire/ipv4.ts'
import { IPV6_HEADER_BYTES, ipv6PayloadLength } from '../stack/wire/ipv6.ts'
import { copyKey, durableEnd, durableStart, valueLength, versionOf } from '../storage/entry.ts'
import {
  BUFFER_BYTES,
  KIND_HEAD,
  NO_FRAME,
  NO_META,
  stateKind,
  viewLength,
  viewOffset,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_KEY,
  W_STATE,
  W_SUM,
  W_VALUE,
  W_VERSION_LOW,
} from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import { percentEncode } from './kv/key-codec.ts'

export interface FramePiece {
  readonly bytes: Uint8Array
  readonly start: number
  readonly length: number
}

export interface StoredFrame {
  /** Arrival, ns since the epoch: lower and upper 32 bits. */
  readonly low: number
  readonly high: number
  /** The header of a synthesised frame, and the pieces in which the bytes lie. */
  readonly prefix: Uint8Array
  readonly pieces: readonly FramePiece[]
  /** Of all of it. */
  readonly length: number
  /** What lies where, a line for each view. */
  readonly comment: string
}

const NO_PREFIX = new Uint8Array(0)
const NO_FRAME_HEADER = new Uint8Array(ETHERNET_HEADER_BYTES)
NO_FRAME_HEADER.set([0x88, 0xb5], ETHERNET_HEADER_BYTES - 2)

export class StoredFrames {
  private readonly pool: Pool
  /** The first line met of each frame, and all lines without one. */
  private readonly leaders: number[] = []
  /** Further lines on the same frame: the first line by buffer index, the others by line index. */
  private readonly firstLine: Int32Array
  private readonly nextLine: Int32Array
  /** The rest of a long frame: lines by the buffer in which it begins. */
  private readonly rests = new Map<number, number[]>()

  constructor(pool: Pool) {
    this.pool = pool
    this.firstLine = new Int32Array(pool.bufferIndexEnd)
    this.nextLine = new Int32Array(pool.metaIndexEnd)
  }

  /** Adds the lines of an entry. */
  add(head: number): void {
    const { pool, firstLine, nextLine } = this
    let rest: number[] = []
    let restBytes = 0
    for (let meta = head; meta !== NO_META; meta = pool.next(meta)) {
      const buffer = pool.buffer(meta)
      const before = firstLine[buffer]!
      if (!this.arrived(meta)) {
        if (restBytes > 0 && pool.dataLength(meta) <= restBytes) {
          rest.push(meta)
          restBytes -= pool.dataLength(meta)
        } else {
          restBytes = 0
          this.leaders.push(meta)
        }
        continue
      }
      if (before === NO_META) {
        firstLine[buffer] = meta
        this.leaders.push(meta)
      } else {
        nextLine[meta] = nextLine[before]!
        nextLine[before] = meta
      }
      restBytes = this.bytesBehind(meta)
      rest = []
      if (restBytes > 0) this.rests.set(buffer, rest)
    }
  }

  /** Earliest first; what arrived in one burst, in the order of the versions and of the pieces of a value. */
  *frames(): Generator<StoredFrame> {
    this.leaders.sort((a, b) => this.compare(a, b))
    for (const meta of this.leaders) yield this.frame(meta)
  }

  /** Whether the bytes of a line came in a frame that is still around them. */
  private arrived(meta: number): boolean {
    return this.pool.get(meta, W_SUM) >>> 16 !== NO_FRAME
  }

  private compare(a: number, b: number): number {
    const { pool } = this
    const high = (pool.get(a, W_ARRIVAL_HIGH) >>> 0) - (pool.get(b, W_ARRIVAL_HIGH) >>> 0)
    if (high !== 0) return high
    const low = (pool.get(a, W_ARRIVAL_LOW) >>> 0) - (pool.get(b, W_ARRIVAL_LOW) >>> 0)
    if (low !== 0) return low
    const version = Number(versionOf(pool, this.headOf(a)) - versionOf(pool, this.headOf(b)))
    return version !== 0 ? version : this.valueOffset(a) - this.valueOffset(b)
  }

  private headOf(meta: number): number {
    const isHead = stateKind(this.pool.get(meta, W_STATE)) === KIND_HEAD
    return isHead ? meta : this.pool.get(meta, W_VERSION_LOW)
  }

  private valueOffset(meta: number): number {
    return this.headOf(meta) === meta ? 0 : this.pool.get(meta, W_VALUE) >>> 0
  }

  private frame(first: number): StoredFrame {
    const { pool } = this
    const buffer = pool.buffer(first)
    let from = BUFFER_BYTES
    let to = 0
    for (let meta = first; meta !== NO_META; meta = this.nextLine[meta]!) {
      from = Math.min(from, durableStart(pool, meta))
      to = Math.max(to, durableEnd(pool, meta))
    }
    const arrived = this.arrived(first)
    const rest = arrived ? (this.rests.get(buffer) ?? []) : []
    const wireLength = arrived ? this.frameLength(buffer, from) : 0
    if (from + wireLength <= BUFFER_BYTES) to = Math.max(to, from + wireLength)
    const prefix = arrived ? NO_PREFIX : NO_FRAME_HEADER
    const pieces = [{ bytes: pool.bufferBytes(buffer), start: pool.bufferStart(buffer) + from, length: to - from }]
    let length = to - from
    const comments = [this.describe(first, from - prefix.length, arrived)]
    for (const meta of rest) {
      const piece = { bytes: pool.dataBytes(meta), start: pool.dataStartOf(meta), length: pool.dataLength(meta) }
      comments.push(this.describeView(meta, pool.dataOffset(meta) - length))
      pieces.push(piece)
      length += piece.length
    }
    return {
      low: pool.get(first, W_ARRIVAL_LOW),
      high: pool.get(first, W_ARRIVAL_HIGH),
      prefix,
      pieces,
      length: prefix.length + length,
      comment: comments.join('\n'),
    }
  }

  /** Bytes of a frame that lie behind the view with which it runs over the end of its first buffer; 0: it does not. */
  private bytesBehind(meta: number): number {
    const { pool } = this
    const from = durableStart(pool, meta)
    const wireLength = this.frameLength(pool.buffer(meta), from)
    return from + wireLength <= BUFFER_BYTES ? 0 : from + wireLength - pool.dataOffset(meta) - pool.dataLength(meta)
  }

  /** What the frame's own headers say. Views may end before the frame does. */
  private frameLength(buffer: number, offset: number): number {
    const view = this.pool.bufferView(buffer)
    const at = this.pool.bufferStart(buffer) + offset
    const packet = at + ETHERNET_HEADER_BYTES
    const type = ethernetType(view, at)
    if (type === ETHERTYPE_IPV4) return ETHERNET_HEADER_BYTES + ipv4TotalLength(view, packet)
    if (type === ETHERTYPE_IPV6) return ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + ipv6PayloadLength(view, packet)
    return 0
  }

  /** The comment's lines of the views in one buffer; offsets count from the frame's first byte. */
  private describe(first: number, origin: number, arrived: boolean): string {
    const parts = arrived ? [] : ['packrat no-frame: bytes of which the store has no frame']
    for (let meta = first; meta !== NO_META; meta = this.nextLine[meta]!) parts.push(this.describeView(meta, origin))
    return parts.join('\n')
  }

  /** `packrat key=K version=V value=FROM+LENGTH at=OFFSET`. @param origin where the frame would begin in the buffer */
  private describeView(meta: number, origin: number): string {
    const { pool } = this
    const head = this.headOf(meta)
    const name = `packrat key=${percentEncode(copyKey(pool, head))} version=${versionOf(pool, head)}`
    const value = `value=${this.valueOffset(meta)}+${pool.dataLength(meta)} at=${pool.dataOffset(meta) - origin}`
    if (head !== meta) return `${name} ${value}`
    const key = pool.get(meta, W_KEY)
    return `${name} size=${valueLength(pool, head)} key-at=${viewOffset(key) - origin}+${viewLength(key)} ${value}`
  }
}
