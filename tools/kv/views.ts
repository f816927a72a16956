/**
 * Cutting received lines: giving a part of a view a line of its own, without touching the bytes.
 *
 *   line      [ head of a request | value | next request ]         one view, one sum
 *   trimFront [                   | value | next request ]         the same line, sum corrected by the part cut off
 *   takeFront                      (value)                         a clone on the same buffer, or the line itself
 *
 * The sums follow by algebra (RFC 1071 2.B): what is cut off is summed, what remains is the difference. The part that
 * is summed is the request's head, a hundred bytes; the payload is not read again.
 */
import { subtractSums, sumBytes, swapSum } from '../../storage/checksum.ts'
import { NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'

/** Sum of what is left when a front part of `frontLength` bytes with sum `front` is taken from a view with sum `whole`. */
export function remainingSum(whole: number, front: number, frontLength: number): number {
  const rest = subtractSums(whole, front)
  return frontLength & 1 ? swapSum(rest) : rest
}

/** Cuts `length` bytes off the front of a line's view. */
export function trimFront(pool: Pool, meta: number, length: number): void {
  if (length === 0) return
  const front = sumBytes(pool.dataView(meta), pool.dataStartOf(meta), length)
  const sum = remainingSum(pool.sum(meta), front, length)
  pool.setData(meta, pool.dataOffset(meta) + length, pool.dataLength(meta) - length)
  pool.setSum(meta, sum)
}

/**
 * A line for the first `length` bytes of a view, with the rest left in `meta`: a clone on the same buffer.
 * @returns the new line, or NO_META if no line is free
 */
export function splitFront(pool: Pool, meta: number, length: number): number {
  const front = pool.clone(meta)
  if (front === NO_META) return NO_META
  const total = pool.dataLength(meta)
  const offset = pool.dataOffset(meta)
  const start = pool.dataStartOf(meta)
  const view = pool.dataView(meta)
  // The shorter part is summed, the other follows.
  let frontSum: number
  if (length * 2 <= total) {
    frontSum = sumBytes(view, start, length)
  } else {
    const rest = sumBytes(view, start + length, total - length)
    frontSum = subtractSums(pool.sum(meta), length & 1 ? swapSum(rest) : rest)
  }
  pool.setSum(meta, remainingSum(pool.sum(meta), frontSum, length))
  pool.setData(meta, offset + length, total - length)
  pool.setData(front, offset, length)
  pool.setSum(front, frontSum)
  return front
}

/** Drops `length` bytes from the front of a session's input line; frees the line if that was all of it. */
export function dropFront(pool: Pool, input: { inputHead: number }, length: number): void {
  const meta = input.inputHead
  if (pool.dataLength(meta) === length) input.inputHead = pool.release(meta)
  else trimFront(pool, meta, length)
}
