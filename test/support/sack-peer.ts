/** A hand-written peer that has SACK: what the tests of loss recovery share. */
import type { TcpOptions } from '../../stack/host-options.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { patternBytes, RawPeer, type RawSegment } from './raw-peer.ts'
import { chainOf, StreamApplication } from './stream-application.ts'

export const MSS = 1000
/** Round trip of the labs' path, milliseconds. */
export const RTT_MS = 40

const PEER_TIME = 700_000

export interface SackPeerOptions {
  timestamps?: boolean
  sack?: boolean
  hostIss?: number
  tcp?: TcpOptions
}

/** The host under test is the sender; numbers are counted in segments of MSS bytes, from 0. */
export class SackPeer {
  readonly peer: RawPeer
  readonly server: StreamApplication
  readonly c: Connection
  readonly timestamps: boolean
  private queued = 0

  constructor(options: SackPeerOptions = {}) {
    this.timestamps = options.timestamps ?? false
    this.peer = new RawPeer({ hostIss: options.hostIss ?? 100, buffers: 4096, tcp: options.tcp ?? {} })
    this.server = new StreamApplication(this.peer.pool)
    this.peer.host.tcp.listen(80, this.server, { noDelay: true })
    const mss = MSS + (this.timestamps ? 12 : 0)
    const syn: RawSegment = { seq: 0, window: 60_000, options: [2, 4, mss >> 8, mss & 255, 1, 3, 3, 4] }
    if (options.sack !== false) syn.options!.push(4, 2, 1, 1)
    if (this.timestamps) syn.timestamps = [PEER_TIME, 0]
    this.peer.send('S', syn)
    const hostTime = this.peer.sent.at(-1)!.timestamps?.[0] ?? 0
    this.peer.advanceMs(RTT_MS)
    this.ack(0, [], { echo: hostTime })
    this.c = this.server.connection!
    this.peer.sent.length = 0
  }

  /** The application writes `count` full segments. */
  write(count: number): void {
    this.c.send(chainOf(this.peer.pool, patternBytes(count * MSS, this.queued * MSS), MSS))
    this.queued += count
    this.peer.poll()
  }

  /** The peer has everything below segment `upTo`, and the blocks [left, right) beyond. */
  ack(upTo: number, blocks: [number, number][] = [], more: { echo?: number; window?: number } = {}): void {
    this.queueAck(upTo, blocks, more)
    this.peer.poll()
  }

  /** As `ack`, but it comes in with the next one, in one burst. */
  queueAck(upTo: number, blocks: [number, number][] = [], more: { echo?: number; window?: number } = {}): void {
    const options: number[] = []
    if (blocks.length > 0) {
      options.push(1, 1, 5, 2 + blocks.length * 8)
      for (const edge of blocks.flat()) {
        const number = (this.peer.hostIss + 1 + edge * MSS) >>> 0
        options.push(number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255)
      }
    }
    const segment: RawSegment = { seq: 1, ack: 1 + upTo * MSS, window: more.window ?? 4000, options }
    if (this.timestamps) segment.timestamps = [PEER_TIME + 1, more.echo ?? this.hostTime()]
    this.peer.queue('A', segment)
  }

  /** The host's clock in timestamps. */
  hostTime(): number {
    return Math.floor(this.peer.nowUs / 1000) | 0
  }

  pass(ms: number): void {
    this.peer.advanceMs(ms)
  }

  /** Segments sent since the last call, by number. */
  take(): number[] {
    const numbers = this.peer.sent.filter((s) => s.length > 0).map((s) => (s.seq - 1) / MSS)
    this.peer.sent.length = 0
    return numbers
  }

  /** A first flight that is acknowledged after a round trip, so that there is an RTT. */
  warmUp(): void {
    this.write(2)
    this.pass(RTT_MS)
    this.ack(2)
    this.take()
  }

  get counters() {
    return this.peer.host.counters.tcp
  }
}
