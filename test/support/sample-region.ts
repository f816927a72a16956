/**
 * A small region as a file's bytes, for tests that damage it: every kind of line in it, written by the reference
 * interpreter of persist programs (tracing-region.ts), to be opened by the real one.
 *
 *   0        header A | header B
 *   8 KiB    128 lines
 *   16 KiB   64 buffers
 */
import { Buffer } from 'node:buffer'
import type { IntegrityMode } from '../../storage/commit.ts'
import { encodeHeader, extentBytes, type Header, planExtents } from '../../storage/header.ts'
import {
  BUFFER_BYTES,
  CRC_END_WORD,
  CRC_FIRST_WORD,
  EXTENTS_START,
  HEADER_BYTES,
  KIND_HEAD,
  LINE_BYTES,
  stateKind,
  viewLength,
  viewOffset,
  W_BUFFER,
  W_KEY,
  W_META_CRC,
  W_STATE,
} from '../../storage/layout.ts'
import { crc32c } from '../../storage/pmem.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from './random.ts'
import { TracingRegion } from './tracing-region.ts'

const BUFFERS = 64
const LINES_PER_BUFFER = 2
export const SAMPLE_LINES = BUFFERS * LINES_PER_BUFFER
export const SAMPLE_BUFFERS_START = EXTENTS_START + SAMPLE_LINES * LINE_BYTES
export const SAMPLE_BYTES = EXTENTS_START + extentBytes(BUFFERS, LINES_PER_BUFFER)

/** Keys that are prefixes of each other, an empty value, values of several lines. */
const ENTRIES: readonly (readonly [string, number])[] = [
  ['a', 0],
  ['apple', 1],
  ['apples', 300],
  ['b', 700],
  ['long key with many letters', 2600],
  ['long key with more letters', 9000],
]

export interface SampleRegion {
  /** The file, header and all. */
  readonly bytes: Buffer
  readonly values: ReadonlyMap<string, Buffer>
  /** What a key that the last batch changed had before: a deleted one, and an overwritten one. */
  readonly older: ReadonlyMap<string, Buffer>
  /** Places of stored bytes, as ranges [start, end) of the file: each view of each value. */
  readonly views: readonly (readonly [number, number])[]
}

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

/** A region that was stopped right behind an atomic batch: its group, members and tombstone are still there, and what they replace. */
export async function sampleRegion(integrity: IntegrityMode, seed: number): Promise<SampleRegion> {
  const random = seededRandom(seed)
  const region = new TracingRegion({ regionBytes: SAMPLE_BYTES, linesPerBuffer: LINES_PER_BUFFER })
  const store = new Store(region, { random, integrity, clock: () => 1_700_000_000_000_000_000n })
  const values = new Map<string, Buffer>()
  const draw = (size: number): Buffer => Buffer.from(Uint8Array.from({ length: size }, () => random()))
  await store.put(bytesOf('gone'), draw(100))
  const older = new Map([
    ['removed', draw(20)],
    ['replaced', draw(1000)],
  ])
  for (const [key, size] of ENTRIES) values.set(key, draw(size))
  for (const [key, value] of [...values, ...older]) await store.put(bytesOf(key), value)
  await store.delete(bytesOf('gone'))
  await store.drain()
  values.set('added', draw(40))
  values.set('replaced', draw(3000))
  await store.batch([
    ...['added', 'replaced'].map((key) => ({ op: 'put' as const, key: bytesOf(key), value: values.get(key)! })),
    { op: 'delete', key: bytesOf('removed') },
  ])
  const header: Header = {
    generation: 1,
    uuid: new Uint8Array(16).fill(7),
    regionBytes: SAMPLE_BYTES,
    linesPerBuffer: LINES_PER_BUFFER,
    cleanShutdown: false,
    createdNs: 1n,
    versionFloor: 1,
    growingTo: 0,
    extents: planExtents(SAMPLE_BYTES, LINES_PER_BUFFER),
  }
  const copies = [1, 2].map((generation) => encodeHeader({ ...header, generation }, crc32c))
  const views: [number, number][] = []
  for (const { meta: head } of store.entries()) {
    for (let meta = head; meta !== 0; meta = store.pool.next(meta)) {
      const start = EXTENTS_START + store.pool.dataStartOf(meta)
      views.push([start, start + store.pool.dataLength(meta)])
    }
  }
  // The newer copy is A, as if B had been written before it.
  return { bytes: Buffer.concat([copies[1]!, copies[0]!, region.durableImage()]), values, older, views }
}

/** Gives a damaged line the CRC that makes it look sound. */
export function sealDamagedLine(file: Buffer, meta: number): void {
  const at = EXTENTS_START + meta * LINE_BYTES
  const word = (index: number): number => file.readUInt32LE(at + index * 4)
  const index = Buffer.alloc(4)
  index.writeUInt32LE(meta)
  const fields = file.subarray(at + CRC_FIRST_WORD * 4, at + CRC_END_WORD * 4)
  const parts = [index, fields]
  if (stateKind(word(W_STATE)) === KIND_HEAD) {
    const start = SAMPLE_BUFFERS_START + word(W_BUFFER) * BUFFER_BYTES + viewOffset(word(W_KEY))
    parts.push(file.subarray(start, start + viewLength(word(W_KEY))))
  }
  const covered = new Uint8Array(Buffer.concat(parts))
  file.writeUInt32LE(crc32c(covered, 0, covered.length, 0) >>> 0, at + W_META_CRC * 4)
}

/** Gives a damaged header copy the CRC that makes it look sound. */
export function sealDamagedHeader(file: Buffer, copy: number): void {
  const bytes = new Uint8Array(file.subarray(copy * HEADER_BYTES, (copy + 1) * HEADER_BYTES))
  bytes.fill(0, 12, 16)
  file.writeUInt32LE(crc32c(bytes, 0, HEADER_BYTES, 0) >>> 0, copy * HEADER_BYTES + 12)
}

/** Of each line whether its commit word is set. */
export function committedLines(file: Buffer): number[] {
  const lines: number[] = []
  for (let meta = 0; meta < SAMPLE_LINES; meta++) {
    const at = EXTENTS_START + meta * LINE_BYTES
    if (file.readBigUInt64LE(at) !== 0n) lines.push(meta)
  }
  return lines
}
