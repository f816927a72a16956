/**
 * A datagram socket of the script: BSD's calls over the stack's UDP. As with streams, bytes are only counted; a read
 * takes one datagram, and what does not fit is lost.
 *
 * Called by: calls-*.ts.
 */
import { parseAddress } from '../../stack/address.ts'
import { type DatagramApplication, datagramPort, SEND_OK, type UdpPort } from '../../stack/udp.ts'
import { NO_META } from '../../storage/layout.ts'
import { LOCAL_PORT, PEER_PORT_FIRST, REMOTE_PORT } from './addresses.ts'
import { type CallResult, done, failed } from './call.ts'
import { ScriptSocket } from './script-socket.ts'

export class DatagramSocket extends ScriptSocket {
  private port: UdpPort | undefined
  private connectedPort = 0
  /** Lengths of the datagrams that were received and not read. */
  private readonly waiting: number[] = []
  private readonly told: DatagramApplication = {
    onDatagrams: (port) => this.receive(port),
    onUnreachable: (_, refused) => {
      this.error = refused ? 'ECONNREFUSED' : 'EHOSTUNREACH'
    },
    onClose() {},
  }

  /** Ports of the datagrams that the script injects: those of a connection, or of a peer that has not been named. */
  get ports(): { localPort: number; remotePort: number } {
    return { localPort: this.port?.number ?? LOCAL_PORT, remotePort: this.connectedPort || PEER_PORT_FIRST }
  }

  private receive(port: UdpPort): void {
    const { pool, host } = this.network
    for (let chain = host.udp.take(port); chain !== NO_META; chain = host.udp.take(port)) {
      let bytes = 0
      for (let meta = chain; meta !== NO_META; meta = pool.next(meta)) bytes += pool.dataLength(meta)
      if (this.connectedPort === 0 || datagramPort(pool, chain) === this.connectedPort) this.waiting.push(bytes)
      pool.releaseChain(chain)
    }
  }

  override bind(port: number): CallResult {
    this.port ??= this.network.host.udp.bind(port || LOCAL_PORT, this.told)
    return done(0)
  }

  override connect(address: string, port: number): CallResult {
    this.port ??= this.network.host.udp.bind(0, this.told)
    this.connectedPort = port || REMOTE_PORT
    const remote = parseAddress(address || this.network.remote)
    this.port.remoteAddress.set(remote.word0, remote.word1, remote.word2, remote.word3)
    this.port.remotePort = this.connectedPort
    return done(0)
  }

  override read(bytes: number, peek: boolean): CallResult | undefined {
    if (this.error !== '') return failed(this.takeError())
    const length = peek ? this.waiting[0] : this.waiting.shift()
    return length === undefined ? undefined : done(Math.min(bytes, length))
  }

  override get availableBytes(): number {
    return this.waiting[0] ?? 0
  }

  override checkRoom(): boolean {
    return true
  }

  override get atEnd(): boolean {
    return false
  }

  override write(bytes: number): CallResult {
    if (this.error !== '') return failed(this.takeError())
    if (this.port === undefined) this.bind(0)
    const { ports } = this
    const outcome = this.network.host.udp.send(
      this.port!,
      parseAddress(this.network.remote),
      ports.remotePort,
      this.network.zeros(bytes),
    )
    this.network.flush()
    return outcome === SEND_OK ? done(bytes) : failed('EMSGSIZE')
  }

  override shutdown(): CallResult {
    return this.connectedPort === 0 ? failed('ENOTCONN') : done(0)
  }

  override close(): CallResult {
    if (this.port !== undefined) this.network.host.udp.unbind(this.port)
    return done(0)
  }
}
