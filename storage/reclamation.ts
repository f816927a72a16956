/**
 * How entries that are out of use become free lines and buffers again, without ever being taken for committed ones:
 *
 *   superseded   publish ─► [clear head, flush links] ─► [clear fragments] ─► free
 *   deleted      publish (cleared the head)           ─► [clear fragments] ─► free
 *   given up     (never published)                    ─► [clear what was sealed] ─► free       [ ] = one program
 *   group        publish ─► [seal members anew, clear superseded] ─► [clear group, tombstones] ─► free
 *
 * Called by: commit.ts (every program takes what is owed), recovery.ts, store.ts (pins).
 *
 * Invariants:
 *  1. A superseded entry is cleared only in a program behind the one that published its successor; a deleted one is
 *     cleared by the publishing fence itself. So an old version can never come back.
 *  2. A head is durably cleared before its fragments are: a committed head always has its whole chain.
 *  3. A line is released only when a program that cleared it AND flushed the links that led to it has run.
 *  4. What a damaged line says is not believed: neither lines nor buffers are released by it.
 *  5. A group and its tombstones are durably committed until every member is durably sealed as a plain head, or replaced
 *     or deleted, and every entry that a tombstone stands for is durably cleared.
 *  6. The lines of a pinned entry stay as they are, commit word apart, until the last reader has unpinned it.
 */
import { type Batch, LineList } from './batch.ts'
import { FLAG_MEMBER, KIND_HEAD, NO_META, packState, stateFlags, stateGeneration, W_STATE } from './layout.ts'
import type { Pool } from './pool.ts'
import type { SkipList } from './skip-list.ts'

/** Fragments that one program clears, so that giving back a huge value does not make a huge program. */
const RECLAIMS_PER_PROGRAM = 1 << 17

export class Reclamation {
  private readonly pool: Pool
  private readonly list: SkipList
  /** Superseded heads: to clear in the next program. */
  private readonly heads = new LineList()
  /** Of these the ones with fragments, which follow only when the heads are durably cleared. */
  private readonly retiring = new LineList()
  /** Lines to clear, and to release when the program that clears them has run. */
  private readonly reclaims = new LineList()
  /** Lines that are cleared already, or by the next program, and may be released behind it. */
  private readonly releases = new LineList()
  /** Members of a committed group: to be sealed as plain heads by the next program. */
  private readonly members = new LineList()
  /** Groups and tombstones: to be cleared by the program behind the next. */
  private readonly deferred = new LineList()
  /** Entries being sent: how many readers, by head; and those retired meanwhile. */
  private readonly pins = new Map<number, number>()
  private readonly retiredWhilePinned = new Set<number>()
  /** Fragments of entries with a broken chain, as recovery found them: their links are never followed. */
  readonly brokenChains = new Map<number, number[]>()

  /** Entries with a line that was damaged while the store ran. */
  private readonly quarantine = new Set<number>()

  constructor(pool: Pool, list: SkipList) {
    this.pool = pool
    this.list = list
  }

  /** What the lines of this entry name may not be followed: they and their buffers are kept back until the next open. */
  quarantineEntry(head: number): void {
    this.quarantine.add(head)
  }

  /** Whether the lines of a published entry, its version among them, mean nothing. */
  isDamaged(head: number): boolean {
    return this.brokenChains.has(head) || this.quarantine.has(head)
  }

  /** Whether lines wait for a program. */
  get hasDebts(): boolean {
    const groups = this.members.length + this.deferred.length
    return this.heads.length + this.retiring.length + this.reclaims.length + this.releases.length + groups > 0
  }

  /**
   * Takes an entry out of use: what publishing superseded or deleted, and recovery's older versions.
   * @param cleared the head's commit word is durably 0 already (deleted)
   */
  retire(head: number, cleared: boolean): void {
    const { pool } = this
    if (this.quarantine.size > 0 && this.quarantine.delete(head)) {
      if (!cleared) this.heads.push(head)
      return
    }
    const fragments = this.brokenChainOf(head)
    if (fragments === undefined) {
      for (let meta = head; meta !== NO_META; meta = pool.next(meta)) pool.unmarkStored(meta)
    } else {
      pool.unmarkStored(head)
      for (const meta of fragments) pool.unmarkStored(meta)
    }
    if (cleared) {
      this.releaseUnlessPinned(head)
      return
    }
    this.heads.push(head)
    const single = pool.next(head) === NO_META && fragments === undefined
    if (single) this.releaseUnlessPinned(head)
    else this.retiring.push(head)
  }

