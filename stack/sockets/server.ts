/**
 * A listener of the stack in the shape of node:net's Server: 'connection' with a Socket for each accepted connection.
 * Its sockets go to whoever wants connections: httpServer.emit('connection', socket), new tls.TLSSocket(socket, …).
 *
 *   Tcp: onAccept ─► Socket on the connection ─► after the burst: 'connection'
 *
 * Called by: users, and by TCP as its application. Calls: socket.ts, network.ts.
 */
import { EventEmitter } from 'node:events'
import type { Application, ListenOptions as TcpListenOptions } from '../tcp/application.ts'
import type { Connection } from '../tcp/connection.ts'
import type { Listener } from '../tcp/listen.ts'
import { nodeError, requirePort, systemError } from './errors.ts'
import type { Network } from './network.ts'
import { type AddressInfo, Socket } from './socket.ts'

export interface ServerOptions {
  readonly network: Network
  readonly allowHalfOpen?: boolean
  readonly highWaterMark?: number
  /** Sockets read nothing before they are resumed. */
  readonly pauseOnConnect?: boolean
  readonly noDelay?: boolean
  readonly keepAlive?: boolean
  readonly keepAliveInitialDelay?: number
  /** Limits and options of the connections that node:net does not know. */
  readonly tcp?: TcpListenOptions
}

export interface ListenOptions {
  readonly port: number
  /** Handshakes in progress at the same time. */
  readonly backlog?: number
}

export class Server extends EventEmitter implements Application {
  /** Connections beyond are reset, and announced by 'drop'. */
  maxConnections: number | undefined = undefined

  private readonly options: ServerOptions
  private listener: Listener | undefined = undefined
  private readonly sockets = new Set<Socket>()
  private closing = false

  constructor(options: ServerOptions, onConnection?: (socket: Socket) => void) {
    super()
    this.options = options
    if (onConnection !== undefined) this.on('connection', onConnection)
  }

  /** Listens on the host's address; 'listening' or 'error' (EADDRINUSE) follows. */
  listen(where: number | ListenOptions, onListening?: () => void): this {
    if (this.listener !== undefined) throw nodeError('ERR_SERVER_ALREADY_LISTEN', 'the server listens already')
    const { port, backlog } = typeof where === 'number' ? { port: where, backlog: undefined } : where
    requirePort(port, 1)
    if (onListening !== undefined) this.once('listening', onListening)
    const { network, noDelay, keepAlive, keepAliveInitialDelay = 0, tcp } = this.options
    try {
      this.listener = network.host.tcp.listen(port, this, {
        ...tcp,
        ...(backlog !== undefined && { backlog }),
        ...(noDelay !== undefined && { noDelay }),
        ...(keepAlive !== undefined && { keepAlive }),
        ...(keepAliveInitialDelay > 0 && { keepAliveIdleMs: keepAliveInitialDelay }),
      })
    } catch (error) {
      const inUse = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
      const reason = inUse ? systemError('EADDRINUSE', 'listen', network.host.address, port) : error
      process.nextTick(() => this.emit('error', reason))
      return this
    }
    this.closing = false
    process.nextTick(() => {
      if (this.listener !== undefined) this.emit('listening')
    })
    return this
  }

  get listening(): boolean {
    return this.listener !== undefined
  }

  address(): AddressInfo | null {
    if (this.listener === undefined) return null
    return { address: this.options.network.host.address, family: 'IPv4', port: this.listener.port }
  }

  /** Stops accepting. 'close' follows when the last connection has ended. */
  close(onClosed?: (error?: Error) => void): this {
    const { listener } = this
    if (listener === undefined) {
      if (onClosed !== undefined)
        process.nextTick(onClosed, nodeError('ERR_SERVER_NOT_RUNNING', 'Server is not running.'))
      return this
    }
    if (onClosed !== undefined) this.once('close', onClosed)
    this.options.network.host.tcp.closeListener(listener)
    this.options.network.requestFlush()
    this.listener = undefined
    this.closing = true
    this.closeIfDone()
    return this
  }

  getConnections(callback: (error: Error | null, count: number) => void): this {
    process.nextTick(callback, null, this.sockets.size)
    return this
  }

  /** As Socket.ref: the loop that drives the host keeps the process alive. */
  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  /* --- Application: inside a burst --- */

  onAccept(connection: Connection): void {
    const { network, allowHalfOpen, highWaterMark } = this.options
    if (this.maxConnections !== undefined && this.sockets.size >= this.maxConnections) {
      const { localAddress, localPort, remoteAddress, remotePort } = connection
      connection.abort()
      network.schedule({ run: () => this.emit('drop', { localAddress, localPort, remoteAddress, remotePort }) })
      return
    }
    const socket = new Socket({
      network,
      ...(allowHalfOpen !== undefined && { allowHalfOpen }),
      ...(highWaterMark !== undefined && { highWaterMark }),
    })
    this.sockets.add(socket)
    socket.once('close', () => {
      this.sockets.delete(socket)
      this.closeIfDone()
    })
    network.schedule({ run: () => this.announce(socket) })
    socket.attach(connection) // its events come behind 'connection'
  }

  onReceive(): void {}

  onSendSpace(): void {}

  /** Only of connections that onAccept refused: the others belong to their sockets. */
  onClose(): void {}

  /* --- after it --- */

  private announce(socket: Socket): void {
    if (this.options.pauseOnConnect === true) socket.pause()
    this.emit('connection', socket)
    if (this.options.pauseOnConnect !== true && !socket.destroyed) socket.read(0)
  }

  private closeIfDone(): void {
    if (!this.closing || this.sockets.size > 0) return
    this.closing = false
    process.nextTick(() => this.emit('close'))
  }
}

/** The counterpart of net.createServer. */
export function createServer(options: ServerOptions, onConnection?: (socket: Socket) => void): Server {
  return new Server(options, onConnection)
}
