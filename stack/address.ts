/**
 * Internet addresses at the edge of the API are text; inside the stack an address is four int32 words, most
 * significant first, IPv4 mapped into IPv6 (RFC 4291 2.5.5.2): 0, 0, 0x0000ffff, a.b.c.d.
 */
import { PackratError } from '../storage/errors.ts'

/** Third word of an IPv4-mapped address; the first two are 0. */
export const MAPPED_WORD_2 = 0xffff

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

/** Network mask of a prefix length, as int32. */
export function prefixMask(length: number): number {
  return length === 0 ? 0 : -1 << (32 - length)
}

/** "a.b.c.d/p" to its parts. */
export function parseCidr(text: string): { address: number; prefixLength: number } {
  const slash = text.indexOf('/')
  const length = slash < 0 ? '' : text.slice(slash + 1)
  if (!/^[0-9]{1,2}$/.test(length) || Number(length) > 32) throw invalid(text)
  return { address: parseIpv4(text.slice(0, slash)), prefixLength: Number(length) }
}

function invalid(text: string): PackratError {
  return new PackratError('BAD_ADDRESS', `"${text}" is no IPv4 address: write it like 10.77.0.2 or 10.77.0.2/24`)
}
