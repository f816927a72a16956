/**
 * The store: a durable, ordered map from keys to values that are packets.
 *
 * Two ways in. The in-place way (the network's) hands over lines that already lie in the region: `stagePut`,
 * `stageDelete`, `find`, `verify`, then `commit` once for a whole receive burst. The library way copies: `put`,
 * `get`, `delete`, `batch`, `entries`, usable without any network.
 *
 *   store.ts ─► commit.ts ─► persist-program.ts ─► Persistence (region.ts)
 *       └─────► skip-list.ts, recovery.ts, read-check.ts
 *
 * Invariants:
 *  1. `find` and iteration see published entries only, so a reply to a read never runs ahead of durability.
 *  2. Bytes that fail their check never leave: `verify` comes before the first byte.
 */

import {
  type BatchOperation,
  type BatchResult,
  type Condition,
  checkCondition,
  checkKey,
  checkValue,
  stageBatch,
} from './atomic-batch.ts'
import { Commit, type IntegrityMode } from './commit.ts'
import type { CommitCounters } from './commit-counters.ts'
import { Completions } from './completions.ts'
import { buffersFor, type CopiedEntry, copyEntry } from './copied-entry.ts'
import { adoptFragment, copyKey, valueLength } from './entry.ts'
import { CorruptionError, FullError, PackratError } from './errors.ts'
import { type EntryInfo, iterate, ListSource, type Range, scan } from './iteration.ts'
import { NO_BUFFER, NO_META } from './layout.ts'
import type { Persistence } from './persistence.ts'
import type { Pool } from './pool.ts'
import { ReadCheck } from './read-check.ts'
import { type RecoveryReport, recover } from './recovery.ts'
import { Room } from './room.ts'
import { SkipList } from './skip-list.ts'
import { type Snapshot, Snapshots } from './snapshot.ts'

export interface StoreOptions {
  readonly integrity?: IntegrityMode
  /** Uniform int32 source for the shape of the index; seed it to replay a run. */
  readonly random: () => number
  /** Wall clock, ns since the epoch, for entries written through the library interface. */
  readonly clock?: () => bigint
}

export class Store {
  readonly pool: Pool
  readonly list: SkipList
  readonly report: RecoveryReport
  readonly snapshots: Snapshots
  /** What may be served, and what is known to be damaged. */
  readonly checks: ReadCheck
  /** Payload bytes copied on their way into the store: 0 while packets stay where they arrived. */
  payloadBytesCopied = 0

  private readonly persistence: Persistence
  private readonly commitment: Commit
  private readonly clock: () => bigint
  private readonly space: Room
  private readonly completions = new Completions()
  /** Buffers that count as free although a device holds them ready for reception. */
  idleBuffers: () => number = () => 0

  /** Opens the store of a region: recovers it and makes the mended state durable. */
  constructor(persistence: Persistence, options: StoreOptions) {
    this.persistence = persistence
    this.pool = persistence.pool
    this.clock = options.clock ?? (() => BigInt(Date.now()) * 1_000_000n)
    this.list = new SkipList(this.pool, options.random)
    this.commitment = new Commit(persistence, this.list, options.integrity ?? 'tcp')
    this.checks = new ReadCheck(persistence, this.commitment.publication.verified, this.commitment.reclamation)
    this.report = recover(persistence, this.list, this.commitment.reclamation, this.checks.corruptHeads)
    this.commitment.versions.start(Math.max(this.report.nextVersion, persistence.versionFloor))
    this.commitment.publishedVersion = this.nextVersion - 1
    this.snapshots = new Snapshots(this, this.commitment.reclamation)
    this.commitment.publication.onRetire = (head, moved) => this.retiring(head, moved)
    this.commitment.onComplete = (batch, error) => this.completions.complete(batch, error, () => this.poisonError())
    this.space = new Room(this.pool, this.commitment, this.snapshots, () => this.idleBuffers())
    // Superseded chains take two programs: heads first, then their fragments.
    while (this.commitment.hasDebts && !this.commitment.busy && this.commitment.poisoned === 0) this.commitment.settle()
  }

  /* --- state --- */

  get records(): number {
    return this.list.size
  }

  get counters(): CommitCounters {
    return this.commitment.counters
  }

  /** Buffers and lines that writes may still take. */
  get room(): number {
    return this.space.left
  }

  get reservedBuffers(): number {
    return this.space.reserve
  }

  /** Negative error number of the sync that failed, or 0. A poisoned store is read-only. */
  get poisoned(): number {
    return this.commitment.poisoned
  }

  get asynchronous(): boolean {
    return this.persistence.asynchronous
  }

  /** A program is on its way: no other may start. */
  get busy(): boolean {
    return this.commitment.busy
  }

  /** The batch that changes are being staged into. */
  get stagingBatch(): number {
    return this.commitment.stagingNumber
  }

