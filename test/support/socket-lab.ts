/**
 * Two hosts over a memory pair, in real time, polled whenever the event loop turns; a Network on each. At its end a lab
 * checks that every buffer and line came back, and that no connection is left, before the hosts are closed.
 */
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import * as assert from 'uvu/assert'
import { type LinkFilter, MemoryPair } from '../../drivers/memory-pair.ts'
import { SystemClock, SystemWallClock } from '../../stack/clock.ts'
import { Host } from '../../stack/host.ts'
import type { TcpOptions } from '../../stack/host-options.ts'
import { SeededRandom } from '../../stack/random.ts'
import { Network } from '../../stack/sockets/index.ts'
import { createPool } from './virtual-link.ts'

export const SERVER = '10.0.0.1'
export const CLIENT = '10.0.0.2'
export const SERVER6 = 'fd00::1'
export const CLIENT6 = 'fd00::2'
const SETTLE_MS_MAX = 15_000

export interface SocketLabOptions {
  readonly seed: number
  readonly buffers?: number
  readonly filter?: LinkFilter
  readonly tcp?: TcpOptions
  /** Gives the hosts SERVER6 and CLIENT6, too. */
  readonly ipv6?: boolean
}

export class SocketLab {
  readonly clock = new SystemClock()
  readonly poolA
  readonly poolB
  readonly pair: MemoryPair
  /** By convention the servers' side. */
  readonly hostA: Host
  readonly hostB: Host
  readonly server: Network
  readonly client: Network
  private stopped = false

  constructor(options: SocketLabOptions) {
    this.poolA = createPool(options.buffers ?? 4096)
    this.poolB = createPool(options.buffers ?? 4096)
    this.pair = new MemoryPair({
      poolA: this.poolA,
      poolB: this.poolB,
      ...(options.filter !== undefined && { filter: options.filter }),
    })
    const common = { wallClock: new SystemWallClock() }
    const tcp = { connectionsMax: 512, timeWaitsMax: 512, ...options.tcp }
    const create = (end: 'a' | 'b', address: string): Host =>
      new Host(
        {
          ...common,
          device: this.pair[end],
          pool: end === 'a' ? this.poolA : this.poolB,
          address: `${address}/24`,
          ...(options.ipv6 === true && { address6: `${end === 'a' ? SERVER6 : CLIENT6}/64`, dadTransmits: 0 }),
          random: new SeededRandom(options.seed + address.length + Number(end === 'a')),
          secret: new Uint8Array(16).fill(options.seed),
          tcp,
        },
        this.clock.nowUs(),
      )
    this.hostA = create('a', SERVER)
    this.hostB = create('b', CLIENT)
    this.server = new Network({ host: this.hostA, clock: this.clock })
    this.client = new Network({ host: this.hostB, clock: this.clock })
    this.turn()
  }

  /** Waits until no connection is left, checks the accounts, and ends. */
  async finish(): Promise<void> {
    try {
      await until(() => this.isIdle, 'connections end and buffers come back')
    } finally {
      this.stopped = true
      this.hostA.close(this.clock.nowUs())
      this.hostB.close(this.clock.nowUs())
      this.pair.close()
    }
  }

  private get isIdle(): boolean {
    return [this.hostA, this.hostB].every(
      ({ tcp, pool }) =>
        tcp.connectionCount === 0 && pool.freeBuffers === pool.totalBuffers && pool.freeMetas === pool.totalMetas,
    )
  }

  private turn(): void {
    if (this.stopped) return
    this.hostA.poll(this.clock.nowUs())
    this.hostB.poll(this.clock.nowUs())
    setImmediate(() => this.turn())
  }
}

/** Runs a test body in a lab of its own; the accounts are checked even if it has failed. */
export async function withSocketLab(options: SocketLabOptions, body: (lab: SocketLab) => Promise<void>): Promise<void> {
  const lab = new SocketLab(options)
  let failed = true
  try {
    await body(lab)
    failed = false
  } finally {
    // What the body threw says more than the leak that may follow from it.
    await lab.finish().catch((error: unknown) => {
      if (!failed) throw error
    })
  }
}

/** Waits for a condition, turn by turn. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + SETTLE_MS_MAX
  while (!condition()) {
    assert.ok(performance.now() < end, `in ${SETTLE_MS_MAX} ms: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Everything up to the stream's end. */
export async function collect(stream: Readable): Promise<Buffer> {
  const parts: Buffer[] = []
  stream.on('data', (part: Buffer) => parts.push(part))
  await once(stream, 'end')
  return Buffer.concat(parts)
}

/** Bytes from a seed. */
export function pattern(length: number, seed: number): Buffer {
  const random = new SeededRandom(seed)
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeInt32LE(random.next(), at)
  return bytes
}
