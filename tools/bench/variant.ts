/** One variant of table1 or of a sweep: a worker process, asked for one round at a time. Called by: table1.ts, sweep.ts. Starts: worker.ts. */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { PackratError } from '../../storage/errors.ts'
import type { MemoryBenchOptions } from './memory-bench.ts'

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url))

export interface Round {
  /** CPU time of the process for one request, microseconds. */
  readonly cpuUs: number
  /** By the clock, microseconds a request. */
  readonly wallUs: number
  /** Since the variant was started. */
  readonly payloadBytesCopied: number
  /** Memory of the process beside the region, at the round's end. */
  readonly privateBytes: number
}

/** What a worker says when its store is open. */
export interface Ready {
  /** Durability class and file system of its region: `process (tmpfs)`. */
  readonly medium: string
}

export class Variant {
  private readonly child: ChildProcess
  private readonly ended: Promise<never>
  private readonly gone: Promise<void>
  private log = ''
  medium = ''

  /** @throws PackratError BENCH if it does not come up */
  static async start(options: MemoryBenchOptions): Promise<Variant> {
    const variant = new Variant(options)
    variant.medium = (await variant.message<Ready>()).medium
    return variant
  }

  private constructor(options: MemoryBenchOptions) {
    this.child = fork(WORKER, [JSON.stringify(options)], { silent: true })
    this.child.stderr!.on('data', (chunk: Buffer) => {
      this.log += chunk
    })
    this.ended = new Promise((_, reject) => {
      this.child.once('exit', (status) =>
        reject(new PackratError('BENCH', `the measurement of --store ${options.store} ended (${status}): ${this.log}`)),
      )
    })
    this.gone = new Promise((resolve) => this.child.once('exit', () => resolve()))
    this.ended.catch(() => {}) // an orderly end rejects too, when nobody waits any more
  }

  /** @param readPercent how many requests of a hundred are reads */
  async round(requests: number, readPercent = 0): Promise<Round> {
    const answer = this.message<Round>()
    this.child.send({ requests, readPercent })
    return answer
  }

  /** Resolves when the process and its memory are gone. */
  async close(): Promise<void> {
    if (this.child.connected) this.child.disconnect()
    await this.gone
  }

  private message<T>(): Promise<T> {
    return Promise.race([
      new Promise<T>((resolve) => this.child.once('message', (message) => resolve(message as T))),
      this.ended,
    ])
  }
}
