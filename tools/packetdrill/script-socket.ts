/**
 * A stream socket of the script: BSD's calls over the stack's in-place interface. Bytes are never looked at, only
 * counted: what a script writes is zeros, what it reads is a number.
 *
 * Received data stays in the stack until the script reads it, so that the window is what a slow reader's would be. A
 * line of which a part was read is counted here (`unreadBytes`).
 *
 * Called by: calls-*.ts. Calls: Tcp, Connection.
 */
import { type Application, CLOSE_ORDERLY, CLOSE_RESET, type ConnectionOptions } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { NO_META } from '../../storage/layout.ts'
import { AcceptQueue } from './accept-queue.ts'
import { LOCAL_PORT, REMOTE_PORT } from './addresses.ts'
import { type CallResult, done, failed } from './call.ts'
import { ERRNO_OF_END, ErrorQueue } from './error-queue.ts'
import type { ScriptNetwork } from './network.ts'
import { CONSTANTS } from './numbers.ts'
import { SendBuffer } from './send-buffer.ts'

const MSG_EOR = CONSTANTS.get('MSG_EOR')!
const MSG_MORE = CONSTANTS.get('MSG_MORE')!
const MSG_ZEROCOPY = CONSTANTS.get('MSG_ZEROCOPY')!

export type SocketRole = 'fresh' | 'listening' | 'connecting' | 'connected' | 'over'

export class ScriptSocket implements Application {
  role: SocketRole = 'fresh'
  nonBlocking = false
  /** What setsockopt has said, by name, for getsockopt. */
  readonly options = new Map<string, number>()
  /** For connections to come. */
  readonly connectionOptions: ConnectionOptions
  connection: Connection | undefined
  /** The last one, over or not: what TCP_INFO tells of. */
  lastConnection: Connection | undefined
  /** SO_ERROR: '' or the name of what has happened and was not yet told. */
  error = ''
  /** What the script says of its size counts, else the stack's. */
  readonly sendBuffer = new SendBuffer()
  /** What an edge-triggered epoll tells of: data, connections, room, ends. */
  happenings = 0
  readonly errors = new ErrorQueue()
  readonly accepted = new AcceptQueue<ScriptSocket>()
  /** Seconds of SO_LINGER; -1: off. */
  lingerS = -1
  localPort = 0
  /** Of an accepted connection. */
  remotePort = 0

  protected readonly network: ScriptNetwork
  private unreadBytes = 0
  /** What the stack held for reading when it was last looked at. */
  private queuedBytes = 0
  private endOfData = false
  private readClosed = false
  private writeClosed = false
  private closed = false
  /** connect has returned, and waits for data (TCP_FASTOPEN_CONNECT). */
  private deferred: { readonly address: string; readonly port: number } | undefined
  /** A write or a poll found no room: it is told when there is some. */
  private wantsRoom = false

  constructor(network: ScriptNetwork, options: ConnectionOptions) {
    this.network = network
    this.connectionOptions = { ...options }
  }

  /* --- the stack tells --- */

  onAccept(connection: Connection): void {
    if (this.role === 'connecting') {
      this.role = 'connected'
      this.happenings++
      return
    }
    const child = new ScriptSocket(this.network, this.connectionOptions)
    child.connection = connection
    child.lastConnection = connection
    child.role = 'connected'
    child.localPort = this.localPort
    child.remotePort = connection.remotePort
    child.lingerS = this.lingerS
    for (const [name, value] of this.options) child.options.set(name, value)
    child.sendBuffer.inherit(this.sendBuffer)
    child.errors.zeroCopy = this.errors.zeroCopy
    connection.application = child
    this.accepted.push(child)
    this.happenings++
  }

  onReceive(connection: Connection): void {
    if (connection.receiveFinished !== 0) this.endOfData = true
    this.queuedBytes = connection.receiveQueuedBytes
    this.happenings++
  }

  onSendSpace(): void {}

  onClose(connection: Connection, reason: number): void {
    if (this.connection !== connection) return
    this.connection = undefined
    this.role = 'over'
    this.happenings++
    if (reason === CLOSE_ORDERLY) {
      this.endOfData = true
      return
    }
    // The stack has given up what was queued, Linux lets it be read. A reset behind a FIN finds a broken pipe.
    this.unreadBytes += this.queuedBytes
    this.error = reason === CLOSE_RESET && this.endOfData ? 'EPIPE' : (ERRNO_OF_END[reason] ?? 'ECONNABORTED')
  }

  /* --- the script calls --- */

  bind(port: number): CallResult {
    this.localPort = port || LOCAL_PORT
    return done(0)
  }

