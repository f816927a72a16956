/**
 * What `packrat bench sweep` varies: one thing a curve, everything else as it usually is. Called by: sweep.ts.
 *
 *   size          64 B to 1 MB, written and read, TCP's sum or CRC32C        mix      share of reads
 *   keys          10,000 to 10 million small entries                         latency  slower memory, ns a cache line
 *   connections   1 to 10,000                                                classes  durability: requests a second
 */
import { MEMORY_BENCH_DEFAULTS, type MemoryBenchOptions } from './memory-bench.ts'

export const CURVES = ['size', 'mix', 'keys', 'connections', 'latency', 'classes'] as const
export type CurveName = (typeof CURVES)[number]

/** One line of a curve at one place. */
export interface Probe {
  /** Undefined: called after what the region lies on, `process (tmpfs)`. */
  readonly series: string | undefined
  readonly x: number
  readonly options: Omit<MemoryBenchOptions, 'path'>
  readonly readPercent: number
  /** The region belongs on the disk, not in memory. */
  readonly onDisk: boolean
}

export interface CurvePlan {
  /** A CurveName, or that of a curve measured in another way. */
  readonly name: string
  readonly title: string
  readonly about: string
  readonly xTitle: string
  readonly unit: 'µs' | 'requests/s'
  readonly probes: readonly Probe[]
}

/** What is not varied: 1 KB, 1000 keys, as many connections as a small service has. */
const USUAL = { ...MEMORY_BENCH_DEFAULTS, keys: 1000, valueBytes: 1024, connections: 16 } as const
/** Values of one size together, so that the largest sizes fit the memory; and at least so many keys. */
const STORED_BYTES = 16 << 20
const KEYS_MIN = 16
const SMALL_VALUE_BYTES = 64
/** Each is written before the measurement, which takes its time where a write is a sync. */
const CLASS_KEYS = 64
/** The area of `conventional` is at most 512 MiB. */
const CONVENTIONAL_KEYS_MAX = 1_000_000

const SIZES = [64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576]
const READ_PERCENTS = [0, 10, 50, 90, 100]
const KEYS = [10_000, 100_000, 1_000_000, 10_000_000]
const CONNECTIONS = [1, 16, 64, 256, 1024, 4096, 10_000]
const LATENCIES_NS = [0, 100, 200, 300, 500, 1000]
const CLASS_CONNECTIONS = [1, 16, 64, 256]

/** `--quick`: the same ends but for 10 million keys, fewer places between them. */
const QUICK_SIZES = [64, 1024, 16_384, 1_048_576]
const QUICK_READ_PERCENTS = [0, 50, 100]
const QUICK_KEYS = [10_000, 100_000, 1_000_000]
const QUICK_CONNECTIONS = [1, 64, 1024, 10_000]
const QUICK_LATENCIES_NS = [0, 300, 1000]
const QUICK_CLASS_CONNECTIONS = [1, 64]

export function connectionCounts(quick: boolean): readonly number[] {
  return quick ? QUICK_CONNECTIONS : CONNECTIONS
}

type Varied = Partial<Omit<MemoryBenchOptions, 'path' | 'store'>> & Pick<MemoryBenchOptions, 'store'>

function probe(series: string | undefined, x: number, varied: Varied, readPercent = 0, onDisk = false): Probe {
  return { series, x, options: { ...USUAL, ...varied }, readPercent, onDisk }
}

/** @param quick fewer places on each curve */
export function planCurve(name: CurveName, quick: boolean): CurvePlan {
  return PLANS[name](quick)
}

const PLANS: Readonly<Record<CurveName, (quick: boolean) => CurvePlan>> = {
  size: (quick) => ({
    name: 'size',
    title: 'Cost of a request by size of its value',
    about: 'CPU time of client, link and server together; 16 connections; integrity tcp but where it says crc32c',
    xTitle: 'bytes of the value',
    unit: 'µs',
    probes: (quick ? QUICK_SIZES : SIZES).flatMap((valueBytes) => {
      const size = { valueBytes, keys: Math.max(Math.min(USUAL.keys, Math.floor(STORED_BYTES / valueBytes)), KEYS_MIN) }
      return [
        probe('PUT packet', valueBytes, { store: 'packet', ...size }),
        probe('PUT packet, crc32c', valueBytes, { store: 'packet', integrity: 'crc32c', ...size }),
        probe('PUT conventional', valueBytes, { store: 'conventional', ...size }),
        probe('GET packet', valueBytes, { store: 'packet', ...size }, 100),
        probe('GET conventional', valueBytes, { store: 'conventional', ...size }, 100),
      ]
    }),
  }),

  mix: (quick) => ({
    name: 'mix',
    title: 'Cost of a request by share of reads',
    about: 'CPU time of client, link and server together; 1 KB values, 1000 keys, 16 connections',
    xTitle: 'reads of 100 requests',
    unit: 'µs',
    probes: (quick ? QUICK_READ_PERCENTS : READ_PERCENTS).flatMap((percent) =>
      (['conventional', 'packet'] as const).map((store) => probe(store, percent, { store }, percent)),
    ),
  }),

  keys: (quick) => ({
    name: 'keys',
    title: 'Cost of a request by number of keys',
    about: `CPU time of client, link and server together; ${SMALL_VALUE_BYTES} B values, random keys, 16 connections; conventional up to a million`,
    xTitle: 'keys',
    unit: 'µs',
    probes: (quick ? QUICK_KEYS : KEYS).flatMap((keys) => {
      const small = { keys, valueBytes: SMALL_VALUE_BYTES }
      const packet = { store: 'packet', ...small } as const
      const conventional = { store: 'conventional', ...small } as const
      return [
        probe('PUT packet', keys, packet),
        probe('GET packet', keys, packet, 100),
        ...(keys > CONVENTIONAL_KEYS_MAX
          ? []
          : [probe('PUT conventional', keys, conventional), probe('GET conventional', keys, conventional, 100)]),
      ]
    }),
  }),

  connections: (quick) => ({
    name: 'connections',
    title: 'Cost of a request by number of connections',
    about: 'CPU time of client, link and server together; 1 KB PUTs, one under way on each connection',
    xTitle: 'connections',
    unit: 'µs',
    probes: connectionCounts(quick).flatMap((connections) =>
      (['discard', 'conventional', 'packet'] as const).map((store) =>
        probe(store, connections, { store, connections }),
      ),
    ),
  }),

  latency: (quick) => ({
    name: 'latency',
    title: 'Cost of a request on slower memory',
    about:
      'CPU time of client, link and server together; 1 KB PUTs, 16 connections; each fence spins for the lines flushed before it',
    xTitle: 'emulated latency, ns a cache line',
    unit: 'µs',
    probes: (quick ? QUICK_LATENCIES_NS : LATENCIES_NS).flatMap((lineLatencyNs) =>
      (['copy', 'conventional', 'packet'] as const).map((store) =>
        probe(store, lineLatencyNs, { store, lineLatencyNs }),
      ),
    ),
  }),

  classes: (quick) => ({
    name: 'classes',
    title: 'Throughput by durability class',
    about: `1 KB PUTs, ${CLASS_KEYS} keys; client, link and server in one process, by the clock`,
    xTitle: 'connections',
    unit: 'requests/s',
    probes: (quick ? QUICK_CLASS_CONNECTIONS : CLASS_CONNECTIONS).flatMap((connections) => [
      probe(undefined, connections, { store: 'packet', connections, keys: CLASS_KEYS }),
      probe(undefined, connections, { store: 'packet', connections, keys: CLASS_KEYS, durability: 'auto' }, 0, true),
    ]),
  }),
}
