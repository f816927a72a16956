/**
 * A stream over TCP, on the in-place interface: what arrives is released as it lies, what is sent are clones of one view,
 * a segment's payload each, so that no byte is touched and no sum is computed.
 *
 * Called by: session.ts, client.ts (start, stop, close), the stack (onReceive, onSendSpace). Calls: Connection, filler.ts.
 */
import type { Connection } from '../../stack/tcp/connection.ts'
import { BUFFER_BYTES, NO_META } from '../../storage/layout.ts'
import type { Cancel, Environment } from './environment.ts'
import type { Filler } from './filler.ts'
import { COOKIE_BYTES } from './protocol.ts'
import type { Role } from './role.ts'
import { type Goal, PACING_MS, STARVED_MS, type Stream, type StreamEnds, type StreamTotals } from './stream.ts'

export interface TcpStreamOptions {
  readonly id: number
  readonly isSender: boolean
  /** Bytes of a write: what is smaller than a segment is sent as it is. */
  readonly blockBytes: number
  /** Told when the connection is gone, unless by `close`. */
  readonly onLost: () => void
}

export class TcpStream implements Stream, Role {
  readonly id: number
  readonly isSender: boolean
  private readonly environment: Environment
  private readonly filler: Filler
  private readonly connection: Connection
  private readonly options: TcpStreamOptions
  /** Bytes given to the connection. */
  private readonly sentBytes = new Float64Array(1)
  /** [0]: when sending began, µs. */
  private readonly startedUs = new Float64Array(1)
  private goal: Goal | undefined
  private bitsPerSecond = 0
  private view = NO_META
  private viewBytes = 0
  private cancel: Cancel | undefined
  private isClosed = false

  constructor(environment: Environment, filler: Filler, connection: Connection, options: TcpStreamOptions) {
    this.environment = environment
    this.filler = filler
    this.connection = connection
    this.options = options
    this.id = options.id
    this.isSender = options.isSender
  }

  get isDrained(): boolean {
    return this.connection.sendQueuedBytes === 0
  }

  get ends(): StreamEnds {
    const { localAddress, localPort, remoteAddress, remotePort } = this.connection
    return { localAddress, localPort, remoteAddress, remotePort }
  }

  start(goal: Goal, bitsPerSecond: number): void {
    this.goal = goal
    this.bitsPerSecond = bitsPerSecond
    this.startedUs[0] = this.environment.clock.nowUs()
    this.viewBytes = Math.min(this.connection.sendMss, this.options.blockBytes, BUFFER_BYTES)
    this.fill()
  }

  stop(): void {
    this.goal = undefined
    this.cancel?.()
    this.cancel = undefined
  }

  totals(): StreamTotals {
    const c = this.connection
    return {
      bytes: this.isSender ? this.sentBytes[0]! : c.bytesReceived - (c.listener === undefined ? 0 : COOKIE_BYTES),
      retransmits: c.totalRetransmitted,
      packets: 0,
      lost: 0,
      outOfOrder: 0,
      jitterSeconds: 0,
      windowBytes: c.congestionWindow,
      rttUs: c.srttUs,
    }
  }

  close(): void {
    this.stop()
    if (this.isClosed) return
    this.isClosed = true
    this.connection.abort()
  }

  /** Everything sent has been said: FIN follows. What the peer still sends is dropped. */
  finish(): void {
    this.stop()
    this.connection.shutdown()
  }

  /* --- Role --- */

  onReceive(c: Connection): void {
    this.environment.host.pool.releaseChain(c.takeReceived())
    if (c.receiveFinished !== 0) c.shutdown()
  }

  onSendSpace(): void {
    if (this.cancel === undefined) this.fill()
  }

  onClose(): void {
    this.stop()
    if (this.isClosed) return
    this.isClosed = true
    this.options.onLost()
  }

  /** Queues as much as the send queue, the rate, the goal and the pool allow. */
  private fill(): void {
    this.cancel = undefined
    const { goal, filler, connection: c } = this
    if (goal === undefined) return
    const { pool } = this.environment.host
    if (this.view === NO_META) this.view = filler.view(this.viewBytes)
    const room = Math.min(c.sendSpace, this.allowedBytes(), goal.bytesLeft)
    const isLast = room === goal.bytesLeft
    let head = NO_META
    let tail = NO_META
    let bytes = 0
    let isStarved = this.view === NO_META
    while (bytes < room && !isStarved) {
      const left = room - bytes
      // A part of a view is only worth sending when nothing will come behind it.
      if (left < this.viewBytes && !isLast) break
      const meta = filler.clone(this.view)
      if (meta === NO_META) {
        isStarved = true
        break
      }
      if (left < this.viewBytes) filler.cut(meta, left)
      bytes += Math.min(left, this.viewBytes)
      if (head === NO_META) head = meta
      else pool.setNext(tail, meta)
      tail = meta
    }
    if (bytes > 0) {
      goal.bytesLeft -= bytes
      this.sentBytes[0]! += bytes
      c.send(head)
    }
    if (isStarved) this.cancel = this.environment.after(STARVED_MS, this.fillCallback)
    else if (this.bitsPerSecond > 0) this.cancel = this.environment.after(PACING_MS, this.fillCallback)
  }

  private readonly fillCallback = (): void => this.fill()

  private allowedBytes(): number {
    if (this.bitsPerSecond === 0) return Number.POSITIVE_INFINITY
    const elapsedUs = this.environment.clock.nowUs() - this.startedUs[0]!
    // A view in advance: the first one leaves at once.
    return this.viewBytes + (elapsedUs * this.bitsPerSecond) / 8e6 - this.sentBytes[0]!
  }
}
