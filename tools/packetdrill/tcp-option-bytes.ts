/** TCP options between the script's model and bytes (RFC 9293 3.1, RFC 2018, RFC 7323, RFC 7413, RFC 6994, RFC 9768). */
import type { TcpOptionSpec } from './script.ts'

const EOL = 0
const NOP = 1
const MSS = 2
const WSCALE = 3
const SACK_PERMITTED = 4
const SACK = 5
const TIMESTAMPS = 8
const COOKIE = 34
const EXPERIMENTAL = 254
/** RFC 9768 3.2.3, by order. */
const ACCURATE = [172, 174]
/** RFC 7413's experiment: magic number behind kind and length. */
const COOKIE_MAGIC = [0xf9, 0x89]

/** The bytes, padded with end-of-list to whole words. */
export function encodeOptions(options: readonly TcpOptionSpec[]): number[] {
  const bytes = options.flatMap(encodeOption)
  while (bytes.length % 4 !== 0) bytes.push(EOL)
  return bytes
}

function encodeOption(option: TcpOptionSpec): number[] {
  switch (option.kind) {
    case 'eol':
      return [EOL]
    case 'nop':
      return [NOP]
    case 'sackOK':
      return [SACK_PERMITTED, 2]
    case 'mss':
      return [MSS, 4, option.value >> 8, option.value & 255]
    case 'wscale':
      return [WSCALE, 3, option.value]
    case 'timestamps':
      return [TIMESTAMPS, 10, ...word(option.value), ...word(option.echo)]
    case 'sack':
      return [SACK, 2 + option.edges.length * 4, ...option.edges.flatMap(word)]
    case 'cookie':
      return option.experimental
        ? [EXPERIMENTAL, 4 + option.bytes.length, ...COOKIE_MAGIC, ...option.bytes]
        : [COOKIE, 2 + option.bytes.length, ...option.bytes]
    case 'accurate':
      return [
        ACCURATE[option.order]!,
        2 + option.counters.length * 3,
        ...option.counters.flatMap((n) => word(n).slice(1)),
      ]
    case 'raw':
      return [option.number, 2 + option.bytes.length, ...option.bytes]
  }
}

function word(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]
}

function triple(bytes: readonly number[], at: number): number {
  return (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!
}

/** Everything up to the end of the list; its padding is not kept. A malformed rest is kept as one raw option. */
export function decodeOptions(view: DataView, from: number, end: number): TcpOptionSpec[] {
  const options: TcpOptionSpec[] = []
  let at = from
  while (at < end) {
    const kind = view.getUint8(at)
    if (kind === EOL) break
    if (kind === NOP) {
      options.push({ kind: 'nop' })
      at++
      continue
    }
    const length = at + 1 < end ? view.getUint8(at + 1) : 0
    const whole = length >= 2 && at + length <= end
    const stop = whole ? at + length : end
    const bytes = Array.from({ length: Math.max(stop - at - 2, 0) }, (_, index) => view.getUint8(at + 2 + index))
    options.push(decodeOption(kind, bytes))
    at = stop
  }
  return options
}

function decodeOption(number: number, bytes: number[]): TcpOptionSpec {
  const words: number[] = []
  for (let at = 0; at + 4 <= bytes.length; at += 4)
    words.push(((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0)
  if (number === MSS && bytes.length === 2) return { kind: 'mss', value: (bytes[0]! << 8) | bytes[1]! }
  if (number === WSCALE && bytes.length === 1) return { kind: 'wscale', value: bytes[0]! }
  if (number === SACK_PERMITTED && bytes.length === 0) return { kind: 'sackOK' }
  if (number === TIMESTAMPS && bytes.length === 8) return { kind: 'timestamps', value: words[0]!, echo: words[1]! }
  if (number === SACK && bytes.length > 0 && bytes.length % 8 === 0) return { kind: 'sack', edges: words }
  if (ACCURATE.includes(number) && bytes.length % 3 === 0) {
    const counters = Array.from({ length: bytes.length / 3 }, (_, index) => triple(bytes, 3 * index))
    return { kind: 'accurate', order: number === ACCURATE[0] ? 0 : 1, counters }
  }
  if (number === COOKIE) return { kind: 'cookie', experimental: false, bytes }
  if (number === EXPERIMENTAL && bytes[0] === COOKIE_MAGIC[0] && bytes[1] === COOKIE_MAGIC[1])
    return { kind: 'cookie', experimental: true, bytes: bytes.slice(2) }
  return { kind: 'raw', number, bytes }
}
