/** `npm start`: what a signal to npm does to the daemon. The script of package.json runs, a stand-in for the daemon under it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const PACKAGE = new URL('../../../package.json', import.meta.url)
const TIMEOUT_MS = 20_000
const POLL_MS = 20
/** Says that it runs, and that it was stopped in order. */
const STAND_IN = `
  import { writeFileSync } from 'node:fs'
  process.on('SIGTERM', () => { writeFileSync('stopped', ''); process.exit(0) })
  setTimeout(() => process.exit(1), ${TIMEOUT_MS})
  writeFileSync('started', '')
`

const folder = mkdtempSync(join(tmpdir(), 'packrat-start-'))
test.after(() => rmSync(folder, { recursive: true }))

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + TIMEOUT_MS
  while (!condition()) {
    assert.ok(Date.now() < deadline, what)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

const statusOf = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once('exit', (status) => resolve(status)))

test('SIGTERM to npm stops the daemon in order, and npm ends with its status', async () => {
  const { start } = JSON.parse(readFileSync(PACKAGE, 'utf8')).scripts
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'start', private: true, scripts: { start } }))
  mkdirSync(join(folder, 'scripts'))
  writeFileSync(join(folder, 'daemon.mjs'), STAND_IN)
  writeFileSync(join(folder, 'scripts/start.sh'), `exec "${process.execPath}" daemon.mjs\n`)
  const npm = spawn('npm', ['start', '--no-update-notifier'], { cwd: folder, stdio: 'ignore' })
  const ended = statusOf(npm)
  await until(() => existsSync(join(folder, 'started')), 'it does not start')
  npm.kill('SIGTERM')
  assert.is(await ended, 0)
  assert.ok(existsSync(join(folder, 'stopped')), 'the daemon was left behind')
})

test.run()
