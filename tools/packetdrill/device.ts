/**
 * The link of a script: hands the stack what the script injects, answers what it asks its link, and keeps what it sends until the
 * script expects it. Time is the runner's.
 *
 * Called by: the stack (Device), peer.ts (inject, sent).
 */
import {
  D_BUFFER,
  D_FLAGS,
  D_LENGTH,
  D_OFFSET,
  DESCRIPTOR_WORDS,
  type Device,
  type DeviceCapabilities,
  DeviceCounters,
  RECEIVE_BURST_FRAMES,
  type ReceiveBurst,
  type TransmitBurst,
  TX_MORE,
} from '../../drivers/device.ts'
import { scatterFrame, sumFrame } from '../../drivers/frame-copy.ts'
import { BUFFER_BYTES } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { decodeFrame, type LivePacket } from './frames.ts'
import { answerQuestion, LOCAL_MAC } from './internet.ts'

interface Arrival {
  readonly frame: Uint8Array
  readonly firstBytes: number
  readonly restBytes: number
}

export class ScriptDevice implements Device {
  readonly name = 'script'
  readonly mac = LOCAL_MAC
  readonly capabilities: DeviceCapabilities
  readonly counters = new DeviceCounters()
  readonly idleBuffers = 0
  /** What the stack has sent and no event has taken yet, oldest first. */
  readonly sent: LivePacket[] = []
  /** Set before each turn of the stack. */
  nowUs = 0
  private readonly queue: Arrival[] = []
  private readonly pool: Pool

  constructor(pool: Pool, mtu: number) {
    this.pool = pool
    this.capabilities = { mtu, receiveSum: true }
  }

  /**
   * The frame arrives with the next turn.
   * @param firstBytes what its first buffer holds, headers included; @param restBytes what each further one holds
   */
  inject(frame: Uint8Array, firstBytes = frame.length, restBytes = 0): void {
    this.queue.push({ frame, firstBytes, restBytes })
  }

  get hasFrames(): boolean {
    return this.queue.length > 0
  }

  receive(burst: ReceiveBurst): number {
    const { descriptors } = burst
    let frames = 0
    let at = 0
    while (frames < RECEIVE_BURST_FRAMES && this.queue.length > 0) {
      const { frame, firstBytes, restBytes } = this.queue[0]!
      const pieces = frame.length > firstBytes ? 1 + Math.ceil((frame.length - firstBytes) / restBytes) : 1
      if (at + pieces * DESCRIPTOR_WORDS > descriptors.length) break
      if (this.pool.freeBuffers < pieces) {
        this.counters.receiveStarved++
        break
      }
      this.queue.shift()
      const first = scatterFrame(this.pool, frame.subarray(0, firstBytes), BUFFER_BYTES, descriptors, at)
      const end = scatterFrame(this.pool, frame.subarray(firstBytes), restBytes, descriptors, first)
      sumFrame(this.pool, descriptors, at, end)
      at = end
      frames++
    }
    burst.count = at / DESCRIPTOR_WORDS
    return frames
  }

  transmit(burst: TransmitBurst): number {
    let parts: Uint8Array[] = []
    for (let index = 0; index < burst.count; index++) {
      const at = index * DESCRIPTOR_WORDS
      const buffer = burst.descriptors[at + D_BUFFER]!
      const start = this.pool.bufferStart(buffer) + burst.descriptors[at + D_OFFSET]!
      parts.push(this.pool.bufferBytes(buffer).slice(start, start + burst.descriptors[at + D_LENGTH]!))
      if ((burst.descriptors[at + D_FLAGS]! & TX_MORE) !== 0) continue
      this.see(new Uint8Array(Buffer.concat(parts)))
      parts = []
    }
    return burst.frames
  }

  waitReadable(): void {}

  close(): void {
    this.queue.length = 0
  }

  private see(frame: Uint8Array): void {
    const reply = answerQuestion(frame)
    if (reply !== undefined) this.inject(reply)
    const packet = decodeFrame(frame, this.nowUs)
    if (packet !== undefined) this.sent.push(packet)
  }
}
