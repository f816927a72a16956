/**
 * UDP in the shape of node:dgram's Socket (https://nodejs.org/docs/latest-v20.x/api/dgram.html).
 *
 *   'message' ◄─ after the burst ◄─ Udp.take ◄─ lines       what is not taken in time falls out of a bounded queue
 *   send()    ─► lines ─► Udp.send                          leaves after the user's code that runs now
 *
 * What is different from node:dgram: addresses are numbers, not names; there is no broadcast or multicast; ref() and
 * unref() do nothing, because it is the loop driving the host that keeps the process alive.
 *
 * Called by: users, and by UDP as its application. Calls: udp.ts, copy.ts, network.ts.
 */
import { AsyncResource } from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import { BUFFER_BYTES, NO_META } from '../../storage/layout.ts'
import { Address, parseAddress } from '../address.ts'
import {
  type DatagramApplication,
  datagramAddress,
  datagramPort,
  SEND_NO_BUFFER,
  SEND_OK,
  SEND_TOO_LONG,
  type UdpPort,
} from '../udp.ts'
import { copyChain, OutgoingBytes } from './copy.ts'
import { nodeError, requirePort, systemError } from './errors.ts'
import { familyOf } from './family.ts'
import type { Network, Task } from './network.ts'
import type { AddressInfo } from './socket.ts'

export interface DatagramSocketOptions {
  /** 'udp4', the default, hears and reaches IPv4 only; 'udp6' both versions, as node:dgram without ipv6Only. */
  readonly type?: 'udp4' | 'udp6'
  readonly network: Network
  /** Buffers that may wait to be read: one a datagram, or one a fragment (default UDP_QUEUE_BUFFERS). */
  readonly receiveQueueBuffers?: number
}

export interface RemoteInfo extends AddressInfo {
  /** Payload, bytes. */
  readonly size: number
}

type Message = string | Uint8Array | readonly (string | Uint8Array)[]
type SendCallback = (error: Error | null, bytes: number) => void

export class DatagramSocket extends EventEmitter implements DatagramApplication, Task {
  /** Events come in the asynchronous context in which the socket was made, as node:dgram's do. */
  private readonly context = new AsyncResource('PACKRATDATAGRAMSOCKET')
  readonly type: 'udp4' | 'udp6'
  private readonly network: Network
  private readonly queueLimit: number | undefined
  private readonly outgoing = new OutgoingBytes()
  private port: UdpPort | undefined = undefined
  private closed = false
  private readPending = false

  constructor(options: DatagramSocketOptions, onMessage?: (message: Buffer, remote: RemoteInfo) => void) {
    super()
    this.type = options.type ?? 'udp4'
    this.network = options.network
    this.queueLimit = options.receiveQueueBuffers
    if (onMessage !== undefined) this.on('message', onMessage)
  }

  /** Takes a port, 0 for any that is free; 'listening' or 'error' (EADDRINUSE) follows. */
  bind(where: number | { readonly port?: number } = 0, onListening?: () => void): this {
    this.requireOpen()
    if (this.port !== undefined) throw nodeError('ERR_SOCKET_ALREADY_BOUND', 'Socket is already bound')
    const port = requirePort(typeof where === 'number' ? where : (where.port ?? 0), 0)
    if (onListening !== undefined) this.once('listening', onListening)
    try {
      this.take(port)
    } catch (error) {
      const inUse = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
      const reason = inUse ? systemError('EADDRINUSE', 'bind', this.network.host.address, port) : error
      process.nextTick(() => this.emit('error', reason))
    }
    return this
  }

  /** From now on only this peer is sent to and heard; what it refuses comes as 'error' ECONNREFUSED. */
  connect(port: number, address: string, onConnect?: () => void): void {
    this.requireOpen()
    if (this.port !== undefined && this.port.remotePort !== 0)
      throw nodeError('ERR_SOCKET_DGRAM_IS_CONNECTED', 'Already connected')
    const remotePort = requirePort(port, 1)
    const { word0, word1, word2, word3 } = this.parse(address)
    if (onConnect !== undefined) this.once('connect', onConnect)
    const local = this.port ?? this.take(0)
    local.remotePort = remotePort
    local.remoteAddress.set(word0, word1, word2, word3)
    process.nextTick(() => {
      if (!this.closed) this.emit('connect')
    })
  }

  disconnect(): void {
    const port = this.requireConnected()
    port.remotePort = 0
  }

  remoteAddress(): AddressInfo {
    const port = this.requireConnected()
    const address = port.remoteAddress.toString()
    return { address, family: familyOf(address), port: port.remotePort }
  }

  address(): AddressInfo {
    this.requireOpen()
    if (this.port === undefined) throw systemError('EBADF', 'getsockname')
    const { host } = this.network
    const address = this.type === 'udp6' ? (host.address6 ?? '::') : host.address
    return { address, family: familyOf(address), port: this.port.number }
  }

  /**
   * As in node:dgram: send(message, port, address), send(message, offset, length, port, address), or, connected,
   * send(message) and send(message, offset, length); a callback may stand behind each. Without one, what goes wrong is
   * an 'error' event.
   */
  send(message: Message, ...rest: (number | string | SendCallback | undefined)[]): void {
    this.requireOpen()
    const last = rest.at(-1)
    const callback = typeof last === 'function' ? last : undefined
    const numbers = rest.filter((argument) => typeof argument !== 'function' && argument !== undefined)
    const connected = this.port !== undefined && this.port.remotePort !== 0
    const partial = connected ? typeof numbers[1] === 'number' : numbers.length === 4
    const chunks = messageChunks(message, partial ? Number(numbers[0]) : 0, partial ? Number(numbers[1]) : undefined)
    const where = partial ? numbers.slice(2) : numbers
    if (connected && where.length > 0) throw nodeError('ERR_SOCKET_DGRAM_IS_CONNECTED', 'Already connected')
    const port = this.port ?? this.take(0)
    const remotePort = connected ? port.remotePort : requirePort(where[0], 1)
    const address = connected ? port.remoteAddress : this.parse(String(where[1] ?? ''))
    this.sendChunks(port, chunks, address, remotePort, callback)
  }

