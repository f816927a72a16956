/**
 * A TAP interface as a device: the kernel of this host is the other end of the link. The one place where the
 * package `tuntap2` is used.
 *
 * Called by: the stack's loop, `serve`, `doctor`. Calls: tuntap2, the pool.
 *
 * Receive slots: descriptors that own a buffer each, ready for the native side to read frames into.
 *
 *   slots   [ vacant ... | filled: buffer, 0, 2048 ................ ]
 *             0            vacant                       slotCount
 *
 * `receive` fills vacant slots from the pool, lets the native side read frames into the filled ones from the left,
 * and hands those over to the caller, who owns their buffers then: so `vacant` moves right by the buffers received. A
 * frame takes as many slots as its bytes need; how many that may be follows from the MTU.
 *
 * Invariants:
 *  1. The device owns exactly one reference to the buffer of each filled slot and no other: idleBuffers = filled.
 *  2. Nothing is allocated for a frame or a burst.
 *  3. After close() it owns nothing.
 */
import { getSystemErrorName } from 'node:util'
import {
  C_RECEIVE_TRUNCATED,
  C_RECEIVED_LONG,
  C_RECEIVED_PARTIAL_SUMS,
  C_TRANSMIT_REFUSED,
  C_TRANSMITTED_BYTES,
  C_TRANSMITTED_FRAMES,
  C_TRANSMITTED_LONG,
  COUNTERS,
  probe,
  Tap,
  TapError,
  type TapOffload,
} from 'tuntap2'
import { PackratError } from '../storage/errors.ts'
import { BUFFER_BYTES, NO_BUFFER } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import {
  D_BUFFER,
  D_LENGTH,
  D_OFFSET,
  D_SUM,
  DESCRIPTOR_WORDS,
  type Device,
  type DeviceCapabilities,
  DeviceCounters,
  RECEIVE_BURST_DESCRIPTORS,
  RECEIVE_BURST_FRAMES,
  type ReceiveBurst,
  RX_MORE,
  type TransmitBurst,
} from './device.ts'
import { type SteeringWish, steer } from './steering.ts'

const MTU_DEFAULT = 1500
const MTU_MIN = 68 // RFC 791: every internet module forwards 68 bytes unfragmented
/** Ethernet header and one VLAN tag around the packet, and tuntap2 wants a frame shorter than its room. */
const FRAME_OVERHEAD_BYTES = 18 + 1
const MTU_MAX = 65_521 // Linux tun: 65,535 less the Ethernet header
/**
 * Frames that wait for us in the kernel at most. Linux's 1000 is less than ten thousand clients send at once, and each frame
 * dropped costs one of them a retransmission time-out.
 */
const QUEUE_FRAMES = 16_384
/** What it is where nobody has chosen (Linux DEFAULT_TX_QUEUE_LEN). */
const QUEUE_FRAMES_LINUX = 1000
/** The longest packet that comes in one frame with offloads (RFC 791). */
const OFFLOADED_PACKET_BYTES = 65_535
/**
 * Slots are no more than this part of the pool, half of what a full store leaves for the network, and never less than a
 * burst of short frames, or a few long ones, needs.
 */
const SLOTS_POOL_SHARE = 32

export interface TapOptions {
  /** Interface name, 1 to 15 bytes. A persistent TAP of this name that nobody holds is taken over. */
  readonly name: string
  /** The kernel's own addresses on the link, `10.77.0.1/24`; without them it keeps what it has. */
  readonly hostAddress?: string
  readonly hostAddress6?: string
  /** Largest IP packet, bytes, up to 65,521; default 1500. */
  readonly mtu?: number
  /** Address of this end, 6 bytes; default: derived from the name. */
  readonly mac?: Uint8Array
  /** What this side and the kernel leave to each other: docs/offloads.md. Default none. */
  readonly offload?: TapOffload
  /** Which processors take in what is sent: steering.ts. Default none. */
  readonly steer?: SteeringWish
  /** The interface outlives the process. Without it, what it was before holds. */
  readonly persistent?: boolean
}

export interface TapOffloads {
  readonly receivedPartialSums: number
  readonly receivedLongFrames: number
  readonly transmittedLongFrames: number
}

export interface TapAvailability {
  readonly available: boolean
  /** Why not, and what to do. */
  readonly reason?: string
}

/** Whether this process could create a TAP now; creates nothing. */
export function tapAvailability(): TapAvailability {
  const failure = probe()
  return failure === undefined ? { available: true } : { available: false, reason: failure.message }
}

