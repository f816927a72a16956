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
import { sumBytes } from '../../storage/checksum.ts'
import { NO_BUFFER } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { decodeFrame, type LivePacket } from './frames.ts'
import { answerQuestion, LOCAL_MAC } from './internet.ts'

const ETHERNET_BYTES = 14

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
  private readonly queue: Uint8Array[] = []
  private readonly pool: Pool

  constructor(pool: Pool, mtu: number) {
    this.pool = pool
    this.capabilities = { mtu, receiveSum: true }
  }

  /** The frame arrives with the next turn. */
  inject(frame: Uint8Array): void {
    this.queue.push(frame)
  }

  get hasFrames(): boolean {
    return this.queue.length > 0
  }

  receive(burst: ReceiveBurst): number {
    burst.count = 0
    while (burst.count < RECEIVE_BURST_FRAMES && this.queue.length > 0) {
      const buffer = this.pool.allocateBuffer()
      if (buffer === NO_BUFFER) {
        this.counters.receiveStarved++
        break
      }
      const frame = this.queue.shift()!
      const start = this.pool.bufferStart(buffer)
      this.pool.bufferBytes(buffer).set(frame, start)
      const at = burst.count++ * DESCRIPTOR_WORDS
      burst.descriptors[at + D_BUFFER] = buffer
      burst.descriptors[at + D_OFFSET] = 0
      burst.descriptors[at + D_LENGTH] = frame.length
      const sum = sumBytes(this.pool.bufferView(buffer), start + ETHERNET_BYTES, frame.length - ETHERNET_BYTES)
      burst.descriptors[at + D_SUM] = sum
    }
    return burst.count
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
    if (reply !== undefined) this.queue.push(reply)
    const packet = decodeFrame(frame, this.nowUs)
    if (packet !== undefined) this.sent.push(packet)
  }
}
