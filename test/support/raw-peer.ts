/**
 * A peer whose every segment the test writes by hand, and that sees every segment of the host under test, in virtual
 * time: for tables of RFC 9293. It answers ARP by itself.
 *
 *   const peer = new RawPeer()
 *   peer.send('S', { seq: 0 })           seq and ack are relative to the two initial sequence numbers
 *   peer.take()                          ['SA 0 1']: flags, sequence, acknowledgement, payload length if there is one
 */
import {
  D_BUFFER,
  D_LENGTH,
  D_OFFSET,
  D_SUM,
  DESCRIPTOR_WORDS,
  type Device,
  DeviceCounters,
  type ReceiveBurst,
  type TransmitBurst,
  TX_MORE,
} from '../../drivers/device.ts'
import { Host } from '../../stack/host.ts'
import type { TcpOptions } from '../../stack/host-options.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { InitialSequence } from '../../stack/tcp/isn.ts'
import { foldSum, sumBytes } from '../../storage/checksum.ts'
import { NO_BUFFER } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { createPool } from './virtual-link.ts'

const PEER_ADDRESS = 0x0a000001
const HOST_ADDRESS = 0x0a000002
/** E is ECE, W is CWR. */
const FLAGS: Record<string, number> = { F: 1, S: 2, R: 4, P: 8, A: 16, U: 32, E: 64, W: 128 }

export interface RawSegment {
  seq?: number
  ack?: number
  window?: number
  payload?: Uint8Array
  /** Option bytes, padded by the caller to a multiple of 4. */
  options?: number[]
  timestamps?: [number, number]
  sourcePort?: number
  destinationPort?: number
  /** The two ECN bits of the IP header. */
  ecn?: number
}

export interface SentSegment {
  flags: string
  seq: number
  ack: number
  window: number
  length: number
  options: number[]
  timestamps: [number, number] | undefined
  atUs: number
  sourcePort: number
  destinationPort: number
  ecn: number
}

export interface RawPeerOptions {
  /** Initial sequence numbers of the host under test and of the peer. */
  hostIss?: number
  peerIss?: number
  tcp?: TcpOptions
  buffers?: number
  seed?: number
}

/** The first `length` bytes of a pattern, from a place in it. */
export function patternBytes(length: number, from = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (from + index) * 7 + ((from + index) >> 8))
}

export class RawPeer {
  readonly pool: Pool
  readonly device: RawDevice
  readonly host: Host
  nowUs = 10_000_000
  peerPort = 4000
  hostPort = 80
  readonly hostIss: number
  readonly peerIss: number
  readonly sent: SentSegment[] = []

  constructor(options: RawPeerOptions = {}) {
    this.hostIss = options.hostIss ?? 100
    this.peerIss = options.peerIss ?? 50_000
    this.pool = createPool(options.buffers ?? 1024)
    this.device = new RawDevice(this, this.pool)
    const sequence: InitialSequence = { sequence: this.hostIss, timestampOffset: 0, generate() {} }
    this.host = new Host(
      {
        device: this.device,
        pool: this.pool,
        address: '10.0.0.2/24',
        random: new SeededRandom(options.seed ?? 1),
        secret: new Uint8Array(16),
        wallClock: { low: 0, high: 0, read() {} },
        tcp: { connectionsMax: 64, timeWaitsMax: 16, reserveBuffers: 0, initialSequence: sequence, ...options.tcp },
      },
      this.nowUs,
    )
    this.host.poll(this.nowUs)
    this.device.queue.push(this.arpFrame(2))
    this.host.poll(this.nowUs)
    this.sent.length = 0
  }

  /** One segment in a burst of its own. */
  send(flags: string, segment: RawSegment = {}): void {
    this.queue(flags, segment)
    this.host.poll(this.nowUs)
  }

  /** Waits for the next poll: several make a burst. */
  queue(flags: string, segment: RawSegment = {}): void {
    this.device.queue.push(this.tcpFrame(flags, segment))
  }

  poll(): void {
    this.host.poll(this.nowUs)
  }

