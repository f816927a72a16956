/**
 * HTTP dates, RFC 9110 (5.6.7): writes IMF-fixdate, reads all three forms. Whole seconds since the epoch.
 *
 *   Sun, 06 Nov 1994 08:49:37 GMT      IMF-fixdate, 29 bytes
 *   Sunday, 06-Nov-94 08:49:37 GMT     RFC 850, obsolete
 *   Sun Nov  6 08:49:37 1994           asctime, obsolete
 *
 * Used by: http-fields (conditions), the key-value service (Date, Last-Modified). Nothing allocates.
 */
import { writeDigits } from './decimal.ts'
import { asciiWord, COMMA, DASH, DIGIT_0, equalsExactly, SP } from './http-syntax.ts'

export const HTTP_DATE_BYTES = 29

const DAY_SECONDS = 86_400
/** Days of 400 years, and days from 0000-03-01 to 1970-01-01. */
const ERA_DAYS = 146_097
const EPOCH_DAYS = 719_468
/** Four digits of a year are all that the formats hold. */
const LATEST_SECONDS = 253_402_300_799

const WEEKDAYS = asciiWord('SunMonTueWedThuFriSat')
const MONTHS = asciiWord('JanFebMarAprMayJunJulAugSepOctNovDec')
const GMT = asciiWord(' GMT')
const COLON = 0x3a

/** Writes the IMF-fixdate of `seconds` (an integer; beyond year 9999 its last second) at `at`; returns the position behind it. */
export function writeHttpDate(target: Uint8Array, at: number, seconds: number): number {
  const time = Math.min(Math.max(seconds, 0), LATEST_SECONDS)
  const days = Math.floor(time / DAY_SECONDS)
  const second = time - days * DAY_SECONDS
  // Days to a civil date, with years that begin in March: a leap day is then the last of its year.
  const shifted = days + EPOCH_DAYS
  const era = (shifted / ERA_DAYS) | 0
  const dayOfEra = shifted - era * ERA_DAYS
  const yearOfEra =
    ((dayOfEra - ((dayOfEra / 1460) | 0) + ((dayOfEra / 36_524) | 0) - ((dayOfEra / 146_096) | 0)) / 365) | 0
  const dayOfYear = dayOfEra - (365 * yearOfEra + (yearOfEra >> 2) - ((yearOfEra / 100) | 0))
  const shiftedMonth = ((5 * dayOfYear + 2) / 153) | 0
  const day = dayOfYear - (((153 * shiftedMonth + 2) / 5) | 0) + 1
  const month = shiftedMonth < 10 ? shiftedMonth + 2 : shiftedMonth - 10
  const year = yearOfEra + era * 400 + (month < 2 ? 1 : 0)

  copyName(target, at, WEEKDAYS, (days + 4) % 7) // 1970-01-01 was a Thursday
  target[at + 3] = COMMA
  target[at + 4] = SP
  writeDigits(target, at + 5, day, 2)
  target[at + 7] = SP
  copyName(target, at + 8, MONTHS, month)
  target[at + 11] = SP
  writeDigits(target, at + 12, year, 4)
  target[at + 16] = SP
  writeDigits(target, at + 17, (second / 3600) | 0, 2)
  target[at + 19] = COLON
  writeDigits(target, at + 20, ((second / 60) | 0) % 60, 2)
  target[at + 22] = COLON
  writeDigits(target, at + 23, second % 60, 2)
  for (let index = 0; index < GMT.length; index++) target[at + 25 + index] = GMT[index]!
  return at + HTTP_DATE_BYTES
}

function copyName(target: Uint8Array, at: number, names: Uint8Array, index: number): void {
  target[at] = names[3 * index]!
  target[at + 1] = names[3 * index + 1]!
  target[at + 2] = names[3 * index + 2]!
}

/**
 * Reads a date of any of the three forms.
 * @param nowSeconds decides the century of an RFC 850 date: one that seems more than 50 years ahead is past
 * @returns seconds since the epoch (negative before it), or NaN if this is no valid date
 */
