/**
 * Batch commit: two fences for everything that one receive burst staged (docs/format.md, "Publishing").
 *
 *   stage ──► build ──► execute ─────────────────────────────────────► publish ──► release
 *             persist   flush payloads, seal fragments,                index in     lines that the
 *             program   clear superseded, flush links      FENCE 1     DRAM         program made
 *                       seal heads, clear deleted          FENCE 2                  reusable
 *
 * Called by: store.ts. Calls: persistence (the program), skip-list (places), publication, reclamation (what is released).
 *
 * Invariants:
 *  1. A head is sealed only behind a fence that made its payload and its fragments durable. (Its own fields, the
 *     level-0 successor among them, need no earlier flush: they share the cache line with the commit word and were
 *     stored before it. Links that lead to the head are stored only behind fence 2.)
 *  2. Every program has exactly two fences if it publishes, three with an atomic batch, one if it only settles, or only
 *     deletes while no superseded entry waits to be cleared. One that owes nothing has none, or one where barriers are
 *     asynchronous: the fragments of a large value have to be durable only ahead of their head.
 *  3. After a failed program nothing is published or released any more: `poisoned`. What is staged then is answered
 *     with that error, never left waiting.
 */
import { Batch, CHANGE_DELETE, CHANGE_PUT } from './batch.ts'
import { CommitCounters } from './commit-counters.ts'
import { durableEnd, durableStart, stateToSeal } from './entry.ts'
import { openGroup, sealGroup, sealMembers, toTombstone } from './group.ts'
import { hashKey } from './key.ts'
import {
  EXTENT_BUFFERS_SHIFT,
  FLAG_MEMBER,
  KIND_FRAGMENT,
  KIND_HEAD,
  NO_META,
  packView,
  stateFlags,
  viewLength,
  viewOffset,
  W_BUFFER,
  W_KEY,
  W_NEXT,
  W_STATE,
  W_VERSION_LOW,
} from './layout.ts'
import type { PersistProgram } from './persist-program.ts'
import type { Persistence } from './persistence.ts'
import type { Pool } from './pool.ts'
import { Publication } from './publication.ts'
import { Reclamation } from './reclamation.ts'
import type { SkipList } from './skip-list.ts'
import { Versions } from './versions.ts'

/** A program of flushes and fragment seals only, behind a large value being received, runs once it has this many words. */
const EARLY_PROGRAM_WORDS = 1024
/** Asynchronous barriers are dear: there it waits until about 16 MiB of a value are behind it. */
const EARLY_PROGRAM_WORDS_ASYNCHRONOUS = 1 << 16

/** No epoch of the list: the change's place has to be found when the batch is built. */
const NEVER = -1

export type IntegrityMode = 'tcp' | 'crc32c'

export class Commit {
  readonly counters: CommitCounters
  /** Number of the batch that changes are staged into now. */
  stagingNumber = 1
  /** Number of the last batch whose changes are durable. */
  completedNumber = 0
  /** Why the store takes no more writes, or 0. */
  poisoned = 0
  readonly versions: Versions
  /** What is out of use, on its way back to the pool. */
  readonly reclamation: Reclamation
  readonly publication: Publication
  /** The greatest version that is published, or was when the store was opened. */
  publishedVersion = 0
  /** Called when the changes of a batch are durable (error 0), or will never be. */
  onComplete: (batch: number, error: number) => void = () => {}

  private readonly persistence: Persistence
  private readonly pool: Pool
  private readonly list: SkipList
  private readonly integrity: IntegrityMode
  private staging = new Batch()
  private spare = new Batch()
  private inFlight: Batch | undefined
  /** What is staged now is part of an atomic batch. */
  private grouping = false
  private readonly executed: (error: number) => void
  /** Fences of the persistence when they were last counted. */
  private countedFences: number

  constructor(persistence: Persistence, list: SkipList, integrity: IntegrityMode) {
    this.persistence = persistence
    this.pool = persistence.pool
    this.list = list
    this.integrity = integrity
    this.counters = new CommitCounters()
    this.versions = new Versions(persistence)
    this.reclamation = new Reclamation(this.pool, list)
    this.publication = new Publication(this.pool, list, this.reclamation, this.counters)
    this.countedFences = persistence.counters.fences
    this.executed = (error) => this.finish(error)
  }

