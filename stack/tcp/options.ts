/**
 * TCP options (RFC 9293 3.2, RFC 7323, RFC 2018): parsing into the segment being received, and writing.
 *
 *   SYN       [MSS 4][SACK permitted 2][timestamps 10][no-op 1][window scale 3]      Linux's order, 20 bytes
 *             [Fast Open 2 + n] or [experiment 4 + n], no-ops up to a whole word
 *   others    [no-op 2][timestamps 10]  [no-op 2][SACK 2 + 8 n]
 */
import { MSS_MIN, WINDOW_SCALE_MAX } from '../limits.ts'

const KIND_END = 0
const KIND_NO_OPERATION = 1
const KIND_MSS = 2
const KIND_WINDOW_SCALE = 3
const KIND_SACK_PERMITTED = 4
const KIND_SACK = 5
const KIND_TIMESTAMPS = 8
const KIND_FAST_OPEN = 34 // RFC 7413 4.1.1
const KIND_EXPERIMENT = 254 // RFC 6994
const KIND_ACCURATE_0 = 172 // RFC 9768 3.2.3, two orders
const KIND_ACCURATE_1 = 174

const MSS_BYTES = 4
const WINDOW_SCALE_BYTES = 3
const SACK_PERMITTED_BYTES = 2
const TIMESTAMPS_BYTES = 10
export const SACK_BLOCK_BYTES = 8
/** Of the cookies that we give; a peer's have 4 to 16, an even number (RFC 7413 4.1.1). */
export const FAST_OPEN_COOKIE_BYTES = 8
export const FAST_OPEN_COOKIE_BYTES_MIN = 4
export const FAST_OPEN_COOKIE_BYTES_MAX = 16
/** Behind kind and length of the option that came before RFC 7413, and that Linux and others still know. */
const FAST_OPEN_EXPERIMENT = 0xf989
/** Two no-ops, kind and length, before the blocks. */
export const SACK_PADDED_BYTES = 4

/** Two no-ops and the timestamps, as they stand in every segment but SYNs. */
const TIMESTAMPS_WORD =
  (KIND_NO_OPERATION << 24) | (KIND_NO_OPERATION << 16) | (KIND_TIMESTAMPS << 8) | TIMESTAMPS_BYTES
export const TIMESTAMPS_PADDED_BYTES = 12
export const OPTIONS_MAX = 40

export interface SegmentOptions {
  hasTimestamps: number
  timestampValue: number
  timestampEcho: number
  /** 0: absent. */
  mss: number
  /** -1: absent. */
  windowScale: number
  sackPermitted: number
  /** Number of SACK blocks, and where the first one lies in the view. */
  sackBlocks: number
  sackAt: number
  /** Length of the Fast Open cookie, 0: it is asked for, -1: absent; where it lies in the view; 1: in the experimental option. */
  fastOpenBytes: number
  fastOpenAt: number
  fastOpenExperimental: number
  /** Length of the counters of Accurate ECN, -1: absent; where they lie in the view, and the kind, which is their order. */
  accurateBytes: number
  accurateAt: number
  accurateKind: number
}

export function clearOptions(into: SegmentOptions): void {
  into.hasTimestamps = 0
  into.mss = 0
  into.windowScale = -1
  into.sackPermitted = 0
  into.sackBlocks = 0
  into.fastOpenBytes = -1
  into.accurateBytes = -1
}

/** Reads options from `at` to `end`. A malformed option ends the reading: what came before it counts (RFC 9293 MUST-7). */
export function parseOptions(into: SegmentOptions, view: DataView, at: number, end: number): void {
  // Nearly every segment carries exactly the padded timestamps (RFC 7323 appendix A).
  if (end - at === TIMESTAMPS_PADDED_BYTES && view.getInt32(at) === TIMESTAMPS_WORD) {
    into.hasTimestamps = 1
    into.timestampValue = view.getInt32(at + 4)
    into.timestampEcho = view.getInt32(at + 8)
    return
  }
  while (at < end) {
    const kind = view.getUint8(at)
    if (kind === KIND_END) return
    if (kind === KIND_NO_OPERATION) {
      at++
      continue
    }
    if (at + 2 > end) return
    const length = view.getUint8(at + 1)
    if (length < 2 || at + length > end) return
    readOption(into, view, at, kind, length)
    at += length
  }
}

function readOption(into: SegmentOptions, view: DataView, at: number, kind: number, length: number): void {
  if (kind === KIND_MSS && length === MSS_BYTES) into.mss = Math.max(view.getUint16(at + 2), MSS_MIN)
  else if (kind === KIND_WINDOW_SCALE && length === WINDOW_SCALE_BYTES)
    into.windowScale = Math.min(view.getUint8(at + 2), WINDOW_SCALE_MAX) // RFC 7323 2.3: use 14
  else if (kind === KIND_SACK_PERMITTED && length === SACK_PERMITTED_BYTES) into.sackPermitted = 1
  else if (kind === KIND_TIMESTAMPS && length === TIMESTAMPS_BYTES) {
    into.hasTimestamps = 1
    into.timestampValue = view.getInt32(at + 2)
    into.timestampEcho = view.getInt32(at + 6)
  } else if (kind === KIND_SACK && length > 2 && (length - 2) % SACK_BLOCK_BYTES === 0) {
    into.sackBlocks = (length - 2) / SACK_BLOCK_BYTES
    into.sackAt = at + 2
  } else if (kind === KIND_FAST_OPEN) setFastOpen(into, at + 2, length - 2, 0)
  else if (kind === KIND_EXPERIMENT && length >= 4 && view.getUint16(at + 2) === FAST_OPEN_EXPERIMENT)
    setFastOpen(into, at + 4, length - 4, 1)
  else if (kind === KIND_ACCURATE_0 || kind === KIND_ACCURATE_1) {
    into.accurateBytes = length - 2
    into.accurateAt = at + 2
    into.accurateKind = kind
  }
}

