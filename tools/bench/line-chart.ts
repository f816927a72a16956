/**
 * A line chart: one line a store over numbers of connections, each named at its right end, so that no legend has to be
 * searched. One SVG document without any outside reference. Called by: pictures.ts.
 */
import { escapeText } from '../scenario/diagram-axis.ts'
import { openChart, place } from './chart-style.ts'

const WIDTH = 860
const HEIGHT = 460
const LEFT = 84
const RIGHT = 148
const TOP = 92
const BOTTOM = 52
/** Names closer than this would overlap. */
const NAME_HEIGHT = 15
const TICKS = 6
const ROUND_STEPS = [1, 2, 5, 10]

export interface Series {
  readonly name: string
  /** Number of the colour, 0 to 7. */
  readonly colour: number
  /** One a category; undefined: not measured there. */
  readonly values: readonly (number | undefined)[]
}

export interface LineChart {
  readonly title: string
  readonly about: string
  readonly yTitle: string
  readonly xTitle: string
  readonly categories: readonly string[]
  readonly series: readonly Series[]
  /** A linear scale begins at 0. */
  readonly scale: 'linear' | 'logarithmic'
  readonly format: (value: number) => string
}

export function drawLineChart(chart: LineChart): string {
  const { title, about, categories, series, yTitle, xTitle } = chart
  const values = series
    .flatMap((line) => line.values)
    .filter((value): value is number => value !== undefined && value > 0)
  const ticks = chart.scale === 'linear' ? linearTicks(values) : logarithmicTicks(values)
  const scaled = (value: number): number => (chart.scale === 'linear' ? value : Math.log10(value))
  const low = scaled(ticks[0]!)
  const high = scaled(ticks.at(-1)!)
  const bottom = HEIGHT - BOTTOM
  const y = (value: number): number => place(bottom - ((scaled(value) - low) / (high - low)) * (bottom - TOP))
  const step = (WIDTH - LEFT - RIGHT) / Math.max(categories.length - 1, 1)
  const x = (index: number): number => place(LEFT + index * step)
  const right = WIDTH - RIGHT
  return `${[
    openChart(WIDTH, HEIGHT, escapeText(title), escapeText(about)),
    ...ticks.map(
      (tick) =>
        `<path class="grid" d="M${LEFT} ${y(tick)}H${right}"/><text class="tick" x="${LEFT - 8}" y="${y(tick) + 4}" text-anchor="end">${chart.format(tick)}</text>`,
    ),
    ...categories.map(
      (name, index) =>
        `<path class="grid" d="M${x(index)} ${TOP}V${bottom}"/><text class="tick" x="${x(index)}" y="${bottom + 18}" text-anchor="middle">${name}</text>`,
    ),
    `<text class="label" x="24" y="${TOP - 16}">${escapeText(yTitle)}</text>`,
    `<text class="label" x="${(LEFT + right) / 2}" y="${bottom + 38}" text-anchor="middle">${escapeText(xTitle)}</text>`,
    ...series.map((line) => drawSeries(line, x, y, chart.format, categories)),
    drawNames(series, right + 10, y),
    '</svg>',
  ].join('\n')}\n`
}

function drawSeries(
  { name, colour, values }: Series,
  x: (index: number) => number,
  y: (value: number) => number,
  format: (value: number) => string,
  categories: readonly string[],
): string {
  const path = values
    .map((value, index) =>
      value === undefined ? '' : `${index === 0 || values[index - 1] === undefined ? 'M' : 'L'}${x(index)} ${y(value)}`,
    )
    .join('')
  const dots = values.map((value, index) =>
    value === undefined
      ? ''
      : `<circle class="f${colour}" cx="${x(index)}" cy="${y(value)}" r="3.4"><title>${name}, ${categories[index]}: ${format(value)}</title></circle>`,
  )
  return `<path class="line c${colour}" d="${path}"/>${dots.join('')}`
}

/** Names at the height of the lines' ends, moved apart where they would overlap. */
function drawNames(series: readonly Series[], x: number, y: (value: number) => number): string {
  const ends = series.flatMap(({ name, colour, values }) => {
    const last = values.findLast((value) => value !== undefined)
    return last === undefined ? [] : [{ name, colour, y: y(last) + 4 }]
  })
  ends.sort((a, b) => a.y - b.y)
  for (let i = 1; i < ends.length; i++) ends[i]!.y = Math.max(ends[i]!.y, ends[i - 1]!.y + NAME_HEIGHT)
  return ends
    .map(({ name, colour, y: at }) => `<text class="name f${colour}" x="${x}" y="${place(at)}">${name}</text>`)
    .join('')
}

function linearTicks(values: readonly number[]): number[] {
  const highest = Math.max(...values, Number.MIN_VALUE)
  const rough = highest / TICKS
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * ROUND_STEPS.find((factor) => factor * power >= rough * 0.999)!
  return Array.from({ length: Math.ceil(highest / step) + 1 }, (_, index) => Number((index * step).toPrecision(6)))
}

/** 1, 2, 5 of each power of ten, around the values. */
function logarithmicTicks(values: readonly number[]): number[] {
  const lowest = Math.min(...values)
  const highest = Math.max(...values)
  const all: number[] = []
  for (let power = Math.floor(Math.log10(lowest)); power <= Math.ceil(Math.log10(highest)); power++) {
    for (const factor of [1, 2, 5]) all.push(Number((factor * 10 ** power).toPrecision(2)))
  }
  const first = all.findLastIndex((tick) => tick <= lowest)
  const last = all.findIndex((tick) => tick >= highest)
  return all.slice(Math.max(first, 0), Math.max(last, first + 1) + 1)
}
