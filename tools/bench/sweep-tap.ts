/**
 * The connections of a sweep once more, over TAP and by the clock: what a request takes of the time, with the client on
 * kernel TCP. Rounds are interleaved, as in figure2.ts.
 *
 * Called by: command.ts, inside a private network. Calls: loaded-daemon.ts.
 */
import { readFileSync } from 'node:fs'
import { type Load, LoadedDaemon } from './loaded-daemon.ts'
import { hundredths, quantile } from './statistics.ts'
import type { Curve, CurvePoint } from './sweep.ts'

const STORES = ['discard', 'packet'] as const
/** Ten thousand connections, each with a request and a reply under way. */
const REGION_SIZE = '1G'
const VALUE_BYTES = 1024
const KEYS = 1000
const WARM_UP = { connections: 64, seconds: 1, valueBytes: VALUE_BYTES, keys: KEYS }
/** From so many connections on a measurement is longer: they are opened on its time. */
const MANY_CONNECTIONS = 1000
const MANY_SECONDS_FACTOR = 4
/** Files that wrk opens beside its connections. */
const SPARE_FILES = 64

export interface TapSweepOptions {
  /** A directory of its own, on tmpfs or DAX. */
  readonly directory: string
  readonly rounds: number
  readonly seconds: number
  readonly connections: readonly number[]
  readonly progress: (text: string) => void
}

/** @throws PackratError BENCH */
export async function measureTapConnections(options: TapSweepOptions): Promise<Curve> {
  const { directory, rounds, seconds, connections, progress } = options
  const filesMax = openFilesMax()
  const [counts, tooMany] = [[] as number[], [] as number[]]
  for (const count of connections) (count + SPARE_FILES <= filesMax ? counts : tooMany).push(count)
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
      for (const count of counts) {
        for (const daemon of daemons) {
          progress(`tap: round ${round} of ${rounds}, ${daemon.store}, ${count} connections`)
          const length = count >= MANY_CONNECTIONS ? MANY_SECONDS_FACTOR * seconds : seconds
          const taken = await timeOf(daemon, {
            connections: count,
            seconds: length,
            valueBytes: VALUE_BYTES,
            keys: KEYS,
          })
          const key = `${daemon.store} ${count}`
          if (typeof taken === 'string') failed.push(`tap, ${key}: round ${round} does not count: ${taken}`)
          else samples.set(key, [...(samples.get(key) ?? []), taken])
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

/** Microseconds of a request, or why there is no telling. */
async function timeOf(daemon: LoadedDaemon, load: Load): Promise<number | string> {
  try {
    const { errors, requestsPerSecond } = await daemon.load(load)
    if (errors > 0) return `${errors} errors`
    return requestsPerSecond > 0 ? 1e6 / requestsPerSecond : 'no request was answered in time'
  } catch (error) {
    return (error as Error).message
  }
}

/** Node raises its limit to the hard one, and what it starts inherits that. */
function openFilesMax(): number {
  const limit = /Max open files\s+(\d+|unlimited)/.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
  return limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit ?? 1024)
}
