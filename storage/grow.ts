/**
 * Growing a region: extents are added behind those it has, offline. Entries, buffers and lines stay where they are.
 *
 *   1  both header copies say: growing to N bytes                    file may be longer from here on
 *   2  the file is made N bytes long, allocated, all zero; synced    zero lines are free lines
 *   3  both copies say: N bytes, and name the new extents            the region has grown
 *
 * Each copy is written and synced before the other, so at any moment one of them is whole. A crash before 3 leaves the
 * region as it was, in a file that may be longer; its header says why, so it opens, and growing it again goes on. A file that
 * is longer for any other reason is refused as before.
 *
 * Called by: tools/grow.ts. Calls: header.ts, pmem.ts.
 *
 * Invariant: the file is only ever cut where no header copy names an extent.
 */
import { RegionError } from './errors.ts'
import { type Crc32c, encodeHeader, type Header, planExtents, readHeader } from './header.ts'
import { EXTENTS_MAX, EXTENTS_START, HEADER_BYTES, HEADER_COPIES } from './layout.ts'
import * as pmem from './pmem.ts'

/** What growing needs of a file; the tests give it one that crashes. */
export interface GrowingFile {
  readonly path: string
  readonly bytes: number
  read(offset: number, length: number): Uint8Array
  write(offset: number, bytes: Uint8Array): void
  /** Longer: allocated and zero. Shorter: cut. The old length after an error. */
  resize(bytes: number): void
  sync(): void
}

export interface Growth {
  readonly bytesBefore: number
  readonly bytes: number
  readonly buffersBefore: number
  readonly buffers: number
  readonly extents: number
}

/**
 * Grows the region in a file of its own. The region must not be in use.
 * @throws RegionError SIZE, ELOCKED, ENOSPC, ENOTSUP (devices, hugetlbfs), and those of opening a region. It is as it was then
 */
export function growRegionFile(path: string, bytes: number): Growth {
  const handle = pmem.openRegionFile(path, { writable: true, lock: 'exclusive' })
  try {
    const { device, fsName } = pmem.regionFileInfo(handle)
    if (device || fsName === 'hugetlbfs') {
      throw new RegionError(
        'ENOTSUP',
        `${path}: a region on ${device ? 'a DAX device' : 'hugetlbfs'} cannot grow; create a larger one, and export and import`,
      )
    }
    const file: GrowingFile = {
      path,
      get bytes() {
        return pmem.regionFileInfo(handle).bytes
      },
      read: (offset, length) => pmem.readRegion(handle, offset, length),
      write: (offset, content) => pmem.writeRegion(handle, offset, content),
      resize: (length) => pmem.resizeRegion(handle, length),
      sync: () => pmem.syncRegion(handle),
    }
    return growRegion(file, bytes, pmem.crc32c)
  } finally {
    pmem.closeRegion(handle)
  }
}

/** The same on any file. */
export function growRegion(file: GrowingFile, bytes: number, crc32c: Crc32c): Growth {
  const copies = file.read(0, Math.min(EXTENTS_START, file.bytes))
  const header = readHeader(file.path, copies, file.bytes, crc32c)
  const before = { bytes: header.regionBytes, extents: header.extents }
  const extents = plan(file.path, header, bytes)

  // An interrupted growth may have left the file longer than it is to become now.
  header.growingTo = Math.max(header.growingTo, bytes)
  writeBoth(file, header, crc32c)
  try {
    if (file.bytes > before.bytes) file.resize(before.bytes)
    file.resize(bytes)
  } catch (error) {
    if (file.bytes > before.bytes) file.resize(before.bytes)
    file.sync()
    header.growingTo = 0
    writeBoth(file, header, crc32c)
    throw error
  }
  file.sync()

  header.regionBytes = bytes
  header.extents = extents
  header.growingTo = 0
  writeBoth(file, header, crc32c)
  return {
    bytesBefore: before.bytes,
    bytes,
    buffersBefore: buffersOf(before.extents),
    buffers: buffersOf(extents),
    extents: extents.length,
  }
}

function plan(path: string, header: Header, bytes: number): Header['extents'] {
  const { regionBytes, linesPerBuffer } = header
  if (bytes <= regionBytes) {
    throw new RegionError(
      'SIZE',
      `${path}: the region has ${regionBytes} bytes already, ${bytes} are no growth; name a larger size`,
    )
  }
  const extents = planExtents(bytes, linesPerBuffer, header.extents)
  if (extents.length > header.extents.length) return extents
  const why =
    extents.length === EXTENTS_MAX
      ? `it has all the ${EXTENTS_MAX} extents that a region can have; export and import it into a new one`
      : `${bytes - regionBytes} bytes more hold no extent; name a larger size`
  throw new RegionError('SIZE', `${path}: the region cannot grow so: ${why}`)
}

function buffersOf(extents: Header['extents']): number {
  return extents.reduce((sum, { buffers }) => sum + buffers, 0)
}

/** One after the other, each durable before the next. */
function writeBoth(file: GrowingFile, header: Header, crc32c: Crc32c): void {
  for (let count = 0; count < HEADER_COPIES; count++) {
    header.generation++
    file.write((header.generation % HEADER_COPIES) * HEADER_BYTES, encodeHeader(header, crc32c))
    file.sync()
  }
}
