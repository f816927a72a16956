/**
 * Measures the store without the network: what a write of a new key, an overwrite and a read cost as the store grows,
 * and how long opening it takes then.
 *
 *   npm run bench:store -- --records 1000000 [--file F] [--json]
 *
 * Small pipelined PUTs share a buffer through clones of its line; so do the entries here, eight a buffer, and ten million
 * fit into 4 GB. Every measurement is a window of operations on random keys, committed in batches; the store is opened
 * again by a process of its own, whose memory is that of recovery alone.
 *
 *   records   1/1000 … all      window   new keys | overwritten | read      µs of processor time each
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { SeededRandom } from '../../stack/random.ts'
import { PackratError } from '../../storage/errors.ts'
import { BUFFER_BYTES, LINE_BYTES, NO_META } from '../../storage/layout.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { count, EXIT_CANNOT, EXIT_OK, type FlagValues, runCommand, text, toggle } from '../arguments.ts'
import { ENTRIES_PER_BUFFER, EntryMaker } from './entries.ts'
import { describeEnvironment, type Environment } from './environment.ts'

const command = {
  name: 'bench:store',
  summary: 'what writing, reading and opening cost as the store grows',
  operands: [],
  flags: {
    records: count('N', 'entries in the end', { default: 1_000_000 }),
    file: text('FILE', 'region to create, measure and remove', { default: '/dev/shm/packrat-bench.pm' }),
    batch: count('N', 'changes a commit', { default: 64 }),
    sequential: toggle('write the keys in ascending order'),
    seed: count('N', 'seed of the keys read and of the shape of the index', { default: 1 }),
    reopen: toggle('only open FILE, once more, and leave it'),
    json: toggle('one JSON document'),
  },
}

/** Environment variable: this process measures, and another one waits for it. */
const INSIDE = 'PACKRAT_BENCH_STORE_INSIDE'

const KEY_BYTES = 16
const VALUE_BYTES = 64
const KEY_DIGITS = 12
const KEY_PREFIX = Buffer.from('key:')
const RECORDS_MAX = 50_000_000
/** Operations of one window. */
const WINDOW = 50_000
/** Records of a store of its own that is filled, overwritten and read first, so that the compiler is done before anything is measured. */
const WARM_UP_RECORDS = 200_000
/** A prime above every number of records: multiplying by another number permutes the keys, and stays below 2^53. */
const KEY_SPACE = 67_108_859
const KEY_STEP = 66_889_133

/** Microseconds of this process' processor time: what other processes do to the clock does not count. */
function cpuUs(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

interface Window {
  records: number
  newStageUs: number
  newCommitUs: number
  overwriteUs: number
  readUs: number
}

interface Reopened {
  records: number
  seconds: number
  cpuSeconds: number
  /** Memory of the process beside the region, and its growth while the store was opened. */
  rssBytes: number
  grownBytes: number
}

/** Resident memory of this process that is not the region's. */
function privateBytes(): number {
  const kilobytes = /RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))
  return Number(kilobytes?.[1] ?? 0) * 1024
}

class Workload {
  readonly store: Store
  /** A buffer for the key of a read. */
  private readonly sought = new Uint8Array(KEY_BYTES)
  private readonly batch: number
  private readonly sequential: boolean
  private readonly region: Region
  private readonly entries: EntryMaker
  private written = 0

  constructor(region: Region, batch: number, sequential: boolean, seed: number) {
    const random = new SeededRandom(seed)
    this.region = region
    this.batch = batch
    this.sequential = sequential
    this.store = new Store(region, { random: () => random.next() })
    this.entries = new EntryMaker({
      pool: this.store.pool,
      sumView: (buffer, offset, length) => region.sumView(buffer, offset, length),
      keyBytes: KEY_BYTES,
      valueBytes: VALUE_BYTES,
    })
  }

