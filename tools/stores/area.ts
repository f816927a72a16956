/**
 * Persistent memory as one run of bytes: what a conventional store builds its own structures in. The file is a region
 * of one extent, so that locking, classes and barriers are the ones that `--store packet` has; its buffers are used as
 * one array, its lines not at all.
 *
 *   area   [0, bytes)       byte offsets < 2^29, so that they stay small integers in V8
 *
 *   flush … flush ─► fence      one native call executes all that was flushed since the last fence
 *
 * Called by: copy.ts, conventional.ts.
 */
import { existsSync } from 'node:fs'
import type { DurabilityRequest } from '../../storage/durability.ts'
import { PackratError } from '../../storage/errors.ts'
import { BUFFER_BYTES, BUFFER_SHIFT, EXTENT_BUFFERS_MAX } from '../../storage/layout.ts'
import { PersistProgram } from '../../storage/persist-program.ts'
import { Region } from '../../storage/region.ts'

/** One extent: 512 MiB of bytes and the lines before them. */
const AREA_FILE_BYTES_MAX = EXTENT_BUFFERS_MAX * (BUFFER_BYTES + 64)

export interface AreaOptions {
  readonly path: string
  /** Size of the file when it is created. */
  readonly fileBytes: number
  readonly durability: DurabilityRequest
  /** Measurements only: leave the flushes out, as if caches were persistent. */
  readonly cachesPersist?: boolean
  /** Measurements only: the medium takes so long for a cache line. */
  readonly lineLatencyNs?: number
}

export class Area {
  readonly region: Region
  readonly bytes: Uint8Array
  /** The same memory; index = byte offset >> 2. */
  readonly words: Int32Array
  readonly length: number
  private readonly program = new PersistProgram()

  /** Opens the area, created first if there is none. @throws RegionError, PackratError BASELINE_CLASS */
  constructor(options: AreaOptions) {
    const { path } = options
    if (!existsSync(path)) {
      Region.create(path, { bytes: Math.min(options.fileBytes, AREA_FILE_BYTES_MAX), linesPerBuffer: 1 })
    }
    const { durability, cachesPersist = false, lineLatencyNs = 0 } = options
    this.region = new Region(path, { durability, cachesPersist, lineLatencyNs })
    if (this.region.asynchronous) {
      this.region.close()
      throw new PackratError(
        'BASELINE_CLASS',
        `${path}: this --store flushes cache lines, which promises nothing in class msync; put --pm on /dev/shm or DAX, or say --durability process`,
      )
    }
    const { pool } = this.region
    const start = pool.dataStart[0]!
    this.length = pool.extentBuffers[0]! << BUFFER_SHIFT
    this.bytes = new Uint8Array(pool.bytes[0]!.buffer, start, this.length)
    this.words = new Int32Array(pool.bytes[0]!.buffer, start, this.length >> 2)
  }

  /** Makes [offset, offset + length) durable at the next fence. */
  flush(offset: number, length: number): void {
    const end = offset + length
    for (let at = offset; at < end; ) {
      const within = at & (BUFFER_BYTES - 1)
      const part = Math.min(end - at, BUFFER_BYTES - within)
      this.program.flushView(at >> BUFFER_SHIFT, within, part)
      at += part
    }
  }

  /** Everything flushed is durable when it returns. @returns 0, or a negative error number */
  fence(): number {
    this.program.fence()
    const error = this.region.execute(this.program.words, this.program.length)
    this.program.reset()
    return error
  }

  close(): void {
    this.region.close()
  }
}
