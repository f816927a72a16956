/**
 * The lab of the end-to-end tests: the real daemon on a real TAP interface, and the programs that talk to it, all in
 * the private network namespace of the test (see netns.ts).
 *
 *   test process ── node:net, curl, wrk ──► kernel TCP 10.77.0.1 ── TAP ──► packrat serve 10.77.0.2
 *                └── http://127.0.0.1:9177/stats (the daemon's admin address, on the kernel's loopback)
 *
 * With PACKRAT_TEST_DEVICE=xdp the link is a veth pair with AF_XDP on Packrat's end, and all else is the same:
 *
 *                └── node:net, curl, wrk ──► kernel TCP 10.77.0.1 pr-a ── veth ── pr-b packrat serve 10.77.0.2
 *
 * PACKRAT_TEST_OFFLOAD=none, checksum or all chooses the offloads of the TAP.
 *
 * Invariants:
 *  1. Every process and every wait has a time limit.
 *  2. Daemons and files do not outlive the test process, however it ends short of SIGKILL (then the runner's
 *     process-group kill and the namespace's end do it).
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { xdpAvailability } from '../../drivers/xdp.ts'

export const PACKRAT_ADDRESS = '10.77.0.2'
export const PACKRAT_URL = `http://${PACKRAT_ADDRESS}`
export const ADMIN_URL = 'http://127.0.0.1:9177'
/** The compiled command-line program, beside the compiled tests. */
export const PACKRAT_PROGRAM = fileURLToPath(new URL('../../tools/packrat.js', import.meta.url))
export const WRK_SCRIPT = fileURLToPath(new URL('../../../scripts/wrk-put.lua', import.meta.url))

/** The device that the daemon serves on: `tap` or `xdp`. */
export const LAB_DEVICE = process.env.PACKRAT_TEST_DEVICE ?? 'tap'
/** Queues of the link, all of them Packrat's; for `xdp`. */
const LAB_QUEUES = Number(process.env.PACKRAT_TEST_QUEUES ?? 1)
/** MTU of the link; for `xdp`. */
const LAB_MTU = process.env.PACKRAT_TEST_MTU ?? '1500'
/** What the daemon's --offload is, where a test does not say it: on a TAP only. */
const LAB_OFFLOAD = process.env.PACKRAT_TEST_OFFLOAD
/** A received frame may lie in several buffers. */
export const LAB_HAS_LONG_FRAMES =
  LAB_MTU !== '1500' || (LAB_DEVICE === 'tap' && LAB_OFFLOAD !== 'none' && LAB_OFFLOAD !== 'checksum')

const READY_TIMEOUT_MS = 20_000
const STOP_TIMEOUT_MS = 10_000
const PROGRAM_TIMEOUT_MS = 60_000
const REQUEST_TIMEOUT_MS = 20_000
/** tmpfs smaller than this cannot hold the regions of the tests. */
const SHARED_MEMORY_BYTES_MIN = 2 ** 30

const liveDaemons = new Set<ChildProcess>()
const directories: string[] = []

process.on('exit', () => {
  for (const child of liveDaemons) child.kill('SIGKILL')
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

/** For `privateNetworkSuite`: what the lab and these programs lack on this machine. */
export function lacks(...programs: string[]): () => string | undefined {
  return () => {
    const device = LAB_DEVICE === 'xdp' ? xdpAvailability().reason : lacksTap()
    if (device !== undefined) return device
    const wanted = ['ip', ...(LAB_DEVICE === 'xdp' ? ['ethtool'] : []), ...programs]
    const missing = wanted.filter(
      (program) => spawnSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore' }).status !== 0,
    )
    return missing.length > 0 ? `not installed: ${missing.join(', ')} (scripts/setup.sh --for-tests)` : undefined
  }
}

function lacksTap(): string | undefined {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK)
    return undefined
  } catch {
    return '/dev/net/tun cannot be opened: no TAP interfaces here'
  }
}

