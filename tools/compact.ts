/**
 * `packrat compact FILE`: packs whatever would fit into fewer buffers, in a region that no daemon is serving. Each step
 * is a commit like a daemon's, so it may be interrupted at any time. The file keeps its length.
 */
import { SeededRandom } from '../stack/random.ts'
import { accountSpace } from '../storage/accounting.ts'
import { BUFFER_BYTES, LINE_BYTES } from '../storage/layout.ts'
import { PACK_BLOCKED, PACK_DONE, Packer } from '../storage/packing.ts'
import type { CorruptEntry } from '../storage/recovery.ts'
import { Region } from '../storage/region.ts'
import { Store } from '../storage/store.ts'
import { EXIT_OK, EXIT_PROBLEM, runCommand, toggle } from './arguments.ts'
import { keyForJson } from './kv/key-codec.ts'
import { formatSize } from './size.ts'

const command = {
  name: 'packrat compact',
  summary: 'packs values into as few buffers as they need; their frames are given up',
  operands: [{ name: 'FILE', help: 'the region; no daemon may be serving it' }],
  flags: { json: toggle('print one JSON document') },
}

/** A buffer that is less than 15/16 full is worth emptying when nobody waits. */
const SPARSE_BYTES = BUFFER_BYTES - BUFFER_BYTES / 16
/** Looked at or copied between two commits. */
const STEP_BYTES = 1 << 20
/** Heights of towers only: any seed will do. */
const SEED = 1

interface Occupancy {
  readonly storedBuffers: number
  readonly usedLines: number
  /** Buffers and lines in use, bytes. */
  readonly bytes: number
}

interface Compaction {
  readonly file: string
  readonly records: number
  /** Bytes of keys and values. */
  readonly liveBytes: number
  readonly before: Occupancy
  readonly after: Occupancy
  readonly entriesMoved: number
  readonly bytesCopied: number
  /** It ended early: too little room to copy into. */
  readonly outOfRoom: boolean
  readonly corrupt: readonly object[]
}

function occupancy(store: Store): Occupancy {
  const { pool } = store
  const usedLines = pool.totalMetas - pool.freeMetas
  const bytes = pool.storedBuffers * BUFFER_BYTES + usedLines * LINE_BYTES
  return { storedBuffers: pool.storedBuffers, usedLines, bytes }
}

async function compactStore(file: string, region: Region, store: Store): Promise<Compaction> {
  const corrupt: CorruptEntry[] = [...store.report.corrupt]
  const before = occupancy(store)
  const packer = new Packer(store, region, {
    sparseBytes: SPARSE_BYTES,
    linesMax: store.pool.totalMetas,
    reserve: 0,
    onFinding: (finding) => corrupt.push(finding),
  })
  let blocked = 0
  for (let outcome = PACK_BLOCKED; outcome !== PACK_DONE && blocked < 2; ) {
    outcome = packer.step(STEP_BYTES)
    blocked = outcome === PACK_BLOCKED ? blocked + 1 : 0
    await store.drain() // what was moved away from is free now
  }
  packer.close()
  const { values, keys } = accountSpace(store, region.header.regionBytes).buffers
  return {
    file,
    records: store.records,
    liveBytes: values + keys,
    before,
    after: occupancy(store),
    entriesMoved: store.counters.moves,
    bytesCopied: packer.counters.bytesCopied,
    outOfRoom: blocked > 0,
    corrupt: corrupt.map(({ key, meta, buffer, reason }) => ({
      ...(key === undefined ? {} : (JSON.parse(`{${keyForJson(key)}}`) as object)),
      meta,
      buffer,
      reason,
    })),
  }
}

function print({ file, records, liveBytes, before, after, outOfRoom, corrupt, ...found }: Compaction): void {
  const per = (bytes: number): string => (records === 0 ? '' : `, ${Math.round(bytes / records)} bytes a record`)
  const row = ({ storedBuffers, usedLines, bytes }: Occupancy): string =>
    `${storedBuffers} buffers and ${usedLines} lines, ${formatSize(bytes)}${per(bytes)}`
  console.log(`${file}: ${records} records, ${formatSize(liveBytes)} of keys and values`)
  console.log(`before  ${row(before)}`)
  console.log(`after   ${row(after)}; ${found.entriesMoved} entries moved, ${formatSize(found.bytesCopied)} copied`)
  if (outOfRoom)
    console.log('it ended early: there is too little room to copy into; delete something, or grow the region')
  for (const fault of corrupt) console.log(`CORRUPT ${JSON.stringify(fault)}`)
}

export const compact = (argv: string[]): number | Promise<number> =>
  runCommand(command, argv, async (flags, [file]) => {
    const region = new Region(file!)
    let nextVersion: number | undefined
    try {
      const random = new SeededRandom(SEED)
      const store = new Store(region, { random: () => random.next() })
      region.markOpen()
      const found = await compactStore(file!, region, store)
      if (flags.json) console.log(JSON.stringify(found))
      else print(found)
      if (store.poisoned === 0 && store.isIdle) nextVersion = store.nextVersion
      return found.corrupt.length > 0 ? EXIT_PROBLEM : EXIT_OK
    } finally {
      region.close(nextVersion)
    }
  })
