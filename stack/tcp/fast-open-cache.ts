/**
 * What a client remembers of servers for TCP Fast Open (RFC 7413 4.1.3): the cookie, the MSS, and whether opening so has
 * failed. A fixed number of rows, by the server's address; when all are taken the oldest one is given up.
 *
 *   row   address 16 | cookie 16 | length, MSS, what to try, losses
 *
 * Called by: fast-open-client.ts. Looked at once a connect, never per packet.
 */
import type { AddressPair } from '../address.ts'
import { elapsed } from '../clock.ts'
import { FAST_OPEN_LOSS_PAUSE_MS, FAST_OPEN_SERVERS_MAX } from '../limits.ts'
import { FAST_OPEN_COOKIE_BYTES_MAX } from './options.ts'
import type { Segment } from './segment.ts'

export const NO_ROW = -1

/* Which option asks a server that has given no cookie. Each is tried once, then the standard one for good (as Linux does). */
const TRY_STANDARD = 0
const TRY_EXPERIMENTAL = 1
const TRY_NOTHING_ELSE = 2

const ADDRESS_WORDS = 4
/** Losses in a row from which on the pause doubles; one may have been anything. */
const LOSSES_MIN = 2
const LOSSES_MAX = 10

export class FastOpenCache {
  private used = 0
  private oldest = 0
  private readonly addresses = new Int32Array(FAST_OPEN_SERVERS_MAX * ADDRESS_WORDS)
  private readonly cookies = new Uint8Array(FAST_OPEN_SERVERS_MAX * FAST_OPEN_COOKIE_BYTES_MAX)
  private readonly cookieLengths = new Uint8Array(FAST_OPEN_SERVERS_MAX)
  private readonly experimental = new Uint8Array(FAST_OPEN_SERVERS_MAX)
  private readonly tries = new Uint8Array(FAST_OPEN_SERVERS_MAX)
  private readonly segmentSizes = new Uint16Array(FAST_OPEN_SERVERS_MAX)
  private readonly losses = new Uint8Array(FAST_OPEN_SERVERS_MAX)
  private readonly lossMs = new Int32Array(FAST_OPEN_SERVERS_MAX)

  find(e: AddressPair): number {
    const { addresses } = this
    for (let row = 0; row < this.used; row++) {
      const at = row * ADDRESS_WORDS
      if (
        addresses[at + 3] === e.remoteAddress3 &&
        addresses[at + 2] === e.remoteAddress2 &&
        addresses[at + 1] === e.remoteAddress1 &&
        addresses[at] === e.remoteAddress0
      )
        return row
    }
    return NO_ROW
  }

  clear(): void {
    this.used = 0
    this.oldest = 0
  }

  /** Bytes of the cookie; 0: there is none. */
  cookieLength(row: number): number {
    return row === NO_ROW ? 0 : this.cookieLengths[row]!
  }

  copyCookie(row: number, into: Uint8Array): void {
    const at = row * FAST_OPEN_COOKIE_BYTES_MAX
    for (let index = 0; index < this.cookieLengths[row]!; index++) into[index] = this.cookies[at + index]!
  }

  /** Whether the cookie, or the wish for one, goes in the experimental option. */
  isExperimental(row: number): boolean {
    if (row === NO_ROW) return false
    return this.cookieLengths[row]! > 0 ? this.experimental[row] !== 0 : this.tries[row] === TRY_EXPERIMENTAL
  }

  /** The server's MSS when it was heard last; 0: not known. */
  segmentSize(row: number): number {
    return row === NO_ROW ? 0 : this.segmentSizes[row]!
  }

  /** SYNs with data have been lost on the way there: it is left alone for a while (RFC 7413 4.1.3.1). */
  isPaused(row: number, nowMs: number): boolean {
    if (row === NO_ROW || this.losses[row]! < LOSSES_MIN) return false
    return elapsed(nowMs, this.lossMs[row]!) < FAST_OPEN_LOSS_PAUSE_MS << this.losses[row]!
  }

  /**
   * A SYN-ACK has answered a SYN with the option.
   * @param lost only a SYN without data came through
   * @param asked the SYN asked for a cookie, in the experimental option or not; undefined: it brought one, or came again
   */
  learn(segment: Segment, nowMs: number, lost: boolean, asked: 'standard' | 'experimental' | undefined): void {
    const found = this.find(segment)
    const row = found === NO_ROW ? this.take(segment) : found
    if (segment.mss > 0) this.segmentSizes[row] = segment.mss
    if (segment.fastOpenBytes > 0) this.keepCookie(row, segment)
    else if (asked !== undefined && this.cookieLengths[row] === 0) {
      const next = asked === 'standard' ? TRY_EXPERIMENTAL : TRY_NOTHING_ELSE
      if (next > this.tries[row]!) this.tries[row] = next
    }
    this.losses[row] = lost ? Math.min(this.losses[row]! + 1, LOSSES_MAX) : 0
    this.lossMs[row] = nowMs
  }

  private keepCookie(row: number, segment: Segment): void {
    const at = row * FAST_OPEN_COOKIE_BYTES_MAX
    for (let index = 0; index < segment.fastOpenBytes; index++)
      this.cookies[at + index] = segment.view.getUint8(segment.fastOpenAt + index)
    this.cookieLengths[row] = segment.fastOpenBytes
    this.experimental[row] = segment.fastOpenExperimental
  }

  private take(e: AddressPair): number {
    let row = this.used
    if (row < FAST_OPEN_SERVERS_MAX) this.used++
    else {
      row = this.oldest
      this.oldest = (row + 1) % FAST_OPEN_SERVERS_MAX
    }
    const at = row * ADDRESS_WORDS
    this.addresses[at] = e.remoteAddress0
    this.addresses[at + 1] = e.remoteAddress1
    this.addresses[at + 2] = e.remoteAddress2
    this.addresses[at + 3] = e.remoteAddress3
    this.cookieLengths[row] = 0
    this.segmentSizes[row] = 0
    this.tries[row] = TRY_STANDARD
    this.losses[row] = 0
    return row
  }
}