  listen(backlog: number): CallResult {
    if (this.role !== 'fresh' && this.role !== 'listening') return failed('EINVAL')
    if (this.localPort === 0) this.localPort = LOCAL_PORT
    const { accepted } = this
    accepted.setBacklog(backlog)
    if (accepted.listener !== undefined) return done(0)
    const listener = this.network.host.tcp.listen(this.localPort, this, {
      ...this.connectionOptions,
      backlog: accepted.limit,
      fastOpenMax: this.options.get('TCP_FASTOPEN') ?? (this.network.fastOpenUnasked ? backlog : 0),
    })
    accepted.begin(listener)
    this.role = 'listening'
    return done(0)
  }

  /** Connected, about to be, or over: no write opens it any more. */
  get isOpen(): boolean {
    return this.role === 'connected' || this.role === 'over'
  }

  get isListening(): boolean {
    return this.role === 'listening'
  }

  /** Starts to connect. */
  connect(address: string, port: number): CallResult {
    if (this.role === 'connected') return failed('EISCONN')
    if (this.role === 'connecting' || this.deferred !== undefined) return failed('EALREADY')
    const fastOpen = this.options.get('TCP_FASTOPEN_CONNECT') === 1
    const { tcp } = this.network.host
    if (fastOpen && (this.needsNoCookie || tcp.knowsCookie(address || this.network.remote))) {
      this.deferred = { address, port }
      return done(0)
    }
    this.open(address, port, fastOpen)
    return failed('EINPROGRESS')
  }

  /** connect to AF_UNSPEC: ends the connection, with RST, and the socket can begin anew. */
  disconnect(): CallResult {
    const { connection } = this
    this.connection = undefined
    connection?.abort()
    this.role = 'fresh'
    this.localPort = 0
    this.unreadBytes = 0
    this.queuedBytes = 0
    this.endOfData = false
    this.error = ''
    this.network.flush()
    return done(0)
  }

  private open(address: string, port: number, fastOpen: boolean): Connection {
    this.localPort ||= this.network.nextPort++
    this.network.onOpen(this.localPort, port || REMOTE_PORT)
    const connection = this.network.host.tcp.connect(address || this.network.remote, port || REMOTE_PORT, this, {
      ...this.connectionOptions,
      localPort: this.localPort,
      fastOpen,
      ...(this.options.get('TCP_FASTOPEN_NO_COOKIE') === 1 ? { fastOpenWithoutCookie: true } : {}),
    })
    this.connection = connection
    this.lastConnection = connection
    this.role = 'connecting'
    return connection
  }

  private get needsNoCookie(): boolean {
    return this.options.get('TCP_FASTOPEN_NO_COOKIE') === 1 || this.network.fastOpenNeedsNoCookie
  }

  /**
   * MSG_FASTOPEN, or the first write behind TCP_FASTOPEN_CONNECT: connects, and sends what goes with the SYN.
   * @param waits the call blocks: what does not go with the SYN is queued behind it
   * @returns how many bytes were taken; 0: none, the handshake comes first
   */
  openWith(bytes: number, address: string, port: number, waits: boolean, flags: number): CallResult {
    if (this.role === 'connecting') return failed('EALREADY')
    if (!this.network.fastOpenClient) return failed('EOPNOTSUPP')
    const connection = this.open(address, port, true)
    const taken = Math.min(bytes, waits ? connection.sendSpace : connection.synDataLimit)
    if (taken > 0) connection.send(this.network.zeros(taken))
    if (taken > 0) this.errors.wrote(taken, (flags & MSG_ZEROCOPY) !== 0)
    this.network.flush()
    return done(taken)
  }

  /** Where the first write connects to; it does so no more. */
  takeDeferred(): { readonly address: string; readonly port: number } | undefined {
    const { deferred } = this
    this.deferred = undefined
    return deferred
  }

  /** How connecting ended; undefined: it goes on. */
  connected(): CallResult | undefined {
    if (this.role === 'connected') return done(0)
    return this.role === 'over' ? failed(this.takeError() || 'ECONNABORTED') : undefined
  }

  /** Reads up to `bytes`. @returns undefined if there is nothing, and no end */
  read(bytes: number, peek: boolean): CallResult | undefined {
    if (this.role === 'fresh' || this.role === 'listening') return failed('ENOTCONN')
    const available = this.availableBytes
    if (available > 0 && bytes > 0) {
      const taken = Math.min(bytes, available)
      if (!peek) this.consume(taken)
      return done(taken)
    }
    if (this.error !== '') return failed(this.takeError())
    if (bytes === 0 || this.endOfData || this.readClosed || this.role === 'over') return done(0)
    return undefined
  }

  /** Bytes that can be read now: SIOCINQ. */
  get availableBytes(): number {
    return this.unreadBytes + (this.connection?.receiveQueuedBytes ?? 0)
  }

  /** What TCP_CM_INQ says: with the peer's end a byte more, so that reading goes on. */
  get hintedBytes(): number {
    return this.availableBytes + (this.endOfData ? 1 : 0)
  }

