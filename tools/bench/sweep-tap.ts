/**
 * The connections of a sweep once more, over TAP and by the clock: what a request takes of the time, with the client on
 * kernel TCP. Rounds are interleaved, as in figure2.ts.
 *
 * Called by: command.ts, inside a private network. Calls: loaded-daemon.ts.
 */
import { readFileSync } from 'node:fs'
import { connectionCounts } from './curves.ts'
import { LoadedDaemon } from './loaded-daemon.ts'
import { hundredths, quantile } from './statistics.ts'
import type { Curve, CurvePoint } from './sweep.ts'

const STORES = ['discard', 'packet'] as const
/** Ten thousand connections, each with a request and a reply under way. */
const REGION_SIZE = '1G'
const VALUE_BYTES = 1024
const KEYS = 1000
const WARM_UP = { connections: 64, seconds: 1, valueBytes: VALUE_BYTES, keys: KEYS }
/** Files that wrk opens beside its connections. */
const SPARE_FILES = 64

export interface TapSweepOptions {
  /** A directory of its own, on tmpfs or DAX. */
  readonly directory: string
  readonly rounds: number
  readonly seconds: number
  readonly quick: boolean
  readonly progress: (text: string) => void
}

/** @throws PackratError BENCH */
export async function measureTapConnections(options: TapSweepOptions): Promise<Curve> {
  const { directory, rounds, seconds, quick, progress } = options
  const filesMax = openFilesMax()
  const [counts, tooMany] = [[] as number[], [] as number[]]
  for (const count of connectionCounts(quick)) (count + SPARE_FILES <= filesMax ? counts : tooMany).push(count)
  const daemons: LoadedDaemon<(typeof STORES)[number]>[] = []
  const samples = new Map<string, number[]>()
  const failed: string[] = []
  try {
    for (const store of STORES) {
      progress(`starting ${store}`)
      const daemon = await LoadedDaemon.start({ store, directory, number: daemons.length, regionSize: REGION_SIZE })
      daemons.push(daemon)
      await daemon.load(WARM_UP)
    }
    for (let round = 1; round <= rounds; round++) {
      for (const connections of counts) {
        for (const daemon of daemons) {
          progress(`tap: round ${round} of ${rounds}, ${daemon.store}, ${connections} connections`)
          const result = await daemon.load({ connections, seconds, valueBytes: VALUE_BYTES, keys: KEYS })
          const key = `${daemon.store} ${connections}`
          if (result.errors > 0) failed.push(`${key}: round ${round} had ${result.errors} errors and does not count`)
          else samples.set(key, [...(samples.get(key) ?? []), 1e6 / result.requestsPerSecond])
        }
      }
    }
  } finally {
    for (const daemon of daemons) await daemon.stop()
  }
  return {
    name: 'tap-connections',
    title: 'Time of a request by number of connections, over TAP',
    about:
      '1 KB PUTs by wrk, one under way on each connection; server on one core, client on the other; 1 / throughput',
    xTitle: 'connections',
    unit: 'µs',
    rounds,
    points: counts.flatMap((x) =>
      STORES.flatMap((series): CurvePoint[] => {
        const taken = samples.get(`${series} ${x}`)
        if (taken === undefined) return []
        const at = (share: number): number => hundredths(quantile(taken, share))
        return [{ series, x, best: at(0), median: at(0.5), worst: at(1) }]
      }),
    ),
    skipped: [
      ...failed,
      ...tooMany.map((count) => `${count} connections: a process may have ${filesMax} files open (ulimit -n)`),
    ],
  }
}

/** Node raises its limit to the hard one, and what it starts inherits that. */
function openFilesMax(): number {
  const limit = /Max open files\s+(\d+|unlimited)/.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
  return limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit ?? 1024)
}
