/** One variant of table1: a worker process, asked for one round at a time. Called by: table1.ts. Starts: worker.ts. */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { PackratError } from '../../storage/errors.ts'
import type { MemoryBenchOptions } from './memory-bench.ts'

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url))

export interface Round {
  /** CPU time of the process for one request, microseconds. */
  readonly cpuUs: number
  readonly payloadBytesCopied: number
}

export class Variant {
  private readonly child: ChildProcess
  private readonly ended: Promise<never>
  private log = ''

  /** @throws PackratError BENCH if it does not come up */
  static async start(options: MemoryBenchOptions): Promise<Variant> {
    const variant = new Variant(options)
    await variant.message()
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
    this.ended.catch(() => {}) // an orderly end rejects too, when nobody waits any more
  }

  async round(requests: number): Promise<Round> {
    const answer = this.message<Round>()
    this.child.send({ requests })
    return answer
  }

  close(): void {
    if (this.child.connected) this.child.disconnect()
  }

  private message<T>(): Promise<T> {
    return Promise.race([
      new Promise<T>((resolve) => this.child.once('message', (message) => resolve(message as T))),
      this.ended,
    ])
  }
}
