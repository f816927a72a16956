/**
 * What the service knows of one HTTP connection: numbers, and the lines it holds. One object a connection.
 *
 *   input     lines taken from the socket, not yet parsed               inputHead ─► … ─► 0
 *   entry     a value being received                                    entryHead ─► fragments ─► entryTail
 *   held      replies to writes, waiting for their batch to be durable  heldHead ─► … ─► heldTail
 *   download  a value being sent, pinned                                downloadHead, downloadNext
 */

import type { Connection } from '../../stack/tcp/connection.ts'
import type { EntryInfo } from '../../storage/iteration.ts'
import { NO_META } from '../../storage/layout.ts'
import type { BatchBody } from './batch.ts'
import type { ChunkedDecoder } from './http-chunked.ts'
import { HeadScan } from './http-parser.ts'

/** Between requests, or in the head of one. */
export const PHASE_HEAD = 0
/** In a body with Content-Length: `bodyLeft` bytes to go. */
export const PHASE_BODY = 1
export const PHASE_CHUNKED = 2
/** The response goes out in parts; requests behind it wait. */
export const PHASE_DOWNLOAD = 3
export const PHASE_LISTING = 4
/** The last response is sent or on its way: input is read and dropped until the peer closes. */
export const PHASE_DRAIN = 5
/** In the body of an atomic batch, or waiting for room for it. */
export const PHASE_BATCH = 6

/** What a conditional write may find at its key when its body is complete. */
export const EXPECT_ANYTHING = 0
/** Exactly the state that the condition was evaluated on. */
export const EXPECT_UNCHANGED = 1

export class Session {
  readonly connection: Connection
  open = true
  phase = PHASE_HEAD
  /** The connection carries no request after this one. */
  lastRequest = false
  /** The request was HTTP/1.0 and asked to keep the connection: the reply has to say so (RFC 9112 9.3, C.2.2). */
  announceKeepAlive = false

  inputHead = NO_META
  /** A head that lies in several lines is gathered here; its length, and whether its end was found. */
  gathered: Uint8Array | undefined
  gatheredLength = 0
  gatheredComplete = false
  /** Arrival of the first line of the request, ns since the epoch, two int32. */
  arrivalLow = 0
  arrivalHigh = 0
  readonly scan = new HeadScan()

  /* The write in progress. */
  entryHead = NO_META
  entryTail = NO_META
  bodyLeft = 0
  /** Status to answer when the body has been read and dropped, or 0: it is being kept. */
  discardStatus = 0
  expectation = EXPECT_ANYTHING
  expectedExists = false
  expectedHigh = 0
  expectedLow = 0
  chunked: ChunkedDecoder | undefined
  batch: BatchBody | undefined

  /* Replies that wait. */
  heldHead = NO_META
  heldTail = NO_META
  /** The batch they wait for; 0: none. */
  heldBatch = 0
  /** Stands in the list of sessions that wait for a batch, and in that of those to be tried again. */
  waiting = false
  stalled = false

  /* The response in progress. */
  downloadHead = NO_META
  downloadNext = NO_META
  /** Bytes of the value to skip before, and to send from, downloadNext. */
  downloadSkip = 0
  downloadLeft = 0
  downloadPinned = false
  listing: Generator<EntryInfo | undefined> | undefined
  listingChunked = false
  /** Identifier of the snapshot that the listing reads from. */
  listingSnapshot: string | undefined

  constructor(connection: Connection) {
    this.connection = connection
  }
}
