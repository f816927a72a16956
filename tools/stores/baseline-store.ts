/**
 * A baseline behind the HTTP service: gives an engine the shape of a store.
 *
 *   service ─ stagePut ─► engine.put          copies out of the network's buffers
 *           ─ commit ───► engine.commit ─► listeners: replies leave; the staged lines go back to the network
 *           ─ find ─────► engine.find ─► value copied into network buffers, as a chain that the service sends
 *
 * Invariants:
 *  1. A staged chain is released when its batch starts to commit, a chain made by `find` at the next commit unless it is pinned.
 *  2. One commit at a time: what is staged meanwhile is the next batch.
 */
import { sumBytes } from '../../storage/checksum.ts'
import { adoptFragment, adoptHead } from '../../storage/entry.ts'
import {
  BUFFER_BYTES,
  NO_BUFFER,
  NO_FRAME,
  NO_META,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { type Engine, PUT_CREATED, PUT_FULL } from './engine.ts'
import { FIND_EXHAUSTED, type KvStore } from './kv-store.ts'

/** Errno of a batch in which a write found no room at its end: its connections close without a reply. */
const ENOSPC = 28
/** Share of the network's buffers that receiving values may not take, so that reads and the network go on. */
const RESERVE_SHARE = 4

export class BaselineStore implements KvStore {
  readonly pool: Pool
  readonly engine: Engine
  readonly poisoned = 0
  payloadBytesCopied = 0
  stagingBatch = 1

  private readonly idleBuffers: () => number
  private readonly listeners: ((batch: number, error: number) => void)[] = []
  /** Chains of the batch being staged: the first `stagedCount`. */
  private readonly staged: number[] = []
  private stagedCount = 0
  private changes = 0
  private isFull = false
  /** The batch on its way to the medium; 0: none. */
  private committing = 0
  /** Chains that `find` made since the last commit. */
  private readonly served: number[] = []
  private readonly pinned = new Set<number>()
  private readonly completed = (error: number): void => this.finish(error)

  /**
   * @param pool the network's
   * @param idleBuffers buffers that a device holds ready for reception: they count as free
   */
  constructor(engine: Engine, pool: Pool, idleBuffers: () => number) {
    this.engine = engine
    this.pool = pool
    this.idleBuffers = idleBuffers
  }

  get pendingBatch(): number {
    return this.changes > 0 ? this.stagingBatch : this.committing
  }

  get room(): number {
    const { pool } = this
    const free = Math.min(pool.freeBuffers + this.idleBuffers(), pool.freeMetas)
    return free - Math.floor(pool.totalBuffers / RESERVE_SHARE)
  }

  get owesRoom(): boolean {
    return this.committing !== 0 || this.changes > 0
  }

  /** Resolves when everything staged is durable. */
  async drained(): Promise<void> {
    while (this.owesRoom) {
      this.commit()
      if (this.owesRoom) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  onComplete(listener: (batch: number, error: number) => void): void {
    this.listeners.push(listener)
  }

  hasRoom(buffers: number): boolean {
    return this.room >= buffers && this.engine.hasRoom(buffers * BUFFER_BYTES)
  }

  /* --- writes --- */

  appendFragment(head: number, tail: number, meta: number): void {
    adoptFragment(this.pool, head, tail, meta)
  }

  stagePut(head: number): number {
    this.staged[this.stagedCount++] = head
    this.changes++
    const result = this.engine.put(this.pool, head)
    if (result === PUT_FULL) this.isFull = true
    return result === PUT_CREATED ? NO_META : head
  }

  stageDelete(buffer: number, offset: number, length: number): number {
    const { pool } = this
    const existed = this.engine.remove(pool.bufferBytes(buffer), pool.bufferStart(buffer) + offset, length)
    if (!existed) return NO_META
    this.changes++
    return 1 // any line but NO_META: the caller asks only whether there was one
  }

  discard(head: number): void {
    this.pool.releaseChain(head)
  }

  commit(): void {
    if (this.served.length > 0) this.releaseServed()
    if (this.changes === 0 || this.committing !== 0) return
    this.committing = this.stagingBatch++
    this.changes = 0
    for (let i = 0; i < this.stagedCount; i++) this.pool.releaseChain(this.staged[i]!)
    this.stagedCount = 0
    this.engine.commit(this.completed)
  }

  private finish(error: number): void {
    const batch = this.committing
    this.committing = 0
    const outcome = error === 0 && this.isFull ? -ENOSPC : error
    this.isFull = false
    for (const listener of this.listeners) listener(batch, outcome)
  }

  /* --- reads --- */

  find(bytes: Uint8Array, start: number, length: number): number {
    return this.engine.find(bytes, start, length) ? this.materialize() : NO_META
  }

  /** Baselines have no conditional writes: what asks nevertheless (If-Modified-Since, which writes ignore) gets the same answer twice. */
  current(): number {
    return NO_META
  }

  verify(head: number): number {
    return this.engine.found.isIntact ? NO_META : head
  }

  pin(head: number): void {
    this.pinned.add(head)
  }

  unpin(head: number): void {
    this.pinned.delete(head)
    if (!this.served.includes(head)) this.served.push(head)
  }

  /** Copies what the engine found into buffers of the network; all of it, or FIND_EXHAUSTED. */
  private materialize(): number {
    const { pool } = this
    const { found } = this.engine
    const head = this.copyPiece(0)
    if (head === NO_META) return FIND_EXHAUSTED
    adoptHead(pool, head, 0, 0)
    pool.set(head, W_VERSION_LOW, found.versionLow)
    pool.set(head, W_VERSION_HIGH, found.versionHigh)
    pool.set(head, W_ARRIVAL_LOW, found.arrivalLow)
    pool.set(head, W_ARRIVAL_HIGH, found.arrivalHigh)
    let tail = head
    for (let at = pool.dataLength(head); at < found.length; at += pool.dataLength(tail)) {
      const piece = this.copyPiece(at)
      if (piece === NO_META) {
        pool.releaseChain(head)
        return FIND_EXHAUSTED
      }
      adoptFragment(pool, head, tail, piece)
      tail = piece
    }
    this.served.push(head)
    return head
  }

  /** A line on a buffer of its own with the piece of the value from `at` on; NO_META if the network has none to spare. */
  private copyPiece(at: number): number {
    const { pool } = this
    const { found } = this.engine
    const length = Math.min(found.length - at, BUFFER_BYTES)
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) return NO_META
    const start = pool.bufferStart(buffer)
    const from = found.start + at
    pool.bufferBytes(buffer).set(found.bytes.subarray(from, from + length), start)
    const sum = sumBytes(pool.bufferView(buffer), start, length)
    const meta = pool.createView(buffer, 0, length, sum | (NO_FRAME << 16))
    if (meta === NO_META) pool.releaseBuffer(buffer)
    return meta
  }

  private releaseServed(): void {
    for (const head of this.served) if (!this.pinned.has(head)) this.pool.releaseChain(head)
    this.served.length = 0
  }
}
