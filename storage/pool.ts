/**
 * Buffers and metadata lines of a region: who holds what, and how to reach their bytes.
 *
 * The free lists and reference counts live in DRAM: recovery rebuilds them. A buffer has one reference for each
 * line (or device descriptor) that names it: a *clone* is a second line on the same buffer, as in sk_buff.
 *
 *   buffer index   [extent : high bits][local : 18 bits]
 *   line index     [extent : high bits][local : 18 + log2(lines per buffer) bits]
 *
 * Invariants:
 *  1. A line or buffer on a free list is durably free: its commit word is 0 in persistent memory. Whoever
 *     releases a line that was sealed has cleared, flushed and fenced it before (see commit.ts).
 *  2. Buffers: free + referenced = total. Lines: free + handed out (or held back by recovery, if damaged) = total.
 *  3. Nothing here allocates after construction.
 */
import {
  BUFFER_BYTES,
  BUFFER_SHIFT,
  EXTENT_BUFFERS_MAX,
  EXTENT_BUFFERS_SHIFT,
  LINE_BYTES,
  LINE_WORDS_SHIFT,
  NO_BUFFER,
  NO_META,
  packView,
  viewLength,
  viewOffset,
  W_BUFFER,
  W_DATA,
  W_KEY,
  W_NEXT_FRAGMENT,
  W_STATE,
  W_SUM,
} from './layout.ts'

/** Where the parts of one extent lie. */
export interface ExtentGeometry {
  /** The whole extent: lines, then buffers. */
  readonly memory: ArrayBuffer
  readonly buffers: number
}

export class Pool {
  readonly linesPerBuffer: number
  readonly lineShift: number
  readonly lineMask: number
  /** One entry an extent, all over the same memory: bytes, big-endian access, and lines as int32 (stay small integers in V8). */
  readonly bytes: Uint8Array[] = []
  readonly views: DataView[] = []
  readonly lines: Int32Array[] = []
  /** Byte offset of buffer 0 of each extent. */
  readonly dataStart: number[] = []
  /** Buffers of each extent. */
  readonly extentBuffers: number[] = []

  totalBuffers = 0
  totalMetas = 0
  /** One more than the highest buffer and line index: what arrays by index need. */
  readonly bufferIndexEnd: number
  readonly metaIndexEnd: number

  /** References to each buffer, by buffer index (with holes where an extent is short). */
  private readonly references: Int32Array
  /** How many of them come from committed entries. */
  private readonly storedReferences: Uint16Array
  /** Bytes of their keys and values in each buffer. */
  private readonly liveBytes: Uint16Array
  private readonly freeBufferStack: Int32Array
  private freeBufferTop = 0
  private readonly freeMetaStack: Int32Array
  private freeMetaTop = 0
  private storedBufferCount = 0

  constructor(extents: readonly ExtentGeometry[], linesPerBuffer: number) {
    if (![1, 2, 4, 8].includes(linesPerBuffer)) throw new RangeError('lines per buffer must be 1, 2, 4 or 8')
    this.linesPerBuffer = linesPerBuffer
    this.lineShift = EXTENT_BUFFERS_SHIFT + Math.log2(linesPerBuffer)
    this.lineMask = (1 << this.lineShift) - 1
    for (const extent of extents) {
      const lineBytes = extent.buffers * linesPerBuffer * LINE_BYTES
      if (extent.buffers < 1 || extent.buffers > EXTENT_BUFFERS_MAX) throw new RangeError('extent size out of range')
      if (extent.memory.byteLength < lineBytes + (extent.buffers << BUFFER_SHIFT))
        throw new RangeError('extent memory too short')
      this.bytes.push(new Uint8Array(extent.memory))
      this.views.push(new DataView(extent.memory))
      this.lines.push(new Int32Array(extent.memory, 0, lineBytes >> 2))
      this.dataStart.push(lineBytes)
      this.extentBuffers.push(extent.buffers)
      this.totalBuffers += extent.buffers
      this.totalMetas += extent.buffers * linesPerBuffer
    }
    this.totalMetas -= 1 // the anchor
    const last = extents.length - 1
    this.bufferIndexEnd = (last << EXTENT_BUFFERS_SHIFT) + this.extentBuffers[last]!
    this.metaIndexEnd = (last << this.lineShift) + this.extentBuffers[last]! * linesPerBuffer
    this.references = new Int32Array(this.bufferIndexEnd)
    this.storedReferences = new Uint16Array(this.bufferIndexEnd)
    this.liveBytes = new Uint16Array(this.bufferIndexEnd)
    this.freeBufferStack = new Int32Array(this.totalBuffers)
    this.freeMetaStack = new Int32Array(this.totalMetas)
  }

