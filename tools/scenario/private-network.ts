/**
 * Scenarios against Linux run in a network namespace of their own, never in the host's: the command executes itself
 * again under unshare(1), as root with `-n`, otherwise with `-Urn` (a user namespace in which it is root).
 *
 * Called by: command.ts, linux-run.ts.
 *
 * Invariant: inside means a namespace that differs from the one the outer process was started in. The marker carries
 * that one's identity, so the marker alone cannot fool anybody.
 */
import { spawn, spawnSync } from 'node:child_process'
import { readlinkSync } from 'node:fs'

/** Environment variable: the namespace outside, as /proc names it (`net:[4026531840]`). */
const OUTER_NAMESPACE = 'PACKRAT_SCENARIO_OUTER_NETNS'
const PROBE_TIMEOUT_MS = 10_000
const PASSED_ON = ['SIGINT', 'SIGTERM'] as const

export function inPrivateNetwork(): boolean {
  const outer = process.env[OUTER_NAMESPACE]
  return outer !== undefined && outer !== '' && outer !== readlinkSync('/proc/self/ns/net')
}

/**
 * Runs this very command line in a private network. What would end this process ends that one: alone it would go on with
 * its daemons, and nobody would know.
 * @returns its exit status; undefined if there is no such network here
 */
export async function runInPrivateNetwork(): Promise<number | undefined> {
  const flags = unshareFlags()
  if (flags === undefined) return undefined
  const inner = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const child = spawn('unshare', [flags, ...inner], {
    stdio: 'inherit',
    env: { ...process.env, [OUTER_NAMESPACE]: readlinkSync('/proc/self/ns/net') },
  })
  const passOn = (signal: NodeJS.Signals): unknown => child.kill(signal)
  for (const signal of PASSED_ON) process.on(signal, passOn)
  try {
    return await new Promise<number>((resolve) => {
      child.once('error', () => resolve(1))
      child.once('exit', (status) => resolve(status ?? 1))
    })
  } finally {
    for (const signal of PASSED_ON) process.off(signal, passOn)
  }
}

function unshareFlags(): string | undefined {
  const candidates = process.getuid?.() === 0 ? ['-n', '-Urn'] : ['-Urn']
  return candidates.find(
    (flags) => spawnSync('unshare', [flags, 'true'], { stdio: 'ignore', timeout: PROBE_TIMEOUT_MS }).status === 0,
  )
}