export function parseHttpDate(bytes: Uint8Array, at: number, length: number, nowSeconds: number): number {
  if (length === HTTP_DATE_BYTES && bytes[at + 3] === COMMA) {
    if (nameIndex(bytes, at, WEEKDAYS) < 0 || bytes[at + 4] !== SP || bytes[at + 7] !== SP) return Number.NaN
    if (bytes[at + 11] !== SP || bytes[at + 16] !== SP || !equalsExactly(bytes, at + 25, GMT)) return Number.NaN
    const year = digits(bytes, at + 12, 4)
    return toSeconds(year, nameIndex(bytes, at + 8, MONTHS), digits(bytes, at + 5, 2), bytes, at + 17)
  }
  if (length === 24 && bytes[at + 3] === SP) {
    if (nameIndex(bytes, at, WEEKDAYS) < 0 || bytes[at + 7] !== SP) return Number.NaN
    if (bytes[at + 10] !== SP || bytes[at + 19] !== SP) return Number.NaN
    const day = bytes[at + 8] === SP ? digits(bytes, at + 9, 1) : digits(bytes, at + 8, 2)
    return toSeconds(digits(bytes, at + 20, 4), nameIndex(bytes, at + 4, MONTHS), day, bytes, at + 11)
  }
  return parseRfc850(bytes, at, length, nowSeconds)
}

/** `Sunday, 06-Nov-94 08:49:37 GMT`: a weekday of 6 to 9 letters, then 24 bytes from the comma on. */
function parseRfc850(bytes: Uint8Array, at: number, length: number, nowSeconds: number): number {
  const comma = at + length - 24
  if (length < 30 || length > 33 || nameIndex(bytes, at, WEEKDAYS) < 0) return Number.NaN
  if (bytes[comma] !== COMMA || bytes[comma + 1] !== SP || bytes[comma + 4] !== DASH) return Number.NaN
  if (bytes[comma + 8] !== DASH || bytes[comma + 11] !== SP || !equalsExactly(bytes, comma + 20, GMT)) return Number.NaN
  const month = nameIndex(bytes, comma + 5, MONTHS)
  const day = digits(bytes, comma + 2, 2)
  const shortYear = digits(bytes, comma + 9, 2)
  if (shortYear < 0) return Number.NaN
  // RFC 9110 (5.6.7): the most recent year with these digits that is not more than 50 years ahead.
  const thisYear = 1970 + Math.floor(nowSeconds / (365.2425 * DAY_SECONDS))
  const ahead = (((shortYear - thisYear - 51) % 100) + 100) % 100
  return toSeconds(thisYear - 49 + ahead, month, day, bytes, comma + 12)
}

/** Index of the three-letter name at `at`, or -1. */
function nameIndex(bytes: Uint8Array, at: number, names: Uint8Array): number {
  for (let index = 0; 3 * index < names.length; index++) {
    if (
      bytes[at] === names[3 * index] &&
      bytes[at + 1] === names[3 * index + 1] &&
      bytes[at + 2] === names[3 * index + 2]
    )
      return index
  }
  return -1
}

/** Value of `count` digits, or -1. */
function digits(bytes: Uint8Array, at: number, count: number): number {
  let value = 0
  for (let index = at; index < at + count; index++) {
    const digit = bytes[index]! - DIGIT_0
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  return value
}

function daysOfMonth(year: number, month: number): number {
  if (month === 1) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 3 || month === 5 || month === 8 || month === 10 ? 30 : 31
}

/** Seconds of a civil date (month 0…11) and the `hh:mm:ss` at `clock`; NaN if a part is out of range. */
function toSeconds(year: number, month: number, day: number, bytes: Uint8Array, clock: number): number {
  const hour = digits(bytes, clock, 2)
  const minute = digits(bytes, clock + 3, 2)
  const second = digits(bytes, clock + 6, 2)
  if (bytes[clock + 2] !== COLON || bytes[clock + 5] !== COLON) return Number.NaN
  if (year < 0 || month < 0 || day < 1 || day > daysOfMonth(year, month)) return Number.NaN
  // 60 is a leap second.
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) return Number.NaN
  const shiftedYear = month < 2 ? year - 1 : year
  const era = Math.floor(shiftedYear / 400)
  const yearOfEra = shiftedYear - era * 400
  const dayOfYear = (((153 * (month < 2 ? month + 10 : month - 2) + 2) / 5) | 0) + day - 1
  const dayOfEra = yearOfEra * 365 + (yearOfEra >> 2) - ((yearOfEra / 100) | 0) + dayOfYear
  return (era * ERA_DAYS + dayOfEra - EPOCH_DAYS) * DAY_SECONDS + hour * 3600 + minute * 60 + second
}
