/**
 * The Internet checksum as an algebra (RFC 1071, RFC 1624).
 *
 * A *sum* here is the one's-complement sum of big-endian 16-bit words, folded to 16 bits and NOT complemented;
 * a wire checksum is its complement. Sums of adjacent views add; a view that starts at an odd offset of the
 * whole contributes its byte-swapped sum (RFC 1071 2.B); a part is removed by adding its complement.
 *
 * 0x0000 and 0xffff are the two zeros of one's complement. 0x0000 is the sum of all-zero bytes only; compare with
 * `sumsEqual`, never with ===.
 *
 * Called by: stack (verification, outgoing segments), storage (integrity sums of values). Long views are summed
 * by the native side; these functions are for headers and for folding.
 */

/** Folds an accumulated sum of up to 2^32 - 1 to 16 bits. */
export function foldSum(sum: number): number {
  sum = (sum & 0xffff) + (sum >>> 16)
  return ((sum & 0xffff) + (sum >>> 16)) & 0xffff
}

/** Sum of `length` bytes at `offset`. Unrolled by words; meant for headers (native code is faster from about 256 bytes on). */
export function sumBytes(view: DataView, offset: number, length: number): number {
  let sum = 0
  const even = offset + (length & ~1)
  let at = offset
  // 32-bit steps: the upper halves are folded in at the end. At most 64 KiB / 4 adds of < 2^17: no overflow of 2^31.
  for (; at + 4 <= even; at += 4) {
    const word = view.getInt32(at)
    sum += (word >>> 16) + (word & 0xffff)
  }
  if (at < even) sum += view.getUint16(at)
  if (length & 1) sum += view.getUint8(even) << 8
  return foldSum(sum)
}

/** a + b in one's complement. */
export function addSums(a: number, b: number): number {
  const sum = a + b
  return (sum & 0xffff) + (sum >>> 16)
}

/** a - b in one's complement. */
export function subtractSums(a: number, b: number): number {
  return addSums(a, ~b & 0xffff)
}

/** The sum a view contributes when it starts at an odd offset of the whole (RFC 1071 2.B). */
export function swapSum(sum: number): number {
  return ((sum & 0xff) << 8) | (sum >>> 8)
}

/** Adds the sum of a view that starts `offset` bytes into the whole. */
export function appendSum(whole: number, offset: number, sum: number): number {
  return addSums(whole, offset & 1 ? swapSum(sum) : sum)
}

/** The sum of the first `kept` of `length` bytes at `at`, of which all have the sum `sum`: the padding of short frames goes. */
export function subtractTail(view: DataView, at: number, kept: number, length: number, sum: number): number {
  const tail = sumBytes(view, at + kept, length - kept)
  return subtractSums(sum, kept & 1 ? swapSum(tail) : tail)
}

/** Equality of sums: 0x0000 and 0xffff are the same number. */
export function sumsEqual(a: number, b: number): boolean {
  return a === b || (a + b === 0xffff && (a === 0 || b === 0))
}
