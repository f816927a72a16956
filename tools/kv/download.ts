/**
 * Sends a value from where it lies: clones of its lines go into the socket's send queue, their stored sums into the
 * segments. A value larger than the send queue goes in parts; between the parts its entry is pinned.
 *
 * Called by: the service. Calls: pool, store.
 */
import { NO_META } from '../../storage/layout.ts'
import type { KvStore } from '../stores/kv-store.ts'
import { PHASE_DOWNLOAD, PHASE_HEAD, type Session } from './session.ts'

export const PUMP_COMPLETE = 0
export const PUMP_NO_ROOM = 1
export const PUMP_NO_LINE = 2

export type SumView = (buffer: number, offset: number, length: number) => number

/** Prepares [first, first + length) of an entry for sending; `pump` sends. */
export function startDownload(session: Session, head: number, first: number, length: number): void {
  session.phase = PHASE_DOWNLOAD
  session.downloadHead = head
  session.downloadNext = head
  session.downloadSkip = first
  session.downloadLeft = length
}

/** Ends a download, finished or not. */
export function endDownload(store: KvStore, session: Session): void {
  if (session.downloadHead === NO_META) return
  if (session.downloadPinned) store.unpin(session.downloadHead)
  session.downloadPinned = false
  session.downloadHead = NO_META
  session.downloadNext = NO_META
  if (session.phase === PHASE_DOWNLOAD) session.phase = PHASE_HEAD
}

/**
 * Sends as much as the send queue takes.
 * @param front a line to send first (the response's head), or NO_META
 * @returns PUMP_COMPLETE, PUMP_NO_ROOM (onSendSpace will come), or PUMP_NO_LINE (nobody will call: try again later)
 */
export function pump(store: KvStore, session: Session, sumView: SumView, front: number): number {
  const { pool } = store
  const { connection } = session
  let chain = front
  let tail = front
  let space = connection.sendSpace
  while (session.downloadLeft > 0 && space > 0) {
    const length = pool.dataLength(session.downloadNext)
    if (session.downloadSkip >= length) {
      session.downloadSkip -= length
      session.downloadNext = pool.next(session.downloadNext)
      continue
    }
    const part = clonePart(store, session, sumView, length)
    if (part === NO_META) break
    const sent = pool.dataLength(part)
    session.downloadLeft -= sent
    session.downloadSkip = 0
    session.downloadNext = pool.next(session.downloadNext)
    space -= sent
    if (chain === NO_META) chain = part
    else pool.setNext(tail, part)
    tail = part
  }
  if (chain !== NO_META) connection.send(chain)
  if (session.downloadLeft > 0) {
    if (!session.downloadPinned) store.pin(session.downloadHead)
    session.downloadPinned = true
    return space > 0 ? PUMP_NO_LINE : PUMP_NO_ROOM
  }
  endDownload(store, session)
  return PUMP_COMPLETE
}

function clonePart(store: KvStore, session: Session, sumView: SumView, length: number): number {
  const { pool } = store
  const clone = pool.clone(session.downloadNext)
  if (clone === NO_META) return NO_META
  const skip = session.downloadSkip
  const part = Math.min(length - skip, session.downloadLeft)
  if (part !== length) {
    const offset = pool.dataOffset(clone) + skip
    pool.setData(clone, offset, part)
    pool.setSum(clone, sumView(pool.buffer(clone), offset, part))
  }
  return clone
}