  /* --- occupancy --- */

  get freeBuffers(): number {
    return this.freeBufferTop
  }

  get freeMetas(): number {
    return this.freeMetaTop
  }

  /** Buffers that at least one committed entry names. */
  get storedBuffers(): number {
    return this.storedBufferCount
  }

  /**
   * Fills the free lists with everything that has no reference, lowest index on top. Called once, after recovery
   * has retained what the store holds.
   * @param states by line index: 0 for the lines that are free; without it all are
   */
  buildFreeLists(states?: Uint8Array): void {
    this.freeBufferTop = 0
    this.freeMetaTop = 0
    for (let extent = this.bytes.length - 1; extent >= 0; extent--) {
      const buffers = this.extentBuffers[extent]!
      for (let local = buffers - 1; local >= 0; local--) {
        const buffer = (extent << EXTENT_BUFFERS_SHIFT) | local
        if (this.references[buffer] === 0) this.freeBufferStack[this.freeBufferTop++] = buffer
      }
      for (let local = buffers * this.linesPerBuffer - 1; local >= 0; local--) {
        const meta = (extent << this.lineShift) | local
        if (meta !== NO_META && (states === undefined || states[meta] === 0))
          this.freeMetaStack[this.freeMetaTop++] = meta
      }
    }
  }

  /* --- buffers --- */

  /** A free buffer with one reference, or NO_BUFFER. */
  allocateBuffer(): number {
    if (this.freeBufferTop === 0) return NO_BUFFER
    const buffer = this.freeBufferStack[--this.freeBufferTop]!
    this.references[buffer] = 1
    return buffer
  }

  retainBuffer(buffer: number): void {
    this.references[buffer]!++
  }

  /** Gives back one reference; the last one frees the buffer. */
  releaseBuffer(buffer: number): void {
    const left = --this.references[buffer]!
    if (left === 0) this.freeBufferStack[this.freeBufferTop++] = buffer
    else if (left < 0) throw new Error(`buffer ${buffer} released twice`)
  }

  bufferReferences(buffer: number): number {
    return this.references[buffer]!
  }

  /** A line is part of a committed entry now (accounting only; the reference to its buffer is the line's). */
  markStored(meta: number): void {
    const buffer = this.buffer(meta)
    this.liveBytes[buffer]! += this.liveBytesOf(meta)
    if (this.storedReferences[buffer]!++ === 0) this.storedBufferCount++
  }

  unmarkStored(meta: number): void {
    const buffer = this.buffer(meta)
    this.liveBytes[buffer]! -= this.liveBytesOf(meta)
    if (--this.storedReferences[buffer]! === 0) this.storedBufferCount--
  }

  /** Bytes of keys and values of committed entries in a buffer. */
  bufferLiveBytes(buffer: number): number {
    return this.liveBytes[buffer]!
  }

  /** The same of all buffers together; looks at each one. What damaged lines say counts for no more than their buffer. */
  countLiveBytes(): number {
    let sum = 0
    for (let buffer = 0; buffer < this.liveBytes.length; buffer++)
      sum += Math.min(this.liveBytes[buffer]!, BUFFER_BYTES)
    return sum
  }

  /** A line's share: its data view, and its key view if it is a head (a fragment's is empty). */
  private liveBytesOf(meta: number): number {
    return viewLength(this.get(meta, W_DATA)) + viewLength(this.get(meta, W_KEY))
  }

  /** Extent that holds the buffer: index into `bytes`, `views`. */
  bufferExtent(buffer: number): number {
    return buffer >>> EXTENT_BUFFERS_SHIFT
  }

  /** Byte offset of the buffer inside its extent. */
  bufferStart(buffer: number): number {
    return this.dataStart[buffer >>> EXTENT_BUFFERS_SHIFT]! + ((buffer & (EXTENT_BUFFERS_MAX - 1)) << BUFFER_SHIFT)
  }

  bufferView(buffer: number): DataView {
    return this.views[buffer >>> EXTENT_BUFFERS_SHIFT]!
  }

  bufferBytes(buffer: number): Uint8Array {
    return this.bytes[buffer >>> EXTENT_BUFFERS_SHIFT]!
  }

  /** Whether the index names a buffer of this region (for numbers read from persistent memory). */
  isBuffer(buffer: number): boolean {
    const extent = buffer >>> EXTENT_BUFFERS_SHIFT
    return extent < this.extentBuffers.length && (buffer & (EXTENT_BUFFERS_MAX - 1)) < this.extentBuffers[extent]!
  }

  /* --- metadata lines --- */

