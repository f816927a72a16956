/**
 * What the steps of recovery share: where it is with every line, what is damaged, and the report.
 *
 * Called by: recovery.ts, recovery-lines.ts, recovery-links.ts.
 *
 *   states   one byte a line index:  0 unpublished  1 valid  2 invalid  3 an entry by itself  (scanLines), then one of
 *            the states below
 *   digests  five words a line index:  level-0 link and first bytes of the key, read in the scan, so that the walk reads
 *            one cache line in DRAM an entry instead of a line and a frame in the region
 *   hashes   one word a line index:  the hash of the key, computed when its CRC brought the key into a cache
 */
import { compareEntryKeys, readableKey } from './entry.ts'
import { KEY_WORDS } from './key.ts'
import { largeInt32Array, largeUint8Array } from './large-array.ts'
import { ANCHOR_META, W_BUFFER } from './layout.ts'
import { DIGEST_KEY, DIGEST_WORDS, LINE_WHOLE, type LineScan, type Persistence, TALLY_WORDS } from './persistence.ts'
import type { Pool } from './pool.ts'
import type { Reclamation } from './reclamation.ts'

/* Where recovery is with a line, behind the answers of the scan. */
/** A head that is not linked yet. */
export const HEAD = LINE_WHOLE
/** A head in the list. */
export const IN_LIST = 4
/** A fragment that an entry reaches, or a line that is being reclaimed. */
export const TAKEN = 5
/** Neither free nor usable: stays as it is. */
export const CORRUPT = 6
/** A head where a segment of the walk begins. */
export const BEGINNING = 7

/** A line or an entry that fails its check. */
export interface CorruptEntry {
  /** The key as it reads, if its view is plausible. */
  readonly key: Uint8Array | undefined
  readonly meta: number
  readonly buffer: number
  readonly reason: string
}

export interface RecoveryReport {
  records: number
  /** Lines whose commit word was set. */
  committedLines: number
  /** Entries that the level-0 walk did not meet and that were inserted. */
  inserted: number
  /** The walk was out of order; the list was linked anew by sorting. */
  relinked: boolean
  /** Older versions of a key that were cleared. */
  superseded: number
  /** Fragments that no head reaches, cleared. */
  orphans: number
  /** Changes of committed atomic batches that were still to be settled. */
  completed: number
  /** Changes of atomic batches that were never committed, undone. */
  undone: number
  corrupt: CorruptEntry[]
  /** Above every version found. */
  nextVersion: number
}

export class RecoveryState implements LineScan {
  readonly persistence: Persistence
  readonly pool: Pool
  readonly reclamation: Reclamation
  readonly states: Uint8Array
  readonly digests: Int32Array
  readonly hashes: Int32Array
  readonly tally = new Int32Array(TALLY_WORDS)
  /** Corrupt heads that keep their place in the index, so that their keys answer "corrupt", not "not found". */
  readonly corruptHeads: Set<number>
  /** Lines that fail their CRC; heads among them that read as if they had a key may be in the list. */
  readonly damaged = new Set<number>()
  /** Of these, the ones that may have replaced a sound entry, and that entry. */
  readonly doubted = new Map<number, number>()
  /** Older versions of a key, and members of batches that never were. */
  readonly losers: number[] = []
  /** Members of committed groups: entries, and tombstones. */
  readonly members: number[] = []
  readonly tombstones: number[] = []
  readonly report: RecoveryReport = {
    records: 0,
    committedLines: 0,
    inserted: 0,
    relinked: false,
    superseded: 0,
    orphans: 0,
    completed: 0,
    undone: 0,
    corrupt: [],
    nextVersion: 1,
  }

  constructor(persistence: Persistence, reclamation: Reclamation, corruptHeads: Set<number>) {
    this.persistence = persistence
    this.pool = persistence.pool
    this.reclamation = reclamation
    this.corruptHeads = corruptHeads
    this.states = largeUint8Array(this.pool.metaIndexEnd)
    this.digests = largeInt32Array(this.pool.metaIndexEnd * DIGEST_WORDS)
    this.hashes = largeInt32Array(this.pool.metaIndexEnd)
  }

  /** Keys of two heads: by their first words, which do not leave the digests, else by all of their bytes. */
  compareKeys(a: number, b: number): number {
    const { digests } = this
    const atA = a * DIGEST_WORDS + DIGEST_KEY
    const atB = b * DIGEST_WORDS + DIGEST_KEY
    let word = 0
    while (word < KEY_WORDS && digests[atA + word] === digests[atB + word]) word++
    if (word < KEY_WORDS) return digests[atA + word]! < digests[atB + word]! ? -1 : 1
    return compareEntryKeys(this.pool, a, b)
  }

  ascends(a: number, b: number): boolean {
    return this.compareKeys(a, b) < 0
  }

  reportCorrupt(meta: number, reason: string): void {
    const key = meta === ANCHOR_META ? undefined : readableKey(this.pool, meta)
    this.report.corrupt.push({ key, meta, buffer: this.pool.get(meta, W_BUFFER), reason })
    this.states[meta] = CORRUPT
  }

  /** Reports a head whose key reads; it keeps its place, and so do the fragments that were found. */
  keepCorruptHead(head: number, fragments: number[], reason: string): void {
    this.reportCorrupt(head, reason)
    this.states[head] = HEAD
    this.corruptHeads.add(head)
    this.reclamation.brokenChains.set(head, fragments)
  }

  /** Takes an older version of a key out of the store. */
  supersede(head: number): void {
    this.corruptHeads.delete(head)
    if (this.damaged.has(head)) {
      // Perhaps it is not a version of this key at all: it stays, out of the index, and goes on being reported.
      this.states[head] = CORRUPT
      this.reclamation.brokenChains.delete(head)
      return
    }
    this.report.superseded++
    this.states[head] = TAKEN
    this.losers.push(head)
  }
}
