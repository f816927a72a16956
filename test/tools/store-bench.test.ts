/** `npm run bench:store`: what it measured, and that it leaves nothing behind. */
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { StoreBench } from '../../tools/bench/store.ts'
import { run, scratchDirectory, sleep, within } from '../support/lab.ts'

const PROGRAM = fileURLToPath(new URL('../../tools/bench/store.js', import.meta.url))
const TIMEOUT_MS = 30_000

test('every window has its figures, of few records, too', async () => {
  const folder = scratchDirectory()
  const { status, stdout } = await run(process.execPath, [
    ...[PROGRAM, '--records', '50', '--json'],
    ...['--file', join(folder, 'bench.pm')],
  ])
  assert.is(status, 0)
  const { windows, reopened } = JSON.parse(stdout.toString()) as StoreBench
  assert.equal(
    windows.map(({ records }) => records),
    [5, 50],
  )
  for (const window of windows) for (const figure of Object.values(window)) assert.type(figure, 'number')
  assert.is(reopened.records, 50)
  assert.equal(readdirSync(folder), [])
})

test('SIGTERM ends it, and its files are gone', async () => {
  const folder = scratchDirectory()
  const child = spawn(process.execPath, [PROGRAM, '--records', '5000000', '--file', join(folder, 'bench.pm')], {
    stdio: 'ignore',
  })
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  try {
    for (let turn = 0; readdirSync(folder).length === 0 && turn < 500; turn++) await sleep(20)
    assert.is(readdirSync(folder).length, 1, 'it has begun')
    child.kill('SIGTERM')
    assert.is(await within(TIMEOUT_MS, ended, 'it does not end'), 3)
    assert.equal(readdirSync(folder), [])
  } finally {
    child.kill('SIGKILL')
  }
})

test.run()