export class TapDevice implements Device {
  readonly name: string
  readonly mac: Uint8Array
  /** What came of options.steer, for people; undefined: nothing was to be done. */
  readonly steered: string | undefined
  readonly capabilities: DeviceCapabilities
  readonly counters = new DeviceCounters()

  private readonly tap: Tap
  private readonly pool: Pool
  private readonly slots: Int32Array
  private readonly slotCount: number
  private readonly frameSlots: number
  private vacant: number
  private readonly native = new Float64Array(COUNTERS)
  private closed = false

  /** Opens and configures the interface and brings it up. Throws PackratError with tuntap2's codes: ENODEV EPERM EBUSY EINVAL. */
  constructor(pool: Pool, options: TapOptions) {
    const mtu = options.mtu ?? MTU_DEFAULT
    if (!Number.isInteger(mtu) || mtu < MTU_MIN || mtu > MTU_MAX)
      throw new PackratError(
        'EINVAL',
        `bad MTU ${mtu} for a TAP: the kernel does not take it; choose ${MTU_MIN} to ${MTU_MAX}`,
      )
    if (options.mac !== undefined && (options.mac.length !== 6 || (options.mac[0]! & 1) !== 0))
      throw new PackratError('EINVAL', 'bad MAC address: expected 6 bytes, the first even (not multicast)')
    this.pool = pool
    const packetBytes = options.offload === 'all' ? OFFLOADED_PACKET_BYTES : mtu
    this.frameSlots = Math.ceil((packetBytes + FRAME_OVERHEAD_BYTES) / BUFFER_BYTES)
    this.slotCount = slotCountFor(this.frameSlots, pool)
    this.slots = new Int32Array(this.slotCount * DESCRIPTOR_WORDS)
    this.vacant = this.slotCount
    this.tap = openTap(options, mtu, pool)
    this.name = `tap:${this.tap.name}`
    this.steered = steerOrRelease(this.tap, options.steer ?? 'none')
    this.mac = options.mac ?? deriveMac(this.tap.name, this.tap.mac)
    this.capabilities = { mtu, receiveSum: true, segmentsTcp: options.offload === 'all' }
  }

  get idleBuffers(): number {
    return this.slotCount - this.vacant
  }

  /** What offloads have saved: checksums that the kernel left to us, and frames of several segments both ways. */
  readOffloads(): TapOffloads {
    if (!this.closed) this.tap.readCounters(this.native)
    return {
      receivedPartialSums: this.native[C_RECEIVED_PARTIAL_SUMS]!,
      receivedLongFrames: this.native[C_RECEIVED_LONG]!,
      transmittedLongFrames: this.native[C_TRANSMITTED_LONG]!,
    }
  }

  /** Frames dropped because they were too long for their room: somebody raised the MTU of the interface. */
  get receiveTruncated(): number {
    if (!this.closed) this.tap.readCounters(this.native)
    return this.native[C_RECEIVE_TRUNCATED]!
  }

  receive(burst: ReceiveBurst): number {
    if (this.closed) throw this.closedError()
    this.fillSlots()
    const first = this.vacant
    const { counters, slots, slotCount } = this
    const filled = this.tap.receiveBurst(slots, first, slotCount - first, RECEIVE_BURST_FRAMES, this.frameSlots)
    if (filled < 0) this.fail(filled)
    const descriptors = burst.descriptors
    let frames = 0
    let from = first * DESCRIPTOR_WORDS
    const end = from + filled * DESCRIPTOR_WORDS
    for (let to = 0; from < end; from += DESCRIPTOR_WORDS, to += DESCRIPTOR_WORDS) {
      const sum = slots[from + D_SUM]!
      descriptors[to + D_BUFFER] = slots[from + D_BUFFER]!
      descriptors[to + D_OFFSET] = slots[from + D_OFFSET]!
      descriptors[to + D_LENGTH] = slots[from + D_LENGTH]!
      descriptors[to + D_SUM] = sum
      counters.receivedBytes += slots[from + D_LENGTH]!
      if ((sum & RX_MORE) === 0) frames++
    }
    this.vacant = first + filled
    counters.receivedFrames += frames
    burst.count = filled
    return frames
  }

  transmit(burst: TransmitBurst): number {
    if (this.closed) throw this.closedError()
    const sent = this.tap.transmitBurst(burst.descriptors, burst.count)
    if (sent < 0) this.fail(sent)
    const counters = this.counters
    this.tap.readCounters(this.native)
    counters.transmittedFrames = this.native[C_TRANSMITTED_FRAMES]!
    counters.transmittedBytes = this.native[C_TRANSMITTED_BYTES]!
    counters.transmitDropped = this.native[C_TRANSMIT_REFUSED]!
    return sent
  }

