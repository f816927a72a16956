/**
 * Checks published entries where they lie, line by line, and takes damaged ones out of service.
 *
 * Called by: scrub.ts (everything, in time), packing.ts (what is about to be copied). Calls: store (verifyLine,
 * markCorrupt), persistence.
 *
 * Invariants:
 *  1. An entry is reported once; reads of it answer "corrupt" from then on, until its key is written again.
 *  2. The payload is read from memory each time: that it was right once does not count.
 */
import { readableKey } from './entry.ts'
import { KIND_FRAGMENT, NO_META, stateKind, W_STATE, W_VERSION_LOW } from './layout.ts'
import { LINE_UNPUBLISHED, LINE_VALID, type Persistence } from './persistence.ts'
import type { Pool } from './pool.ts'
import type { CorruptEntry } from './recovery.ts'
import type { Store } from './store.ts'

const PAYLOAD_FAULT = 'payload fails its check'

export class EntryCheck {
  private readonly store: Store
  private readonly persistence: Persistence
  private readonly pool: Pool
  private readonly onFinding: (finding: CorruptEntry) => void
  private readonly state = new Uint8Array(1)

  /** @param onFinding called once for each entry found damaged */
  constructor(store: Store, persistence: Persistence, onFinding: (finding: CorruptEntry) => void) {
    this.store = store
    this.persistence = persistence
    this.pool = persistence.pool
    this.onFinding = onFinding
  }

  /** Checks a line of an entry and the link to the line behind it; reports the entry if one is wrong, and the line is part of it. */
  check(head: number, meta: number): boolean {
    const reason = this.fault(head, meta)
    if (reason === '') return true
    if (!this.leadsTo(head, meta)) return false
    this.store.checks.markCorrupt(head, reason !== PAYLOAD_FAULT)
    this.onFinding({ key: readableKey(this.pool, head), meta, buffer: this.pool.buffer(meta), reason })
    return false
  }

  private fault(head: number, meta: number): string {
    const { pool } = this
    const state = this.lineState(meta)
    // A deletion clears the commit word before the entry leaves the list; one that failed leaves it there.
    if (state === LINE_UNPUBLISHED && (this.store.busy || this.store.poisoned !== 0)) return ''
    if (state !== LINE_VALID) return 'metadata line fails its CRC'
    const next = pool.next(meta)
    if (next !== NO_META && !this.isFragmentOf(head, next)) return `fragment line ${next} fails its check`
    return this.store.checks.verifyLine(meta) ? '' : PAYLOAD_FAULT
  }

  /**
   * Whether the links of an entry lead to a line. That a line names the head is not enough: it may be what is left of an
   * entry that had this head line before, or be damaged.
   */
  private leadsTo(head: number, meta: number): boolean {
    const { pool } = this
    let at = head
    for (let left = pool.totalMetas; at !== meta && left > 0 && at !== NO_META && pool.isMeta(at); left--)
      at = pool.next(at)
    return at === meta
  }

  private isFragmentOf(head: number, meta: number): boolean {
    const { pool } = this
    if (!pool.isMeta(meta) || this.lineState(meta) !== LINE_VALID) return false
    return stateKind(pool.get(meta, W_STATE)) === KIND_FRAGMENT && pool.get(meta, W_VERSION_LOW) === head
  }

  private lineState(meta: number): number {
    this.persistence.verifyLines(meta, 1, this.state)
    return this.state[0]!
  }
}
