/**
 * `packrat bench`: table1 and sweep at their smallest size, what wrong usage gets, and the charts.
 *
 * @timeout 100
 */
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { drawBarChart } from '../../tools/bench/bar-chart.ts'
import { drawLineChart, type LineChart } from '../../tools/bench/line-chart.ts'
import { quantile } from '../../tools/bench/statistics.ts'
import { packrat, scratchDirectory } from '../support/lab.ts'

const OPERATIONS = [
  'networking',
  'request preparation',
  'checksum',
  'data copy',
  'buffer allocation and insertion',
  'data management',
  'persistence',
  'total',
]

interface Table1Document {
  readonly environment: Readonly<Record<string, string>>
  readonly rows: readonly { operation: string; paperUs: number; conventionalUs: number; packetUs: number }[]
  readonly dataManagementUs: { readonly paper: number; readonly conventional: number; readonly packet: number }
}

test('table1 prints every row of the paper with our two columns, and what it was measured on', async () => {
  const pictures = join(scratchDirectory(), 'pictures')
  const size = ['--rounds', '1', '--requests', '10', '--keys', '20']
  const { status, stdout, stderr } = await packrat('bench', 'table1', '--json', ...size, '--svg', pictures)
  assert.is(status, 0, stderr)
  const { rows, dataManagementUs, environment } = JSON.parse(stdout.toString()) as Table1Document
  assert.equal(
    rows.map(({ operation }) => operation),
    OPERATIONS,
  )
  assert.is(rows.at(-1)!.paperUs, 34.79)
  for (const row of rows) assert.ok(Number.isFinite(row.conventionalUs) && Number.isFinite(row.packetUs), row.operation)
  assert.ok(rows[0]!.conventionalUs > 0 && rows.at(-1)!.packetUs > 0)
  assert.is(dataManagementUs.paper, 6.39)
  assert.is(dataManagementUs.packet, rows[5]!.packetUs)
  // With one round the three estimates agree, so the parts add up to the whole.
  const parts = rows.slice(1, 5).reduce((sum, { conventionalUs }) => sum + conventionalUs, 0)
  assert.ok(Math.abs(parts - dataManagementUs.conventional) < 0.05)
  for (const name of ['machine', 'kernel', 'node', 'commit', 'device', 'durability', 'command']) {
    assert.ok(environment[name], name)
  }
  assertSvg(readFileSync(join(pictures, 'table1.svg'), 'utf8'))
})

interface SweepDocument {
  readonly curves: readonly {
    readonly name: string
    readonly unit: string
    readonly points: readonly { series: string; x: number; best: number; median: number; worst: number }[]
    readonly skipped: readonly string[]
  }[]
}

test('sweep prints a point for each line and place with its spread, and draws each curve', async () => {
  const pictures = join(scratchDirectory(), 'pictures')
  const size = ['--quick', '--rounds', '2', '--curves', 'mix,classes', '--disk', tmpdir()]
  const { status, stdout, stderr } = await packrat('bench', 'sweep', '--json', ...size, '--svg', pictures)
  assert.is(status, 0, stderr)
  const { curves } = JSON.parse(stdout.toString()) as SweepDocument
  assert.equal(
    curves.map(({ name, unit }) => [name, unit]),
    [
      ['mix', 'µs'],
      ['classes', 'requests/s'],
    ],
  )
  const [mix, classes] = curves
  assert.equal(
    mix!.points.map(({ series, x }) => `${series} ${x}`),
    [0, 50, 100].flatMap((x) => [`conventional ${x}`, `packet ${x}`]),
  )
  for (const { best, median, worst } of mix!.points) assert.ok(best > 0 && best <= median && median <= worst)
  for (const { best, median, worst } of classes!.points) assert.ok(best >= median && median >= worst && worst > 0)
  // Where the disk is no disk, that is said; else it is a class of its own.
  const series = new Set(classes!.points.map((point) => point.series))
  assert.is(series.size, classes!.skipped.length > 0 ? 1 : 2, classes!.skipped.join())
  for (const name of ['mix', 'classes']) {
    const svg = readFileSync(join(pictures, `sweep-${name}.svg`), 'utf8')
    assertSvg(svg)
    for (const { series: line } of curves.find((curve) => curve.name === name)!.points) assert.match(svg, `>${line}<`)
  }
})

