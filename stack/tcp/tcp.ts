/**
 * TCP as the host sees it: segments and timers in; listen and connect for applications; and the steps that close a
 * burst. The rest of this folder is reached through here.
 *
 *   input ×n ─► deliver (onReceive, onSendSpace) ─► [burst hooks] ─► output
 *
 * Called by: Host, and applications (listen, connect). Calls: input.ts, output.ts, timers.ts, close.ts.
 */
import { PackratError } from '../../storage/errors.ts'
import { Ends, parseAddress } from '../address.ts'
import type { TcpOptions } from '../host-options.ts'
import {
  EPHEMERAL_PORT_FIRST,
  EPHEMERAL_PORT_LAST,
  EPHEMERAL_PORTS_TRIED,
  FAST_OPEN_PENDING_MAX,
  WINDOW_BYTES_PER_BUFFER,
} from '../limits.ts'
import type { ReceivedPacket } from '../packet.ts'
import type { QuotedPacket, TransportErrors } from '../transport-errors.ts'
import { type Application, CLOSE_UNREACHABLE, type ConnectOptions, type ListenOptions } from './application.ts'
import { abortConnection, endConnection, finishLingering } from './close.ts'
import type { Connection } from './connection.ts'
import { TcpContext, type TcpContextParts } from './context.ts'
import type { Endpoints } from './demux.ts'
import { beginFastOpen, knowsCookie } from './fast-open-client.ts'
import { initializeConnection } from './handshake.ts'
import { tcpInput } from './input.ts'
import { createConnection, Listener } from './listen.ts'
import { outputConnection } from './output.ts'
import { resumePaced } from './pacing.ts'
import { lowerPathMtu, reserveOption } from './path-mtu.ts'
import { pruneReassembly } from './reassembly.ts'
import { availableBytes, offerWindow, WINDOW_FIELD_MAX } from './receive-queue.ts'
import { seqLess, seqLessEqual } from './seq.ts'
import { NO_SLOT } from './slots.ts'
import { NEWS_RECEIVE, NEWS_SEND_SPACE, STATE_SYN_SENT } from './states.ts'
import { repeatPlainSyn } from './syn.ts'
import { connectionTimer } from './timers.ts'
import { tuningOf } from './tuning.ts'

export class Tcp implements TransportErrors {
  private readonly context: TcpContext
  /** With so many free buffers a window that the pool held shut opens by a segment, and so far that offerWindow tells of it: twice the room of one that is nearly so far open. */
  private readonly reopenBuffers: number

  constructor(parts: TcpContextParts) {
    this.context = new TcpContext(parts)
    this.reopenBuffers = parts.reserveBuffers + Math.ceil((2 * parts.mtu) / WINDOW_BYTES_PER_BUFFER)
  }

  /* --- for applications --- */

  /** Accepts connections on a port. Throws EADDRINUSE. */
  listen(port: number, application: Application, options: ListenOptions = {}): Listener {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new RangeError(`port ${port} out of range`)
    if (this.context.listeners.has(port))
      throw new PackratError('EADDRINUSE', `port ${port} has a listener already: choose another one or close that`)
    const { synBacklog, fastOpen } = this.context.tuning
    const listener = new Listener(port, application, options, synBacklog, fastOpen ? FAST_OPEN_PENDING_MAX : 0)
    this.context.listeners.set(port, listener)
    return listener
  }

  /** Stops accepting. Accepted connections live on; handshakes in progress are given up. */
  closeListener(listener: Listener): void {
    if (this.context.listeners.get(listener.port) === listener) this.context.listeners.delete(listener.port)
    for (const c of this.context.connections)
      if (c !== undefined && c.listener === listener && c.halfOpen !== 0) abortConnection(this.context, c)
  }

