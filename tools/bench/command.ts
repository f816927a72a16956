/**
 * `packrat bench NAME`: measurements that anybody can repeat. docs/bench.md.
 *
 * Called by: packrat.ts. Calls: table1.ts, figure2.ts, sweep.ts, report.ts, the charts.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PackratError } from '../../storage/errors.ts'
import { count, EXIT_CANNOT, EXIT_OK, runCommand, text, toggle, UsageError } from '../arguments.ts'
import { inPrivateNetwork, runInPrivateNetwork } from '../scenario/private-network.ts'
import { CURVES, connectionCounts, planCurve } from './curves.ts'
import { describeEnvironment } from './environment.ts'
import { availableStores, type Figure2, measureFigure2, STORES, tapBenchLacks } from './figure2.ts'
import { drawCurves, drawFigure2, drawTable1 } from './pictures.ts'
import { formatCurves, formatFigure2, formatTable1 } from './report.ts'
import { measureRoundTrips } from './round-trip.ts'
import { type Curve, measureCurve } from './sweep.ts'
import { measureTapConnections } from './sweep-tap.ts'
import { measureTable1 } from './table1.ts'

const CONNECTIONS_MAX = 16_000
const FIGURE2_CONNECTIONS = '1,4,16,64,256'
/** A request fits one segment. */
const VALUE_BYTES_MAX = 1200
/** The client of table1 keeps the request of every key. */
const KEYS_MAX = 3000

const COMMAND = {
  name: 'packrat bench',
  summary: "the paper's measurements, repeated on this machine",
  operands: [
    {
      name: 'NAME',
      help: 'table1: what a write costs, by operation; figure2: load, with and without a store; sweep: what a request costs as one thing varies',
    },
  ],
  flags: {
    json: toggle('print one JSON document'),
    svg: text('DIR', 'write pictures into this directory'),
    rounds: count('N', 'rounds, interleaved; 0: 100 of table1, 5 of figure2, 10 of sweep', {
      default: 0,
      maximum: 100_000,
    }),
    requests: count('N', 'table1: requests of one round and variant', { default: 600, minimum: 1 }),
    tap: toggle('table1: measure round trips over TAP, too; sweep: connections over TAP, too'),
    seconds: count('N', 'figure2, sweep --tap: length of one measurement', { default: 2, minimum: 1, maximum: 3600 }),
    connections: text('LIST', `figure2 (${FIGURE2_CONNECTIONS}), sweep --tap (1 to 10,000): numbers of connections`),
    stores: text('LIST', 'figure2: of discard, copy, conventional, leveldb, packet', { default: STORES.join(',') }),
    curves: text('LIST', `sweep: of ${CURVES.join(', ')}`, { default: CURVES.join(',') }),
    quick: toggle('sweep: fewer places on each curve, at most a million keys'),
    disk: text('DIR', 'sweep: where the class of a disk (or of DAX) is measured', { default: '/var/tmp' }),
    keys: count('N', 'keys that are written round and round', { default: 1000, minimum: 1, maximum: KEYS_MAX }),
    bytes: count('N', 'size of a value', { default: 1024, minimum: 1, maximum: VALUE_BYTES_MAX }),
  },
} as const

type Flags = Parameters<Parameters<typeof runCommand<typeof COMMAND.flags>>[2]>[0]

export const bench = (argv: string[]): number | Promise<number> =>
  runCommand(COMMAND, argv, async (flags, [name]) => {
    const run =
      name === 'table1' ? runTable1 : name === 'figure2' ? runFigure2 : name === 'sweep' ? runSweep : undefined
    if (run === undefined) throw new UsageError(`there is no benchmark '${name}'; one of table1, figure2, sweep`)
    if (flags.svg !== undefined) makeDirectory(flags.svg)
    return run(flags)
  })

async function runTable1(flags: Flags): Promise<number> {
  if (flags.tap) {
    const status = await enterPrivateNetwork('table1 --tap', ['taskset', 'ip'])
    if (status !== undefined) return status
  }
  const environment = describeEnvironment(flags.tap ? 'a link in memory; tap' : 'a link in memory', 'process')
  const { requests, keys, bytes } = flags
  const options = { rounds: flags.rounds || 100, requests, keys, valueBytes: bytes, progress: showProgress }
  const table = await inScratchDirectory((directory) => measureTable1({ ...options, directory }))
  const roundTripsUs = flags.tap
    ? await inScratchDirectory((directory) => measureRoundTrips({ ...options, directory }))
    : undefined
  const result = { environment, valueBytes: bytes, ...table, roundTripsUs }
  writePictures(flags.svg, { 'table1.svg': drawTable1(table) })
  console.log(flags.json ? JSON.stringify(result, undefined, 2) : formatTable1(table, roundTripsUs, environment))
  return EXIT_OK
}

