/**
 * Snapshots: the store as it was at one version, readable while writers go on.
 *
 *   version ≤ snapshot's     in the list        unchanged since: read where it is
 *                            retained           superseded or deleted since: taken out of use as ever, but its lines
 *                                               and buffers stay until no snapshot needs them
 *   version > snapshot's     invisible          written since
 *
 * A snapshot lives in DRAM only. What it retains is durably cleared like everything superseded or deleted, so a crash
 * simply ends it, and recovery frees what only it held. Taking one costs nothing; each change of an entry that it sees
 * costs a map entry.
 *
 * Called by: commit.ts (`retiring`), store.ts, users. Calls: reclamation (pins), iteration.
 *
 * Invariants:
 *  1. A key that a snapshot sees is in exactly one place: in the list with a version up to the snapshot's, or retained.
 *  2. A retained entry is pinned once for each snapshot that retains it.
 *  3. An ended snapshot holds nothing, and every call on it but `close` throws.
 */
import { copyKey, versionNumber } from './entry.ts'
import { PackratError } from './errors.ts'
import { compareBytes, type EntryInfo, type EntrySource, iterate, ListSource, type Range, scan } from './iteration.ts'
import { NO_META } from './layout.ts'
import type { Pool } from './pool.ts'
import type { Reclamation } from './reclamation.ts'
import type { SkipList } from './skip-list.ts'

/** Snapshots that may be open at once: each one is asked about every entry that is superseded or deleted. */
export const SNAPSHOTS_MAX = 64

/** What snapshots need of the store. */
export interface SnapshotStore {
  readonly pool: Pool
  readonly list: SkipList
  /** The greatest version that is published. */
  readonly publishedVersion: number
  read(head: number): Uint8Array
}

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')

export class Snapshot implements EntrySource {
  /** No entry that is seen has a greater one. */
  readonly version: number
  private readonly store: SnapshotStore
  private readonly owner: Snapshots
  private readonly current: ListSource
  /** Retained heads by key, byte for byte as latin1 text, whose order is that of the bytes. */
  readonly retained = new Map<string, number>()
  /** Their keys in order, and those that are to be merged in. */
  private ordered: string[] = []
  private added: string[] = []
  private endedBecause: string | undefined

  constructor(store: SnapshotStore, owner: Snapshots) {
    this.version = store.publishedVersion
    this.store = store
    this.owner = owner
    this.current = new ListSource(store.list)
  }

  /** A copy of the value, or undefined. @throws CorruptionError, PackratError SNAPSHOT_GONE */
  get(key: Uint8Array): Uint8Array | undefined {
    const head = this.find(key, 0, key.length)
    return head === NO_META ? undefined : this.store.read(head)
  }

  /** Entries as of the snapshot, in key order; writers do not disturb it. @throws PackratError SNAPSHOT_GONE */
  entries(range: Range = {}): Generator<EntryInfo> {
    this.checkOpen()
    return iterate(this, this.store.pool, range)
  }

  /** The same step by step: undefined for each entry whose time of arrival is outside the range. @throws PackratError SNAPSHOT_GONE */
  scan(range: Range): Generator<EntryInfo | undefined> {
    this.checkOpen()
    return scan(this, this.store.pool, range)
  }

  /** Gives back what is retained. Closing twice is no error. */
  close(): void {
    this.owner.end(this, 'it was closed')
  }

  get ended(): boolean {
    return this.endedBecause !== undefined
  }

  /** The head of a key's entry, or NO_META; valid until the snapshot ends. @throws PackratError SNAPSHOT_GONE */
  find(bytes: Uint8Array, start: number, length: number): number {
    this.checkOpen()
    const head = this.store.list.find(bytes, start, length)
    if (head !== NO_META && this.sees(head)) return head
    return this.retained.get(latin1(bytes.subarray(start, start + length))) ?? NO_META
  }

  /* --- EntrySource --- */

  atOrBehind(key: Uint8Array): number {
    return this.forward(this.current.atOrBehind(key), key, 0)
  }

  behind(key: Uint8Array): number {
    return this.forward(this.current.behind(key), key, 1)
  }

  before(key: Uint8Array): number {
    this.checkOpen()
    const { list } = this.store
    let head = this.current.before(key)
    while (head !== NO_META && !this.sees(head)) head = list.before(head)
    const at = this.position(latin1(key)) - 1
    return this.choose(head, this.ordered[at], 1)
  }

  /** The first entry seen from a place in the list, or a retained one that is nearer; `least` 1: greater than the key itself. */
  private forward(from: number, key: Uint8Array, least: 0 | 1): number {
    this.checkOpen()
    const { list } = this.store
    let head = from
    while (head !== NO_META && !this.sees(head)) head = list.next(head)
    const text = latin1(key)
    let at = this.position(text)
    if (least === 1 && this.ordered[at] === text) at++
    return this.choose(head, this.ordered[at], -1)
  }

