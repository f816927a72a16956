/**
 * `packrat import FILE --from X.pcapng|X.ndjson`: records from a capture of `packrat export`, or from lines of JSON, into
 * a region that no daemon is serving. docs/export.md.
 */
import { extname } from 'node:path'
import { SeededRandom } from '../../stack/random.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { EXIT_OK, runCommand, text, toggle, UsageError } from '../arguments.ts'
import { CaptureImport } from './capture.ts'
import { LinesImport } from './lines.ts'
import { Progress } from './progress.ts'

/** The shape of the index only: any seed will do. */
const SEED = 1

const command = {
  name: 'packrat import',
  summary: 'records from a capture of packrat export, or from lines of JSON',
  operands: [{ name: 'FILE', help: 'the region; no daemon may be serving it' }],
  flags: {
    from: text('X.pcapng|X.ndjson', 'what to import; needed'),
    json: toggle('print one JSON document'),
  },
}

interface Source {
  readonly clock?: () => bigint
  write(store: Store, region: Region, progress: Progress): Promise<void>
  close(): void
}

/** Opens and checks what is to be imported, whole: the region is not touched before. */
async function openSource(from: string): Promise<Source> {
  const extension = extname(from)
  if (extension === '.pcapng') return new CaptureImport(from)
  if (extension !== '.ndjson' && extension !== '.jsonl') {
    throw new UsageError(`--from '${from}' is neither .pcapng nor .ndjson; name it by what it is`)
  }
  const lines = new LinesImport(from)
  await lines.check()
  return { clock: lines.clock, write: (store, _region, progress) => lines.write(store, progress), close: () => {} }
}

async function importInto(file: string, source: Source): Promise<{ imported: number; records: number }> {
  const region = new Region(file)
  let cleanVersion: number | undefined
  try {
    const random = new SeededRandom(SEED)
    const { clock } = source
    const store = new Store(region, { random: () => random.next(), ...(clock !== undefined && { clock }) })
    region.markOpen()
    const progress = new Progress(store)
    try {
      await source.write(store, region, progress)
    } finally {
      if (store.poisoned === 0) {
        await store.drain()
        cleanVersion = store.nextVersion
      }
    }
    return { imported: progress.records, records: store.records }
  } finally {
    region.close(cleanVersion)
  }
}

export const importRecords = (argv: string[]): number | Promise<number> =>
  runCommand(command, argv, async (flags, [file]) => {
    if (flags.from === undefined) throw new UsageError('--from is missing; write --from X.pcapng or --from X.ndjson')
    const source = await openSource(flags.from)
    try {
      const result = await importInto(file!, source)
      if (flags.json) console.log(JSON.stringify(result))
      else console.log(`${result.imported} records imported from ${flags.from}; ${file} has ${result.records} now`)
      return EXIT_OK
    } finally {
      source.close()
    }
  })
