/**
 * `packrat bench sweep`: what a request costs as one thing varies (curves.ts), in one process over a link in memory.
 *
 * All places of a curve are up at once, each in a process of its own (worker.ts), and are measured in interleaved rounds, because
 * the speed of a machine drifts: so the ends of a curve may be compared. A round is as long as ROUND_MS and as many
 * requests as there are connections allow. The same on the TAP: sweep-tap.ts.
 *
 * Called by: command.ts. Calls: variant.ts.
 */
import { mkdirSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import type { CurvePlan, Probe } from './curves.ts'
import { benchBytes } from './memory-bench.ts'
import { hundredths, quantile } from './statistics.ts'
import { type Round, Variant } from './variant.ts'

/** Length that a round aims at. */
const ROUND_MS = 25
/** Every connection is used a few times in a round. */
const REQUESTS_A_CONNECTION = 3
/** Bounds what all rounds with many keys take of the region (memory-bench.ts). */
const REQUESTS_MAX = 100_000
/** For the compiler: so many requests, or so much time where each takes long; the last of them tell how long a round is. */
const WARM_UP_REQUESTS = 10_000
const WARM_UP_MS = 600
const WARM_UP_STEP = 500
/** Of the memory that is available: what regions may take of it. The processes beside them take some, too. */
const MEMORY_SHARE = 0.6

/** Microseconds of CPU time a request, or requests a second, over the rounds. */
export interface CurvePoint {
  readonly series: string
  readonly x: number
  readonly best: number
  readonly median: number
  readonly worst: number
  /** Memory of the process beside the region, MiB: client, link and server in one. Not over TAP. */
  readonly privateMib?: number
}

export interface Curve extends Omit<CurvePlan, 'probes'> {
  readonly rounds: number
  readonly points: readonly CurvePoint[]
  /** What was left out, and why. */
  readonly skipped: readonly string[]
}

export interface SweepOptions {
  /** A directory of its own, on tmpfs or DAX. */
  readonly directory: string
  /** One on a disk; undefined: what belongs there is left out. */
  readonly diskDirectory: string | undefined
  readonly rounds: number
  readonly progress: (text: string) => void
}

/** @throws PackratError BENCH */
export async function measureCurve(plan: CurvePlan, options: SweepOptions): Promise<Curve> {
  const { rounds, progress } = options
  const { probes, ...description } = plan
  const lines: Line[] = []
  const skipped: string[] = []
  const directories = [options.directory, options.diskDirectory].filter((parent) => parent !== undefined)
  for (const parent of directories) mkdirSync(join(parent, plan.name))
  try {
    for (const probe of probes) {
      progress(`${plan.name}: starting ${probe.series ?? 'packet'}, ${probe.x}`)
      const line = await startLine(plan, probe, lines, options)
      if (typeof line === 'string') skipped.push(`${plan.name}, ${probe.series ?? 'packet'}, ${probe.x}: ${line}`)
      else lines.push(line)
    }
    for (const line of lines) await warmUp(line, rounds)
    for (let round = 1; round <= rounds; round++) {
      for (const line of lines) {
        progress(`${plan.name}: round ${round} of ${rounds}, ${line.series}, ${line.probe.x}`)
        line.taken.push(await line.variant.round(line.requests, line.probe.readPercent))
      }
    }
    return { ...description, rounds, points: lines.map((line) => pointOf(line, plan.unit)), skipped }
  } finally {
    for (const { variant } of lines) await variant.close()
    for (const parent of directories) rmSync(join(parent, plan.name), { recursive: true, force: true })
  }
}

interface Line {
  readonly probe: Probe
  readonly series: string
  readonly variant: Variant
  requests: number
  readonly taken: Round[]
}

/**
 * Reads and writes of one store share its process, where nothing else differs.
 * @returns why it is left out, if it is
 */
async function startLine(
  plan: CurvePlan,
  probe: Probe,
  lines: readonly Line[],
  options: SweepOptions,
): Promise<Line | string> {
  const wanted = JSON.stringify(probe.options)
  const same = lines.find((line) => line.probe.onDisk === probe.onDisk && JSON.stringify(line.probe.options) === wanted)
  if (same !== undefined)
    return { probe, series: probe.series ?? same.series, variant: same.variant, requests: 0, taken: [] }
  const parent = probe.onDisk ? options.diskDirectory : options.directory
  if (parent === undefined) return 'no directory on a disk (--disk)'
  const lack = lacksRoom(parent, probe)
  if (lack !== undefined) return lack
  const path = join(parent, plan.name, `${lines.length}.pm`)
  const variant = await Variant.start({ ...probe.options, path })
  const { medium } = variant
  if (probe.onDisk && lines.some((line) => !line.probe.onDisk && line.variant.medium === medium)) {
    await variant.close()
    return `${parent} is ${medium} as well: name another one with --disk`
  }
  return { probe, series: probe.series ?? medium, variant, requests: 0, taken: [] }
}

function lacksRoom(directory: string, { options, onDisk }: Probe): string | undefined {
  const { bavail, bsize } = statfsSync(directory)
  const available = Number(/MemAvailable:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1] ?? 0) * 1024
  const room = Math.min(bavail * bsize, onDisk ? Number.POSITIVE_INFINITY : available * MEMORY_SHARE)
  const needed = benchBytes(options)
  const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`
  return needed > room ? `it takes ${mib(needed)}, and there are ${mib(room)} to spare` : undefined
}

async function warmUp(line: Line, rounds: number): Promise<void> {
  const { variant, probe } = line
  const { connections } = probe.options
  const startMs = performance.now()
  let us = 0
  for (let sent = 0; sent < WARM_UP_REQUESTS && performance.now() - startMs < WARM_UP_MS; ) {
    // The first step is short: a megabyte or a sync a request takes its time.
    const requests = Math.max(sent === 0 ? 1 : WARM_UP_STEP, connections)
    if (us * requests > WARM_UP_MS * 1000) break
    us = (await variant.round(requests, probe.readPercent)).wallUs
    sent += requests
  }
  line.requests = Math.max(
    Math.min(Math.round((ROUND_MS * 1000) / us), Math.ceil(REQUESTS_MAX / rounds)),
    REQUESTS_A_CONNECTION * connections,
  )
}

function pointOf({ probe, series, taken }: Line, unit: CurvePlan['unit']): CurvePoint {
  const isRate = unit === 'requests/s'
  const figures = taken.map(({ cpuUs, wallUs }) => (isRate ? 1e6 / wallUs : cpuUs))
  const at = (share: number): number => hundredths(quantile(figures, share))
  return {
    series,
    x: probe.x,
    best: at(isRate ? 1 : 0),
    median: at(0.5),
    worst: at(isRate ? 0 : 1),
    privateMib: Math.round(Math.max(...taken.map(({ privateBytes }) => privateBytes)) / 2 ** 20),
  }
}