  /**
   * Opens a connection; onAccept says that it is established, onClose that it is not.
   * Throws EADDRNOTAVAIL when no local port, no connection or no address of that version is there.
   */
  connect(address: string, port: number, application: Application, options: ConnectOptions = {}): Connection {
    const context = this.context
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new RangeError(`port ${port} out of range`)
    const endpoints = Object.assign(new Ends(), { localPort: options.localPort ?? 0, remotePort: port })
    if (!context.ip.setEnds(endpoints, parseAddress(address)))
      throw new PackratError(
        'EADDRNOTAVAIL',
        `there is no address to reach ${address} from: give the host an IPv6 address`,
      )
    if (endpoints.localPort === 0) this.chooseEphemeralPort(endpoints)
    else if (context.demux.lookup(endpoints) !== NO_SLOT)
      throw new PackratError('EADDRINUSE', `port ${endpoints.localPort} has a connection to ${address}:${port} already`)
    const c = createConnection(context, application, endpoints)
    if (c === undefined)
      throw new PackratError('EADDRNOTAVAIL', 'no connection is free: close some, or raise connectionsMax')
    initializeConnection(context, c, options)
    c.state = STATE_SYN_SENT
    c.rcvAdvertised = Math.min(availableBytes(context, c), WINDOW_FIELD_MAX)
    if (options.fastOpen === true)
      beginFastOpen(context, c, options.fastOpenWithoutCookie ?? context.tuning.fastOpenClientWithoutCookie)
    c.synPending = 1
    context.counters.activeOpens++
    context.queueOutput(c)
    return c
  }

  /**
   * Other options from now on, for what is read while segments flow (tuning.ts) and for what SYNs offer; connections that
   * exist keep what they have agreed on. The other options are fixed when the host is made.
   */
  retune(options: TcpOptions): void {
    const { context } = this
    context.tuning = tuningOf(options)
    context.timestamps = options.timestamps ?? true
    context.windowScaling = options.windowScaling ?? true
    context.sack = options.sack ?? true
    for (const c of context.connections) if (c !== undefined) reserveOption(context, c)
  }

  /** Forgets what servers have said of Fast Open: the way there is another one (Linux `ip tcp_metrics flush`). */
  forgetServers(): void {
    this.context.fastOpenCache.clear()
  }

  /** Whether connecting there could open with data: a cookie is known (RFC 7413). */
  knowsCookie(address: string): boolean {
    const ends = new Ends()
    return this.context.ip.setEnds(ends, parseAddress(address)) && knowsCookie(this.context, ends)
  }

  /* --- for the host --- */

  setNow(nowUs: number): void {
    this.context.setNow(nowUs)
    resumePaced(this.context)
  }

  /** When a paced segment may leave: microseconds, Infinity if none waits. */
  get paceDeadlineUs(): number {
    return this.context.paceDeadlineUs
  }

  /** Arrival of the burst that comes now, ns since the epoch. */
  setArrival(low: number, high: number): void {
    this.context.arrivalLow = low
    this.context.arrivalHigh = high
  }

  /** @returns true if the arrival buffer's reference was taken over */
  input(packet: ReceivedPacket): boolean {
    return tcpInput(this.context, packet)
  }

  /** All frames of the burst are in: tells the applications. */
  deliver(): void {
    const context = this.context
    const count = context.news.takeBatch()
    for (let index = 0; index < count; index++) {
      const c = context.connections[context.news.batch[index]!]
      if (c === undefined || c.news === 0) continue
      const news = c.news
      c.news = 0
      if ((news & NEWS_RECEIVE) !== 0) c.application.onReceive(c)
      // onReceive may have ended the connection.
      if ((news & NEWS_SEND_SPACE) !== 0 && context.connections[c.slot] === c) c.application.onSendSpace(c)
    }
  }

  /** Sends what is due, on every connection that has something. */
  output(): void {
    const context = this.context
    if (!context.closedWindows.isEmpty && context.pool.freeBuffers >= this.reopenBuffers) this.reopenWindows()
    while (!context.output.isEmpty) {
      const count = context.output.takeBatch()
      for (let index = 0; index < count; index++) {
        const c = context.connections[context.output.batch[index]!]
        if (c === undefined) continue
        if (c.lingering !== 0) finishLingering(context, c)
        else outputConnection(context, c)
      }
    }
  }

  /** Whether callbacks are due. */
  get hasNews(): boolean {
    return !this.context.news.isEmpty
  }

  /** @param index number of the timer behind firstTimer */
  onTimer(index: number): void {
    connectionTimer(this.context, index)
  }