  /** Of an entry of the list and a retained one the smaller (-1) or greater (1) by key. */
  private choose(head: number, text: string | undefined, order: -1 | 1): number {
    if (text === undefined) return head
    const retained = this.retained.get(text)!
    if (head === NO_META) return retained
    const { pool } = this.store
    return compareBytes(copyKey(pool, retained), copyKey(pool, head)) * order > 0 ? retained : head
  }

  /** Index of the first retained key that is not before `text`. */
  private position(text: string): number {
    if (this.added.length > 0) this.mergeAdded()
    let low = 0
    let high = this.ordered.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.ordered[middle]! < text) low = middle + 1
      else high = middle
    }
    return low
  }

  private mergeAdded(): void {
    const added = this.added.sort()
    const merged: string[] = []
    let at = 0
    for (const text of this.ordered) {
      while (at < added.length && added[at]! < text) merged.push(added[at++]!)
      merged.push(text)
    }
    while (at < added.length) merged.push(added[at++]!)
    this.ordered = merged
    this.added = []
  }

  private checkOpen(): void {
    if (this.endedBecause === undefined) return
    throw new PackratError(
      'SNAPSHOT_GONE',
      `the snapshot of version ${this.version} is gone: ${this.endedBecause}; take another one`,
    )
  }

  /* --- for Snapshots --- */

  sees(head: number): boolean {
    const { pool } = this.store
    if (!this.owner.isDamaged(head)) return versionNumber(pool, head) <= this.version
    // Its version may be wrong: its key is to answer "corrupt", not "not found".
    return !this.retained.has(latin1(copyKey(pool, head)))
  }

  retain(key: string, head: number): void {
    this.retained.set(key, head)
    this.added.push(key)
  }

  finish(because: string): void {
    this.endedBecause = because
    this.retained.clear()
    this.ordered = []
    this.added = []
  }
}

/** An entry that snapshots retain. */
interface Holding {
  snapshots: number
  readonly lines: number
}

/** All open snapshots of a store. */
export class Snapshots {
  private readonly store: SnapshotStore
  private readonly reclamation: Reclamation
  /** Oldest first. */
  private open: Snapshot[] = []
  /** What is retained, by head. */
  private readonly holdings = new Map<number, Holding>()
  /** Lines that only snapshots keep from being free; as many buffers at most. */
  retainedLines = 0
  /** Snapshots that were ended to make room for a write. */
  endedForRoom = 0

  constructor(store: SnapshotStore, reclamation: Reclamation) {
    this.store = store
    this.reclamation = reclamation
  }

  get count(): number {
    return this.open.length
  }

  /** @throws PackratError SNAPSHOT_LIMIT */
  take(): Snapshot {
    if (this.open.length === SNAPSHOTS_MAX) {
      throw new PackratError('SNAPSHOT_LIMIT', `${SNAPSHOTS_MAX} snapshots are open; close one`)
    }
    const snapshot = new Snapshot(this.store, this)
    this.open.push(snapshot)
    return snapshot
  }

  /** An entry is about to be taken out of use: every snapshot that sees it retains it. */
  retiring(head: number): void {
    const { pool } = this.store
    let key: string | undefined
    for (const snapshot of this.open) {
      if (!snapshot.sees(head)) continue
      key ??= latin1(copyKey(pool, head))
      snapshot.retain(key, head)
      this.reclamation.pin(head)
      const holding = this.holdings.get(head)
      if (holding !== undefined) holding.snapshots++
      else this.hold(head)
    }
  }

  /** What a damaged line says is not believed: its version and its links mean nothing. */
  isDamaged(head: number): boolean {
    return this.reclamation.isDamaged(head)
  }

  end(snapshot: Snapshot, because: string): void {
    const index = this.open.indexOf(snapshot)
    if (index === -1) return
    this.open.splice(index, 1)
    for (const head of snapshot.retained.values()) {
      const holding = this.holdings.get(head)!
      if (--holding.snapshots === 0) {
        this.holdings.delete(head)
        this.retainedLines -= holding.lines
      }
      this.reclamation.unpin(head)
    }
    snapshot.finish(because)
  }

  endAll(because: string): void {
    for (const snapshot of [...this.open]) this.end(snapshot, because)
  }

  /**
   * Ends the oldest snapshot that retains anything, if all of them together retain enough.
   * @param lines lines or buffers that are missing
   * @returns whether one was ended
   */
  endForRoom(lines: number): boolean {
    if (this.retainedLines < lines) return false
    const oldest = this.open.find(({ retained }) => retained.size > 0)
    if (oldest === undefined) return false
    this.endedForRoom++
    this.end(oldest, 'a write needed the room that it kept')
    return true
  }

  private hold(head: number): void {
    const { pool } = this.store
    let lines = 1
    if (!this.isDamaged(head)) for (let meta = pool.next(head); meta !== NO_META; meta = pool.next(meta)) lines++
    this.holdings.set(head, { snapshots: 1, lines })
    this.retainedLines += lines
  }
}
