/**
 * Two devices joined by a link in virtual time: delay, loss, reordering, duplication and corruption from a seed, so that
 * a failing run replays exactly. `VirtualNetwork` drives two hosts over it: it hops from event to event, never sleeps.
 *
 *   a.transmit ─► bytes copied ─► impaired ─► in flight until its time ─► b.receive
 */
import {
  D_BUFFER,
  D_FLAGS,
  D_LENGTH,
  D_OFFSET,
  D_SUM,
  DESCRIPTOR_WORDS,
  type Device,
  type DeviceCapabilities,
  DeviceCounters,
  RECEIVE_BURST_FRAMES,
  type ReceiveBurst,
  type TransmitBurst,
  TX_MORE,
} from '../../drivers/device.ts'
import type { WallClock } from '../../stack/clock.ts'
import { Host } from '../../stack/host.ts'
import type { HostOptions, TcpOptions } from '../../stack/host-options.ts'
import { SeededRandom } from '../../stack/random.ts'
import { sumBytes } from '../../storage/checksum.ts'
import { BUFFER_BYTES, NO_BUFFER } from '../../storage/layout.ts'
import { Pool } from '../../storage/pool.ts'

const ETHERNET_HEADER_BYTES = 14

export interface Impairment {
  delayUs: number
  /** Additional delay, uniform in [0, jitterUs): more than the gap between frames reorders. */
  jitterUs?: number
  /** Probabilities. */
  loss?: number
  duplicate?: number
  corrupt?: number
}

function isIp(frame: Uint8Array): boolean {
  return (frame[12] === 0x08 && frame[13] === 0x00) || (frame[12] === 0x86 && frame[13] === 0xdd)
}

/** Sees every frame before impairment; false drops it. Changes to the bytes arrive. */
export type FrameFilter = (frame: Uint8Array, fromA: boolean) => boolean

interface Flight {
  atUs: number
  order: number
  frame: Uint8Array
}

export class VirtualDevice implements Device {
  readonly name: string
  readonly mac: Uint8Array
  readonly capabilities: DeviceCapabilities
  readonly counters = new DeviceCounters()
  readonly idleBuffers = 0
  peer: VirtualDevice | undefined
  /** Frames on their way here, in order of arrival. */
  readonly flights: Flight[] = []
  private readonly pool: Pool
  private readonly network: VirtualNetwork

  constructor(network: VirtualNetwork, name: string, pool: Pool, mtu: number, receiveSum: boolean, lastByte: number) {
    this.network = network
    this.name = name
    this.pool = pool
    this.mac = Uint8Array.of(2, 0, 0, 0, 0, lastByte)
    this.capabilities = { mtu, receiveSum }
  }

  receive(burst: ReceiveBurst): number {
    let count = 0
    while (count < RECEIVE_BURST_FRAMES && this.flights.length > 0 && this.flights[0]!.atUs <= this.network.nowUs) {
      const buffer = this.pool.allocateBuffer()
      if (buffer === NO_BUFFER) {
        this.counters.receiveStarved++
        break
      }
      const frame = this.flights.shift()!.frame
      const start = this.pool.bufferStart(buffer)
      this.pool.bufferBytes(buffer).set(frame, start)
      const at = count * DESCRIPTOR_WORDS
      burst.descriptors[at + D_BUFFER] = buffer
      burst.descriptors[at + D_OFFSET] = 0
      burst.descriptors[at + D_LENGTH] = frame.length
      burst.descriptors[at + D_SUM] = this.capabilities.receiveSum
        ? sumBytes(this.pool.bufferView(buffer), start + ETHERNET_HEADER_BYTES, frame.length - ETHERNET_HEADER_BYTES)
        : 0
      this.counters.receivedFrames++
      count++
    }
    burst.count = count
    return count
  }

  transmit(burst: TransmitBurst): number {
    let parts: Uint8Array[] = []
    for (let index = 0; index < burst.count; index++) {
      const at = index * DESCRIPTOR_WORDS
      const buffer = burst.descriptors[at + D_BUFFER]!
      const offset = burst.descriptors[at + D_OFFSET]!
      const length = burst.descriptors[at + D_LENGTH]!
      if (offset + length > BUFFER_BYTES) throw new RangeError(`descriptor passes the end of buffer ${buffer}`)
      if (this.pool.bufferReferences(buffer) < 1) throw new Error(`buffer ${buffer} is sent but nobody holds it`)
      const start = this.pool.bufferStart(buffer) + offset
      parts.push(this.pool.bufferBytes(buffer).slice(start, start + length))
      if (burst.descriptors[at + D_FLAGS]! & TX_MORE) continue
      this.counters.transmittedFrames++
      // No Buffer: its slice() would share the bytes.
      this.network.carry(this, new Uint8Array(Buffer.concat(parts)))
      parts = []
    }
    if (parts.length > 0) throw new Error('the last frame of the burst has no end')
    return burst.frames
  }

  /** Puts a frame on its way here. */
  arrive(frame: Uint8Array, atUs: number): void {
    const flight = { atUs, order: this.network.nextOrder++, frame }
    let place = this.flights.length
    while (place > 0 && this.flights[place - 1]!.atUs > atUs) place--
    this.flights.splice(place, 0, flight)
  }

  waitReadable(): void {}

  close(): void {
    this.flights.length = 0
  }
}