  /** Whether cleaning up is owed: lines and buffers that are free but for a flush. */
  get hasDebts(): boolean {
    return this.reclamation.hasDebts || this.list.dirtyLinkCount > 0 || this.staging.discarded.length > 0
  }

  get hasStaged(): boolean {
    return this.staging.count > 0
  }

  /** The last batch with changes that is not durable yet, or 0. */
  get pendingNumber(): number {
    if (this.poisoned !== 0) return 0 // what was staged will never be durable, nor visible
    if (this.staging.count > 0) return this.stagingNumber
    return this.inFlight !== undefined && this.inFlight.count > 0 ? this.inFlight.number : 0
  }

  get busy(): boolean {
    return this.inFlight !== undefined
  }

  /* --- staging --- */

  /** The head that a staged or in-flight change will make current for a key; NO_META if it deletes it; -1 if no change is under way. */
  pending(bytes: Uint8Array, start: number, length: number): number {
    const { pool } = this
    const hash = hashKey(bytes, start, length)
    let change = this.staging.find(pool, hash, bytes, start, length)
    if (change >= 0) return this.staging.kind[change] === CHANGE_PUT ? this.staging.head[change]! : NO_META
    if (this.inFlight === undefined) return -1
    change = this.inFlight.find(pool, hash, bytes, start, length)
    if (change < 0) return -1
    return this.inFlight.kind[change] === CHANGE_PUT ? this.inFlight.head[change]! : NO_META
  }

  /**
   * Stages an entry whose head, fragments and views are complete. Gives it its version.
   * @returns the head that was current for its key before (committed or staged), or NO_META
   */
  stagePut(head: number, tail: number): number {
    const pool = this.pool
    const error = this.versions.stamp(head)
    if (error !== 0) this.poisoned = error
    if (this.integrity === 'crc32c') this.staging.program.crcView(head)
    this.flushDurable(head)
    if (tail !== head) this.sealFragment(tail)
    return this.stage(CHANGE_PUT, head, pool.get(head, W_BUFFER), pool.get(head, W_KEY))
  }

  /**
   * Stages the deletion of a key that lies in a buffer.
   * @returns the head that was current before, or NO_META (then nothing is staged)
   */
  stageDelete(buffer: number, offset: number, length: number): number {
    const bytes = this.pool.bufferBytes(buffer)
    const start = this.pool.bufferStart(buffer) + offset
    const current = this.pending(bytes, start, length)
    if (current === NO_META) return NO_META
    if (current === -1 && this.list.find(bytes, start, length) === NO_META) return NO_META
    return this.stage(CHANGE_DELETE, NO_META, buffer, packView(offset, length))
  }

  /** Stages a published entry anew: a copy with the same version, arrival, key and value, in another place (packing.ts). */
  stageMove(head: number, tail: number): void {
    const { pool } = this
    this.flushDurable(head)
    if (tail !== head) this.sealFragment(tail)
    this.stage(CHANGE_PUT, head, pool.get(head, W_BUFFER), pool.get(head, W_KEY))
  }

  /** Stages an entry as part of the staging batch's group; one line must be free. */
  stageMember(head: number, tail: number): void {
    openGroup(this.pool, this.versions, this.staging, head)
    this.grouping = true
    this.stagePut(head, tail)
    this.grouping = false
  }

  /** Stages the deletion of an entry's key as part of the group; the entry, without a value, becomes its tombstone. */
  stageTombstone(head: number): void {
    const { pool } = this
    openGroup(pool, this.versions, this.staging, head)
    const error = this.versions.stamp(head)
    if (error !== 0) this.poisoned = error
    this.flushDurable(head)
    this.grouping = true
    this.stage(CHANGE_DELETE, head, pool.get(head, W_BUFFER), pool.get(head, W_KEY))
    this.grouping = false
  }

  /** A fragment that has its successor (or is the last): flush its frame and seal it ahead of the head's batch. */
  sealFragment(meta: number): void {
    if (this.integrity === 'crc32c') this.staging.program.crcView(meta)
    this.flushDurable(meta)
    this.staging.program.sealLine(meta, stateToSeal(this.pool, meta, this.versions.nextLow, KIND_FRAGMENT, 0))
  }

  /** Gives up an entry that was never staged: a broken upload. */
  discard(head: number): void {
    for (let meta = head; meta !== NO_META; meta = this.pool.next(meta)) this.staging.discarded.push(meta)
  }

