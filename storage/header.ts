/**
 * The region header: two 4 KiB copies, A and B; the valid one with the higher generation wins. An update writes the
 * other copy, so that a crash leaves at least one.
 *
 *   0   magic "PACKRAT\0"           48  lines per buffer u32
 *   8   format version u32          52  extent count u32
 *   12  CRC32C u32 (0 while summed) 56  flags u32: 1 = clean shutdown
 *   16  generation u64              60  buffer bytes u32, line bytes u32
 *   24  UUID, 16 bytes              72  created, ns since the epoch, u64
 *   40  region bytes u64            80  version floor u64
 *   96  growing to, bytes u64       88  features u32: what a program must know to read the region
 *   256 extent table: { file offset u64, buffers u32, reserved u32 } each
 */
import { RegionError } from './errors.ts'
import {
  BUFFER_BYTES,
  BUFFER_SHIFT,
  EXTENT_BUFFERS_MAX,
  EXTENT_BUFFERS_STEP,
  EXTENTS_MAX,
  EXTENTS_START,
  FEATURES_KNOWN,
  FORMAT_VERSION,
  HEADER_BYTES,
  HEADER_COPIES,
  LINE_BYTES,
} from './layout.ts'

const MAGIC = 'PACKRAT\0'
const OFFSET_VERSION = 8
const OFFSET_CRC = 12
const OFFSET_GENERATION = 16
const OFFSET_UUID = 24
const OFFSET_REGION_BYTES = 40
const OFFSET_LINES_PER_BUFFER = 48
const OFFSET_EXTENT_COUNT = 52
const OFFSET_FLAGS = 56
const OFFSET_BUFFER_BYTES = 60
const OFFSET_LINE_BYTES = 64
const OFFSET_CREATED = 72
const OFFSET_VERSION_FLOOR = 80
const OFFSET_FEATURES = 88
const OFFSET_GROWING_TO = 96
const OFFSET_EXTENTS = 256
const EXTENT_ENTRY_BYTES = 16

const FLAG_CLEAN = 1

const UNKNOWN_FEATURES = 'it uses features that this program does not know:'

/** An extent as the header declares it. */
export interface ExtentEntry {
  /** Byte offset in the file. */
  readonly offset: number
  readonly buffers: number
}

export interface Header {
  generation: number
  uuid: Uint8Array
  regionBytes: number
  linesPerBuffer: number
  cleanShutdown: boolean
  createdNs: bigint
  /** Versions below may have been handed out. */
  versionFloor: number
  /** The file may be longer than regionBytes, up to this: it is being grown, or was when the machine stopped. 0: it is not. */
  growingTo: number
  extents: ExtentEntry[]
}

export type Crc32c = (bytes: Uint8Array, offset: number, length: number) => number

export function extentBytes(buffers: number, linesPerBuffer: number): number {
  return buffers * ((1 << BUFFER_SHIFT) + linesPerBuffer * LINE_BYTES)
}

function endOf(extent: ExtentEntry | undefined, linesPerBuffer: number): number {
  return extent === undefined ? EXTENTS_START : extent.offset + extentBytes(extent.buffers, linesPerBuffer)
}

/**
 * Cuts a region of the given size into extents; what is left behind the last one is unused.
 * @param present the extents that it has already: new ones follow behind them
 */
export function planExtents(
  regionBytes: number,
  linesPerBuffer: number,
  present: readonly ExtentEntry[] = [],
): ExtentEntry[] {
  const extents = [...present]
  let offset = endOf(extents.at(-1), linesPerBuffer)
  while (extents.length < EXTENTS_MAX) {
    const room = Math.floor((regionBytes - offset) / extentBytes(1, linesPerBuffer))
    const buffers = Math.min(room - (room % EXTENT_BUFFERS_STEP), EXTENT_BUFFERS_MAX)
    if (buffers <= 0) break
    extents.push({ offset, buffers })
    offset += extentBytes(buffers, linesPerBuffer)
  }
  return extents
}

