/**
 * What a request head says, as numbers: one long-lived object that `parseHead` fills again and again. It holds no
 * bytes; every `…Start` is an offset from the first byte that `parseHead` was given, so it stays right wherever the
 * head lies.
 *
 * Filled by: http-parser, http-target. Read by: the key-value service, http-fields.
 *
 * Invariants:
 *  1. A field that is absent has start 0 (offset 0 is always in the request line); one that is present may be empty.
 *  2. After `parseHead` returned 0: chunked implies contentLength = -1 and version = 1.1.
 *  3. After any other result the contents mean nothing, except that the connection must be closed.
 */

export const METHOD_OTHER = 0
export const METHOD_GET = 1
export const METHOD_HEAD = 2
export const METHOD_PUT = 3
export const METHOD_DELETE = 4
export const METHOD_POST = 5
export const METHOD_OPTIONS = 6

export const TARGET_OTHER = 0
/** `/kv/KEY` */
export const TARGET_KEY = 1
/** `/kv` or `/kv/`, with or without a query */
export const TARGET_LISTING = 2
/** `/kv/_batch`, for POST only: with other methods it is the key `_batch` */
export const TARGET_BATCH = 3
/** `/` */
export const TARGET_ROOT = 4
/** `/stats` */
export const TARGET_STATS = 5
/** `*`, for OPTIONS only: RFC 9112 (3.2.4) */
export const TARGET_SERVER = 6
/** `/kv/_snapshot`, for POST only: with other methods it is the key `_snapshot` */
export const TARGET_SNAPSHOT = 7

/** Bits of `transferCodings`, RFC 9112 (6.1). */
export const CODING_CHUNKED_LAST = 1
export const CODING_UNKNOWN = 2

export class RequestHead {
  method = METHOD_OTHER
  target = TARGET_OTHER
  /** 10 or 11: HTTP/1.0, HTTP/1.1 (and higher minor versions, RFC 9110 2.5). */
  version = 11
  /** Bytes from the start up to and with the blank line; the body begins there. */
  headerLength = 0

  /** TARGET_KEY: the key as it stands in the target, without decoding. */
  keyStart = 0
  keyLength = 0
  /** The key has percent-encoded bytes: decode it (`percentDecode`) before use. They are valid. */
  keyEncoded = false
  /** Bytes of the key once decoded, 1…KEY_LENGTH_MAX. */
  keyDecodedLength = 0
  /** Behind the `?`. */
  queryStart = 0
  queryLength = 0

  /** -1: none. Not compared with the largest value: that is the service's to do. */
  contentLength = -1
  chunked = false
  /** The client waits for 100 (Continue) before it sends the body. */
  expectContinue = false
  /** The connection may carry another request after this one (RFC 9112 9.3). */
  keepAlive = true
  hostPresent = false

  ifMatchStart = 0
  ifMatchLength = 0
  ifNoneMatchStart = 0
  ifNoneMatchLength = 0
  ifModifiedSinceStart = 0
  ifModifiedSinceLength = 0
  ifUnmodifiedSinceStart = 0
  ifUnmodifiedSinceLength = 0
  ifRangeStart = 0
  ifRangeLength = 0
  rangeStart = 0
  rangeLength = 0
  contentRangePresent = false

  /* What fields said before all of them were known; `parseHead` draws the conclusions above from them. */
  transferCodings = 0
  connectionClose = false
  connectionKeepAlive = false
  expectUnknown = false

  /** Before a new head. */
  reset(): void {
    this.method = METHOD_OTHER
    this.target = TARGET_OTHER
    this.version = 11
    this.headerLength = 0
    this.keyStart = 0
    this.keyLength = 0
    this.keyEncoded = false
    this.keyDecodedLength = 0
    this.queryStart = 0
    this.queryLength = 0
    this.contentLength = -1
    this.chunked = false
    this.expectContinue = false
    this.keepAlive = true
    this.hostPresent = false
    this.ifMatchStart = 0
    this.ifMatchLength = 0
    this.ifNoneMatchStart = 0
    this.ifNoneMatchLength = 0
    this.ifModifiedSinceStart = 0
    this.ifModifiedSinceLength = 0
    this.ifUnmodifiedSinceStart = 0
    this.ifUnmodifiedSinceLength = 0
    this.ifRangeStart = 0
    this.ifRangeLength = 0
    this.rangeStart = 0
    this.rangeLength = 0
    this.contentRangePresent = false
    this.transferCodings = 0
    this.connectionClose = false
    this.connectionKeepAlive = false
    this.expectUnknown = false
  }
}
