/**
 * Requests that are not about one key: listings, snapshots, counters, the page for people; and 404 for all else.
 *
 * Called by: the service. Calls: listing, snapshots, replies.
 */
import type { KvStore } from '../stores/kv-store.ts'
import type { Lister } from './listing.ts'
import { PAGE } from './page.ts'
import type { Replies } from './replies.ts'
import {
  METHOD_GET,
  METHOD_HEAD,
  type RequestHead,
  TARGET_LISTING,
  TARGET_ROOT,
  TARGET_SNAPSHOT,
  TARGET_STATS,
} from './request-head.ts'
import { textOf } from './response-writer.ts'
import type { ServiceCounters } from './service-counters.ts'
import type { Session } from './session.ts'
import type { SnapshotTable } from './snapshots.ts'

const HTML_TYPE = textOf('Content-Type: text/html; charset=utf-8\r\n')

export interface OtherRequestsParts {
  readonly store: KvStore
  readonly head: RequestHead
  readonly replies: Replies
  readonly lister: Lister
  readonly snapshots: SnapshotTable
  readonly counters: ServiceCounters
  readonly stats: () => object
}

export class OtherRequests {
  private readonly store: KvStore
  private readonly head: RequestHead
  private readonly replies: Replies
  private readonly lister: Lister
  private readonly snapshots: SnapshotTable
  private readonly counters: ServiceCounters
  private readonly stats: () => object

  constructor(parts: OtherRequestsParts) {
    this.store = parts.store
    this.head = parts.head
    this.replies = parts.replies
    this.lister = parts.lister
    this.snapshots = parts.snapshots
    this.counters = parts.counters
    this.stats = parts.stats
  }

  /** Ends the snapshot that a DELETE names. @returns false if it names none: then it is a key */
  endSnapshot(session: Session, bytes: Uint8Array, start: number): boolean {
    const from = start + this.head.keyStart
    if (!this.snapshots.endByKey(bytes.subarray(from, from + this.head.keyLength))) return false
    this.replies.empty(session, 204, this.store.pendingBatch)
    return true
  }

  private takeSnapshot(session: Session): void {
    this.counters.snapshots++
    const held = this.snapshots.take(this.replies.writer.seconds)
    if (held === undefined) this.replies.json(session, 503, { error: 'too many snapshots are open: delete one' })
    else this.replies.json(session, 201, { snapshot: held.id, version: held.snapshot.version })
  }

  /** Runs the request in the head, which starts at `start` of `bytes`. */
  run(session: Session, bytes: Uint8Array, start: number): void {
    const { head, replies } = this
    const bodyless = head.method === METHOD_HEAD
    if (head.target === TARGET_SNAPSHOT) this.takeSnapshot(session)
    else if (head.target !== TARGET_LISTING && head.target !== TARGET_ROOT && head.target !== TARGET_STATS) {
      replies.json(session, 404, { error: 'there is nothing here; keys are under /kv/' }, { bodyless })
    } else if (head.method !== METHOD_GET && !bodyless) {
      replies.json(session, 405, { error: 'this takes GET and HEAD' }, { allow: 'read' })
    } else if (head.target === TARGET_STATS) {
      replies.json(session, 200, this.stats(), { bodyless })
    } else if (head.target === TARGET_ROOT) {
      replies.document(session, 200, HTML_TYPE, PAGE, { bodyless })
    } else {
      this.counters.listings++
      this.lister.start(session, bytes, start, head)
    }
  }
}