  /** Lets time pass, timers included. */
  advanceMs(ms: number): void {
    const end = this.nowUs + ms * 1000
    for (;;) {
      const next = this.host.nextDeadlineUs()
      if (next > end) break
      this.nowUs = Math.max(this.nowUs, next)
      this.host.poll(this.nowUs)
      if (this.device.queue.length > 0) this.host.poll(this.nowUs) // an ARP reply
    }
    this.nowUs = end
    this.host.poll(end)
  }

  /** What the host has sent since the last call, as short text. */
  take(): string[] {
    const text = this.sent.map((s) => `${s.flags} ${s.seq} ${s.ack}${s.length > 0 ? ` ${s.length}` : ''}`)
    this.sent.length = 0
    return text
  }

  /** Three-way handshake from the peer's side; nothing is left in `sent`. */
  establish(segment: RawSegment = {}): void {
    this.send('S', { seq: 0, ...segment })
    const timestamps = this.sent.at(-1)?.timestamps
    const reply: RawSegment = { seq: 1, ack: 1, window: segment.window ?? 60_000 }
    if (segment.timestamps !== undefined && timestamps !== undefined)
      reply.timestamps = [segment.timestamps[0], timestamps[0]]
    this.send('A', reply)
    this.sent.length = 0
  }

  /** Called by the device with every frame of the host. */
  see(frame: Uint8Array): void {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
    if (view.getUint16(12) === 0x0806 && view.getUint16(20) === 1 && view.getUint32(38) === PEER_ADDRESS)
      this.device.queue.push(this.arpFrame(2))
    if (view.getUint16(12) !== 0x0800 || view.getUint8(23) !== 6) return
    const ipLength = view.getUint16(16)
    const segmentLength = ipLength - 20
    const pseudo = 0x0a00 + 1 + 0x0a00 + 2 + 6 + segmentLength
    if (foldSum(pseudo + sumBytes(view, 34, segmentLength)) !== 0xffff) throw new Error('the host sent a bad checksum')
    if (sumBytes(view, 14, 20) !== 0xffff) throw new Error('the host sent a bad IP header')
    const headerLength = (view.getUint8(46) >>> 4) << 2
    const bits = view.getUint8(47)
    const options = Array.from(frame.subarray(54, 34 + headerLength))
    const ack = view.getInt32(42)
    this.sent.push({
      flags: ['S', 'F', 'R', 'P', 'A', 'U', 'E', 'W'].filter((letter) => bits & FLAGS[letter]!).join(''),
      seq: (view.getInt32(38) - this.hostIss) | 0,
      ack: bits & 16 ? (ack - this.peerIss) | 0 : 0,
      window: view.getUint16(48),
      length: segmentLength - headerLength,
      options,
      timestamps: findTimestamps(view, 54, 34 + headerLength),
      atUs: this.nowUs,
      sourcePort: view.getUint16(34),
      destinationPort: view.getUint16(36),
      ecn: view.getUint8(15) & 3,
    })
  }

  /** A segment as the payload of an IP packet. */
  segmentBytes(flags: string, segment: RawSegment): Uint8Array {
    return this.tcpFrame(flags, segment).subarray(34)
  }

  private tcpFrame(flags: string, segment: RawSegment): Uint8Array {
    const payload = segment.payload ?? new Uint8Array(0)
    const options = [...(segment.options ?? [])]
    if (segment.timestamps !== undefined) {
      const [value, echo] = segment.timestamps
      options.push(1, 1, 8, 10)
      for (const word of [value, echo]) for (const shift of [24, 16, 8, 0]) options.push((word >>> shift) & 255)
    }
    const headerLength = 20 + options.length
    const frame = new Uint8Array(34 + headerLength + payload.length)
    const view = new DataView(frame.buffer)
    frame.set(this.device.mac, 0)
    frame.set([2, 0, 0, 0, 0, 1], 6)
    view.setUint16(12, 0x0800)
    view.setUint32(14, 0x45000000 | ((segment.ecn ?? 0) << 16) | (frame.length - 14))
    view.setUint16(20, 0x4000)
    view.setUint16(22, 0x4006)
    view.setUint32(26, PEER_ADDRESS)
    view.setUint32(30, HOST_ADDRESS)
    view.setUint16(24, ~sumBytes(view, 14, 20) & 0xffff)
    let bits = 0
    for (const letter of flags) bits |= FLAGS[letter]!
    view.setUint16(34, segment.sourcePort ?? this.peerPort)
    view.setUint16(36, segment.destinationPort ?? this.hostPort)
    view.setInt32(38, (this.peerIss + (segment.seq ?? 0)) | 0)
    view.setInt32(42, bits & 16 ? (this.hostIss + (segment.ack ?? 0)) | 0 : 0)
    view.setUint16(46, (headerLength << 10) | bits)
    view.setUint16(48, segment.window ?? 60_000)
    frame.set(options, 54)
    frame.set(payload, 34 + headerLength)
    const length = frame.length - 34
    const pseudo = 0x0a00 + 1 + 0x0a00 + 2 + 6 + length
    view.setUint16(50, ~foldSum(pseudo + sumBytes(view, 34, length)) & 0xffff)
    return frame
  }

