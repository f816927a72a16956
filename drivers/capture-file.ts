/**
 * A capture file that is written beside the traffic: frames go into chunks in memory, chunks to the file by the
 * process's I/O threads. The loop never waits for the disk.
 *
 *   frame ─► PcapngWriter ─► chunk ─► waiting (≤ PENDING_BYTES_MAX) ─► fs.write at its place in the file
 *
 * Called by: capture.ts, one `CaptureFile` for all the devices of a capture. Calls: pcapng.ts, node:fs.
 *
 * Invariants:
 *  1. The file is a valid capture whenever the process dies: it grows by whole blocks, but for the write under way.
 *  2. At most PENDING_BYTES_MAX wait for the disk. Frames that find no room are not captured, and counted in the file.
 *  3. The first error ends the capture: it is reported once, the file is cut behind its last whole chunk, and the
 *     traffic goes on.
 */
import { close, closeSync, fstatSync, ftruncateSync, openSync, write, writeSync } from 'node:fs'
import { PackratError } from '../storage/errors.ts'
import { PcapngWriter } from './pcapng.ts'

/** A second of a gigabit link: a disk that is slower than that for longer loses frames from the capture. */
const PENDING_BYTES_MAX = 128 << 20

/** Time of day, ns since the epoch, in two 32-bit halves (no BigInt); the stack's WallClock is one. */
export interface CaptureClock {
  low: number
  high: number
  read(): void
}

export interface CaptureFileOptions {
  readonly path: string
  /** Named in the file as its writer: `packrat 0.1.0`. */
  readonly application: string
  readonly clock: CaptureClock
  /** Hears of the error that ended the capture: one complete sentence. */
  readonly report: (message: string) => void
}

export class CaptureFile {
  /** Frames in the file, or on their way to it. */
  capturedFrames = 0
  private readonly path: string
  private readonly clock: CaptureClock
  private readonly report: (message: string) => void
  private readonly writer: PcapngWriter
  /** Frames of each interface that passed, and that were not captured. */
  private readonly passed: number[] = []
  private readonly missed: number[] = []
  /** Chunks that are not in the file yet, oldest first; the first one is being written. */
  private readonly waiting: Uint8Array[] = []
  private waitingBytes = 0
  /** Bytes of the file that are written: where the first waiting chunk starts. */
  private writtenBytes = 0
  /** Bytes of the first waiting chunk that are written. */
  private writtenOfChunk = 0
  private writing = false
  private fd: number
  private ended = false
  private readonly onWritten = (error: NodeJS.ErrnoException | null, bytes: number): void =>
    this.continueWriting(error, bytes)

  /** Creates the file, or empties it. Throws PackratError if that cannot be. */
  constructor(options: CaptureFileOptions) {
    this.path = options.path
    this.clock = options.clock
    this.report = options.report
    this.fd = openCapture(options.path)
    this.writer = new PcapngWriter((chunk) => this.enqueue(chunk))
    this.writer.writeSection({ application: options.application })
  }

  /** Frames that passed while the capture could not take them. */
  get missedFrames(): number {
    let missed = 0
    for (const frames of this.missed) missed += frames
    return missed
  }

  /** Declares an interface. @returns its number, for `beginFrame` */
  addInterface(name: string): number {
    this.passed.push(0)
    this.missed.push(0)
    return this.writer.writeInterface({ name })
  }

  /** Takes the time for the frames of one burst. */
  readClock(): void {
    this.clock.read()
  }

  /** Starts a frame of `length` bytes. False: it is not captured. Else its pieces follow, then `endFrame`. */
  beginFrame(interfaceNumber: number, length: number, direction: number): boolean {
    this.passed[interfaceNumber]!++
    if (this.ended || this.waitingBytes > PENDING_BYTES_MAX) {
      this.missed[interfaceNumber]!++
      return false
    }
    this.writer.beginPacket(interfaceNumber, this.clock.low, this.clock.high, length, direction)
    return true
  }

  append(bytes: Uint8Array, offset: number, length: number): void {
    this.writer.append(bytes, offset, length)
  }

  endFrame(): void {
    this.writer.endPacket()
    this.capturedFrames++
  }

  /** Sends what is collected on its way to the file: traffic pauses. */
  flush(): void {
    if (!this.ended) this.writer.flush()
  }

  /** Writes the rest and the counts of the interfaces, waiting for the disk. */
  close(): void {
    if (this.ended) return
    this.clock.read()
    for (let index = 0; index < this.passed.length; index++)
      this.writer.writeStatistics(index, this.clock.low, this.clock.high, this.passed[index]!, this.missed[index]!)
    this.writer.flush()
    // A chunk whose write is under way is written once more: the same bytes at the same place.
    try {
      for (const chunk of this.waiting) {
        for (let done = 0; done < chunk.length; )
          done += writeSync(this.fd, chunk, done, chunk.length - done, this.writtenBytes + done)
        this.writtenBytes += chunk.length
      }
    } catch (error) {
      this.fail(error as Error)
      return
    }
    this.end()
  }

  private enqueue(chunk: Uint8Array): void {
    this.waiting.push(chunk)
    this.waitingBytes += chunk.length
    this.writeNext()
  }

  private writeNext(): void {
    const chunk = this.waiting[0]
    if (this.writing || this.ended || chunk === undefined) return
    this.writing = true
    const from = this.writtenOfChunk
    write(this.fd, chunk, from, chunk.length - from, this.writtenBytes + from, this.onWritten)
  }

  private continueWriting(error: NodeJS.ErrnoException | null, bytes: number): void {
    this.writing = false
    if (this.ended) {
      // It ended while this write was under way, which kept the descriptor open.
      close(this.fd, () => {})
      return
    }
    if (error !== null) {
      this.fail(error)
      return
    }
    const chunk = this.waiting[0]!
    this.writtenOfChunk += bytes
    if (this.writtenOfChunk === chunk.length) {
      this.waiting.shift()
      this.waitingBytes -= chunk.length
      this.writtenBytes += chunk.length
      this.writtenOfChunk = 0
    }
    this.writeNext()
  }

  private fail(error: Error): void {
    try {
      ftruncateSync(this.fd, this.writtenBytes)
    } catch {
      // The disk refuses that as well: the file ends within a block, and readers say so.
    }
    this.end()
    this.report(
      `the capture ${this.path} ended after ${this.writtenBytes} bytes: ${error.message}; traffic goes on without it`,
    )
  }

  private end(): void {
    this.ended = true
    this.waiting.length = 0
    this.waitingBytes = 0
    if (!this.writing) closeSync(this.fd)
  }
}

function openCapture(path: string): number {
  let fd: number
  try {
    fd = openSync(path, 'w')
  } catch (error) {
    throw new PackratError('CAPTURE', `cannot write the capture: ${(error as Error).message}; choose another file`)
  }
  // Chunks are written at offsets: a pipe has none.
  if (!fstatSync(fd).isFile()) {
    closeSync(fd)
    throw new PackratError('CAPTURE', `cannot write the capture: ${path} is no regular file; choose another one`)
  }
  return fd
}
