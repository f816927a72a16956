/**
 * A region that exists twice: `memory`, what the program sees, and `durable`, what a crash leaves for certain.
 * It interprets the same persist programs as the native side and knows what a crash may leave between the two.
 *
 *   durable ──► state 1 ──► state 2 ──► memory        the history of one cache line since it was last durable
 *               a crash leaves any one of them, for each line on its own
 *
 * Two media:
 *   lines   persistent memory. The unit is the cache line: stores to one line become durable in program order, lines in any
 *           order. A flush and the fence behind it make the line durable as it was at the flush.
 *   pages   a file in the page cache. The unit is the sector, 512 bytes: a page may be written back at any moment, and a
 *           crash may tear it between its sectors. A fence is an msync of the hull of what was flushed, whole pages of it.
 *
 * Invariants:
 *  1. Between two observations (programs, and each store of a program) a line may have changed by several stores; these count
 *     as one state that a crash may tear at any 4 bytes. A store of a program is of 8 bytes and never torn.
 */
import { sumBytes } from '../../storage/checksum.ts'
import { copyKey, keyLength, keyOffset, valueLength, versionNumber } from '../../storage/entry.ts'
import { extentBytes, planExtents } from '../../storage/header.ts'
import { hashKey } from '../../storage/key.ts'
import {
  ANCHOR_META,
  BUFFER_BYTES,
  CRC_END_WORD,
  FLAG_MEMBER,
  KIND_ANCHOR,
  KIND_HEAD,
  LINE_BYTES,
  NO_META,
  packState,
  stateFlags,
  stateKind,
  viewLength,
  viewOffset,
  W_BUFFER,
  W_DATA,
  W_KEY,
  W_META_CRC,
  W_NEXT,
  W_PAYLOAD_CRC,
  W_PAYLOAD_CRC_COMPLEMENT,
  W_STATE,
  W_VERSION_HIGH,
  W_VERSION_LOW,
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
import {
  DIGEST_KEY,
  DIGEST_LINK,
  DIGEST_WORDS,
  LINE_INVALID,
  LINE_UNPUBLISHED,
  LINE_VALID,
  LINE_WHOLE,
  type LineScan,
  type Persistence,
  TALLY_COMMITTED,
  TALLY_OTHERS,
  TALLY_VERSION_HIGH,
  TALLY_VERSION_LOW,
} from '../../storage/persistence.ts'
import { Pool } from '../../storage/pool.ts'
import { crc32cTable } from './crc32c-table.ts'
import { sortableKeyWords } from './key-words.ts'

export type Medium = 'lines' | 'pages'

const PAGE_BYTES = 4096
const PAGE_LINES = PAGE_BYTES / LINE_BYTES
const SECTOR_LINES = 512 / LINE_BYTES

/** What the CRC of a line covers but for the key: its own index in the place of the CRC, and the words behind it. */
const CRC_WORDS = new Int32Array(CRC_END_WORD)
const CRC_BYTES = new Uint8Array(CRC_WORDS.buffer)

export interface TracingOptions {
  readonly regionBytes?: number
  readonly linesPerBuffer?: number
  readonly asynchronous?: boolean
  /** Start from this image (all extents in a row) instead of an empty region. */
  readonly image?: Uint8Array
  readonly versionFloor?: number
  readonly medium?: Medium
  /** Buffers of further extents, behind what regionBytes holds. */
  readonly moreExtents?: readonly number[]
}

/** One operation of a program, as it is executed. */
export interface Step {
  readonly op: number
  readonly a: number
  readonly b: number
  readonly c: number
  /** False: the operation stores, but does not flush what it stored. */
  readonly flushes: boolean
}

/** What one line may hold after a crash, beside what is durable: oldest state first, the last is what memory has. */
export interface LineState {
  readonly content: Uint8Array
  /** Came by one store of 8 bytes. */
  readonly atomic: boolean
  readonly time: number
}

/** What a region is made of; regions of one shape use it one after the other. */
interface RegionMemory {
  readonly extents: readonly ArrayBuffer[]
  readonly observed: Uint8Array
  readonly durable: Uint8Array
}

/** Memory that closed regions left, by shape: recovering an image takes some each time, a hundred thousand times. */
const spares = new Map<string, RegionMemory[]>()

function takeMemory(extentLengths: readonly number[]): RegionMemory {
  const spare = spares.get(extentLengths.join())?.pop()
  if (spare !== undefined) {
    for (const extent of spare.extents) new Uint8Array(extent).fill(0)
    return spare
  }
  const bytes = extentLengths.reduce((sum, length) => sum + length, 0)
  return {
    extents: extentLengths.map((length) => new ArrayBuffer(length)),
    observed: new Uint8Array(bytes),
    durable: new Uint8Array(bytes),
  }
}

interface LineHistory {
  states: LineState[]
  /** The first so many states are flushed, up to the last of them. */
  flushed: number
}

/** Cache lines that a crash keeps or loses together, and the states that they can have together; each a list of contents. */
export interface Candidate {
  readonly lines: readonly number[]
  readonly states: readonly (readonly Uint8Array[])[]
  /** State i may be torn between i and the one before. */
  readonly torn: readonly boolean[]
}

export class TracingRegion implements Persistence {
  readonly pool: Pool
  /** `repeatedFlushes`: of lines that were flushed since the last fence and not stored to since. */
  readonly counters = { fences: 0, flushedLines: 0, repeatedFlushes: 0 }
  readonly asynchronous: boolean
  readonly medium: Medium
  versionFloor: number
  /** Called before each fence takes effect: the moment at which crash images are most various. */
  onFence: () => void = () => {}
  /** Error number that the next programs fail with. */
  failure = 0
  /** Changes each program before it is executed, to prove that each of its operations matters. */
  rewrite: (steps: Step[]) => Step[] = (steps) => steps
  /** Runs a program that was started asynchronously. */
  schedule: (run: () => void) => void = (run) => setImmediate(run)

  private readonly own: RegionMemory
  private readonly memory: Uint8Array[] = []
  private readonly firstLines: number[] = []
  /** Memory as it was observed last, and what is durable: all extents in a row. */
  private readonly observed: Uint8Array
  private readonly durable: Uint8Array
  private readonly histories = new Map<number, LineHistory>()
  /** Lines flushed since the last fence, and the number of states that each had then. */
  private readonly flushedStates = new Map<number, number>()
  private hullLow = Number.POSITIVE_INFINITY
  private hullHigh = -1
  private time = 0

  constructor(options: TracingOptions = {}) {
    const linesPerBuffer = options.linesPerBuffer ?? 2
    const planned = planExtents(options.regionBytes ?? 1 << 20, linesPerBuffer).map(({ buffers }) => buffers)
    const extentBuffers = [...planned, ...(options.moreExtents ?? [])]
    this.own = takeMemory(extentBuffers.map((buffers) => extentBytes(buffers, linesPerBuffer)))
    this.durable = this.own.durable
    this.observed = this.own.observed
    const geometries = this.own.extents.map((memory, extent) => ({ memory, buffers: extentBuffers[extent]! }))
    let lines = 0
    for (const { memory } of geometries) {
      this.memory.push(new Uint8Array(memory))
      this.firstLines.push(lines)
      lines += memory.byteLength / LINE_BYTES
    }
    this.medium = options.medium ?? 'lines'
    this.pool = new Pool(geometries, linesPerBuffer)
    this.asynchronous = options.asynchronous ?? false
    this.versionFloor = options.versionFloor ?? 1
    if (options.image === undefined) this.sealNow(ANCHOR_META, packState(1, KIND_ANCHOR, 0))
    else this.load(options.image)
    for (const [extent, memory] of this.memory.entries())
      this.durable.set(memory, this.firstLines[extent]! * LINE_BYTES)
    this.observed.set(this.durable)
  }

  /** Leaves the memory to a region that is made later: nobody may look at this one any more. */
  close(): void {
    const shape = this.own.extents.map((extent) => extent.byteLength).join()
    if (!spares.has(shape)) spares.set(shape, [])
    spares.get(shape)!.push(this.own)
  }

  /** What a crash right now leaves at least. */
  durableImage(): Uint8Array {
    return this.durable.slice()
  }

  /** Memory of the first extent, for damaging it. */
  get bytes(): Uint8Array {
    return this.memory[0]!
  }

  /** Everything that a crash may keep or lose, in order of place. */
  candidates(): Candidate[] {
    this.observe()
    const lines = [...this.histories.keys()].sort((a, b) => a - b)
    if (this.medium === 'lines') {
      return lines.map((line) => {
        const { states } = this.histories.get(line)!
        return {
          lines: [line],
          states: states.map(({ content }) => [content]),
          torn: states.map(({ atomic }) => !atomic),
        }
      })
    }
    const sectors = new Map<number, number[]>()
    for (const line of lines) {
      const sector = Math.floor(line / SECTOR_LINES)
      sectors.set(sector, [...(sectors.get(sector) ?? []), line])
    }
    return [...sectors.values()].map((members) => this.sectorCandidate(members))
  }

  /** A line's durable content. */
  durableLine(line: number): Uint8Array {
    return this.durable.subarray(line * LINE_BYTES, (line + 1) * LINE_BYTES)
  }

  /** A word of a metadata line, as it is durable. */
  durableWord(meta: number, word: number): number {
    const line = this.durableLine(this.lineOfMeta(meta))
    return new DataView(line.buffer, line.byteOffset).getInt32(4 * word, true)
  }

  execute(program: Int32Array, words: number): number {
    if (this.failure !== 0) return this.failure
    this.observe()
    const steps: Step[] = []
    for (let at = 0; at < words; at += OP_WORDS) {
      steps.push({
        op: program[at]!,
        a: program[at + 1]!,
        b: program[at + 2]!,
        c: program[at + 3]!,
        flushes: true,
      })
    }
    for (const step of this.rewrite(steps)) this.step(step)
    return 0
  }

  executeAsync(program: Int32Array, words: number, done: (error: number) => void): void {
    this.schedule(() => done(this.execute(program, words)))
  }

  verifyLines(first: number, count: number, states: Uint8Array): void {
    for (let i = 0; i < count; i++) {
      const meta = first + i
      const state = this.pool.get(meta, W_STATE)
      if (state === 0 && this.pool.get(meta, W_META_CRC) === 0) states[i] = LINE_UNPUBLISHED
      else states[i] = this.lineCrc(meta, state) === this.pool.get(meta, W_META_CRC) ? LINE_VALID : LINE_INVALID
    }
  }

  scanLines(first: number, count: number, { states, digests, hashes, tally }: LineScan): void {
    const { pool } = this
    this.verifyLines(first, count, states.subarray(first))
    for (let meta = first; meta < first + count; meta++) {
      digests[meta * DIGEST_WORDS + DIGEST_LINK] = pool.get(meta, W_NEXT)
      if (states[meta] === LINE_UNPUBLISHED) continue
      tally[TALLY_COMMITTED]!++
      if (this.keyIsInside(meta)) {
        const key = copyKey(pool, meta)
        hashes[meta] = hashKey(key, 0, key.length)
        digests.set(sortableKeyWords([key]), meta * DIGEST_WORDS + DIGEST_KEY)
      }
      if (states[meta] === LINE_VALID && stateKind(pool.get(meta, W_STATE)) === KIND_HEAD) {
        const newest = (tally[TALLY_VERSION_HIGH]! >>> 0) * 2 ** 32 + (tally[TALLY_VERSION_LOW]! >>> 0)
        if (versionNumber(pool, meta) > newest) {
          tally[TALLY_VERSION_LOW] = pool.get(meta, W_VERSION_LOW)
          tally[TALLY_VERSION_HIGH] = pool.get(meta, W_VERSION_HIGH)
        }
        if (this.isWhole(meta)) states[meta] = LINE_WHOLE
      }
      if (states[meta] !== LINE_WHOLE) tally[TALLY_OTHERS]!++
    }
  }

  private keyIsInside(meta: number): boolean {
    const { pool } = this
    return pool.isBuffer(pool.buffer(meta)) && keyOffset(pool, meta) + keyLength(pool, meta) <= BUFFER_BYTES
  }

  private isWhole(meta: number): boolean {
    const { pool } = this
    const isAlone = pool.next(meta) === NO_META && (stateFlags(pool.get(meta, W_STATE)) & FLAG_MEMBER) === 0
    const length = pool.dataLength(meta)
    const isInside = pool.isBuffer(pool.buffer(meta)) && pool.dataOffset(meta) + length <= BUFFER_BYTES
    return isAlone && isInside && valueLength(pool, meta) === length
  }

  sumView(buffer: number, offset: number, length: number): number {
    return sumBytes(this.pool.bufferView(buffer), this.pool.bufferStart(buffer) + offset, length)
  }

  crcView(buffer: number, offset: number, length: number): number {
    return crc32cTable(this.pool.bufferBytes(buffer), this.pool.bufferStart(buffer) + offset, length) | 0
  }

  reserveVersions(floor: number): number {
    if (this.failure !== 0) return this.failure
    this.versionFloor = floor
    return 0
  }

  /** Cache line, counted over all extents, of a metadata line. */
  lineOfMeta(meta: number): number {
    return this.firstLines[meta >>> this.pool.lineShift]! + (meta & this.pool.lineMask)
  }

  private load(image: Uint8Array): void {
    for (const [extent, memory] of this.memory.entries()) {
      const start = this.firstLines[extent]! * LINE_BYTES
      memory.set(image.subarray(start, start + memory.length)) // a shorter image: free lines
    }
  }

  private step({ op, a, b, c, flushes }: Step): void {
    if (op === OP_FLUSH_VIEW) this.flushView(a, b, c)
    else if (op === OP_FLUSH_LINE) this.flush(this.lineOfMeta(a))
    else if (op === OP_FENCE) this.fence()
    else if (op === OP_SEAL_LINE) this.sealNow(a, b)
    else if (op === OP_CLEAR_LINE) this.clearNow(a)
    else if (op === OP_CRC_VIEW) this.crcLine(a)
    else throw new Error(`no such operation: ${op}`)
    if (op === OP_SEAL_LINE || op === OP_CLEAR_LINE || op === OP_CRC_VIEW) this.observeLine(this.lineOfMeta(a), true)
    if (flushes && (op === OP_SEAL_LINE || op === OP_CLEAR_LINE)) this.flush(this.lineOfMeta(a))
  }

  /* --- flushes and fences --- */

  private flushView(buffer: number, offset: number, length: number): void {
    if (length === 0) return
    const extent = this.pool.bufferExtent(buffer)
    const start = this.pool.bufferStart(buffer) + offset
    const first = this.firstLines[extent]!
    const end = Math.floor((start + length - 1) / LINE_BYTES)
    for (let line = Math.floor(start / LINE_BYTES); line <= end; line++) this.flush(first + line)
  }

  private flush(line: number): void {
    this.counters.flushedLines++
    const states = this.histories.get(line)?.states.length ?? 0
    if (this.flushedStates.get(line) === states) this.counters.repeatedFlushes++
    this.flushedStates.set(line, states)
    if (this.medium === 'pages') {
      this.hullLow = Math.min(this.hullLow, line)
      this.hullHigh = Math.max(this.hullHigh, line)
      return
    }
    const history = this.histories.get(line)
    if (history !== undefined) history.flushed = history.states.length
  }

  private fence(): void {
    this.onFence()
    this.counters.fences++
    this.flushedStates.clear()
    if (this.medium === 'pages') this.syncHull()
    else for (const [line, history] of this.histories) this.settleLine(line, history)
  }

  private settleLine(line: number, history: LineHistory): void {
    if (history.flushed === 0) return
    this.durable.set(history.states[history.flushed - 1]!.content, line * LINE_BYTES)
    history.states = history.states.slice(history.flushed)
    history.flushed = 0
    if (history.states.length === 0) this.histories.delete(line)
  }

  private syncHull(): void {
    if (this.hullHigh < 0) return
    this.observe()
    const low = this.hullLow - (this.hullLow % PAGE_LINES)
    const high = this.hullHigh - (this.hullHigh % PAGE_LINES) + PAGE_LINES
    for (const [line, history] of this.histories) {
      if (line < low || line >= high) continue
      history.flushed = history.states.length
      this.settleLine(line, history)
    }
    this.hullLow = Number.POSITIVE_INFINITY
    this.hullHigh = -1
  }

  /* --- observing stores --- */

  /** Finds what changed since the last observation. */
  private observe(): void {
    this.time++
    for (const [extent, memory] of this.memory.entries()) {
      const start = this.firstLines[extent]! * LINE_BYTES
      for (let at = 0; at < memory.length; at += PAGE_BYTES) {
        const end = Math.min(at + PAGE_BYTES, memory.length)
        if (this.isObserved(memory, at, end, start + at)) continue
        for (let line = at; line < end; line += LINE_BYTES)
          if (!this.isObserved(memory, line, line + LINE_BYTES, start + line))
            this.observeLine((start + line) / LINE_BYTES, false)
      }
    }
  }

  private isObserved(memory: Uint8Array, from: number, to: number, known: number): boolean {
    return Buffer.compare(memory.subarray(from, to), this.observed.subarray(known, known + to - from)) === 0
  }

  private observeLine(line: number, atomic: boolean): void {
    if (atomic) this.time++
    const content = this.lineBytes(line).slice()
    this.observed.set(content, line * LINE_BYTES)
    const history = this.histories.get(line)
    if (history === undefined) {
      if (Buffer.compare(content, this.durableLine(line)) !== 0)
        this.histories.set(line, { states: [{ content, atomic, time: this.time }], flushed: 0 })
    } else if (Buffer.compare(content, history.states.at(-1)!.content) !== 0) {
      history.states.push({ content, atomic, time: this.time })
    }
  }

  private lineBytes(line: number): Uint8Array {
    let extent = this.memory.length - 1
    while (this.firstLines[extent]! > line) extent--
    const start = (line - this.firstLines[extent]!) * LINE_BYTES
    return this.memory[extent]!.subarray(start, start + LINE_BYTES)
  }

  /** The states that a sector had, at each moment at which one of its lines changed. */
  private sectorCandidate(lines: readonly number[]): Candidate {
    const histories = lines.map((line) => this.histories.get(line)!)
    const times = new Set(histories.flatMap(({ states }) => states.map(({ time }) => time)))
    const ordered = [...times].sort((a, b) => a - b)
    const states = ordered.map((moment) =>
      histories.map(
        (history, i) =>
          history.states.findLast(({ time }) => time <= moment)?.content ?? this.durableLine(lines[i]!).slice(),
      ),
    )
    return { lines, states, torn: states.map(() => false) }
  }

  /* --- stores of programs --- */

  private sealNow(meta: number, state: number): void {
    this.pool.set(meta, W_META_CRC, this.lineCrc(meta, state))
    this.pool.set(meta, W_STATE, state)
  }

  private clearNow(meta: number): void {
    this.pool.set(meta, W_META_CRC, 0)
    this.pool.set(meta, W_STATE, 0)
  }

  private crcLine(meta: number): void {
    const view = this.pool.get(meta, W_DATA)
    const crc = this.crcView(this.pool.get(meta, W_BUFFER), viewOffset(view), viewLength(view))
    this.pool.set(meta, W_PAYLOAD_CRC, crc)
    this.pool.set(meta, W_PAYLOAD_CRC_COMPLEMENT, ~crc)
  }

  private lineCrc(meta: number, state: number): number {
    CRC_WORDS[0] = meta
    CRC_WORDS[1] = state
    for (let word = 2; word < CRC_END_WORD; word++) CRC_WORDS[word] = this.pool.get(meta, word)
    let crc = crc32cTable(CRC_BYTES, 0, CRC_BYTES.length)
    if (stateKind(state) === KIND_HEAD) {
      const key = this.pool.get(meta, W_KEY)
      const buffer = this.pool.get(meta, W_BUFFER)
      if (!this.pool.isBuffer(buffer) || viewOffset(key) + viewLength(key) > BUFFER_BYTES)
        return ~this.pool.get(meta, W_META_CRC)
      const start = this.pool.bufferStart(buffer) + viewOffset(key)
      crc = crc32cTable(this.pool.bufferBytes(buffer), start, viewLength(key), crc)
    }
    return crc | 0
  }
}
