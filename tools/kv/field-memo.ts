/**
 * The field lines of the last request, and what they say. Clients send the same fields again and again, to the last
 * byte: what is equal need not be understood anew. Comparing costs a quarter of parsing.
 *
 *   PUT /kv/a HTTP/1.1 CRLF   Host: 10.77.0.2 CRLF Content-Length: 1024 CRLF CRLF
 *                             └──────────────────── remembered ─────────────────┘
 *
 * Called by: http-parser.
 *
 * Invariants:
 *  1. Field lines mean the same whatever request line precedes them: what follows from both is concluded afterwards.
 *  2. Fields whose values are looked at later (conditions, ranges) are not remembered, so no position is.
 */
import type { RequestHead } from './request-head.ts'

/** Longer ones are parsed each time, bytes. Browsers send about as much; clients of a store a fraction. */
const REMEMBERED_BYTES_MAX = 512

export class FieldMemo {
  private readonly bytes = new Uint8Array(REMEMBERED_BYTES_MAX)
  /** 0: nothing is remembered. */
  private length = 0
  private contentLength = -1
  private hostPresent = false
  private transferCodings = 0
  private connectionClose = false
  private connectionKeepAlive = false
  private expectContinue = false
  private expectUnknown = false
  private contentRangePresent = false

  /**
   * Fills `head` if the remembered lines, the blank one included, stand at `at`.
   * @returns their length, or 0: parse them
   */
  recall(bytes: Uint8Array, at: number, limit: number, head: RequestHead): number {
    const own = this.bytes
    const length = this.length
    if (at + length > limit) return 0
    // From the end: of two requests that differ it is mostly Content-Length, which clients send last.
    for (let i = length - 1; i >= 0; i--) if (bytes[at + i] !== own[i]) return 0
    if (length === 0) return 0
    head.contentLength = this.contentLength
    head.hostPresent = this.hostPresent
    head.transferCodings = this.transferCodings
    head.connectionClose = this.connectionClose
    head.connectionKeepAlive = this.connectionKeepAlive
    head.expectContinue = this.expectContinue
    head.expectUnknown = this.expectUnknown
    head.contentRangePresent = this.contentRangePresent
    return length
  }

  /** Remembers the lines [from, to), which `head` has just been filled from and nothing been concluded of. */
  remember(bytes: Uint8Array, from: number, to: number, head: RequestHead): void {
    const length = to - from
    if (length > REMEMBERED_BYTES_MAX || hasPositions(head)) return
    for (let i = 0; i < length; i++) this.bytes[i] = bytes[from + i]!
    this.length = length
    this.contentLength = head.contentLength
    this.hostPresent = head.hostPresent
    this.transferCodings = head.transferCodings
    this.connectionClose = head.connectionClose
    this.connectionKeepAlive = head.connectionKeepAlive
    this.expectContinue = head.expectContinue
    this.expectUnknown = head.expectUnknown
    this.contentRangePresent = head.contentRangePresent
  }
}

function hasPositions(head: RequestHead): boolean {
  const conditions = head.ifMatchStart | head.ifNoneMatchStart | head.ifModifiedSinceStart | head.ifUnmodifiedSinceStart
  return (conditions | head.ifRangeStart | head.rangeStart) !== 0
}
