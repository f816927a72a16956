/**
 * A region: the mapped file (or DAX device) with its header, extents and pool, in one durability class.
 *
 * Called by: the daemon, offline tools, library users. Calls: pmem.ts (the native gateway), header, durability.
 *
 * Invariants:
 *  1. A region appears under its name complete and durable, or not at all.
 *  2. One writer: the file is locked; a region opened for reading is mapped privately, so that recovery may mend
 *     what it reads without the file ever changing.
 *  3. What `durability` says was observed on this mapping, not assumed. (A private mapping is never MAP_SYNC: offline,
 *     a DAX file shows as its file system.)
 */
import { randomUUID } from 'node:crypto'
import { statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { chooseDurability, type Durability, type DurabilityRequest, isSupportedFileSystem } from './durability.ts'
import { RegionError } from './errors.ts'
import { encodeHeader, extentBytes, type Header, headerFaults, planExtents, readHeader } from './header.ts'
import { ANCHOR_META, EXTENTS_START, HEADER_BYTES, HEADER_COPIES, KIND_ANCHOR, packState } from './layout.ts'
import { PersistProgram } from './persist-program.ts'
import type { LineScan, Persistence, PersistenceCounters } from './persistence.ts'
import * as pmem from './pmem.ts'
import { Pool } from './pool.ts'

export const DEFAULT_LINES_PER_BUFFER = 2
/** What the native side takes for `lineLatencyNs`. */
export const LINE_LATENCY_NS_MAX = 100_000
/** Smaller than this there is no room for a network beside the store. */
export const REGION_BYTES_MIN = 1 << 20

export interface CreateOptions {
  /** Size of the file, bytes. */
  readonly bytes: number
  readonly linesPerBuffer?: number
}

export interface OpenOptions {
  readonly durability?: DurabilityRequest
  /** Map privately and lock shared: for looking only. */
  readonly readOnly?: boolean
  /** For measurements: no cache line is written back, as if caches were persistent (eADR). What it tells is what flushing costs. */
  readonly cachesPersist?: boolean
  /** For measurements: a medium that takes so long for each cache line written back, in nanoseconds. */
  readonly lineLatencyNs?: number
}

export class Region implements Persistence {
  readonly path: string
  readonly pool: Pool
  readonly header: Header
  readonly durability: Durability
  readonly asynchronous: boolean
  readonly fsName: string
  readonly counters: PersistenceCounters
  private readonly handle: pmem.RegionHandle
  private readonly readOnly: boolean
  private open = true

  /**
   * Creates a region file. On any error nothing is left behind.
   * @throws RegionError EEXIST, ENOSPC, EACCES, ELOCKED, SIZE, FILE_SYSTEM …
   */
  static create(path: string, options: CreateOptions): void {
    const linesPerBuffer = options.linesPerBuffer ?? DEFAULT_LINES_PER_BUFFER
    if (options.bytes < REGION_BYTES_MIN) {
      throw new RegionError(
        'SIZE',
        `${path}: a region has at least ${REGION_BYTES_MIN} bytes, ${options.bytes} were asked for`,
      )
    }
    checkSpace(path, options.bytes)
    const handle = pmem.createRegionFile(path, options.bytes)
    try {
      checkFileSystem(path, pmem.regionFileInfo(handle).fsName)
      const header: Header = {
        generation: 1,
        uuid: Buffer.from(randomUUID().replaceAll('-', ''), 'hex'),
        regionBytes: options.bytes,
        linesPerBuffer,
        cleanShutdown: true,
        createdNs: BigInt(Date.now()) * 1_000_000n,
        versionFloor: 1,
        growingTo: 0,
        extents: planExtents(options.bytes, linesPerBuffer),
      }
      for (let copy = 0; copy < HEADER_COPIES; copy++) {
        pmem.writeRegion(handle, copy * HEADER_BYTES, encodeHeader(header, pmem.crc32c))
      }
      pmem.mapRegion(handle)
      setGeometry(handle, header)
      const anchor = new PersistProgram()
      anchor.sealLine(ANCHOR_META, packState(1, KIND_ANCHOR, 0))
      anchor.fence()
      pmem.setRegionBarrier(handle, 'sync')
      throwOnError(path, pmem.execute(handle, anchor.words, anchor.length))
      pmem.publishRegionFile(handle)
    } catch (error) {
      pmem.closeRegion(handle) // removes what was not published
      throw error
    }
    pmem.closeRegion(handle)
  }

  /**
   * Opens a region: locks it, reads its header, maps it, and chooses the durability class.
   * @throws RegionError ELOCKED, NOT_A_REGION, FORMAT_VERSION, LENGTH, HEADER, FILE_SYSTEM, DURABILITY, LATENCY …
   */
  constructor(path: string, options: OpenOptions = {}) {
    this.path = path
    this.readOnly = options.readOnly ?? false
    this.handle = pmem.openRegionFile(path, { writable: !this.readOnly, lock: this.readOnly ? 'shared' : 'exclusive' })
    try {
      const info = pmem.regionFileInfo(this.handle)
      this.fsName = info.fsName
      if (!info.device) checkFileSystem(path, info.fsName)
      const copies = pmem.readRegion(this.handle, 0, Math.min(EXTENTS_START, info.bytes))
      this.header = readHeader(path, copies, info.bytes, pmem.crc32c)
      const { mapSync, mapping } = pmem.mapRegion(this.handle)
      if (mapping === 'read-only') {
        throw new RegionError(
          'READ_ONLY',
          `${path}: a DAX device cannot be read offline yet: recovery needs a private mapping; copy it to a file`,
        )
      }
      setGeometry(this.handle, this.header)
      this.durability = chooseDurability(options.durability ?? 'auto', {
        path,
        fsName: info.fsName,
        device: info.device,
        mapSync,
      })
      this.asynchronous = this.durability.class === 'msync' && !this.readOnly
      const cachesPersist = this.durability.eadr || (options.cachesPersist ?? false)
      const { lineLatencyNs = 0 } = options
      if (lineLatencyNs > 0 && (this.asynchronous || cachesPersist)) {
        throw new RegionError(
          'LATENCY',
          `${path}: a slower medium can be emulated where cache lines are flushed; class ${this.durability.class} ${this.asynchronous ? 'syncs pages' : 'has persistent caches'} here: leave the latency out, or ask for --durability process on /dev/shm`,
        )
      }
      const barrier = this.asynchronous ? 'sync' : cachesPersist ? 'cpu-no-flush' : 'cpu'
      pmem.setRegionBarrier(this.handle, barrier, { lineLatencyNs })
      this.pool = new Pool(
        this.header.extents.map(({ offset, buffers }) => ({
          memory: pmem.wrapRegion(this.handle, offset, extentBytes(buffers, this.header.linesPerBuffer)),
          buffers,
        })),
        this.header.linesPerBuffer,
      )
    } catch (error) {
      pmem.closeRegion(this.handle)
      throw error
    }
    this.counters = new RegionCounters(pmem.counters(this.handle))
  }

  /** Where each extent begins in the mapping, bytes: for devices that address the whole of it. */
  get extentOffsets(): number[] {
    return this.header.extents.map((extent) => extent.offset)
  }

  get versionFloor(): number {
    return this.header.versionFloor
  }

  /** The flush instruction in use; 'none' with eADR, 'msync' where the kernel does it. */
  get flushInstruction(): string {
    return this.asynchronous ? 'msync' : this.durability.eadr ? 'none' : pmem.cpu().flush
  }

  /** Length of the mapping. */
  get bytes(): number {
    return this.header.regionBytes
  }

  /** Brings pages of the mapping in, ahead of their first use. @returns false: this kernel cannot, or has no memory for it */
  prefault(offset: number, length: number): boolean {
    return pmem.prefaultRange(this.handle, offset, length)
  }

  execute(program: Int32Array, words: number): number {
    return pmem.execute(this.handle, program, words)
  }

  executeAsync(program: Int32Array, words: number, done: (error: number) => void): void {
    const refused = pmem.executeAsync(this.handle, program, words, (error) => {
      done(error === null ? 0 : error.errno)
    })
    if (refused !== 0) done(refused)
  }

  verifyLines(first: number, count: number, states: Uint8Array): void {
    pmem.verifyLines(this.handle, first, count, states)
  }

  scanLines(first: number, count: number, { states, digests, hashes, tally }: LineScan): void {
    pmem.scanLines(this.handle, first, count, states, digests, hashes, tally)
  }

  sumView(buffer: number, offset: number, length: number): number {
    return pmem.sumView(this.handle, buffer, offset, length)
  }

  crcView(buffer: number, offset: number, length: number): number {
    return pmem.crcView(this.handle, buffer, offset, length) | 0
  }

  /** For devices that do not sum what they receive: one native call a burst. */
  sumDescriptors(descriptors: Int32Array, count: number): void {
    pmem.sumDescriptors(this.handle, descriptors, count)
  }

  /** What is wrong with the header's copies as they stand in the file; empty if both are valid. */
  headerFaults(): string[] {
    return headerFaults(pmem.readRegion(this.handle, 0, EXTENTS_START), this.header.regionBytes, pmem.crc32c)
  }

  reserveVersions(floor: number): number {
    this.header.versionFloor = floor
    try {
      this.writeHeader()
      return 0
    } catch {
      return -EIO
    }
  }

  /** From here on the region counts as not shut down in order, until `close`. */
  markOpen(): void {
    this.header.cleanShutdown = false
    this.writeHeader()
  }

  /** Tests only: the nth sync from now fails. */
  failSync(n: number): void {
    pmem.failSync(this.handle, n)
  }

  /**
   * Unmaps the region; every view of it is gone.
   * @param nextVersion set by an orderly stop: the region is marked clean and hands out versions from here on
   */
  close(nextVersion?: number): void {
    if (!this.open) return
    this.open = false
    try {
      if (nextVersion !== undefined && !this.readOnly) {
        this.header.cleanShutdown = true
        this.header.versionFloor = nextVersion
        this.writeHeader()
      }
    } finally {
      pmem.closeRegion(this.handle) // and its lock with it
    }
  }

  /** Writes the older copy, so that a crash leaves the other. */
  private writeHeader(): void {
    if (this.readOnly) return
    this.header.generation++
    const copy = this.header.generation % HEADER_COPIES
    pmem.writeRegion(this.handle, copy * HEADER_BYTES, encodeHeader(this.header, pmem.crc32c))
    pmem.syncRegion(this.handle)
  }
}

const EIO = 5

class RegionCounters implements PersistenceCounters {
  private readonly counters: Float64Array

  constructor(counters: Float64Array) {
    this.counters = counters
  }

  get fences(): number {
    return this.counters[pmem.COUNTER_FENCES]!
  }

  get flushedLines(): number {
    return this.counters[pmem.COUNTER_FLUSHED_LINES]!
  }
}

function setGeometry(handle: pmem.RegionHandle, header: Header): void {
  pmem.setRegionGeometry(handle, {
    extentOffsets: header.extents.map((extent) => extent.offset),
    extentBuffers: header.extents.map((extent) => extent.buffers),
    linesPerBuffer: header.linesPerBuffer,
  })
}

function checkFileSystem(path: string, fsName: string): void {
  if (isSupportedFileSystem(fsName)) return
  throw new RegionError(
    'FILE_SYSTEM',
    `${path}: a region cannot live on ${fsName}, which promises nothing about mapped files; use ext4, xfs, btrfs, tmpfs, hugetlbfs or DAX`,
  )
}

/** A clear answer before anything is written; fallocate has the last word. */
function checkSpace(path: string, bytes: number): void {
  let free: number
  try {
    const stat = statfsSync(dirname(path))
    free = stat.bavail * stat.bsize
  } catch {
    return // the directory is missing or closed to us: creating the file says so better
  }
  if (free < bytes) {
    throw new RegionError(
      'ENOSPC',
      `${path}: ${bytes} bytes are asked for, the file system has ${free} free; choose a smaller --pm-size or free space`,
    )
  }
}

function throwOnError(path: string, error: number): void {
  if (error !== 0) throw new RegionError('EXECUTE', `${path}: writing the first line failed (error ${-error})`)
}
