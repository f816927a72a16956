/**
 * AF_XDP as a device: the network card, or the kernel in its place, writes frames straight into the region. The one
 * place where the package `xdp-napi` is used. How a frame travels is drawn in docs/af-xdp.md.
 *
 * One socket for each queue; the first registers the region as UMEM, the others share it. Frames are sent on the queue
 * that those of their flow come in on.
 *
 * Called by: the stack's loop, `serve`, `doctor`. Calls: xdp-napi, xdp-queue.ts, xdp-flows.ts, xdp-program.ts, the pool.
 *
 * Invariants:
 *  1. The program is attached only while every queue's socket stands in its map, and leaves with the process.
 *  2. After close() the device owns no buffer.
 */
import {
  probe,
  readInterface,
  S_FILL_RING_EMPTY,
  S_RX_DROPPED,
  S_RX_INVALID,
  S_RX_RING_FULL,
  S_TX_INVALID,
  STATISTICS,
  XdpError,
  type XdpProgram,
  XdpSocket,
  type XdpSocketOptions,
} from 'xdp-napi'
import { PackratError } from '../storage/errors.ts'
import type { Pool } from '../storage/pool.ts'
import {
  D_FLAGS,
  DESCRIPTOR_WORDS,
  type Device,
  type DeviceCapabilities,
  DeviceCounters,
  type ReceiveBurst,
  receivedFrameEnd,
  TRANSMIT_BURST_DESCRIPTORS,
  type TransmitBurst,
  TX_MORE,
} from './device.ts'
import { XdpFlows } from './xdp-flows.ts'
import { XDP_BUFFER_MTU, XDP_MTU_MAX, XdpMemory } from './xdp-memory.ts'
import { attachProgram, type XdpProgramChoice } from './xdp-program.ts'
import { XdpQueue } from './xdp-queue.ts'

/** Entries of the rings: a millisecond of small frames at a million a second fits twice. */
const RING_ENTRIES = 2048
/** Completions of a burst must fit beside those of the one before. */
const TX_ENTRIES = TRANSMIT_BURST_DESCRIPTORS * 2
/**
 * The kernel gives a queue back a little after the process that had it ended, on a work queue of its own: so long is it
 * asked again, so that a daemon can be restarted at once.
 */
const BIND_RETRY_MS_MAX = 1000
const BIND_RETRY_MS = 5
/**
 * At most this part of a small region waits for reception: half of the sixteenth that a store leaves free when it is
 * full, so that windows stay open then.
 */
const IDLE_SHARE_SHIFT = 5

export type XdpCopyMode = 'auto' | 'zerocopy' | 'copy'

export interface XdpOptions extends XdpProgramChoice {
  /** Queues to serve, in order; default queue 0. */
  readonly queues?: readonly number[]
  /** Where each extent of the pool begins in the region's mapping, bytes. */
  readonly extentOffsets: readonly number[]
  /** Largest IP packet, bytes; default and maximum: the interface's. */
  readonly mtu?: number
  /** auto: zero-copy, or copy where the driver has no zero-copy. */
  readonly copy?: XdpCopyMode
  /** Busy-poll the driver from our own calls, so long; 0: off. */
  readonly busyPollUs?: number
}

/** What XDP_STATISTICS says, and what was copied to send. */
export class XdpStatistics {
  /** Frames dropped for another reason than a full or empty ring. */
  dropped = 0
  /** Descriptors that the kernel refused. */
  invalidReceive = 0
  invalidTransmit = 0
  receiveRingFull = 0
  fillRingEmpty = 0
  /** Bytes copied together because the socket takes only whole frames. */
  bytesGathered = 0
  /** Queue by queue, in the order of the device. */
  readonly queues: { receivedFrames: number; transmittedFrames: number }[] = []
}

export interface XdpAvailability {
  readonly available: boolean
  /** Why not, and what to do. */
  readonly reason?: string
}

/** Whether this process may load an XDP program; leaves nothing. */
export function xdpAvailability(): XdpAvailability {
  const failure = probe()
  return failure === undefined ? { available: true } : { available: false, reason: failure.message }
}

export class XdpDevice implements Device {
  readonly name: string
  readonly mac: Uint8Array
  readonly capabilities: DeviceCapabilities
  readonly counters = new DeviceCounters()
  /** What was chosen: `native XDP, copy mode, scattered frames, software arrival times, queue 0 of 1`. */
  readonly mode: string

