/** Stacked bars, one below the other, with a legend. One SVG document without any outside reference. Called by: pictures.ts. */
import { escapeText } from '../scenario/diagram-axis.ts'
import { openChart, place } from './chart-style.ts'

const WIDTH = 860
const LEFT = 128
const RIGHT = 72
const TOP = 108
const BAR_HEIGHT = 34
const BAR_STEP = 58

export interface Bar {
  readonly name: string
  /** One a part; what is below 0 is drawn as 0. */
  readonly values: readonly number[]
}

export interface BarChart {
  readonly title: string
  readonly about: string
  /** Names of the parts, in the order of the colours. */
  readonly parts: readonly string[]
  readonly bars: readonly Bar[]
  readonly format: (value: number) => string
}

export function drawBarChart({ title, about, parts, bars, format }: BarChart): string {
  const total = (bar: Bar): number => bar.values.reduce((sum, value) => sum + Math.max(value, 0), 0)
  const scale = (WIDTH - LEFT - RIGHT) / Math.max(...bars.map(total), Number.MIN_VALUE)
  const rows = bars.map((bar, index) => {
    const y = TOP + index * BAR_STEP
    let x = LEFT
    const pieces = bar.values.map((value, part) => {
      const width = Math.max(value, 0) * scale
      const piece = `<rect class="f${part}" x="${place(x)}" y="${y}" width="${place(width)}" height="${BAR_HEIGHT}"><title>${escapeText(parts[part]!)}: ${format(value)}</title></rect>`
      x += width
      return piece
    })
    const middle = y + BAR_HEIGHT / 2 + 4
    return [
      `<text class="label" x="${LEFT - 12}" y="${middle}" text-anchor="end">${escapeText(bar.name)}</text>`,
      ...pieces,
      `<text class="tick" x="${place(x + 8)}" y="${middle}">${format(total(bar))}</text>`,
    ].join('')
  })
  let x = LEFT
  const legend = parts.map((part, index) => {
    const entry = `<rect class="f${index}" x="${x}" y="70" width="12" height="12"/><text class="label" x="${x + 18}" y="80">${escapeText(part)}</text>`
    x += 42 + part.length * 6.4
    return entry
  })
  const height = TOP + bars.length * BAR_STEP + 8
  return `${[openChart(WIDTH, height, escapeText(title), escapeText(about)), ...legend, ...rows, '</svg>'].join('\n')}\n`
}
