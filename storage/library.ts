/**
 * The store without the network: a region file opened as an ordered key-value map (docs/library.md).
 *
 *   openStore(path) ─► KeyValueStore ─► store.ts ─► …           keys and values: bytes, or text as UTF-8
 *                          └─► StoreSnapshot ─► snapshot.ts
 *
 * What it adds to store.ts: the file's life, text, waiting for room that is on its way, and errors instead of undefined
 * behaviour once it is closed. Called by: users, through index.ts.
 */
import type { BatchOperation, BatchResult, Condition } from './atomic-batch.ts'
import type { IntegrityMode } from './commit.ts'
import type { Durability, DurabilityRequest } from './durability.ts'
import { ConditionError, FullError, PackratError, RegionError } from './errors.ts'
import { describeEntry, type EntryInfo, type Range } from './iteration.ts'
import { NO_META } from './layout.ts'
import type { CorruptEntry } from './recovery.ts'
import { Region } from './region.ts'
import type { Snapshot } from './snapshot.ts'
import { Store } from './store.ts'

/** Text stands for its UTF-8 bytes. */
export type Bytes = Uint8Array | string

export interface OpenStoreOptions {
  /** Create the file with so many bytes if there is none. */
  readonly createBytes?: number
  readonly durability?: DurabilityRequest
  readonly integrity?: IntegrityMode
  /** Look only: the file is locked shared and never changes. */
  readonly readOnly?: boolean
}

export interface Entry {
  readonly key: Uint8Array
  /** Bytes of the value. */
  readonly size: number
  readonly version: bigint
  /** When it was written, or its first frame received: ns since the epoch. */
  readonly arrival: bigint
}

export interface ScanRange {
  readonly prefix?: Bytes | undefined
  /** First key, inclusive. */
  readonly start?: Bytes | undefined
  /** Last key, exclusive. */
  readonly end?: Bytes | undefined
  readonly limit?: number | undefined
  readonly reverse?: boolean | undefined
  /** Arrival at or after, and before: ns since the epoch. */
  readonly since?: bigint | undefined
  readonly until?: bigint | undefined
}

export interface WriteOptions {
  /** What the key must be like now, else ConditionError. */
  readonly expect?: Condition | undefined
}

/** An operation of `batch`. */
export type BatchWrite =
  | { readonly op: 'put'; readonly key: Bytes; readonly value: Bytes; readonly expect?: Condition | undefined }
  | { readonly op: 'delete'; readonly key: Bytes; readonly expect?: Condition | undefined }

/**
 * Opens a region file, recovers it, and locks it until `close`.
 * @throws RegionError ENOENT, ELOCKED, NOT_A_REGION, FORMAT_VERSION, FEATURES, LENGTH, HEADER, ENOSPC, DURABILITY …
 */
export function openStore(path: string, options: OpenStoreOptions = {}): KeyValueStore {
  return new KeyValueStore(openRegion(path, options), options)
}

function openRegion(path: string, options: OpenStoreOptions): Region {
  const open = (): Region =>
    new Region(path, { durability: options.durability ?? 'auto', readOnly: options.readOnly ?? false })
  try {
    return open()
  } catch (error) {
    if (!(error instanceof RegionError) || error.code !== 'ENOENT' || options.createBytes === undefined) throw error
    Region.create(path, { bytes: options.createBytes })
    return open()
  }
}

/** An open store. Keys have 1 to 1024 bytes and are ordered by unsigned bytes. */
export class KeyValueStore {
  private readonly region: Region
  private readonly store: Store
  private readonly readOnly: boolean
  private open = true

  constructor(region: Region, options: OpenStoreOptions) {
    this.region = region
    this.readOnly = options.readOnly ?? false
    try {
      this.store = new Store(region, {
        integrity: options.integrity ?? 'tcp',
        random: () => (Math.random() * 2 ** 32) | 0, // the shape of the index only
      })
      if (!this.readOnly) region.markOpen()
    } catch (error) {
      region.close()
      throw error
    }
  }

  /** What a resolved write survives on this machine, and the evidence. */
  get durability(): Durability {
    return this.region.durability
  }

  get records(): number {
    return this.store.records
  }

  /** What recovery found damaged. Reading such a key throws CorruptionError until it is written or deleted. */
  get corrupt(): readonly CorruptEntry[] {
    return this.store.report.corrupt
  }

  /**
   * Stores a copy of a value. Resolves with its version when it is durable.
   * @throws FullError, ConditionError, PackratError KEY_LENGTH, VALUE_LENGTH, POISONED, READ_ONLY, CLOSED
   */
  put(key: Bytes, value: Bytes, options: WriteOptions = {}): Promise<bigint> {
    return this.write(() => this.store.put(bytesOf(key), bytesOf(value), options.expect))
  }