  /** Writes new keys until there are so many. Returns microseconds each: staging, committing. */
  fill(records: number): [number, number] {
    const operations = Math.max(1, records - this.written)
    let commitUs = 0
    const start = cpuUs()
    while (this.written < records) {
      for (let i = 0; i < this.batch && this.written < records; i++) this.put(this.written++)
      const before = cpuUs()
      this.store.commit()
      commitUs += cpuUs() - before
    }
    return [(cpuUs() - start - commitUs) / operations, commitUs / operations]
  }

  /** Overwrites random keys. Returns microseconds each. */
  overwrite(operations: number, random: SeededRandom): number {
    const start = cpuUs()
    for (let i = 1; i <= operations; i++) {
      this.put(random.below(this.written))
      if (i % this.batch === 0) this.store.commit()
    }
    this.store.commit()
    return (cpuUs() - start) / operations
  }

  /** Finds random keys and touches their first byte. Returns microseconds each. */
  read(operations: number, random: SeededRandom): number {
    const { store, sought } = this
    let touched = 0
    const start = cpuUs()
    for (let i = 0; i < operations; i++) {
      this.writeKey(sought, 0, random.below(this.written))
      const head = store.find(sought, 0, KEY_BYTES)
      if (head === NO_META || store.verify(head) !== NO_META) throw new Error('a key that was written is missing')
      touched += store.pool.dataBytes(head)[store.pool.dataStartOf(head)]!
    }
    const microseconds = (cpuUs() - start) / operations
    if (touched < 0) throw new Error('bytes are not negative')
    return microseconds
  }

  close(): void {
    const { store } = this
    while (!store.isIdle) store.settle()
    this.region.close(store.nextVersion)
  }

  /** Stages one entry behind the others in the current buffer. */
  private put(number: number): void {
    const { entries, store } = this
    if (entries.needsBuffer && !store.hasRoom(1)) throw new Error('the region is full')
    entries.place()
    this.writeKey(entries.bytes, entries.start, number)
    const head = entries.finish(number & 0xff)
    store.stagePut(head, head)
  }

  /** `key:` and twelve digits. */
  private writeKey(bytes: Uint8Array, start: number, number: number): void {
    let left = this.sequential ? number : ((number + 1) * KEY_STEP) % KEY_SPACE
    bytes.set(KEY_PREFIX, start)
    for (let i = KEY_DIGITS - 1; i >= 0; i--) {
      bytes[start + KEY_PREFIX.length + i] = 48 + (left % 10)
      left = Math.floor(left / 10)
    }
  }
}

/** Room for all records, the windows of overwriting, and the reserve. */
function regionBytes(records: number): number {
  const buffers = Math.ceil(records / ENTRIES_PER_BUFFER) + 2 * Math.ceil(WINDOW / ENTRIES_PER_BUFFER) + 16_384
  return Math.ceil(buffers / 32) * 32 * (BUFFER_BYTES + ENTRIES_PER_BUFFER * LINE_BYTES) + 65_536
}

function measure(workload: Workload, records: number, seed: number): Window {
  const random = new SeededRandom(seed)
  const window = Math.min(WINDOW, Math.ceil(records / 10))
  workload.fill(records - window)
  const [newStageUs, newCommitUs] = workload.fill(records)
  return {
    records,
    newStageUs,
    newCommitUs,
    overwriteUs: workload.overwrite(window, random),
    readUs: workload.read(window, random),
  }
}

function warmUpFile(file: string): string {
  return `${file}.warm-up`
}

function warmUp(file: string, batch: number, seed: number): void {
  Region.create(file, { bytes: regionBytes(WARM_UP_RECORDS), linesPerBuffer: ENTRIES_PER_BUFFER })
  const workload = new Workload(new Region(file, {}), batch, false, seed)
  measure(workload, WARM_UP_RECORDS, seed)
  workload.close()
  rmSync(file)
}

