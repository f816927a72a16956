/**
 * A device around a device through which every frame passes by somebody who may look at it, change it, drop it, double
 * it, or keep it back. For scripted runs: "drop the third data segment" is decided here.
 *
 *   stack ◄─ receive ── interceptor ◄─ device.receive
 *     └──── transmit ─► interceptor ─► device.transmit
 *
 * This is a test instrument: it copies every frame and allocates for each one. Called by: tools/scenario. Calls: the
 * pool, frame-copy.ts.
 *
 * Invariants:
 *  1. The interceptor sees frames in the order in which they pass, and a copy of this device's own: what it changes, only
 *     the receiver sees.
 *  2. Time comes by `setNow` only.
 *  3. A frame that waits here holds no buffer.
 */
import { BUFFER_BYTES } from '../storage/layout.ts'
import type { Pool } from '../storage/pool.ts'
import {
  D_BUFFER,
  D_FLAGS,
  D_LENGTH,
  D_OFFSET,
  DESCRIPTOR_WORDS,
  type Device,
  type DeviceCapabilities,
  type DeviceCounters,
  type DeviceTiming,
  RECEIVE_BURST_DESCRIPTORS,
  RECEIVE_BURST_FRAMES,
  ReceiveBurst,
  receivedFrameEnd,
  TransmitBurst,
  TX_FRAME_DESCRIPTORS_MAX,
  TX_MORE,
} from './device.ts'
import { gatherFrame, scatterFrame, sumFrame } from './frame-copy.ts'

/** What shall happen to a frame. The interceptor fills in the one that it is given, which says `pass` at first. */
export interface Verdict {
  drop: boolean
  /** Kept back so long, µs; Infinity: until another frame of its direction releases it. */
  delayUs: number
  /** Further copies that follow it at once. */
  copies: number
  /** Frames of this direction that wait without a time follow this one. */
  releasesHeld: boolean
}

export interface Interceptor {
  /** A frame passes. Its bytes may be changed, not its length. */
  onFrame(frame: Uint8Array, isOutgoing: boolean, nowUs: number, verdict: Verdict): void
}

interface HeldFrame {
  readonly dueUs: number
  readonly frame: Uint8Array
  readonly isOutgoing: boolean
}

export class InterceptDevice implements Device, DeviceTiming {
  readonly name: string
  readonly mac: Uint8Array
  readonly capabilities: DeviceCapabilities
  readonly counters: DeviceCounters
  readonly timing: DeviceTiming = this
  private readonly device: Device
  private readonly pool: Pool
  private readonly interceptor: Interceptor
  private readonly incoming = new ReceiveBurst()
  private readonly outgoing = new TransmitBurst()
  private readonly verdict: Verdict = { drop: false, delayUs: 0, copies: 0, releasesHeld: false }
  /** In order of their time; those that came first go first. */
  private held: HeldFrame[] = []
  /** Frames that the caller of `receive` gets next. */
  private readonly arrived: Uint8Array[] = []
  private readonly pieces = new Int32Array(TX_FRAME_DESCRIPTORS_MAX * DESCRIPTOR_WORDS)
  private nowUs = 0

  constructor(device: Device, pool: Pool, interceptor: Interceptor) {
    this.device = device
    this.pool = pool
    this.interceptor = interceptor
    this.name = device.name
    this.mac = device.mac
    // Frames are held back, or are others; and what happens, happens to single segments.
    this.capabilities = { ...device.capabilities, receiveTime: false, segmentsTcp: false }
    this.counters = device.counters
  }

  get idleBuffers(): number {
    return this.device.idleBuffers
  }

  setNow(nowUs: number): void {
    this.nowUs = nowUs
    this.device.timing?.setNow(nowUs)
  }

  nextDeadlineUs(): number {
    const below = this.device.timing?.nextDeadlineUs() ?? Number.POSITIVE_INFINITY
    if (this.arrived.length > 0) return this.nowUs
    return Math.min(below, this.held[0]?.dueUs ?? Number.POSITIVE_INFINITY)
  }