  /** A free line (commit word 0, other words undefined), or NO_META. */
  allocateMeta(): number {
    if (this.freeMetaTop === 0) return NO_META
    return this.freeMetaStack[--this.freeMetaTop]!
  }

  /** Returns a line to the free list without touching its buffer. Its commit word must be durably 0. */
  freeMeta(meta: number): void {
    if (this.get(meta, W_STATE) !== 0) throw new Error(`line ${meta} freed while committed`)
    this.freeMetaStack[this.freeMetaTop++] = meta
  }

  /** Whether the index names a line of this region (for numbers read from persistent memory). */
  isMeta(meta: number): boolean {
    const extent = meta >>> this.lineShift
    return (
      extent < this.extentBuffers.length && (meta & this.lineMask) < this.extentBuffers[extent]! * this.linesPerBuffer
    )
  }

  get(meta: number, word: number): number {
    return this.lines[meta >>> this.lineShift]![((meta & this.lineMask) << LINE_WORDS_SHIFT) + word]!
  }

  set(meta: number, word: number, value: number): void {
    this.lines[meta >>> this.lineShift]![((meta & this.lineMask) << LINE_WORDS_SHIFT) + word] = value
  }

  /* --- views and chains: a line that is in transit, in a socket queue or in a value being received --- */

  /** A line for a view; takes over the caller's reference to the buffer. NO_META if no line is free (the reference stays with the caller). */
  createView(buffer: number, offset: number, length: number, sum: number): number {
    const meta = this.allocateMeta()
    if (meta === NO_META) return NO_META
    const words = this.lines[meta >>> this.lineShift]!
    const at = (meta & this.lineMask) << LINE_WORDS_SHIFT
    words[at + W_BUFFER] = buffer
    words[at + W_DATA] = packView(offset, length)
    words[at + W_NEXT_FRAGMENT] = NO_META
    words[at + W_SUM] = sum
    return meta
  }

  /** A second line on the same buffer: the same view, its own chain link. Copies arrival time and sum. NO_META if no line is free. */
  clone(meta: number): number {
    const copy = this.allocateMeta()
    if (copy === NO_META) return NO_META
    const from = this.lines[meta >>> this.lineShift]!
    const to = this.lines[copy >>> this.lineShift]!
    const source = (meta & this.lineMask) << LINE_WORDS_SHIFT
    const target = (copy & this.lineMask) << LINE_WORDS_SHIFT
    // Everything behind the commit word up to the sum; the clone starts a chain of its own.
    for (let word = W_STATE + 1; word <= W_SUM; word++) to[target + word] = from[source + word]!
    to[target + W_NEXT_FRAGMENT] = NO_META
    this.references[from[source + W_BUFFER]!]!++
    return copy
  }

  /** Frees a line that is not committed (any more), and its reference to the buffer. Returns the next line of its chain. */
  release(meta: number): number {
    const next = this.get(meta, W_NEXT_FRAGMENT)
    this.releaseBuffer(this.get(meta, W_BUFFER))
    this.freeMeta(meta)
    return next
  }

  /** Frees a whole chain in transit. */
  releaseChain(meta: number): void {
    while (meta !== NO_META) meta = this.release(meta)
  }

  next(meta: number): number {
    return this.get(meta, W_NEXT_FRAGMENT)
  }

  setNext(meta: number, next: number): void {
    this.set(meta, W_NEXT_FRAGMENT, next)
  }

  buffer(meta: number): number {
    return this.get(meta, W_BUFFER)
  }

  dataOffset(meta: number): number {
    return viewOffset(this.get(meta, W_DATA))
  }

  dataLength(meta: number): number {
    return viewLength(this.get(meta, W_DATA))
  }

  setData(meta: number, offset: number, length: number): void {
    this.set(meta, W_DATA, packView(offset, length))
  }

  /** Internet sum of the data view. */
  sum(meta: number): number {
    return this.get(meta, W_SUM) & 0xffff
  }

  /** Replaces the sum of the data view, keeping the frame offset. */
  setSum(meta: number, sum: number): void {
    this.set(meta, W_SUM, (this.get(meta, W_SUM) & ~0xffff) | sum)
  }

  /** DataView of the extent that holds the view's bytes; use with `dataStartOf`. */
  dataView(meta: number): DataView {
    return this.views[this.buffer(meta) >>> EXTENT_BUFFERS_SHIFT]!
  }

  dataBytes(meta: number): Uint8Array {
    return this.bytes[this.buffer(meta) >>> EXTENT_BUFFERS_SHIFT]!
  }

  /** Byte offset of the view's first byte inside its extent. */
  dataStartOf(meta: number): number {
    return this.bufferStart(this.buffer(meta)) + this.dataOffset(meta)
  }
}
