/**
 * Packing: copies entries out of mostly empty buffers into shared ones, so that a value of 100 bytes does not hold 2 KiB
 * for ever (docs/format.md, "Packing").
 *
 *   buffer 7   [ Ethernet IPv4 TCP | PUT /kv/a … | 100 bytes |              ]  ─┐
 *   buffer 9   [ Ethernet IPv4 TCP | PUT /kv/b … | 100 bytes |              ]  ─┼─►  [ a 100 bytes | b 100 bytes | … ]
 *   …                                                                          ─┘     one line for each entry, as before
 *
 * A copy is published like an overwrite, but with the version, arrival and value of the entry that it replaces: nobody
 * can tell the two apart, so every crash state in which either or both are there is the same store. What is lost is the
 * frame with its headers.
 *
 *   walk   0 ──────────────────────────────► last line      every head once a pass
 *   each head: sparse? ─► check it ─► copy ─► check the copy ─► stage;   one commit for all of a step
 *
 * A value that fills more than one buffer gets whole buffers, and one piece, at either end, that shares:
 *
 *   [ key, value mod 2048 ][ 2048 ][ 2048 ] …     or, if that is more than a buffer,     [ key, value ][ 2048 ] … [ rest ]
 *
 * Called by: tools/packing.ts, tools/compact.ts. Calls: entry-check, shared-buffers, store (stageMove, commit).
 *
 * Invariants:
 *  1. Bytes are copied only from an entry whose lines and payload were found right in the same call, and the copy is
 *     published only if its own sum is the one that the algebra of the old lines' sums gives.
 *  2. An entry that is being written or deleted is left alone.
 *  3. Nothing is packed twice for nothing: a shared buffer is left when it is more than half full, and becomes sparse
 *     again only when the foreground took most of that away. So packing copies no more than was written or deleted.
 *  4. A step takes neither the last buffers nor the last lines.
 */
