/**
 * A region file that crashes while it is grown: it keeps what was written, lengthened and synced, and shows every image
 * that a crash may leave in between.
 *
 *   durable ──► what was done since the last sync, any subset of it, torn ──► an image
 *
 * A write may be there in any subset of its sectors, lines or words; a new length may be reached in part. Header bytes and the length only:
 * growing touches nothing else.
 */
import type { GrowingFile } from '../../storage/grow.ts'
import { encodeHeader, type Header, planExtents, readHeader } from '../../storage/header.ts'
import { EXTENTS_START, HEADER_BYTES } from '../../storage/layout.ts'
import { crc32cTable } from './crc32c-table.ts'

/** What a write may be torn into: nothing, sectors of a disk, or cache lines and words of persistent memory. */
const TEARS: readonly number[] = [HEADER_BYTES, 512, 64, 8]
const LINES_PER_BUFFER = 2

export interface FileImage {
  readonly header: Uint8Array
  bytes: number
}

export type FileOperation =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'resize'; readonly bytes: number }
  | { readonly kind: 'sync' }

export const copyOfImage = (image: FileImage): FileImage => ({
  header: Uint8Array.from(image.header),
  bytes: image.bytes,
})

/** A region at rest, of so many bytes. */
export function newImage(bytes: number): FileImage {
  const header: Header = {
    generation: 4,
    uuid: new Uint8Array(16).fill(7),
    regionBytes: bytes,
    linesPerBuffer: LINES_PER_BUFFER,
    cleanShutdown: true,
    createdNs: 1n,
    versionFloor: 77,
    growingTo: 0,
    extents: planExtents(bytes, LINES_PER_BUFFER),
  }
  const image = { header: new Uint8Array(EXTENTS_START), bytes }
  image.header.set(encodeHeader(header, crc32cTable), 0)
  header.generation++
  image.header.set(encodeHeader(header, crc32cTable), HEADER_BYTES)
  return image
}

/** What the region in an image says of itself. @throws RegionError */
export function headerOf(image: FileImage): Header {
  return readHeader('crash.pm', image.header, image.bytes, crc32cTable)
}

function apply(image: FileImage, operation: FileOperation): void {
  if (operation.kind === 'resize') image.bytes = operation.bytes
  else if (operation.kind === 'write') image.header.set(operation.bytes, operation.offset)
}

export class CrashingFile implements GrowingFile {
  readonly path = 'crash.pm'
  /** What a reader sees, what is durable, and what was done since the last sync. */
  readonly now: FileImage
  /** The nth operation from here fails; 0: none does. */
  failAt = 0
  /** Changes the operations, to prove that each of them matters: does what is to be done instead of one. */
  rewrite: (operation: FileOperation) => readonly FileOperation[] = (operation) => [operation]
  private durable: FileImage
  private pending: FileOperation[] = []
  private readonly crashed: (image: FileImage) => void
  private readonly random: () => number

  constructor(image: FileImage, crashed: (image: FileImage) => void, random: () => number) {
    this.now = copyOfImage(image)
    this.durable = copyOfImage(image)
    this.crashed = crashed
    this.random = random
  }

  get bytes(): number {
    return this.now.bytes
  }

  read(offset: number, length: number): Uint8Array {
    return this.now.header.slice(offset, offset + length)
  }

  write(offset: number, bytes: Uint8Array): void {
    this.change({ kind: 'write', offset, bytes: Uint8Array.from(bytes) })
  }

  resize(bytes: number): void {
    this.change({ kind: 'resize', bytes })
  }

  sync(): void {
    this.change({ kind: 'sync' })
  }

  private change(operation: FileOperation): void {
    for (const other of this.rewrite(operation)) this.do(other)
  }

  private do(operation: FileOperation): void {
    if (operation.kind === 'sync') {
      this.crash()
      this.durable = copyOfImage(this.now)
      this.pending = []
      return
    }
    if (this.failAt > 0 && --this.failAt === 0) throw new Error('no space')
    this.pending.push(operation)
    apply(this.now, operation)
    this.crash()
  }

  /** Any subset of what is not synced is there; a write in any subset of its parts; a new length reached in part. */
  private crash(): void {
    for (let subset = 0; subset < 1 << this.pending.length; subset++) {
      for (const unit of TEARS) {
        const image = copyOfImage(this.durable)
        this.pending.forEach((operation, index) => {
          if ((subset >> index) & 1) this.applyTorn(image, operation, unit)
        })
        this.crashed(image)
      }
    }
  }

  private applyTorn(image: FileImage, operation: FileOperation, unit: number): void {
    if (unit === HEADER_BYTES) apply(image, operation)
    else if (operation.kind === 'resize') {
      const part = (this.random() >>> 0) / 2 ** 32
      image.bytes = Math.round(image.bytes + (operation.bytes - image.bytes) * part)
    } else if (operation.kind === 'write') {
      for (let at = 0; at < operation.bytes.length; at += unit) {
        if (this.random() & 1) image.header.set(operation.bytes.subarray(at, at + unit), operation.offset + at)
      }
    }
  }
}
