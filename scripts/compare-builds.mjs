#!/usr/bin/env node
/**
 * What a change costs or brings: two builds serve the same load in turn, client and server of each in one process of its
 * own, and the CPU time of neighbouring rounds is compared.
 *
 *   node scripts/compare-builds.mjs BUILD BUILD [--store NAME[,NAME]] [--connections N] [--rounds N] [--requests N]
 *                                   [--keys N] [--bytes N] [--reads PERCENT] [--no-flush] [--cpus LIST]
 *
 * A BUILD is a directory that tsc wrote: `npx tsc -p tsconfig.json --outDir dist/before`, then the change, then `npm run
 * build:ts`, then `dist/before dist`. Both use the native packages of this folder. With one build and two stores,
 * `dist dist --store discard,packet`, it says what the second store adds.
 *
 * Other work on the machine makes both slower, and by more than most changes bring. Neighbouring rounds suffer alike: so
 * the middle of their differences means something where the two averages do not. The same build twice shows how much.
 *
 * Calls: tools/bench/worker.js of each build.
 */
import { fork, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

const WARM_UP_ROUNDS = 10
const EXIT_USAGE = 2

const { values: flags, positionals: builds } = parseArgs({
  allowPositionals: true,
  options: {
    store: { type: 'string', default: 'packet' },
    connections: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '60' },
    requests: { type: 'string', default: '2000' },
    keys: { type: 'string', default: '1000' },
    bytes: { type: 'string', default: '1024' },
    reads: { type: 'string', default: '0' },
    'no-flush': { type: 'boolean', default: false },
    cpus: { type: 'string' },
  },
})

function workerOf(build) {
  return resolve(build, 'tools/bench/worker.js')
}

const numbers = [flags.connections, flags.rounds, flags.requests, flags.keys, flags.bytes, flags.reads]
if (!numbers.every((text) => /^\d{1,7}$/.test(text)) || Number(flags.rounds) < 1) {
  console.error('compare-builds: the flags --connections to --reads take whole numbers, --rounds at least 1')
  process.exit(EXIT_USAGE)
}
if (builds.length !== 2 || !builds.every((build) => existsSync(workerOf(build)))) {
  console.error('compare-builds: name two directories with a build of Packrat; the comment in the script says how')
  process.exit(EXIT_USAGE)
}

const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'packrat-compare-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

/** The next message of a worker; rejects if it ends instead. */
function message(worker) {
  return new Promise((fulfil, reject) => {
    const ended = (status) => reject(new Error(`a worker ended with ${status}`))
    worker.once('exit', ended)
    worker.once('message', (value) => {
      worker.off('exit', ended)
      fulfil(value)
    })
  })
}

async function start(build, number) {
  const stores = flags.store.split(',')
  const options = {
    store: stores[number] ?? stores[0],
    path: join(directory, `${number}.pm`),
    keys: Number(flags.keys),
    valueBytes: Number(flags.bytes),
    connections: Number(flags.connections),
    durability: 'process',
    integrity: 'tcp',
    cachesPersist: flags['no-flush'],
    lineLatencyNs: 0,
  }
  const worker = fork(workerOf(build), [JSON.stringify(options)])
  if (flags.cpus !== undefined) spawnSync('taskset', ['--cpu-list', '--pid', flags.cpus, `${worker.pid}`])
  await message(worker)
  return { name: `${build} ${options.store}`, worker, samples: [] }
}

async function round({ worker }) {
  const answer = message(worker)
  worker.send({ requests: Number(flags.requests), readPercent: Number(flags.reads) })
  return (await answer).cpuUs
}

function quantile(samples, share) {
  return samples.toSorted((a, b) => a - b)[Math.floor((samples.length - 1) * share)].toFixed(2)
}

const sides = [await start(builds[0], 0), await start(builds[1], 1)]
for (let number = -WARM_UP_ROUNDS; number < Number(flags.rounds); number++) {
  // Which one is first alternates too.
  for (const side of number % 2 === 0 ? sides : sides.toReversed()) {
    const cpuUs = await round(side)
    if (number >= 0) side.samples.push(cpuUs)
  }
}
console.log('CPU time of a request, client and server, us:  best  tenth  middle')
for (const { name, samples } of sides) {
  console.log(`${name.padEnd(46)} ${[0, 0.1, 0.5].map((share) => quantile(samples, share).padStart(6)).join(' ')}`)
}
const differences = sides[1].samples.map((cpuUs, index) => cpuUs - sides[0].samples[index])
const [low, middle, high] = [0.25, 0.5, 0.75].map((share) => quantile(differences, share))
console.log(`${'the second less the first, round by round'.padEnd(46)} ${middle} (half of them: ${low} to ${high})`)
for (const { worker } of sides) worker.disconnect()