  /* --- committing --- */

  /** Commits what is staged. Synchronous classes have completed when this returns. */
  commit(): void {
    if (this.poisoned !== 0) this.failStaged()
    if (this.inFlight !== undefined || this.poisoned !== 0) return
    if (this.staging.count > 0) this.run()
    else if (this.staging.program.length >= this.earlyWords()) this.run()
  }

  /** Cleans up behind earlier batches, so that what is free can be used; called when idle or short of space. */
  settle(): void {
    if (this.inFlight !== undefined || this.poisoned !== 0) return
    if (this.staging.count > 0 || this.hasDebts || this.staging.program.length > 0) this.run()
  }

  /** Poisoned while changes were staged: they never become durable. */
  private failStaged(): void {
    if (this.staging.count === 0) return
    this.staging.reset()
    this.onComplete(this.stagingNumber++, this.poisoned)
  }

  private earlyWords(): number {
    return this.persistence.asynchronous ? EARLY_PROGRAM_WORDS_ASYNCHRONOUS : EARLY_PROGRAM_WORDS
  }

  private flushDurable(meta: number): void {
    const start = durableStart(this.pool, meta)
    this.staging.program.flushView(this.pool.get(meta, W_BUFFER), start, durableEnd(this.pool, meta) - start)
  }

  private stage(kind: number, head: number, buffer: number, view: number): number {
    const pool = this.pool
    const batch = this.staging
    const bytes = pool.bytes[buffer >>> EXTENT_BUFFERS_SHIFT]!
    const start = pool.bufferStart(buffer) + viewOffset(view)
    const length = viewLength(view)
    const hash = hashKey(bytes, start, length)
    let change = batch.find(pool, hash, bytes, start, length)
    let before: number
    if (change >= 0) {
      // The second change of a key in one batch takes the first one's place: that one is never published.
      before = batch.kind[change] === CHANGE_PUT ? batch.head[change]! : NO_META
      if (batch.existing[change] === NO_META && before === NO_META) batch.epoch[change] = NEVER
      this.dropKey(batch, change)
      const replaced = batch.head[change]!
      if (batch.atomic[change] === 1 && kind === CHANGE_DELETE && head === NO_META) {
        this.discard(toTombstone(pool, replaced))
        head = replaced
      } else if (replaced !== NO_META) this.discard(replaced)
    } else {
      const inFlight = this.inFlight === undefined ? -1 : this.inFlight.find(pool, hash, bytes, start, length)
      const committed = this.list.findHashed(hash, bytes, start, length)
      before = committed
      if (inFlight >= 0)
        before = this.inFlight!.kind[inFlight] === CHANGE_PUT ? this.inFlight!.head[inFlight]! : NO_META
      change = batch.add(hash)
      batch.existing[change] = committed
      batch.epoch[change] = this.list.epoch
      if (committed === NO_META && kind === CHANGE_PUT) this.findPlace(batch, change, bytes, start, length)
    }
    if (this.grouping) batch.atomic[change] = 1
    batch.kind[change] = kind
    batch.head[change] = head
    batch.keyBuffer[change] = buffer
    batch.keyView[change] = view
    if (kind === CHANGE_DELETE) pool.retainBuffer(buffer)
    return before
  }

  private dropKey(batch: Batch, change: number): void {
    if (batch.kind[change] === CHANGE_DELETE) this.pool.releaseBuffer(batch.keyBuffer[change]!)
  }

  /** The place where a new key will go. */
  private findPlace(batch: Batch, change: number, bytes: Uint8Array, start: number, length: number): void {
    const { list } = this
    list.locate(bytes, start, length)
    batch.predecessor[change] = list.predecessor
  }

  /** Another batch was published since the change was staged: finds its existing entry or its place again. */
  private refresh(batch: Batch, change: number): void {
    const pool = this.pool
    const buffer = batch.keyBuffer[change]!
    const bytes = pool.bytes[buffer >>> EXTENT_BUFFERS_SHIFT]!
    const view = batch.keyView[change]!
    const start = pool.bufferStart(buffer) + viewOffset(view)
    const existing = this.list.findHashed(batch.hash[change]!, bytes, start, viewLength(view))
    batch.existing[change] = existing
    batch.epoch[change] = this.list.epoch
    if (existing === NO_META && batch.kind[change] === CHANGE_PUT)
      this.findPlace(batch, change, bytes, start, viewLength(view))
  }