/**
 * Goes on only inside a private network.
 * @returns the exit status of the whole command, if it ran in there instead
 * @throws PackratError BENCH if it cannot
 */
async function enterPrivateNetwork(what: string, programs?: string[]): Promise<number | undefined> {
  if (!inPrivateNetwork()) {
    const status = await runInPrivateNetwork()
    if (status !== undefined) return status
  }
  const lack = tapBenchLacks(programs)
  if (lack !== undefined) throw new PackratError('BENCH', `${what} cannot run here: ${lack}`)
  return undefined
}

async function runFigure2(flags: Flags): Promise<number> {
  const connections = readConnections(flags.connections ?? FIGURE2_CONNECTIONS)
  const wanted = readWords('--stores', flags.stores, STORES)
  const status = await enterPrivateNetwork('figure2')
  if (status !== undefined) return status
  const stores = await availableStores(wanted, console.error)
  const environment = describeEnvironment('tap', 'process')
  const figure: Figure2 = await inScratchDirectory((directory) =>
    measureFigure2({
      directory,
      stores,
      connections,
      rounds: flags.rounds || 5,
      seconds: flags.seconds,
      valueBytes: flags.bytes,
      keys: flags.keys,
      progress: showProgress,
    }),
  )
  writePictures(flags.svg, drawFigure2(figure))
  console.log(
    flags.json
      ? JSON.stringify({ environment, valueBytes: flags.bytes, ...figure }, undefined, 2)
      : formatFigure2(figure, environment),
  )
  return EXIT_OK
}

async function runSweep(flags: Flags): Promise<number> {
  const { quick, seconds, tap } = flags
  const connections = flags.connections === undefined ? connectionCounts(quick) : readConnections(flags.connections)
  const names = readWords('--curves', flags.curves, CURVES)
  if (tap) {
    const status = await enterPrivateNetwork('sweep --tap')
    if (status !== undefined) return status
  }
  const environment = describeEnvironment(tap ? 'a link in memory; tap' : 'a link in memory', 'process')
  const common = { rounds: flags.rounds || 10, progress: showProgress }
  const curves: Curve[] = []
  await inScratchDirectory(async (directory) => {
    const measure = async (diskDirectory: string | undefined): Promise<void> => {
      for (const name of names)
        curves.push(await measureCurve(planCurve(name, quick), { ...common, directory, diskDirectory }))
    }
    if (names.includes('classes')) await inScratchDirectory(measure, flags.disk)
    else await measure(undefined)
    if (tap) curves.push(await measureTapConnections({ ...common, directory, seconds, connections }))
  })
  writePictures(flags.svg, drawCurves(curves))
  console.log(flags.json ? JSON.stringify({ environment, curves }, undefined, 2) : formatCurves(curves, environment))
  return EXIT_OK
}

/** @throws UsageError */
function readConnections(list: string): number[] {
  const numbers = list.split(',').map((word) => (/^\d+$/.test(word) ? Number(word) : 0))
  if (numbers.every((number) => number >= 1 && number <= CONNECTIONS_MAX)) return numbers
  throw new UsageError(`--connections '${list}': write whole numbers from 1 to ${CONNECTIONS_MAX}, such as 1,16,64`)
}

/** @throws UsageError */
function readWords<const W extends string>(flag: string, list: string, words: readonly W[]): W[] {
  return list.split(',').map((text) => {
    const word = words.find((known) => known === text)
    if (word === undefined) throw new UsageError(`${flag} '${list}': '${text}' is none of ${words.join(', ')}`)
    return word
  })
}

/** Runs with a new directory in `parent`, by default in memory where there is some; it is gone afterwards. */
async function inScratchDirectory<T>(
  run: (directory: string) => Promise<T>,
  parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir(),
): Promise<T> {
  const directory = mkdtempSync(join(parent, 'packrat-bench-'))
  const remove = (): void => rmSync(directory, { recursive: true, force: true })
  // Without a handler a signal ends the process past `exit`, where this and the daemons are cleaned up.
  const stop = (): void => process.exit(EXIT_CANNOT)
  process.on('exit', remove)
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  try {
    return await run(directory)
  } finally {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
    process.off('exit', remove)
    remove()
  }
}

/** On standard error, and only where somebody looks. */
function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

/** Before anything is measured: an hour of figures is not lost to a typing error. @throws PackratError */
function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true })
  } catch (error) {
    throw new PackratError('BENCH', `cannot make the directory ${directory}: ${(error as Error).message}`)
  }
}

function writePictures(directory: string | undefined, pictures: Readonly<Record<string, string>>): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  if (directory === undefined) return
  for (const [name, picture] of Object.entries(pictures)) {
    try {
      writeFileSync(join(directory, name), picture)
    } catch (error) {
      throw new PackratError('BENCH', `cannot write ${name} into ${directory}: ${(error as Error).message}`)
    }
  }
}
