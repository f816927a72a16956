/** Results as people read them. Called by: command.ts. */
import type { Environment } from './environment.ts'
import type { Figure2 } from './figure2.ts'
import type { RoundTrips } from './round-trip.ts'
import { shortNumber } from './statistics.ts'
import type { Curve } from './sweep.ts'
import type { Figure, Table1 } from './table1.ts'

export function formatTable1(
  { rows, dataManagementUs }: Table1,
  roundTrips: readonly RoundTrips[] | undefined,
  environment: Environment,
): string {
  const spread = ({ bestUs, medianUs }: Figure): string => `${bestUs.toFixed(2)} / ${medianUs.toFixed(2)}`
  const table = rows.map((row) => [
    row.operation,
    row.paperUs.toFixed(2),
    row.conventionalUs.toFixed(2),
    spread(row.conventionalSpread),
    row.packetUs.toFixed(2),
    spread(row.packetSpread),
  ])
  const head = ['µs', 'paper', 'conventional', 'best / median', 'packet', 'best / median']
  const { paper, conventional, packet } = dataManagementUs
  return [
    ...align([head, ...table]),
    '',
    `data management: ${paper} in the paper, ${conventional.toFixed(2)} conventional, ${packet.toFixed(2)} packet`,
    ...(roundTrips === undefined ? [] : ['', ...align([ROUND_TRIP_HEAD, ...roundTrips.map(roundTripCells)])]),
    ...describe(environment),
  ].join('\n')
}

const ROUND_TRIP_HEAD = ['round trips over TAP, µs', 'median', 'fastest round', 'p99']

function roundTripCells({ store, medianUs, fastRoundUs, p99Us }: RoundTrips): string[] {
  return [store, medianUs.toFixed(1), fastRoundUs.toFixed(1), p99Us.toFixed(0)]
}

export function formatFigure2({ points }: Figure2, environment: Environment): string {
  const discard = new Map(
    points.filter(({ store }) => store === 'discard').map((point) => [point.connections, point.requestsPerSecond]),
  )
  const table = points.map((point) => {
    const alone = discard.get(point.connections)
    return [
      point.store,
      String(point.connections),
      String(point.requestsPerSecond),
      `${point.worstRequestsPerSecond}–${point.bestRequestsPerSecond}`,
      alone ? `${((100 * point.requestsPerSecond) / alone).toFixed(1)} %` : '',
      point.meanLatencyUs.toFixed(0),
      point.p99LatencyUs.toFixed(0),
      point.serverCpuUs.toFixed(1),
      point.failedRounds > 0 ? `${point.failedRounds} rounds with errors` : '',
    ]
  })
  const head = ['store', 'connections', 'requests/s', 'worst–best', 'of discard', 'mean µs', 'p99 µs', 'CPU µs', '']
  return [...align([head, ...table]), ...describe(environment)].join('\n')
}

export function formatCurves(curves: readonly Curve[], environment: Environment): string {
  return [...curves.flatMap(formatCurve), ...describe(environment).slice(1)].join('\n')
}

/** A row a place, a column a line: the median, with the best and the worst round. */
function formatCurve({ name, title, about, xTitle, unit, rounds, points, skipped }: Curve): string[] {
  const names = [...new Set(points.map(({ series }) => series))]
  const places = [...new Set(points.map(({ x }) => x))]
  const rows = places.map((x) => [
    shortNumber(x),
    ...names.map((series) => {
      const point = points.find((candidate) => candidate.series === series && candidate.x === x)
      return point === undefined ? '' : cell(point, unit)
    }),
  ])
  return [
    `${name}: ${title}`,
    `${about}; ${unit}, median (best–worst) of ${rounds} rounds`,
    '',
    ...align([[xTitle, ...names], ...rows]),
    ...skipped.map((reason) => `SKIP: ${reason}`),
    '',
  ]
}

function cell({ median, best, worst }: Curve['points'][number], unit: Curve['unit']): string {
  const digits = unit === 'µs' && median < 100 ? 2 : 0
  return `${median.toFixed(digits)} (${best.toFixed(digits)}–${worst.toFixed(digits)})`
}

function describe(environment: Environment): string[] {
  return ['', ...Object.entries(environment).map(([name, value]) => `${name.padEnd(11)} ${value}`)]
}

/** The first column to the left, all others to the right. */
function align(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  )
}
