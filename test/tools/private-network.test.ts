/** A command that goes on in a private network: how it ends there is how it ends, and what ends it ends it there. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { within } from '../support/lab.ts'
import { unshareArguments } from '../support/netns.ts'

const MODULE = JSON.stringify(new URL('../../tools/scenario/private-network.js', import.meta.url))
const TIMEOUT_MS = 10_000

/** Node with a program that does `inside` in a private network. */
function enter(inside: string) {
  const program = `import(${MODULE}).then(async ({ inPrivateNetwork, runInPrivateNetwork }) => {
    if (inPrivateNetwork()) { ${inside} }
    else process.exit(await runInPrivateNetwork())
  })`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  return { child, ended: within(TIMEOUT_MS, ended, 'it does not end') }
}

const skips = unshareArguments() === undefined
if (skips) console.log('SKIP: no private network: `unshare` is missing, or needs root or user namespaces')
const networked = skips ? test.skip : test

networked('its exit status is that of the command inside', async () => {
  assert.is(await enter('process.exit(7)').ended, 7)
})

networked('SIGTERM ends the command inside, too', async () => {
  const { child, ended } = enter(
    "process.on('SIGTERM', () => process.exit(5)); setInterval(() => {}, 1000); console.log(process.pid)",
  )
  const inner = await within(
    TIMEOUT_MS,
    new Promise<number>((resolve) => child.stdout.once('data', (text) => resolve(Number(text)))),
    'it does not begin',
  )
  try {
    child.kill('SIGTERM')
    assert.is(await ended, 5)
    assert.not.ok(existsSync(`/proc/${inner}`), 'nothing is left')
  } finally {
    if (existsSync(`/proc/${inner}`)) process.kill(inner, 'SIGKILL')
  }
})

test.run()
