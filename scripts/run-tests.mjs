#!/usr/bin/env node
/**
 * Runs the test suite: every compiled test file is a process of its own, in a process group of its own, with a
 * time limit of its own. uvu has no time limits and sums up one file only; both are added here.
 *
 *   node scripts/run-tests.mjs [--only PATTERN] [--list] [--checks] [--directory DIR]
 *
 * Called by: scripts/test.sh, scripts/coverage.sh.
 * Calls: dist/test/**\/*.test.js and the test files of the native packages.
 *
 * Invariants:
 *  1. The last line of standard output is exactly `N passed, N failed, N skipped`.
 *  2. A file that crashes, runs out of time, or reports neither a test nor a skip counts as a failure.
 *  3. The exit status is 0 only if something passed and nothing failed.
 *  4. No process of a test file outlives it: its whole group is killed when it ends.
 *
 * A test file says in its header comment how it wants to be run:
 *   @alone          with no other test file at the same time (load, timing, memory); test/e2e always is
 *   @timeout N      its time limit in seconds
 * and prints `SKIP: reason` for what this machine cannot test. A whole suite that cannot run prints `SKIPPED FILE:
 * reason` and has uvu count its tests as skipped. The reasons are repeated at the end.
 */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { parseArgs, stripVTControlCharacters } from 'node:util'

const ROOT = resolve(import.meta.dirname, '..')
const TIMEOUT_S = 120
const TIMEOUT_E2E_S = 300
const TIMEOUT_CHECK_S = 180
/** Two files at a time: the smallest machine that the suite is meant for has two cores. */
const PARALLEL = 2
/** Output kept of one file; what comes after is counted, not kept. */
const OUTPUT_BYTES_MAX = 8 << 20
/** The comment that a file opens with. */
const HEADER_COMMENT = /^(?:\/\*[\s\S]*?\*\/|(?:\/\/.*\n)+)/

const USAGE = `usage: node scripts/run-tests.mjs [--only PATTERN] [--list] [--checks] [--directory DIR]
  --only PATTERN   only test files whose path contains PATTERN (a regular expression)
  --list           print the test files and end
  --checks         lint and type check first
  --directory DIR  take the test files of DIR instead of the project's`

/** Files under `directory` that look like tests, deepest folders included, in a stable order. */
function testFiles(directory) {
  if (!existsSync(directory)) return []
  return readdirSync(directory, { recursive: true })
    .filter((name) => /\.test\.m?js$/.test(name) && !name.includes('node_modules'))
    .sort()
    .map((name) => join(directory, name))
}

/** The project's tests. A compiled file whose source is gone is not a test any more. */
function projectTests() {
  const compiled = testFiles(join(ROOT, 'dist/test')).filter((file) =>
    existsSync(join(ROOT, relative(join(ROOT, 'dist'), file).replace(/\.js$/, '.ts'))),
  )
  const { workspaces } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const native = workspaces.flatMap((folder) => testFiles(join(ROOT, folder, 'test')))
  return [...native, ...compiled]
}

