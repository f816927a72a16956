/**
 * Replies: when they may leave, and the short ones in full.
 *
 * A reply to a write is held until its batch is durable; whatever a session would send behind it waits too, so that
 * replies keep the order of their requests. `completed` (the store's call) lets them go.
 *
 *   respond ─► socket                      nothing is under way
 *           └► session.held ─► completed ─► socket, and the session goes on with its input
 *
 * Called by: the service and its methods. Calls: response-writer, store, connection.
 */
import { NO_META, W_VERSION_HIGH, W_VERSION_LOW } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import type { KvStore } from '../stores/kv-store.ts'
import { chainOf, ResponseWriter, textOf } from './response-writer.ts'
import { PHASE_DRAIN, type Session } from './session.ts'

const NO_CONTENT_LENGTH = textOf('Content-Length: 0\r\n')
const JSON_TYPE = textOf('Content-Type: application/json\r\n')
const ALLOW: Readonly<Record<string, DataView>> = {
  key: textOf('Allow: GET, HEAD, PUT, DELETE\r\n'),
  read: textOf('Allow: GET, HEAD\r\n'),
}

export class Replies {
  readonly writer: ResponseWriter
  private readonly store: KvStore
  private readonly pool: Pool
  /** Sessions with held replies: the first `waitingCount`. Never shortened, which would cost an allocation a batch. */
  private readonly waiting: Session[] = []
  private waitingCount = 0
  /** Sessions whose replies went out and whose input may go on; the service empties it. */
  readonly resumable: Session[] = []
  /**
   * Sessions that wait for a free line, for the room that a program on its way will make, or for the next turn of a
   * listing; tried again with the next burst, or in the next pause.
   */
  readonly stalled: Session[] = []

  constructor(store: KvStore) {
    this.store = store
    this.pool = store.pool
    this.writer = new ResponseWriter(store.pool)
    store.onComplete((batch, error) => this.completed(batch, error))
  }

  /** Whether a request that is no write of the same batch has to wait for earlier replies. */
  blocks(session: Session, isWrite: boolean): boolean {
    if (session.heldBatch === 0) return false
    return !isWrite || session.heldBatch !== this.store.stagingBatch
  }

  /** Has the session tried again. */
  stall(session: Session): void {
    if (session.stalled) return
    session.stalled = true
    this.stalled.push(session)
  }

  /** Sends a finished response, a line or chain, now or when `batch` is durable (0: now). */
  respond(session: Session, chain: number, batch: number): void {
    if (chain === NO_META) {
      // No buffer even in the reserve: the connection cannot be answered.
      session.connection.abort()
      return
    }
    if (batch === 0) session.connection.send(chain)
    else this.hold(session, chain, batch)
    if (session.lastRequest) this.finish(session)
  }

  /** The reply to a put: 201 or 204, with the version it got. */
  stored(session: Session, head: number, created: boolean, batch: number): void {
    const { writer, pool } = this
    let meta = NO_META
    if (writer.begin(created ? 201 : 204)) {
      writer.etag(pool.get(head, W_VERSION_HIGH), pool.get(head, W_VERSION_LOW))
      if (created) writer.raw(NO_CONTENT_LENGTH)
      writer.connection(session.lastRequest, session.announceKeepAlive)
      writer.endHead()
      meta = writer.finish()
    }
    this.respond(session, meta, batch)
  }

  /** A reply without a body. */
  empty(session: Session, status: number, batch: number): void {
    const { writer } = this
    let meta = NO_META
    if (writer.begin(status)) {
      writer.connection(session.lastRequest, session.announceKeepAlive)
      writer.endHead()
      meta = writer.finish()
    }
    this.respond(session, meta, batch)
  }

  /** An error, or any short document, as JSON. `bodyless`: the request was HEAD. */
  json(
    session: Session,
    status: number,
    document: object,
    options: { batch?: number; bodyless?: boolean; allow?: 'key' | 'read' } = {},
  ): void {
    this.document(session, status, JSON_TYPE, Buffer.from(`${JSON.stringify(document)}\n`), options)
  }

  /** A response with a body of copied bytes. */
  document(
    session: Session,
    status: number,
    type: DataView,
    body: Uint8Array,
    options: { batch?: number; bodyless?: boolean; allow?: 'key' | 'read' } = {},
  ): void {
    const { writer, pool } = this
    let meta = NO_META
    const chain = options.bodyless === true ? NO_META : chainOf(pool, body)
    const complete = options.bodyless === true || chain !== NO_META || body.length === 0
    if (complete && writer.begin(status)) {
      writer.raw(type)
      if (options.allow !== undefined) writer.raw(ALLOW[options.allow]!)
      writer.contentLength(body.length)
      writer.connection(session.lastRequest, session.announceKeepAlive)
      writer.endHead()
      meta = writer.finish()
    }
    if (meta === NO_META) pool.releaseChain(chain)
    else pool.setNext(meta, chain)
    this.respond(session, meta, options.batch ?? 0)
  }

  /** 100 (Continue), RFC 9110 (15.2.1). */
  interim(session: Session): void {
    const { writer } = this
    if (!writer.begin(100)) return
    writer.endHead()
    const meta = writer.finish()
    if (meta !== NO_META) session.connection.send(meta)
  }

  /** No request follows: FIN behind the last reply, and input is dropped from now on. */
  finish(session: Session): void {
    session.phase = PHASE_DRAIN
    if (session.heldBatch === 0) session.connection.shutdown()
  }

  /** Forgets what a closed session still held. */
  drop(session: Session): void {
    this.pool.releaseChain(session.heldHead)
    session.heldHead = NO_META
    session.heldTail = NO_META
    session.heldBatch = 0
  }

  private hold(session: Session, chain: number, batch: number): void {
    if (session.heldHead === NO_META) session.heldHead = chain
    else this.pool.setNext(session.heldTail, chain)
    let tail = chain
    for (let next = this.pool.next(tail); next !== NO_META; next = this.pool.next(tail)) tail = next
    session.heldTail = tail
    session.heldBatch = batch
    if (session.waiting) return
    session.waiting = true
    this.waiting[this.waitingCount++] = session
  }

  /** A batch is durable (error 0), or will never be. */
  private completed(batch: number, error: number): void {
    let kept = 0
    for (let i = 0; i < this.waitingCount; i++) {
      const session = this.waiting[i]!
      if (session.open && session.heldBatch > batch && error === 0) {
        this.waiting[kept++] = session
        continue
      }
      session.waiting = false
      if (session.open) this.release(session, error)
    }
    this.waitingCount = kept
  }

  private release(session: Session, error: number): void {
    if (error !== 0) {
      // What became of the write is unknown, so there is nothing true to say: the connection ends without a reply.
      this.drop(session)
      session.connection.abort()
      return
    }
    const chain = session.heldHead
    session.heldHead = NO_META
    session.heldTail = NO_META
    session.heldBatch = 0
    session.connection.send(chain)
    if (session.phase === PHASE_DRAIN) session.connection.shutdown()
    else this.resumable.push(session)
  }
}
