/**
 * What the store needs of the thing that makes bytes durable. `Region` (region.ts) is the one that users get;
 * the crash tests bring one that records every store, flush and fence.
 */
import { KEY_WORDS } from './key.ts'
import type { Pool } from './pool.ts'

/** What a reply promises on this machine (docs/durability.md). */
export type DurabilityClass = 'dax' | 'msync' | 'process'

export interface PersistenceCounters {
  readonly fences: number
  readonly flushedLines: number
}

export interface Persistence {
  readonly pool: Pool
  readonly counters: PersistenceCounters
  /** True: barriers block, so programs run through `executeAsync`. */
  readonly asynchronous: boolean
  /** Versions below this one may have been handed out before a crash. */
  readonly versionFloor: number
  /** Runs a whole program now. Returns 0, or a negative error number (the store is then poisoned). */
  execute(program: Int32Array, words: number): number
  /** Runs a whole program on another thread; `program` must not change until `done`. One at a time. */
  executeAsync(program: Int32Array, words: number, done: (error: number) => void): void
  /** Classifies lines [first, first + count): LINE_UNPUBLISHED, LINE_VALID or LINE_INVALID each. */
  verifyLines(first: number, count: number, states: Uint8Array): void
  /** Reads lines [first, first + count) of one extent for a recovery. */
  scanLines(first: number, count: number, scan: LineScan): void
  /** Internet sum of a piece of a buffer. */
  sumView(buffer: number, offset: number, length: number): number
  /** CRC32C of a piece of a buffer, as int32. */
  crcView(buffer: number, offset: number, length: number): number
  /** Durably raises the version floor. Returns 0, or a negative error number (the store is then poisoned). */
  reserveVersions(floor: number): number
}

/** What a scan tells; the arrays are by line index. */
export interface LineScan {
  /** As verifyLines, but LINE_WHOLE where that is so. */
  readonly states: Uint8Array
  /** DIGEST_WORDS of each line: all of it that a walk through the list reads. */
  readonly digests: Int32Array
  /** hashKey of the keys of published lines. */
  readonly hashes: Int32Array
  /** Added to: see TALLY_COMMITTED and those behind it. */
  readonly tally: Int32Array
}

/* Words of a line's digest. */
/** The level-0 link, of unpublished lines too: a walk passes through them. */
export const DIGEST_LINK = 0
/** Of published lines: KEY_WORDS sortable words of the key (key.ts). */
export const DIGEST_KEY = 1
export const DIGEST_WORDS = DIGEST_KEY + KEY_WORDS

/* Words of a scan's tally. */
/** Lines whose commit word is set. */
export const TALLY_COMMITTED = 0
/** Those of them that are not LINE_WHOLE. */
export const TALLY_OTHERS = 1
/** The greatest version of a valid head, in halves. */
export const TALLY_VERSION_LOW = 2
export const TALLY_VERSION_HIGH = 3
export const TALLY_WORDS = 4

export const LINE_UNPUBLISHED = 0
export const LINE_VALID = 1
export const LINE_INVALID = 2
/** A valid head that is an entry without any other line: no fragments, no member of a batch, its views inside its buffer. */
export const LINE_WHOLE = 3