function describe(file) {
  const header = HEADER_COMMENT.exec(readFileSync(file, 'utf8'))?.[0] ?? ''
  const name = relative(ROOT, file)
  const endToEnd = name.includes('test/e2e/')
  const seconds = /@timeout (\d+)/.exec(header)
  return {
    name: name.replace(/^dist\//, ''),
    command: process.execPath,
    args: ['--enable-source-maps', file],
    alone: endToEnd || /@alone\b/.test(header),
    timeoutS: seconds ? Number(seconds[1]) : endToEnd ? TIMEOUT_E2E_S : TIMEOUT_S,
    isCheck: false,
  }
}

function checks() {
  const bin = (name) => join(ROOT, 'node_modules/.bin', name)
  const check = (name, command, args) => ({
    name,
    command,
    args,
    alone: false,
    timeoutS: TIMEOUT_CHECK_S,
    isCheck: true,
  })
  return [
    check('check: lint and format', bin('biome'), ['check', '.']),
    check('check: types', bin('tsc'), ['-p', 'tsconfig.json', '--noEmit']),
  ]
}

/**
 * A file that has printed its summary and then neither ends nor prints for this long is stuck. Node.js 20 sometimes is,
 * in its own shutdown (a compiler thread waits for a garbage collection that no longer comes), so the file gets a second
 * try; a handle that a test left open is there again.
 */
const EXIT_GRACE_MS = 15_000

/** Process groups that are running: ended with the runner, however it ends short of SIGKILL. */
const running = new Set()

function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

/** Runs one job to its end. Resolves with what it did; never rejects. */
function run(job) {
  return new Promise((done) => {
    const started = performance.now()
    const environment = { ...process.env, NO_COLOR: '1' }
    delete environment.FORCE_COLOR
    const child = spawn(job.command, job.args, {
      cwd: ROOT,
      detached: true, // a group of its own, to be killed as a whole
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const chunks = []
    let bytes = 0
    let timedOut = false
    let spawnError
    let stuck = false
    let graceTimer
    const keep = (chunk) => {
      clearTimeout(graceTimer)
      if (chunk.includes('  Duration: ')) {
        graceTimer = setTimeout(() => {
          stuck = true
          killGroup(child.pid)
        }, EXIT_GRACE_MS)
      }
      bytes += chunk.length
      if (bytes <= OUTPUT_BYTES_MAX) chunks.push(chunk)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    const timer = setTimeout(() => {
      timedOut = true
      killGroup(child.pid)
    }, job.timeoutS * 1000)
    if (child.pid !== undefined) running.add(child.pid)
    child.on('error', (error) => {
      spawnError = error
      if (child.pid === undefined) finish(null, null)
    })
    // What the file left behind holds its output open: kill the group first, then wait for the end of output.
    child.on('exit', () => killGroup(child.pid))
    child.on('close', (code, signal) => finish(code, signal))
    function finish(code, signal) {
      clearTimeout(timer)
      clearTimeout(graceTimer)
      running.delete(child.pid)
      const dropped = bytes > OUTPUT_BYTES_MAX ? `\n(${bytes - OUTPUT_BYTES_MAX} more bytes of output dropped)` : ''
      const output = stripVTControlCharacters(Buffer.concat(chunks).toString()) + dropped
      const seconds = (performance.now() - started) / 1000
      done(judge(job, { code, signal, timedOut, stuck, spawnError, output, seconds }))
    }
  })
}

/** Counts from uvu's summaries (one each time a file runs its queue) and from SKIP lines; SKIPPED ones are in uvu's count. */
function judge(job, outcome) {
  const sum = (pattern) => [...outcome.output.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0)
  const total = sum(/^ {2}Total: +(\d+)$/gm)
  const passed = sum(/^ {2}Passed: +(\d+)$/gm)
  // uvu prints a mark a test, without ending the line.
  const skips = [...outcome.output.matchAll(/^[•✘ ]*SKIP: (.*)$/gm)].map((match) => match[1])
  const skipped = sum(/^ {2}Skipped: +(\d+)$/gm) + skips.length
  for (const match of outcome.output.matchAll(/^SKIPPED [^:]*: (.*)$/gm)) skips.push(match[1])
  const result = { job, ...outcome, passed, failed: total - passed, skipped, skips, reason: '' }
  if (outcome.spawnError) result.reason = `did not start: ${outcome.spawnError.message}`
  else if (outcome.stuck) result.reason = 'did not end after its last test'
  else if (outcome.timedOut) result.reason = `ran out of time (${job.timeoutS} s)`
  else if (outcome.signal) result.reason = `died of ${outcome.signal}`
  else if (outcome.code !== 0 && result.failed === 0) result.reason = `exit status ${outcome.code}`
  else if (!job.isCheck && total === 0 && skipped === 0) result.reason = 'reported no test'
  if (result.reason) result.failed += 1
  else if (job.isCheck) result.passed = 1
  return result
}

function report(result) {
  const counts = [`${result.passed} passed`]
  if (result.failed) counts.push(`${result.failed} failed`)
  if (result.skipped) counts.push(`${result.skipped} skipped`)
  const verdict = result.failed ? 'FAIL' : result.passed === 0 ? 'skip' : 'ok  '
  const reason = result.reason ? `: ${result.reason}` : ''
  console.log(`${verdict} ${result.job.name}  ${counts.join(', ')}  ${result.seconds.toFixed(1)} s${reason}`)
  if (!result.failed) return
  for (const line of result.output.trimEnd().split('\n')) console.log(`     | ${line}`)
}

/** Runs the jobs, `width` at a time, in order. */
async function runAll(jobs, width, results) {
  const queue = [...jobs]
  const worker = async () => {
    for (let job = queue.shift(); job; job = queue.shift()) {
      let result = await run(job)
      if (result.stuck) {
        console.log(`     ${job.name} did not end after its last test; trying it once more`)
        result = await run(job)
      }
      report(result)
      results.push(result)
    }
  }
  await Promise.all(Array.from({ length: width }, worker))
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        only: { type: 'string' },
        list: { type: 'boolean' },
        checks: { type: 'boolean' },
        directory: { type: 'string' },
        help: { type: 'boolean' },
      },
    }).values
  } catch (error) {
    console.error(`run-tests: ${error.message}\n${USAGE}`)
    process.exit(2)
  }
}

const options = readOptions()
if (options.help) {
  console.log(USAGE)
  process.exit(0)
}
const files = options.directory ? testFiles(resolve(options.directory)) : projectTests()
const only = new RegExp(options.only ?? '')
const jobs = files.map(describe).filter((job) => only.test(job.name))
if (options.list) {
  for (const job of jobs) console.log(`${job.name}${job.alone ? '  alone' : ''}  ${job.timeoutS} s`)
  process.exit(0)
}

/** nohup(1) has it ignored. */
function ignoresHangUp() {
  const ignored = /^SigIgn:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0'
  return (BigInt(`0x${ignored}`) & 1n) !== 0n
}

for (const signal of ['SIGINT', 'SIGTERM', ...(ignoresHangUp() ? [] : ['SIGHUP'])]) {
  process.on(signal, () => {
    for (const pid of running) killGroup(pid)
    process.exit(1)
  })
}

const results = []
if (options.checks) await runAll(checks(), PARALLEL, results)
await runAll(
  jobs.filter((job) => !job.alone),
  PARALLEL,
  results,
)
await runAll(
  jobs.filter((job) => job.alone),
  1,
  results,
)

const total = (field) => results.reduce((sum, result) => sum + result[field], 0)
const skips = results.flatMap((result) => result.skips.map((reason) => `${result.job.name}: ${reason}`))
if (skips.length) console.log(`\nNot tested on this machine:\n  ${skips.join('\n  ')}`)
const failures = results.filter((result) => result.failed)
if (failures.length) console.log(`\nFailed:\n  ${failures.map((result) => result.job.name).join('\n  ')}`)
console.log(`\n${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`)
process.exitCode = total('failed') === 0 && total('passed') > 0 ? 0 : 1
