/**
 * Internet addresses at the edge of the API are text; inside the stack an address is four int32 words, most
 * significant first, IPv4 mapped into IPv6 (RFC 4291 2.5.5.2): 0, 0, 0x0000ffff, a.b.c.d.
 *
 * Called by: everything that reads or writes addresses as text, once a connection or a socket call at most.
 */
import { PackratError } from '../storage/errors.ts'

/** Third word of an IPv4-mapped address; the first two are 0. */
export const MAPPED_WORD_2 = 0xffff

const GROUPS = 8

/** The two ends of a packet, as the host sees them: what carries them is a packet on its way, a connection, a scratch. */
export interface AddressPair {
  readonly localAddress0: number
  readonly localAddress1: number
  readonly localAddress2: number
  readonly localAddress3: number
  readonly remoteAddress0: number
  readonly remoteAddress1: number
  readonly remoteAddress2: number
  readonly remoteAddress3: number
}

/** An address as one object, for the edges and for scratch; tables and packets carry bare words. */
export class Address {
  word0 = 0
  word1 = 0
  word2 = 0
  word3 = 0

  set(word0: number, word1: number, word2: number, word3: number): this {
    this.word0 = word0
    this.word1 = word1
    this.word2 = word2
    this.word3 = word3
    return this
  }

  equals(word0: number, word1: number, word2: number, word3: number): boolean {
    return this.word3 === word3 && this.word2 === word2 && this.word1 === word1 && this.word0 === word0
  }

  get isIpv4(): boolean {
    return isMapped(this.word0, this.word1, this.word2)
  }

  toString(): string {
    return formatAddress(this.word0, this.word1, this.word2, this.word3)
  }
}

/** Both ends of a packet that is being made. */
export class Ends implements AddressPair {
  localAddress0 = 0
  localAddress1 = 0
  localAddress2 = 0
  localAddress3 = 0
  remoteAddress0 = 0
  remoteAddress1 = 0
  remoteAddress2 = 0
  remoteAddress3 = 0

  setLocal(word0: number, word1: number, word2: number, word3: number): void {
    this.localAddress0 = word0
    this.localAddress1 = word1
    this.localAddress2 = word2
    this.localAddress3 = word3
  }

  setRemote(word0: number, word1: number, word2: number, word3: number): void {
    this.remoteAddress0 = word0
    this.remoteAddress1 = word1
    this.remoteAddress2 = word2
    this.remoteAddress3 = word3
  }
}

/** Whether these are the first words of an IPv4 address. */
export function isMapped(word0: number, word1: number, word2: number): boolean {
  return word2 === MAPPED_WORD_2 && word1 === 0 && word0 === 0
}

/** Of either version. Throws BAD_ADDRESS. */
export function parseAddress(text: string): Address {
  if (text.includes(':')) return parseIpv6(text)
  return new Address().set(0, 0, MAPPED_WORD_2, parseIpv4(text))
}

/** RFC 5952; a mapped address as dotted decimal, for it is an IPv4 address here. */
export function formatAddress(word0: number, word1: number, word2: number, word3: number): string {
  if (isMapped(word0, word1, word2)) return formatIpv4(word3)
  const groups = [word0, word1, word2, word3].flatMap((word) => [word >>> 16, word & 0xffff])
  // RFC 5952 4.2: the longest run of two or more zero groups is left out, the first of equals.
  let runStart = 0
  let runLength = 1
  for (let start = 0; start < GROUPS; start++) {
    let end = start
    while (end < GROUPS && groups[end] === 0) end++
    if (end - start > runLength) {
      runStart = start
      runLength = end - start
    }
  }
  const text = groups.map((group) => group.toString(16))
  if (runLength === 1) return text.join(':')
  return `${text.slice(0, runStart).join(':')}::${text.slice(runStart + runLength).join(':')}`
}

/** a.b.c.d as int32, most significant byte first. */
export function parseIpv4(text: string): number {
  const parts = text.split('.')
  let address = 0
  for (const part of parts) {
    const byte = /^(0|[1-9][0-9]{0,2})$/.test(part) ? Number(part) : 256
    if (byte > 255) throw invalid(text)
    address = (address << 8) | byte
  }
  if (parts.length !== 4) throw invalid(text)
  return address
}

export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`
}

/** RFC 4291 2.2, its third form (with a dotted tail) included. There is one link: zones are neither needed nor taken. */
export function parseIpv6(text: string): Address {
  const halves = text.split('::')
  if (halves.length > 2) throw invalid6(text)
  const left = parseGroups(halves[0]!, text)
  const right = halves.length === 2 ? parseGroups(halves[1]!, text) : []
  const missing = GROUPS - left.length - right.length
  // "::" stands for one group at least.
  if (halves.length === 2 ? missing < 1 : missing !== 0) throw invalid6(text)
  const groups = [...left, ...new Array<number>(missing).fill(0), ...right]
  const word = (index: number): number => (groups[index * 2]! << 16) | groups[index * 2 + 1]!
  return new Address().set(word(0), word(1), word(2), word(3))
}

/** Network mask of a prefix length, as int32. */
export function prefixMask(length: number): number {
  return length === 0 ? 0 : -1 << (32 - length)
}

/** "a.b.c.d/p" to its parts. */
export function parseCidr(text: string): { address: number; prefixLength: number } {
  const slash = text.indexOf('/')
  const length = slash < 0 ? '' : text.slice(slash + 1)
  if (!/^[0-9]{1,2}$/.test(length) || Number(length) > 32) throw withoutPrefix(text, 4, '10.77.0.2/24')
  return { address: parseIpv4(text.slice(0, slash)), prefixLength: Number(length) }
}

/** "fd77::2/64" to its parts. */
export function parseIpv6Cidr(text: string): { address: Address; prefixLength: number } {
  const slash = text.indexOf('/')
  const length = slash < 0 ? '' : text.slice(slash + 1)
  if (!/^[0-9]{1,3}$/.test(length) || Number(length) > 128) throw withoutPrefix(text, 6, 'fd77::2/64')
  return { address: parseIpv6(text.slice(0, slash)), prefixLength: Number(length) }
}

function parseGroups(half: string, whole: string): number[] {
  if (half === '') return []
  const parts = half.split(':')
  return parts.flatMap((part, index) => {
    // RFC 4291 2.2 (3): the last 32 bits may be written as an IPv4 address.
    if (part.includes('.') && index === parts.length - 1 && whole.endsWith(part)) {
      const address = parseIpv4(part)
      return [address >>> 16, address & 0xffff]
    }
    if (!/^[0-9a-f]{1,4}$/i.test(part)) throw invalid6(whole)
    return [Number.parseInt(part, 16)]
  })
}

function invalid(text: string): PackratError {
  return new PackratError('BAD_ADDRESS', `"${text}" is no IPv4 address: write it like 10.77.0.2`)
}

function invalid6(text: string): PackratError {
  return new PackratError('BAD_ADDRESS', `"${text}" is no IPv6 address: write it like fd77::2`)
}

function withoutPrefix(text: string, version: 4 | 6, example: string): PackratError {
  return new PackratError(
    'BAD_ADDRESS',
    `"${text}" is no IPv${version} address with the length of its network's prefix: write it like ${example}`,
  )
}