  /** Gives the port back; 'close' follows. */
  close(onClosed?: () => void): this {
    this.requireOpen()
    if (onClosed !== undefined) this.once('close', onClosed)
    if (this.port !== undefined) this.network.host.udp.unbind(this.port)
    this.end()
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  /* --- DatagramApplication: inside a burst --- */

  onDatagrams(): void {
    if (this.readPending) return
    this.readPending = true
    this.network.schedule(this)
  }

  onUnreachable(port: UdpPort, refused: boolean): void {
    const error = systemError(refused ? 'ECONNREFUSED' : 'EHOSTUNREACH', 'recvmsg')
    this.network.schedule({
      run: () => {
        if (this.port === port) this.context.runInAsyncScope(() => this.emit('error', error))
      },
    })
  }

  onClose(): void {
    this.end()
  }

  /* --- Task: after it --- */

  /** One datagram a run, the others in runs of their own: what one handler throws does not swallow the next message. */
  run(): void {
    this.readPending = false
    if (this.port === undefined) return
    const { pool, udp } = this.network.host
    const meta = udp.take(this.port)
    if (meta === NO_META) return
    this.onDatagrams()
    const address = datagramAddress(pool, meta, new Address()).toString()
    const port = datagramPort(pool, meta)
    const message = copyChain(pool, meta)
    const remote: RemoteInfo = { address, family: familyOf(address), port, size: message.length }
    this.context.runInAsyncScope(() => this.emit('message', message, remote))
  }

  private take(number: number): UdpPort {
    const port = this.network.host.udp.bind(number, this, this.queueLimit)
    port.ipv4Only = this.type === 'udp4'
    this.port = port
    process.nextTick(() => {
      if (!this.closed) this.emit('listening')
    })
    return port
  }

  private end(): void {
    this.port = undefined
    this.closed = true
    process.nextTick(() => this.emit('close'))
  }

  private sendChunks(
    port: UdpPort,
    chunks: readonly Uint8Array[],
    address: Address,
    remotePort: number,
    callback: SendCallback | undefined,
  ): void {
    const code = this.sendLines(port, chunks, address, remotePort)
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    this.network.requestFlush()
    if (code === undefined) {
      if (callback !== undefined) process.nextTick(callback, null, bytes)
      return
    }
    const error = systemError(code, 'send', address.toString(), remotePort)
    process.nextTick(() => {
      if (callback !== undefined) callback(error, 0)
      else if (!this.closed) this.emit('error', error)
    })
  }

  /** The code of the error, if there is one. */
  private sendLines(
    port: UdpPort,
    chunks: readonly Uint8Array[],
    address: Address,
    remotePort: number,
  ): 'EMSGSIZE' | 'ENOBUFS' | 'ENETUNREACH' | undefined {
    const { pool, udp, sumView } = this.network.host
    this.outgoing.set(chunks)
    if (this.outgoing.left > udp.payloadBytesMax(address)) return 'EMSGSIZE'
    const chain = this.outgoing.nextLine(pool, sumView, BUFFER_BYTES)
    let last = chain
    while (last !== NO_META && this.outgoing.left > 0) {
      const meta = this.outgoing.nextLine(pool, sumView, BUFFER_BYTES)
      pool.setNext(last, meta)
      last = meta
    }
    if (last === NO_META) {
      pool.releaseChain(chain)
      this.outgoing.clear()
      return 'ENOBUFS'
    }
    switch (udp.send(port, address, remotePort, chain)) {
      case SEND_OK:
        return undefined
      case SEND_TOO_LONG:
        return 'EMSGSIZE'
      case SEND_NO_BUFFER:
        return 'ENOBUFS'
      default:
        return 'ENETUNREACH'
    }
  }

  private parse(text: string): Address {
    const address = parseAddress(text)
    if (this.type === 'udp4' && !address.isIpv4)
      throw nodeError('ERR_INVALID_ARG_VALUE', `${text} is an IPv6 address: it takes a socket of type 'udp6'`)
    return address
  }

  private requireOpen(): void {
    if (this.closed) throw nodeError('ERR_SOCKET_DGRAM_NOT_RUNNING', 'Not running')
  }

  private requireConnected(): UdpPort {
    this.requireOpen()
    if (this.port === undefined || this.port.remotePort === 0)
      throw nodeError('ERR_SOCKET_DGRAM_NOT_CONNECTED', 'Not connected')
    return this.port
  }
}

/** The counterpart of dgram.createSocket. */
export function createDatagramSocket(
  options: DatagramSocketOptions,
  onMessage?: (message: Buffer, remote: RemoteInfo) => void,
): DatagramSocket {
  return new DatagramSocket(options, onMessage)
}

function messageChunks(message: Message, offset: number, length: number | undefined): Uint8Array[] {
  if (typeof message !== 'string' && !(message instanceof Uint8Array))
    return message.map((part) => (typeof part === 'string' ? Buffer.from(part) : part))
  const bytes = typeof message === 'string' ? Buffer.from(message) : message
  const end = length === undefined ? bytes.length : offset + length
  if (!(offset >= 0 && end >= offset && end <= bytes.length))
    throw nodeError('ERR_BUFFER_OUT_OF_BOUNDS', `offset ${offset}, length ${length}: outside of ${bytes.length} bytes`)
  return [bytes.subarray(offset, end)]
}
