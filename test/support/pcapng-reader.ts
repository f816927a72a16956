/**
 * Reads pcapng the slow and obvious way, straight from the draft's pictures: the reference for the writer. Checks what
 * a reader may rely on: lengths at both ends of a block, padding of zeros, options that end.
 */

export interface CapturedOption {
  readonly code: number
  readonly value: Buffer
}

export interface CapturedBlock {
  readonly type: number
  readonly body: Buffer
}

export interface CapturedPacket {
  readonly interfaceNumber: number
  readonly timeNs: bigint
  readonly frame: Buffer
  /** epb_flags, bits 0-1: 1 in, 2 out. */
  readonly direction: number
  readonly comment: string | undefined
}

export interface Capture {
  readonly application: string | undefined
  readonly interfaces: { readonly name: string; readonly timeResolution: number; readonly linkType: number }[]
  readonly packets: CapturedPacket[]
  readonly statistics: { readonly interfaceNumber: number; readonly received: bigint; readonly dropped: bigint }[]
}

function readBlocks(file: Buffer): CapturedBlock[] {
  const blocks: CapturedBlock[] = []
  for (let at = 0; at < file.length; ) {
    const length = file.readUInt32LE(at + 4)
    if (length % 4 !== 0 || length < 12 || at + length > file.length)
      throw new Error(`block at ${at}: length ${length}`)
    if (file.readUInt32LE(at + length - 4) !== length) throw new Error(`block at ${at}: its two lengths differ`)
    blocks.push({ type: file.readUInt32LE(at), body: file.subarray(at + 8, at + length - 4) })
    at += length
  }
  return blocks
}

function readOptions(bytes: Buffer): CapturedOption[] {
  const options: CapturedOption[] = []
  for (let at = 0; ; ) {
    const code = bytes.readUInt16LE(at)
    const length = bytes.readUInt16LE(at + 2)
    if (code === 0) {
      if (length !== 0 || at + 4 !== bytes.length) throw new Error('the options do not end where the block ends')
      return options
    }
    options.push({ code, value: bytes.subarray(at + 4, at + 4 + length) })
    const end = at + 4 + Math.ceil(length / 4) * 4
    if (bytes.subarray(at + 4 + length, end).some((byte) => byte !== 0)) throw new Error('padding that is not zero')
    at = end
  }
}

function optionValue(options: readonly CapturedOption[], code: number): Buffer | undefined {
  return options.find((option) => option.code === code)?.value
}

/** @throws Error where the file breaks the draft */
export function readCapture(file: Buffer): Capture {
  const blocks = readBlocks(file)
  const first = blocks[0]
  if (first?.type !== 0x0a0d0d0a || first.body.readUInt32LE(0) !== 0x1a2b3c4d) throw new Error('no section header')
  if (first.body.readUInt16LE(4) !== 1 || first.body.readUInt16LE(6) !== 0) throw new Error('not version 1.0')
  const capture: Capture = {
    application: optionValue(readOptions(first.body.subarray(16)), 4)?.toString(),
    interfaces: [],
    packets: [],
    statistics: [],
  }
  for (const { type, body } of blocks.slice(1)) {
    if (type === 1) {
      const options = readOptions(body.subarray(8))
      capture.interfaces.push({
        name: optionValue(options, 2)?.toString() ?? '',
        timeResolution: optionValue(options, 9)?.[0] ?? 6,
        linkType: body.readUInt16LE(0),
      })
    } else if (type === 6) {
      const length = body.readUInt32LE(12)
      if (body.readUInt32LE(16) !== length) throw new Error('captured and original length differ')
      const end = 20 + Math.ceil(length / 4) * 4
      if (body.subarray(20 + length, end).some((byte) => byte !== 0)) throw new Error('padding that is not zero')
      const options = readOptions(body.subarray(end))
      capture.packets.push({
        interfaceNumber: body.readUInt32LE(0),
        timeNs: (BigInt(body.readUInt32LE(4)) << 32n) | BigInt(body.readUInt32LE(8)),
        frame: body.subarray(20, 20 + length),
        direction: (optionValue(options, 2)?.readUInt32LE(0) ?? 0) & 3,
        comment: optionValue(options, 1)?.toString(),
      })
    } else if (type === 5) {
      const options = readOptions(body.subarray(12))
      capture.statistics.push({
        interfaceNumber: body.readUInt32LE(0),
        received: optionValue(options, 4)?.readBigUInt64LE(0) ?? 0n,
        dropped: optionValue(options, 5)?.readBigUInt64LE(0) ?? 0n,
      })
    } else throw new Error(`block type ${type} is not known`)
  }
  return capture
}