  waitReadable(ready: () => void): void {
    if (this.closed) throw this.closedError()
    try {
      this.tap.onReadable(ready)
    } catch (error) {
      throw translate(error)
    }
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.tap.release()
    for (; this.vacant < this.slotCount; this.vacant++) {
      this.pool.releaseBuffer(this.slots[this.vacant * DESCRIPTOR_WORDS + D_BUFFER]!)
    }
  }

  private fillSlots(): void {
    const slots = this.slots
    while (this.vacant > 0) {
      const buffer = this.pool.allocateBuffer()
      if (buffer === NO_BUFFER) {
        this.counters.receiveStarved++
        return
      }
      const at = --this.vacant * DESCRIPTOR_WORDS
      slots[at + D_BUFFER] = buffer
      slots[at + D_OFFSET] = 0
      slots[at + D_LENGTH] = BUFFER_BYTES
    }
  }

  private closedError(): PackratError {
    return new PackratError('DEVICE_CLOSED', `${this.name} is closed: no frame can pass any more`)
  }

  private fail(status: number): never {
    const code = getSystemErrorName(status)
    if (code === 'ENODEV')
      throw new PackratError('DEVICE_GONE', `${this.name} was deleted by another program; restart to create it anew`)
    if (code === 'EINVAL')
      throw new PackratError(
        'EINVAL',
        `${this.name}: a descriptor names no buffer of the open region, or the region is closed`,
      )
    throw new PackratError(code, `${this.name}: the kernel says ${code}`)
  }
}

/** Slots for a burst of frames that take up to `frameSlots` each. */
function slotCountFor(frameSlots: number, pool: Pool): number {
  if (frameSlots === 1) return RECEIVE_BURST_FRAMES
  const share = Math.max(Math.trunc(pool.totalBuffers / SLOTS_POOL_SHARE), RECEIVE_BURST_FRAMES)
  return Math.min(share, RECEIVE_BURST_DESCRIPTORS)
}

/** Sets only what differs, so that a user without privileges can use a TAP that was prepared for him. */
function openTap(options: TapOptions, mtu: number, pool: Pool): Tap {
  let tap: Tap | undefined
  try {
    tap = new Tap(options.name, { offload: options.offload ?? 'none' })
    if (options.persistent !== undefined) tap.persistent = options.persistent
    if (tap.mtu !== mtu) tap.mtu = mtu
    if (tap.queueLength === QUEUE_FRAMES_LINUX) lengthenQueue(tap)
    if (options.hostAddress !== undefined && tap.ipv4 !== options.hostAddress) tap.ipv4 = options.hostAddress
    if (options.hostAddress6 !== undefined && tap.ipv6 !== options.hostAddress6) tap.ipv6 = options.hostAddress6
    if (!tap.isUp) tap.isUp = true
    tap.attach({
      extents: pool.bytes.map((bytes) => bytes.buffer as ArrayBuffer),
      dataStart: pool.dataStart,
      buffers: pool.extentBuffers,
    })
    return tap
  } catch (error) {
    tap?.release()
    throw translate(error)
  }
}

/** Not every user may; a prepared TAP works without, but for crowds. */
function lengthenQueue(tap: Tap): void {
  try {
    tap.queueLength = QUEUE_FRAMES
  } catch (error) {
    if (!(error instanceof TapError) || error.code !== 'EPERM') throw error
  }
}

function steerOrRelease(tap: Tap, wish: SteeringWish): string | undefined {
  try {
    return steer(tap, wish)
  } catch (error) {
    tap.release()
    throw error
  }
}

function translate(error: unknown): unknown {
  return error instanceof TapError ? new PackratError(error.code, error.message, { cause: error }) : error
}

/**
 * An address that stays the same over restarts, so that neighbours' caches stay right: locally administered
 * (IEEE 802, 8.2: second bit of the first byte), `pk`, and a hash of the name. Never the kernel's own.
 */
export function deriveMac(name: string, kernelMac: string): Uint8Array {
  let hash = 0x811c9dc5 // FNV-1a, 32 bits
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193)
  const mac = Uint8Array.of(0x02, 0x70, 0x6b, hash >>> 16, hash >>> 8, hash)
  const text = Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':')
  if (text === kernelMac) mac[5]! ^= 1
  return mac
}
