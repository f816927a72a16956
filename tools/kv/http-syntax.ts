/**
 * Bytes of HTTP/1.1: limits, character classes and the comparisons that every parser here shares.
 *
 * Used by: http-parser, http-target, http-chunked, http-fields, http-date, key-codec. Specification: RFC 9110 5.6, RFC 9112,
 * RFC 3986. Everything works on bytes where they lie; nothing allocates.
 */

/* --- limits: each one has the status that answers its excess --- */

/** Request line and fields up to the blank line, bytes; 431 (414 if not even the request line ends). Node's default too. */
export const HEAD_BYTES_MAX = 16 * 1024
/** Request target, bytes; 414. RFC 9112 (3) asks for 8000; three percent-encoded keys of a listing need 9216 and their names. */
export const TARGET_BYTES_MAX = 10 * 1024
/** Largest length that a JavaScript number holds exactly; 413. */
export const CONTENT_LENGTH_MAX = Number.MAX_SAFE_INTEGER
/** Hexadecimal digits of a chunk size, leading zeros included; 400. */
export const CHUNK_SIZE_DIGITS_MAX = 16
/** Chunk extensions of a whole body may outweigh its data by this many bytes; 413. RFC 9112 (7.1.1) asks for a limit on their total. */
export const CHUNK_EXTENSION_EXCESS_BYTES_MAX = 16 * 1024
/** Trailer section of a chunked body, bytes; 431. */
export const TRAILER_BYTES_MAX = 8 * 1024

/* --- bytes --- */

export const HTAB = 0x09
export const LF = 0x0a
export const CR = 0x0d
export const SP = 0x20
export const DQUOTE = 0x22
export const PERCENT = 0x25
export const ASTERISK = 0x2a
export const PLUS = 0x2b
export const COMMA = 0x2c
export const DASH = 0x2d
export const DOT = 0x2e
export const SLASH = 0x2f
export const DIGIT_0 = 0x30
export const DIGIT_9 = 0x39
export const COLON = 0x3a
export const SEMICOLON = 0x3b
export const QUESTION = 0x3f

/* --- character classes, one bit each, by byte --- */

/** tchar, RFC 9110 (5.6.2). */
export const TOKEN = 1
/** field-vchar, SP and HTAB, RFC 9110 (5.5): no control character, no DEL. */
export const FIELD_VALUE = 2
/**
 * A byte of a request target that stands for itself. RFC 3986 allows fewer, but curl and the WHATWG URL rules send
 * some of the others (such as `|`, `[` and bytes above 0x7f) as they are, and none of them delimits anything here.
 * Not in it: controls, SP, `#` (a fragment is never sent), `%` and `?` (they mean something).
 */
export const TARGET_LITERAL = 4
/** A byte of `uri-host [":" port]`, RFC 3986 (3.2); no userinfo: RFC 9110 (4.2.4). */
export const AUTHORITY = 8
/** etagc, RFC 9110 (8.8.3). */
export const ETAG = 16
/** unreserved, RFC 3986 (2.3): never percent-encoded. */
export const UNRESERVED = 32

/** What the classes of a text's bytes begin with, to be narrowed byte by byte to the classes that all of them are in. */
export const ALL_CLASSES = 0xff

export const CLASS = new Uint8Array(256)
/** Value of a hexadecimal digit; 255 for any other byte. */
export const HEX_VALUE = new Uint8Array(256).fill(255)

const ALPHANUMERIC = /[0-9A-Za-z]/
for (let byte = 0; byte < 256; byte++) {
  const character = String.fromCharCode(byte)
  const visible = byte > SP && byte !== 0x7f
  let bits = 0
  if (ALPHANUMERIC.test(character)) bits |= TOKEN | AUTHORITY | UNRESERVED
  if ("!#$%&'*+-.^_`|~".includes(character)) bits |= TOKEN
  if (visible || byte === SP || byte === HTAB) bits |= FIELD_VALUE
  if (visible && !'#%?'.includes(character)) bits |= TARGET_LITERAL
  if ("-._~!$&'()*+,;=%:[]".includes(character)) bits |= AUTHORITY
  if (visible && byte !== DQUOTE) bits |= ETAG
  if ('-._~'.includes(character)) bits |= UNRESERVED
  CLASS[byte] = bits
  if (/[0-9A-Fa-f]/.test(character)) HEX_VALUE[byte] = Number.parseInt(character, 16)
}

/** The bytes of a lower-case ASCII word, for `equalsWord`. */
export function asciiWord(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}

/**
 * Whether `word` (lower case, of letters, digits, `-`, `:` and `/`) stands at `at`, in any case. Precondition: the
 * bytes are no control characters, because 0x20 is forced into each; and `word.length` of them exist.
 */
export function equalsWord(bytes: Uint8Array, at: number, word: Uint8Array): boolean {
  for (let index = 0; index < word.length; index++) {
    if ((bytes[at + index]! | 0x20) !== word[index]) return false
  }
  return true
}

/** Whether `word` stands at `at`, byte for byte. Precondition: that many bytes exist. */
export function equalsExactly(bytes: Uint8Array, at: number, word: Uint8Array): boolean {
  for (let index = 0; index < word.length; index++) {
    if (bytes[at + index] !== word[index]) return false
  }
  return true
}

export function isBlank(byte: number): boolean {
  return byte === SP || byte === HTAB
}

/** First position of [at, end) that is neither SP nor HTAB, or `end`. */
export function skipBlanks(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && isBlank(bytes[at]!)) at++
  return at
}

/** End of [at, end) without its trailing SP and HTAB. */
export function trimBlanks(bytes: Uint8Array, at: number, end: number): number {
  while (end > at && isBlank(bytes[end - 1]!)) end--
  return end
}

/** End of the list element that starts at `at`: the next comma or `end` (for lists without quoted strings). */
export function elementEnd(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && bytes[at] !== COMMA) at++
  return at
}
