/**
 * GET /kv?…: the entries in key order, one JSON object a line, sent in parts as the socket has room.
 *
 *   {"key":"a","size":1024,"version":17,"arrival":1700000000000000000}      and "arrivalClock":"hardware" if the interface stamped it
 *
 * The length is not known before the end, so the body is chunked (HTTP/1.0: ended by closing). Between parts writers
 * go on; the iteration finds its place again by key. With a snapshot it is not disturbed by them.
 *
 * Called by: the service. Calls: store.entries, replies.
 */

import type { EntryInfo } from '../../storage/iteration.ts'
import { NO_META } from '../../storage/layout.ts'
import type { Store } from '../../storage/store.ts'
import { keyForJson, parseListingQuery } from './key-codec.ts'
import type { Replies } from './replies.ts'
import { METHOD_HEAD, type RequestHead } from './request-head.ts'
import { chainOf, textOf } from './response-writer.ts'
import { PHASE_HEAD, PHASE_LISTING, type Session } from './session.ts'
import { GONE, type SnapshotTable } from './snapshots.ts'

/**
 * One part in one turn: a few buffers of text, bytes, or so many entries looked at, most of which may have arrived at
 * another time than is asked for. So a long listing does not keep others waiting.
 */
const PART_BYTES = 16 * 1024
const PART_ENTRIES = 256

const NDJSON_TYPE = textOf('Content-Type: application/x-ndjson\r\n')
const CHUNKED = textOf('Transfer-Encoding: chunked\r\n')

export function listingLine(entry: EntryInfo): string {
  const clock = entry.hardwareTime ? ',"arrivalClock":"hardware"' : ''
  return `{${keyForJson(entry.key)},"size":${entry.size},"version":${entry.version},"arrival":${entry.arrival}${clock}}\n`
}

export class Lister {
  private readonly store: Store
  private readonly replies: Replies
  private readonly snapshots: SnapshotTable

  constructor(store: Store, replies: Replies, snapshots: SnapshotTable) {
    this.store = store
    this.replies = replies
    this.snapshots = snapshots
  }

  start(session: Session, bytes: Uint8Array, start: number, head: RequestHead): void {
    const bodyless = head.method === METHOD_HEAD
    const query = parseListingQuery(bytes, start + head.queryStart, head.queryLength)
    if (typeof query === 'string') {
      this.replies.json(session, 400, { error: query }, { bodyless })
      return
    }
    const { snapshot: id } = query
    const source = id === undefined ? this.store : this.snapshots.find(id, this.replies.writer.seconds)
    if (source === undefined) {
      this.replies.json(session, 410, { error: GONE }, { bodyless })
      return
    }
    session.listingChunked = head.version >= 11
    if (!session.listingChunked) session.lastRequest = true
    const { writer } = this.replies
    let meta = NO_META
    if (writer.begin(200)) {
      writer.raw(NDJSON_TYPE)
      if (session.listingChunked) writer.raw(CHUNKED)
      writer.connection(session.lastRequest, session.announceKeepAlive)
      writer.endHead()
      meta = writer.finish()
    }
    if (meta === NO_META || bodyless) {
      this.replies.respond(session, meta, 0)
      return
    }
    session.connection.send(meta)
    session.listing = source.scan(query)
    session.listingSnapshot = id
    session.phase = PHASE_LISTING
  }

  /** Sends a part if there is room. True if the listing is complete. */
  pump(session: Session): boolean {
    if (session.connection.sendSpace === 0) return false
    // Using the snapshot keeps it from expiring; one that is gone nevertheless ends the listing halfway.
    const { listingSnapshot: id } = session
    if (id !== undefined && this.snapshots.find(id, this.replies.writer.seconds) === undefined) {
      session.connection.abort()
      return false
    }
    let text = ''
    let ended = false
    for (let looked = 0; looked < PART_ENTRIES && text.length < PART_BYTES && !ended; looked++) {
      const next = session.listing!.next()
      if (next.done) ended = true
      else if (next.value !== undefined) text += listingLine(next.value)
    }
    if (!this.sendPart(session, text, ended)) return false
    if (!ended) {
      if (session.connection.sendSpace > 0) this.replies.stall(session)
      return false
    }
    session.listing = undefined
    session.phase = PHASE_HEAD
    if (session.lastRequest) this.replies.finish(session)
    return true
  }

  private sendPart(session: Session, text: string, ended: boolean): boolean {
    const body = Buffer.from(text)
    let part: Buffer = body
    if (session.listingChunked) {
      const pieces = body.length > 0 ? [Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')] : []
      if (ended) pieces.push(Buffer.from('0\r\n\r\n'))
      part = Buffer.concat(pieces)
    }
    if (part.length === 0) return true
    const chain = chainOf(this.store.pool, part)
    if (chain === NO_META) {
      // A part of a listing is lost only together with its connection.
      session.connection.abort()
      return false
    }
    session.connection.send(chain)
    return true
  }
}
