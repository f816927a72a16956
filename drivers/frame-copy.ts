/**
 * Whole frames copied between descriptors and plain bytes, and the sums of copies: for devices that stand between a stack
 * and a link, and for links in memory.
 *
 *   gatherFrame   descriptors ─► bytes
 *   scatterFrame  bytes ─► buffers of a pool, of which each takes `pieceBytes`
 *   sumFrame      what a receiver wants to know of them: sums, and where the frame goes on
 *
 * Called by: memory-pair.ts, intercept.ts, tools/packetdrill. Calls: the pool, checksum.
 */
import { sumBytes } from '../storage/checksum.ts'
import { BUFFER_BYTES, NO_BUFFER } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import { D_BUFFER, D_LENGTH, D_OFFSET, D_SUM, DESCRIPTOR_WORDS, RX_MORE } from './device.ts'

const ETHERNET_HEADER_BYTES = 14 // IEEE 802.3: two addresses and the type

/**
 * Copies the frame of the descriptors at words [from, end) to `target`, from byte `to` on.
 * @returns behind its last byte
 */
export function gatherFrame(
  pool: Pool,
  descriptors: Int32Array,
  from: number,
  end: number,
  target: Uint8Array,
  to: number,
): number {
  for (let at = from; at < end; at += DESCRIPTOR_WORDS) {
    const buffer = descriptors[at + D_BUFFER]!
    const offset = descriptors[at + D_OFFSET]!
    const length = descriptors[at + D_LENGTH]!
    if (offset + length > BUFFER_BYTES) throw new RangeError(`view passes the end of buffer ${buffer}`)
    const source = pool.bufferBytes(buffer)
    const start = pool.bufferStart(buffer) + offset
    for (let byte = 0; byte < length; byte++) target[to + byte] = source[start + byte]!
    to += length
  }
  return to
}

/**
 * Copies a frame into as many new buffers as it takes, and writes their descriptors, from word `at` on: buffer, offset 0,
 * length; the last word is for the caller.
 * @returns the word behind them; `at` if the pool has not enough buffers
 */
export function scatterFrame(pool: Pool, frame: Uint8Array, pieceBytes: number, into: Int32Array, at: number): number {
  let to = at
  for (let from = 0; from < frame.length; from += pieceBytes) {
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) {
      for (let d = at; d < to; d += DESCRIPTOR_WORDS) pool.releaseBuffer(into[d + D_BUFFER]!)
      return at
    }
    const length = Math.min(pieceBytes, frame.length - from)
    pool.bufferBytes(buffer).set(frame.subarray(from, from + length), pool.bufferStart(buffer))
    into[to + D_BUFFER] = buffer
    into[to + D_OFFSET] = 0
    into[to + D_LENGTH] = length
    to += DESCRIPTOR_WORDS
  }
  return to
}

/** Fills the last word of the descriptors at words [from, end), one received frame: sums and RX_MORE. */
export function sumFrame(pool: Pool, descriptors: Int32Array, from: number, end: number): void {
  let headerBytes = ETHERNET_HEADER_BYTES
  for (let at = from; at < end; at += DESCRIPTOR_WORDS) {
    const buffer = descriptors[at + D_BUFFER]!
    const start = pool.bufferStart(buffer) + descriptors[at + D_OFFSET]! + headerBytes
    const sum = sumBytes(pool.bufferView(buffer), start, descriptors[at + D_LENGTH]! - headerBytes)
    descriptors[at + D_SUM] = at + DESCRIPTOR_WORDS < end ? sum | RX_MORE : sum
    headerBytes = 0
  }
}
