/**
 * SYN cookies (RFC 4987 3.6, Bernstein 1996): while too many handshakes are open, what a SYN says is written into the
 * SYN-ACK's own numbers instead of memory, and read back from the ACK that returns them.
 *
 *   initial number   F(endpoints) + peer's number + minute << 24 + (G(endpoints, peer's number, minute) + size) & 0xffffff
 *                    size: place in SEGMENT_SIZES
 *   timestamp        milliseconds, whose low 6 bits are   scale 0-14, or 15: none | SACK << 4 | ECN << 5
 *                    Without timestamps a connection has none of these options.
 *
 * Invariants:
 *  1. A cookie is believed in the minute in which it was made, and in the next one.
 *  2. The initial number of a pair of sockets grows with the minute, as RFC 9293 3.4.1 wants of it.
 *
 * A blind guess is right once in 2^24 / (2 * 8) tries, the price of having no memory; so cookies are believed only where
 * some were sent lately (cookie-handshake.ts). Called by: cookie-handshake.ts.
 */
import { deriveKey, SipHash } from '../siphash.ts'
import type { Endpoints } from './demux.ts'
import { ENDPOINTS_WORDS, writeEndpoints } from './isn.ts'
import { seqAdd, seqDiff } from './seq.ts'

/* Tuning.synCookies, as Linux's tcp_syncookies. */
export const COOKIES_OFF = 0
/** When the backlog is full. */
export const COOKIES_UNDER_PRESSURE = 1
export const COOKIES_ALWAYS = 2

/** What is remembered of the peer's MSS: the largest of these that is not above it. They are what the Internet's MTUs give. */
const SEGMENT_SIZES = [536, 1220, 1300, 1420, 1440, 1452, 1460, 8940] as const

const MINUTE_US = 60_000_000
const MINUTES_VALID = 2
const LOW_24_BITS = 0xffffff

/* The low bits of the timestamp. */
const OPTION_BITS = 0x3f
const SCALE_BITS = 0x0f
const SCALE_NONE = 15
const SACK_BIT = 0x10
const ECN_BIT = 0x20

/** What a cookie's timestamp remembers. */
export interface CookieOptions {
  /** -1: none. */
  windowScale: number
  sack: boolean
  ecn: boolean
}

export class SynCookies {
  private readonly hash: SipHash
  private readonly words = new Int32Array(ENDPOINTS_WORDS + 2)

  constructor(secret: Uint8Array) {
    this.hash = new SipHash(deriveKey(secret, 'SYN cookies'))
  }

  /** The initial number of the SYN-ACK that answers a SYN with number `irs` and segment size `mss`. */
  make(e: Endpoints, irs: number, mss: number, nowUs: number): number {
    const minute = minuteOf(nowUs)
    let size = SEGMENT_SIZES.length - 1
    while (size > 0 && SEGMENT_SIZES[size]! > mss) size--
    const base = this.base(e, irs)
    return (base + (minute << 24) + ((this.minuteHash(e, irs, minute) + size) & LOW_24_BITS)) | 0
  }

  /** The segment size that a cookie remembers; 0 if it is none of ours, or too old. */
  check(e: Endpoints, irs: number, cookie: number, nowUs: number): number {
    const value = seqDiff(cookie, this.base(e, irs))
    const minuteNow = minuteOf(nowUs)
    const age = (minuteNow - (value >>> 24)) & 0xff
    if (age >= MINUTES_VALID) return 0
    const size = ((value & LOW_24_BITS) - this.minuteHash(e, irs, minuteNow - age)) & LOW_24_BITS
    return SEGMENT_SIZES[size] ?? 0
  }

  private base(e: Endpoints, irs: number): number {
    writeEndpoints(this.words, e)
    this.hash.hash(this.words, ENDPOINTS_WORDS)
    return seqAdd(this.hash.low, irs)
  }

  private minuteHash(e: Endpoints, irs: number, minute: number): number {
    writeEndpoints(this.words, e)
    this.words[ENDPOINTS_WORDS] = irs
    this.words[ENDPOINTS_WORDS + 1] = minute
    this.hash.hash(this.words, ENDPOINTS_WORDS + 2)
    return this.hash.low
  }
}

/** The latest time not after `nowMs` whose low bits say the options. */
export function cookieTime(nowMs: number, scale: number, sack: boolean, ecn: boolean): number {
  const bits = (scale < 0 ? SCALE_NONE : scale) | (sack ? SACK_BIT : 0) | (ecn ? ECN_BIT : 0)
  const time = (nowMs & ~OPTION_BITS) | bits
  return seqDiff(time, nowMs) > 0 ? seqAdd(time, -(OPTION_BITS + 1)) : time
}

/** What the low bits of an echoed time say. */
export function readCookieTime(into: CookieOptions, time: number): void {
  const scale = time & SCALE_BITS
  into.windowScale = scale === SCALE_NONE ? -1 : scale
  into.sack = (time & SACK_BIT) !== 0
  into.ecn = (time & ECN_BIT) !== 0
}

function minuteOf(nowUs: number): number {
  return Math.floor(nowUs / MINUTE_US) | 0
}
