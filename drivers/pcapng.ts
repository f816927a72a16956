/**
 * Writes captures that Wireshark opens: pcapng (draft-ietf-opsawg-pcapng) with nanosecond times, little-endian.
 *
 * Called by: the capture device, and the export of stored packets. It knows neither devices nor files: finished bytes
 * go to a sink, in chunks.
 *
 *   block     type u32 | length u32 | body, padded to 4 bytes | length u32      (draft 3.1)
 *   section   0x0a0d0d0a: byte-order magic, version 1.0, length unknown, options
 *   interface 1: link type, snap length, options if_name, if_tsresol = 9 (10^-9 s)
 *   packet    6: interface, time u32 high | low, captured, original, frame, options comment, epb_flags
 *   counts    5: interface, time, options isb_ifrecv, isb_ifdrop
 *   option    code u16 | length u16 | value, padded to 4 bytes                   (draft 3.5)
 *
 * Invariants:
 *  1. A chunk consists of whole blocks: the chunks that reached the file are a valid capture, wherever writing ended.
 *  2. The bytes of a chunk belong to the sink; the writer never touches them again.
 *  3. For a packet without a comment nothing is allocated, but for a new chunk now and then.
 */

/** A whole frame fits many times over, and one write to a file is worth its system call. */
const CHUNK_BYTES_DEFAULT = 64 << 10

const BLOCK_SECTION = 0x0a0d0d0a // draft 4.1
const BLOCK_INTERFACE = 1 // draft 4.2
const BLOCK_STATISTICS = 5 // draft 4.6
const BLOCK_PACKET = 6 // draft 4.3

const BYTE_ORDER_MAGIC = 0x1a2b3c4d
const VERSION_MAJOR = 1
const VERSION_MINOR = 0

/** Type and length before the body, length behind it. */
const BLOCK_OVERHEAD_BYTES = 12
const BLOCK_BODY = 8
const SECTION_FIXED_BYTES = 16
const INTERFACE_FIXED_BYTES = 8
const STATISTICS_FIXED_BYTES = 12
const PACKET_FIXED_BYTES = 20

const OPTION_END = 0
const OPTION_COMMENT = 1
const OPTION_SECTION_APPLICATION = 4
const OPTION_INTERFACE_NAME = 2
const OPTION_INTERFACE_DESCRIPTION = 3
const OPTION_INTERFACE_TIME_RESOLUTION = 9
const OPTION_PACKET_FLAGS = 2
const OPTION_STATISTICS_RECEIVED = 4
const OPTION_STATISTICS_DROPPED = 5
const OPTION_HEADER_BYTES = 4
const OPTION_VALUE_BYTES_MAX = 0xffff
/** Exponent of 10, negative: nanoseconds. */
const TIME_RESOLUTION_NS = 9
/** A packet's flags option and the end of the options. */
const PACKET_FLAGS_BYTES = OPTION_HEADER_BYTES + 4
const OPTIONS_END_BYTES = OPTION_HEADER_BYTES

const TWO_TO_32 = 4294967296
const NO_COMMENTS: readonly Uint8Array[] = []

export const LINKTYPE_ETHERNET = 1

/* Direction of a packet: bits 0-1 of epb_flags (draft 4.3.1). */
export const DIRECTION_UNKNOWN = 0
export const DIRECTION_INBOUND = 1
export const DIRECTION_OUTBOUND = 2

/** Takes over a chunk of finished bytes, in order. */
export type PcapngSink = (chunk: Uint8Array) => void

export interface PcapngInterface {
  /** As users know it: `tap:packrat0`. */
  readonly name: string
  readonly description?: string
  /** Longest frame, bytes; 0: no limit. */
  readonly snapBytes?: number
}

export class PcapngWriter {
  private readonly sink: PcapngSink
  private readonly chunkBytes: number
  private chunk: Buffer
  private view: DataView
  /** Bytes of the chunk before `given` belong to the sink; those up to `used` hold blocks that wait for it. */
  private given = 0
  private used = 0
  private interfaces = 0
  /** The packet being written: where the next piece of its frame goes, where the frame ends (0: none), what follows. */
  private frameAt = 0
  private frameEnd = 0
  private packetFlags = 0
  private packetComments: readonly Uint8Array[] = NO_COMMENTS

  /** @param chunkBytes a chunk has at most so many, but for a block that is larger than that */
  constructor(sink: PcapngSink, chunkBytes = CHUNK_BYTES_DEFAULT) {
    this.sink = sink
    this.chunkBytes = chunkBytes
    this.chunk = Buffer.allocUnsafeSlow(chunkBytes)
    this.view = viewOf(this.chunk)
  }

