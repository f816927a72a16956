/**
 * The key-value service on a store, in one process and in virtual time: two hosts over a link in memory, the server's
 * put together as `packrat serve` does it, the client's a plain sender of bytes in segments of chosen sizes.
 *
 *   KvClient.send ─► client host ─► memory link ─► server host ─► KvService ─► Store ─► TracingRegion | Region
 *
 * Nothing here waits: time moves from event to event. A store whose barriers are asynchronous completes a batch when
 * the test says so (`HeldRegion.complete`).
 */
import type { Device } from '../../drivers/device.ts'
import { type LinkFilter, MemoryPair } from '../../drivers/memory-pair.ts'
import type { WallClock } from '../../stack/clock.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import type { IntegrityMode } from '../../storage/commit.ts'
import { NO_META } from '../../storage/layout.ts'
import type { Persistence } from '../../storage/persistence.ts'
import type { Pool } from '../../storage/pool.ts'
import { Store } from '../../storage/store.ts'
import { KvService } from '../../tools/kv/service.ts'
import { BaselineStore } from '../../tools/stores/baseline-store.ts'
import type { Engine } from '../../tools/stores/engine.ts'
import { HeldRegion } from './held-region.ts'
import { type HttpResponse, parseResponses } from './http-responses.ts'
import { chainOf, consumeChain } from './stream-application.ts'
import { TracingRegion } from './tracing-region.ts'
import { createPool } from './virtual-link.ts'

const SERVER_ADDRESS = '10.0.0.2'
const HTTP_PORT = 80
/** Seconds since the epoch at virtual time 0. */
export const EPOCH_SECONDS = 1_700_000_000
/** What a client takes without reading; with the server's send queue less than the large values of the tests. */
const CLIENT_WINDOW_BYTES = 1 << 15
/** One turn of both hosts, microseconds. */
const TURN_US = 10
/** Longest that an exchange may take in virtual time. */
const EXCHANGE_LIMIT_US = 20_000_000
/** Polls without a frame or a deadline between them: a loop that never ends is a fault. */
const TURNS_MAX = 2_000_000

export interface KvBenchOptions {
  readonly region?: Persistence
  readonly integrity?: IntegrityMode
  readonly maxValue?: number
  /** Sees every frame; direction 'a-to-b' is from the client. */
  readonly filter?: LinkFilter
  readonly clientBuffers?: number
  /** The server's end of the link, in another device. */
  readonly wrapServer?: (device: Device) => Device
  /** A baseline in the store's place. */
  readonly engine?: Engine
}

class VirtualWallClock implements WallClock {
  low = 0
  high = 0
  private readonly nowUs: () => number

  constructor(nowUs: () => number) {
    this.nowUs = nowUs
  }

  read(): void {
    const ns = (BigInt(EPOCH_SECONDS) * 1_000_000n + BigInt(this.nowUs())) * 1000n
    this.low = Number(ns & 0xffffffffn) | 0
    this.high = Number(ns >> 32n) | 0
  }
}

export class KvBench {
  nowUs = 1_000_000
  readonly region: Persistence
  readonly store: Store
  readonly baseline: BaselineStore | undefined
  readonly service: KvService
  readonly server: Host
  readonly client: Host
  readonly clientPool: Pool
  readonly pair: MemoryPair

  constructor(options: KvBenchOptions = {}) {
    const region = options.region ?? new TracingRegion({ regionBytes: 2 << 20 })
    this.region = region
    const shape = new SeededRandom(1)
    this.store = new Store(region, { random: () => shape.next(), integrity: options.integrity ?? 'tcp' })
    this.clientPool = createPool(options.clientBuffers ?? 2048)
    this.pair = new MemoryPair({
      poolA: this.clientPool,
      poolB: this.store.pool,
      ...(options.filter !== undefined && { filter: options.filter }),
    })
    const wallClock = new VirtualWallClock(() => this.nowUs)
    const sumView = (buffer: number, offset: number, length: number): number => region.sumView(buffer, offset, length)
    const common = { random: new SeededRandom(2), secret: new Uint8Array(16).fill(7), wallClock }
    const tcp = { connectionsMax: 64, timeWaitsMax: 64, reserveBuffers: 16 }
    this.client = new Host(
      { ...common, device: this.pair.a, pool: this.clientPool, address: '10.0.0.1/24', tcp },
      this.nowUs,
    )
    this.server = new Host(
      {
        ...common,
        device: options.wrapServer?.(this.pair.b) ?? this.pair.b,
        pool: this.store.pool,
        address: `${SERVER_ADDRESS}/24`,
        sumView,
        tcp,
      },
      this.nowUs,
    )
    this.baseline = options.engine && new BaselineStore(options.engine, this.store.pool, () => 0)
    this.service = new KvService({
      store: this.store,
      baseline: this.baseline,
      sumView,
      wallClock,
      maxValue: options.maxValue ?? 1 << 20,
      stats: () => ({ records: this.store.records }),
    })
    this.server.tcp.listen(HTTP_PORT, this.service, { noDelay: true, sendLimitBytes: 1 << 16 })
    this.server.addBurstHook(() => this.service.commitBurst())
  }

  get pool(): Pool {
    return this.store.pool
  }

  /** A connected client. */
  connect(): KvClient {
    const client = new KvClient(this)
    client.connection = this.client.tcp.connect(SERVER_ADDRESS, HTTP_PORT, client, {
      noDelay: true,
      receiveLimitBytes: CLIENT_WINDOW_BYTES,
    })
    this.runUntil(() => client.accepted)
    if (!client.accepted) throw new Error('the connection was not accepted')
    return client
  }

  /** One request, or several in a row, on a connection of their own. */
  exchange(request: string | Uint8Array, methods?: readonly string[]): HttpResponse[] {
    const client = this.connect()
    const responses = client.exchange(request, methods)
    client.close()
    return responses
  }

