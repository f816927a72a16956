/**
 * Verification of a whole region at rest: every line, every link, every chain, every payload.
 *
 *   1. links      as they stand in the file, before recovery mends them in memory
 *   2. lines      recovery's own report: line CRCs, views, chains
 *   3. payloads   each view of each entry against its sum and, where there is one, its CRC32C
 *
 * A crash may leave entries that no link leads to, links through lines that are not committed, older versions and
 * fragments without an entry: recovery mends all that, and it is no finding. Only behind an orderly stop must the list
 * be exactly the sorted entries.
 *
 * Called by: tools/verify.ts. Calls: store.ts (which recovers). The region is opened for reading, so the file never changes.
 */
import { keyLength, keyStart, readableKey } from './entry.ts'
import { compareKey, keyPrefix } from './key.ts'
import { ANCHOR_META, KIND_HEAD, NO_META, stateKind, W_NEXT, W_STATE } from './layout.ts'
import { LINE_INVALID, LINE_UNPUBLISHED, LINE_VALID, type Persistence } from './persistence.ts'
import type { Pool } from './pool.ts'
import type { CorruptEntry } from './recovery.ts'
import { Store } from './store.ts'

export interface Verification {
  /** Keys in the region, damaged ones among them. */
  readonly records: number
  /** Metadata lines in use, each checked with the view it names. */
  readonly checked: number
  readonly corrupt: readonly CorruptEntry[]
}

/** @param clean the region was stopped in order: its list must be complete */
export function verifyRegion(persistence: Persistence, clean: boolean): Verification {
  const { pool } = persistence
  const links = new LinkAudit(persistence, clean)
  links.run()
  // The shape of the index only: any source will do.
  const store = new Store(persistence, { random: () => 1 })
  const corrupt = [...links.findings, ...store.report.corrupt]
  if (clean) {
    for (const { meta } of store.entries()) {
      if (!links.met(meta) && !store.checks.corruptHeads.has(meta))
        corrupt.push(describe(pool, meta, meta, 'no link of the list leads to the entry'))
    }
  }
  for (const { meta: head } of store.entries()) {
    if (store.checks.corruptHeads.has(head)) continue
    for (let meta = head; meta !== NO_META; meta = pool.next(meta)) {
      if (!store.checks.verifyLine(meta)) corrupt.push(describe(pool, head, meta, 'payload fails its check'))
    }
  }
  return { records: store.records, checked: store.report.committedLines, corrupt }
}

function describe(pool: Pool, head: number, meta: number, reason: string): CorruptEntry {
  return { key: readableKey(pool, head), meta, buffer: pool.buffer(meta), reason }
}

/** Step 1: a walk along the level-0 links. */
class LinkAudit {
  readonly findings: CorruptEntry[] = []
  private readonly pool: Pool
  private readonly persistence: Persistence
  private readonly clean: boolean
  private readonly seen: Uint8Array
  private readonly state = new Uint8Array(1)
  /** The last entry that the walk met. */
  private lastHead = NO_META

  constructor(persistence: Persistence, clean: boolean) {
    this.persistence = persistence
    this.pool = persistence.pool
    this.clean = clean
    this.seen = new Uint8Array(this.pool.metaIndexEnd)
  }

  met(meta: number): boolean {
    return this.seen[meta] === 1
  }

  run(): void {
    const { pool } = this
    for (let from = ANCHOR_META; ; ) {
      const meta = pool.get(from, W_NEXT)
      if (meta === NO_META) return
      const astray = this.astray(meta)
      if (astray !== '') {
        this.report(from, astray)
        return
      }
      this.seen[meta] = 1
      if (!this.isPassable(meta)) this.report(from, `link leads to line ${meta}, which is no entry`)
      from = meta
    }
  }

  /** Why the walk cannot go on to a line, or ''. */
  private astray(meta: number): string {
    if (!this.pool.isMeta(meta)) return `link leads out of the region (line ${meta >>> 0})`
    if (this.seen[meta] === 1) return `link leads back to line ${meta}`
    if (!this.isEntry(meta)) return ''
    if (this.lastHead !== NO_META && !this.ascends(this.lastHead, meta))
      return `link leads out of order to line ${meta}`
    this.lastHead = meta
    return ''
  }

  private isEntry(meta: number): boolean {
    return this.lineState(meta) === LINE_VALID && stateKind(this.pool.get(meta, W_STATE)) === KIND_HEAD
  }

  /** Whether the list may lead through a line: an entry; a damaged one, reported as such; behind a crash a cleared one. */
  private isPassable(meta: number): boolean {
    const state = this.lineState(meta)
    return this.isEntry(meta) || state === LINE_INVALID || (state === LINE_UNPUBLISHED && !this.clean)
  }

  private ascends(a: number, b: number): boolean {
    const { pool } = this
    const bytes = pool.dataBytes(b)
    const start = keyStart(pool, b)
    const length = keyLength(pool, b)
    return compareKey(pool, a, bytes, start, length, keyPrefix(bytes, start, length)) < 0
  }

  private lineState(meta: number): number {
    this.persistence.verifyLines(meta, 1, this.state)
    return this.state[0]!
  }

  private report(from: number, reason: string): void {
    const key = from === ANCHOR_META ? undefined : readableKey(this.pool, from)
    this.findings.push({ key, meta: from, buffer: this.pool.buffer(from), reason })
  }
}
