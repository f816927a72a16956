/**
 * scripts/setup.sh while it installs packages: the file that keeps Debian from starting services goes when it ends, however
 * it ends. apt-get is one of the test's own, and so is /usr/sbin, in a mount namespace.
 */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { scratchDirectory, sleep, within } from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const SCRIPT = fileURLToPath(new URL('../../../scripts/setup.sh', import.meta.url))
const POLICY = '/usr/sbin/policy-rc.d'
const TIMEOUT_MS = 20_000
const APT_GET = `#!/bin/sh
echo "$1 began" >> "$APT_LOG"
trap 'kill $!; echo "$1 was ended" >> "$APT_LOG"; exit 100' INT TERM
sleep 2 & wait
echo "$1 is done" >> "$APT_LOG"
`

// Where it is another name of /usr/bin nothing would be left to run.
const missing = () => (lstatSync('/usr/sbin').isDirectory() ? undefined : '/usr/sbin is no directory of its own')
const test = privateNetworkSuite('setup', import.meta.url, { mounts: true, missing })

/** A checkout in which everything is built, on a machine without the programs of the tests. */
function checkout() {
  const folder = join(scratchDirectory(), 'a checkout')
  const inputs = ['package.json', 'package-lock.json', 'tsconfig.json', 'scripts/build-native.mjs']
  const built = ['node_modules/.package-lock.json', 'dist/tools/packrat.js', '.setup-done', 'bin/apt-get', 'sbin/none']
  for (const name of [...inputs, 'storage/x', 'drivers/x', 'stack/x', 'tools/x', 'test/x', ...built]) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), APT_GET)
  }
  copyFileSync(SCRIPT, join(folder, 'scripts/setup.sh'))
  chmodSync(join(folder, 'bin/apt-get'), 0o755)
  assert.is(spawnSync('mount', ['--bind', join(folder, 'sbin'), '/usr/sbin']).status, 0)
  return folder
}

for (const [how, signal, isGroup, expected] of [
  ['SIGTERM waits for apt-get, which needs it,', 'SIGTERM', false, ['update began', 'update is done']],
  ['Ctrl-C ends apt-get', 'SIGINT', true, ['update began', 'update was ended']],
] as const)
  test(`${how} and leaves nothing behind`, async () => {
    const folder = checkout()
    const log = join(folder, 'log')
    const said = (): string[] => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : [])
    const script = join(folder, 'scripts/setup.sh')
    const programs = `${join(folder, 'bin')}:${dirname(process.execPath)}:/usr/bin:/bin`
    const environment = { ...process.env, PATH: programs, APT_LOG: log }
    const child = spawn('bash', [script, '--for-tests'], { stdio: 'ignore', detached: true, env: environment })
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    try {
      for (let turn = 0; said().length === 0 && turn < 400; turn++) await sleep(20)
      assert.ok(existsSync(POLICY), 'it stands while packages are installed')
      process.kill(isGroup ? -child.pid! : child.pid!, signal)
      assert.is(await within(TIMEOUT_MS, ended, 'the set-up does not end'), 1)
      assert.equal(said(), expected)
      assert.not.ok(existsSync(POLICY), 'it is gone')
    } finally {
      if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, 'SIGKILL')
      spawnSync('umount', ['/usr/sbin'])
    }
  })

test.run()