export function encodeHeader(header: Header, crc32c: Crc32c): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < MAGIC.length; i++) bytes[i] = MAGIC.charCodeAt(i)
  view.setUint32(OFFSET_VERSION, FORMAT_VERSION, true)
  view.setBigUint64(OFFSET_GENERATION, BigInt(header.generation), true)
  bytes.set(header.uuid, OFFSET_UUID)
  view.setBigUint64(OFFSET_REGION_BYTES, BigInt(header.regionBytes), true)
  view.setUint32(OFFSET_LINES_PER_BUFFER, header.linesPerBuffer, true)
  view.setUint32(OFFSET_EXTENT_COUNT, header.extents.length, true)
  view.setUint32(OFFSET_FLAGS, header.cleanShutdown ? FLAG_CLEAN : 0, true)
  view.setUint32(OFFSET_BUFFER_BYTES, BUFFER_BYTES, true)
  view.setUint32(OFFSET_LINE_BYTES, LINE_BYTES, true)
  view.setBigUint64(OFFSET_CREATED, header.createdNs, true)
  view.setBigUint64(OFFSET_VERSION_FLOOR, BigInt(header.versionFloor), true)
  view.setUint32(OFFSET_FEATURES, FEATURES_KNOWN, true)
  view.setBigUint64(OFFSET_GROWING_TO, BigInt(header.growingTo), true)
  header.extents.forEach((extent, i) => {
    view.setBigUint64(OFFSET_EXTENTS + i * EXTENT_ENTRY_BYTES, BigInt(extent.offset), true)
    view.setUint32(OFFSET_EXTENTS + i * EXTENT_ENTRY_BYTES + 8, extent.buffers, true)
  })
  view.setUint32(OFFSET_CRC, crc32c(bytes, 0, HEADER_BYTES), true)
  return bytes
}

/**
 * Reads one copy. Every number is checked before it is used.
 * @returns the header, or why this copy cannot be used
 */
function decodeHeader(bytes: Uint8Array, fileBytes: number, crc32c: Crc32c): Header | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const copy = new Uint8Array(bytes) // not slice(): of a Buffer that would be the same memory
  new DataView(copy.buffer).setUint32(OFFSET_CRC, 0, true)
  if (crc32c(copy, 0, HEADER_BYTES) >>> 0 !== view.getUint32(OFFSET_CRC, true)) return 'its CRC does not match'
  const unknown = view.getUint32(OFFSET_FEATURES, true) & ~FEATURES_KNOWN
  if (unknown !== 0) return `${UNKNOWN_FEATURES} 0x${(unknown >>> 0).toString(16)}`
  const regionBytes = Number(view.getBigUint64(OFFSET_REGION_BYTES, true))
  const growingTo = Number(view.getBigUint64(OFFSET_GROWING_TO, true))
  const longer = fileBytes > regionBytes && fileBytes <= growingTo
  if (regionBytes !== fileBytes && !longer) return `it declares ${regionBytes} bytes, the file has ${fileBytes}`
  const linesPerBuffer = view.getUint32(OFFSET_LINES_PER_BUFFER, true)
  if (![1, 2, 4, 8].includes(linesPerBuffer)) return `${linesPerBuffer} lines a buffer`
  if (
    view.getUint32(OFFSET_BUFFER_BYTES, true) !== BUFFER_BYTES ||
    view.getUint32(OFFSET_LINE_BYTES, true) !== LINE_BYTES
  ) {
    return 'buffer or line size differs'
  }
  const count = view.getUint32(OFFSET_EXTENT_COUNT, true)
  if (count < 1 || count > EXTENTS_MAX) return `${count} extents`
  const extents: ExtentEntry[] = []
  let end = EXTENTS_START
  for (let i = 0; i < count; i++) {
    const offset = Number(view.getBigUint64(OFFSET_EXTENTS + i * EXTENT_ENTRY_BYTES, true))
    const buffers = view.getUint32(OFFSET_EXTENTS + i * EXTENT_ENTRY_BYTES + 8, true)
    if (buffers < 1 || buffers > EXTENT_BUFFERS_MAX || buffers % EXTENT_BUFFERS_STEP !== 0)
      return `extent ${i} has ${buffers} buffers`
    if (offset < end || offset + extentBytes(buffers, linesPerBuffer) > regionBytes) return `extent ${i} lies outside`
    end = offset + extentBytes(buffers, linesPerBuffer)
    extents.push({ offset, buffers })
  }
  return {
    generation: Number(view.getBigUint64(OFFSET_GENERATION, true)),
    uuid: copy.slice(OFFSET_UUID, OFFSET_UUID + 16),
    regionBytes,
    linesPerBuffer,
    cleanShutdown: (view.getUint32(OFFSET_FLAGS, true) & FLAG_CLEAN) !== 0,
    createdNs: view.getBigUint64(OFFSET_CREATED, true),
    versionFloor: Number(view.getBigUint64(OFFSET_VERSION_FLOOR, true)),
    growingTo,
    extents,
  }
}

