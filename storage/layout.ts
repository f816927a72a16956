/**
 * The region format, version 1: every offset that is written to persistent memory stands here and nowhere
 * else in TypeScript. `storage/pmem-napi/src/layout.h` is the same table for the native side; a test compares
 * the two. `docs/format.md` gives the reasons.
 *
 *   file      [header A 4 KiB][header B 4 KiB][extent 0][extent 1]…
 *   extent    [metadata lines][buffers]                        one ArrayBuffer, < 1 GiB
 *   buffer    2048 bytes, as it came from the device
 *   line      64 bytes, one cache line, described below
 *
 * All numbers are little-endian. Invariants:
 *  1. A line whose commit word is 0 is not part of the store, whatever its other bytes say.
 *  2. A committed line never changes except by one aligned store of at most 8 bytes: the commit word is
 *     cleared or sealed anew with one flag less, the level-0 link is replaced, or the payload CRC word is filled in.
 *  3. Line 0 is the anchor of the level-0 list; so line 0 is never an entry, and 0 means "no line".
 */

export const FORMAT_VERSION = 1

export const BUFFER_BYTES = 2048
export const BUFFER_SHIFT = 11
export const LINE_BYTES = 64
export const LINE_SHIFT = 6
export const LINE_WORDS = 16
export const LINE_WORDS_SHIFT = 4

/** An extent holds at most 2^18 buffers, so that index >>> 18 is the extent and every byte offset inside stays below 2^30. */
export const EXTENT_BUFFERS_SHIFT = 18
export const EXTENT_BUFFERS_MAX = 1 << EXTENT_BUFFERS_SHIFT
/** Buffers of an extent come in multiples of 32: from 2 lines a buffer on, both areas are then whole 4 KiB pages. */
export const EXTENT_BUFFERS_STEP = 32
/** 64 extents are 32 GiB of buffers; line indices stay below 2^31 with 8 lines a buffer up to 2^10 extents. */
export const EXTENTS_MAX = 64

export const HEADER_BYTES = 4096
export const HEADER_COPIES = 2
export const EXTENTS_START = HEADER_BYTES * HEADER_COPIES

/** "No line": line 0 is the anchor, so no chain and no list entry ever names it. */
export const NO_META = 0
/** "No buffer": stored as 0xffffffff. */
export const NO_BUFFER = -1
/** The anchor of the level-0 list. */
export const ANCHOR_META = 0

/* Words (u32) of a line. */

/** CRC32C over: line index (u32), words 1..12, and for a head the key bytes. */
export const W_META_CRC = 0
/** generation u16 | kind u8 << 16 | flags u8 << 24: with W_META_CRC the 8-byte commit word. */
export const W_STATE = 1
/** Head: commit sequence number, u64. Fragment: the head's line index, then 0. Group: the last version that it covers. */
export const W_VERSION_LOW = 2
export const W_VERSION_HIGH = 3
/** Arrival of the frame, ns since the epoch, u64. Group: the first version that it covers. */
export const W_ARRIVAL_LOW = 4
export const W_ARRIVAL_HIGH = 5
/** In the upper half of the arrival of a line in transit: a hardware time. Sealed lines say so by FLAG_HARDWARE_TIME. */
export const ARRIVAL_BY_HARDWARE = 1 << 31
export const W_BUFFER = 6
/** Data view inside the buffer: offset u16 | length u16 << 16. */
export const W_DATA = 7
/** Key view inside the same buffer (heads): offset u16 | length u16 << 16. */
export const W_KEY = 8
/** Head: length of the whole value in bytes. Fragment: offset of this view inside the value. */
export const W_VALUE = 9
export const W_NEXT_FRAGMENT = 10
/** Internet sum of the data view u16 | offset of the frame inside the buffer u16 << 16 (NO_FRAME: the buffer holds no frame). */
export const W_SUM = 11
/** First four key bytes, big-endian, zero padded. */
export const W_KEY_PREFIX = 12
/** Level-0 successor; not covered by the CRC because it changes after the seal. */
export const W_NEXT = 13
/** CRC32C of the data view and its complement; 0,0 = not computed yet. Not covered by the line's CRC. */
export const W_PAYLOAD_CRC = 14
export const W_PAYLOAD_CRC_COMPLEMENT = 15

/** The CRC of a line covers the words [W_STATE, W_NEXT). */
export const CRC_FIRST_WORD = W_STATE
export const CRC_END_WORD = W_NEXT

/** In the upper half of W_SUM: the bytes did not arrive as a frame in this buffer. */
export const NO_FRAME = 0xffff

/* Kinds of line. 0 is free: an all-zero line is a free line. */
export const KIND_FREE = 0
export const KIND_HEAD = 1
export const KIND_FRAGMENT = 2
/** An extra line for a tall skip-list tower; reserved: the upper levels are volatile in version 1. */
export const KIND_TOWER = 3
export const KIND_ANCHOR = 4
/** Commits an atomic batch: the members whose versions it covers are part of the store from its seal on. */
export const KIND_GROUP = 5

/* Flags of a line. */
/** The arrival time was taken by the network interface, not by software. */
export const FLAG_HARDWARE_TIME = 1
/** A head that counts only while a committed group covers its version. */
export const FLAG_MEMBER = 2
/** A member that stands for the deletion of its key. */
export const FLAG_TOMBSTONE = 4

/* Features in the header: what a program must know to read the region. */
/** There may be groups and members. */
export const FEATURE_GROUPS = 1
export const FEATURES_KNOWN = FEATURE_GROUPS

export const KEY_LENGTH_MAX = 1024
/** W_VALUE is a u32. */
export const VALUE_LENGTH_MAX = 2 ** 32 - 1

/** Packs the state word: the upper half of the commit word. */
export function packState(generation: number, kind: number, flags: number): number {
  return (generation & 0xffff) | (kind << 16) | (flags << 24)
}

export function stateKind(state: number): number {
  return (state >>> 16) & 0xff
}

export function stateGeneration(state: number): number {
  return state & 0xffff
}

export function stateFlags(state: number): number {
  return state >>> 24
}

/** Packs a view: offset and length of at most 65535 bytes each. */
export function packView(offset: number, length: number): number {
  return offset | (length << 16)
}

export function viewOffset(view: number): number {
  return view & 0xffff
}

export function viewLength(view: number): number {
  return view >>> 16
}
