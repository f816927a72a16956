/**
 * A record of the conventional store: one contiguous copy of key and value behind a header with their CRC32C.
 *
 *   [ crc32c | value length | key length | version low | high | arrival low | high ] key … value …
 *     int32 each; the CRC covers everything behind it
 *
 * Called by: conventional.ts, conventional-index.ts.
 */
export const R_CRC = 0
export const R_VALUE_LENGTH = 1
export const R_KEY_LENGTH = 2
export const R_VERSION_LOW = 3
export const R_VERSION_HIGH = 4
export const R_ARRIVAL_LOW = 5
export const R_ARRIVAL_HIGH = 6
export const RECORD_HEADER_BYTES = 28
/** The CRC itself is not covered. */
export const CRC_START_BYTES = 4

/** Byte offset of a record's key. */
export function recordKeyStart(record: number): number {
  return record + RECORD_HEADER_BYTES
}

export function recordKeyLength(words: Int32Array, record: number): number {
  return words[(record >> 2) + R_KEY_LENGTH]!
}

/** Bytes of the whole record. */
export function recordBytes(words: Int32Array, record: number): number {
  const at = record >> 2
  return RECORD_HEADER_BYTES + words[at + R_KEY_LENGTH]! + words[at + R_VALUE_LENGTH]!
}
