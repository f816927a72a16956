/**
 * Two hosts in virtual time over the impairment device that `serve --impair` uses. It hops from deadline to deadline and
 * never sleeps; the same options give the same run.
 *
 *   host A ─ impairment device ─ pair in memory ─ host B        tx: from A to B, rx: from B to A
 */
import { ImpairDevice } from '../../drivers/impair.ts'
import { parseImpairment } from '../../drivers/impairment-spec.ts'
import { type LinkFilter, MemoryPair } from '../../drivers/memory-pair.ts'
import { Host } from '../../stack/host.ts'
import type { HostOptions, TcpOptions } from '../../stack/host-options.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { Pool } from '../../storage/pool.ts'
import { SegmentingDevice } from './segmenting-device.ts'
import { createPool } from './virtual-link.ts'

/** A host that turns so often is in a loop. */
const TURNS_MAX = 2_000_000

/** Of A and of B: IPv4, IPv6. */
export const ADDRESSES = [
  ['10.0.0.1', 'fd00::1'],
  ['10.0.0.2', 'fd00::2'],
] as const

/** What differs between the two hosts. */
export interface LabHostOptions {
  buffers?: number
  mtu?: number
  tcp?: TcpOptions
}

export interface LabOptions {
  /** As in --impair (drivers/impairment-spec.ts), without its seed. */
  impairment: string
  seed: number
  /** MTU of the link. */
  mtu?: number
  /** Bytes of a frame that one buffer of a receiver takes; default all of it. */
  pieceBytes?: number
  /** Both hosts have IPv6 addresses, too. */
  ipv6?: boolean
  a?: LabHostOptions
  b?: LabHostOptions
  /** The link takes runs of segments from B, and cuts them, or passes them on whole (its MTU must allow for them). */
  segmentsTcp?: 'cut' | 'whole'
  filter?: LinkFilter
  startUs?: number
  /** Buffer references that frames on their way may hold, of A's pool. */
  heldBuffersMax?: number
}

interface Appointment {
  atUs: number
  call: () => void
}

export class ImpairedLab {
  nowUs: number
  /** Turns of the loop so far. */
  turns = 0
  readonly poolA: Pool
  readonly poolB: Pool
  readonly device: ImpairDevice
  /** Undefined without `segmentsTcp`. */
  readonly deviceB: SegmentingDevice | undefined
  readonly hostA: Host
  readonly hostB: Host
  private readonly pair: MemoryPair
  /** Sorted by time. */
  private readonly appointments: Appointment[] = []

  constructor(options: LabOptions) {
    const { a = {}, b = {}, seed } = options
    this.nowUs = options.startUs ?? 1_000_000
    this.poolA = createPool(a.buffers ?? 4096)
    this.poolB = createPool(b.buffers ?? 4096)
    this.pair = new MemoryPair({
      poolA: this.poolA,
      poolB: this.poolB,
      ...(options.mtu !== undefined && { mtu: options.mtu }),
      ...(options.pieceBytes !== undefined && { pieceBytes: options.pieceBytes }),
      ...(options.filter !== undefined && { filter: options.filter }),
    })
    this.device = new ImpairDevice({
      device: this.pair.a,
      pool: this.poolA,
      impairment: parseImpairment(`seed=${seed & 0x3fffffff},${options.impairment}`),
      createRandom: (value) => {
        const random = new SeededRandom(value)
        return () => random.next()
      },
      heldBuffersMax: options.heldBuffersMax ?? 1024,
    })
    this.hostA = this.createHost(this.device, this.poolA, ADDRESSES[0], seed * 2 + 1, a, options.ipv6)
    const { segmentsTcp } = options
    this.deviceB =
      segmentsTcp === undefined ? undefined : new SegmentingDevice(this.pair.b, this.poolB, segmentsTcp === 'cut')
    this.hostB = this.createHost(this.deviceB ?? this.pair.b, this.poolB, ADDRESSES[1], seed * 2 + 2, b, options.ipv6)
  }

  /** Calls back at a moment of virtual time, between two turns. */
  at(atUs: number, call: () => void): void {
    let place = this.appointments.length
    while (place > 0 && this.appointments[place - 1]!.atUs > atUs) place--
    this.appointments.splice(place, 0, { atUs, call })
  }

  /** Runs until `done`, or until virtual time has passed; true if done. */
  runUntil(done: () => boolean, limitUs: number): boolean {
    const end = this.nowUs + limitUs
    while (!done()) {
      while (this.appointments.length > 0 && this.appointments[0]!.atUs <= this.nowUs) this.appointments.shift()!.call()
      this.turn()
      const next = this.nextEventUs()
      if (next > end) {
        this.nowUs = end
        return done()
      }
      this.nowUs = Math.max(this.nowUs, next)
    }
    return true
  }

  runFor(durationUs: number): void {
    this.runUntil(() => false, durationUs)
  }

  /** What the filter holds back arrives now. */
  releaseHeld(): void {
    this.pair.releaseHeld()
  }

  /** Ends both hosts and the link; every buffer and line has to be free then. */
  close(): void {
    this.hostA.close(this.nowUs)
    this.hostB.close(this.nowUs)
    this.device.close()
    this.pair.b.close()
    for (const { pool } of [this.hostA, this.hostB]) {
      if (pool.freeBuffers !== pool.totalBuffers)
        throw new Error(`${pool.totalBuffers - pool.freeBuffers} buffers leaked`)
      if (pool.freeMetas !== pool.totalMetas) throw new Error(`${pool.totalMetas - pool.freeMetas} lines leaked`)
    }
  }

  /** Frames cross the inner link at once: both ends poll until nothing moves. */
  private turn(): void {
    while (this.hostA.poll(this.nowUs) + this.hostB.poll(this.nowUs) > 0) this.countTurn()
    this.countTurn()
  }

  private countTurn(): void {
    if (++this.turns > TURNS_MAX) throw new Error(`no end after ${TURNS_MAX} turns`)
  }

  private nextEventUs(): number {
    return Math.min(
      this.appointments[0]?.atUs ?? Number.POSITIVE_INFINITY,
      this.hostA.nextDeadlineUs(),
      this.hostB.nextDeadlineUs(),
    )
  }

  private createHost(
    device: HostOptions['device'],
    pool: Pool,
    [address, address6]: readonly [string, string],
    seed: number,
    { mtu, tcp }: LabHostOptions,
    ipv6 = false,
  ): Host {
    const options: HostOptions = {
      device,
      pool,
      address: `${address}/24`,
      random: new SeededRandom(seed),
      secret: new Uint8Array(16).fill(seed & 255),
      wallClock: { low: 0, high: 0, read() {} },
      tcp: { connectionsMax: 32, timeWaitsMax: 32, reserveBuffers: 32, ...tcp },
      ...(mtu !== undefined && { mtu }),
      ...(ipv6 && { address6: `${address6}/64`, dadTransmits: 0 }),
    }
    return new Host(options, this.nowUs)
  }
}
