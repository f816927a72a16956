/**
 * Entries from memory instead of the network: the key and the value are copied into buffers of their own.
 *
 *   first buffer   [ key | value … ]      further buffers   [ value … ]       none of them holds a frame (NO_FRAME)
 *
 * Called by: store.ts (`put`). The caller has made sure that there is room.
 */
import { adoptHead, setArrival } from './entry.ts'
import { BUFFER_BYTES, NO_FRAME, NO_META, W_NEXT } from './layout.ts'
import type { Persistence } from './persistence.ts'

export interface CopiedEntry {
  readonly head: number
  readonly tail: number
}

/** What links fragments: the store. */
export interface FragmentAppender {
  appendFragment(head: number, tail: number, meta: number): void
}

/** Buffers that an entry takes. */
export function buffersFor(keyLength: number, valueLength: number): number {
  const first = Math.min(valueLength, BUFFER_BYTES - keyLength)
  return 1 + Math.ceil((valueLength - first) / BUFFER_BYTES)
}

/** @param nowNs arrival time of the entry, ns since the epoch */
export function copyEntry(
  store: FragmentAppender,
  persistence: Persistence,
  key: Uint8Array,
  value: Uint8Array,
  nowNs: bigint,
): CopiedEntry {
  const { pool } = persistence
  const first = Math.min(value.length, BUFFER_BYTES - key.length)
  const buffer = pool.allocateBuffer()
  pool.bufferBytes(buffer).set(key, pool.bufferStart(buffer))
  const head = fill(persistence, buffer, key.length, value.subarray(0, first), nowNs)
  adoptHead(pool, head, 0, key.length)
  let tail = head
  for (let at = first; at < value.length; at += BUFFER_BYTES) {
    const meta = fill(persistence, pool.allocateBuffer(), 0, value.subarray(at, at + BUFFER_BYTES), nowNs)
    store.appendFragment(head, tail, meta)
    tail = meta
  }
  return { head, tail }
}

function fill(persistence: Persistence, buffer: number, offset: number, part: Uint8Array, nowNs: bigint): number {
  const { pool } = persistence
  pool.bufferBytes(buffer).set(part, pool.bufferStart(buffer) + offset)
  const sum = persistence.sumView(buffer, offset, part.length)
  const meta = pool.createView(buffer, offset, part.length, sum | (NO_FRAME << 16))
  setArrival(pool, meta, nowNs)
  pool.set(meta, W_NEXT, NO_META)
  return meta
}
