/**
 * `packrat bench figure2`, `table1 --tap` and `sweep --tap` at their smallest size: daemons on TAPs, loaded by wrk, in the private network that the command
 * makes for itself.
 *
 * @timeout 110
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { lacks, PACKRAT_PROGRAM, run, scratchDirectory } from '../support/lab.ts'
import { unshareArguments } from '../support/netns.ts'

const STORES = ['discard', 'copy', 'conventional', 'packet']
const TIMEOUT_MS = 90_000

interface Figure2Document {
  readonly environment: Readonly<Record<string, string>>
  readonly points: readonly {
    store: string
    connections: number
    requestsPerSecond: number
    meanLatencyUs: number
    p99LatencyUs: number
    failedRounds: number
  }[]
}

interface Table1Document {
  readonly rows: readonly object[]
  readonly roundTripsUs: readonly { store: string; medianUs: number; fastRoundUs: number; p99Us: number }[]
}

const missing = unshareArguments() === undefined ? 'no private network' : lacks('wrk', 'taskset')()
if (missing !== undefined) console.error(`SKIPPED test/e2e/bench.test.ts: ${missing}`)
const orSkip = missing === undefined ? test : test.skip

orSkip('figure2 prints a point for each store and number of connections, and draws them', async () => {
  const pictures = scratchDirectory()
  const size = ['--rounds', '1', '--seconds', '1', '--connections', '1,8', '--stores', STORES.join(',')]
  const command = [PACKRAT_PROGRAM, 'bench', 'figure2', '--json', '--svg', pictures, ...size]
  const { status, stdout, stderr } = await run(process.execPath, command, { timeoutMs: TIMEOUT_MS })
  assert.is(status, 0, stderr)
  const { points, environment } = JSON.parse(stdout.toString()) as Figure2Document
  assert.equal(
    points.map(({ store, connections }) => `${store} ${connections}`),
    STORES.flatMap((store) => [`${store} 1`, `${store} 8`]),
  )
  for (const point of points) {
    assert.ok(point.requestsPerSecond > 10, `${point.store}: ${point.requestsPerSecond} requests/s`)
    assert.ok(point.meanLatencyUs > 0 && point.p99LatencyUs >= point.meanLatencyUs / 10)
    assert.is(point.failedRounds, 0)
  }
  assert.is(environment.device, 'tap')
  const files = readdirSync(pictures).sort()
  assert.equal(files, ['figure2-latency.svg', 'figure2-relative.svg', 'figure2-throughput.svg'])
  for (const file of files) {
    const svg = readFileSync(join(pictures, file), 'utf8')
    for (const store of STORES) assert.match(svg, `>${store}</text>`)
  }
})

orSkip('table1 --tap adds the round trips of each store', async () => {
  const size = ['--rounds', '2', '--requests', '20', '--keys', '20']
  const command = [PACKRAT_PROGRAM, 'bench', 'table1', '--tap', '--json', ...size]
  const { status, stdout, stderr } = await run(process.execPath, command, { timeoutMs: TIMEOUT_MS })
  assert.is(status, 0, stderr)
  const { roundTripsUs, rows } = JSON.parse(stdout.toString()) as Table1Document
  assert.is(rows.length, 8)
  assert.equal(
    roundTripsUs.map(({ store }) => store),
    STORES,
  )
  for (const { store, medianUs, fastRoundUs, p99Us } of roundTripsUs) {
    assert.ok(
      fastRoundUs > 5 && fastRoundUs <= medianUs && medianUs <= p99Us,
      `${store}: ${fastRoundUs} ${medianUs} ${p99Us}`,
    )
  }
})

interface SweepDocument {
  readonly curves: readonly {
    readonly name: string
    readonly points: readonly { series: string; x: number; best: number; median: number; worst: number }[]
    readonly skipped: readonly string[]
  }[]
}

orSkip('sweep --tap adds the connections over TAP', async () => {
  const size = ['--rounds', '1', '--seconds', '1', '--quick', '--curves', 'mix', '--connections', '1,40']
  const command = [PACKRAT_PROGRAM, 'bench', 'sweep', '--tap', '--json', ...size]
  const { status, stdout, stderr } = await run(process.execPath, command, { timeoutMs: TIMEOUT_MS })
  assert.is(status, 0, stderr)
  const { curves } = JSON.parse(stdout.toString()) as SweepDocument
  assert.equal(
    curves.map(({ name }) => name),
    ['mix', 'tap-connections'],
  )
  const { points, skipped } = curves[1]!
  assert.equal(skipped, [])
  assert.equal(
    points.map(({ series, x }) => `${series} ${x}`),
    ['discard 1', 'packet 1', 'discard 40', 'packet 40'],
  )
  for (const { median } of points) assert.ok(median > 1 && median < 1e6, `${median} µs`)
})

test.run()