  /** The last batch with changes that is not durable yet, or 0: what a reply that saw those changes has to wait for. */
  get pendingBatch(): number {
    return this.commitment.pendingNumber
  }

  /** The version that the next staged put gets. */
  get nextVersion(): number {
    return this.commitment.versions.next
  }

  /** The greatest version that a published entry may have. */
  get publishedVersion(): number {
    return this.commitment.publishedVersion
  }

  /** Whether anything waits for `commit` or `settle`. */
  get isIdle(): boolean {
    return !this.commitment.hasStaged && !this.commitment.busy && !this.commitment.hasDebts
  }

  get hasStaged(): boolean {
    return this.commitment.hasStaged
  }

  /** Registers a listener for completed batches: error 0 means durable. */
  onComplete(listener: (batch: number, error: number) => void): void {
    this.completions.listen(listener)
  }

  /* --- in place --- */

  /** Whether a write that needs so many buffers may be taken; cleans up first if that may help, and ends snapshots if it does not. */
  hasRoom(buffers: number): boolean {
    return this.space.has(buffers)
  }

  /** Whether a program that is due or on its way may still make room: a write that finds none should wait for it. */
  get owesRoom(): boolean {
    return this.space.isOwed
  }

  /** The published entry of a key, or NO_META. */
  find(bytes: Uint8Array, start: number, length: number): number {
    return this.list.find(bytes, start, length)
  }

  /**
   * The head that is or, once batches under way complete, will be current for a key; NO_META if none.
   * For conditions of writes, whose replies wait for those batches.
   */
  current(buffer: number, offset: number, length: number): number {
    return this.currentAt(this.pool.bufferBytes(buffer), this.pool.bufferStart(buffer) + offset, length)
  }

  /** The same for a key outside the region. */
  currentOf(key: Uint8Array): number {
    return this.currentAt(key, 0, key.length)
  }

  private currentAt(bytes: Uint8Array, start: number, length: number): number {
    const pending = this.commitment.pending(bytes, start, length)
    return pending !== -1 ? pending : this.list.find(bytes, start, length)
  }

  /** Links a received view behind the tail of an entry; the tail before it is complete and goes to the medium early. */
  appendFragment(head: number, tail: number, meta: number): void {
    adoptFragment(this.pool, head, tail, meta)
    if (tail !== head) this.commitment.sealFragment(tail)
  }

  /** Stages a complete entry; returns the head that was current before, or NO_META. */
  stagePut(head: number, tail: number): number {
    return this.commitment.stagePut(head, tail)
  }

  /** Stages a copy of a published entry that is to take its place (packing.ts). */
  stageMove(head: number, tail: number): void {
    this.commitment.stageMove(head, tail)
  }

  /** Stages a deletion; returns the head that was current before, or NO_META. */
  stageDelete(buffer: number, offset: number, length: number): number {
    return this.commitment.stageDelete(buffer, offset, length)
  }

  /**
   * Stages copies of all operations, to be committed together or not at all.
   * @param arrivalNs arrival time of the entries, ns since the epoch
   * @throws PackratError KEY_LENGTH, VALUE_LENGTH, BATCH_SIZE, POISONED, ConditionError, FullError: then nothing has changed
   */
  stageBatch(operations: readonly BatchOperation[], arrivalNs = this.clock()): void {
    this.checkWritable()
    this.payloadBytesCopied += stageBatch(this, this.persistence, this.commitment, operations, arrivalNs)
  }

  /** Gives up an entry that was not staged. */
  discard(head: number): void {
    this.commitment.discard(head)
  }

  /** Commits what is staged; see Commit. */
  commit(): void {
    this.commitment.commit()
  }

  settle(): void {
    this.commitment.settle()
  }

  pin(head: number): void {
    this.commitment.reclamation.pin(head)
  }

  unpin(head: number): void {
    this.commitment.reclamation.unpin(head)
  }

  /** ReadCheck.verify: NO_META if every byte of an entry may be served, else the line whose check fails. */
  verify(head: number): number {
    return this.checks.verify(head)
  }

  private retiring(head: number, moved: boolean): void {
    this.checks.retiring(head)
    // A snapshot that sees an entry sees its copy in another place as well.
    if (this.snapshots.count > 0 && !moved) this.snapshots.retiring(head)
  }

  /* --- library --- */

  /**
   * Stores a copy of `value`. Resolves with its version when it is durable.
   * @throws FullError, ConditionError, PackratError KEY_LENGTH, VALUE_LENGTH, POISONED
   */
  put(key: Uint8Array, value: Uint8Array, expect?: Condition): Promise<bigint> {
    if (expect !== undefined) checkCondition(this.persistence, this.currentOf(key), expect)
    const head = this.write(key, value)
    const batch = this.stagingBatch
    const version = BigInt(this.nextVersion)
    this.stagePut(head.head, head.tail)
    this.commit()
    return this.whenDurable(batch).then(() => version)
  }

