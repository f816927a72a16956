/**
 * A TCP connection of the stack in the shape of node:net's Socket (https://nodejs.org/docs/latest-v20.x/api/net.html),
 * so that node:http, node:tls, undici and Fastify run on it unchanged.
 *
 *   Duplex.read ◄─ push ◄─ Channel.read ◄─ lines         asked for only while the reader's buffer has room
 *   Duplex.write ─► _write(v) ─► Channel.write ─► lines   its callback comes when the last byte is queued for sending
 *
 * What is different from node:net: hosts are numbers unless `lookup` is given; ref() and unref() do nothing, because
 * it is the loop driving the host that keeps the process alive, not a handle of this socket.
 *
 * Called by: users, server.ts. Calls: channel.ts.
 */
import { isIP, type LookupFunction } from 'node:net'
import { Duplex, type DuplexOptions } from 'node:stream'
import { CLOSE_ORDERLY, type ConnectOptions as TcpConnectOptions } from '../tcp/application.ts'
import type { Connection } from '../tcp/connection.ts'
import { Channel } from './channel.ts'
import { closeErrorCode, hostNotFound, nodeError, requirePort, systemError } from './errors.ts'
import { type Family, familyOf } from './family.ts'
import type { Network } from './network.ts'

/** Copied into one Buffer at most; what libuv allocates for a read. */
const READ_BYTES = 65_536
const DELAY_MS_MAX = 0x7fffffff // timers of node take no more

export interface SocketOptions extends Pick<DuplexOptions, 'allowHalfOpen' | 'highWaterMark' | 'signal'> {
  readonly network: Network
}

export interface ConnectOptions extends SocketOptions {
  /** The peer's address; a name if `lookup` is given. */
  readonly host: string
  readonly port: number
  readonly localPort?: number
  /** Of the addresses that a name has: 4, 6, or 0 for any. Default: 4, and any if the host has an IPv6 address. */
  readonly family?: 0 | 4 | 6
  /** As in node:net: resolves a name, for example dns.lookup. */
  readonly lookup?: LookupFunction
  readonly noDelay?: boolean
  readonly keepAlive?: boolean
  readonly keepAliveInitialDelay?: number
  /** Idle time-out, ms; see setTimeout. */
  readonly timeout?: number
  /** Limits and options of the connection that node:net does not know. */
  readonly tcp?: TcpConnectOptions
}

export interface AddressInfo {
  readonly address: string
  readonly family: Family
  readonly port: number
}

type WriteCallback = (error?: Error | null) => void

export class Socket extends Duplex {
  bytesRead = 0
  connecting = false
  timeout: number | undefined = undefined
  remoteAddress: string | undefined = undefined
  remotePort: number | undefined = undefined
  remoteFamily: Family | undefined = undefined
  localAddress: string | undefined = undefined
  localPort: number | undefined = undefined
  localFamily: Family | undefined = undefined

  private readonly channel: Channel
  private bytesWrittenBefore = 0
  /** The Duplex has room and asked for data. */
  private wantsData = false
  private endWasPushed = false
  /** The peer has ended and this socket ends with it: writing is an error from now on. */
  private endedByPeer = false
  private writeBytes = 0
  private writeCallback: WriteCallback | undefined = undefined
  private finalCallback: WriteCallback | undefined = undefined
  private idleTimer: NodeJS.Timeout | undefined = undefined
  /** Send queue when the idle time-out fired last: a peer that takes our data is not idle. */
  private queuedWhenIdle = 0

  constructor(options: SocketOptions) {
    const { allowHalfOpen = false, highWaterMark, signal } = options
    super({
      allowHalfOpen,
      emitClose: true,
      autoDestroy: true,
      ...(highWaterMark !== undefined && { highWaterMark }),
      ...(signal !== undefined && { signal }),
    })
    this.channel = new Channel(options.network, {
      onConnected: () => this.onConnected(),
      onReadable: () => this.pump(),
      onWritable: () => this.continueWrite(),
      onClosed: (reason) => this.onConnectionClosed(reason),
    })
    this.on('end', () => {
      this.endedByPeer = !this.allowHalfOpen
    })
  }

  /* --- opening --- */

  /** Takes over an accepted connection; for server.ts. */
  attach(connection: Connection): this {
    this.readEndpoints(connection)
    this.channel.attach(connection)
    return this
  }

