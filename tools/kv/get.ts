/**
 * GET and HEAD of a key (RFC 9110 9.3.1, 9.3.2, 13, 14): the response head in a buffer of its own, then the stored
 * lines themselves.
 *
 * Called by: the service. Calls: store (find, verify), download (send).
 */
import { copyKey, isHardwareTime, valueLength } from '../../storage/entry.ts'
import {
  KEY_LENGTH_MAX,
  NO_META,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from '../../storage/layout.ts'
import type { Snapshot } from '../../storage/snapshot.ts'
import { FIND_EXHAUSTED, type KvStore } from '../stores/kv-store.ts'
import { secondsOfNanoseconds } from './decimal.ts'
import { PUMP_COMPLETE, PUMP_NO_LINE, pump, type SumView, startDownload } from './download.ts'
import { ByteRange, evaluatePreconditions, ifRangeHolds, parseRange } from './http-fields.ts'
import { keyForJson, percentDecode } from './key-codec.ts'
import type { Replies } from './replies.ts'
import { METHOD_HEAD, type RequestHead } from './request-head.ts'
import type { Session } from './session.ts'
import { GONE, type SnapshotTable } from './snapshots.ts'

const EXHAUSTED =
  'no network buffer is left to copy the value into: come again, or give this --store a larger --pm-size'

export class Getter {
  private readonly store: KvStore
  private readonly replies: Replies
  private readonly head: RequestHead
  private readonly sumView: SumView
  private readonly snapshots: SnapshotTable
  private readonly keyScratch = new Uint8Array(KEY_LENGTH_MAX)
  private readonly range = new ByteRange()

  constructor(store: KvStore, replies: Replies, head: RequestHead, sumView: SumView, snapshots: SnapshotTable) {
    this.store = store
    this.replies = replies
    this.head = head
    this.sumView = sumView
    this.snapshots = snapshots
  }

  /** Answers the request whose head starts at `start` of `bytes`. */
  run(session: Session, bytes: Uint8Array, start: number): void {
    const { head, store, replies } = this
    const bodyless = head.method === METHOD_HEAD
    const snapshot =
      head.queryLength === 0 ? undefined : this.snapshots.ofRequest(bytes, start, head, replies.writer.seconds)
    if (snapshot === null) {
      replies.json(session, 410, { error: GONE }, { bodyless })
      return
    }
    const entry = this.find(bytes, start, snapshot ?? store)
    if (entry === NO_META) {
      replies.json(session, 404, { error: 'no such key' }, { bodyless })
      return
    }
    if (entry === FIND_EXHAUSTED) {
      replies.json(session, 503, { error: EXHAUSTED }, { bodyless })
      return
    }
    const faulty = store.verify(entry)
    if (faulty !== NO_META) {
      this.answerCorrupt(session, entry, faulty, bodyless)
      return
    }
    const { pool } = store
    const high = pool.get(entry, W_VERSION_HIGH)
    const low = pool.get(entry, W_VERSION_LOW)
    const modified = secondsOfNanoseconds(pool.get(entry, W_ARRIVAL_HIGH), pool.get(entry, W_ARRIVAL_LOW))
    const status = evaluatePreconditions(head, bytes, start, true, high, low, modified, replies.writer.seconds)
    if (status === 400 || status === 412) {
      replies.json(
        session,
        status,
        { error: status === 400 ? 'a condition is malformed' : 'the precondition does not hold' },
        { bodyless },
      )
      return
    }
    if (status === 304) {
      replies.respond(session, this.writeHead(session, entry, 304, modified, 0), 0)
      return
    }
    this.answer(session, bytes, start, entry, modified, bodyless)
  }

  private find(bytes: Uint8Array, start: number, source: KvStore | Snapshot): number {
    const { head } = this
    const at = start + head.keyStart
    if (!head.keyEncoded) return source.find(bytes, at, head.keyLength)
    const length = percentDecode(bytes, at, head.keyLength, this.keyScratch, 0)
    return source.find(this.keyScratch, 0, length)
  }

  private answer(
    session: Session,
    bytes: Uint8Array,
    start: number,
    entry: number,
    modified: number,
    bodyless: boolean,
  ): void {
    const { range, replies } = this
    const size = valueLength(this.store.pool, entry)
    const status = this.chooseRange(bytes, start, entry, size, bodyless)
    if (status === 416) {
      replies.respond(session, this.writeHead(session, entry, 416, modified, size), 0)
      return
    }
    if (status === 200) {
      range.first = 0
      range.length = size
    }
    const front = this.writeHead(session, entry, status, modified, size)
    if (bodyless || range.length === 0 || front === NO_META) {
      replies.respond(session, front, 0)
      return
    }
    startDownload(session, entry, range.first, range.length)
    const result = pump(this.store, session, this.sumView, front)
    if (result === PUMP_NO_LINE) replies.stall(session)
    else if (result === PUMP_COMPLETE && session.lastRequest) replies.finish(session)
  }

  /** 200, 206 (`this.range` is filled) or 416. RFC 9110 (14.2): Range is for GET only. */
  private chooseRange(bytes: Uint8Array, start: number, entry: number, size: number, bodyless: boolean): number {
    const { head } = this
    if (head.rangeStart === 0 || bodyless) return 200
    const { pool } = this.store
    const high = pool.get(entry, W_VERSION_HIGH)
    const low = pool.get(entry, W_VERSION_LOW)
    if (head.ifRangeStart !== 0 && !ifRangeHolds(bytes, start + head.ifRangeStart, head.ifRangeLength, high, low))
      return 200
    return parseRange(bytes, start + head.rangeStart, head.rangeLength, size, this.range)
  }

  private writeHead(session: Session, entry: number, status: number, modified: number, size: number): number {
    const { writer } = this.replies
    const { pool } = this.store
    if (!writer.begin(status)) return NO_META
    writer.etag(pool.get(entry, W_VERSION_HIGH), pool.get(entry, W_VERSION_LOW))
    if (status === 416) {
      writer.unsatisfiedRange(size)
      writer.contentLength(0)
    } else {
      writer.arrival(pool.get(entry, W_ARRIVAL_HIGH), pool.get(entry, W_ARRIVAL_LOW), modified)
      if (isHardwareTime(pool, entry)) writer.hardwareTime()
    }
    if (status === 200 || status === 206) {
      writer.octets()
      if (status === 206) writer.contentRange(this.range.first, this.range.first + this.range.length - 1, size)
      writer.contentLength(this.range.length)
    }
    writer.connection(session.lastRequest, session.announceKeepAlive)
    writer.endHead()
    return writer.finish()
  }

  /** The bytes fail their check: name what is known, serve none of them. */
  private answerCorrupt(session: Session, entry: number, faulty: number, bodyless: boolean): void {
    const { pool } = this.store
    const named = JSON.parse(`{${keyForJson(copyKey(pool, entry))}}`) as object
    const document = { error: 'stored value is corrupt', ...named, meta: faulty, buffer: pool.buffer(faulty) }
    this.replies.json(session, 500, document, { bodyless })
  }
}
