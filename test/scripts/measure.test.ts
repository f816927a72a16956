/** scripts/measure.sh: what ends it ends the step that runs, and a step that is late slows down no other. */
import { spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { within } from '../support/lab.ts'

const SCRIPT = fileURLToPath(new URL('../../../scripts/measure.sh', import.meta.url))
const TIMEOUT_MS = 10_000
/** A benchmark that takes its time, and says which process it is. */
const SLOW =
  "require('node:fs').appendFileSync('steps', process.pid + '\\n'); setTimeout(() => console.log('{}'), 60_000)"

const folders: string[] = []

test.after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** Runs the script, as the leader of a process group, in a folder that has nothing but slow benchmarks. */
function measure(...steps: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'packrat measure-'))
  folders.push(folder)
  for (const name of ['scripts', 'dist/tools/bench', 'docs/results']) mkdirSync(join(folder, name), { recursive: true })
  copyFileSync(SCRIPT, join(folder, 'scripts/measure.sh'))
  writeFileSync(join(folder, 'dist/tools/packrat.js'), SLOW)
  writeFileSync(join(folder, 'dist/tools/bench/results.js'), '')
  const child = spawn('bash', [join(folder, 'scripts/measure.sh'), ...steps], { stdio: 'ignore', detached: true })
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const file = join(folder, 'steps')
  const pids = (): number[] => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : [])
  return { child, ended, pids }
}

function isRunning(pid: number): boolean {
  // A process that nobody has waited for yet runs no more.
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${TIMEOUT_MS} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

for (const [how, signal, isGroup] of [
  ['SIGTERM', 'SIGTERM', false],
  ['Ctrl-C, which the whole process group gets,', 'SIGINT', true],
] as const)
  test(`${how} ends the step that runs, and no other begins`, async () => {
    const { child, ended, pids } = measure('table1', 'figure2')
    try {
      await until(() => pids().length > 0, 'the first step begins')
      process.kill(isGroup ? -child.pid! : child.pid!, signal)
      assert.is.not(await within(TIMEOUT_MS, ended, 'the script does not end'), 0)
      await until(() => !pids().some(isRunning), 'the step ends')
      assert.is(pids().length, 1, 'one step began')
    } finally {
      for (const pid of pids()) if (isRunning(pid)) process.kill(pid, 'SIGKILL')
      if (child.exitCode === null) process.kill(-child.pid!, 'SIGKILL')
    }
  })

test('a step that is late ends before the next one begins', async () => {
  const { child, ended, pids } = measure('table1')
  try {
    await until(() => pids().length > 0, 'the step begins')
    // What timeout(1) does when the time is up.
    const parent = (pid: number): number =>
      Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1])
    const name = (pid: number): string => readFileSync(`/proc/${pid}/comm`, 'latin1').trim()
    let pid = pids()[0]!
    while (name(pid) !== 'timeout') pid = parent(pid)
    process.kill(pid, 'SIGALRM')
    assert.is(await within(TIMEOUT_MS, ended, 'the script does not end'), 1)
    await until(() => !pids().some(isRunning), 'the step ends')
  } finally {
    for (const pid of pids()) if (isRunning(pid)) process.kill(pid, 'SIGKILL')
    if (child.exitCode === null) process.kill(-child.pid!, 'SIGKILL')
  }
})

test.run()