  /** Bytes written since the last chunk went to the sink. */
  get pendingBytes(): number {
    return this.used - this.given
  }

  /** Opens the file. Must come first. */
  writeSection(options: { readonly application: string; readonly comment?: string }): void {
    const application = encodeText(options.application)
    const comment = options.comment === undefined ? undefined : encodeText(options.comment)
    const bytes = SECTION_FIXED_BYTES + optionBytes(application) + optionBytes(comment) + OPTIONS_END_BYTES
    const start = this.beginBlock(BLOCK_SECTION, bytes)
    const { view } = this
    const at = start + BLOCK_BODY
    view.setUint32(at, BYTE_ORDER_MAGIC, true)
    view.setUint16(at + 4, VERSION_MAJOR, true)
    view.setUint16(at + 6, VERSION_MINOR, true)
    view.setInt32(at + 8, -1, true) // section length -1: not known (draft 4.1)
    view.setInt32(at + 12, -1, true)
    let option = at + SECTION_FIXED_BYTES
    option = this.putOption(option, OPTION_SECTION_APPLICATION, application)
    option = this.putOption(option, OPTION_COMMENT, comment)
    this.endOptions(option)
    this.interfaces = 0
  }

  /** Declares an Ethernet interface. @returns its number, for the packets */
  writeInterface(description: PcapngInterface): number {
    const name = encodeText(description.name)
    const text = description.description === undefined ? undefined : encodeText(description.description)
    const resolution = Uint8Array.of(TIME_RESOLUTION_NS)
    const bytes =
      INTERFACE_FIXED_BYTES + optionBytes(name) + optionBytes(text) + optionBytes(resolution) + OPTIONS_END_BYTES
    const start = this.beginBlock(BLOCK_INTERFACE, bytes)
    const at = start + BLOCK_BODY
    this.view.setUint16(at, LINKTYPE_ETHERNET, true)
    this.view.setUint16(at + 2, 0, true)
    this.view.setUint32(at + 4, description.snapBytes ?? 0, true)
    let option = at + INTERFACE_FIXED_BYTES
    option = this.putOption(option, OPTION_INTERFACE_NAME, name)
    option = this.putOption(option, OPTION_INTERFACE_DESCRIPTION, text)
    option = this.putOption(option, OPTION_INTERFACE_TIME_RESOLUTION, resolution)
    this.endOptions(option)
    return this.interfaces++
  }

  /**
   * Starts a packet whose frame follows by `append`, in as many pieces as it has, and ends with `endPacket`.
   * @param low lower 32 bits of the time, ns since the epoch
   * @param high its upper 32 bits
   * @param length bytes of the frame; all of them are captured
   * @param direction DIRECTION_INBOUND, DIRECTION_OUTBOUND or DIRECTION_UNKNOWN
   * @param comment shown by Wireshark beside the packet; in several options, cut between lines, if it is longer than one takes
   */
  beginPacket(
    interfaceNumber: number,
    low: number,
    high: number,
    length: number,
    direction: number,
    comment?: string,
  ): void {
    if (interfaceNumber >= this.interfaces) throw new RangeError(`interface ${interfaceNumber} is not declared`)
    const comments = comment === undefined ? NO_COMMENTS : encodeLines(comment)
    const framed = padded(length)
    let bytes = PACKET_FIXED_BYTES + framed + PACKET_FLAGS_BYTES + OPTIONS_END_BYTES
    for (const encoded of comments) bytes += optionBytes(encoded)
    const start = this.beginBlock(BLOCK_PACKET, bytes)
    const { view } = this
    const at = start + BLOCK_BODY
    view.setUint32(at, interfaceNumber, true)
    view.setInt32(at + 4, high, true)
    view.setInt32(at + 8, low, true)
    view.setUint32(at + 12, length, true)
    view.setUint32(at + 16, length, true)
    this.frameAt = at + PACKET_FIXED_BYTES
    this.frameEnd = this.frameAt + length
    this.packetFlags = direction
    this.packetComments = comments
  }

  /** Adds a piece of the frame. */
  append(bytes: Uint8Array, offset: number, length: number): void {
    const at = this.frameAt
    if (at + length > this.frameEnd) throw new RangeError('the frame is longer than it was said to be')
    const { chunk } = this
    // Not chunk.set: it takes whole arrays only, and a subarray is an object a packet.
    for (let index = 0; index < length; index++) chunk[at + index] = bytes[offset + index]!
    this.frameAt = at + length
  }