  /** One request on a connection of its own, and its answer. */
  one(request: string | Uint8Array): HttpResponse {
    const [response] = this.exchange(request)
    if (response === undefined) throw new Error(`no answer to ${JSON.stringify(String(request).slice(0, 80))}`)
    return response
  }

  /** Lets both hosts go on until `done`, or until so much virtual time has passed; whether it was done. */
  runUntil(done: () => boolean, limitUs = EXCHANGE_LIMIT_US): boolean {
    const end = this.nowUs + limitUs
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      if (done()) return true
      this.nowUs += TURN_US
      const frames = this.client.poll(this.nowUs) + this.server.poll(this.nowUs)
      if (frames > 0 || this.pair.a.pendingFrames + this.pair.b.pendingFrames > 0) continue
      if (done()) return true
      const next = Math.min(this.client.nextDeadlineUs(), this.server.nextDeadlineUs())
      if (next > end) {
        this.nowUs = end
        return false
      }
      this.nowUs = Math.max(this.nowUs, next)
    }
    throw new Error('the hosts never come to rest')
  }

  runFor(durationUs: number): void {
    this.runUntil(() => false, durationUs)
  }

  /** What serve does when an asynchronous batch has completed. */
  resume(): void {
    this.service.commitBurst()
    this.server.flush(this.nowUs)
  }

  /** Cleans up behind everything, as the idle loop does. */
  settle(): void {
    for (let turn = 0; !this.store.isIdle && this.store.poisoned === 0; turn++) {
      if (turn > 100) throw new Error('the store never settles')
      if (this.region instanceof HeldRegion && this.region.isHolding) {
        this.region.complete()
        this.resume()
      } else this.store.settle()
    }
  }

  /** Lets connections end and cleans up; then says what is neither free nor stored, or ''. */
  leaks(): string {
    this.runFor(120_000_000)
    this.settle()
    const { pool, clientPool, store } = this
    const faults: string[] = []
    const lost = pool.totalBuffers - pool.freeBuffers - pool.storedBuffers
    if (lost !== 0) faults.push(`${lost} buffers neither free nor stored`)
    let lines = 0
    for (const { meta } of store.entries()) for (let at = meta; at !== NO_META; at = pool.next(at)) lines++
    const lostLines = pool.totalMetas - pool.freeMetas - lines
    if (lostLines !== 0) faults.push(`${lostLines} lines neither free nor of an entry`)
    if (clientPool.freeBuffers !== clientPool.totalBuffers) faults.push("the client's pool is not idle")
    if (this.server.tcp.connectionCount !== 0) faults.push(`${this.server.tcp.connectionCount} connections left`)
    return faults.join('; ')
  }
}

/** The client's side of one connection: sends bytes, collects bytes. */
export class KvClient implements Application {
  connection: Connection | undefined
  accepted = false
  /** -1 while it is open, then the reason of onClose. */
  closeReason = -1
  /** The server sends no more. */
  finished = false
  /** False: what arrives stays in the receive queue and closes the window. */
  reading = true
  private readonly bench: KvBench
  private received: Uint8Array[] = []
  /** Methods of requests whose responses are not read yet; all others are taken for GET. */
  private methods: string[] = []

  constructor(bench: KvBench) {
    this.bench = bench
  }

  onAccept(): void {
    this.accepted = true
  }

  onReceive(connection: Connection): void {
    if (!this.reading) return
    const bytes = consumeChain(this.bench.clientPool, connection.takeReceived())
    if (bytes.length > 0) this.received.push(bytes)
    if (connection.receiveFinished !== 0) this.finished = true
  }

  onSendSpace(): void {}

  onClose(_connection: Connection, reason: number): void {
    this.closeReason = reason
    this.finished = true
  }

  /** Takes what waited while `reading` was false. */
  resumeReading(): void {
    this.reading = true
    this.onReceive(this.connection!)
  }

  /** What has arrived and was not read as a response yet. */
  get bytes(): Buffer {
    return Buffer.concat(this.received)
  }

  /** Sends bytes as one segment (or as few as hold them), without waiting for anything. */
  send(bytes: string | Uint8Array): void {
    const data = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes
    if (data.length > 0) this.connection!.send(chainOf(this.bench.clientPool, data))
    this.bench.client.flush(this.bench.nowUs)
  }

  /** Sends pieces, each a segment; the server sees each one alone. */
  trickle(pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) {
      this.send(piece)
      this.bench.runUntil(() => this.connection!.sendQueuedBytes === 0)
    }
  }

  /** Sends requests and returns as many responses as there are methods (default: one, of a GET). */
  exchange(request: string | Uint8Array, methods: readonly string[] = [methodOf(request)]): HttpResponse[] {
    this.send(request)
    return this.responses(methods)
  }

  /** Waits for the responses to requests of these methods; fewer if the connection ends or stands still before. */
  responses(methods: readonly string[]): HttpResponse[] {
    this.methods = [...methods]
    const isComplete = (): boolean =>
      this.finished || parseResponses(this.bytes, this.methods).responses.length === methods.length
    this.bench.runUntil(isComplete)
    const { responses, rest } = parseResponses(this.bytes, this.methods, this.finished)
    this.received = [rest]
    return responses
  }

  /** Sends FIN; receiving goes on. */
  close(): void {
    this.connection!.shutdown()
    this.bench.client.flush(this.bench.nowUs)
  }

  abort(): void {
    this.connection!.abort()
    this.bench.client.flush(this.bench.nowUs)
  }
}

function methodOf(request: string | Uint8Array): string {
  const text = typeof request === 'string' ? request : Buffer.from(request).toString('latin1')
  return text.slice(0, text.indexOf(' '))
}
