/**
 * One store under load in one process: client, link and server share it, so that its CPU time is all that a request
 * costs, and nothing sleeps or waits. Time is virtual, unless the region is in the class msync, whose syncs take real
 * time. As in a daemon under load, what a write supersedes is cleaned up by the next one's batch.
 *
 *   memory-client.ts ── client Host ── memory link ── server Host ── KvService ── store
 *
 * Called by: worker.ts. Calls: what `serve` calls, put together as it does.
 */
import { readFileSync } from 'node:fs'
import { MemoryPair } from '../../drivers/memory-pair.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { IntegrityMode } from '../../storage/commit.ts'
import type { DurabilityRequest } from '../../storage/durability.ts'
import { PackratError } from '../../storage/errors.ts'
import { BUFFER_BYTES, LINE_BYTES } from '../../storage/layout.ts'
import { DEFAULT_LINES_PER_BUFFER, Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { KvService } from '../kv/service.ts'
import type { ServiceCounters } from '../kv/service-counters.ts'
import { createPool } from '../scenario/pools.ts'
import { BaselineStore } from '../stores/baseline-store.ts'
import { ConventionalEngine, type ConventionalSteps } from '../stores/conventional.ts'
import type { BaselineName, Engine } from '../stores/engine.ts'
import { openBaseline } from '../stores/open-baseline.ts'
import { ENTRIES_PER_BUFFER, EntryMaker } from './entries.ts'
import { MemoryClient } from './memory-client.ts'
import { KEY_BYTES, KEYS_KEPT_MAX, SEGMENT_BYTES, writeKey } from './requests.ts'

const SERVER_ADDRESS = '10.0.0.2'
const HTTP_PORT = 80
/** Buffers of each side beside what requests and values take: bursts, ACKs, the network's reserve. */
const SPARE_BUFFERS = 8192
/** Requests with many keys that can be measured: each takes a buffer of its own, and what it replaces frees none. */
const SPARE_REQUESTS = 120_000
/** A record and a node of `conventional`, beside the value. */
const CONVENTIONAL_OVERHEAD_BYTES = 256
/** Frames that the link holds: every connection may have one on its way, and a large value many. */
const LINK_FRAMES = 65_536
/** Virtual time of one turn of both hosts, microseconds. */
const TURN_US = 5
/** Connections that are opened at once: less than a listener's backlog. */
const CONNECTS_AT_ONCE = 256
/** Turns without an answer, before the load counts as lost. */
const TURNS_MAX = 100_000
/** The same where time is real, ms. */
const STALL_MS = 10_000
/** Keys that are committed together before the load begins. */
const PRELOAD_BATCH = 64

export type StoreName = 'packet' | BaselineName

export interface MemoryBenchOptions {
  readonly store: StoreName
  /** Path of the region; the store's own file stands beside it. */
  readonly path: string
  readonly keys: number
  readonly valueBytes: number
  readonly connections: number
  readonly durability: DurabilityRequest
  readonly integrity: IntegrityMode
  /** Leave the flushes out. */
  readonly cachesPersist: boolean
  /** Emulated medium, nanoseconds a cache line. */
  readonly lineLatencyNs: number
  /** A step of `conventional` to leave out. */
  readonly without: keyof ConventionalSteps | undefined
}

export const MEMORY_BENCH_DEFAULTS = {
  connections: 1,
  durability: 'process',
  integrity: 'tcp',
  cachesPersist: false,
  lineLatencyNs: 0,
  without: undefined,
} satisfies Partial<MemoryBenchOptions>

export class MemoryBench {
  readonly store: Store
  private readonly options: MemoryBenchOptions
  private readonly region: Region
  private readonly engine: Engine | undefined
  private readonly baseline: BaselineStore | undefined
  private readonly client: Host
  private readonly server: Host
  private readonly load: MemoryClient
  /** What the server was asked. */
  readonly counters: ServiceCounters
  private nowUs = 1_000_000

  /** A bench whose every key has been written, and whose connections are open. */
  static async create(options: MemoryBenchOptions): Promise<MemoryBench> {
    const { store, path, cachesPersist, lineLatencyNs, durability, keys, connections } = options
    const random = new SeededRandom(1)
    const fileBytes = areaBytes(options)
    const baseline = { path, fileBytes, durability, cachesPersist, lineLatencyNs, random: () => random.next() }
    const engine = store === 'packet' ? undefined : await openBaseline({ ...baseline, name: store })
    const bench = new MemoryBench(options, engine)
    bench.connect()
    if (keys > KEYS_KEPT_MAX) bench.preload()
    else await bench.run(2 * Math.max(keys, connections), 0)
    if (engine instanceof ConventionalEngine && options.without !== undefined) {
      engine.steps = { ...engine.steps, [options.without]: false }
    }
    return bench
  }

  private constructor(options: MemoryBenchOptions, engine: Engine | undefined) {
    this.options = options
    this.engine = engine
    const { keys, valueBytes, connections, durability, cachesPersist, lineLatencyNs, integrity } = options
    const lines = linesPerBuffer(options)
    Region.create(options.path, { bytes: regionBytes(options, lines), linesPerBuffer: lines })
    this.region = new Region(options.path, { durability, cachesPersist, lineLatencyNs })
    const random = new SeededRandom(2)
    this.store = new Store(this.region, { random: () => random.next(), integrity })
    const clientPool = createPool(clientBuffers(options))
    const pair = new MemoryPair({ poolA: clientPool, poolB: this.store.pool, queueLimit: LINK_FRAMES })
    const sumView = (buffer: number, offset: number, length: number): number =>
      this.region.sumView(buffer, offset, length)
    const wallClock = { low: 0, high: 0, read: () => {} }
    const common = { random: new SeededRandom(3), secret: new Uint8Array(16).fill(7), wallClock }
    this.client = new Host({ ...common, device: pair.a, pool: clientPool, address: '10.0.0.1/16' }, this.nowUs)
    this.server = new Host(
      { ...common, device: pair.b, pool: this.store.pool, address: `${SERVER_ADDRESS}/16`, sumView },
      this.nowUs,
    )
    this.baseline = engine && new BaselineStore(engine, this.store.pool, () => 0)
    const { baseline } = this
    const service = new KvService({
      store: this.store,
      baseline,
      sumView,
      wallClock,
      maxValue: valueBytes,
      stats: () => ({}),
    })
    this.counters = service.counters
    this.server.tcp.listen(HTTP_PORT, service, { noDelay: true })
    this.server.addBurstHook(() => service.commitBurst())
    this.store.onComplete(() => {
      if (!this.store.asynchronous) return
      queueMicrotask(() => {
        service.commitBurst()
        this.server.flush(this.nowUs)
      })
    })
    this.load = new MemoryClient(clientPool, new SeededRandom(4), { host: SERVER_ADDRESS, keys, valueBytes })
    if (connections < 1) throw new RangeError('a bench has at least one connection')
  }

  /** Sends so many requests over all connections, and waits for their answers. */
  async run(requests: number, readPercent: number): Promise<void> {
    const { load, store } = this
    load.start(requests, readPercent)
    let answers = 0
    let silentTurns = 0
    let lastAnswerMs = performance.now()
    while (!load.isDone) {
      const frames = this.turn()
      silentTurns++
      if (load.answers > answers) {
        answers = load.answers
        silentTurns = 0
        lastAnswerMs = performance.now()
      }
      // The syncs of msync run on a native thread, whose news come through the event loop.
      if (frames === 0 && store.asynchronous) await new Promise((resolve) => setImmediate(resolve))
      const isStalled = store.asynchronous ? performance.now() - lastAnswerMs > STALL_MS : silentTurns > TURNS_MAX
      if (isStalled) throw new PackratError('BENCH', `--store ${this.options.store} left requests unanswered`)
    }
  }

  /** Durability class and file system of the region. */
  get medium(): string {
    return `${this.region.durability.class} (${this.region.fsName})`
  }

  /** Resident memory of this process that is neither the region nor another file. */
  get privateBytes(): number {
    return Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? 0) * 1024
  }

  async close(): Promise<void> {
    await this.engine?.close()
    this.region.close()
  }

  private turn(): number {
    this.nowUs += TURN_US
    return this.client.poll(this.nowUs) + this.server.poll(this.nowUs)
  }

  private connect(): void {
    const { load, client, options } = this
    for (let wanted = 0, turns = 0; load.connected < options.connections; turns++) {
      // The first one alone: only few SYNs may wait for the neighbour to be found.
      const atOnce = load.connected === 0 ? 1 : CONNECTS_AT_ONCE
      while (wanted < options.connections && wanted < load.connected + atOnce) {
        client.tcp.connect(SERVER_ADDRESS, HTTP_PORT, load, { noDelay: true })
        wanted++
      }
      this.turn()
      if (turns > TURNS_MAX) throw new PackratError('BENCH', `only ${load.connected} connections could be opened`)
    }
  }

  /** Writes every key without the network. */
  private preload(): void {
    const { options, store, region } = this
    const target = this.baseline ?? store
    const { keys, valueBytes } = options
    const sumView = (buffer: number, offset: number, length: number): number => region.sumView(buffer, offset, length)
    const entries = new EntryMaker({ pool: store.pool, sumView, keyBytes: KEY_BYTES, valueBytes })
    for (let key = 0; key < keys; key++) {
      entries.place()
      writeKey(entries.bytes, entries.start, key)
      const head = entries.finish(key & 0xff)
      target.stagePut(head, head)
      if ((key + 1) % PRELOAD_BATCH === 0) target.commit()
    }
    target.commit()
    entries.close()
  }
}