/** Where scratch files are fastest: tmpfs, where there is enough of it. */
function fastDirectory(): string {
  const shared = '/dev/shm'
  try {
    const { bavail, bsize } = statfsSync(shared)
    if (bavail * bsize >= SHARED_MEMORY_BYTES_MIN) return shared
  } catch {
    // No /dev/shm: the tests work on any file system, only slower.
  }
  return tmpdir()
}

/** A directory of this test's own, in memory unless `parent` says otherwise; removed at the end. */
export function scratchDirectory(parent = fastDirectory()): string {
  const directory = mkdtempSync(join(parent, 'packrat-test-'))
  directories.push(directory)
  return directory
}

/* --- programs --- */

export interface Outcome {
  /** Exit status; null if a signal ended it. */
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** Runs a program to its end, in this namespace. Rejects if it cannot start or takes longer than `timeoutMs`. */
export function run(
  program: string,
  args: readonly string[],
  options: { timeoutMs?: number; input?: Uint8Array } = {},
): Promise<Outcome> {
  const timeoutMs = options.timeoutMs ?? PROGRAM_TIMEOUT_MS
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    const stdout: Buffer[] = []
    let stderr = ''
    let late = false
    const timer = setTimeout(() => {
      late = true
      child.kill('SIGKILL')
    }, timeoutMs)
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk
    })
    child.stdin.on('error', () => {}) // a program that does not read its input says so by its exit status
    child.on('error', reject)
    child.on('close', (status, signal) => {
      clearTimeout(timer)
      if (late) reject(new Error(`${program} ${args.join(' ')} took longer than ${timeoutMs} ms: ${stderr}`))
      else resolve({ status, signal, stdout: Buffer.concat(stdout), stderr })
    })
    child.stdin.end(options.input)
  })
}

/** Runs `packrat ARGS` to its end. */
export function packrat(...args: string[]): Promise<Outcome> {
  return run(process.execPath, [PACKRAT_PROGRAM, ...args])
}

/** curl, silent but for errors. */
export function curl(...args: string[]): Promise<Outcome> {
  return run('curl', ['--silent', '--show-error', '--max-time', '60', ...args])
}

/** curl, for the answer's status code; the body is dropped. */
export async function curlStatus(...args: string[]): Promise<number> {
  const { stdout, stderr, status } = await curl('--output', '/dev/null', '--write-out', '%{http_code}', ...args)
  if (status !== 0) throw new Error(`curl ${args.join(' ')} failed (${status}): ${stderr}`)
  return Number(stdout.toString())
}

export interface WrkResult {
  readonly requests: number
  readonly duration_us: number
  readonly p50_us: number
  readonly p99_us: number
  readonly errors: Readonly<Record<'connect' | 'read' | 'write' | 'status' | 'timeout', number>>
}

/** Loads the daemon with wrk; see scripts/wrk-put.lua. */
export async function wrk(options: {
  method: 'PUT' | 'GET'
  connections: number
  seconds: number
  valueBytes: number
  keys: number
}): Promise<WrkResult> {
  const { method, connections, seconds, valueBytes, keys } = options
  const load = [
    '--threads',
    '1',
    '--connections',
    `${connections}`,
    '--duration',
    `${seconds}s`,
    '--script',
    WRK_SCRIPT,
  ]
  const { stdout, stderr, status } = await run(
    'wrk',
    [...load, PACKRAT_URL, '--', `${valueBytes}`, `${keys}`, method],
    { timeoutMs: seconds * 1000 + PROGRAM_TIMEOUT_MS },
  )
  const result = /^\{.*\}$/m.exec(stdout.toString())
  if (status !== 0 || !result) throw new Error(`wrk failed (${status}): ${stderr}${stdout}`)
  return JSON.parse(result[0])
}

/* --- the daemon --- */

/** What tests read of `GET /stats`. */
export interface Stats {
  readonly buffers: {
    readonly total: number
    readonly free: number
    readonly stored: number
    readonly inFlight: number
  }
  readonly commit: { readonly batches: number; readonly fences: number; readonly flushedLines: number }
  readonly payloadBytesCopied: number
  readonly payloadBytesTouchedOnGet: number
  readonly records: number
  readonly device: { readonly receiveStarved: number }
  /** Of an xdp device. */
  readonly xdp?: { readonly fillRingEmpty: number; readonly receiveRingFull: number }
}