  get atEnd(): boolean {
    return this.endOfData || this.readClosed || this.role === 'over'
  }

  get writeEnded(): boolean {
    return this.writeClosed || this.role === 'over'
  }

  /** Whether a poll for writing finds room; if not, there is something to tell later. */
  checkRoom(): boolean {
    const { connection, sendBuffer } = this
    if (connection === undefined || this.role !== 'connected') return false
    if (this.wantsRoom) sendBuffer.grow(connection)
    const room = sendBuffer.counts ? sendBuffer.isWriteable(connection) : connection.sendSpace > 0
    if (room && this.wantsRoom) this.happenings++
    this.wantsRoom = !room
    if (room) connection.awaitSpace(false)
    return room
  }

  /**
   * Queues as much of `bytes` as there is room for.
   * @param flags MSG_MORE: as behind a cork, until something without it is written; MSG_EOR: the last byte ends a record;
   *   MSG_ZEROCOPY: the error queue says when it was acknowledged
   * @returns undefined if there is no room
   */
  write(bytes: number, flags: number): CallResult | undefined {
    const more = (flags & MSG_MORE) !== 0
    if (this.error !== '') return failed(this.takeError())
    if (this.writeClosed || this.role === 'over') return failed('EPIPE')
    const { connection } = this
    if (connection === undefined || this.role === 'fresh' || this.role === 'listening') return failed('EPIPE')
    if (this.role === 'connecting') return undefined
    // Who waits is woken only when there is more than a little room.
    if (this.wantsRoom && !this.nonBlocking && !this.checkRoom()) return undefined
    const taken = this.queue(connection, bytes, more)
    this.wantsRoom = taken < bytes
    connection.awaitSpace(this.wantsRoom)
    if (taken === 0 && bytes > 0) return undefined
    if ((flags & MSG_EOR) !== 0 && taken === bytes) connection.endRecord()
    this.errors.wrote(taken, (flags & MSG_ZEROCOPY) !== 0)
    this.network.flush()
    return done(taken)
  }

  /** Queues as much as there is room for. @returns how much */
  private queue(connection: Connection, bytes: number, more: boolean): number {
    const { sendBuffer } = this
    if (!sendBuffer.counts) {
      const taken = Math.min(bytes, connection.sendSpace)
      connection.send(this.network.zeros(taken), more)
      return taken
    }
    sendBuffer.begin()
    let left = bytes
    while (left > 0) {
      const taken = sendBuffer.take(connection, left)
      if (taken === 0) break
      connection.send(this.network.zeros(taken), more)
      left -= taken
      if (left === 0) break
      // A piece that is full leaves at once, as far as it may.
      sendBuffer.push(connection)
      this.network.flush()
    }
    return bytes - left
  }

  /** TCP_CORK: small segments wait. */
  cork(on: boolean): void {
    if (on) this.connection?.cork()
    else this.connection?.uncork()
  }

  /** After a turn of the network: what was sent and acknowledged. */
  settle(nowUs: number): void {
    if (this.connection !== undefined && this.errors.settle(this.connection, nowUs)) this.happenings++
  }

  /** TCP_QUICKACK. */
  quickAck(quick: boolean): void {
    this.connection?.setQuickAck(quick)
    this.network.flush()
  }

  shutdown(how: number): CallResult {
    if (this.connection === undefined || this.role === 'over') return failed('ENOTCONN')
    if (how !== 1) this.readClosed = true
    if (how !== 0) {
      this.writeClosed = true
      this.connection.shutdown()
      this.network.flush()
    }
    return done(0)
  }

  close(): CallResult {
    this.closed = true
    const { listener, waiting } = this.accepted
    if (listener !== undefined) this.network.host.tcp.closeListener(listener)
    for (const child of waiting) child.connection?.abort()
    const { connection } = this
    if (connection !== undefined) {
      // RFC 9293 3.6.1, RFC 2525 2.17: unread data, or no patience, and the peer gets a RST.
      if (this.lingerS === 0 || (this.role === 'connected' && this.availableBytes > 0)) connection.abort()
      else {
        connection.shutdown()
        connection.refuseData()
      }
    }
    this.network.flush()
    return done(0)
  }

  /** Closed by the script, or ended by the network. */
  get isOver(): boolean {
    return this.closed || this.role === 'over'
  }

  takeError(): string {
    const { error } = this
    this.error = ''
    return error
  }

  private consume(bytes: number): void {
    let wanted = bytes - this.unreadBytes
    this.unreadBytes -= bytes
    const { connection } = this
    if (wanted > 0 && connection !== undefined) {
      const { pool } = this.network
      let meta = connection.takeReceived(wanted)
      while (meta !== NO_META) {
        wanted = pool.dataLength(meta)
        this.unreadBytes += wanted
        meta = pool.release(meta)
      }
      this.queuedBytes = connection.receiveQueuedBytes
    }
    this.network.flush()
  }
}