  /**
   * Removes a key. Resolves with whether it was there, when that is durable.
   * @throws FullError, ConditionError, PackratError KEY_LENGTH, POISONED
   */
  delete(key: Uint8Array, expect?: Condition): Promise<boolean> {
    this.checkWritable()
    checkKey(key)
    if (expect !== undefined) checkCondition(this.persistence, this.currentOf(key), expect)
    const buffer = this.pool.allocateBuffer()
    if (buffer === NO_BUFFER) throw new FullError('no buffer left for the request')
    this.pool.bufferBytes(buffer).set(key, this.pool.bufferStart(buffer))
    const batch = this.stagingBatch
    const existed = this.stageDelete(buffer, 0, key.length) !== NO_META
    this.pool.releaseBuffer(buffer)
    if (!existed) return this.whenPublished().then(() => false)
    this.commit()
    return this.whenDurable(batch).then(() => true)
  }

  /**
   * Does all operations or, after a crash, none; see `stageBatch`. Resolves when they are durable.
   * @throws PackratError KEY_LENGTH, VALUE_LENGTH, BATCH_SIZE, POISONED, ConditionError, FullError: then nothing has changed
   */
  batch(operations: readonly BatchOperation[]): Promise<BatchResult> {
    this.stageBatch(operations)
    const result = { committed: operations.length, version: BigInt(this.nextVersion - 1) }
    return this.whenPublished().then(() => result)
  }

  /** A copy of the value, or undefined. Throws CorruptionError; never returns bytes that fail their check. */
  get(key: Uint8Array): Uint8Array | undefined {
    const head = this.find(key, 0, key.length)
    return head === NO_META ? undefined : this.read(head)
  }

  /** A copy of an entry's value. Throws CorruptionError. */
  read(head: number): Uint8Array {
    const faulty = this.verify(head)
    if (faulty !== NO_META) {
      throw new CorruptionError(copyKey(this.pool, head), faulty, this.pool.buffer(faulty), 'payload fails its check')
    }
    const value = new Uint8Array(valueLength(this.pool, head))
    let at = 0
    for (let meta = head; meta !== NO_META; meta = this.pool.next(meta)) {
      const start = this.pool.dataStartOf(meta)
      value.set(this.pool.dataBytes(meta).subarray(start, start + this.pool.dataLength(meta)), at)
      at += this.pool.dataLength(meta)
    }
    return value
  }

  /** Published entries in key order. Entries written or removed while iterating may or may not be seen; all others are seen once. */
  entries(range: Range = {}): Generator<EntryInfo> {
    return iterate(new ListSource(this.list), this.pool, range)
  }

  /** `entries` step by step: undefined for each entry whose time of arrival is outside the range. */
  scan(range: Range): Generator<EntryInfo | undefined> {
    return scan(new ListSource(this.list), this.pool, range)
  }

  /**
   * The published state as it is now, to read while writers go on; close it, because it keeps what they replace.
   * A write that finds no room ends the oldest one that keeps some. @throws PackratError SNAPSHOT_LIMIT
   */
  snapshot(): Snapshot {
    return this.snapshots.take()
  }

  /** Resolves when everything that `current` tells of is durable and can be read: then an answer may rest on it. */
  whenPublished(): Promise<void> {
    const batch = this.pendingBatch
    this.commit()
    return this.whenDurable(batch)
  }

  /**
   * Resolves when everything staged is durable and everything free is usable. No program is on its way behind it either way.
   * @throws PackratError POISONED: what was staged is not durable, even if nothing of it is left to be seen
   */
  async drain(): Promise<void> {
    while (this.busy || (!this.isIdle && this.poisoned === 0)) {
      if (this.busy) await new Promise((resolve) => setImmediate(resolve))
      else this.settle()
    }
    if (this.poisoned !== 0) throw this.poisonError()
  }

  poisonError(): PackratError {
    return new PackratError(
      'POISONED',
      `a sync of the region failed (error ${-this.poisoned}); the store is read-only, restart to recover`,
    )
  }

  /** Copies a value into buffers of its own and chains them. */
  private write(key: Uint8Array, value: Uint8Array): CopiedEntry {
    this.checkWritable()
    checkKey(key)
    checkValue(value)
    const buffers = buffersFor(key.length, value.length)
    if (!this.hasRoom(buffers)) throw new FullError(`no room for ${value.length} bytes; delete something`)
    const entry = copyEntry(this, this.persistence, key, value, this.clock())
    this.payloadBytesCopied += value.length
    return entry
  }

  private checkWritable(): void {
    if (this.poisoned !== 0) throw this.poisonError()
  }

  private whenDurable(batch: number): Promise<void> {
    if (this.poisoned !== 0) return Promise.reject(this.poisonError())
    if (this.commitment.completedNumber >= batch) return Promise.resolve()
    return this.completions.wait(batch)
  }
}
