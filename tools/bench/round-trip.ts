/**
 * The second way of table1: round trips of a write over TAP, one client that never sleeps.
 *
 *   this process (core 0, polls) ── kernel TCP ── TAP ── packrat serve --store … (core 1)      one daemon a store
 *
 * The stores take turns, one connection and one request under way at any time. Called by: command.ts, inside a private
 * network. Calls: loaded-daemon.ts.
 */
import { spawnSync } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { PackratError } from '../../storage/errors.ts'
import { CLIENT_CORE, LoadedDaemon } from './loaded-daemon.ts'
import { hundredths, quantile } from './statistics.ts'

export const ROUND_TRIP_STORES = ['discard', 'copy', 'conventional', 'packet'] as const

const WARM_UP_ROUNDS = 2
const ANSWER_TIMEOUT_MS = 10_000

/** Over all round trips of a store; `fastRoundUs` is the median of the fastest round. */
export interface RoundTrips {
  readonly store: (typeof ROUND_TRIP_STORES)[number]
  readonly medianUs: number
  readonly fastRoundUs: number
  readonly p99Us: number
}

export interface RoundTripOptions {
  readonly directory: string
  readonly rounds: number
  /** Round trips of one round and store. */
  readonly requests: number
  readonly keys: number
  readonly valueBytes: number
  readonly progress: (text: string) => void
}

/** @throws PackratError BENCH */
export async function measureRoundTrips(options: RoundTripOptions): Promise<RoundTrips[]> {
  const { directory, rounds, requests, progress } = options
  spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', `${CLIENT_CORE}`, `${process.pid}`], { stdio: 'ignore' })
  const daemons: LoadedDaemon<RoundTrips['store']>[] = []
  const clients: PollingClient[] = []
  try {
    for (const store of ROUND_TRIP_STORES) {
      progress(`starting ${store}`)
      const daemon = await LoadedDaemon.start({ store, directory, number: daemons.length })
      daemons.push(daemon)
      clients.push(await PollingClient.connect(daemon.address, options))
    }
    const samples: number[][][] = daemons.map(() => [])
    for (let round = 1 - WARM_UP_ROUNDS; round <= rounds; round++) {
      progress(round < 1 ? 'warming up' : `round ${round} of ${rounds} of round trips`)
      for (const [index, client] of clients.entries()) {
        const taken = await client.run(requests)
        if (round >= 1) samples[index]!.push(taken)
      }
    }
    return daemons.map(({ store }, index) => {
      const all = samples[index]!.flat()
      const medians = samples[index]!.map((round) => quantile(round, 0.5))
      return {
        store,
        medianUs: hundredths(quantile(all, 0.5)),
        fastRoundUs: hundredths(quantile(medians, 0)),
        p99Us: hundredths(quantile(all, 0.99)),
      }
    })
  } finally {
    for (const client of clients) client.close()
    for (const daemon of daemons) await daemon.stop()
  }
}

/** A client on kernel TCP whose event loop never blocks while a request is under way: waking up would cost more than the answer. */
class PollingClient {
  private readonly socket: Socket
  private readonly requests: Buffer[]
  private nextKey = 0
  private samples: number[] = []
  private left = 0
  private sentAtMs = 0
  private isPolling = false
  private finish: (error?: Error) => void = () => {}
  private readonly poll = (): void => {
    if (this.isPolling) setImmediate(this.poll)
  }

  static async connect(address: string, options: RoundTripOptions): Promise<PollingClient> {
    const socket = connect({ host: address, port: 80, noDelay: true })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', (error) =>
        reject(new PackratError('BENCH', `cannot connect to ${address}: ${error.message}`)),
      )
    })
    return new PollingClient(socket, address, options)
  }

  private constructor(socket: Socket, address: string, { keys, valueBytes }: RoundTripOptions) {
    this.socket = socket
    const value = Buffer.alloc(valueBytes, 'packrat ')
    this.requests = Array.from({ length: keys }, (_, key) => {
      const head = `PUT /kv/trip-${String(key).padStart(6, '0')} HTTP/1.1\r\nHost: ${address}\r\nContent-Length: ${valueBytes}\r\n\r\n`
      return Buffer.concat([Buffer.from(head), value])
    })
    socket.on('data', (chunk: Buffer) => this.answered(chunk))
    socket.on('close', () => this.finish(new PackratError('BENCH', `${address} closed the connection`)))
    socket.on('error', () => {}) // `close` follows
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => {
      if (this.left > 0) socket.destroy()
    })
  }

  /** So many round trips, microseconds each. */
  async run(requests: number): Promise<number[]> {
    this.samples = []
    this.left = requests
    this.isPolling = true
    const finished = new Promise<void>((resolve, reject) => {
      this.finish = (error) => (error === undefined ? resolve() : reject(error))
    })
    this.poll()
    this.send()
    await finished.finally(() => {
      this.isPolling = false
      this.finish = () => {}
    })
    return this.samples
  }

  close(): void {
    this.socket.destroy()
  }

  private send(): void {
    const request = this.requests[this.nextKey]!
    this.nextKey = (this.nextKey + 1) % this.requests.length
    this.sentAtMs = performance.now()
    this.socket.write(request)
  }

  /** Answers are a few hundred bytes, written at once, so they come in one piece. */
  private answered(chunk: Buffer): void {
    this.samples.push((performance.now() - this.sentAtMs) * 1000)
    if (chunk.toString('latin1', 0, 10) !== 'HTTP/1.1 2') {
      this.finish(new PackratError('BENCH', `a PUT was answered with ${chunk.toString('latin1', 0, 40)}`))
    } else if (--this.left === 0) this.finish()
    else this.send()
  }
}