export interface DaemonOptions {
  readonly region: string
  /** Further flags of `packrat serve`. */
  readonly flags?: readonly string[]
  /** Flags of node itself. */
  readonly nodeFlags?: readonly string[]
  readonly readyTimeoutMs?: number
}

/** How a process ended. */
export interface Ending {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
}

export class Daemon {
  /** The line that it printed when it began to serve. */
  readonly readyLine: string
  /** From spawn to that line. */
  readonly readyMs: number
  private readonly child: ChildProcess
  private readonly ended: Promise<Ending>
  private readonly log: { stdout: string; stderr: string }

  constructor(
    child: ChildProcess,
    ended: Promise<Ending>,
    log: { stdout: string; stderr: string },
    readyLine: string,
    readyMs: number,
  ) {
    this.child = child
    this.ended = ended
    this.log = log
    this.readyLine = readyLine
    this.readyMs = readyMs
  }

  /** Everything on standard output so far. */
  get stdout(): string {
    return this.log.stdout
  }

  /** Everything on standard error so far. */
  get stderr(): string {
    return this.log.stderr
  }

  get pid(): number {
    return this.child.pid!
  }

  get alive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** Through the admin address by default; the same document comes from Packrat's own stack. */
  async stats(base: string = ADMIN_URL): Promise<Stats> {
    const response = await send('GET', `${base}/stats`)
    if (response.status !== 200) throw new Error(`GET /stats: ${response.status}`)
    return JSON.parse(response.body.toString())
  }

  /** Waits until it ends by itself. */
  ending(): Promise<Ending> {
    return within(STOP_TIMEOUT_MS, this.ended, 'daemon did not end')
  }

  /** Orderly stop; resolves with how it ended. */
  stop(signal: 'SIGTERM' | 'SIGINT' = 'SIGTERM'): Promise<Ending> {
    this.child.kill(signal)
    return within(STOP_TIMEOUT_MS, this.ended, `daemon did not stop on ${signal}`)
  }

  /** kill -9; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    await within(STOP_TIMEOUT_MS, this.ended, 'daemon survived SIGKILL')
  }
}

/**
 * The link for xdp, in this namespace; made once. The client's end has to finish its checksums itself: nothing on the
 * way does.
 */
function makeVethPair(): void {
  if (spawnSync('ip', ['link', 'show', 'pr-b'], { stdio: 'ignore' }).status === 0) return
  const queues = `numrxqueues ${LAB_QUEUES} numtxqueues ${LAB_QUEUES}`
  for (const command of [
    `ip link add pr-a ${queues} type veth peer name pr-b ${queues}`,
    `ip link set pr-a mtu ${LAB_MTU}`,
    `ip link set pr-b mtu ${LAB_MTU}`,
    'ip address add 10.77.0.1/24 dev pr-a',
    'ip link set pr-a up',
    'ip link set pr-b up',
    'ethtool -K pr-a tx off tso off gso off',
  ]) {
    const [program, ...args] = command.split(' ')
    const { status, stderr } = spawnSync(program!, args, { encoding: 'utf8', timeout: PROGRAM_TIMEOUT_MS })
    if (status !== 0) throw new Error(`${command}: ${stderr}`)
  }
}

/** Starts `packrat serve` and waits until it serves. Rejects with its standard error if it ends instead. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  if (LAB_DEVICE === 'xdp') makeVethPair()
  const started = performance.now()
  const device = LAB_DEVICE === 'xdp' ? ['--device', `xdp:pr-b:0-${LAB_QUEUES - 1}`, '--mtu', LAB_MTU] : []
  const given = options.flags ?? []
  const mayOffload = LAB_OFFLOAD !== undefined && LAB_DEVICE === 'tap' && !given.includes('--impair')
  const flags = ['--pm', options.region, ...device, ...(mayOffload ? ['--offload', LAB_OFFLOAD] : []), ...given]
  const child = spawn(process.execPath, [...(options.nodeFlags ?? []), PACKRAT_PROGRAM, 'serve', ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  liveDaemons.add(child)
  const log = { stdout: '', stderr: '' }
  child.stderr.on('data', (chunk: Buffer) => {
    log.stderr += chunk
  })
  const ended = new Promise<Ending>((resolve) => {
    child.on('exit', (status, signal) => {
      liveDaemons.delete(child)
      resolve({ status, signal })
    })
  })
  const readyLine = new Promise<string>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      log.stdout += chunk
      const line = /^packrat ready.*(?=\n)/m.exec(log.stdout)
      if (line) resolve(line[0])
    })
    child.on('error', reject)
    ended.then(({ status, signal }) => reject(new Error(`daemon ended (${status ?? signal}) before it was ready`)))
  })
  try {
    const line = await within(options.readyTimeoutMs ?? READY_TIMEOUT_MS, readyLine, 'daemon did not become ready')
    return new Daemon(child, ended, log, line, performance.now() - started)
  } catch (error) {
    child.kill('SIGKILL')
    const message = `${(error as Error).message}${log.stderr && `\n${log.stderr}`}`
    console.error(message) // uvu says nothing about an error in a `before` hook
    throw new Error(message)
  }
}

/** Polls until the daemon has nothing in flight and every buffer is free or stored; returns the last statistics. */
export async function untilIdle(daemon: Daemon, timeoutMs = 5000): Promise<Stats> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const stats = await daemon.stats()
    const { total, free, stored } = stats.buffers
    if (free + stored === total || performance.now() > deadline) return stats
    await sleep(100)
  }
}

