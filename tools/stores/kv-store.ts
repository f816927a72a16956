/**
 * What the HTTP service needs of the thing that keeps values: the in-place half of `Store`, and nothing else.
 *
 * `--store packet` passes a Store itself, so this interface costs it nothing: it is gone when the program runs. The
 * baselines (baseline-store.ts) stand in its place, behind the same parser, the same sessions and the same replies.
 *
 * Implemented by: storage/store.ts, baseline-store.ts. Used by: tools/kv/.
 */
import type { Pool } from '../../storage/pool.ts'

/** What `find` of a baseline returns when there is no memory to copy the value into. */
export const FIND_EXHAUSTED = -2

export interface KvStore {
  /** The network's buffers and lines, in which values arrive and leave. */
  readonly pool: Pool
  /** The batch that changes are being staged into. */
  readonly stagingBatch: number
  /** The last batch with changes that is not durable yet; 0: none. */
  readonly pendingBatch: number
  /** Buffers that writes may still take, at a glance; `hasRoom` looks closely. */
  readonly room: number
  /** A program that is due or on its way may make room. */
  readonly owesRoom: boolean
  /** Not 0: read-only from now on. */
  readonly poisoned: number
  /** Payload bytes copied on their way in. */
  payloadBytesCopied: number
  /** Whether a write that needs so many buffers may be taken. */
  hasRoom(buffers: number): boolean
  /** The published entry of a key, as a chain whose head names size, version and arrival; NO_META or FIND_EXHAUSTED. */
  find(bytes: Uint8Array, start: number, length: number): number
  /** The same with what is staged, for conditions of writes. */
  current(buffer: number, offset: number, length: number): number
  /** NO_META if every byte of an entry may be served, else the line whose check fails. */
  verify(head: number): number
  appendFragment(head: number, tail: number, meta: number): void
  /** Takes a complete entry over; returns the head that was current before, or NO_META. Its lines stay until `commit`. */
  stagePut(head: number, tail: number): number
  stageDelete(buffer: number, offset: number, length: number): number
  /** Gives up an entry that was not staged. */
  discard(head: number): void
  /** Makes what is staged durable, then calls the listeners: now or later. */
  commit(): void
  /** Keeps an entry's lines while a download goes on. */
  pin(head: number): void
  unpin(head: number): void
  /** Registers a listener for completed batches: error 0 means durable. */
  onComplete(listener: (batch: number, error: number) => void): void
}
