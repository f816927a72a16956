/**
 * POST /kv/_batch: several writes in one request, committed together or not at all (docs/http.md).
 *
 *   start ─► (100 Continue) ─► take … ─► finish ─► parse ─► store.stageBatch ─► reply, held until durable
 *
 * The lines are JSON, so keys and values are decoded, and decoded bytes are copies: the one write of this interface
 * that copies its payload, counted in `payloadBytesCopied`. The body is gathered outside the region, because nothing of
 * it becomes part of the store as it is. Called by: the service.
 */
import { ConditionError, FullError } from '../../storage/errors.ts'
import { NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import type { Store } from '../../storage/store.ts'
import { type BatchLines, parseBatchLines } from './batch-lines.ts'
import { CHUNKED_DONE, CHUNKED_NEED_MORE, ChunkedDecoder } from './http-chunked.ts'
import type { Replies } from './replies.ts'
import type { RequestHead } from './request-head.ts'
import { PHASE_BATCH, PHASE_HEAD, type Session } from './session.ts'
import { dropFront, trimFront } from './views.ts'

/** Bytes of a batch's body, at most; it is held and parsed as a whole. */
export const BATCH_BYTES_MAX = 64 << 20

const INITIAL_BYTES = 4096
/** Bodies of all connections together: so many of the largest, and so many bytes at least. */
const LARGEST_BODIES_MAX = 4
const ALL_BODIES_BYTES_MIN = 4 << 20

/** Memory of the bodies that are coming in, or wait for room. */
class BodyMemory {
  private readonly bytesMax: number
  private heldBytes = 0

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  take(bytes: number): boolean {
    if (this.heldBytes + bytes > this.bytesMax) return false
    this.heldBytes += bytes
    return true
  }

  giveBack(bytes: number): void {
    this.heldBytes -= bytes
  }
}

/** The body of a batch while it comes in. */
export class BatchBody {
  bytes = new Uint8Array(0)
  length = 0
  private readonly memory: BodyMemory
  /** Chunked coding; otherwise the session's `bodyLeft` counts. */
  readonly chunked: boolean
  complete = false
  /** The operations, once the body is complete and while it waits for room. */
  parsed: BatchLines | undefined

  constructor(chunked: boolean, memory: BodyMemory) {
    this.chunked = chunked
    this.memory = memory
  }

  /** False: other bodies have all the memory. */
  append(source: Uint8Array, start: number, length: number): boolean {
    const { bytes } = this
    if (this.length + length > bytes.length) {
      const larger = Math.max(bytes.length * 2, this.length + length, INITIAL_BYTES)
      if (!this.memory.take(larger - bytes.length)) return false
      this.bytes = new Uint8Array(larger)
      this.bytes.set(bytes.subarray(0, this.length))
    }
    this.bytes.set(source.subarray(start, start + length), this.length)
    this.length += length
    return true
  }

  /** It is answered, or given up. */
  release(): void {
    this.memory.giveBack(this.bytes.length)
    this.bytes = new Uint8Array(0)
  }
}

export class Batcher {
  private readonly store: Store
  private readonly pool: Pool
  private readonly replies: Replies
  private readonly head: RequestHead
  private readonly bytesMax: number
  private readonly memory: BodyMemory

  constructor(store: Store, replies: Replies, head: RequestHead, maxValue: number) {
    this.store = store
    this.pool = store.pool
    this.replies = replies
    this.head = head
    this.bytesMax = Math.min(maxValue, BATCH_BYTES_MAX)
    this.memory = new BodyMemory(Math.max(this.bytesMax * LARGEST_BODIES_MAX, ALL_BODIES_BYTES_MIN))
  }

  /**
   * Begins with the request in the head, which has been consumed.
   * @returns 0, or the status to refuse the connection with
   */
  start(session: Session): number {
    const { head } = this
    if (head.contentRangePresent) return 400
    if (head.contentLength > this.bytesMax) return 413
    if (!head.chunked && head.contentLength < 0) {
      this.answer(session, 411, { error: 'a batch needs Content-Length or Transfer-Encoding: chunked' })
      return 0
    }
    session.batch = new BatchBody(head.chunked, this.memory)
    session.bodyLeft = Math.max(head.contentLength, 0)
    session.phase = PHASE_BATCH
    if (head.chunked) {
      session.chunked ??= new ChunkedDecoder()
      session.chunked.reset()
    } else session.batch.complete = session.bodyLeft === 0
    if (head.expectContinue && !session.batch.complete && session.inputHead === NO_META) this.replies.interim(session)
    return 0
  }

  /** Takes body bytes from the input line. Returns 0, or the status to refuse the connection with. */
  take(session: Session): number {
    const body = session.batch!
    if (body.chunked) return this.takeChunked(session, body)
    const meta = session.inputHead
    const length = Math.min(this.pool.dataLength(meta), session.bodyLeft)
    if (!body.append(this.pool.dataBytes(meta), this.pool.dataStartOf(meta), length)) return 503
    dropFront(this.pool, session, length)
    session.bodyLeft -= length
    body.complete = session.bodyLeft === 0
    return 0
  }

  private takeChunked(session: Session, body: BatchBody): number {
    const { pool } = this
    const decoder = session.chunked!
    const meta = session.inputHead
    const start = pool.dataStartOf(meta)
    const result = decoder.decode(pool.dataBytes(meta), start, start + pool.dataLength(meta))
    if (result < 0) return -result
    if (decoder.decodedLength > this.bytesMax) return 413
    if (result === CHUNKED_NEED_MORE) session.inputHead = pool.release(meta)
    else if (result === CHUNKED_DONE) {
      trimFront(pool, meta, decoder.position - start)
      body.complete = true
    } else {
      if (!body.append(pool.dataBytes(meta), decoder.pieceStart, decoder.pieceLength)) return 503
      dropFront(pool, session, decoder.pieceStart - start + decoder.pieceLength)
    }
    return 0
  }

  /** Stages a complete batch, or answers why not. False if it waits for room that is on its way. */
  finish(session: Session): boolean {
    const { store } = this
    const body = session.batch!
    if (body.parsed === undefined) {
      const parsed = parseBatchLines(body.bytes.subarray(0, body.length))
      if ('error' in parsed) {
        this.answer(session, 400, { error: `line ${parsed.line}: ${parsed.error}`, line: parsed.line })
        return true
      }
      body.parsed = parsed
    }
    if (store.poisoned !== 0) {
      this.answer(session, 503, { error: store.poisonError().message })
      return true
    }
    const { operations, lines } = body.parsed
    try {
      store.stageBatch(operations, arrivalOf(session))
    } catch (error) {
      if (error instanceof FullError && store.owesRoom) {
        this.replies.stall(session)
        return false
      }
      this.answerRefused(session, error, lines)
      return true
    }
    this.answer(session, 200, { committed: operations.length, version: store.nextVersion - 1 })
    return true
  }

  private answerRefused(session: Session, error: unknown, lines: readonly number[]): void {
    if (error instanceof ConditionError) {
      const line = lines[error.operation]!
      const version = error.current === undefined ? null : Number(error.current)
      this.answer(session, 412, { error: `line ${line}: the condition does not hold`, line, version })
    } else if (error instanceof FullError) {
      this.answer(session, 507, { error: error.message })
    } else throw error
  }

  /** Waits for what is staged: the batch itself, or what a refusal was decided on. */
  private answer(session: Session, status: number, document: object): void {
    session.batch?.release()
    session.batch = undefined
    session.phase = PHASE_HEAD
    this.replies.json(session, status, document, { batch: this.store.pendingBatch })
  }
}

function arrivalOf(session: Session): bigint {
  return (BigInt(session.arrivalHigh >>> 0) << 32n) | BigInt(session.arrivalLow >>> 0)
}
