/** The pictures of the benchmarks. Called by: command.ts. Calls: line-chart.ts, bar-chart.ts. */
import { drawBarChart } from './bar-chart.ts'
import { type Figure2, type Figure2Point, STORES } from './figure2.ts'
import { drawLineChart, type LineChart } from './line-chart.ts'
import { hundredths, shortNumber } from './statistics.ts'
import type { Curve } from './sweep.ts'
import type { Table1 } from './table1.ts'

const MICROSECONDS = (value: number): string => `${value.toFixed(2)} µs`

/** What the stores add to networking. */
export function drawTable1({ rows }: Table1): string {
  const parts = rows.filter(({ operation }) => !['networking', 'data management', 'total'].includes(operation))
  return drawBarChart({
    title: 'What storing a 1 KB value adds to networking',
    about: 'CPU time for one write; the paper: its Table 1, measured on persistent memory (Optane)',
    parts: parts.map(({ operation }) => operation),
    bars: [
      { name: 'the paper', values: parts.map(({ paperUs }) => paperUs) },
      { name: 'conventional', values: parts.map(({ conventionalUs }) => conventionalUs) },
      { name: 'packet', values: parts.map(({ packetUs }) => packetUs) },
    ],
    format: MICROSECONDS,
  })
}

/** File name → picture. */
export function drawFigure2({ points }: Figure2): Record<string, string> {
  const connections = [...new Set(points.map((point) => point.connections))]
  const stores = STORES.filter((store) => points.some((point) => point.store === store))
  const pointOf = (store: string, count: number): Figure2Point =>
    points.find((point) => point.store === store && point.connections === count)!
  const draw = (
    chart: Pick<LineChart, 'title' | 'yTitle' | 'scale' | 'format'>,
    value: (point: Figure2Point) => number,
  ) =>
    drawLineChart({
      ...chart,
      about: 'PUT over TAP, server on one core, client (wrk) on the other; medians over the rounds',
      xTitle: 'connections',
      categories: connections.map(String),
      series: stores.map((store) => ({
        name: store,
        colour: STORES.indexOf(store),
        values: connections.map((count) => value(pointOf(store, count))),
      })),
    })
  const pictures: Record<string, string> = {
    'figure2-throughput.svg': draw(
      {
        title: 'Throughput',
        yTitle: 'requests/s',
        scale: 'linear',
        format: (value) => Math.round(value).toLocaleString('en'),
      },
      ({ requestsPerSecond }) => requestsPerSecond,
    ),
    'figure2-latency.svg': draw(
      { title: 'Round-trip time', yTitle: 'mean, µs', scale: 'logarithmic', format: (value) => `${Math.round(value)}` },
      ({ meanLatencyUs }) => meanLatencyUs,
    ),
  }
  if (stores.includes('discard')) {
    pictures['figure2-relative.svg'] = draw(
      {
        title: 'Throughput beside networking alone',
        yTitle: 'share of discard',
        scale: 'linear',
        format: (value) => `${Math.round(value * 100)} %`,
      },
      ({ requestsPerSecond, connections: count }) =>
        requestsPerSecond / Math.max(pointOf('discard', count).requestsPerSecond, 1),
    )
  }
  return pictures
}

/** Of the lines of a sweep, where the stores' own numbers do not tell them apart. */
const SERIES_COLOURS: Readonly<Record<string, number>> = {
  discard: STORES.indexOf('discard'),
  copy: STORES.indexOf('copy'),
  conventional: STORES.indexOf('conventional'),
  packet: STORES.indexOf('packet'),
  'PUT packet': 4,
  'PUT packet, crc32c': 1,
  'PUT conventional': 2,
  'GET packet': 3,
  'GET conventional': 0,
}
/** Of what has no colour of its own, in order. */
const OTHER_COLOURS = [4, 2, 0, 1, 3]
/** Beyond this ratio of the highest to the lowest a linear scale shows only the highest. */
const LINEAR_RATIO_MAX = 12

/** File name → picture. */
export function drawCurves(curves: readonly Curve[]): Record<string, string> {
  const measured = curves.filter(({ points }) => points.length > 0)
  return Object.fromEntries(measured.map((curve) => [`sweep-${curve.name}.svg`, drawCurve(curve)]))
}

function drawCurve({ title, about, xTitle, unit, points }: Curve): string {
  const places = [...new Set(points.map(({ x }) => x))].toSorted((a, b) => a - b)
  const names = [...new Set(points.map(({ series }) => series))]
  const medians = points.map(({ median }) => median)
  const isRate = unit === 'requests/s'
  return drawLineChart({
    title,
    about,
    xTitle,
    yTitle: isRate ? 'requests/s, median' : 'µs a request, median',
    scale: Math.max(...medians) > LINEAR_RATIO_MAX * Math.min(...medians) ? 'logarithmic' : 'linear',
    format: (value) => (isRate || value >= 100 ? Math.round(value).toLocaleString('en') : String(hundredths(value))),
    categories: places.map(shortNumber),
    series: names.map((name, index) => ({
      name,
      colour: SERIES_COLOURS[name] ?? OTHER_COLOURS[index % OTHER_COLOURS.length]!,
      values: places.map((x) => points.find((point) => point.series === name && point.x === x)?.median),
    })),
  })
}