  private arpFrame(operation: number): Uint8Array {
    const frame = new Uint8Array(42)
    const view = new DataView(frame.buffer)
    frame.set(this.device.mac, 0)
    frame.set([2, 0, 0, 0, 0, 1], 6)
    view.setUint16(12, 0x0806)
    view.setUint32(14, 0x00010800)
    view.setUint32(18, 0x06040000 | operation)
    frame.set([2, 0, 0, 0, 0, 1], 22)
    view.setUint32(28, PEER_ADDRESS)
    frame.set(this.device.mac, 32)
    view.setUint32(38, HOST_ADDRESS)
    return frame
  }
}

function findTimestamps(view: DataView, from: number, end: number): [number, number] | undefined {
  let at = from
  while (at < end) {
    const kind = view.getUint8(at)
    if (kind === 0) break
    if (kind === 8) return [view.getInt32(at + 2), view.getInt32(at + 6)]
    at += kind === 1 ? 1 : view.getUint8(at + 1)
  }
  return undefined
}

/** Who sees what the host sends. */
export interface FrameSink {
  see(frame: Uint8Array): void
}

/** Hands queued frames to the host, and the host's frames to the peer. */
export class RawDevice implements Device {
  readonly name = 'raw'
  readonly mac = Uint8Array.of(2, 0, 0, 0, 0, 2)
  readonly capabilities = { mtu: 1500, receiveSum: true }
  readonly counters = new DeviceCounters()
  readonly idleBuffers = 0
  readonly queue: Uint8Array[] = []
  private readonly peer: FrameSink
  private readonly pool: Pool

  constructor(peer: FrameSink, pool: Pool) {
    this.peer = peer
    this.pool = pool
  }

  receive(burst: ReceiveBurst): number {
    burst.count = 0
    for (const frame of this.queue.splice(0)) {
      const buffer = this.pool.allocateBuffer()
      if (buffer === NO_BUFFER) {
        this.counters.receiveStarved++
        break
      }
      const start = this.pool.bufferStart(buffer)
      this.pool.bufferBytes(buffer).set(frame, start)
      const at = burst.count++ * DESCRIPTOR_WORDS
      burst.descriptors[at + D_BUFFER] = buffer
      burst.descriptors[at + D_OFFSET] = 0
      burst.descriptors[at + D_LENGTH] = frame.length
      burst.descriptors[at + D_SUM] = sumBytes(this.pool.bufferView(buffer), start + 14, frame.length - 14)
    }
    return burst.count
  }

  transmit(burst: TransmitBurst): number {
    let parts: Uint8Array[] = []
    for (let index = 0; index < burst.count; index++) {
      const at = index * DESCRIPTOR_WORDS
      const start = this.pool.bufferStart(burst.descriptors[at]!) + burst.descriptors[at + D_OFFSET]!
      parts.push(this.pool.bufferBytes(burst.descriptors[at]!).slice(start, start + burst.descriptors[at + D_LENGTH]!))
      if (burst.descriptors[at + D_SUM]! & TX_MORE) continue
      this.peer.see(Uint8Array.from(Buffer.concat(parts)))
      parts = []
    }
    return burst.frames
  }

  waitReadable(): void {}
  close(): void {}
}
