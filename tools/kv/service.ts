/**
 * The key-value service: HTTP/1.1 on the in-place socket interface (docs/architecture.md; RFC 9110, RFC 9112).
 *
 *   stack ─► onReceive ─► process ─► head ─► put.ts, get.ts, batch.ts, other-requests.ts
 *                            ▲                  │ stage, respond
 *   burst hook ─► commit ────┴── resumable ◄── replies.ts ◄── store: batch durable
 *
 * Requests of a connection are answered in order. Writes of one burst, from all connections, share one batch; a
 * request behind an unanswered write that is not itself a write of the same batch waits for it.
 *
 * Invariants:
 *  1. Every line taken from a socket is, at any moment, in exactly one place: session input, an entry, a reply, or freed.
 *  2. Nothing is sent for a write before its batch is durable.
 *  3. No allocation per request on the way of small PUT and GET.
 */

import type { WallClock } from '../../stack/clock.ts'
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { NO_META, W_ARRIVAL_HIGH, W_ARRIVAL_LOW } from '../../storage/layout.ts'
import type { Store } from '../../storage/store.ts'
import type { BaselineStore } from '../stores/baseline-store.ts'
import type { KvStore } from '../stores/kv-store.ts'
import { Batcher } from './batch.ts'
import { secondsOfNanoseconds } from './decimal.ts'
import { endDownload, PUMP_COMPLETE, PUMP_NO_LINE, pump, type SumView } from './download.ts'
import { Getter } from './get.ts'
import { findHeadEnd, HEAD_INCOMPLETE, parseHead } from './http-parser.ts'
import { HEAD_BYTES_MAX } from './http-syntax.ts'
import { lacks } from './lacks.ts'
import { Lister } from './listing.ts'
import { OtherRequests } from './other-requests.ts'
import { Putter } from './put.ts'
import { Replies } from './replies.ts'
import {
  METHOD_DELETE,
  METHOD_GET,
  METHOD_HEAD,
  METHOD_PUT,
  RequestHead,
  TARGET_BATCH,
  TARGET_KEY,
} from './request-head.ts'
import { ServiceCounters } from './service-counters.ts'
import {
  PHASE_BATCH,
  PHASE_BODY,
  PHASE_CHUNKED,
  PHASE_DOWNLOAD,
  PHASE_DRAIN,
  PHASE_HEAD,
  PHASE_LISTING,
  Session,
} from './session.ts'
import { SnapshotTable } from './snapshots.ts'
import { abandonUpload } from './upload.ts'
import { dropFront, trimFront } from './views.ts'

export interface ServiceOptions {
  readonly store: Store
  /** Keeps the values in the store's place (`--store`): then there are PUT, GET, HEAD and DELETE of keys, and no more. */
  readonly baseline?: BaselineStore | undefined
  readonly sumView: SumView
  /** Largest value taken, bytes. */
  readonly maxValue: number
  /** The /stats document. */
  readonly stats: () => object
  /** The host's clock of arrivals: read once a burst, gives the Date fields. */
  readonly wallClock: WallClock
}

const STATUS_TEXTS: Readonly<Record<number, string>> = {
  400: 'the request is malformed',
  413: 'the value is larger than this server takes (--max-value)',
  414: 'the key is longer than 1024 bytes, or the target is too long',
  417: 'the expectation is not known',
  431: 'the request head is longer than 16 KiB',
  501: 'the transfer coding is not known',
  503: 'too many batches are coming in: come again',
  505: 'only HTTP/1.x is spoken here',
}

export class KvService implements Application {
  readonly counters = new ServiceCounters()
  private readonly store: KvStore
  private readonly baseline: BaselineStore | undefined
  private readonly sumView: SumView
  private readonly wallClock: WallClock
  private readonly head = new RequestHead()
  private readonly replies: Replies
  private readonly putter: Putter
  private readonly batcher: Batcher
  private readonly getter: Getter
  private readonly lister: Lister
  private readonly others: OtherRequests
  private readonly snapshots: SnapshotTable

  constructor(options: ServiceOptions) {
    const { store, baseline } = options
    this.store = baseline ?? store
    this.baseline = baseline
    this.sumView = options.sumView
    this.wallClock = options.wallClock
    this.replies = new Replies(this.store)
    this.putter = new Putter(this.store, this.replies, this.head, options.maxValue)
    this.snapshots = new SnapshotTable(store)
    this.batcher = new Batcher(store, this.replies, this.head, options.maxValue)
    this.getter = new Getter(this.store, this.replies, this.head, options.sumView, this.snapshots)
    this.lister = new Lister(store, this.replies, this.snapshots)
    const { head, replies, lister, snapshots, counters } = this
    this.others = new OtherRequests({
      store: this.store,
      head,
      replies,
      lister,
      snapshots,
      counters,
      stats: options.stats,
    })
  }