  receive(burst: ReceiveBurst): number {
    const { incoming, arrived, pool } = this
    this.releaseDue()
    this.device.receive(incoming)
    for (let at = 0; at < incoming.count * DESCRIPTOR_WORDS; ) {
      const next = receivedFrameEnd(incoming.descriptors, at)
      const frame = copyFrame(pool, incoming.descriptors, at, next)
      for (; at < next; at += DESCRIPTOR_WORDS) pool.releaseBuffer(incoming.descriptors[at + D_BUFFER]!)
      this.judge(frame, false)
    }
    let to = 0
    let frames = 0
    while (frames < RECEIVE_BURST_FRAMES && arrived.length > 0) {
      const pieces = Math.ceil(arrived[0]!.length / BUFFER_BYTES)
      if (to + pieces * DESCRIPTOR_WORDS > RECEIVE_BURST_DESCRIPTORS * DESCRIPTOR_WORDS) break
      const end = scatterFrame(pool, arrived.shift()!, BUFFER_BYTES, burst.descriptors, to)
      if (end === to) {
        this.counters.receiveStarved++ // and the frame is lost
        continue
      }
      sumFrame(pool, burst.descriptors, to, end)
      to = end
      frames++
    }
    burst.count = to / DESCRIPTOR_WORDS
    return frames
  }

  /** Every frame counts as sent: what happens on the way, its sender does not learn. */
  transmit(burst: TransmitBurst): number {
    const { descriptors } = burst
    let first = 0
    for (let at = 0; at < burst.count * DESCRIPTOR_WORDS; at += DESCRIPTOR_WORDS) {
      if (descriptors[at + D_FLAGS]! & TX_MORE) continue
      this.judge(copyFrame(this.pool, descriptors, first, at + DESCRIPTOR_WORDS), true)
      first = at + DESCRIPTOR_WORDS
    }
    this.send()
    return burst.frames
  }

  waitReadable(ready: () => void): void {
    this.device.waitReadable(ready)
  }

  close(): void {
    this.held = []
    this.arrived.length = 0
    this.device.close()
  }

  /** Asks what shall happen to a frame, and does it. */
  private judge(frame: Uint8Array, isOutgoing: boolean): void {
    const { verdict, nowUs } = this
    verdict.drop = false
    verdict.delayUs = 0
    verdict.copies = 0
    verdict.releasesHeld = false
    this.interceptor.onFrame(frame, isOutgoing, nowUs, verdict)
    const { drop, delayUs, copies, releasesHeld } = verdict
    if (!drop && delayUs > 0) this.hold({ dueUs: nowUs + delayUs, frame, isOutgoing })
    else if (!drop) for (let copy = 0; copy <= copies; copy++) this.pass(frame, isOutgoing)
    if (releasesHeld) this.release((held) => held.dueUs === Number.POSITIVE_INFINITY && held.isOutgoing === isOutgoing)
  }

  private hold(frame: HeldFrame): void {
    let place = this.held.length
    while (place > 0 && this.held[place - 1]!.dueUs > frame.dueUs) place--
    this.held.splice(place, 0, frame)
  }

  private releaseDue(): void {
    this.release(({ dueUs }) => dueUs <= this.nowUs)
    this.send()
  }

  private release(isFree: (frame: HeldFrame) => boolean): void {
    const free = this.held.filter(isFree)
    if (free.length === 0) return
    this.held = this.held.filter((frame) => !isFree(frame))
    for (const { frame, isOutgoing } of free) this.pass(frame, isOutgoing)
  }

  private pass(frame: Uint8Array, isOutgoing: boolean): void {
    if (!isOutgoing) {
      this.arrived.push(frame)
      return
    }
    const { outgoing, pieces } = this
    if (!outgoing.hasRoom()) this.send()
    const end = scatterFrame(this.pool, frame, BUFFER_BYTES, pieces, 0)
    if (end === 0) this.counters.transmitDropped++
    for (let at = 0; at < end; at += DESCRIPTOR_WORDS) {
      const more = at + DESCRIPTOR_WORDS < end ? TX_MORE : 0
      outgoing.push(pieces[at + D_BUFFER]!, pieces[at + D_OFFSET]!, pieces[at + D_LENGTH]!, more)
    }
  }

  /** Gives what passed to the device below. */
  private send(): void {
    const { outgoing, pool } = this
    if (outgoing.count === 0) return
    try {
      this.device.transmit(outgoing)
    } finally {
      for (let index = 0; index < outgoing.count; index++)
        pool.releaseBuffer(outgoing.descriptors[index * DESCRIPTOR_WORDS + D_BUFFER]!)
      outgoing.clear()
    }
  }
}

function copyFrame(pool: Pool, descriptors: Int32Array, from: number, end: number): Uint8Array {
  let length = 0
  for (let at = from; at < end; at += DESCRIPTOR_WORDS) length += descriptors[at + D_LENGTH]!
  const frame = new Uint8Array(length)
  gatherFrame(pool, descriptors, from, end, frame, 0)
  return frame
}