  endPacket(): void {
    if (this.frameAt !== this.frameEnd) throw new RangeError('the frame is shorter than it was said to be')
    let at = this.frameEnd
    while ((at & 3) !== 0) this.chunk[at++] = 0 // blocks start at multiples of 4, and so do frames in them
    for (const comment of this.packetComments) at = this.putOption(at, OPTION_COMMENT, comment)
    this.view.setUint16(at, OPTION_PACKET_FLAGS, true)
    this.view.setUint16(at + 2, 4, true)
    this.view.setUint32(at + 4, this.packetFlags, true)
    this.endOptions(at + PACKET_FLAGS_BYTES)
    this.frameEnd = 0
    this.packetComments = NO_COMMENTS
  }

  /**
   * Says how much of an interface's traffic the capture holds.
   * @param received frames that passed the interface, counting those not captured
   * @param dropped frames that were not captured
   */
  writeStatistics(interfaceNumber: number, low: number, high: number, received: number, dropped: number): void {
    const counters = 2 * (OPTION_HEADER_BYTES + 8)
    const start = this.beginBlock(BLOCK_STATISTICS, STATISTICS_FIXED_BYTES + counters + OPTIONS_END_BYTES)
    const at = start + BLOCK_BODY
    this.view.setUint32(at, interfaceNumber, true)
    this.view.setInt32(at + 4, high, true)
    this.view.setInt32(at + 8, low, true)
    let option = at + STATISTICS_FIXED_BYTES
    option = this.putCount(option, OPTION_STATISTICS_RECEIVED, received)
    option = this.putCount(option, OPTION_STATISTICS_DROPPED, dropped)
    this.endOptions(option)
  }

  /** Gives what is written so far to the sink. */
  flush(): void {
    if (this.used === this.given) return
    const blocks = this.chunk.subarray(this.given, this.used)
    this.given = this.used
    this.sink(blocks)
  }

  /** Makes room for a block and writes its head and tail. @returns where it starts in the chunk */
  private beginBlock(type: number, bodyBytes: number): number {
    if (this.frameEnd !== 0) throw new RangeError('the packet before is not ended')
    const bytes = BLOCK_OVERHEAD_BYTES + bodyBytes
    if (this.used + bytes > this.chunk.length) {
      this.flush()
      this.chunk = Buffer.allocUnsafeSlow(Math.max(bytes, this.chunkBytes))
      this.view = viewOf(this.chunk)
      this.given = 0
      this.used = 0
    }
    const start = this.used
    this.view.setUint32(start, type, true)
    this.view.setUint32(start + 4, bytes, true)
    this.view.setUint32(start + bytes - 4, bytes, true)
    this.used = start + bytes
    return start
  }

  /** @returns the offset behind the option; `at` if there is none */
  private putOption(at: number, code: number, value: Uint8Array | undefined): number {
    if (value === undefined) return at
    this.view.setUint16(at, code, true)
    this.view.setUint16(at + 2, value.length, true)
    this.chunk.set(value, at + OPTION_HEADER_BYTES)
    const end = at + optionBytes(value)
    this.chunk.fill(0, at + OPTION_HEADER_BYTES + value.length, end)
    return end
  }

  private putCount(at: number, code: number, value: number): number {
    this.view.setUint16(at, code, true)
    this.view.setUint16(at + 2, 8, true)
    this.view.setUint32(at + 4, value % TWO_TO_32, true)
    this.view.setUint32(at + 8, Math.floor(value / TWO_TO_32), true)
    return at + OPTION_HEADER_BYTES + 8
  }

  private endOptions(at: number): void {
    this.view.setUint16(at, OPTION_END, true)
    this.view.setUint16(at + 2, 0, true)
  }
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

/** Everything in a block starts at a multiple of 4 bytes (draft 3.1). */
function padded(length: number): number {
  return (length + 3) & ~3
}

function optionBytes(value: Uint8Array | undefined): number {
  return value === undefined ? 0 : OPTION_HEADER_BYTES + padded(value.length)
}

/** A text in as few options as its lines fit. */
function encodeLines(text: string): Uint8Array[] {
  if (Buffer.byteLength(text) <= OPTION_VALUE_BYTES_MAX) return [encodeText(text)]
  const parts: string[] = []
  for (const line of text.split('\n')) {
    const longer = parts.length === 0 ? line : `${parts.at(-1)}\n${line}`
    if (parts.length > 0 && Buffer.byteLength(longer) <= OPTION_VALUE_BYTES_MAX) parts[parts.length - 1] = longer
    else parts.push(line)
  }
  return parts.map(encodeText)
}

function encodeText(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'utf8')
  if (bytes.length > OPTION_VALUE_BYTES_MAX) throw new RangeError('text of an option is longer than 65535 bytes')
  return bytes
}
