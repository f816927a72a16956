/**
 * Decimal numbers as bytes: lengths, versions and arrival times, the last two of 64 bits, without BigInt or strings.
 *
 * Used by: http-fields, http-date, the key-value service. A u64 is two words (high, low), as it lies in a metadata
 * line; each may be given signed or unsigned.
 */
import { DIGIT_0 } from './http-syntax.ts'

/** Digits of the largest u64. */
export const DECIMAL64_DIGITS_MAX = 20

const BILLION = 1_000_000_000
const BILLION_DIGITS = 9
const TWO_32 = 0x1_0000_0000

/** Remainder of the last `divideByBillion`. */
let remainder = 0

/** Quotient of a u64 by 10^9, exact: long division by 16-bit digits keeps every step below 2^46. */
function divideByBillion(high: number, low: number): number {
  const unsignedHigh = high >>> 0
  const upper = Math.floor(unsignedHigh / BILLION)
  const first = (unsignedHigh - upper * BILLION) * 0x10000 + (low >>> 16)
  const middle = Math.floor(first / BILLION)
  const second = (first - middle * BILLION) * 0x10000 + (low & 0xffff)
  const lower = Math.floor(second / BILLION)
  remainder = second - lower * BILLION
  return upper * TWO_32 + middle * 0x10000 + lower
}

/** Writes an integer of 0…2^53 at `at`; returns the position behind it. */
export function writeDecimal(target: Uint8Array, at: number, value: number): number {
  if (value >= BILLION) {
    const upper = Math.floor(value / BILLION)
    return writeDigits(target, writeDecimal(target, at, upper), value - upper * BILLION, BILLION_DIGITS)
  }
  let digits = 1
  for (let limit = 10; value >= limit; limit *= 10) digits++
  return writeDigits(target, at, value, digits)
}

/** Writes the u64 (high, low) at `at`, at most DECIMAL64_DIGITS_MAX bytes; returns the position behind it. */
export function writeDecimal64(target: Uint8Array, at: number, high: number, low: number): number {
  if (high === 0) return writeDecimal(target, at, low >>> 0)
  const quotient = divideByBillion(high, low)
  const rest = remainder
  if (quotient === 0) return writeDecimal(target, at, rest)
  return writeDigits(target, writeDecimal(target, at, quotient), rest, BILLION_DIGITS)
}

/** Writes the last `digits` decimal digits of a value below 10^9, with leading zeros; returns the position behind them. */
export function writeDigits(target: Uint8Array, at: number, value: number, digits: number): number {
  let left = value | 0
  for (let index = at + digits - 1; index >= at; index--) {
    const next = (left / 10) | 0
    target[index] = DIGIT_0 + left - next * 10
    left = next
  }
  return at + digits
}

/** Whole seconds in a time of (high, low) nanoseconds: seconds since the epoch for an arrival time. */
export function secondsOfNanoseconds(high: number, low: number): number {
  return divideByBillion(high, low)
}

/** A decimal u64 in a text, as in `since=1700000000000000000`; undefined if it is none or does not fit. Not for hot paths. */
export function parseDecimal64(text: string): bigint | undefined {
  if (!/^[0-9]{1,20}$/.test(text)) return undefined
  const value = BigInt(text)
  return value < 1n << 64n ? value : undefined
}
