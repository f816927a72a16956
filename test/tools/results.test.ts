/** docs/results.md is what docs/results/ gives, and each kind of document becomes a table. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { tableOf } from '../../tools/bench/markdown.ts'
import { composeResults } from '../../tools/bench/results.ts'
import { run, scratchDirectory } from '../support/lab.ts'

const DOCS = fileURLToPath(new URL('../../../docs', import.meta.url))
const PROGRAM = fileURLToPath(new URL('../../tools/bench/results.js', import.meta.url))

const environment = {
  at: '2030-01-02T03:04:05.678Z',
  machine: '2 × processor, 8 GiB',
  kernel: '6.1',
  node: 'v20',
  commit: 'abc1234',
  device: 'tap',
  durability: 'process',
  load: '0.1 0.2 0.3',
  command: 'packrat bench sweep',
}
const curve = {
  name: 'mix',
  title: 'Title',
  about: 'about',
  xTitle: 'reads',
  unit: 'µs',
  rounds: 3,
  points: [
    { series: 'packet', x: 0, best: 1, median: 1.234, worst: 2 },
    { series: 'packet', x: 10_000, best: 100, median: 1234, worst: 2000 },
    { series: 'other', x: 10_000, best: 7, median: 8, worst: 9 },
  ],
  skipped: ['mix, other, 0: no room'],
}

/** A folder of documents with one section. */
function docs(section: string, documents: Readonly<Record<string, object>>): string {
  const folder = scratchDirectory()
  mkdirSync(join(folder, 'results'))
  writeFileSync(join(folder, 'results/01-one.md'), section)
  for (const [name, document] of Object.entries(documents)) {
    writeFileSync(join(folder, `results/${name}.json`), JSON.stringify(document))
  }
  return folder
}

test('docs/results.md is what its sections and documents give', () => {
  assert.is(readFileSync(join(DOCS, 'results.md'), 'utf8'), composeResults(DOCS), 'run npm run results')
})

test('sections follow each other by name, their text stays, tables stand in their places', () => {
  const folder = docs('# One\n\nBefore.\n\n<!-- table a-curve -->\n\nBehind.\n', {
    'a-curve': { curves: [curve], environment },
  })
  writeFileSync(join(folder, 'results/02-two.md'), '## Two\n')
  const text = composeResults(folder)
  assert.match(text, /^<!-- Generated .*\n# One\n\nBefore\.\n\n\*\*Title\./)
  assert.match(text, /Behind\.\n\n## Two\n$/)
  assert.match(text, '| reads | packet | other |\n| ---: | ---: | ---: |\n| 0 | 1.23 (1.00–2.00) |  |')
  assert.match(text, '| 10 k | 1,234 (100–2,000) | 8.00 (7.00–9.00) |')
  assert.match(text, 'Left out: mix, other, 0: no room.')
  assert.match(text, '`packrat bench sweep` · 2030-01-02 03:04 UTC · 2 × processor, 8 GiB · Linux 6.1 · Node.js v20')
})

test('a table without its document is refused, with the command that measures it', () => {
  assert.throws(() => composeResults(docs('<!-- table figure2 -->', {})), /scripts\/measure\.sh figure2/)
  assert.throws(() => tableOf({ something: 1, environment }), /no known benchmark/)
})

test('--check tells an old results.md, and writes nothing', async () => {
  const folder = docs('# One\n', {})
  const path = join(folder, 'results.md')
  writeFileSync(path, 'old')
  const check = (): Promise<{ status: number | null }> => run(process.execPath, [PROGRAM, '--check', '--docs', folder])
  assert.is((await check()).status, 1)
  assert.is(readFileSync(path, 'utf8'), 'old')
  assert.is((await run(process.execPath, [PROGRAM, '--docs', folder])).status, 0)
  assert.is((await check()).status, 0)
})

test('every row of table1, figure2 and the store has as many cells as its head', () => {
  const spread = { bestUs: 1, decileUs: 2, medianUs: 3 }
  const row = { operation: 'total', paperUs: 1, conventionalUs: 2, packetUs: 3 }
  const point = { connections: 1, requestsPerSecond: 1000, bestRequestsPerSecond: 1100, worstRequestsPerSecond: 900 }
  const times = { meanLatencyUs: 10, p99LatencyUs: 20, serverCpuUs: 3, failedRounds: 0 }
  const documents = [
    {
      rows: [{ ...row, conventionalSpread: spread, packetSpread: spread }],
      dataManagementUs: { paper: 6, conventional: 5, packet: 1 },
      roundTripsUs: [{ store: 'packet', medianUs: 30, fastRoundUs: 20, p99Us: 90 }],
    },
    {
      points: [
        { store: 'discard', ...point, ...times },
        { store: 'packet', ...point, ...times, requestsPerSecond: 950 },
      ],
    },
    {
      windows: [{ records: 1000, newStageUs: 1, newCommitUs: 2, overwriteUs: 3, readUs: 4 }],
      reopened: { records: 1000, seconds: 1, cpuSeconds: 1, rssBytes: 1 << 20, grownBytes: 1 },
    },
  ]
  for (const document of documents) {
    const text = tableOf({ ...document, environment })
    assert.not.match(text, /undefined|NaN/)
    let cells = 0
    for (const line of text.split('\n')) {
      if (!line.startsWith('|')) cells = 0
      else if (cells === 0) cells = line.split('|').length
      else assert.is(line.split('|').length, cells, line)
    }
  }
  assert.match(tableOf({ ...documents[1]!, environment }), '| 1 | packet | 950 | 900–1,100 | 95.0 % |')
})

test.run()
