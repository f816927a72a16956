/**
 * Reads captures (pcapng, draft-ietf-opsawg-pcapng) block by block, from a file that may be larger than memory: the
 * other direction of pcapng.ts, with the same picture of the blocks. Little-endian sections, as Packrat and Wireshark on
 * common machines write; nothing is believed before it was checked against the block's own length.
 *
 * Called by: tools/import.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { PackratError } from '../storage/errors.ts'

const BLOCK_SECTION = 0x0a0d0d0a // draft 4.1
const BLOCK_INTERFACE = 1 // draft 4.2
const BLOCK_PACKET = 6 // draft 4.3
const BYTE_ORDER_MAGIC = 0x1a2b3c4d
const BLOCK_HEADER_BYTES = 8
const BLOCK_OVERHEAD_BYTES = 12
const PACKET_FIXED_BYTES = 20
const OPTION_END = 0
const OPTION_COMMENT = 1
const OPTION_TIME_RESOLUTION = 9
/** No sensible block is larger; a length beyond is damage. */
const BLOCK_BYTES_MAX = 16 << 20
const RESOLUTION_US = 6
const RESOLUTION_NS = 9

export interface CapturedPacket {
  /** From 1, as Wireshark counts. */
  readonly number: number
  /** ns since the epoch. */
  readonly timeNs: bigint
  readonly comments: readonly string[]
  /** Where the captured bytes lie in the file. */
  readonly offset: number
  readonly length: number
}

export class PcapngReader {
  private readonly path: string
  private readonly descriptor: number
  /** Time resolution of each interface of the section: digits behind the second. */
  private digits: number[] = []

  /** @throws PackratError CAPTURE */
  constructor(path: string) {
    this.path = path
    try {
      this.descriptor = openSync(path, 'r')
    } catch (error) {
      throw new PackratError('CAPTURE', `cannot read ${path}: ${(error as Error).message}`, { cause: error })
    }
  }

  /** Every packet, in the order of the file. @throws PackratError CAPTURE, with the place */
  *packets(): Generator<CapturedPacket> {
    let number = 0
    for (let at = 0; ; ) {
      const header = this.readAt(at, BLOCK_HEADER_BYTES)
      if (header.length === 0 && at > 0) return
      if (header.length < BLOCK_HEADER_BYTES) throw this.damage(at, 'the file ends inside a block')
      const type = header.readUInt32LE(0)
      if (at === 0 && type !== BLOCK_SECTION) throw new PackratError('CAPTURE', `${this.path} is no pcapng file`)
      if (type === BLOCK_SECTION) this.beginSection(at)
      const length = header.readUInt32LE(4)
      if (length < BLOCK_OVERHEAD_BYTES || length % 4 !== 0 || length > BLOCK_BYTES_MAX)
        throw this.damage(at, `a block of ${length} bytes`)
      const body = this.readAt(at + BLOCK_HEADER_BYTES, length - BLOCK_HEADER_BYTES)
      if (body.length < length - BLOCK_HEADER_BYTES) throw this.damage(at, 'the file ends inside a block')
      if (body.readUInt32LE(body.length - 4) !== length) throw this.damage(at, 'the two lengths of a block differ')
      const content = body.subarray(0, -4)
      if (type === BLOCK_INTERFACE) this.digits.push(this.readResolution(at, content))
      if (type === BLOCK_PACKET) yield this.readPacket(at, content, ++number)
      at += length
    }
  }

  /** The bytes of a packet. */
  read(packet: CapturedPacket): Uint8Array {
    return this.readAt(packet.offset, packet.length)
  }

  close(): void {
    closeSync(this.descriptor)
  }

  private beginSection(at: number): void {
    const magic = this.readAt(at + BLOCK_HEADER_BYTES, 4)
    if (magic.length < 4 || magic.readUInt32LE(0) !== BYTE_ORDER_MAGIC)
      throw this.damage(at, 'a section that is not little-endian')
    this.digits = []
  }

  private readResolution(at: number, content: Buffer): number {
    const [value] = this.options(at, content, 8, OPTION_TIME_RESOLUTION)
    const digits = value?.[0] ?? RESOLUTION_US // draft 4.2: if_tsresol
    if (digits > RESOLUTION_NS) throw this.damage(at, 'times finer than nanoseconds, or in powers of two')
    return digits
  }

  private readPacket(at: number, content: Buffer, number: number): CapturedPacket {
    if (content.length < PACKET_FIXED_BYTES) throw this.damage(at, 'a packet without a header')
    const digits = this.digits[content.readUInt32LE(0)]
    if (digits === undefined) throw this.damage(at, 'a packet of an interface that is not described')
    const ticks = (BigInt(content.readUInt32LE(4)) << 32n) | BigInt(content.readUInt32LE(8))
    const length = content.readUInt32LE(12)
    const padded = Math.ceil(length / 4) * 4
    if (PACKET_FIXED_BYTES + padded > content.length) throw this.damage(at, 'a packet longer than its block')
    const comments = this.options(at, content, PACKET_FIXED_BYTES + padded, OPTION_COMMENT)
    return {
      number,
      timeNs: ticks * 10n ** BigInt(RESOLUTION_NS - digits),
      comments: comments.map((value) => value.toString()),
      offset: at + BLOCK_HEADER_BYTES + PACKET_FIXED_BYTES,
      length,
    }
  }

  /** The values of an option, from where the options begin. */
  private options(at: number, content: Buffer, from: number, wanted: number): Buffer[] {
    const values: Buffer[] = []
    for (let offset = from; offset + 4 <= content.length; ) {
      const code = content.readUInt16LE(offset)
      const length = content.readUInt16LE(offset + 2)
      if (code === OPTION_END) break
      if (offset + 4 + length > content.length) throw this.damage(at, 'an option longer than its block')
      if (code === wanted) values.push(content.subarray(offset + 4, offset + 4 + length))
      offset += 4 + Math.ceil(length / 4) * 4
    }
    return values
  }

  /** Up to `length` bytes: fewer at the end of the file. */
  private readAt(offset: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    let done = 0
    while (done < length) {
      const got = readSync(this.descriptor, bytes, done, length - done, offset + done)
      if (got === 0) break
      done += got
    }
    return bytes.subarray(0, done)
  }

  private damage(at: number, what: string): PackratError {
    return new PackratError('CAPTURE', `${this.path} is damaged: ${what} (at byte ${at})`)
  }
}