type Sizes = Pick<MemoryBenchOptions, 'keys' | 'valueBytes' | 'connections'>

/** What the files of such a bench take, bytes. */
export function benchBytes(options: Omit<MemoryBenchOptions, 'path'>): number {
  const area = options.store === 'conventional' || options.store === 'copy' ? areaBytes(options) : 0
  return regionBytes(options, linesPerBuffer(options)) + area
}

function linesPerBuffer({ keys }: Sizes): number {
  return keys > KEYS_KEPT_MAX ? ENTRIES_PER_BUFFER : DEFAULT_LINES_PER_BUFFER
}

/** Segments that a PUT comes in: as many buffers. */
function segmentsOf(valueBytes: number): number {
  return Math.ceil(valueBytes / SEGMENT_BYTES) + 1
}

function regionBytes({ keys, valueBytes, connections }: Sizes, lines: number): number {
  const isShared = keys > KEYS_KEPT_MAX
  const stored = isShared ? Math.ceil(keys / ENTRIES_PER_BUFFER) + SPARE_REQUESTS : 2 * keys * segmentsOf(valueBytes)
  const buffers = stored + 3 * connections * segmentsOf(valueBytes) + SPARE_BUFFERS
  return Math.ceil(buffers / 32) * 32 * (BUFFER_BYTES + lines * LINE_BYTES) + (1 << 16)
}

function areaBytes({ keys, valueBytes }: Sizes): number {
  return 2 * keys * (valueBytes + CONVENTIONAL_OVERHEAD_BYTES) + (64 << 20)
}

function clientBuffers({ keys, valueBytes, connections }: Sizes): number {
  const kept = keys > KEYS_KEPT_MAX ? 0 : 2 * keys
  return Math.ceil((kept + 2 * connections * segmentsOf(valueBytes) + SPARE_BUFFERS) / 32) * 32
}
