/**
 * `--store conventional`: what NoveLSM and LevelDB do for each write, in persistent memory, written as carefully as our
 * own store: no second copy, native CRC32C, size-class allocator, exact index, and two fences for a whole burst.
 *
 *   prepare     the request as a record's header and key, in DRAM                        put
 *   allocate    a cell for the record, and a node for a new key                          put
 *   copy        header, key and value into the cell                                      put
 *   checksum    CRC32C over the record                                                   put
 *   fence 1     records and nodes are durable; nothing leads to them                     commit
 *   publish     one 4-byte store each: a node's record, or a predecessor's link          commit
 *   fence 2     the links are durable; what was superseded is free                       commit
 *
 *   area   [ header line | anchor | cells: records and nodes ]
 *
 * The steps can be switched off one at a time, to see what each costs (`packrat bench table1`). Called by:
 * baseline-store.ts.
 *
 * Invariants:
 *  1. A cell that a durable pointer leads to is released only behind fence 2 of the batch that redirected the pointer.
 *  2. A 4-byte store is the only change to anything that recovery can reach.
 */
import { keyLength, keyStart, valueLength } from '../../storage/entry.ts'
import { PackratError } from '../../storage/errors.ts'
import { hashKey, keyPrefix } from '../../storage/key.ts'
import {
  ARRIVAL_BY_HARDWARE,
  KEY_LENGTH_MAX,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_KEY_PREFIX,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from '../../storage/layout.ts'
import { crc32c } from '../../storage/pmem.ts'
import type { Pool } from '../../storage/pool.ts'
import type { Area } from './area.ts'
import { Arena, cellBytes } from './arena.ts'
import { ANCHOR_NODE, ConventionalIndex, N_NEXT, N_RECORD, NO_NODE, NODE_BYTES } from './conventional-index.ts'
import {
  CRC_START_BYTES,
  R_ARRIVAL_HIGH,
  R_ARRIVAL_LOW,
  R_CRC,
  R_KEY_LENGTH,
  R_VALUE_LENGTH,
  R_VERSION_HIGH,
  R_VERSION_LOW,
  RECORD_HEADER_BYTES,
  recordBytes,
  recordKeyLength,
  recordKeyStart,
} from './conventional-record.ts'
import { copyValue } from './copy.ts'
import { type Engine, Found, PUT_CREATED, PUT_FULL, PUT_REPLACED } from './engine.ts'

/** 'PKCV': the area belongs to this store. */
const MAGIC = 0x50_4b_43_56
/** The first cell, behind the header's line and the anchor. */
const CELLS_START = ANCHOR_NODE + NODE_BYTES
/** What writes that began together may still need when the last one was let in. */
const RESERVE_SHARE = 16
const VERSION_HALF = 2 ** 32

/** Which steps of a write are done; all of them, except in measurements. */
export interface ConventionalSteps {
  readonly prepare: boolean
  readonly checksum: boolean
  readonly copy: boolean
  /** Allocation of cells and insertion; without it every record is written to the same place, and all must be of one size. */
  readonly insert: boolean
}

const ALL_STEPS: ConventionalSteps = { prepare: true, checksum: true, copy: true, insert: true }

export class ConventionalEngine implements Engine {
  readonly name = 'conventional'
  readonly promise: string
  readonly hasIndex = true
  readonly isAsynchronous = false
  readonly found = new Found()
  private readonly area: Area
  private readonly words: Int32Array
  private readonly arena: Arena
  private readonly index: ConventionalIndex
  /** Measurements leave steps out, once every key was written with all of them. */
  steps = ALL_STEPS
  private version = 1
  /** Where records go while `insert` is left out; 0: nowhere yet. */
  private unindexed = 0

  /** The request being prepared: a record's header and key. */
  private readonly request = new Uint8Array(RECORD_HEADER_BYTES + KEY_LENGTH_MAX)
  private readonly requestWords = new Int32Array(this.request.buffer, 0, RECORD_HEADER_BYTES >> 2)

  /* Staged: the record of a put and its node (or NO_NODE), or 0 and the node to remove. The first `stagedCount`. */
  private readonly stagedRecords: number[] = []
  private readonly stagedNodes: number[] = []
  private readonly stagedEpochs: number[] = []
  private stagedCount = 0
  /** Cells that are free behind fence 2: cell and bytes, in pairs. */
  private readonly retired: number[] = []
  private retiredCount = 0

  /** Opens what the area holds. @throws PackratError BASELINE_AREA if it is another store's, or damaged */
  constructor(area: Area, random: () => number) {
    this.area = area
    this.words = area.words
    this.promise = `class ${area.region.durability.class}`
    this.arena = new Arena(area.words)
    this.index = new ConventionalIndex(area, random)
    if (this.words[0] !== MAGIC) this.format()
    this.recover()
  }

  get records(): number {
    return this.index.size
  }

  hasRoom(bytes: number): boolean {
    return this.arena.unusedBytes >= bytes + Math.floor(this.area.length / RESERVE_SHARE)
  }

  /* --- writes --- */

  put(pool: Pool, head: number): number {
    const { steps, words } = this
    const key = pool.dataBytes(head)
    const start = keyStart(pool, head)
    const length = keyLength(pool, head)
    const value = valueLength(pool, head)
    if (steps.prepare) this.prepare(pool, head, key, start, length, value)
    const bytes = RECORD_HEADER_BYTES + length + value
    const record = steps.insert ? this.arena.allocate(bytes) : this.unindexedCell(bytes)
    if (record === 0) return PUT_FULL
    if (steps.copy) {
      const from = RECORD_HEADER_BYTES + length
      for (let i = CRC_START_BYTES; i < from; i++) this.area.bytes[record + i] = this.request[i]!
      copyValue(pool, head, this.area.bytes, record + from)
    }
    if (steps.checksum) {
      words[(record >> 2) + R_CRC] = crc32c(this.area.bytes, record + CRC_START_BYTES, bytes - CRC_START_BYTES) | 0
    }
    this.area.flush(record, bytes)
    return steps.insert ? this.stageRecord(key, start, length, record, pool.get(head, W_KEY_PREFIX)) : PUT_REPLACED
  }

  private unindexedCell(bytes: number): number {
    if (this.unindexed === 0) this.unindexed = this.arena.allocate(bytes)
    return this.unindexed
  }

  private prepare(pool: Pool, head: number, key: Uint8Array, start: number, length: number, value: number): void {
    const { request, requestWords } = this
    const version = this.version++
    pool.set(head, W_VERSION_LOW, version | 0)
    pool.set(head, W_VERSION_HIGH, Math.floor(version / VERSION_HALF))
    requestWords[R_VALUE_LENGTH] = value
    requestWords[R_KEY_LENGTH] = length
    requestWords[R_VERSION_LOW] = version | 0
    requestWords[R_VERSION_HIGH] = Math.floor(version / VERSION_HALF)
    requestWords[R_ARRIVAL_LOW] = pool.get(head, W_ARRIVAL_LOW)
    requestWords[R_ARRIVAL_HIGH] = pool.get(head, W_ARRIVAL_HIGH) & ~ARRIVAL_BY_HARDWARE
    for (let i = 0; i < length; i++) request[RECORD_HEADER_BYTES + i] = key[start + i]!
  }

  /** Remembers a written record for the commit, with a node if its key has none. */
  private stageRecord(key: Uint8Array, start: number, length: number, record: number, prefix: number): number {
    const { index } = this
    const existing = index.find(hashKey(key, start, length), key, start, length)
    let node = NO_NODE
    if (existing === NO_NODE) {
      node = this.arena.allocate(NODE_BYTES)
      if (node === NO_NODE) {
        this.arena.release(record, recordBytes(this.words, record))
        return PUT_FULL
      }
      index.locate(key, start, length)
      index.prepare(node, record, prefix)
      this.area.flush(node, NODE_BYTES)
    }
    this.stage(record, node)
    return existing === NO_NODE ? PUT_CREATED : PUT_REPLACED
  }

  remove(key: Uint8Array, start: number, length: number): boolean {
    // The key may be staged: what is, becomes durable first, so that the order of the changes holds.
    if (this.stagedCount > 0) this.publish()
    const node = this.index.find(hashKey(key, start, length), key, start, length)
    if (node === NO_NODE) return false
    this.stage(0, node)
    return true
  }

  private stage(record: number, node: number): void {
    const at = this.stagedCount++
    this.stagedRecords[at] = record
    this.stagedNodes[at] = node
    this.stagedEpochs[at] = this.index.epoch
  }

  commit(done: (error: number) => void): void {
    done(this.publish())
  }

  /** Makes everything staged durable. @returns 0, or a negative error number */
  private publish(): number {
    const error = this.area.fence()
    if (error !== 0) return error
    const isAlone = this.stagedCount === 1
    for (let at = 0; at < this.stagedCount; at++) {
      const record = this.stagedRecords[at]!
      if (record === 0) this.publishRemoval(this.stagedNodes[at]!)
      else this.publishRecord(record, this.stagedNodes[at]!, isAlone && this.stagedEpochs[at] === this.index.epoch)
    }
    this.stagedCount = 0
    const failed = this.area.fence()
    if (failed !== 0) return failed
    for (let at = 0; at < this.retiredCount; at += 2) this.arena.release(this.retired[at]!, this.retired[at + 1]!)
    this.retiredCount = 0
    return 0
  }

  /** @param isLocated the index still has this key's place from when it was staged */
  private publishRecord(record: number, node: number, isLocated: boolean): void {
    const { index, words, area } = this
    const start = recordKeyStart(record)
    const length = recordKeyLength(words, record)
    const hash = hashKey(area.bytes, start, length)
    const existing = index.find(hash, area.bytes, start, length)
    if (existing !== NO_NODE) {
      const old = index.record(existing)
      words[(existing >> 2) + N_RECORD] = record
      area.flush(existing + (N_RECORD << 2), 4)
      this.retire(old, recordBytes(words, old))
      if (node !== NO_NODE) this.retire(node, NODE_BYTES) // the batch brought this new key twice
      return
    }
    // A key that was there when it was staged was removed since: it gets its node only now.
    const fresh = node !== NO_NODE ? node : this.arena.allocate(NODE_BYTES)
    if (fresh === NO_NODE) throw new PackratError('BASELINE_FULL', 'no room for a node in the reserve of the area')
    if (!isLocated) index.locate(area.bytes, start, length)
    if (node === NO_NODE) {
      index.prepare(fresh, record, keyPrefix(area.bytes, start, length))
      area.flush(fresh, NODE_BYTES)
      area.fence()
    }
    const changed = index.insert(fresh, hash)
    area.flush(fresh, NODE_BYTES)
    area.flush(changed + (N_NEXT << 2), 4)
  }

  private publishRemoval(node: number): void {
    const { index, words, area } = this
    const record = index.record(node)
    const start = recordKeyStart(record)
    const length = recordKeyLength(words, record)
    // The same batch may have removed it already.
    if (index.find(hashKey(area.bytes, start, length), area.bytes, start, length) !== node) return
    const changed = index.remove(node)
    area.flush(changed + (N_NEXT << 2), 4)
    this.retire(record, recordBytes(words, record))
    this.retire(node, NODE_BYTES)
  }

  private retire(cell: number, bytes: number): void {
    this.retired[this.retiredCount++] = cell
    this.retired[this.retiredCount++] = bytes
  }

  /* --- reads --- */

  find(key: Uint8Array, start: number, length: number): boolean {
    const { found, words } = this
    const node = this.index.find(hashKey(key, start, length), key, start, length)
    if (node === NO_NODE) return false
    const record = this.index.record(node)
    const at = record >> 2
    const bytes = recordBytes(words, record)
    found.bytes = this.area.bytes
    found.start = record + RECORD_HEADER_BYTES + words[at + R_KEY_LENGTH]!
    found.length = words[at + R_VALUE_LENGTH]!
    found.versionLow = words[at + R_VERSION_LOW]!
    found.versionHigh = words[at + R_VERSION_HIGH]!
    found.arrivalLow = words[at + R_ARRIVAL_LOW]!
    found.arrivalHigh = words[at + R_ARRIVAL_HIGH]!
    found.isIntact =
      (crc32c(this.area.bytes, record + CRC_START_BYTES, bytes - CRC_START_BYTES) | 0) === words[at + R_CRC]
    return true
  }

  close(): void {
    this.area.close()
  }

  /* --- opening --- */

  private format(): void {
    const { words, area } = this
    words.fill(0, 0, CELLS_START >> 2)
    area.flush(0, CELLS_START)
    area.fence()
    words[0] = MAGIC
    area.flush(0, 4)
    area.fence()
  }

  /** Walks level 0: rebuilds the levels above, the exact index and the free ranges. */
  private recover(): void {
    const { index, words } = this
    const used: [number, number][] = [[0, CELLS_START]]
    index.clear()
    for (let node = index.next(ANCHOR_NODE); node !== NO_NODE; node = index.next(node)) {
      const record = index.record(node)
      if (
        !this.isCell(node, NODE_BYTES) ||
        !this.isCell(record, RECORD_HEADER_BYTES) ||
        used.length > this.area.length >> 5
      ) {
        throw damaged(this.area)
      }
      const bytes = recordBytes(words, record)
      if (recordKeyLength(words, record) < 0 || !this.isCell(record, bytes)) throw damaged(this.area)
      used.push([node, node + NODE_BYTES], [record, record + cellBytes(bytes)])
      index.adopt(node)
      const at = record >> 2
      const version = words[at + R_VERSION_HIGH]! * VERSION_HALF + (words[at + R_VERSION_LOW]! >>> 0)
      this.version = Math.max(this.version, version + 1)
    }
    used.sort(([a], [b]) => a - b)
    const free: [number, number][] = []
    let end = 0
    for (const [start, behind] of used) {
      if (start < end) throw damaged(this.area)
      if (start > end) free.push([end, start])
      end = behind
    }
    if (end < this.area.length) free.push([end, this.area.length])
    this.arena.restart(free.reverse())
  }

  private isCell(offset: number, bytes: number): boolean {
    return offset >= CELLS_START && (offset & 63) === 0 && bytes > 0 && bytes <= this.area.length - offset
  }
}

function damaged(area: Area): PackratError {
  return new PackratError(
    'BASELINE_AREA',
    `${area.region.path}: not an area of --store conventional, or a damaged one; remove it to begin with an empty one`,
  )
}
