/**
 * PUT and DELETE (RFC 9110 9.3.4, 9.3.5): from the request's head to a staged change with a held reply.
 *
 *   start ─► (100 Continue) ─► takeBody | takeChunked … ─► complete ─► store.stagePut
 *
 * The line that brought the head becomes the entry's head: the key is the piece of the request line where it stands.
 * Only a key that is percent-encoded, or whose head came in pieces, is copied to a buffer of its own.
 *
 * A write that cannot be done still has its body read and dropped, so that the connection stays usable; then it is
 * answered. Called by: the service.
 */
import { keyLength, keyOffset } from '../../storage/entry.ts'
import {
  KEY_LENGTH_MAX,
  NO_META,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import type { KvStore } from '../stores/kv-store.ts'
import { secondsOfNanoseconds } from './decimal.ts'
import { CHUNKED_DONE, CHUNKED_NEED_MORE, ChunkedDecoder } from './http-chunked.ts'
import { evaluatePreconditions } from './http-fields.ts'
import { percentDecode } from './key-codec.ts'
import type { Replies } from './replies.ts'
import type { RequestHead } from './request-head.ts'
import { EXPECT_ANYTHING, EXPECT_UNCHANGED, PHASE_BODY, PHASE_CHUNKED, PHASE_HEAD, type Session } from './session.ts'
import { abandonUpload, appendPiece, beginInPlace, beginWithKey, keyLine } from './upload.ts'
import { dropFront, splitFront, trimFront } from './views.ts'

/** Payload bytes that one segment brings at least, to estimate how many buffers a value needs. */
const SEGMENT_BYTES_ESTIMATE = 1400

const STATUS_TEXTS: Readonly<Record<number, string>> = {
  400: 'a condition is malformed',
  411: 'PUT needs Content-Length or Transfer-Encoding: chunked',
  412: 'the precondition does not hold',
  503: 'a sync of the region failed: the store is read-only until restart',
  507: 'the store is full: delete something',
}

function buffersEstimate(length: number): number {
  return 1 + Math.ceil(length / SEGMENT_BYTES_ESTIMATE)
}

export class Putter {
  private readonly store: KvStore
  private readonly pool: Pool
  private readonly replies: Replies
  private readonly head: RequestHead
  private readonly maxValue: number
  private readonly keyScratch = new Uint8Array(KEY_LENGTH_MAX)
  /** Decoded length of the key in keyScratch. */
  private scratchLength = 0

  constructor(store: KvStore, replies: Replies, head: RequestHead, maxValue: number) {
    this.store = store
    this.pool = store.pool
    this.replies = replies
    this.head = head
    this.maxValue = maxValue
  }

  /* --- PUT --- */

  /** Whether the PUT in the head finds no room yet, but may find some when a program has run. */
  mustWait(): boolean {
    const length = this.head.chunked ? 0 : this.head.contentLength
    if (length < 0 || length > this.maxValue) return false
    return !this.store.hasRoom(buffersEstimate(length)) && this.store.owesRoom
  }

  /**
   * The head of a PUT was parsed: in the line `meta`, or gathered (NO_META).
   * @returns 0, or the status to refuse the connection with
   */
  start(session: Session, bytes: Uint8Array, start: number, meta: number): number {
    const { head } = this
    if (head.contentRangePresent) return 400 // RFC 9110 (14.5): a partial PUT must not be taken for a whole one
    if (head.contentLength > this.maxValue) return 413
    const length = head.chunked ? 0 : head.contentLength
    session.discardStatus = this.refusal(length)
    session.expectation = EXPECT_ANYTHING
    session.bodyLeft = Math.max(length, 0)
    if (session.discardStatus === 0) this.begin(session, bytes, start, meta)
    else this.dropHead(session, meta)
    const bodyIsDue = head.chunked || session.bodyLeft > 0
    if (head.expectContinue && bodyIsDue && session.inputHead === NO_META && !this.proceed(session)) return 0
    if (head.chunked) {
      session.chunked ??= new ChunkedDecoder()
      session.chunked.reset()
      session.phase = PHASE_CHUNKED
    } else if (session.bodyLeft > 0) session.phase = PHASE_BODY
    else this.complete(session)
    return 0
  }

  /** Takes body bytes from the input line: Content-Length framing. */
  takeBody(session: Session): void {
    const meta = session.inputHead
    const available = this.pool.dataLength(meta)
    const take = Math.min(available, session.bodyLeft)
    this.takePiece(session, take)
    session.bodyLeft -= take
    if (session.bodyLeft === 0) this.complete(session)
  }

  /** Takes body bytes from the input line: chunked. Returns 0, or the status to refuse the connection with. */
  takeChunked(session: Session): number {
    const { pool } = this
    const decoder = session.chunked!
    const meta = session.inputHead
    const start = pool.dataStartOf(meta)
    const end = start + pool.dataLength(meta)
    const result = decoder.decode(pool.dataBytes(meta), start, end)
    if (result < 0) return -result
    if (decoder.decodedLength > this.maxValue) return 413
    if (result === CHUNKED_NEED_MORE) {
      session.inputHead = pool.release(meta)
    } else if (result === CHUNKED_DONE) {
      trimFront(pool, meta, decoder.position - start)
      this.complete(session)
    } else {
      trimFront(pool, meta, decoder.pieceStart - start)
      this.takePiece(session, decoder.pieceLength)
    }
    return 0
  }

  /** A status with which the write is refused before its body, or 0. */
  private refusal(length: number): number {
    if (length < 0) return 411
    if (this.store.poisoned !== 0) return 503
    return this.store.hasRoom(buffersEstimate(length)) ? 0 : 507
  }

  /** 100 (Continue), or the final status at once if the body would only be dropped. False: the request is over. */
  private proceed(session: Session): boolean {
    if (session.discardStatus === 0) {
      this.replies.interim(session)
      return true
    }
    // The client may or may not send the body now (RFC 9110 10.1.1), so the connection cannot go on.
    session.lastRequest = true
    this.answerDiscarded(session)
    return false
  }

  /** Makes the entry's head, in place if the key can stay where it is, or sets discardStatus. Consumes the request's head. */
  private begin(session: Session, bytes: Uint8Array, start: number, meta: number): void {
    const { head, pool } = this
    if (meta !== NO_META && !head.keyEncoded) {
      const offset = start + head.keyStart - pool.bufferStart(pool.buffer(meta))
      session.discardStatus = this.conditions(session, bytes, start, pool.buffer(meta), offset, head.keyLength)
      if (session.discardStatus !== 0) {
        this.dropHead(session, meta)
        return
      }
      trimFront(pool, meta, head.headerLength)
      const rest = pool.dataLength(meta)
      const first = this.takeFront(session, Math.min(rest, session.bodyLeft))
      if (first === NO_META) {
        session.discardStatus = 507
        return
      }
      session.bodyLeft -= pool.dataLength(first)
      beginInPlace(pool, session, first, offset, head.keyLength)
      return
    }
    this.decodeKey(bytes, start)
    if (!beginWithKey(pool, session, this.keyScratch, this.scratchLength)) session.discardStatus = 507
    else {
      const buffer = pool.buffer(session.entryHead)
      session.discardStatus = this.conditions(session, bytes, start, buffer, 0, this.scratchLength)
      if (session.discardStatus !== 0) abandonUpload(this.store, session)
    }
    this.dropHead(session, meta)
  }

  /** Drops the request's head from the line that it came in, unless it was gathered. */
  private dropHead(session: Session, meta: number): void {
    if (meta !== NO_META) dropFront(this.pool, session, this.head.headerLength)
  }

  /** Evaluates the preconditions of a write; remembers what they were evaluated on. */
  private conditions(
    session: Session,
    bytes: Uint8Array,
    start: number,
    buffer: number,
    offset: number,
    length: number,
  ): number {
    const { head, pool } = this
    const conditional =
      head.ifMatchStart | head.ifNoneMatchStart | head.ifUnmodifiedSinceStart | head.ifModifiedSinceStart
    if (conditional === 0) return 0
    const current = this.store.current(buffer, offset, length)
    const exists = current !== NO_META
    session.expectation = EXPECT_UNCHANGED
    session.expectedExists = exists
    session.expectedHigh = exists ? pool.get(current, W_VERSION_HIGH) : 0
    session.expectedLow = exists ? pool.get(current, W_VERSION_LOW) : 0
    const modified = exists
      ? secondsOfNanoseconds(pool.get(current, W_ARRIVAL_HIGH), pool.get(current, W_ARRIVAL_LOW))
      : 0
    const { expectedHigh, expectedLow } = session
    return evaluatePreconditions(
      head,
      bytes,
      start,
      exists,
      expectedHigh,
      expectedLow,
      modified,
      this.replies.writer.seconds,
    )
  }

  /** Moves the next `length` bytes of the input line to the entry, or drops them. */
  private takePiece(session: Session, length: number): void {
    if (session.discardStatus === 0 && this.store.room <= 0 && !this.store.hasRoom(1)) this.fail(session, 507)
    const piece = session.discardStatus === 0 ? this.takeFront(session, length) : NO_META
    if (piece !== NO_META) {
      appendPiece(this.store, session, piece)
      return
    }
    if (session.discardStatus === 0) this.fail(session, 507)
    dropFront(this.pool, session, length)
  }

  /** The first `length` bytes of the input line as a line of their own: the line itself if they are all of it. NO_META if no line is free. */
  private takeFront(session: Session, length: number): number {
    const { pool } = this
    const meta = session.inputHead
    if (pool.dataLength(meta) !== length) return splitFront(pool, meta, length)
    session.inputHead = pool.next(meta)
    pool.setNext(meta, NO_META)
    return meta
  }

  private fail(session: Session, status: number): void {
    session.discardStatus = status
    abandonUpload(this.store, session)
  }

  private complete(session: Session): void {
    session.phase = PHASE_HEAD
    // A sync failed while the body came in: nobody would ever answer what is staged now.
    if (session.discardStatus === 0 && this.store.poisoned !== 0) this.fail(session, 503)
    if (session.discardStatus === 0 && session.expectation === EXPECT_UNCHANGED && !this.isUnchanged(session)) {
      this.fail(session, 412)
    }
    if (session.discardStatus !== 0) {
      this.answerDiscarded(session)
      return
    }
    const entry = session.entryHead
    const tail = session.entryTail
    session.entryHead = NO_META
    session.entryTail = NO_META
    const batch = this.store.stagingBatch
    const before = this.store.stagePut(entry, tail)
    this.replies.stored(session, entry, before === NO_META, batch)
  }

  private answerDiscarded(session: Session): void {
    const status = session.discardStatus
    session.discardStatus = 0
    session.phase = PHASE_HEAD
    this.replies.json(session, status, { error: STATUS_TEXTS[status] }, { batch: this.store.pendingBatch })
  }

  /** Whether the key still is as the precondition found it. */
  private isUnchanged(session: Session): boolean {
    const { pool } = this
    const entry = session.entryHead
    const current = this.store.current(pool.buffer(entry), keyOffset(pool, entry), keyLength(pool, entry))
    if (current === NO_META) return !session.expectedExists
    if (!session.expectedExists) return false
    return (
      pool.get(current, W_VERSION_HIGH) === session.expectedHigh &&
      pool.get(current, W_VERSION_LOW) === session.expectedLow
    )
  }

  /* --- DELETE --- */

  /** Stages a deletion, or answers why not. The request's head is still in the line; the service consumes it. */
  remove(session: Session, bytes: Uint8Array, start: number, meta: number): void {
    const { head, pool } = this
    if (this.store.poisoned !== 0) {
      this.replies.json(session, 503, { error: STATUS_TEXTS[503] })
      return
    }
    if (meta !== NO_META && !head.keyEncoded) {
      const buffer = pool.buffer(meta)
      this.removeAt(session, bytes, start, buffer, start + head.keyStart - pool.bufferStart(buffer), head.keyLength)
      return
    }
    this.decodeKey(bytes, start)
    const line = keyLine(pool, this.keyScratch, this.scratchLength)
    if (line === NO_META) {
      this.replies.json(session, 507, { error: STATUS_TEXTS[507] })
      return
    }
    this.removeAt(session, bytes, start, pool.buffer(line), 0, this.scratchLength)
    pool.release(line)
  }

  private removeAt(
    session: Session,
    bytes: Uint8Array,
    start: number,
    buffer: number,
    offset: number,
    length: number,
  ): void {
    const status = this.conditions(session, bytes, start, buffer, offset, length)
    if (status !== 0) {
      this.replies.json(session, status, { error: STATUS_TEXTS[status] }, { batch: this.store.pendingBatch })
      return
    }
    const batch = this.store.stagingBatch
    if (this.store.stageDelete(buffer, offset, length) !== NO_META) this.replies.empty(session, 204, batch)
    else this.replies.json(session, 404, { error: 'no such key' }, { batch: this.store.pendingBatch })
  }

  private decodeKey(bytes: Uint8Array, start: number): void {
    const { head } = this
    this.scratchLength = percentDecode(bytes, start + head.keyStart, head.keyLength, this.keyScratch, 0)
  }
}