  onTimeWaitTimer(): void {
    this.context.timeWaits.expire(this.context.nowMs)
  }

  /** The device found no buffer: each connection gives up half of what peers still have, its out-of-order data. */
  releasePressure(): void {
    for (const c of this.context.connections)
      if (c !== undefined && c.reassemblyLines > 0) pruneReassembly(this.context, c, (c.reassemblyLines + 1) >> 1)
  }

  /** Connections that exist, lingering and half-open ones included. */
  get connectionCount(): number {
    return this.context.slots.used
  }

  get timeWaitCount(): number {
    return this.context.timeWaits.size
  }

  /** Ends all connections with RST, and all TIME-WAITs silently. */
  close(): void {
    for (const listener of this.context.listeners.values()) this.closeListener(listener)
    for (const c of this.context.connections) if (c !== undefined) abortConnection(this.context, c)
    this.context.timeWaits.clear()
  }

  /* --- TransportErrors: only segments in flight can be reported on (RFC 5927 4) --- */

  onUnreachable(quoted: QuotedPacket, refused: boolean): void {
    const c = this.inFlight(quoted)
    if (c === undefined) return
    c.unreachable = 1
    // RFC 9293 3.9.2.2: soft for what is established; while connecting, nobody there is an answer (RFC 5461 4.1).
    if (refused && c.state === STATE_SYN_SENT) endConnection(this.context, c, CLOSE_UNREACHABLE)
  }

  onTooBig(quoted: QuotedPacket, mtu: number): void {
    const c = this.inFlight(quoted)
    if (c === undefined) return
    const before = c.pathMtu
    const shorter = lowerPathMtu(this.context, c, mtu)
    if (c.state === STATE_SYN_SENT && c.synDataLimit > 0 && c.pathMtu < before) repeatPlainSyn(this.context, c)
    if (!shorter) return
    this.context.scoreboard.markLongerLost(c, c.sendMss)
    this.context.queueOutput(c)
  }

  private inFlight(quoted: QuotedPacket): Connection | undefined {
    const context = this.context
    const slot = context.demux.lookup(quoted)
    const c = slot === NO_SLOT || slot >= context.connectionsMax ? undefined : context.connections[slot]
    if (c === undefined) return undefined
    return seqLessEqual(c.sndUna, quoted.sequence) && seqLess(quoted.sequence, c.sndMax) ? c : undefined
  }

  /** The pool has room again: windows that it held shut are offered anew. */
  private reopenWindows(): void {
    const closed = this.context.closedWindows
    const count = closed.takeBatch()
    for (let index = 0; index < count; index++) {
      const c = this.context.connections[closed.batch[index]!]
      if (c !== undefined) offerWindow(this.context, c)
    }
  }

  /** RFC 6056 3.3.1: random, then the next that is free; if they are rare, one whose TIME-WAIT can be cut short. */
  private chooseEphemeralPort(endpoints: Endpoints & { localPort: number }): void {
    const context = this.context
    const count = EPHEMERAL_PORT_LAST - EPHEMERAL_PORT_FIRST + 1
    const start = (context.random.next() >>> 0) % count
    for (let step = 0; step < count; step++) {
      endpoints.localPort = EPHEMERAL_PORT_FIRST + ((start + step) % count)
      if (context.demux.lookup(endpoints) === NO_SLOT && !context.listeners.has(endpoints.localPort)) return
      if (step >= EPHEMERAL_PORTS_TRIED && this.endTimeWait(endpoints)) return
    }
    throw new PackratError('EADDRNOTAVAIL', 'no ephemeral port is free towards this destination: close connections')
  }

  /** @returns true if the port was in TIME-WAIT, and is free now */
  private endTimeWait(endpoints: Endpoints): boolean {
    const { demux, timeWaits, connectionsMax, counters, nowMs } = this.context
    const slot = demux.lookup(endpoints)
    if (slot < connectionsMax) return false // NO_SLOT among them: a listener's port
    const row = timeWaits.rowOfSlot(slot)
    if (!timeWaits.mayReuse(row, nowMs)) return false
    timeWaits.remove(row)
    counters.timeWaitsReused++
    return true
  }
}
