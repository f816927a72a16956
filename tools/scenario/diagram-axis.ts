/** An axis of a diagram: from values to places, with round numbers at its ticks. Called by: diagram.ts. */

const TICKS = 7
const ROUND_STEPS = [1, 2, 5, 10]

export class Axis {
  readonly first: number
  readonly last: number
  private readonly from: number
  private readonly to: number

  /** Values `first` to `last` lie at the places `from` to `to`. */
  constructor(first: number, last: number, from: number, to: number) {
    this.first = first
    this.last = last
    this.from = from
    this.to = to
  }

  at(value: number): number {
    return this.from + ((value - this.first) / (this.last - this.first)) * (this.to - this.from)
  }

  /** Lines across, labels at the left, and what is measured above them. */
  drawHorizontal(left: number, right: number, format: (value: number) => string, title: string): string {
    const lines = this.ticks().map((value) => {
      const y = place(this.at(value))
      return `<path class="grid" d="M${left} ${y}H${right}"/><text class="tick" x="${left - 8}" y="${y + 4}" text-anchor="end">${format(value)}</text>`
    })
    return [...lines, `<text class="label" x="${left}" y="${place(this.to - 9)}">${escapeText(title)}</text>`].join('')
  }

  /** Lines upward; labels below if there is a unit to show. */
  drawVertical(top: number, bottom: number, unit: string | undefined): string {
    const lines = this.ticks().map((value) => {
      const x = place(this.at(value))
      const label =
        unit === undefined
          ? ''
          : `<text class="tick" x="${x}" y="${bottom + 18}" text-anchor="middle">${value}${value === 0 ? '' : ` ${unit}`}</text>`
      return `<path class="grid" d="M${x} ${top}V${bottom}"/>${label}`
    })
    return lines.join('')
  }

  private ticks(): number[] {
    const rough = (this.last - this.first) / TICKS
    const power = 10 ** Math.floor(Math.log10(rough))
    const step = power * ROUND_STEPS.find((factor) => factor * power >= rough)!
    const ticks: number[] = []
    for (let index = Math.ceil(this.first / step); index * step <= this.last; index++)
      ticks.push(Number((index * step).toPrecision(6)))
    return ticks
  }
}

export function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

function place(value: number): number {
  return Math.round(value * 10) / 10
}