function hasMagic(bytes: Uint8Array): boolean {
  for (let i = 0; i < MAGIC.length; i++) if (bytes[i] !== MAGIC.charCodeAt(i)) return false
  return true
}

/** What is wrong with each copy, one text each; empty if both are valid. */
export function headerFaults(copies: Uint8Array, fileBytes: number, crc32c: Crc32c): string[] {
  const faults: string[] = []
  for (let copy = 0; copy < HEADER_COPIES; copy++) {
    const bytes = copies.subarray(copy * HEADER_BYTES, (copy + 1) * HEADER_BYTES)
    const found = hasMagic(bytes) ? decodeHeader(bytes, fileBytes, crc32c) : 'it has no magic number'
    if (typeof found === 'string') faults.push(`header copy ${'AB'[copy]} is damaged: ${found}`)
  }
  return faults
}

/**
 * Picks the newest valid copy.
 * @param copies the first 8 KiB of the file
 * @throws RegionError NOT_A_REGION, FORMAT_VERSION, FEATURES, LENGTH, HEADER
 */
export function readHeader(path: string, copies: Uint8Array, fileBytes: number, crc32c: Crc32c): Header {
  const halves = [copies.subarray(0, HEADER_BYTES), copies.subarray(HEADER_BYTES, 2 * HEADER_BYTES)]
  const marked = halves.filter((bytes) => bytes.length === HEADER_BYTES && hasMagic(bytes))
  if (marked.length === 0) {
    throw new RegionError(
      'NOT_A_REGION',
      `${path}: not a Packrat region (no magic number); name another file, or remove it to create a region`,
    )
  }
  const versions = marked.map((bytes) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(OFFSET_VERSION, true))
  if (!versions.includes(FORMAT_VERSION)) {
    throw new RegionError(
      'FORMAT_VERSION',
      `${path}: region has format version ${versions[0]}, this program reads version ${FORMAT_VERSION}; use the program that wrote it`,
    )
  }
  let newest: Header | undefined
  const faults: string[] = []
  for (const bytes of marked) {
    const header = decodeHeader(bytes, fileBytes, crc32c)
    if (typeof header === 'string') faults.push(header)
    else if (newest === undefined || header.generation > newest.generation) newest = header
  }
  const features = faults.find((fault) => fault.startsWith(UNKNOWN_FEATURES))
  if (features !== undefined) {
    // Even if the other copy is older and knows nothing of them: the lines are what the newer one says.
    throw new RegionError('FEATURES', `${path}: ${features}; use the program that wrote it`)
  }
  if (newest !== undefined) return newest
  const length = faults.find((fault) => fault.startsWith('it declares'))
  if (length !== undefined) {
    throw new RegionError('LENGTH', `${path}: truncated or extended region: ${length}; restore the whole file`)
  }
  throw new RegionError(
    'HEADER',
    `${path}: both header copies are damaged (${faults.join('; ')}); restore the file from a copy`,
  )
}