  private readonly memory: XdpMemory
  private readonly queues: XdpQueue[] = []
  private readonly program: XdpProgram
  private readonly statistics = new Float64Array(STATISTICS)
  /** Only with several queues. */
  private readonly flows: XdpFlows | undefined
  /** Of the queues: the one that was asked first last time. */
  private turn = 0
  private closed = false

  /** Opens the queues and attaches the program. Throws PackratError with xdp-napi's codes, or MTU, DOWN, QUEUE. */
  constructor(pool: Pool, options: XdpOptions) {
    const queues = options.queues ?? [0]
    this.name = `xdp:${options.interface}`
    this.memory = new XdpMemory(pool, options.extentOffsets)
    this.flows = queues.length > 1 ? new XdpFlows(pool) : undefined
    let attached: XdpProgram | undefined
    try {
      const link = readInterface(options.interface)
      if (!link.isUp)
        throw new PackratError('DOWN', `${this.name} is down; bring it up with: ip link set ${options.interface} up`)
      checkQueues(this.name, queues, link.queues)
      this.mac = link.mac
      const mtu = chooseMtu(this.name, options.mtu, link.mtu)
      const scatter = this.openQueues(pool, options, queues, link.index)
      const fragments = link.mtu > XDP_BUFFER_MTU
      if (fragments && !scatter)
        throw tooLarge(this.name, link.mtu, XDP_BUFFER_MTU, 'without scattered frames (Linux 6.6)')
      const { program, native, stamped, clock } = attachProgram(options, link, fragments)
      this.program = attached = program
      this.capabilities = { mtu, receiveSum: false, receiveTime: stamped }
      for (const queue of this.queues) queue.stamped = stamped
      for (const [index, queue] of queues.entries()) program.setSocket(queue, this.queues[index]!.socket)
      const zeroCopy = this.queues[0]!.socket.isZeroCopy
      this.mode = [
        native ? 'native XDP' : 'generic XDP',
        zeroCopy ? 'zero-copy mode' : 'copy mode',
        scatter ? 'scattered frames' : 'whole frames, copied together to send',
        clock,
        `queue ${queues.join(', ')} of ${link.queues}`,
      ].join(', ')
    } catch (error) {
      attached?.release()
      this.releaseQueues()
      throw translate(error)
    }
  }

  get idleBuffers(): number {
    let idle = 0
    for (let index = 0; index < this.queues.length; index++) idle += this.queues[index]!.idle
    return idle
  }

  receive(burst: ReceiveBurst): number {
    if (this.closed) throw this.closedError()
    burst.count = 0
    return this.flows === undefined ? this.queues[0]!.receive(burst, 0) : this.receiveFromAll(burst, this.flows)
  }

  /** Another queue comes first each time, so that none that is always full keeps the others waiting. */
  private receiveFromAll(burst: ReceiveBurst, flows: XdpFlows): number {
    const count = this.queues.length
    const { descriptors } = burst
    let frames = 0
    this.turn = (this.turn + 1) % count
    for (let index = 0; index < count; index++) {
      const queue = (this.turn + index) % count
      let at = burst.count * DESCRIPTOR_WORDS
      frames += this.queues[queue]!.receive(burst, frames)
      for (; at < burst.count * DESCRIPTOR_WORDS; at = receivedFrameEnd(descriptors, at))
        flows.received(descriptors, at, queue)
    }
    return frames
  }

  transmit(burst: TransmitBurst): number {
    if (this.closed) throw this.closedError()
    const { queues, flows, counters } = this
    const before = counters.transmittedFrames
    const descriptors = burst.descriptors
    const end = burst.count * DESCRIPTOR_WORDS
    for (let first = 0, at = 0; at < end; at += DESCRIPTOR_WORDS) {
      if ((descriptors[at + D_FLAGS]! & TX_MORE) !== 0) continue
      const queue = queues[flows === undefined ? 0 : flows.queueOf(descriptors, first)]!
      if (!queue.send(descriptors, first, at)) counters.transmitDropped++
      first = at + DESCRIPTOR_WORDS
    }
    for (let index = 0; index < queues.length; index++) queues[index]!.finishBurst()
    return counters.transmittedFrames - before
  }

  waitReadable(ready: () => void): void {
    if (this.closed) throw this.closedError()
    let called = false
    const once = (): void => {
      if (called) return
      called = true
      ready()
    }
    for (const queue of this.queues) {
      queue.wake() // an interface that was deleted never becomes readable: ask before each sleep
      queue.socket.onReadable(once)
    }
  }

