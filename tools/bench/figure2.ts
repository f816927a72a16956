/**
 * The paper's Figure 2, reproduced: round trips and throughput of small writes over many connections, with and without
 * data management.
 *
 *   wrk (core 0) ── kernel TCP ── TAP ── packrat serve --store … (core 1)        one daemon and TAP a store
 *
 * All daemons are up for the whole run and sleep while they have no load. Rounds are interleaved, because the speed of
 * a machine drifts: each round measures every number of connections with every store, one after the other.
 *
 * Called by: command.ts, inside a private network. Calls: loaded-daemon.ts.
 */
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { inPrivateNetwork } from '../scenario/private-network.ts'
import { isLevelDbInstalled } from '../stores/leveldb.ts'
import { LoadedDaemon, type LoadResult } from './loaded-daemon.ts'
import { hundredths, quantile } from './statistics.ts'

/** In the order in which a reader compares them. */
export const STORES = ['discard', 'copy', 'conventional', 'leveldb', 'packet'] as const
export type StoreName = (typeof STORES)[number]

const WARM_UP_SECONDS = 1
const WARM_UP_CONNECTIONS = 16
const PROGRAMS = ['wrk', 'taskset', 'ip']

export interface Figure2Options {
  readonly directory: string
  readonly stores: readonly StoreName[]
  readonly connections: readonly number[]
  readonly rounds: number
  readonly seconds: number
  readonly valueBytes: number
  readonly keys: number
  readonly progress: (text: string) => void
}

/** Medians over the rounds; best and worst beside the throughput. */
export interface Figure2Point {
  readonly store: StoreName
  readonly connections: number
  readonly requestsPerSecond: number
  readonly bestRequestsPerSecond: number
  readonly worstRequestsPerSecond: number
  readonly meanLatencyUs: number
  readonly p99LatencyUs: number
  /** CPU time of the server's process for one request; polling included. */
  readonly serverCpuUs: number
  /** Rounds in which wrk met an error: they do not count. */
  readonly failedRounds: number
}

export interface Figure2 {
  readonly points: readonly Figure2Point[]
}

/** What is missing to measure over TAP with these programs; undefined: nothing. */
export function tapBenchLacks(programs = PROGRAMS): string | undefined {
  if (!inPrivateNetwork()) return 'no private network: unshare(1) is missing, or needs root or user namespaces'
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK)
  } catch {
    return '/dev/net/tun cannot be opened: no TAP interfaces here'
  }
  const folders = (process.env.PATH ?? '').split(delimiter)
  const missing = programs.filter((program) => !folders.some((folder) => existsSync(join(folder, program))))
  return missing.length > 0 ? `not installed: ${missing.join(', ')} (scripts/setup.sh --for-tests)` : undefined
}

/** The stores that this machine can run; what it cannot is said. */
export async function availableStores(stores: readonly StoreName[], say: (text: string) => void): Promise<StoreName[]> {
  if (!stores.includes('leveldb') || (await isLevelDbInstalled())) return [...stores]
  say('SKIP: leveldb: the optional package classic-level is not installed')
  return stores.filter((store) => store !== 'leveldb')
}

/** @throws PackratError BENCH */
export async function measureFigure2(options: Figure2Options): Promise<Figure2> {
  const { directory, stores, connections, rounds, seconds, valueBytes, keys, progress } = options
  const daemons: LoadedDaemon[] = []
  try {
    for (const store of stores) {
      progress(`starting ${store}`)
      const daemon = await LoadedDaemon.start({ store, directory, number: daemons.length })
      daemons.push(daemon)
      await daemon.load({ connections: WARM_UP_CONNECTIONS, seconds: WARM_UP_SECONDS, valueBytes, keys })
    }
    const samples = new Map<string, LoadResult[]>()
    for (let round = 1; round <= rounds; round++) {
      for (const count of connections) {
        for (const daemon of daemons) {
          progress(`round ${round} of ${rounds}: ${daemon.store}, ${count} connections`)
          const key = `${daemon.store} ${count}`
          const taken = samples.get(key) ?? []
          taken.push(await daemon.load({ connections: count, seconds, valueBytes, keys }))
          samples.set(key, taken)
        }
      }
    }
    return {
      points: stores.flatMap((store) =>
        connections.map((count) => pointOf(store, count, samples.get(`${store} ${count}`)!)),
      ),
    }
  } finally {
    for (const daemon of daemons) await daemon.stop()
  }
}

function pointOf(store: StoreName, connections: number, results: readonly LoadResult[]): Figure2Point {
  const clean = results.filter(({ errors }) => errors === 0)
  const counted = clean.length > 0 ? clean : results
  const at = (share: number, figure: keyof LoadResult): number =>
    hundredths(
      quantile(
        counted.map((result) => result[figure]),
        share,
      ),
    )
  return {
    store,
    connections,
    requestsPerSecond: Math.round(at(0.5, 'requestsPerSecond')),
    bestRequestsPerSecond: Math.round(at(1, 'requestsPerSecond')),
    worstRequestsPerSecond: Math.round(at(0, 'requestsPerSecond')),
    meanLatencyUs: at(0.5, 'meanLatencyUs'),
    p99LatencyUs: at(0.5, 'p99LatencyUs'),
    serverCpuUs: at(0.5, 'serverCpuUs'),
    failedRounds: results.length - clean.length,
  }
}
