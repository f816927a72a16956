#!/usr/bin/env node
/**
 * Packrat's TCP beside Linux's over the same bad links: goodput for each loss, round trip and reordering, in both
 * directions. Linux always stands at the near end; the far end is Packrat or Linux. The same impairment, with the same
 * seeds, lies between them, once in `packrat serve --impair` and once in `packrat wire` (scripts/linux-grid/run.mjs).
 *
 *   receives:  Linux sends to Packrat   /  Linux sends to Linux
 *   sends:     Packrat sends to Linux   /  Linux sends to Linux
 *
 * Both senders use CUBIC, both receivers offer up to 4 MiB. Each figure is the median over the seeds, and the runs of a cell
 * are interleaved, because a machine's speed drifts. Where links lose frames, several connections run side by side: they do
 * not hinder each other, for the link has no rate, and their sum depends less on where the losses fall.
 *
 * Each run has network namespaces of its own. Nothing of the machine's own network is touched.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const RUN = join(import.meta.dirname, 'linux-grid/run.mjs')
const RUN_SECONDS_EXTRA = 60
const LOSSY_FLOWS = 16
/** A window opens in so many round trips that a run has to be longer for this one to reach it. */
const LONG_RTT_MS = 100

const USAGE = `usage: node scripts/linux-grid.mjs [flags]
  --loss LIST        percent (default 0,0.1,1,3)
  --rtt LIST         milliseconds (default 1,20,100)
  --reorder LIST     percent (default 0,2)
  --direction LIST   of receives,sends, as Packrat sees it (default both)
  --seeds LIST       of the impairment (default 1,2,3)
  --seconds N        length of a run (default 4); twice that where the round trip is 100 ms or more
  --jobs N           runs at a time (default 1; a run without loss may need two cores for itself)
  --json             print one JSON document, with the counters of every run, instead of the table`

function fail(status, message) {
  console.error(`linux-grid: ${message}`)
  process.exit(status)
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        loss: { type: 'string', default: '0,0.1,1,3' },
        rtt: { type: 'string', default: '1,20,100' },
        reorder: { type: 'string', default: '0,2' },
        direction: { type: 'string', default: 'receives,sends' },
        seeds: { type: 'string', default: '1,2,3' },
        seconds: { type: 'string', default: '4' },
        jobs: { type: 'string', default: '1' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(USAGE)
      process.exit(0)
    }
    const numbers = (name, least) => {
      const list = values[name].split(',').map(Number)
      if (!list.every((number) => number >= least)) throw new Error(`--${name} takes numbers from ${least} on`)
      return list
    }
    const directions = values.direction.split(',')
    if (!directions.every((name) => name === 'receives' || name === 'sends'))
      throw new Error('--direction takes receives, sends or both, with a comma')
    return {
      losses: numbers('loss', 0),
      rtts: numbers('rtt', 0.1),
      reorders: numbers('reorder', 0),
      directions,
      seeds: numbers('seeds', 1),
      seconds: numbers('seconds', 1)[0],
      jobs: numbers('jobs', 1)[0],
      json: values.json,
    }
  } catch (error) {
    return fail(2, `${error.message}\n${USAGE}`)
  }
}

const options = readOptions()
/** Not a number where every run has failed. */
const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN

function cells() {
  const found = []
  for (const direction of options.directions)
    for (const reorder of options.reorders)
      for (const rttMs of options.rtts)
        for (const loss of options.losses) found.push({ direction, reorder, rttMs, loss, packrat: [], linux: [] })
  return found
}

function impairmentOf({ rttMs, loss, reorder }, seed) {
  const items = [`delay=${Math.round(rttMs * 500)}us`, `seed=${seed}`]
  if (loss > 0) items.push(`loss=${loss}%`)
  if (reorder > 0) items.push(`reorder=${reorder}%`)
  return items.join(',')
}

/** timeout(1) of each run, which passes a signal on. It has a process group of its own: Ctrl-C does not reach it. */
const running = new Set()
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => {
    for (const child of running) child.kill('SIGTERM')
    process.exit(1)
  })

