/**
 * What a batch's program has made durable becomes visible: the index takes it, and what it replaces goes out of use.
 *
 *   put      list.insert, or list.replace ─► the older version is retired
 *   delete   list.remove                  ─► the entry is retired: its commit word is cleared already, but for a group's
 *
 * Called by: commit.ts, behind the last fence of a program. Calls: skip-list, reclamation.
 */
import { type Batch, CHANGE_PUT } from './batch.ts'
import type { CommitCounters } from './commit-counters.ts'
import { compareVersions } from './entry.ts'
import { NO_META, W_NEXT_FRAGMENT } from './layout.ts'
import type { Pool } from './pool.ts'
import type { Reclamation } from './reclamation.ts'
import type { SkipList } from './skip-list.ts'

export class Publication {
  /** 1: the payload of this head is known to be right since it was last written. By line index, DRAM only. */
  readonly verified: Uint8Array
  /** Called before a published change takes an entry out of use; `moved`: the same entry lives on in another place. */
  onRetire: (head: number, moved: boolean) => void = () => {}
  private readonly pool: Pool
  private readonly list: SkipList
  private readonly reclamation: Reclamation
  private readonly counters: CommitCounters

  constructor(pool: Pool, list: SkipList, reclamation: Reclamation, counters: CommitCounters) {
    this.pool = pool
    this.list = list
    this.reclamation = reclamation
    this.counters = counters
    this.verified = new Uint8Array(pool.metaIndexEnd)
  }

  publish(batch: Batch): void {
    for (let change = 0; change < batch.count; change++) this.publishChange(batch, change)
    if (batch.group === NO_META) return
    this.counters.groups++
    this.reclamation.defer(batch.group)
  }

  private publishChange(batch: Batch, change: number): void {
    const { list, counters } = this
    const existing = batch.existing[change]!
    const hash = batch.hash[change]!
    const atomic = batch.atomic[change] === 1
    counters.changes++
    if (batch.kind[change] === CHANGE_PUT) {
      const storedBuffers = this.pool.storedBuffers
      const head = batch.head[change]!
      for (let meta = head; meta !== NO_META; meta = this.pool.get(meta, W_NEXT_FRAGMENT)) {
        this.pool.markStored(meta)
      }
      this.verified[head] = 1 // its TCP checksum held, or it was written from memory
      if (existing === NO_META) {
        list.insert(head, hash)
      } else {
        const order = compareVersions(this.pool, existing, head)
        // What a damaged line says of its version means nothing.
        if (order > 0 && !this.reclamation.isDamaged(existing)) throw new Error('a newer version is already published')
        list.replace(existing, head, hash)
        this.retire(existing, false, order === 0)
        if (order === 0) {
          counters.changes--
          counters.moves++
          counters.movesVacatedBuffers += storedBuffers - this.pool.storedBuffers
        }
      }
      if (atomic) this.reclamation.settleMember(head)
    } else {
      if (existing !== NO_META) {
        list.remove(existing, hash)
        this.retire(existing, !atomic, false)
      }
      if (atomic) this.reclamation.defer(batch.head[change]!)
      this.pool.releaseBuffer(batch.keyBuffer[change]!)
    }
  }

  private retire(head: number, cleared: boolean, moved: boolean): void {
    this.onRetire(head, moved)
    this.verified[head] = 0
    this.reclamation.retire(head, cleared)
  }
}