  /** Clears and releases a line that belongs to no entry. */
  reclaim(meta: number): void {
    this.reclaims.push(meta)
  }

  /** Makes a member of a committed group an entry of its own. */
  settleMember(head: number): void {
    this.members.push(head)
  }

  /** A member that the next program replaces or deletes is not settled: it goes with its group. */
  forgetMember(head: number): void {
    this.members.remove(head)
  }

  /** Clears and releases a group or a tombstone when the next program has run. */
  defer(meta: number): void {
    this.deferred.push(meta)
  }

  /** Keeps an entry's lines intact while it is being sent. */
  pin(head: number): void {
    this.pins.set(head, (this.pins.get(head) ?? 0) + 1)
  }

  unpin(head: number): void {
    const left = this.pins.get(head)! - 1
    if (left > 0) {
      this.pins.set(head, left)
      return
    }
    this.pins.delete(head)
    if (this.retiredWhilePinned.delete(head)) this.releaseEntry(head)
  }

  /**
   * Adds what is owed to a batch's program, ahead of its first fence.
   * @returns whether it clears superseded heads: before a newer version is deleted, that must be durable
   */
  addTo(batch: Batch): boolean {
    const { program } = batch
    const clearsHeads = this.heads.length > 0
    for (let i = 0; i < this.members.length; i++) {
      const head = this.members.lines[i]!
      const state = this.pool.get(head, W_STATE)
      this.list.flushedWithLine(head)
      program.sealLine(head, packState(stateGeneration(state), KIND_HEAD, stateFlags(state) & ~FLAG_MEMBER))
    }
    this.members.length = 0
    for (let i = 0; i < this.deferred.length; i++) batch.deferred.push(this.deferred.lines[i]!)
    this.deferred.length = 0
    for (let i = 0; i < this.heads.length; i++) {
      const head = this.heads.lines[i]!
      this.list.flushedWithLine(head)
      program.clearLine(head)
    }
    this.heads.length = 0
    for (let i = 0; i < this.retiring.length; i++) batch.retired.push(this.retiring.lines[i]!)
    this.retiring.length = 0
    for (let i = 0; i < this.releases.length; i++) batch.releasable.push(this.releases.lines[i]!)
    this.releases.length = 0
    for (let left = RECLAIMS_PER_PROGRAM; left > 0 && this.reclaims.length > 0; left--) {
      const meta = this.reclaims.lines[--this.reclaims.length]!
      program.clearLine(meta)
      batch.releasable.push(meta)
    }
    return clearsHeads
  }

  /** The batch's program has run: releases what it made free, and queues what may follow. */
  finish(batch: Batch): void {
    const { pool } = this
    for (let i = 0; i < batch.retired.length; i++) this.releaseUnlessPinned(batch.retired.lines[i]!)
    for (let i = 0; i < batch.releasable.length; i++) pool.release(batch.releasable.lines[i]!)
    for (let i = 0; i < batch.deferred.length; i++) this.reclaim(batch.deferred.lines[i]!)
    for (let i = 0; i < batch.discarded.length; i++) {
      const meta = batch.discarded.lines[i]!
      // Sealed as a fragment by this program or an earlier one: it must be durably cleared before it is anybody else's.
      if (pool.get(meta, W_STATE) !== 0) this.reclaim(meta)
      else pool.release(meta)
    }
  }

  /** Asked for every entry that goes out of use: a look into a map costs more than all the rest, and it is nearly always empty. */
  private brokenChainOf(head: number): number[] | undefined {
    return this.brokenChains.size === 0 ? undefined : this.brokenChains.get(head)
  }

  private releaseUnlessPinned(head: number): void {
    if (this.pins.size > 0 && this.pins.has(head)) this.retiredWhilePinned.add(head)
    else this.releaseEntry(head)
  }

  private releaseEntry(head: number): void {
    const { pool } = this
    const fragments = this.brokenChainOf(head)
    this.releases.push(head)
    if (fragments !== undefined) {
      this.brokenChains.delete(head)
      for (const meta of fragments) this.reclaim(meta)
      return
    }
    for (let meta = pool.next(head); meta !== NO_META; meta = pool.next(meta)) this.reclaim(meta)
  }
}