/** One run in a network namespace of its own; resolves with what it printed. */
function measure(cell, stack, seed, unshare) {
  const argument = {
    stack,
    direction: cell.direction,
    impairment: impairmentOf(cell, seed),
    seconds: options.seconds * (cell.rttMs >= LONG_RTT_MS ? 2 : 1),
    flows: cell.loss > 0 && cell.rttMs > 1 ? LOSSY_FLOWS : 1,
  }
  return new Promise((resolve, reject) => {
    const limit = String(argument.seconds + RUN_SECONDS_EXTRA)
    const child = spawn('timeout', [limit, 'unshare', ...unshare, process.execPath, RUN, JSON.stringify(argument)])
    running.add(child)
    let output = ''
    let errors = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (errors += chunk))
    child.on('error', reject)
    child.on('close', (status) => {
      running.delete(child)
      if (status === 0) resolve({ seed, ...JSON.parse(output) })
      else reject(new Error(`${stack}, ${argument.impairment}, ${argument.direction}: status ${status}: ${errors}`))
    })
  })
}

/** What became of runs that ended without a figure. */
const failures = []

/** All runs, `jobs` at a time, the two stacks of a cell one after the other. */
async function measureAll(grid, unshare) {
  const queue = []
  for (const seed of options.seeds)
    for (const cell of grid) for (const stack of ['packrat', 'linux']) queue.push({ cell, stack, seed })
  const total = queue.length
  const worker = async () => {
    for (let job = queue.shift(); job; job = queue.shift()) {
      await measure(job.cell, job.stack, job.seed, unshare).then(
        (result) => job.cell[job.stack].push(result),
        (error) => failures.push(error.message),
      )
      if (process.stderr.isTTY) process.stderr.write(`\r${total - queue.length} of ${total} runs `)
    }
  }
  await Promise.all(Array.from({ length: options.jobs }, worker))
  if (process.stderr.isTTY) process.stderr.write('\n')
}

function summary(cell) {
  const goodput = (runs) => median(runs.map(({ megabits }) => megabits))
  const [packratMegabits, linuxMegabits] = [goodput(cell.packrat), goodput(cell.linux)]
  return { ...cell, packratMegabits, linuxMegabits, ratio: packratMegabits / linuxMegabits }
}

/** A table for each direction: a line for each link, with Packrat's goodput, Linux's, and the ratio. */
function printTables(results) {
  for (const direction of options.directions) {
    console.log(`\nPackrat ${direction}: goodput of Packrat / Linux in Mbit/s, and the ratio\n`)
    console.log(`| RTT ms | reorder | ${options.losses.map((loss) => `loss ${loss} %`).join(' | ')} |`)
    console.log(`|---:|---:|${options.losses.map(() => '---:|').join('')}`)
    for (const reorder of options.reorders)
      for (const rttMs of options.rtts) {
        const row = options.losses.map((loss) => {
          const found = results.find(
            (cell) =>
              cell.direction === direction && cell.reorder === reorder && cell.rttMs === rttMs && cell.loss === loss,
          )
          const show = (megabits) => (megabits < 10 ? megabits.toFixed(1) : String(Math.round(megabits)))
          return `${show(found.packratMegabits)} / ${show(found.linuxMegabits)} **${found.ratio.toFixed(2)}**`
        })
        console.log(`| ${rttMs} | ${reorder} % | ${row.join(' | ')} |`)
      }
  }
}

const unshare = [['-n'], ['-Urn']].find(
  (flags) => spawnSync('unshare', [...flags, 'true'], { stdio: 'ignore', timeout: 10_000 }).status === 0,
)
if (unshare === undefined) fail(3, 'no private networks here (unshare needs root, or user namespaces); try sudo')
if (!existsSync(join(import.meta.dirname, '../dist/tools/packrat.js')))
  fail(3, 'Packrat is not built; run: npm run build')
const grid = cells()
await measureAll(grid, unshare)
const results = grid.map(summary)
if (options.json) console.log(JSON.stringify({ ...options, results }, undefined, 1))
else printTables(results)
for (const failure of failures) console.error(`linux-grid: a run failed: ${failure}`)
process.exitCode = failures.length === 0 ? 0 : 1
