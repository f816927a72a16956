/**
 * A baseline: one way of keeping values that users of conventional software have. Entries arrive as chains of received
 * lines and are copied, or ignored; they never become the store, as they do in `--store packet`.
 *
 * Implemented by: discard.ts, copy.ts, conventional.ts, leveldb.ts. Called by: baseline-store.ts, in this order for each
 * burst: put and remove for its writes, then commit once.
 */
import type { Pool } from '../../storage/pool.ts'

export const BASELINES = ['discard', 'copy', 'conventional', 'leveldb'] as const
export type BaselineName = (typeof BASELINES)[number]

/** What `put` answers. */
export const PUT_CREATED = 0
export const PUT_REPLACED = 1
export const PUT_FULL = 2

export interface Engine {
  readonly name: BaselineName
  /** What a reply promises, for the line that `serve` prints. */
  readonly promise: string
  /** Whether it can find a key again; if not, GET, HEAD and DELETE are answered with 501. */
  readonly hasIndex: boolean
  /** `commit` calls `done` only later. */
  readonly isAsynchronous: boolean
  /** Entries, where it counts them. */
  readonly records: number
  /** Whether a write of so many payload bytes may be taken. */
  hasRoom(bytes: number): boolean
  /** Stages a complete entry: takes what it keeps of the chain, which stays the caller's. */
  put(pool: Pool, head: number): number
  /** Stages a deletion; whether the key was there. */
  remove(key: Uint8Array, start: number, length: number): boolean
  /** The published value of a key, in `found`; whether there is one. */
  find(key: Uint8Array, start: number, length: number): boolean
  /** What `find` found; valid until the next call. */
  readonly found: Found
  /** Makes everything staged durable, then calls `done` with 0 or a negative error number: before it returns, or later. */
  commit(done: (error: number) => void): void
  close(): void | Promise<void>
}

/** A value as it lies in the engine. */
export class Found {
  bytes: Uint8Array = new Uint8Array(0)
  start = 0
  length = 0
  versionLow = 0
  versionHigh = 0
  arrivalLow = 0
  arrivalHigh = 0
  /** Its checksum holds. */
  isIntact = true
}