function reopen(file: string): Reopened {
  const region = new Region(file, {})
  const random = new SeededRandom(1)
  const before = privateBytes()
  const start = performance.now()
  const startUs = cpuUs()
  const store = new Store(region, { random: () => random.next() })
  const cpuSeconds = (cpuUs() - startUs) / 1e6
  const seconds = (performance.now() - start) / 1000
  const rssBytes = privateBytes()
  const { records } = store
  region.close(store.nextVersion)
  return { records, seconds, cpuSeconds, rssBytes, grownBytes: rssBytes - before }
}

function run(argv: string[]): number | Promise<number> {
  return runCommand(command, argv, (flags) => {
    if (flags.reopen) {
      console.log(JSON.stringify(reopen(flags.file)))
      return EXIT_OK
    }
    if (process.env[INSIDE] !== undefined) {
      measureAll(flags)
      return EXIT_OK
    }
    if (flags.records > RECORDS_MAX)
      throw new PackratError('BENCH', `${flags.records} records are more than there are keys`)
    const files = [flags.file, warmUpFile(flags.file)]
    for (const file of files)
      if (existsSync(file)) throw new PackratError('BENCH', `${file} exists; remove it or name another one`)
    return runInside(files)
  })
}

/**
 * Runs this command line in a process of its own, which never looks up from its work: this one hears signals meanwhile, and
 * removes what that one made, however it ends. @returns its exit status
 */
async function runInside(made: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '' },
  })
  const stop = (): unknown => child.kill('SIGKILL')
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  const status = await new Promise<number | null>((resolve) => child.once('exit', resolve))
  // A region has another name until it is complete (storage/pmem.ts).
  for (const file of made) for (const name of [file, `${file}.creating`]) rmSync(name, { force: true })
  return status ?? EXIT_CANNOT
}

function measureAll({ file, records, batch, sequential, seed, json }: FlagValues<typeof command.flags>): void {
  warmUp(warmUpFile(file), batch, seed)
  Region.create(file, { bytes: regionBytes(records), linesPerBuffer: ENTRIES_PER_BUFFER })
  const workload = new Workload(new Region(file, {}), batch, sequential, seed)
  const windows: Window[] = []
  for (let share = 1000; share >= 1; share /= 10) {
    const some = Math.floor(records / share)
    if (some > 0) windows.push(measure(workload, some, seed))
  }
  workload.close()
  const child = spawnSync(process.execPath, [process.argv[1]!, '--reopen', '--file', file], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (child.status !== 0) throw new PackratError('BENCH', `${file} cannot be opened again`)
  report(windows, JSON.parse(child.stdout) as Reopened, json)
}

/** The document of --json. */
export interface StoreBench {
  readonly environment: Environment
  readonly windows: readonly Window[]
  readonly reopened: Reopened
}

function report(windows: readonly Window[], reopened: Reopened, json: boolean): void {
  if (json) {
    const environment = describeEnvironment(
      'none',
      'process',
      `npm run bench:store -- ${process.argv.slice(2).join(' ')}`,
    )
    console.log(JSON.stringify({ environment, windows, reopened } satisfies StoreBench, undefined, 2))
    return
  }
  console.log('  records   new: stage   commit   overwrite    read     µs of the processor an operation')
  for (const { records, newStageUs, newCommitUs, overwriteUs, readUs } of windows) {
    const cells = [newStageUs, newCommitUs, overwriteUs, readUs].map((us) => us.toFixed(2).padStart(9))
    console.log(`${String(records).padStart(9)}   ${cells.join(' ')}`)
  }
  const { records, seconds, cpuSeconds, rssBytes, grownBytes } = reopened
  const megabytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`
  const usPerRecord = ((cpuSeconds * 1e6) / records).toFixed(2)
  console.log(
    `opened ${records} records in ${seconds.toFixed(2)} s, processor ${cpuSeconds.toFixed(2)} s, ${usPerRecord} µs each;`,
  )
  console.log(`memory beside the region ${megabytes(rssBytes)}, grown by ${megabytes(grownBytes)}`)
}

try {
  process.exitCode = await run(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof PackratError)) throw error
  console.error(`bench:store: ${error.message}`)
  process.exitCode = EXIT_CANNOT
}