  /** Removes a key. Resolves with whether it was there, when that is durable. @throws as `put` */
  delete(key: Bytes, options: WriteOptions = {}): Promise<boolean> {
    return this.write(() => this.store.delete(bytesOf(key), options.expect))
  }

  /**
   * Does all operations together, or none: if the batch is refused, and after a crash. Of several operations on one key the
   * last counts; conditions are about the state before the batch. @throws as `put`, and BATCH_SIZE
   */
  batch(operations: readonly BatchWrite[]): Promise<BatchResult> {
    const converted: BatchOperation[] = operations.map((operation) =>
      operation.op === 'put'
        ? { ...operation, key: bytesOf(operation.key), value: bytesOf(operation.value) }
        : { ...operation, key: bytesOf(operation.key) },
    )
    return this.write(() => this.store.batch(converted))
  }

  /** A copy of the value, or undefined. @throws CorruptionError (bytes that fail their check are never returned) */
  get(key: Bytes): Uint8Array | undefined {
    return this.opened().get(bytesOf(key))
  }

  /** Size, version and arrival of a key, or undefined. */
  describe(key: Bytes): Entry | undefined {
    const bytes = bytesOf(key)
    const head = this.opened().find(bytes, 0, bytes.length)
    return head === NO_META ? undefined : toEntry(describeEntry(this.store.pool, head))
  }

  /** Entries in key order. What is written or removed meanwhile may or may not be seen; everything else is seen once. */
  scan(range: ScanRange = {}): Generator<Entry> {
    this.opened()
    return entriesOf(() => this.opened(), range)
  }

  /** The state as it is now, to read while writers go on. Close it. @throws PackratError SNAPSHOT_LIMIT, CLOSED */
  snapshot(): StoreSnapshot {
    return new StoreSnapshot(this.opened().snapshot())
  }

  /**
   * Waits for all writes and closes the file in order; snapshots end. Closing twice is no error.
   * @throws PackratError POISONED: not all of them are durable; the file is closed all the same
   */
  async close(): Promise<void> {
    if (!this.open) return
    this.open = false
    try {
      if (!this.readOnly) await this.store.drain()
    } finally {
      this.store.snapshots.endAll('the store was closed')
      // A poisoned store was not stopped in order.
      this.region.close(this.readOnly || this.store.poisoned !== 0 ? undefined : this.store.nextVersion)
    }
  }

  private opened(): Store {
    if (!this.open) throw new PackratError('CLOSED', 'the store is closed; open it again')
    return this.store
  }

  /** Tries a write again when room that is on its way has come. A refused condition is told when what it saw can be read. */
  private async write<T>(action: () => Promise<T>): Promise<T> {
    if (this.readOnly) throw new PackratError('READ_ONLY', 'the store was opened for reading; open it without readOnly')
    for (;;) {
      const store = this.opened()
      try {
        return await action()
      } catch (error) {
        if (error instanceof ConditionError) await store.whenPublished()
        if (!(error instanceof FullError) || !store.owesRoom) throw error
        await store.drain()
      }
    }
  }
}

/** A snapshot of an open store; see `KeyValueStore.snapshot`. */
export class StoreSnapshot {
  private readonly snapshot: Snapshot

  constructor(snapshot: Snapshot) {
    this.snapshot = snapshot
  }

  /** No entry that it sees has a greater one. */
  get version(): bigint {
    return BigInt(this.snapshot.version)
  }

  /** Whether it was closed, with the store or by itself, or ended because a write needed the room that it kept. */
  get ended(): boolean {
    return this.snapshot.ended
  }

  /** @throws CorruptionError, PackratError SNAPSHOT_GONE */
  get(key: Bytes): Uint8Array | undefined {
    return this.snapshot.get(bytesOf(key))
  }

  /** Entries as of the snapshot, whatever writers do. @throws PackratError SNAPSHOT_GONE */
  scan(range: ScanRange = {}): Generator<Entry> {
    return entriesOf(() => this.snapshot, range)
  }

  close(): void {
    this.snapshot.close()
  }
}

function bytesOf(value: Bytes): Uint8Array {
  return typeof value === 'string' ? new Uint8Array(Buffer.from(value)) : value
}

function toEntry({ key, size, version, arrival }: EntryInfo): Entry {
  return { key, size, version, arrival }
}

/** @param source asked before each step, for between two the store may have been closed */
function* entriesOf(source: () => Store | Snapshot, range: ScanRange): Generator<Entry> {
  const { prefix, start, end } = range
  const bounds: Range = {
    ...range,
    prefix: prefix === undefined ? undefined : bytesOf(prefix),
    start: start === undefined ? undefined : bytesOf(start),
    end: end === undefined ? undefined : bytesOf(end),
  }
  for (const entry of source().entries(bounds)) {
    yield toEntry(entry)
    source()
  }
}
