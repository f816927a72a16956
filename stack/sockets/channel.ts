/**
 * A socket's side of a TCP connection: turns the stack's callbacks, which come inside a burst, into events after it,
 * and moves bytes over the edge, with back-pressure both ways.
 *
 *   read()    takes lines only when the socket asks: what it does not ask for stays queued and closes the peer's window
 *   write()   queues what the connection's send limit and the pool let go; `onWritable` asks for the rest
 *
 *   attach / connect ─► onConnected ─► onReadable, onWritable … ─► onClosed     or release(): the connection goes on alone
 *
 * Invariants:
 *  1. After release() or onClosed no event comes.
 *  2. A released connection sends what is queued and its FIN; it ends when the peer has closed, too, or FIN_WAIT_2_MS
 *     after its FIN was acknowledged (Linux tcp_fin_timeout), or with RST at the first byte that nobody can read
 *     any more (RFC 9293 3.10.4, RFC 1122 4.2.2.13), or when the peer has acknowledged nothing for ORPHAN_STALL_TURNS
 *     times as long: else one that keeps its window shut would hold our buffers for ever (Linux tcp_orphan_retries).
 *
 * Called by: socket.ts, and by TCP as its application. Calls: network.ts, copy.ts, Connection.
 */
import { AsyncResource } from 'node:async_hooks'
import { NO_META } from '../../storage/layout.ts'
import { FIN_WAIT_2_MS } from '../limits.ts'
import { type Application, CLOSE_ORDERLY, type ConnectOptions } from '../tcp/application.ts'
import type { Connection } from '../tcp/connection.ts'
import { STATE_FIN_WAIT_2 } from '../tcp/states.ts'
import { copyChain, OutgoingBytes } from './copy.ts'
import type { Network, Task } from './network.ts'

/* Events that are due. */
const CONNECTED = 1
const READABLE = 2
const WRITABLE = 4
const CLOSED = 8

/** Linux gives up orphans after 100 s or more. */
const ORPHAN_STALL_TURNS = 2

/** Lines queued in one call of Connection.send at most, so that a huge write does not take the pool in one gulp. */
const SEND_PORTION_BYTES = 65_536

export interface ChannelEvents {
  onConnected(): void
  /** read() has something to give, or the peer has ended. */
  onReadable(): void
  /** write() can go on. */
  onWritable(): void
  /** The connection is gone; `reason` is one of CLOSE_… */
  onClosed(reason: number): void
}

export class Channel implements Application, Task {
  /** Events come in the asynchronous context in which the socket was made, as node:net's do. */
  private readonly context = new AsyncResource('PACKRATSOCKET')
  private readonly network: Network
  private readonly events: ChannelEvents
  private connection: Connection | undefined
  private readonly outgoing = new OutgoingBytes()
  private established = false
  private peerFinished = false
  private due = 0
  private closeReason = CLOSE_ORDERLY
  private readonly retry: Task = { run: () => this.expect(WRITABLE) }

  constructor(network: Network, events: ChannelEvents) {
    this.network = network
    this.events = events
  }

  /** Takes over a connection that a listener has accepted. Its data is announced from now on. */
  attach(connection: Connection): void {
    this.connection = connection
    this.established = true
    connection.application = this
    this.expect(READABLE)
  }

  get speaksIpv6(): boolean {
    return this.network.host.address6 !== undefined
  }

  /** Whether an address can be connected to at all. */
  hasRoute(address: string): boolean {
    return this.network.host.hasRoute(address)
  }

  /** Opens a connection. Throws what Tcp.connect throws. */
  connect(address: string, port: number, options: ConnectOptions): Connection {
    this.connection = this.network.host.tcp.connect(address, port, this, options)
    this.network.requestFlush()
    return this.connection
  }

  /** The connection while it is there, whoever opened it. */
  get current(): Connection | undefined {
    return this.connection
  }

  get isEstablished(): boolean {
    return this.established && this.connection !== undefined
  }

  /** Everything that the peer sent was read, and nothing comes any more. */
  get ended(): boolean {
    const c = this.connection
    return c === undefined ? this.peerFinished : c.receiveFinished !== 0 && c.receiveHead === NO_META
  }

  /** Up to `limitBytes` (or one segment more) of what was received; undefined if there is nothing. */
  read(limitBytes: number): Buffer | undefined {
    const c = this.connection
    if (c === undefined) return undefined
    const chain = c.takeReceived(limitBytes)
    if (chain === NO_META) return undefined
    this.network.requestFlush() // the window may have opened
    return copyChain(c.context.pool, chain)
  }

  /** Starts to write; the chunks must not change before write() has answered true. */
  setOutgoing(chunks: readonly Uint8Array[]): void {
    this.outgoing.set(chunks)
  }