/** A cookie of a length that none has is no option at all (RFC 7413 4.1.1). */
function setFastOpen(into: SegmentOptions, at: number, bytes: number, experimental: number): void {
  const wrong = bytes < FAST_OPEN_COOKIE_BYTES_MIN || bytes > FAST_OPEN_COOKIE_BYTES_MAX || (bytes & 1) !== 0
  if (bytes !== 0 && wrong) return
  into.fastOpenBytes = bytes
  into.fastOpenAt = at
  into.fastOpenExperimental = experimental
}

/** Bytes that writeSynOptions will write. */
export function synOptionsLength(scale: number, sack: boolean, timestamps: boolean): number {
  return MSS_BYTES + (timestamps ? TIMESTAMPS_PADDED_BYTES : sack ? 4 : 0) + (scale >= 0 ? 4 : 0)
}

/**
 * @param scale window scale, or -1 for none
 * @param gap bytes left free for another option, behind MSS and timestamps
 * @returns where they lie
 */
export function writeSynOptions(
  view: DataView,
  at: number,
  mss: number,
  scale: number,
  sack: boolean,
  timestamps: boolean,
  timestampValue: number,
  timestampEcho: number,
  gap: number,
): number {
  view.setInt32(at, (KIND_MSS << 24) | (MSS_BYTES << 16) | mss)
  at += MSS_BYTES
  const sackOrPadding = sack
    ? (KIND_SACK_PERMITTED << 8) | SACK_PERMITTED_BYTES
    : (KIND_NO_OPERATION << 8) | KIND_NO_OPERATION
  if (timestamps) {
    view.setInt32(at, (sackOrPadding << 16) | (KIND_TIMESTAMPS << 8) | TIMESTAMPS_BYTES)
    view.setInt32(at + 4, timestampValue)
    view.setInt32(at + 8, timestampEcho)
    at += TIMESTAMPS_PADDED_BYTES
  }
  const free = at
  at += gap
  if (sack && !timestamps) {
    view.setInt32(at, (KIND_NO_OPERATION << 24) | (KIND_NO_OPERATION << 16) | sackOrPadding)
    at += 4
  }
  if (scale >= 0)
    view.setInt32(at, (KIND_NO_OPERATION << 24) | (KIND_WINDOW_SCALE << 16) | (WINDOW_SCALE_BYTES << 8) | scale)
  return free
}

/** Bytes that writeFastOpen will write, for a cookie of so many. */
export function fastOpenLength(bytes: number, experimental: boolean): number {
  return ((experimental ? 4 : 2) + bytes + 3) & ~3
}

/** A cookie, or with no bytes the wish for one (RFC 7413 4.1.1). @param cookie its bytes, in front */
export function writeFastOpen(
  view: DataView,
  at: number,
  cookie: Uint8Array,
  bytes: number,
  experimental: boolean,
): void {
  const end = at + fastOpenLength(bytes, experimental)
  view.setUint8(at, experimental ? KIND_EXPERIMENT : KIND_FAST_OPEN)
  view.setUint8(at + 1, (experimental ? 4 : 2) + bytes)
  at += 2
  if (experimental) {
    view.setUint16(at, FAST_OPEN_EXPERIMENT)
    at += 2
  }
  for (let index = 0; index < bytes; index++) view.setUint8(at++, cookie[index]!)
  while (at < end) view.setUint8(at++, KIND_NO_OPERATION)
}

export function writeTimestamps(view: DataView, at: number, value: number, echo: number): void {
  view.setInt32(at, TIMESTAMPS_WORD)
  view.setInt32(at + 4, value)
  view.setInt32(at + 8, echo)
}

/** SACK blocks that fit behind `used` bytes of options. */
export function sackBlocksMax(used: number): number {
  return (OPTIONS_MAX - used - 4) >> 3
}

export function sackOptionLength(blocks: number): number {
  return blocks === 0 ? 0 : 4 + (blocks << 3)
}

/** @param blocks pairs of left and right edge (RFC 2018 3) */
export function writeSack(view: DataView, at: number, blocks: Int32Array, count: number): void {
  view.setInt32(
    at,
    (KIND_NO_OPERATION << 24) | (KIND_NO_OPERATION << 16) | (KIND_SACK << 8) | (sackOptionLength(count) - 2),
  )
  for (let edge = 0; edge < count * 2; edge++) view.setInt32(at + 4 + (edge << 2), blocks[edge]!)
}
