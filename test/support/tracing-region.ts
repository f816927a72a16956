/**
 * A region that exists twice: `memory`, what the program sees, and `durable`, what a crash leaves for certain.
 * It interprets the same persist programs as the native side and can build the images that a crash at a fence may
 * leave: the durable image plus any subset of the cache lines that differ.
 */
import { sumBytes } from '../../storage/checksum.ts'
import { copyKey } from '../../storage/entry.ts'
import { extentBytes, planExtents } from '../../storage/header.ts'
import {
  ANCHOR_META,
  EXTENT_BUFFERS_SHIFT,
  KIND_ANCHOR,
  KIND_HEAD,
  LINE_BYTES,
  packState,
  stateKind,
  viewLength,
  viewOffset,
  W_BUFFER,
  W_DATA,
  W_KEY,
  W_PAYLOAD_CRC,
  W_PAYLOAD_CRC_COMPLEMENT,
  W_STATE,
} from '../../storage/layout.ts'
import {
  OP_CLEAR_LINE,
  OP_CRC_VIEW,
  OP_FENCE,
  OP_FLUSH_LINE,
  OP_FLUSH_VIEW,
  OP_SEAL_LINE,
  OP_WORDS,
} from '../../storage/persist-program.ts'
import { LINE_INVALID, LINE_UNPUBLISHED, LINE_VALID, type Persistence } from '../../storage/persistence.ts'
import { Pool } from '../../storage/pool.ts'
import { crc32cReference } from './crc32c-reference.ts'

export interface TracingOptions {
  readonly regionBytes?: number
  readonly linesPerBuffer?: number
  readonly asynchronous?: boolean
  /** Start from this image (all extents in a row) instead of an empty region. */
  readonly image?: Uint8Array
  readonly versionFloor?: number
}

export class TracingRegion implements Persistence {
  readonly pool: Pool
  readonly counters = { fences: 0, flushedLines: 0 }
  readonly asynchronous: boolean
  versionFloor: number
  /** Called before each fence takes effect: the moment at which crash images are most various. */
  onFence: () => void = () => {}
  /** Error number that the next programs fail with. */
  failure = 0
  /** Operations to leave out, to prove that each one matters: by code, number over the region's life, and place in the program. */
  skip: (op: number, index: number, program: Int32Array, at: number) => boolean = () => false

  private readonly memory: Uint8Array
  private readonly durable: Uint8Array
  private readonly flushed = new Map<number, Uint8Array>()
  private readonly starts: number[] = []
  private operations = 0

  constructor(options: TracingOptions = {}) {
    const linesPerBuffer = options.linesPerBuffer ?? 2
    const extents = planExtents(options.regionBytes ?? 1 << 20, linesPerBuffer)
    const geometries = extents.map(({ buffers }) => ({
      memory: new ArrayBuffer(extentBytes(buffers, linesPerBuffer)),
      buffers,
    }))
    if (geometries.length !== 1) throw new Error('one extent is enough here')
    this.starts.push(0)
    this.memory = new Uint8Array(geometries[0]!.memory)
    if (options.image !== undefined) this.memory.set(options.image)
    this.pool = new Pool(geometries, linesPerBuffer)
    this.asynchronous = options.asynchronous ?? false
    this.versionFloor = options.versionFloor ?? 1
    if (options.image === undefined) this.seal(ANCHOR_META, packState(1, KIND_ANCHOR, 0))
    this.durable = this.memory.slice()
    this.flushed.clear()
  }

  /** What a crash right now leaves at least. */
  durableImage(): Uint8Array {
    return this.durable.slice()
  }

  /** Numbers of the cache lines that a crash may or may not keep. */
  dirtyLines(): number[] {
    const dirty: number[] = []
    for (let at = 0; at < this.memory.length; at += LINE_BYTES) {
      if (Buffer.compare(this.memory.subarray(at, at + LINE_BYTES), this.durable.subarray(at, at + LINE_BYTES)) !== 0) {
        dirty.push(at / LINE_BYTES)
      }
    }
    return dirty
  }

  /** The durable image with the chosen dirty lines as memory has them. */
  crashImage(lines: readonly number[]): Uint8Array {
    const image = this.durable.slice()
    for (const line of lines)
      image.set(this.memory.subarray(line * LINE_BYTES, (line + 1) * LINE_BYTES), line * LINE_BYTES)
    return image
  }

  /** Memory itself, for damaging it. */
  get bytes(): Uint8Array {
    return this.memory
  }

