/**
 * A run as a time-sequence diagram, the picture in which TCP people think: time to the right, sequence numbers up; the
 * congestion window below, on the same time axis. One SVG document without any outside reference, readable on a light
 * and on a dark ground.
 *
 *   bytes ▲          ─ ─ window's edge          | data segment   | sent again   ✕ lost
 *         │      |  ──                          ┄ ACK line       | SACKed
 *         │   |╶──┘
 *         └───────────────► time
 *   window ▲  ╱╲╱                               ─ window   ─ ─ slow start threshold
 *
 * Called by: command.ts. Calls: diagram-axis.ts, trace.ts.
 */
import { Axis, escapeText } from './diagram-axis.ts'
import { STYLE } from './diagram-style.ts'
import type { Outcome } from './measurement.ts'
import { dataSender } from './script.ts'
import type { TraceSegment, WindowSample } from './trace.ts'

const WIDTH = 1100
const LEFT = 74
const RIGHT = 24
const SEQUENCE_TOP = 108
const SEQUENCE_HEIGHT = 420
const WINDOW_GAP = 40
const WINDOW_HEIGHT = 130
/** Height of a segment's mark, at least; a segment of a long run is less than a pixel. */
const MARK_MIN = 3
const CROSS = 4

const LEGEND: readonly (readonly [string, string])[] = [
  ['data', 'data'],
  ['again', 'sent again'],
  ['probe', 'event'],
  ['lost', 'lost'],
  ['sack', 'SACKed'],
  ['ack', 'acknowledged'],
  ['edge', "window's edge"],
]

