/**
 * The chunked transfer coding, RFC 9112 (7.1), decoded in place: the caller learns where data lies and makes views of
 * it; nothing is copied. The decoder keeps numbers only, so a body may arrive in any pieces.
 *
 *   *( SIZE [";" extension] CRLF  data CRLF )   0 [extension] CRLF   *( trailer CRLF )   CRLF
 *
 * Called by: the key-value service, with each piece of the body, again and again until the piece is used up.
 *
 * Invariants:
 *  1. The concatenated pieces, `decodedLength` and the final result depend on the body's bytes alone, not on how
 *     they were split.
 *  2. `position` never passes `to`, and never moves behind the CRLF that ends the body.
 *  3. After an error every further call returns the same error.
 */
import {
  CHUNK_EXTENSION_EXCESS_BYTES_MAX,
  CHUNK_SIZE_DIGITS_MAX,
  CLASS,
  COLON,
  CONTENT_LENGTH_MAX,
  CR,
  FIELD_VALUE,
  HEX_VALUE,
  isBlank,
  LF,
  SEMICOLON,
  TOKEN,
  TRAILER_BYTES_MAX,
} from './http-syntax.ts'

/** Everything was used up; the body goes on in the next piece. */
export const CHUNKED_NEED_MORE = 0
/** `pieceStart`, `pieceLength` tell where data lies; call again from `position`. */
export const CHUNKED_PIECE = 1
/** The body ended at `position`; what follows is the next request. */
export const CHUNKED_DONE = 2

const SIZE = 0
/** Blanks between size and `;`. */
const BEFORE_EXTENSION = 1
const EXTENSION = 2
const SIZE_LF = 3
const DATA = 4
const DATA_CR = 5
const DATA_LF = 6
const TRAILER_START = 7
const TRAILER_NAME = 8
const TRAILER_VALUE = 9
const TRAILER_LF = 10
const FINAL_LF = 11
const ENDED = 12
const FAILED = 13

export class ChunkedDecoder {
  /** Where the next `decode` call has to go on, after each result. */
  position = 0
  /** CHUNKED_PIECE: where the data lies. */
  pieceStart = 0
  pieceLength = 0
  /** Bytes of data handed out so far. */
  decodedLength = 0

  private state = SIZE
  private status = 0
  /** SIZE: the size so far. DATA: what is left of the chunk. */
  private remaining = 0
  private digits = 0
  /** Bytes of all extensions so far. */
  private extensionBytes = 0
  private trailerBytes = 0

  /** Before a new body. */
  reset(): void {
    this.position = 0
    this.pieceStart = 0
    this.pieceLength = 0
    this.decodedLength = 0
    this.state = SIZE
    this.status = 0
    this.remaining = 0
    this.digits = 0
    this.extensionBytes = 0
    this.trailerBytes = 0
  }

  /**
   * Decodes [from, to) up to the next piece of data.
   * @returns CHUNKED_NEED_MORE, CHUNKED_PIECE, CHUNKED_DONE, or minus the status to answer: 400 malformed,
   * 413 too large, 431 trailer section too long
   */
  decode(bytes: Uint8Array, from: number, to: number): number {
    if (this.state === ENDED || this.state === FAILED) {
      this.position = from
      return this.state === ENDED ? CHUNKED_DONE : this.status
    }
    for (let at = from; at < to; at++) {
      if (this.state === DATA) return this.takeData(at, to)
      const status = this.step(bytes[at]!)
      if (status !== 0) return this.fail(at, status)
      if (this.state === ENDED) {
        this.position = at + 1
        return CHUNKED_DONE
      }
    }
    this.position = to
    return CHUNKED_NEED_MORE
  }

  private takeData(at: number, to: number): number {
    const length = Math.min(this.remaining, to - at)
    this.remaining -= length
    this.decodedLength += length
    if (this.remaining === 0) this.state = DATA_CR
    this.pieceStart = at
    this.pieceLength = length
    this.position = at + length
    return CHUNKED_PIECE
  }

  private fail(at: number, status: number): number {
    this.state = FAILED
    this.status = status
    this.position = at
    return status
  }

  /** One byte that is not data. Returns 0 or a negative status. */
  private step(byte: number): number {
    switch (this.state) {
      case SIZE:
        return this.stepSize(byte)
      case BEFORE_EXTENSION:
        if (byte === SEMICOLON) this.state = EXTENSION
        else if (!isBlank(byte)) return -400
        return this.countExtension()
      case EXTENSION:
        // RFC 9112 (7.1.1): unknown extensions are ignored; no value of theirs may hold CR or LF.
        if (byte === CR) {
          this.state = SIZE_LF
          return 0
        }
        return (CLASS[byte]! & FIELD_VALUE) !== 0 ? this.countExtension() : -400
      case SIZE_LF:
        if (byte !== LF) return -400
        this.digits = 0
        this.state = this.remaining > 0 ? DATA : TRAILER_START
        return 0
      case DATA_CR:
        this.state = DATA_LF
        return byte === CR ? 0 : -400
      case DATA_LF:
        this.state = SIZE
        return byte === LF ? 0 : -400
      default:
        return this.stepTrailer(byte)
    }
  }

  private stepSize(byte: number): number {
    const digit = HEX_VALUE[byte]!
    if (digit <= 15) {
      if (++this.digits > CHUNK_SIZE_DIGITS_MAX) return -400
      // 16 digits are at most 2^64: inexact beyond 2^53, but still beyond it.
      this.remaining = this.remaining * 16 + digit
      return 0
    }
    if (this.digits === 0) return -400
    if (this.decodedLength + this.remaining > CONTENT_LENGTH_MAX) return -413
    if (byte === CR) this.state = SIZE_LF
    else if (byte === SEMICOLON) this.state = EXTENSION
    else if (isBlank(byte)) this.state = BEFORE_EXTENSION
    else return -400
    return byte === CR ? 0 : this.countExtension()
  }

  private countExtension(): number {
    return ++this.extensionBytes > CHUNK_EXTENSION_EXCESS_BYTES_MAX + this.decodedLength ? -413 : 0
  }

  /** RFC 9112 (7.1.2): trailer fields are checked as fields are, then discarded. */
  private stepTrailer(byte: number): number {
    if (++this.trailerBytes > TRAILER_BYTES_MAX) return -431
    switch (this.state) {
      case TRAILER_START:
        if (byte === CR) this.state = FINAL_LF
        else if ((CLASS[byte]! & TOKEN) !== 0) this.state = TRAILER_NAME
        else return -400
        return 0
      case TRAILER_NAME:
        if (byte === COLON) this.state = TRAILER_VALUE
        else if ((CLASS[byte]! & TOKEN) === 0) return -400
        return 0
      case TRAILER_VALUE:
        if (byte === CR) this.state = TRAILER_LF
        else if ((CLASS[byte]! & FIELD_VALUE) === 0) return -400
        return 0
      case TRAILER_LF:
        this.state = TRAILER_START
        return byte === LF ? 0 : -400
      default:
        this.state = ENDED
        return byte === LF ? 0 : -400
    }
  }
}