  execute(program: Int32Array, words: number): number {
    if (this.failure !== 0) return this.failure
    for (let at = 0; at < words; at += OP_WORDS) {
      if (this.skip(program[at]!, this.operations++, program, at)) continue
      this.step(program[at]!, program[at + 1]!, program[at + 2]!, program[at + 3]!)
    }
    return 0
  }

  executeAsync(program: Int32Array, words: number, done: (error: number) => void): void {
    setImmediate(() => done(this.execute(program, words)))
  }

  verifyLines(first: number, count: number, states: Uint8Array): void {
    for (let i = 0; i < count; i++) {
      const meta = first + i
      const state = this.pool.get(meta, W_STATE)
      if (state === 0 && this.pool.get(meta, 0) === 0) states[i] = LINE_UNPUBLISHED
      else states[i] = this.lineCrc(meta, state) === this.pool.get(meta, 0) ? LINE_VALID : LINE_INVALID
    }
  }

  ascendingRun(metas: Int32Array, count: number): number {
    const { pool } = this
    const key = (meta: number): Buffer => Buffer.from(copyKey(pool, meta))
    let run = Math.min(1, count)
    while (run < count && Buffer.compare(key(metas[run - 1]!), key(metas[run]!)) < 0) run++
    return run
  }

  sumView(buffer: number, offset: number, length: number): number {
    return sumBytes(this.pool.bufferView(buffer), this.pool.bufferStart(buffer) + offset, length)
  }

  crcView(buffer: number, offset: number, length: number): number {
    return crc32cReference(this.pool.bufferBytes(buffer), this.pool.bufferStart(buffer) + offset, length) | 0
  }

  reserveVersions(floor: number): number {
    if (this.failure !== 0) return this.failure
    this.versionFloor = floor
    return 0
  }

  private step(op: number, a: number, b: number, c: number): void {
    if (op === OP_FLUSH_VIEW) this.flush(this.pool.bufferStart(a) + b, c)
    else if (op === OP_FLUSH_LINE) this.flush(a * LINE_BYTES, LINE_BYTES)
    else if (op === OP_FENCE) this.fence()
    else if (op === OP_SEAL_LINE) this.seal(a, b)
    else if (op === OP_CLEAR_LINE) this.clear(a)
    else if (op === OP_CRC_VIEW) this.crcLine(a)
    else throw new Error(`no such operation: ${op}`)
  }

  private flush(start: number, length: number): void {
    if (length === 0) return
    const first = Math.floor(start / LINE_BYTES)
    const last = Math.floor((start + length - 1) / LINE_BYTES)
    for (let line = first; line <= last; line++) {
      this.counters.flushedLines++
      this.flushed.set(line, this.memory.slice(line * LINE_BYTES, (line + 1) * LINE_BYTES))
    }
  }

  private fence(): void {
    this.onFence()
    this.counters.fences++
    for (const [line, content] of this.flushed) this.durable.set(content, line * LINE_BYTES)
    this.flushed.clear()
  }

  private seal(meta: number, state: number): void {
    this.pool.set(meta, 0, this.lineCrc(meta, state))
    this.pool.set(meta, W_STATE, state)
    this.flush(meta * LINE_BYTES, LINE_BYTES)
  }

  private clear(meta: number): void {
    this.pool.set(meta, 0, 0)
    this.pool.set(meta, W_STATE, 0)
    this.flush(meta * LINE_BYTES, LINE_BYTES)
  }

  private crcLine(meta: number): void {
    const view = this.pool.get(meta, W_DATA)
    const crc = this.crcView(this.pool.get(meta, W_BUFFER), viewOffset(view), viewLength(view))
    this.pool.set(meta, W_PAYLOAD_CRC, crc)
    this.pool.set(meta, W_PAYLOAD_CRC_COMPLEMENT, ~crc)
  }

  private lineCrc(meta: number, state: number): number {
    const head = new Int32Array(13)
    head[0] = meta
    head[1] = state
    for (let word = 2; word <= 12; word++) head[word] = this.pool.get(meta, word)
    let crc = crc32cReference(new Uint8Array(head.buffer), 0, 52)
    if (stateKind(state) === KIND_HEAD) {
      const key = this.pool.get(meta, W_KEY)
      const buffer = this.pool.get(meta, W_BUFFER)
      if (!this.pool.isBuffer(buffer) || viewOffset(key) + viewLength(key) > 2048) return ~this.pool.get(meta, 0)
      const bytes = this.pool.bytes[buffer >>> EXTENT_BUFFERS_SHIFT]!
      crc = crc32cReference(bytes, this.pool.bufferStart(buffer) + viewOffset(key), viewLength(key), crc)
    }
    return crc | 0
  }
}
