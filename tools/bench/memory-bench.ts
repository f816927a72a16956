/**
 * One store under load in one process: client, link and server share it, so that its CPU time is all that a request
 * costs, and nothing sleeps or waits. Time is virtual; each request is sent when the answer to the last one is in. As
 * in a daemon under load, what a write supersedes is cleaned up by the next one's batch.
 *
 *   client Host ── memory link ── server Host ── KvService ── store
 *
 * Called by: worker.ts. Calls: what `serve` calls, put together as it does.
 */
import { MemoryPair } from '../../drivers/memory-pair.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { PackratError } from '../../storage/errors.ts'
import { NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { chainOf } from '../kv/response-writer.ts'
import { KvService } from '../kv/service.ts'
import { createPool } from '../scenario/pools.ts'
import { BaselineStore } from '../stores/baseline-store.ts'
import { ConventionalEngine, type ConventionalSteps } from '../stores/conventional.ts'
import type { BaselineName, Engine } from '../stores/engine.ts'
import { openBaseline } from '../stores/open-baseline.ts'

const SERVER_ADDRESS = '10.0.0.2'
const HTTP_PORT = 80
const CLIENT_BUFFERS = 4096
const AREA_BYTES = 64 << 20
const REGION_BYTES = 64 << 20
/** Virtual time of one turn of both hosts, microseconds. */
const TURN_US = 5
/** Turns that an answer may take, before it counts as lost. */
const TURNS_MAX = 100_000
/** 'H' 'T' 'T' 'P' '/' '1' '.' '1' ' ' and the first digit of the status. */
const STATUS_OFFSET = 9
const DIGIT_2 = 0x32

export type StoreName = 'packet' | BaselineName

export interface MemoryBenchOptions {
  readonly store: StoreName
  /** Path of the region; the store's own file stands beside it. */
  readonly path: string
  readonly keys: number
  readonly valueBytes: number
  /** Leave the flushes out. */
  readonly cachesPersist: boolean
  /** A step of `conventional` to leave out. */
  readonly without: keyof ConventionalSteps | undefined
}

export class MemoryBench {
  readonly store: Store
  private readonly options: MemoryBenchOptions
  private readonly region: Region
  private readonly engine: Engine | undefined
  private readonly client: Host
  private readonly server: Host
  private readonly sender: Sender
  private nowUs = 1_000_000
  private nextKey = 0

  /** A bench whose every key has been written once. */
  static async create(options: MemoryBenchOptions): Promise<MemoryBench> {
    const { store, path, cachesPersist } = options
    const random = new SeededRandom(1)
    const baseline = { path, fileBytes: AREA_BYTES, durability: 'process', random: () => random.next() } as const
    const engine = store === 'packet' ? undefined : await openBaseline({ ...baseline, name: store, cachesPersist })
    const bench = new MemoryBench(options, engine)
    bench.run(2 * options.keys)
    if (engine instanceof ConventionalEngine && options.without !== undefined) {
      engine.steps = { ...engine.steps, [options.without]: false }
    }
    return bench
  }

  private constructor(options: MemoryBenchOptions, engine: Engine | undefined) {
    this.options = options
    this.engine = engine
    Region.create(options.path, { bytes: REGION_BYTES })
    this.region = new Region(options.path, { durability: 'process', cachesPersist: options.cachesPersist })
    const random = new SeededRandom(2)
    this.store = new Store(this.region, { random: () => random.next() })
    const clientPool = createPool(CLIENT_BUFFERS)
    const pair = new MemoryPair({ poolA: clientPool, poolB: this.store.pool })
    const sumView = (buffer: number, offset: number, length: number): number =>
      this.region.sumView(buffer, offset, length)
    const wallClock = { low: 0, high: 0, read: () => {} }
    const common = { random: new SeededRandom(3), secret: new Uint8Array(16).fill(7), wallClock }
    this.client = new Host({ ...common, device: pair.a, pool: clientPool, address: '10.0.0.1/24' }, this.nowUs)
    this.server = new Host(
      { ...common, device: pair.b, pool: this.store.pool, address: `${SERVER_ADDRESS}/24`, sumView },
      this.nowUs,
    )
    const baseline = engine && new BaselineStore(engine, this.store.pool, () => 0)
    const service = new KvService({
      store: this.store,
      baseline,
      sumView,
      wallClock,
      maxValue: REGION_BYTES,
      stats: () => ({}),
    })
    this.server.tcp.listen(HTTP_PORT, service, { noDelay: true })
    this.server.addBurstHook(() => service.commitBurst())
    this.sender = new Sender(clientPool, options)
    this.sender.connection = this.client.tcp.connect(SERVER_ADDRESS, HTTP_PORT, this.sender, { noDelay: true })
  }

  /** Sends so many PUTs, one after the other, round and round the keys. */
  run(requests: number): void {
    const { sender, client, server, options } = this
    for (let sent = 0; sent < requests; sent++) {
      sender.put(this.nextKey)
      this.nextKey = this.nextKey + 1 === options.keys ? 0 : this.nextKey + 1
      const answered = sender.answers + 1
      for (let turn = 0; sender.answers < answered; turn++) {
        if (turn > TURNS_MAX) throw new PackratError('BENCH', `--store ${options.store} left a PUT unanswered`)
        this.nowUs += TURN_US
        client.poll(this.nowUs)
        server.poll(this.nowUs)
      }
    }
  }

  async close(): Promise<void> {
    await this.engine?.close()
    this.region.close()
  }
}

/** The client: requests that were written once and are sent as clones, so that it costs as little as it can. */
class Sender implements Application {
  connection!: Connection
  answers = 0
  private readonly pool: Pool
  /** One a key: a chain that holds the whole request. */
  private readonly requests: number[]

  constructor(pool: Pool, { keys, valueBytes }: MemoryBenchOptions) {
    this.pool = pool
    const value = 'packrat '.repeat(Math.ceil(valueBytes / 8)).slice(0, valueBytes)
    this.requests = Array.from({ length: keys }, (_, key) => {
      const name = `bench-${String(key).padStart(6, '0')}`
      const head = `PUT /kv/${name} HTTP/1.1\r\nHost: 10.0.0.2\r\nContent-Length: ${valueBytes}\r\n\r\n`
      return chainOf(pool, Buffer.from(head + value))
    })
  }

  put(key: number): void {
    const { pool } = this
    let head = NO_META
    let tail = NO_META
    for (let meta = this.requests[key]!; meta !== NO_META; meta = pool.next(meta)) {
      const copy = pool.clone(meta)
      if (head === NO_META) head = copy
      else pool.setNext(tail, copy)
      tail = copy
    }
    this.connection.send(head)
  }

  onAccept(): void {}

  onReceive(connection: Connection): void {
    const { pool } = this
    for (let meta = connection.takeReceived(); meta !== NO_META; meta = pool.release(meta)) {
      if (pool.dataBytes(meta)[pool.dataStartOf(meta) + STATUS_OFFSET] !== DIGIT_2) {
        throw new PackratError('BENCH', 'a PUT was not answered with success')
      }
      this.answers++
    }
  }

  onSendSpace(): void {}

  onClose(): void {
    throw new PackratError('BENCH', 'the connection ended')
  }
}