  /* --- Application --- */

  onAccept(connection: Connection): void {
    connection.user = new Session(connection)
  }

  onReceive(connection: Connection): void {
    this.replies.writer.setTime(secondsOfNanoseconds(this.wallClock.high, this.wallClock.low))
    this.process(connection.user as Session)
  }

  onSendSpace(connection: Connection): void {
    this.process(connection.user as Session)
  }

  onClose(connection: Connection): void {
    const session = connection.user as Session | undefined
    if (session === undefined || !session.open) return
    session.open = false
    this.store.pool.releaseChain(session.inputHead)
    session.inputHead = NO_META
    abandonUpload(this.store, session)
    this.replies.drop(session)
    endDownload(this.store, session)
    session.listing = undefined
  }

  /** Sessions wait for room, for a line or for their turn: `commitBurst` tries them again. */
  get hasStalled(): boolean {
    return this.replies.stalled.length > 0
  }

  /** The burst's frames are in: makes what they staged durable, and lets waiting requests go on. */
  commitBurst(): void {
    const { resumable, stalled } = this.replies
    if (this.snapshots.count > 0) this.snapshots.expire(this.replies.writer.seconds)
    while (stalled.length > 0) {
      const session = stalled.pop()!
      session.stalled = false
      resumable.push(session)
    }
    for (;;) {
      this.store.commit()
      if (resumable.length === 0) return
      // Sessions go on at most once a turn; what they stage is the next turn's batch.
      for (let i = resumable.length; i > 0; i--) {
        const session = resumable.pop()!
        if (session.open) this.process(session)
      }
    }
  }

  /* --- input --- */

  /** Goes on with a connection until it needs more input, more room to send, or a batch to become durable. */
  private process(session: Session): void {
    while (session.open) {
      if (session.phase === PHASE_DOWNLOAD) {
        const result = pump(this.store, session, this.sumView, NO_META)
        if (result === PUMP_NO_LINE) this.replies.stall(session)
        if (result !== PUMP_COMPLETE) return
        if (session.lastRequest) this.replies.finish(session)
        continue
      }
      if (session.phase === PHASE_LISTING) {
        if (!this.lister.pump(session)) return
        continue
      }
      if (session.phase === PHASE_DRAIN) {
        this.dropInput(session)
        return
      }
      if (session.connection.sendSpace === 0) return
      if (!this.step(session)) return
    }
  }

  /** One step of parsing. False if there is nothing to do now. */
  private step(session: Session): boolean {
    if (session.gatheredComplete) return this.takeGathered(session)
    if (session.phase === PHASE_BATCH && session.batch!.complete) return this.batcher.finish(session)
    if (!this.nextInput(session)) {
      if (session.connection.receiveFinished !== 0) this.endOfInput(session)
      return false
    }
    if (session.phase === PHASE_BODY) {
      this.putter.takeBody(session)
      return true
    }
    if (session.phase === PHASE_CHUNKED) {
      const status = this.putter.takeChunked(session)
      if (status !== 0) this.refuse(session, status)
      return true
    }
    if (session.phase === PHASE_BATCH) {
      const status = this.batcher.take(session)
      if (status !== 0) this.refuse(session, status)
      return true
    }
    return this.takeHead(session)
  }

  /** Makes session.inputHead a line with bytes in it, if there is any. */
  private nextInput(session: Session): boolean {
    const { pool } = this.store
    for (;;) {
      if (session.inputHead === NO_META) {
        session.inputHead = session.connection.takeReceived()
        if (session.inputHead === NO_META) return false
      }
      if (pool.dataLength(session.inputHead) > 0) return true
      session.inputHead = pool.release(session.inputHead)
    }
  }

  private dropInput(session: Session): void {
    while (this.nextInput(session)) session.inputHead = this.store.pool.release(session.inputHead)
  }

  /** The peer sends no more: finish what is complete, give up what is not. */
  private endOfInput(session: Session): void {
    abandonUpload(this.store, session)
    session.phase = PHASE_HEAD // of no body any more: with replies still held, this session is looked at again
    if (session.heldBatch === 0) this.replies.finish(session)
  }

  private takeHead(session: Session): boolean {
    const { pool } = this.store
    const meta = session.inputHead
    const bytes = pool.dataBytes(meta)
    const start = pool.dataStartOf(meta)
    const end = start + pool.dataLength(meta)
    if (session.gatheredLength === 0) {
      session.arrivalLow = pool.get(meta, W_ARRIVAL_LOW)
      session.arrivalHigh = pool.get(meta, W_ARRIVAL_HIGH)
      const status = parseHead(bytes, start, end, this.head)
      if (status === 0) return this.dispatch(session, bytes, start, meta)
      if (status !== HEAD_INCOMPLETE) {
        this.refuse(session, status)
        return true
      }
    }
    this.gather(session, bytes, start, end)
    return true
  }