  /** Opens a connection; 'connect' or 'error' follows. */
  connect(options: Omit<ConnectOptions, keyof SocketOptions>, listener?: () => void): this {
    if (this.destroyed || this.connecting || this.channel.current !== undefined)
      throw nodeError('ERR_SOCKET_ALREADY_CONNECTED', 'the socket was used before: connect with a new one')
    const port = requirePort(options.port, 1)
    if (listener !== undefined) this.once('connect', listener)
    if (options.timeout !== undefined) this.setTimeout(options.timeout)
    this.connecting = true
    const open = (address: string): void => this.open(address, port, options)
    if (isIP(options.host) !== 0) process.nextTick(open, options.host)
    else this.resolve(options, open)
    return this
  }

  private resolve(options: Omit<ConnectOptions, keyof SocketOptions>, open: (address: string) => void): void {
    const { host, lookup, family = this.channel.speaksIpv6 ? 0 : 4 } = options
    if (lookup === undefined) {
      process.nextTick(() => this.destroy(hostNotFound(host)))
      return
    }
    lookup(host, { family }, (error, result) => {
      const address = typeof result === 'string' ? result : result?.[0]?.address
      this.emit('lookup', error, address, isIP(address ?? ''), host)
      if (error === null && address !== undefined && isIP(address) !== 0) open(address)
      else this.destroy(error ?? hostNotFound(host))
    })
  }

  private open(address: string, port: number, options: Omit<ConnectOptions, keyof SocketOptions>): void {
    if (this.destroyed) return
    const { noDelay, keepAlive, keepAliveInitialDelay, localPort, tcp } = options
    this.remoteAddress = address
    this.remotePort = port
    this.remoteFamily = familyOf(address)
    if (!this.channel.hasRoute(address)) {
      this.destroy(systemError('ENETUNREACH', 'connect', address, port))
      return
    }
    try {
      this.channel.connect(address, port, {
        ...tcp,
        ...(localPort !== undefined && { localPort }),
        ...(noDelay !== undefined && { noDelay }),
        ...(keepAlive !== undefined && { keepAlive }),
        ...(keepAliveInitialDelay !== undefined && keepAliveInitialDelay > 0
          ? { keepAliveIdleMs: keepAliveInitialDelay }
          : {}),
      })
    } catch (error) {
      this.destroy(error as Error)
    }
  }

  private onConnected(): void {
    this.connecting = false
    this.readEndpoints(this.channel.current!)
    this.touch()
    this.emit('connect')
    this.emit('ready')
    if (this.destroyed) return
    this.continueWrite()
    if (this.finalCallback !== undefined) this.finishWriting(this.finalCallback)
    this.read(0)
  }

  private readEndpoints(connection: Connection): void {
    this.remoteAddress = connection.remoteAddress
    this.remotePort = connection.remotePort
    this.remoteFamily = familyOf(connection.remoteAddress)
    this.localAddress = connection.localAddress
    this.localPort = connection.localPort
    this.localFamily = familyOf(connection.localAddress)
  }

  /* --- reading --- */

  override _read(): void {
    this.wantsData = true
    this.pump()
  }

  private pump(): void {
    while (this.wantsData) {
      const bytes = this.channel.read(READ_BYTES)
      if (bytes === undefined) break
      this.bytesRead += bytes.length
      this.touch()
      this.wantsData = this.push(bytes)
    }
    if (this.endWasPushed || this.destroyed || !this.channel.ended) return
    this.endWasPushed = true
    this.push(null)
    this.read(0) // 'end' comes without a reader if nothing is left to be read, as in node:net
  }

  /* --- writing --- */

  override write(chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
    if (this.endedByPeer) return this.refuseWrite(typeof encoding === 'function' ? encoding : callback)
    return super.write(chunk, encoding as BufferEncoding, callback as WriteCallback)
  }

  /** RFC 1122 4.2.2.13 allows half-open connections; a socket without allowHalfOpen does not want them. */
  private refuseWrite(callback: unknown): false {
    const error = Object.assign(new Error('This socket has been ended by the other party'), { code: 'EPIPE' })
    if (typeof callback === 'function') process.nextTick(callback as WriteCallback, error)
    this.destroy(error)
    return false
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: WriteCallback): void {
    this.startWrite([chunk], callback)
  }

  override _writev(chunks: { chunk: Uint8Array }[], callback: WriteCallback): void {
    this.startWrite(
      chunks.map((part) => part.chunk),
      callback,
    )
  }

