/**
 * A link that exists in memory and in virtual time: delay, jitter, rate and queue, loss, bursts of loss, reordering,
 * duplicates, flipped bits and a short MTU, in each direction on its own, from a seed.
 *
 *   a.transmit ─► tx path ─► memory ─► b.receive          rx and tx are those of end a:
 *   a.receive  ◄─ rx path ◄─ memory ◄─ b.transmit         docs/impairment.md
 *
 * Both paths stand at end `a`, so whoever drives the link polls `a` last whenever `b` has sent.
 *
 * Called by: tools/scenario/simulation.ts. Calls: memory-pair.ts, impair.ts.
 */
import type { Pool } from '../storage/pool.ts'
import type { Device } from './device.ts'
import { ImpairDevice } from './impair.ts'
import type { PathCounters } from './impaired-path.ts'
import type { Impairment } from './impairment-spec.ts'
import { MemoryPair } from './memory-pair.ts'

/** Frames that wait at an end until its host is polled: a window's worth and its ACKs. */
const QUEUE_FRAMES = 1 << 16

export interface SimulatedLinkOptions {
  readonly poolA: Pool
  readonly poolB: Pool
  readonly impairment: Impairment
  /** Makes a generator of 32-bit numbers from a seed. */
  readonly createRandom: (seed: number) => () => number
  /** Largest IP packet that the ends send, bytes. */
  readonly mtu: number
}

export class SimulatedLink {
  readonly a: Device
  readonly b: Device
  private readonly pair: MemoryPair
  private readonly impaired: ImpairDevice

  constructor(options: SimulatedLinkOptions) {
    const { poolA, poolB, impairment, createRandom, mtu } = options
    this.pair = new MemoryPair({ poolA, poolB, mtu, queueLimit: QUEUE_FRAMES })
    this.impaired = new ImpairDevice({
      device: this.pair.a,
      pool: poolA,
      impairment,
      createRandom,
      heldBuffersMax: poolA.totalBuffers,
    })
    this.a = this.impaired
    this.b = this.pair.b
  }

  /** What happened to the frames of each direction. */
  get paths(): { readonly rx: PathCounters; readonly tx: PathCounters } {
    return this.impaired.paths
  }

  /** Frames that end a has not seen yet, and those that end b has not. */
  get pendingA(): number {
    return this.pair.a.pendingFrames
  }

  get pendingB(): number {
    return this.pair.b.pendingFrames
  }

  close(): void {
    this.impaired.close()
    this.pair.close()
  }
}
