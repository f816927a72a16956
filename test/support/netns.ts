/**
 * Tests that need kernel networking run in a private network namespace, never in the host's own: the test file
 * executes itself again under `unshare`, as root with `-n`, otherwise with `-Urn` (a user namespace in which it
 * is root). Where neither works, every test of the suite is skipped, out loud.
 *
 *   const test = privateNetworkSuite('tap', import.meta.url)
 *   test('...', () => {})
 *   test.run()
 *
 * Invariant: a test body runs only in a network namespace that differs from the one the outermost process was
 * started in; the marker carries that one's identity, so the marker alone cannot fool it.
 */
import { spawnSync } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite, type Test } from 'uvu'

/** Environment variable: the namespace outside, as /proc names it (`net:[4026531840]`). */
const OUTER_NAMESPACE = 'PACKRAT_TEST_OUTER_NETNS'
const TIMEOUT_MS_DEFAULT = 60_000
const PROBE_TIMEOUT_MS = 10_000

export interface PrivateNetworkOptions {
  /** Ends the inner process; default 60 s. */
  readonly timeoutMs?: number
  /** Asked inside the namespace: why the tests cannot run here, or undefined. They are skipped then. */
  readonly missing?: () => string | undefined
  /** Mounts of the tests' own, too: what they mount, nobody else sees, and it ends with them. */
  readonly mounts?: boolean
}

/** How to get a private network here, or undefined. */
export function unshareArguments(): string[] | undefined {
  for (const flags of process.getuid?.() === 0 ? ['-n', '-Urn'] : ['-Urn']) {
    const probe = spawnSync('unshare', [flags, 'true'], { stdio: 'ignore', timeout: PROBE_TIMEOUT_MS })
    if (probe.status === 0) return [flags]
  }
  return undefined
}

/** Whether this process is in a private network namespace that `privateNetworkSuite` made. */
export function inPrivateNetwork(): boolean {
  const outer = process.env[OUTER_NAMESPACE]
  return outer !== undefined && outer !== '' && outer !== readlinkSync('/proc/self/ns/net')
}

/**
 * The suite in which to define tests. Outside a private network this does not return: it runs the file inside
 * one, to its end, and exits with its status. Loopback is up inside.
 * @param fileUrl `import.meta.url` of the test file, which must be the program that node was started with
 */
export function privateNetworkSuite(name: string, fileUrl: string, options: PrivateNetworkOptions = {}): Test {
  const file = fileURLToPath(fileUrl)
  if (inPrivateNetwork()) {
    const reason = options.missing?.()
    return reason === undefined ? suite(name) : skippedSuite(name, file, reason)
  }
  const unshare = unshareArguments()
  if (unshare === undefined) {
    return skippedSuite(name, file, 'no private network: `unshare` is missing, or needs root or user namespaces')
  }
  const inner = [process.execPath, ...process.execArgv, file, ...process.argv.slice(2)]
  // Loopback is down in a new namespace; a shell without ip(8) goes on without it.
  const namespaces = options.mounts === true ? [...unshare, '-m'] : unshare
  const child = spawnSync('unshare', [...namespaces, 'sh', '-c', 'ip link set lo up; exec "$0" "$@"', ...inner], {
    stdio: 'inherit',
    env: { ...process.env, [OUTER_NAMESPACE]: readlinkSync('/proc/self/ns/net') },
    timeout: options.timeoutMs ?? TIMEOUT_MS_DEFAULT,
    killSignal: 'SIGKILL',
  })
  if (child.status === null) {
    console.error(`FAILED ${relative(process.cwd(), file)}: ${child.error?.message ?? `ended by ${child.signal}`}`)
  }
  process.exit(child.status ?? 1)
}

/** A suite whose tests are all counted as skipped, and whose hooks do not run either. */
function skippedSuite(name: string, file: string, reason: string): Test {
  console.error(`SKIPPED ${relative(process.cwd(), file)}: ${reason}`)
  const { skip, run } = suite(name)
  const noHook = Object.assign(() => {}, { each: () => {} })
  return Object.assign(() => skip(), { skip, only: () => skip(), before: noHook, after: noHook, run })
}