  /** Completes the staged program and starts it. */
  private run(): void {
    const batch = this.staging
    const { program } = batch
    const publishes = batch.count > 0
    let publishesHeads = false
    for (let change = 0; change < batch.count; change++) {
      this.prepareChange(batch, change)
      if (batch.head[change] !== NO_META) publishesHeads = true
    }
    const fragmentsEnd = program.length
    const clearsHeads = this.reclamation.addTo(batch)
    this.flushLinks(program)
    const settles = program.length > fragmentsEnd
    if (publishes) {
      // Plain deletions depend on nothing that came before them, but for older versions of their keys.
      if (publishesHeads || clearsHeads) program.fence()
      if (batch.group !== NO_META) sealMembers(this.pool, batch)
      for (let change = 0; change < batch.count; change++) this.sealChange(batch, change)
      if (batch.group !== NO_META) sealGroup(this.pool, this.versions, batch)
      program.fence()
    } else if (settles || (this.persistence.asynchronous && program.length > 0)) {
      program.fence()
    }

    batch.number = this.stagingNumber++
    batch.lastVersion = this.versions.next - 1
    this.inFlight = batch
    this.staging = this.spare
    if (this.persistence.asynchronous) this.persistence.executeAsync(program.words, program.length, this.executed)
    else this.finish(this.persistence.execute(program.words, program.length))
  }

  /** The links that earlier batches stored, but for those in lines that the program flushes anyway. */
  private flushLinks(program: PersistProgram): void {
    const { list } = this
    for (let i = 0; i < list.dirtyLinkCount; i++) {
      const meta = list.dirtyLinks[i]!
      if (list.needsFlush(meta)) program.flushLine(meta)
    }
    list.clearDirtyLinks()
  }

  /** Before fence 1: the head's level-0 successor, which becomes durable with its seal. */
  private prepareChange(batch: Batch, change: number): void {
    // A deletion that the key's put joined in the same batch was staged without a place: NEVER makes it be found here.
    if (batch.epoch[change] !== this.list.epoch) this.refresh(batch, change)
    const existing = batch.existing[change]!
    if (existing !== NO_META && (stateFlags(this.pool.get(existing, W_STATE)) & FLAG_MEMBER) !== 0)
      this.reclamation.forgetMember(existing)
    if (batch.kind[change] !== CHANGE_PUT) {
      // Plain deletions clear the line behind fence 1; those of a group leave that to the next program.
      if (existing !== NO_META && batch.atomic[change] === 0) this.list.flushedWithLine(existing)
      return
    }
    const successor = this.list.next(existing === NO_META ? batch.predecessor[change]! : existing)
    this.pool.set(batch.head[change]!, W_NEXT, successor)
  }

  /** Between the fences: the commit word. */
  private sealChange(batch: Batch, change: number): void {
    const { program } = batch
    if (batch.atomic[change] === 1) return // sealed as a member; the group makes it count
    if (batch.kind[change] === CHANGE_PUT) {
      const head = batch.head[change]!
      program.sealLine(head, stateToSeal(this.pool, head, this.pool.get(head, W_VERSION_LOW), KIND_HEAD, 0))
    } else if (batch.existing[change] !== NO_META) {
      program.clearLine(batch.existing[change]!)
    }
  }

  /** The program has run (or failed): make the changes visible and release what is free now. */
  private finish(error: number): void {
    const batch = this.inFlight!
    const changed = batch.count > 0
    const { fences, flushedLines } = this.persistence.counters
    this.counters.countProgram(fences - this.countedFences, flushedLines, changed)
    this.countedFences = fences
    if (error !== 0) {
      this.poisoned = error
      // What the medium holds is unknown now: nothing is published, released or overwritten any more.
      this.inFlight = undefined
      this.onComplete(batch.number, error)
      return
    }
    this.publication.publish(batch)
    this.publishedVersion = batch.lastVersion
    this.reclamation.finish(batch)
    batch.reset()
    this.spare = batch
    this.inFlight = undefined
    this.completedNumber = batch.number
    if (changed) this.onComplete(batch.number, 0)
    // Group commit: what was staged while this batch was on its way follows at once.
    if (this.persistence.asynchronous && this.staging.count > 0 && !this.busy) this.run()
  }
}
