/**
 * Joins two devices: what one receives, the other transmits, unchanged. With an impaired device on one side it is a
 * piece of bad wire between two kernels.
 *
 *   left.receive  ─► right.transmit
 *   left.transmit ◄─ right.receive
 *
 * Called by: the loop of `packrat wire`, as it calls a host. Both devices use the same pool, so a frame passes in the
 * buffer it came in.
 *
 * Invariant: between polls the bridge holds no buffer.
 */
import type { Pool } from '../storage/pool.ts'
import {
  D_BUFFER,
  D_LENGTH,
  D_OFFSET,
  D_SUM,
  DESCRIPTOR_WORDS,
  type Device,
  type DeviceTiming,
  ReceiveBurst,
  RX_MORE,
  TransmitBurst,
  TX_MORE,
} from './device.ts'

export class Bridge implements DeviceTiming {
  readonly timing: DeviceTiming = this
  private readonly left: Device
  private readonly right: Device
  private readonly pool: Pool
  private readonly received = new ReceiveBurst()
  private readonly sent = new TransmitBurst()

  constructor(left: Device, right: Device, pool: Pool) {
    this.left = left
    this.right = right
    this.pool = pool
  }

  /** Moves a burst in each direction. @returns number of frames */
  poll(nowUs: number): number {
    this.setNow(nowUs)
    return this.forward(this.left, this.right) + this.forward(this.right, this.left)
  }

  setNow(nowUs: number): void {
    this.left.timing?.setNow(nowUs)
    this.right.timing?.setNow(nowUs)
  }

  nextDeadlineUs(): number {
    const left = this.left.timing?.nextDeadlineUs() ?? Number.POSITIVE_INFINITY
    const right = this.right.timing?.nextDeadlineUs() ?? Number.POSITIVE_INFINITY
    return Math.min(left, right)
  }

  /** Calls `ready` when either device can receive; perhaps twice. */
  waitReadable(ready: () => void): void {
    this.left.waitReadable(ready)
    this.right.waitReadable(ready)
  }

  private forward(from: Device, to: Device): number {
    const { received, sent, pool } = this
    const frames = from.receive(received)
    if (frames === 0) return 0
    const { descriptors } = received
    const end = received.count * DESCRIPTOR_WORDS
    for (let at = 0; at < end; at += DESCRIPTOR_WORDS) {
      const more = (descriptors[at + D_SUM]! & RX_MORE) !== 0 ? TX_MORE : 0
      sent.push(descriptors[at + D_BUFFER]!, descriptors[at + D_OFFSET]!, descriptors[at + D_LENGTH]!, more)
    }
    try {
      to.transmit(sent)
    } finally {
      for (let at = 0; at < end; at += DESCRIPTOR_WORDS) pool.releaseBuffer(descriptors[at + D_BUFFER]!)
      sent.clear()
    }
    return frames
  }
}
