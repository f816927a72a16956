/** CRC32C bit by bit (Castagnoli polynomial, reflected 0x82f63b78; RFC 3720 appendix B.4): slow and obvious. */
export function crc32cReference(bytes: Uint8Array, offset: number, length: number, seed = 0): number {
  let crc = ~seed
  for (let i = offset; i < offset + length; i++) {
    crc ^= bytes[i]!
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  }
  return ~crc >>> 0
}
