/**
 * scripts/peers.sh at its smallest: each peer that is here answers, what is not is said, wrong usage is refused.
 *
 * @timeout 110
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { tableOf } from '../../tools/bench/markdown.ts'
import { lacks, run, scratchDirectory } from '../support/lab.ts'
import { unshareArguments } from '../support/netns.ts'

const SCRIPT = fileURLToPath(new URL('../../../scripts/peers.sh', import.meta.url))
const SIZE = ['--rounds', '1', '--seconds', '1', '--connections', '2']
const TIMEOUT_MS = 100_000

interface Document {
  readonly results: readonly {
    readonly connections: number
    readonly servers: Readonly<Record<string, { requestsPerSecond: number; errors: number; packratRatio?: number }>>
  }[]
  readonly streams: readonly {
    readonly name: string
    readonly offloads: string
    readonly gbits: number
    readonly ratio?: number
    readonly beside?: string
  }[]
  readonly skipped: readonly string[]
}

const missing = unshareArguments() === undefined ? 'no private network' : lacks('wrk', 'taskset', 'nsenter')()
if (missing !== undefined) console.error(`SKIPPED test/scripts/peers.test.ts: ${missing}`)
const orSkip = missing === undefined ? test : test.skip

orSkip('every peer that is here is measured, and every other one is named', async () => {
  const pictures = scratchDirectory()
  const names = ['packrat', 'nginx', 'nginx-put', 'node', 'node-lmdb', 'node-leveldb', 'redis']
  const flags = [...SIZE, '--only', names.join(','), '--json', '--svg', pictures]
  const { status, stdout, stderr } = await run('bash', [SCRIPT, ...flags], { timeoutMs: TIMEOUT_MS })
  assert.is(status, 0, stderr)
  const document = JSON.parse(stdout.toString()) as Document
  const [{ connections, servers }] = document.results as [Document['results'][number]]
  assert.is(connections, 2)
  const absent = document.skipped.map((reason) => reason.split(':')[0])
  assert.equal(
    Object.keys(servers),
    names.filter((name) => !absent.includes(name)),
  )
  for (const [name, { requestsPerSecond, errors, packratRatio }] of Object.entries(servers)) {
    assert.ok(requestsPerSecond > 10, `${name}: ${requestsPerSecond}`)
    assert.is(errors, 0, name)
    const expected = servers.packrat!.requestsPerSecond / requestsPerSecond
    if (name !== 'packrat') assert.ok(Math.abs(packratRatio! / expected - 1) < 0.02, `${name}: ${packratRatio}`)
  }
  for (const reason of document.skipped) assert.match(stderr, `SKIP: ${reason}`)
  assert.match(tableOf(document), `| 2 | node | `)
  assert.match(readFileSync(join(pictures, 'peers-put.svg'), 'utf8'), '>packrat</text>')
})

orSkip('iperf3 between kernels stands beside Packrat', async () => {
  const flags = [...SIZE, '--only', 'packrat,iperf3', '--streams', '1', '--json']
  const { status, stdout, stderr } = await run('bash', [SCRIPT, ...flags], { timeoutMs: TIMEOUT_MS })
  assert.is(status, 0, stderr)
  const { streams, skipped } = JSON.parse(stdout.toString()) as Document
  if (skipped.length > 0) return
  assert.equal(
    streams.map(({ name, offloads, beside }) => `${name}, ${offloads}, ${beside}`),
    [
      'Linux to Linux, all, undefined',
      'Linux to Linux, none, undefined',
      'Linux to Packrat, all, Linux to Linux',
      'Linux to Packrat, none, Linux to Linux',
      'PUT of 1 GiB, all, Linux to Packrat',
      'Linux to Linux, all, undefined',
      'Linux to Linux, none, undefined',
      'Packrat to Linux, all, Linux to Linux',
      'Packrat to Linux, none, Linux to Linux',
    ],
  )
  for (const { gbits, ratio, beside } of streams) {
    assert.ok(gbits > 0)
    assert.is(ratio !== undefined && ratio > 0, beside !== undefined)
  }
  // One round: the ratio is that of the two figures, rounded as they are.
  assert.ok(Math.abs(streams[2]!.ratio! / (streams[2]!.gbits / streams[0]!.gbits) - 1) < 0.05)
  assert.ok(Math.abs(streams[3]!.ratio! / (streams[3]!.gbits / streams[1]!.gbits) - 1) < 0.05)
})

orSkip('wrong usage is one line and exit status 2', async () => {
  for (const [flags, complaint] of [
    [['--only', 'packrat,apache'], 'apache'],
    [['--method', 'GET', '--only', 'nginx-put'], 'nginx-put does no GET'],
    [['--rounds', '0'], '--rounds'],
    [['--faster'], '--faster'],
  ] as const) {
    const { status, stderr } = await run('bash', [SCRIPT, ...flags])
    assert.is(status, 2, stderr)
    assert.match(stderr, complaint)
    assert.is(stderr.trim().split('\n').length, 1)
  }
})

test.run()