test('wrong usage is one line and exit status 2, and nothing is measured', async () => {
  for (const [args, complaint] of [
    [['table2'], 'table1, figure2, sweep'],
    [['sweep', '--curves', 'size,shape'], 'shape'],
    [['figure2', '--connections', '1,zero'], '--connections'],
    [['figure2', '--connections', '0'], '--connections'],
    [['figure2', '--stores', 'packet,fast'], 'fast'],
    [['table1', '--bytes', '1G'], '--bytes'],
    [[], 'NAME'],
  ] as const) {
    const { status, stderr, stdout } = await packrat('bench', ...args)
    assert.is(status, 2, args.join(' '))
    assert.match(stderr, complaint)
    assert.is(stderr.trim().split('\n').length, 1)
    assert.is(stdout.length, 0)
  }
})

test('a directory that cannot be made is said before anything is measured', async () => {
  const { status, stderr } = await packrat('bench', 'table1', '--svg', join(process.execPath, 'pictures'))
  assert.is(status, 3)
  assert.match(stderr, 'ENOTDIR')
})

const chart: LineChart = {
  title: 'a < b & c',
  about: 'about',
  yTitle: 'y',
  xTitle: 'x',
  categories: ['1', '16', '64'],
  series: [
    { name: 'discard', colour: 0, values: [10, 100, 1000] },
    { name: 'packet', colour: 4, values: [9, 99, 999] },
  ],
  scale: 'linear',
  format: String,
}

test('a line chart has a point for each value inside its frame, on both scales, and names that do not overlap', () => {
  for (const scale of ['linear', 'logarithmic'] as const) {
    const svg = drawLineChart({ ...chart, scale })
    assertSvg(svg)
    const places = [...svg.matchAll(/cx="([\d.]+)" cy="([\d.]+)"/g)].map((match) => [
      Number(match[1]),
      Number(match[2]),
    ])
    assert.is(places.length, 6)
    for (const [x, y] of places) assert.ok(x! >= 84 && x! <= 860 - 128 && y! >= 92 && y! <= 460 - 52, `${x}, ${y}`)
    const names = [...svg.matchAll(/class="name f\d" x="[\d.]+" y="([\d.]+)"/g)].map((match) => Number(match[1]))
    assert.ok(Math.abs(names[0]! - names[1]!) >= 15)
  }
})

test('a line of a chart may have gaps', () => {
  const series = [
    { name: 'short', colour: 2, values: [10, 20, undefined] },
    { name: 'late', colour: 3, values: [undefined, 30, 40] },
  ]
  const svg = drawLineChart({ ...chart, series })
  assertSvg(svg)
  assert.is([...svg.matchAll(/<circle/g)].length, 4)
  assert.is([...svg.matchAll(/class="line[^"]*" d="(M[^"M]*)"/g)].length, 2, 'each is one stroke')
  assert.is([...svg.matchAll(/class="name/g)].length, 2)
})

test('one connection and one store are a chart too', () => {
  assertSvg(drawLineChart({ ...chart, categories: ['1'], series: [{ name: 'packet', colour: 4, values: [5] }] }))
  const single = {
    ...chart,
    scale: 'logarithmic' as const,
    categories: ['1'],
    series: [{ name: 'a', colour: 0, values: [7] }],
  }
  assertSvg(drawLineChart(single))
})

test('a bar chart draws costs below zero as nothing', () => {
  const svg = drawBarChart({
    title: 't',
    about: 'a',
    parts: ['p', 'q'],
    bars: [{ name: 'n', values: [-1, 2] }],
    format: String,
  })
  assertSvg(svg)
  assert.match(svg, 'width="0"')
})

test('a quantile is one of the samples', () => {
  assert.is(quantile([3, 1, 2], 0), 1)
  assert.is(quantile([3, 1, 2], 0.5), 2)
  assert.is(quantile([3, 1, 2], 1), 3)
  assert.is(quantile([7], 0.1), 7)
})

/** Elements are balanced, text is escaped, no number went wrong, nothing is fetched from outside. */
function assertSvg(svg: string): void {
  const open: string[] = []
  for (const [, close, name, attributes] of svg.matchAll(/<(\/?)([a-z]+)([^>]*)>/g)) {
    if (close === '/') assert.is(open.pop(), name)
    else if (!attributes!.endsWith('/')) open.push(name!)
  }
  assert.equal(open, [])
  assert.not.match(svg, /NaN|Infinity|undefined/)
  assert.not.match(svg.replace('xmlns="http://www.w3.org/2000/svg"', ''), /https?:|@import/)
}

test.run()