  /** Queues what was set. True when nothing is left; else onWritable says when to go on. */
  write(): boolean {
    const c = this.connection
    if (c === undefined) return false
    while (this.outgoing.left > 0) {
      const space = Math.min(c.sendSpace, SEND_PORTION_BYTES)
      if (space === 0) break // onSendSpace
      const chain = this.nextChain(c, space)
      if (chain === NO_META) {
        this.network.retryLater(this.retry)
        break
      }
      c.send(chain)
    }
    this.network.requestFlush()
    return this.outgoing.left === 0
  }

  /** FIN behind what is queued. */
  end(): void {
    this.connection?.shutdown()
    this.network.requestFlush()
  }

  /** The socket is done with the connection: see invariant 2. */
  release(): void {
    const c = this.forget()
    this.due = 0
    if (c === undefined) return
    if (c.receiveQueuedBytes > 0) c.abort()
    else {
      c.application = new Orphan(c, this.network)
      c.shutdown()
    }
    this.network.requestFlush()
  }

  /** Ends the connection with RST. */
  abort(): void {
    const c = this.forget()
    this.due = 0
    c?.abort()
    this.network.requestFlush()
  }

  /* --- Application: inside a burst --- */

  onAccept(): void {
    this.established = true
    this.expect(CONNECTED)
  }

  onReceive(): void {
    this.expect(READABLE)
  }

  onSendSpace(): void {
    this.expect(WRITABLE)
  }

  onClose(_c: Connection, reason: number): void {
    if (this.connection === undefined) return // release() or abort()
    this.forget()
    this.peerFinished = reason === CLOSE_ORDERLY
    this.closeReason = reason
    this.expect(CLOSED)
  }

  /* --- Task: after it --- */

  /** One event a run, the others in runs of their own: what one handler throws does not swallow the next event. */
  run(): void {
    const event = this.due & -this.due
    this.due ^= event
    if (this.due !== 0) this.network.schedule(this)
    this.context.runInAsyncScope(this.dispatch, this, event)
  }

  private dispatch(event: number): void {
    if (event === CLOSED) this.events.onClosed(this.closeReason)
    else if (this.connection === undefined) return
    else if (event === CONNECTED) this.events.onConnected()
    else if (event === READABLE) this.events.onReadable()
    else if (event === WRITABLE) this.events.onWritable()
  }

  private expect(event: number): void {
    if (this.due === 0) this.network.schedule(this)
    this.due |= event
  }

  private forget(): Connection | undefined {
    const c = this.connection
    this.connection = undefined
    this.outgoing.clear()
    return c
  }

  /** Lines with the next `limit` bytes, or as many as the pool has to spare; NO_META if it has none. */
  private nextChain(c: Connection, limit: number): number {
    const { pool, reserveBuffers, sumView } = c.context
    // Half of what windows never promise stays for headers and ACKs.
    const keep = reserveBuffers >> 1
    let head = NO_META
    let tail = NO_META
    for (let left = Math.min(limit, this.outgoing.left); left > 0; ) {
      const meta = pool.freeBuffers > keep ? this.outgoing.nextLine(pool, sumView, Math.min(left, c.sendMss)) : NO_META
      if (meta === NO_META) break
      left -= pool.dataLength(meta)
      if (head === NO_META) head = meta
      else pool.setNext(tail, meta)
      tail = meta
    }
    return head
  }
}

/** A connection whose socket is gone. */
class Orphan implements Application {
  private readonly timer: NodeJS.Timeout
  private readonly network: Network
  /** Sequence numbers acknowledged when the timer fired last, and how often it has since that changed. */
  private bytesAcked: number
  private stalledTurns = 0

  constructor(connection: Connection, network: Network) {
    this.network = network
    this.bytesAcked = connection.bytesAcked
    this.timer = setTimeout(() => this.expire(connection), FIN_WAIT_2_MS)
    this.timer.unref()
  }

  onAccept(): void {}

  onReceive(c: Connection): void {
    if (c.receiveQueuedBytes > 0) c.abort()
  }

  onSendSpace(): void {}

  onClose(): void {
    clearTimeout(this.timer)
  }

  /** As long as data arrives, it is sent; a peer that has everything and does not close is not waited for, nor one that takes nothing. */
  private expire(c: Connection): void {
    this.stalledTurns = c.bytesAcked === this.bytesAcked ? this.stalledTurns + 1 : 0
    this.bytesAcked = c.bytesAcked
    if (c.state === STATE_FIN_WAIT_2 || this.stalledTurns === ORPHAN_STALL_TURNS) {
      c.abort()
      this.network.requestFlush()
    } else this.timer.refresh()
  }
}
