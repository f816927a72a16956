/** scripts/linux-grid.mjs: what ends it ends the runs, which have process groups of their own. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { sleep, within } from '../support/lab.ts'
import { unshareArguments } from '../support/netns.ts'

const SCRIPT = fileURLToPath(new URL('../../../scripts/linux-grid.mjs', import.meta.url))
const TIMEOUT_MS = 10_000

/** Processes that a process has started, and those that they have started. */
function descendants(pid: number): number[] {
  const file = `/proc/${pid}/task/${pid}/children`
  const children = existsSync(file) ? readFileSync(file, 'latin1').trim().split(' ').filter(Boolean).map(Number) : []
  return children.flatMap((child) => [child, ...descendants(child)])
}

async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + TIMEOUT_MS; !condition() && performance.now() < end; ) await sleep(20)
}

test('SIGTERM ends what it runs', async () => {
  if (unshareArguments() === undefined) {
    console.log('SKIP: no private network: `unshare` is missing, or needs root or user namespaces')
    return
  }
  const flags = ['--loss', '0', '--rtt', '1', '--reorder', '0', '--seeds', '1', '--seconds', '60']
  const child = spawn(process.execPath, [SCRIPT, ...flags], { stdio: 'ignore' })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  // timeout(1), and the run that it watches.
  await until(() => descendants(child.pid!).length >= 2)
  const started = descendants(child.pid!)
  try {
    assert.ok(started.length >= 2, 'a run has begun')
    child.kill('SIGTERM')
    assert.is(await within(TIMEOUT_MS, ended, 'it does not end'), 1)
    await until(() => !started.some((pid) => existsSync(`/proc/${pid}`)))
    assert.equal(
      started.filter((pid) => existsSync(`/proc/${pid}`)),
      [],
      'nothing goes on',
    )
  } finally {
    child.kill('SIGKILL')
    for (const pid of started) if (existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGTERM')
  }
})

test.run()