/** The first connection of a run. */
export function drawDiagram(outcome: Outcome): string {
  const segments = outcome.trace.segments.filter(({ connection }) => connection === 1)
  const sender = dataSender(outcome.scenario.traffic[0]!)
  const sent = segments.filter(({ from, payloadBytes }) => from === sender && payloadBytes > 0)
  const returned = segments.filter(({ from }) => from !== sender)
  const windows = outcome.trace.windows.filter(({ connection }) => connection === 1)
  const lastUs = Math.max(1000, ...segments.map(({ atUs }) => atUs))
  const time = new Axis(0, lastUs / 1000, LEFT, WIDTH - RIGHT)
  const maxEnd = Math.max(1, ...sent.map(({ end }) => end))
  const bytes = new Axis(0, maxEnd * 1.04, SEQUENCE_TOP + SEQUENCE_HEIGHT, SEQUENCE_TOP)
  const hasWindows = sender === 'host' && windows.length > 0
  const windowTop = SEQUENCE_TOP + SEQUENCE_HEIGHT + WINDOW_GAP
  const height = (hasWindows ? windowTop + WINDOW_HEIGHT : SEQUENCE_TOP + SEQUENCE_HEIGHT) + 44
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${escapeText(outcome.scenario.name)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="ground" width="${WIDTH}" height="${height}"/>`,
    `<text class="title" x="${LEFT}" y="28">${escapeText(outcome.scenario.name)}</text>`,
    `<text class="about" x="${LEFT}" y="47">${escapeText(shorten(outcome.scenario.about))}</text>`,
    drawLegend(),
    bytes.drawHorizontal(LEFT, WIDTH - RIGHT, formatKib, 'sequence number, KB'),
    time.drawVertical(SEQUENCE_TOP, SEQUENCE_TOP + SEQUENCE_HEIGHT, hasWindows ? undefined : 'ms'),
    drawReturned(returned, time, bytes),
    ...sent.map((segment) => drawSegment(segment, time, bytes)),
  ]
  if (hasWindows) parts.push(drawWindows(windows, time, windowTop))
  return `${[...parts, '</svg>'].filter((part) => part !== '').join('\n')}\n`
}

function drawLegend(): string {
  const parts: string[] = []
  let x = LEFT
  for (const [kind, label] of LEGEND) {
    const line = kind === 'ack' || kind === 'edge'
    parts.push(
      kind === 'lost'
        ? cross(x + 5, 66)
        : line
          ? `<path class="${kind}" d="M${x} 66h14"/>`
          : `<path class="${kind}" d="M${x + 5} 60v12"/>`,
    )
    parts.push(`<text class="label" x="${x + (line ? 20 : 13)}" y="70">${label}</text>`)
    x += (line ? 36 : 30) + label.length * 7
  }
  return parts.join('')
}

/** A bar from its first byte to its last. */
function drawSegment(segment: TraceSegment, time: Axis, bytes: Axis): string {
  const x = time.at(segment.atUs / 1000)
  const bottom = bytes.at(segment.start)
  const top = Math.min(bytes.at(segment.end), bottom - MARK_MIN)
  const isLost = segment.fate === 'dropped' || segment.lostByLink
  const isTouched = !isLost && segment.fate !== 'passed'
  const kind = segment.names.has('retransmission') ? 'again' : isTouched ? 'probe' : 'data'
  const [name, number] = [...segment.names][0] ?? ['segment', 0]
  const fate = isLost ? ', lost' : isTouched ? `, ${segment.fate}` : ''
  const tip = `<title>${name} ${number}${fate}: ${segment.start}–${segment.end} at ${(segment.atUs / 1000).toFixed(1)} ms</title>`
  const bar = `<path class="${kind}" d="M${round(x)} ${round(bottom)}V${round(top)}">${tip}</path>`
  return isLost ? `${bar}${cross(x, (top + bottom) / 2)}` : bar
}

function cross(x: number, y: number): string {
  return `<path class="lost" d="M${round(x - CROSS)} ${round(y - CROSS)}l${2 * CROSS} ${2 * CROSS}m0 ${-2 * CROSS}l${-2 * CROSS} ${2 * CROSS}"/>`
}

/** The staircases of what is acknowledged and of what the window allows, and each SACK block where it was reported. */
function drawReturned(returned: readonly TraceSegment[], time: Axis, bytes: Axis): string {
  // What the script held back came later: the next one says it.
  const seen = returned.filter(({ acknowledged, fate }) => acknowledged >= 0 && fate !== 'dropped' && fate !== 'held')
  const highest = bytes.last
  const ack: [number, number][] = []
  const edge: [number, number][] = []
  let acknowledged = 0
  let right = 0
  for (const segment of seen) {
    acknowledged = Math.max(acknowledged, segment.acknowledged)
    right = segment.acknowledged + segment.windowBytes
    ack.push([segment.atUs / 1000, acknowledged])
    edge.push([segment.atUs / 1000, Math.min(right, highest)])
  }
  const dropped = returned.filter(({ acknowledged, fate }) => acknowledged >= 0 && fate === 'dropped')
  const sacks = seen.flatMap(({ atUs, sack }) =>
    sack.map(([left, end]) => {
      const bottom = bytes.at(left)
      return `M${round(time.at(atUs / 1000))} ${round(bottom)}V${round(Math.min(bytes.at(end), bottom - MARK_MIN))}`
    }),
  )
  return [
    `<path class="edge" d="${steps(edge, time, bytes)}"/>`,
    sacks.length === 0 ? '' : `<path class="sack" d="${sacks.join('')}"/>`,
    `<path class="ack" d="${steps(ack, time, bytes)}"/>`,
    ...dropped.map(({ atUs, acknowledged: number }) => cross(time.at(atUs / 1000), bytes.at(Math.max(number, 0)))),
  ].join('\n')
}

function drawWindows(windows: readonly WindowSample[], time: Axis, top: number): string {
  const segmentsOf = (sample: WindowSample): number => sample.windowBytes / sample.mssBytes
  const largest = Math.max(...windows.map(segmentsOf)) * 1.1
  const axis = new Axis(0, largest, top + WINDOW_HEIGHT, top)
  const points = (value: (sample: WindowSample) => number): [number, number][] => [
    ...windows.map((sample): [number, number] => [sample.atUs / 1000, Math.min(value(sample), largest)]),
    [time.last, Math.min(value(windows.at(-1)!), largest)],
  ]
  return [
    axis.drawHorizontal(LEFT, WIDTH - RIGHT, String, 'congestion window, segments'),
    time.drawVertical(top, top + WINDOW_HEIGHT, 'ms'),
    `<path class="threshold" d="${steps(
      points((s) => s.thresholdBytes / s.mssBytes),
      time,
      axis,
    )}"/>`,
    `<path class="window" d="${steps(points(segmentsOf), time, axis)}"/>`,
    `<text class="label" x="${WIDTH - RIGHT}" y="${top - 8}" text-anchor="end">solid: window · dashed: slow start threshold</text>`,
  ].join('\n')
}

/** A path that goes right, then up or down. */
function steps(points: readonly (readonly [number, number])[], time: Axis, values: Axis): string {
  return points
    .map(([at, value], index) => {
      const x = round(time.at(at))
      const y = round(values.at(value))
      return index === 0 ? `M${x} ${y}` : `H${x}V${y}`
    })
    .join('')
}

function shorten(text: string): string {
  return text.length <= 150 ? text : `${text.slice(0, 146).replace(/ \S*$/, '')} …`
}

function formatKib(bytes: number): string {
  return String(Math.round(bytes / 100) / 10)
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
