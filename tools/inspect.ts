/** `packrat inspect FILE`: header, durability, buffers, lines and entries of a region. */
import { accountSpace, type SpaceAccount } from '../storage/accounting.ts'
import { isHardwareTime } from '../storage/entry.ts'
import { FORMAT_VERSION, NO_META } from '../storage/layout.ts'
import type { Store } from '../storage/store.ts'
import { EXIT_OK, EXIT_PROBLEM, runCommand, toggle } from './arguments.ts'
import { keyForJson } from './kv/key-codec.ts'
import { type OpenedStore, openForReading } from './open-store.ts'
import { formatSize } from './size.ts'

const command = {
  name: 'packrat inspect',
  summary: 'what is in a region: header, durability, buffers, lines, entries',
  operands: [{ name: 'FILE', help: 'the region' }],
  flags: { json: toggle('print one JSON document') },
}

function describe({ region, store }: OpenedStore) {
  const { header } = region
  const { pool, report } = store
  const space = accountSpace(store, region.header.regionBytes)
  return {
    file: region.path,
    formatVersion: FORMAT_VERSION,
    uuid: Buffer.from(header.uuid).toString('hex'),
    created: new Date(Number(header.createdNs / 1_000_000n)).toISOString(),
    cleanShutdown: header.cleanShutdown,
    bytes: header.regionBytes,
    growingTo: header.growingTo,
    unusedBytes: space.unusedBytes,
    extents: header.extents,
    linesPerBuffer: header.linesPerBuffer,
    durability: { class: region.durability.class, evidence: region.durability.evidence },
    buffers: {
      total: pool.totalBuffers,
      free: pool.freeBuffers,
      stored: pool.storedBuffers,
      held: pool.totalBuffers - pool.freeBuffers - pool.storedBuffers,
    },
    metas: { total: pool.totalMetas, free: pool.freeMetas, committed: report.committedLines },
    records: store.records,
    hardwareTimes: countHardwareTimes(store),
    valueBytes: space.buffers.values,
    space,
    recovery: {
      inserted: report.inserted,
      superseded: report.superseded,
      orphans: report.orphans,
      relinked: report.relinked,
      batchChangesCompleted: report.completed,
      batchChangesUndone: report.undone,
    },
    corrupt: report.corrupt.map(({ key, meta, buffer, reason }) => ({
      ...(key === undefined ? {} : (JSON.parse(`{${keyForJson(key)}}`) as object)),
      meta,
      buffer,
      reason,
    })),
  }
}

/** Records whose arrival the network interface stamped. */
function countHardwareTimes({ list, pool }: Store): number {
  let count = 0
  for (let head = list.first(); head !== NO_META; head = list.next(head)) if (isHardwareTime(pool, head)) count++
  return count
}

/** Every byte of the file, as a sum. */
function spaceRows({ regionBytes, headerBytes, unusedBytes, lines, buffers }: SpaceAccount): [string, string][] {
  const parts = (named: Readonly<Record<string, number>>): string =>
    Object.entries(named)
      .map(([name, bytes]) => `${name} ${bytes}`)
      .join(' + ')
  return [
    ['bytes', `${regionBytes} = header ${headerBytes} + lines + buffers + unused ${unusedBytes}`],
    ['  lines', parts(lines)],
    ['  buffers', parts(buffers)],
  ]
}

function print(found: ReturnType<typeof describe>): void {
  const rows: [string, string][] = [
    ['region', `${found.file}, ${formatSize(found.bytes)}, format version ${found.formatVersion}, UUID ${found.uuid}`],
    ['created', `${found.created}; last shutdown ${found.cleanShutdown ? 'in order' : 'NOT in order'}`],
    ['durability', `${found.durability.class} (${found.durability.evidence.join('; ')})`],
    ['extents', found.extents.map(({ offset, buffers }) => `${buffers} buffers at ${offset}`).join(', ')],
    [
      'buffers',
      `${found.buffers.total} total, ${found.buffers.free} free, ${found.buffers.stored} stored, ${found.buffers.held} held`,
    ],
    ['lines', `${found.metas.total} total, ${found.metas.free} free, ${found.metas.committed} committed`],
    [
      'records',
      `${found.records}, ${found.valueBytes} bytes of values, ${found.hardwareTimes} with a hardware arrival time`,
    ],
  ]
  for (const [name, text] of spaceRows(found.space)) rows.push([name, text])
  if (found.growingTo !== 0) {
    const size = formatSize(found.growingTo)
    rows.push([
      'growing',
      `to ${size}, and did not finish: packrat grow ${found.file} ${size} does; it may be left so, too`,
    ])
  }
  for (const [name, text] of rows) console.log(`${name.padEnd(11)} ${text}`)
  for (const fault of found.corrupt) console.log(`CORRUPT     ${JSON.stringify(fault)}`)
}

export const inspect = (argv: string[]): number | Promise<number> =>
  runCommand(command, argv, (flags, [file]) => {
    const opened = openForReading(file!)
    try {
      const found = describe(opened)
      if (flags.json) console.log(JSON.stringify(found))
      else print(found)
      return found.corrupt.length > 0 ? EXIT_PROBLEM : EXIT_OK
    } finally {
      opened.region.close()
    }
  })