  /** Adds a piece of a head that lies in several lines. */
  private gather(session: Session, bytes: Uint8Array, start: number, end: number): void {
    const behind = findHeadEnd(session.scan, bytes, start, end)
    const stop = behind === -1 ? end : behind
    session.gathered ??= new Uint8Array(HEAD_BYTES_MAX)
    session.gathered.set(bytes.subarray(start, stop), session.gatheredLength)
    session.gatheredLength += stop - start
    session.gatheredComplete = behind !== -1
    // No empty line may stay: whether input is left tells PUT if the body is still to come.
    if (stop === end) session.inputHead = this.store.pool.release(session.inputHead)
    else trimFront(this.store.pool, session.inputHead, stop - start)
  }

  private takeGathered(session: Session): boolean {
    const gathered = session.gathered!
    const length = session.gatheredLength
    const status = parseHead(gathered, 0, length, this.head)
    if (status !== 0) {
      this.refuse(session, status === HEAD_INCOMPLETE ? 400 : status)
      return true
    }
    if (!this.dispatch(session, gathered, 0, NO_META)) return false
    this.counters.gatheredHeads++
    session.gatheredLength = 0
    session.gatheredComplete = false
    return true
  }

  /** Answers an error in the framing of requests, behind which nothing can be trusted. */
  private refuse(session: Session, status: number, reason = STATUS_TEXTS[status]): void {
    this.counters.refused++
    abandonUpload(this.store, session)
    session.lastRequest = true
    this.replies.json(session, status, { error: reason ?? 'the request is refused' }, { batch: session.heldBatch })
    this.dropInput(session)
  }

  /* --- requests --- */

  /**
   * Runs the request in `this.head`, which starts at `start` of `bytes`: in the line `meta`, or gathered (NO_META).
   * @returns false if it has to wait for earlier replies; nothing has been consumed then
   */
  private dispatch(session: Session, bytes: Uint8Array, start: number, meta: number): boolean {
    const { head } = this
    const isWrite =
      (head.target === TARGET_KEY && (head.method === METHOD_PUT || head.method === METHOD_DELETE)) ||
      head.target === TARGET_BATCH
    // An interim response must not overtake an earlier reply, so a PUT that asks for one waits like a read.
    if (this.replies.blocks(session, isWrite && !head.expectContinue)) return false
    if (isWrite && head.method === METHOD_PUT && this.putter.mustWait()) {
      this.replies.stall(session)
      return false
    }
    this.counters.requests++
    session.lastRequest = !head.keepAlive
    session.announceKeepAlive = head.keepAlive && head.version < 11
    if (this.baseline !== undefined) {
      const lack = lacks(this.baseline, head)
      if (lack !== undefined) {
        this.refuse(session, 501, lack)
        return true
      }
    }
    if (isWrite && head.method === METHOD_PUT) {
      this.counters.puts++
      const status = this.putter.start(session, bytes, start, meta)
      if (status !== 0) this.refuse(session, status)
      return true
    }
    if (head.target === TARGET_BATCH) {
      this.counters.batches++
      this.consumeHead(session, meta)
      const status = this.batcher.start(session)
      if (status !== 0) this.refuse(session, status)
      return true
    }
    if (head.chunked || head.contentLength > 0) {
      // No other method takes a body here; what follows could not be told from the next request safely enough.
      this.refuse(session, 400)
      return true
    }
    if (head.target === TARGET_KEY) this.runOnKey(session, bytes, start, meta)
    else this.others.run(session, bytes, start)
    this.consumeHead(session, meta)
    return true
  }

  private runOnKey(session: Session, bytes: Uint8Array, start: number, meta: number): void {
    const { method } = this.head
    if (method === METHOD_GET || method === METHOD_HEAD) {
      this.counters.gets++
      this.getter.run(session, bytes, start)
    } else if (method === METHOD_DELETE) {
      this.counters.deletes++
      if (this.snapshots.count > 0 && this.others.endSnapshot(session, bytes, start)) return
      this.putter.remove(session, bytes, start, meta)
    } else {
      this.replies.json(session, 405, { error: 'a key takes GET, HEAD, PUT and DELETE' }, { allow: 'key' })
    }
  }

  /** Drops the head of a request that has been run from the line it came in. */
  private consumeHead(session: Session, meta: number): void {
    if (meta === NO_META || session.inputHead !== meta) return
    dropFront(this.store.pool, session, this.head.headerLength)
  }
}