import { appendSum, sumsEqual } from './checksum.ts'
import { adoptHead, copyArrival, keyLength, keyOffset, keyStart, valueLength } from './entry.ts'
import { EntryCheck } from './entry-check.ts'
import {
  ANCHOR_META,
  BUFFER_BYTES,
  LINE_BYTES,
  NO_FRAME,
  NO_META,
  W_PAYLOAD_CRC,
  W_PAYLOAD_CRC_COMPLEMENT,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from './layout.ts'
import type { Persistence } from './persistence.ts'
import type { Pool } from './pool.ts'
import type { CorruptEntry } from './recovery.ts'
import { SharedBuffers } from './shared-buffers.ts'
import type { Store } from './store.ts'

/** The pass goes on. */
export const PACK_MORE = 0
/** The pass is over. */
export const PACK_DONE = 1
/** Buffers or lines are short, or a program is on its way: try again later. */
export const PACK_BLOCKED = 2

/** What looking at a line that is no head costs of a step's budget: its height is one byte. */
const LINE_SKIP_BYTES = 1
/** Buffers and lines beside the pieces of the largest entry that a step may need. */
const ROOM_MIN = 16

export interface PackOptions {
  /** An entry moves if the buffers that it lies in hold at most so many live bytes each, on average. */
  readonly sparseBytes: number
  /** Entries of more lines stay where they are. */
  readonly linesMax: number
  /** Buffers and lines that are left for others. */
  readonly reserve: number
  /** Called once for each entry found damaged. */
  readonly onFinding: (finding: CorruptEntry) => void
}

/** Counters that `/stats` shows under `packing`. */
export class PackCounters {
  /** Complete walks over the lines. */
  passes = 0
  /** Part of the present walk that is done, 0 to 1. */
  progress = 0
  /** Bytes of keys and values copied. */
  bytesCopied = 0
  /** Entries found damaged before they were copied. */
  corrupt = 0
  /** Copies that did not come out as the original, and were thrown away. */
  spoilt = 0
}

export class Packer {
  readonly counters = new PackCounters()
  private readonly store: Store
  private readonly persistence: Persistence
  private readonly pool: Pool
  private readonly options: PackOptions
  private readonly entries: EntryCheck
  private readonly shared: SharedBuffers
  /** The line to look at next. */
  private next = ANCHOR_META + 1
  /** The entry being copied: the line to read from, and how much of its view is read. */
  private source = NO_META
  private sourceAt = 0
  /** Sum and length of what was copied of its value. */
  private copiedSum = 0
  private copiedLength = 0

  constructor(store: Store, persistence: Persistence, options: PackOptions) {
    this.store = store
    this.persistence = persistence
    this.pool = persistence.pool
    this.options = options
    this.entries = new EntryCheck(store, persistence, options.onFinding)
    this.shared = new SharedBuffers(this.pool)
  }

  /**
   * Goes on with the pass, and commits what was moved.
   * @param budgetBytes bound of what is read and copied; the last entry may exceed it
   * @returns PACK_MORE, PACK_DONE or PACK_BLOCKED
   */
  step(budgetBytes: number): number {
    const { store, pool, counters } = this
    if (store.busy || store.poisoned !== 0) return PACK_BLOCKED
    let left = budgetBytes
    while (left > 0 && this.next < pool.metaIndexEnd) {
      const meta = this.next
      if (!store.list.has(meta)) {
        left -= LINE_SKIP_BYTES
      } else {
        left -= LINE_BYTES
        if (this.isSparse(meta)) {
          if (this.room < ROOM_MIN) break
          left -= this.move(meta)
        }
      }
      this.next++
    }
    store.commit()
    counters.progress = this.next / pool.metaIndexEnd
    if (this.next < pool.metaIndexEnd) return left > 0 ? PACK_BLOCKED : PACK_MORE
    this.next = ANCHOR_META + 1
    counters.passes++
    return PACK_DONE
  }

  /** Gives up the buffers that are not full yet. */
  close(): void {
    this.shared.closeAll()
  }

  /** Buffers, and as many lines, that a step may still take. */
  private get room(): number {
    return Math.min(this.pool.freeBuffers, this.pool.freeMetas) - this.options.reserve
  }

  private isSparse(head: number): boolean {
    const { pool } = this
    const { linesMax, sparseBytes } = this.options
    let live = 0
    let lines = 0
    for (let meta = head; meta !== NO_META; meta = pool.next(meta)) {
      // The links of an entry that was found damaged mean nothing.
      if (++lines > linesMax || !pool.isMeta(meta) || !pool.isBuffer(pool.buffer(meta))) return false
      live += pool.bufferLiveBytes(pool.buffer(meta))
    }
    return live <= lines * sparseBytes && !(lines === 1 && this.shared.isOpen(pool.buffer(head)))
  }

  /** Copies an entry, if it may be moved now. @returns bytes read and written */
  private move(head: number): number {
    const { store, pool } = this
    if (store.checks.isMarkedCorrupt(head)) return 0
    if (store.current(pool.buffer(head), keyOffset(pool, head), keyLength(pool, head)) !== head) return 0
    const bytes = keyLength(pool, head) + valueLength(pool, head)
    if (Math.ceil(bytes / BUFFER_BYTES) + 1 > this.room) return 0
    for (let meta = head; meta !== NO_META; meta = pool.next(meta)) {
      if (this.entries.check(head, meta)) continue
      this.counters.corrupt++
      return bytes
    }
    this.copy(head)
    this.counters.bytesCopied += bytes
    return 2 * bytes
  }

  private copy(head: number): void {
    const { store, pool } = this
    const key = keyLength(pool, head)
    const value = valueLength(pool, head)
    this.source = head
    this.sourceAt = 0
    this.copiedSum = 0
    this.copiedLength = 0
    const rest = value % BUFFER_BYTES
    const first = value <= BUFFER_BYTES - key ? value : key + rest <= BUFFER_BYTES ? rest : BUFFER_BYTES - key
    const copy = this.copyHead(head, key, first)
    let tail = copy
    for (let at = first; at < value; at += BUFFER_BYTES) {
      const fragment = this.copyPiece(
        this.shared.take(Math.min(value - at, BUFFER_BYTES)),
        0,
        Math.min(value - at, BUFFER_BYTES),
      )
      store.appendFragment(copy, tail, fragment)
      this.storeCrc(fragment)
      tail = fragment
    }
    if (this.isFaithful(head, copy)) store.stageMove(copy, tail)
    else {
      this.counters.spoilt++
      store.discard(copy)
    }
  }

  private copyHead(head: number, key: number, first: number): number {
    const { pool } = this
    const buffer = this.shared.take(key + first)
    const { offset } = this.shared
    const from = keyStart(pool, head)
    pool.bufferBytes(buffer).set(pool.dataBytes(head).subarray(from, from + key), pool.bufferStart(buffer) + offset)
    const copy = this.copyPiece(buffer, key, first)
    adoptHead(pool, copy, offset, key)
    pool.set(copy, W_VERSION_LOW, pool.get(head, W_VERSION_LOW))
    pool.set(copy, W_VERSION_HIGH, pool.get(head, W_VERSION_HIGH))
    this.storeCrc(copy)
    return copy
  }

  /**
   * A line for the next `length` bytes of the value, copied to `skip` bytes behind the place that was taken. It arrived
   * when the line arrived that its first byte was in.
   */
  private copyPiece(buffer: number, skip: number, length: number): number {
    const { pool } = this
    const offset = this.shared.offset + skip
    const arrival = this.source
    const target = pool.bufferBytes(buffer)
    let to = pool.bufferStart(buffer) + offset
    for (let left = length; left > 0; ) {
      const part = Math.min(pool.dataLength(this.source) - this.sourceAt, left)
      const from = pool.dataStartOf(this.source) + this.sourceAt
      target.set(pool.dataBytes(this.source).subarray(from, from + part), to)
      to += part
      left -= part
      this.sourceAt += part
      while (this.sourceAt === pool.dataLength(this.source) && pool.next(this.source) !== NO_META) {
        this.source = pool.next(this.source)
        this.sourceAt = 0
      }
    }
    const sum = this.persistence.sumView(buffer, offset, length)
    this.copiedSum = appendSum(this.copiedSum, this.copiedLength, sum)
    this.copiedLength += length
    const meta = pool.createView(buffer, offset, length, sum | (NO_FRAME << 16))
    copyArrival(pool, arrival, meta)
    return meta
  }

  /** The bytes are at hand: a copy gets its CRC32C at once, not from the scrubber. */
  private storeCrc(meta: number): void {
    const { pool } = this
    const crc = this.persistence.crcView(pool.buffer(meta), pool.dataOffset(meta), pool.dataLength(meta))
    pool.set(meta, W_PAYLOAD_CRC, crc)
    pool.set(meta, W_PAYLOAD_CRC_COMPLEMENT, ~crc)
  }

  /** Whether the sums of the old lines, put together, are that of the copy; and the CRC32C, where it is of the same bytes. */
  private isFaithful(head: number, copy: number): boolean {
    const { pool } = this
    let sum = 0
    let length = 0
    for (let meta = head; meta !== NO_META; meta = pool.next(meta)) {
      sum = appendSum(sum, length, pool.sum(meta))
      length += pool.dataLength(meta)
    }
    if (length !== this.copiedLength || !sumsEqual(sum, this.copiedSum)) return false
    const crc = pool.get(head, W_PAYLOAD_CRC)
    const hasCrc = crc !== 0 || pool.get(head, W_PAYLOAD_CRC_COMPLEMENT) !== 0
    return !hasCrc || pool.dataLength(head) !== pool.dataLength(copy) || crc === pool.get(copy, W_PAYLOAD_CRC)
  }
}