/* --- requests by node:http, for tests that look at the answer --- */

export interface Response {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface RequestOptions {
  readonly body?: Uint8Array
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
  /** Keeps connections open; by default every request has its own. */
  readonly agent?: import('node:http').Agent
}

/** One HTTP request. `url` is sent as it is, percent-encoding included. */
export function send(method: string, url: string, options: RequestOptions = {}): Promise<Response> {
  const [, host, port, path] = /^http:\/\/([^/:]+)(?::(\d+))?(\/.*)$/.exec(url) ?? []
  if (host === undefined || path === undefined) throw new Error(`not a URL: ${url}`)
  return new Promise((resolve, reject) => {
    const headers: Record<string, string> = { ...options.headers }
    if (options.body) headers['content-length'] = String(options.body.length)
    const outgoing = httpRequest({
      host,
      port: port ?? '80',
      method,
      path,
      headers,
      agent: options.agent ?? false,
      timeout: REQUEST_TIMEOUT_MS,
      ...(options.signal ? { signal: options.signal } : {}),
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${method} ${url}: no answer in ${REQUEST_TIMEOUT_MS} ms`)))
    outgoing.on('error', reject)
    outgoing.on('response', (incoming) => {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('error', reject)
      incoming.on('end', () =>
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: Buffer.concat(chunks) }),
      )
    })
    outgoing.end(options.body)
  })
}

/** The URL of a key: every byte that is not unreserved (RFC 3986 2.3) percent-encoded. */
export function keyUrl(key: string | Uint8Array): string {
  let path = ''
  for (const byte of typeof key === 'string' ? Buffer.from(key) : key) {
    const character = String.fromCharCode(byte)
    path += /[A-Za-z0-9._~-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return `${PACKRAT_URL}/kv/${path}`
}

/* --- small things --- */

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

export function fileHash(file: string): string {
  return sha256(readFileSync(file))
}

/** A promise with a time limit. */
export function within<T>(ms: number, promise: Promise<T>, complaint: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${complaint} within ${ms} ms`)), ms)
  })
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer))
}

/** A whole number in [0, limit), from a generator of random.ts. */
export function below(random: () => number, limit: number): number {
  return (random() >>> 0) % limit
}

export function randomBytes(random: () => number, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random())
}