  /** The kernel's own counters of all queues together, and ours. */
  readStatistics(): XdpStatistics {
    const sum = new XdpStatistics()
    for (const { socket, bytesGathered, receivedFrames, transmittedFrames } of this.queues) {
      if (!this.closed) socket.readStatistics(this.statistics)
      sum.queues.push({ receivedFrames, transmittedFrames })
      sum.dropped += this.statistics[S_RX_DROPPED]!
      sum.invalidReceive += this.statistics[S_RX_INVALID]!
      sum.invalidTransmit += this.statistics[S_TX_INVALID]!
      sum.receiveRingFull += this.statistics[S_RX_RING_FULL]!
      sum.fillRingEmpty += this.statistics[S_FILL_RING_EMPTY]!
      sum.bytesGathered += bytesGathered
    }
    return sum
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.program.release()
    this.releaseQueues()
  }

  /** @returns whether frames of several descriptors can be sent */
  private openQueues(pool: Pool, options: XdpOptions, queues: readonly number[], ifindex: number): boolean {
    const { memory } = this
    const base = {
      ifindex,
      rings: { fill: RING_ENTRIES, completion: TX_ENTRIES, rx: RING_ENTRIES, tx: TX_ENTRIES },
      mode: options.copy ?? 'auto',
      busyPollUs: options.busyPollUs ?? 0,
    } as const
    let scatter = true
    let first: XdpSocket | undefined
    const idleTarget = Math.floor((pool.totalBuffers >> IDLE_SHARE_SHIFT) / queues.length)
    for (const queue of queues) {
      const own = first === undefined ? { memory } : { share: first }
      let socket: XdpSocket
      if (first === undefined) {
        const opened = openFirst({ ...base, ...own, queue })
        socket = opened.socket
        scatter = opened.scatter
        first = socket
      } else socket = openPatiently({ ...base, ...own, queue })
      const busyPolled = base.busyPollUs > 0
      const { counters, name } = this
      this.queues.push(new XdpQueue({ name, socket, pool, memory, counters, idleTarget, scatter, busyPolled }))
    }
    return scatter
  }

  private releaseQueues(): void {
    for (const queue of this.queues) queue.socket.release()
    this.memory.releaseAll()
  }

  private closedError(): PackratError {
    return new PackratError('DEVICE_CLOSED', `${this.name} is closed: no frame can pass any more`)
  }
}

/** With scattered frames if the kernel and the driver have them: before Linux 6.6 the flag is EINVAL, some drivers say ENOTSUP. */
function openFirst(options: XdpSocketOptions): { socket: XdpSocket; scatter: boolean } {
  try {
    return { socket: openPatiently({ ...options, scatter: true }), scatter: true }
  } catch (error) {
    if (!(error instanceof XdpError) || (error.code !== 'EINVAL' && error.code !== 'ENOTSUP')) throw error
    return { socket: openPatiently(options), scatter: false }
  }
}

function openPatiently(options: XdpSocketOptions): XdpSocket {
  for (let waitedMs = 0; ; waitedMs += BIND_RETRY_MS) {
    try {
      return new XdpSocket(options)
    } catch (error) {
      if (!(error instanceof XdpError) || error.code !== 'EBUSY' || waitedMs >= BIND_RETRY_MS_MAX) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BIND_RETRY_MS)
    }
  }
}

function checkQueues(name: string, queues: readonly number[], available: number): void {
  const missing = queues.find((queue) => queue >= available)
  if (missing === undefined) return
  const has = available === 1 ? 'only queue 0' : `queues 0 to ${available - 1}`
  throw new PackratError('QUEUE', `${name} has ${has}, not queue ${missing}; see: ethtool -l`)
}

function chooseMtu(name: string, wanted: number | undefined, available: number): number {
  const mtu = wanted ?? available
  if (mtu > available)
    throw new PackratError('MTU', `${name} has an MTU of ${available}, not ${mtu}; choose ${available} or less`)
  if (available > XDP_MTU_MAX) throw tooLarge(name, available, XDP_MTU_MAX, 'for AF_XDP')
  return mtu
}

function tooLarge(name: string, mtu: number, mtuMax: number, why: string): PackratError {
  const message = `${name} has an MTU of ${mtu}, too large ${why}; set it to ${mtuMax} or less (ip link set mtu)`
  return new PackratError('MTU', message)
}

function translate(error: unknown): unknown {
  return error instanceof XdpError ? new PackratError(error.code, error.message, { cause: error }) : error
}
