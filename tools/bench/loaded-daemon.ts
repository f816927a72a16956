/**
 * `packrat serve` on a TAP of its own and on a core of its own, and wrk on the other core to load it. Called by:
 * figure2.ts, round-trip.ts and sweep-tap.ts, inside a private network.
 *
 * Invariant: the daemon does not outlive this process, however it ends short of SIGKILL.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PackratError } from '../../storage/errors.ts'

const PACKRAT = fileURLToPath(new URL('../packrat.js', import.meta.url))
const WRK_SCRIPT = fileURLToPath(new URL('../../../scripts/wrk-put.lua', import.meta.url))
export const CLIENT_CORE = 0
const SERVER_CORE = availableParallelism() > 1 ? 1 : 0
const REGION_SIZE_DEFAULT = '128M'
const READY_TIMEOUT_MS = 20_000
const STOP_TIMEOUT_MS = 5000
/** What wrk may take beyond its time. */
const LOAD_TIMEOUT_MS = 20_000
/** USER_HZ: unit of the times in /proc/PID/stat; 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

export interface Load {
  readonly connections: number
  readonly seconds: number
  readonly valueBytes: number
  readonly keys: number
}

export interface LoadResult {
  readonly requestsPerSecond: number
  readonly meanLatencyUs: number
  readonly p99LatencyUs: number
  readonly serverCpuUs: number
  readonly errors: number
}

interface WrkReport {
  readonly requests: number
  readonly duration_us: number
  readonly mean_us: number
  readonly p99_us: number
  readonly errors: Readonly<Record<string, number>>
}

export class LoadedDaemon<Store extends string = string> {
  readonly store: Store
  private readonly child: ChildProcess
  /** Packrat's own. */
  readonly address: string
  private readonly killAtExit = (): void => void this.child.kill('SIGKILL')

  /**
   * @param options.number of the daemon: makes its interface and network differ from the others'
   * @throws PackratError BENCH with what it wrote, if it does not come up
   */
  static async start<Store extends string>(options: {
    store: Store
    directory: string
    number: number
    regionSize?: string
  }): Promise<LoadedDaemon<Store>> {
    const daemon = new LoadedDaemon(options)
    await daemon.ready()
    return daemon
  }

  private constructor(options: { store: Store; directory: string; number: number; regionSize?: string }) {
    const { store, directory, number, regionSize = REGION_SIZE_DEFAULT } = options
    this.store = store
    this.address = `10.77.${number}.2`
    const program = [process.execPath, PACKRAT, 'serve', '--store', store, '--admin', 'none', '--scrub', 'off']
    const link = ['--device', `tap:packratb${number}`, '--address', `${this.address}/24`]
    const host = ['--host-address', `10.77.${number}.1/24`]
    const region = ['--pm', join(directory, `${store}.pm`), '--pm-size', regionSize, '--durability', 'process']
    this.child = spawn('taskset', ['--cpu-list', `${SERVER_CORE}`, ...program, ...link, ...host, ...region], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    process.on('exit', this.killAtExit)
  }

  private ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      let log = ''
      const fail = (why: string): void =>
        reject(new PackratError('BENCH', `packrat serve --store ${this.store} ${why}: ${log.trim()}`))
      const timer = setTimeout(() => fail(`was not ready within ${READY_TIMEOUT_MS} ms`), READY_TIMEOUT_MS)
      const read = (chunk: Buffer): void => {
        log += chunk
        if (!/^packrat ready /m.test(log)) return
        clearTimeout(timer)
        resolve()
      }
      this.child.stdout!.on('data', read)
      this.child.stderr!.on('data', read)
      this.child.once('error', (error) => fail(error.message))
      this.child.once('exit', (status) => fail(`ended (${status})`))
    })
  }

  /** Loads it with PUTs for so long. @throws PackratError BENCH */
  async load({ connections, seconds, valueBytes, keys }: Load): Promise<LoadResult> {
    const before = this.cpuSeconds()
    const wrk = ['wrk', '--threads', '1', '--connections', `${connections}`, '--duration', `${seconds}s`]
    const target = ['--script', WRK_SCRIPT, `http://${this.address}`, '--', `${valueBytes}`, `${keys}`]
    const text = await output(
      ['taskset', '--cpu-list', `${CLIENT_CORE}`, ...wrk, ...target],
      seconds * 1000 + LOAD_TIMEOUT_MS,
    )
    const line = /^\{.*\}$/m.exec(text)
    if (line === null) throw new PackratError('BENCH', `wrk said nothing that can be read: ${text}`)
    const report = JSON.parse(line[0]) as WrkReport
    return {
      requestsPerSecond: report.requests / (report.duration_us / 1e6),
      meanLatencyUs: report.mean_us,
      p99LatencyUs: report.p99_us,
      serverCpuUs: ((this.cpuSeconds() - before) * 1e6) / Math.max(report.requests, 1),
      errors: Object.values(report.errors).reduce((sum, count) => sum + count, 0),
    }
  }

  /** Orderly stop. */
  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = new Promise((resolve) => this.child.once('exit', resolve))
      const timer = setTimeout(this.killAtExit, STOP_TIMEOUT_MS)
      this.child.kill('SIGTERM')
      await ended
      clearTimeout(timer)
    }
    process.off('exit', this.killAtExit)
  }

  /** CPU seconds of the daemon so far; taskset has become it. */
  private cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  }
}

function output([program, ...args]: string[], timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    let text = ''
    const read = (chunk: Buffer): void => {
      text += chunk
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    child.on('error', (error) => reject(new PackratError('BENCH', `${program} cannot run: ${error.message}`)))
    child.on('close', (status) => {
      if (status === 0) resolve(text)
      else reject(new PackratError('BENCH', `${args.join(' ')} ended with ${status}: ${text.trim()}`))
    })
  })
}