export interface NetworkOptions {
  seed: number
  buffers?: number
  mtu?: number
  receiveSum?: boolean
  impairment?: Impairment
  filter?: FrameFilter
  tcp?: TcpOptions
  /** Virtual time to start at, microseconds. */
  startUs?: number
  secret?: Uint8Array
  hostOptions?: Partial<HostOptions>
  /** Gives the hosts ADDRESS6_A and ADDRESS6_B, too, without asking whether somebody has them. */
  ipv6?: boolean
}

export const ADDRESS6_A = 'fd00::1'
export const ADDRESS6_B = 'fd00::2'

/** An extent with `count` buffers, all free. */
export function createPool(count: number): Pool {
  const linesPerBuffer = 2
  const memory = new ArrayBuffer(count * (linesPerBuffer * 64 + BUFFER_BYTES))
  const pool = new Pool([{ memory, buffers: count }], linesPerBuffer)
  pool.buildFreeLists()
  return pool
}

class VirtualWallClock implements WallClock {
  low = 0
  high = 0
  private readonly network: VirtualNetwork

  constructor(network: VirtualNetwork) {
    this.network = network
  }

  read(): void {
    this.low = (this.network.nowUs * 1000) | 0
    this.high = Math.floor((this.network.nowUs * 1000) / 4294967296) | 0
  }
}

export class VirtualNetwork {
  nowUs: number
  nextOrder = 0
  readonly random: SeededRandom
  readonly poolA: Pool
  readonly poolB: Pool
  readonly deviceA: VirtualDevice
  readonly deviceB: VirtualDevice
  readonly hostA: Host
  readonly hostB: Host
  impairment: Impairment
  filter: FrameFilter | undefined

  constructor(options: NetworkOptions) {
    this.nowUs = options.startUs ?? 1_000_000
    this.random = new SeededRandom(options.seed)
    this.impairment = options.impairment ?? { delayUs: 100 }
    this.filter = options.filter
    const mtu = options.mtu ?? 1500
    const buffers = options.buffers ?? 2048
    this.poolA = createPool(buffers)
    this.poolB = createPool(buffers)
    this.deviceA = new VirtualDevice(this, 'virtual:a', this.poolA, mtu, options.receiveSum ?? true, 0x0a)
    this.deviceB = new VirtualDevice(this, 'virtual:b', this.poolB, mtu, options.receiveSum ?? true, 0x0b)
    this.deviceA.peer = this.deviceB
    this.deviceB.peer = this.deviceA
    this.hostA = this.createHost(options, this.deviceA, this.poolA, '10.0.0.1/24', 1)
    this.hostB = this.createHost(options, this.deviceB, this.poolB, '10.0.0.2/24', 2)
  }

  /** Takes a frame from `from` over the link. */
  carry(from: VirtualDevice, frame: Uint8Array): void {
    if (this.filter !== undefined && !this.filter(frame, from === this.deviceA)) return
    const { delayUs, jitterUs = 0, loss = 0, duplicate = 0, corrupt = 0 } = this.impairment
    const copies = this.random.chance(duplicate) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      if (this.random.chance(loss)) continue
      const bytes = frame.slice()
      // Only what has a checksum of its own: on a real wire the Ethernet CRC guards ARP and the Ethernet header.
      if (this.random.chance(corrupt) && isIp(bytes))
        bytes[ETHERNET_HEADER_BYTES + this.random.below(bytes.length - ETHERNET_HEADER_BYTES)]! ^=
          1 << this.random.below(8)
      const jitter = jitterUs > 0 ? this.random.below(jitterUs) : 0
      from.peer!.arrive(bytes, this.nowUs + delayUs + jitter)
    }
  }

  /** Runs until `done`, or until virtual time has passed; true if done. */
  runUntil(done: () => boolean, limitUs: number): boolean {
    const end = this.nowUs + limitUs
    this.hostA.flush(this.nowUs)
    this.hostB.flush(this.nowUs)
    for (;;) {
      if (done()) return true
      const next = this.nextEventUs()
      if (next > end) {
        this.nowUs = end
        return false
      }
      this.nowUs = Math.max(this.nowUs, next)
      this.hostA.poll(this.nowUs)
      this.hostB.poll(this.nowUs)
    }
  }

  runFor(durationUs: number): void {
    this.runUntil(() => false, durationUs)
  }

  private nextEventUs(): number {
    return Math.min(
      this.deviceA.flights[0]?.atUs ?? Number.POSITIVE_INFINITY,
      this.deviceB.flights[0]?.atUs ?? Number.POSITIVE_INFINITY,
      this.hostA.nextDeadlineUs(),
      this.hostB.nextDeadlineUs(),
    )
  }

  private createHost(
    options: NetworkOptions,
    device: VirtualDevice,
    pool: Pool,
    address: string,
    number: number,
  ): Host {
    return new Host(
      {
        device,
        pool,
        address,
        random: new SeededRandom(options.seed * 2 + number),
        secret: options.secret ?? new Uint8Array(16).fill(number),
        wallClock: new VirtualWallClock(this),
        tcp: { connectionsMax: 256, timeWaitsMax: 256, reserveBuffers: 32, ...options.tcp },
        ...(options.ipv6 === true && { address6: `${number === 1 ? ADDRESS6_A : ADDRESS6_B}/64`, dadTransmits: 0 }),
        ...options.hostOptions,
      },
      this.nowUs,
    )
  }
}