  private startWrite(chunks: Uint8Array[], callback: WriteCallback): void {
    if (!this.connecting && !this.channel.isEstablished) {
      callback(nodeError('ERR_SOCKET_CLOSED', 'Socket is closed'))
      return
    }
    this.channel.setOutgoing(chunks)
    this.writeBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    this.writeCallback = callback
    if (!this.connecting) this.continueWrite()
  }

  private continueWrite(): void {
    const callback = this.writeCallback
    if (callback === undefined) return
    this.touch()
    if (!this.channel.write()) return
    this.writeCallback = undefined
    this.bytesWrittenBefore += this.writeBytes
    callback()
  }

  override _final(callback: WriteCallback): void {
    if (this.connecting) this.finalCallback = callback
    else this.finishWriting(callback)
  }

  private finishWriting(callback: WriteCallback): void {
    this.finalCallback = undefined
    this.channel.end()
    callback()
  }

  /** Bytes handed to the stack, and those that wait for it. */
  get bytesWritten(): number {
    return this.bytesWrittenBefore + this.writableLength
  }

  get bufferSize(): number {
    return this.writableLength
  }

  /* --- closing --- */

  override _destroy(error: Error | null, callback: WriteCallback): void {
    this.connecting = false
    clearTimeout(this.idleTimer)
    this.channel.release()
    const unwritten = this.writeCallback
    this.writeCallback = undefined
    unwritten?.(error ?? nodeError('ERR_SOCKET_CLOSED', 'Socket is closed'))
    callback(error)
  }

  /** Ends the writing side, and everything when the last byte is queued. */
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  /** Closes the connection with RST. While connecting: as soon as it is established. */
  resetAndDestroy(): this {
    if (this.connecting) this.once('connect', () => this.resetNow())
    else if (this.channel.current === undefined) this.destroy(nodeError('ERR_SOCKET_CLOSED', 'Socket is closed'))
    else this.resetNow()
    return this
  }

  private resetNow(): void {
    this.channel.abort()
    this.destroy()
  }

  private onConnectionClosed(reason: number): void {
    if (reason === CLOSE_ORDERLY) {
      this.pump() // both sides have ended: the Duplex destroys itself when it has emitted both
      return
    }
    const code = closeErrorCode(reason)
    if (this.connecting) this.destroy(systemError(code, 'connect', this.remoteAddress, this.remotePort))
    else this.destroy(systemError(code, 'read'))
  }

  /* --- options and state --- */

  setTimeout(ms: number, listener?: () => void): this {
    if (!(ms >= 0)) throw new RangeError(`time-out ${ms} out of range: milliseconds, 0 for none`)
    this.timeout = ms
    clearTimeout(this.idleTimer)
    this.idleTimer = undefined
    if (ms === 0) {
      if (listener !== undefined) this.off('timeout', listener)
      return this
    }
    if (listener !== undefined) this.once('timeout', listener)
    if (this.destroyed) return this
    this.idleTimer = setTimeout(() => this.onIdle(), Math.min(ms, DELAY_MS_MAX)).unref()
    return this
  }

  private onIdle(): void {
    const queued = this.channel.current?.sendQueuedBytes ?? 0
    const progress = queued !== this.queuedWhenIdle && queued > 0
    this.queuedWhenIdle = queued
    if (progress) this.touch()
    else this.emit('timeout') // once, until something moves, as in node:net
  }

  /** Something was read or written. */
  private touch(): void {
    this.idleTimer?.refresh()
  }

  setNoDelay(noDelay = true): this {
    this.whenConnected(() => this.channel.current?.setNoDelay(noDelay))
    return this
  }

  /** @param initialDelayMs silence before the first probe; 0 leaves it as it is */
  setKeepAlive(enable = false, initialDelayMs = 0): this {
    this.whenConnected(() =>
      this.channel.current?.setKeepAlive(enable, initialDelayMs > 0 ? initialDelayMs : undefined),
    )
    return this
  }

  private whenConnected(action: () => void): void {
    if (this.connecting) this.once('connect', action)
    else action()
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  address(): AddressInfo | Record<string, never> {
    const { localAddress, localPort } = this
    if (localAddress === undefined || localPort === undefined) return {}
    return { address: localAddress, family: familyOf(localAddress), port: localPort }
  }

  /** Not connected, or not yet. */
  get pending(): boolean {
    return this.connecting || !this.channel.isEstablished
  }

  get readyState(): 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.connecting) return 'opening'
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }
}

/** Opens a connection over the stack; the counterpart of net.connect. */
export function connect(options: ConnectOptions, listener?: () => void): Socket {
  return new Socket(options).connect(options, listener)
}
