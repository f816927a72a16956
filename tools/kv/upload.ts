/**
 * Receives a value: the lines of the segments that bring it become the entry's fragments.
 *
 * A buffer holds one frame, however little of it is payload, so a value that trickles in byte by byte would hold
 * 2 KiB a byte. Behind a first small piece, further small pieces are therefore gathered into one buffer by copying;
 * `payloadBytesCopied` counts that. Full segments are never copied.
 *
 * Called by: the service. Calls: store, pool.
 */
import { appendSum, sumBytes } from '../../storage/checksum.ts'
import { adoptHead } from '../../storage/entry.ts'
import {
  BUFFER_BYTES,
  NO_BUFFER,
  NO_FRAME,
  NO_META,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_SUM,
  W_VALUE,
} from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import type { KvStore } from '../stores/kv-store.ts'
import type { Session } from './session.ts'

/** A piece this small, in bytes, is worth copying once there are several. */
const SMALL_PIECE_BYTES = 256

/** Begins an entry whose key and first data lie in the view of `meta`, which it takes over. */
export function beginInPlace(pool: Pool, session: Session, meta: number, keyOffset: number, keyLength: number): void {
  adoptHead(pool, meta, keyOffset, keyLength)
  session.entryHead = meta
  session.entryTail = meta
}

/**
 * Begins an entry whose key does not lie in a frame as it is (percent-encoded, or the head came in pieces): the key
 * gets a buffer of its own.
 * @returns false if there is no buffer or line
 */
export function beginWithKey(pool: Pool, session: Session, key: Uint8Array, length: number): boolean {
  const meta = keyLine(pool, key, length)
  if (meta === NO_META) return false
  pool.set(meta, W_ARRIVAL_LOW, session.arrivalLow)
  pool.set(meta, W_ARRIVAL_HIGH, session.arrivalHigh)
  adoptHead(pool, meta, 0, length)
  session.entryHead = meta
  session.entryTail = meta
  return true
}

/** A line on a fresh buffer that holds a copy of the key, with an empty data view behind it; NO_META if there is none. */
export function keyLine(pool: Pool, key: Uint8Array, length: number): number {
  const buffer = pool.allocateBuffer()
  if (buffer === NO_BUFFER) return NO_META
  const bytes = pool.bufferBytes(buffer)
  const start = pool.bufferStart(buffer)
  for (let i = 0; i < length; i++) bytes[start + i] = key[i]!
  const meta = pool.createView(buffer, length, 0, NO_FRAME << 16)
  if (meta === NO_META) pool.releaseBuffer(buffer)
  return meta
}

/** Adds a received piece to the entry in progress; takes the line over. */
export function appendPiece(store: KvStore, session: Session, meta: number): void {
  const { pool } = store
  const tail = session.entryTail
  const length = pool.dataLength(meta)
  if (length < SMALL_PIECE_BYTES && tail !== session.entryHead && pool.dataLength(tail) > 0) {
    if (isGathering(pool, tail, length)) {
      gather(store, session, tail, meta)
      return
    }
    if (pool.dataLength(tail) < SMALL_PIECE_BYTES) {
      const fresh = gatheringLine(pool, meta)
      if (fresh !== NO_META) {
        store.appendFragment(session.entryHead, tail, fresh)
        session.entryTail = fresh
        gather(store, session, fresh, meta)
        return
      }
    }
  }
  store.appendFragment(session.entryHead, tail, meta)
  session.entryTail = meta
}

/** Gives up the write in progress. */
export function abandonUpload(store: KvStore, session: Session): void {
  session.batch?.release()
  session.batch = undefined
  if (session.entryHead === NO_META) return
  store.discard(session.entryHead)
  session.entryHead = NO_META
  session.entryTail = NO_META
}

/** Whether the tail is a buffer of ours alone with room for so many bytes more. */
function isGathering(pool: Pool, tail: number, length: number): boolean {
  if (pool.get(tail, W_SUM) >>> 16 !== NO_FRAME || pool.bufferReferences(pool.buffer(tail)) !== 1) return false
  return pool.dataOffset(tail) + pool.dataLength(tail) + length <= BUFFER_BYTES
}

function gatheringLine(pool: Pool, arrival: number): number {
  const buffer = pool.allocateBuffer()
  if (buffer === NO_BUFFER) return NO_META
  const meta = pool.createView(buffer, 0, 0, NO_FRAME << 16)
  if (meta === NO_META) {
    pool.releaseBuffer(buffer)
    return NO_META
  }
  pool.set(meta, W_ARRIVAL_LOW, pool.get(arrival, W_ARRIVAL_LOW))
  pool.set(meta, W_ARRIVAL_HIGH, pool.get(arrival, W_ARRIVAL_HIGH))
  return meta
}

function gather(store: KvStore, session: Session, tail: number, meta: number): void {
  const { pool } = store
  const length = pool.dataLength(meta)
  const from = pool.dataStartOf(meta)
  const before = pool.dataLength(tail)
  const to = pool.dataStartOf(tail) + before
  const source = pool.dataBytes(meta)
  const target = pool.dataBytes(tail)
  for (let i = 0; i < length; i++) target[to + i] = source[from + i]!
  pool.setSum(tail, appendSum(pool.sum(tail), before, sumBytes(pool.dataView(tail), to, length)))
  pool.setData(tail, pool.dataOffset(tail), before + length)
  pool.set(session.entryHead, W_VALUE, (pool.get(session.entryHead, W_VALUE) + length) | 0)
  store.payloadBytesCopied += length
  pool.setNext(meta, NO_META)
  pool.release(meta)
}
