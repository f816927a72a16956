/**
 * What the store needs of the thing that makes bytes durable. `Region` (region.ts) is the one that users get;
 * the crash tests bring one that records every store, flush and fence.
 */
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
  /** How many of the first `count` heads in `metas` have strictly ascending keys, from the first one on. */
  ascendingRun(metas: Int32Array, count: number): number
  /** Internet sum of a piece of a buffer. */
  sumView(buffer: number, offset: number, length: number): number
  /** CRC32C of a piece of a buffer, as int32. */
  crcView(buffer: number, offset: number, length: number): number
  /** Durably raises the version floor. Returns 0, or a negative error number (the store is then poisoned). */
  reserveVersions(floor: number): number
}

export const LINE_UNPUBLISHED = 0
export const LINE_VALID = 1
export const LINE_INVALID = 2
