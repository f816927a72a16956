/**
 * The iperf3 client over the stack: the other side of session.ts. Whoever it measures may be iperf3 itself, or Packrat.
 *
 *   control connection ─► cookie ─► states of the server, one after the other:
 *   PARAM_EXCHANGE   parameters are sent
 *   CREATE_STREAMS   streams are opened, each when the one before is there
 *   TEST_RUNNING     the measurement runs, until time is up or everything has been sent
 *   EXCHANGE_RESULTS results are sent, and read
 *   DISPLAY_RESULTS  the end
 *
 * A test by bytes is over when the last one has been acknowledged, not when it was queued: so both sides count the same.
 *
 * Called by: command.ts. Calls: measurement.ts, tcp-stream.ts, udp-stream.ts.
 */
import { parseAddress } from '../../stack/address.ts'
import { type Application, CLOSE_REFUSED, type ConnectOptions } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import type { UdpPort } from '../../stack/udp.ts'
import { PackratError } from '../../storage/errors.ts'
import { NO_META } from '../../storage/layout.ts'
import { chainOf } from '../kv/response-writer.ts'
import { ControlChannel, OVERSIZE } from './control-channel.ts'
import type { Cancel, Environment } from './environment.ts'
import { Filler } from './filler.ts'
import { type Interval, Measurement } from './measurement.ts'
import { type TestParameters, writeParameters } from './parameters.ts'
import {
  ACCESS_DENIED,
  CLIENT_TERMINATE,
  COOKIE_ALPHABET,
  COOKIE_BYTES,
  CREATE_STREAMS,
  DISPLAY_RESULTS,
  EXCHANGE_RESULTS,
  errorText,
  IPERF_DONE,
  PARAM_EXCHANGE,
  RESULTS_BYTES_MAX,
  SERVER_ERROR,
  SERVER_TERMINATE,
  streamId,
  TEST_END,
  TEST_RUNNING,
  TEST_START,
  UDP_HELLO,
} from './protocol.ts'
import { type PeerResults, readResults, writeResults } from './results.ts'
import { endConnection, RoleApplication } from './role.ts'
import type { Stream } from './stream.ts'
import { TcpStream } from './tcp-stream.ts'
import { UdpStream } from './udp-stream.ts'

const VERSION = 'packrat'
/** The server answers within this time, or the test is given up. */
const STATE_MS = 15_000
/** What the server says of a stream that it has closed comes within this time. */
const REASON_MS = 500
/** Between attempts to make a stream of UDP known. */
const HELLO_MS = 1000
/** How often a test by bytes is looked at. */
const WATCH_MS = 1
const KEEP_ALIVE = { keepAlive: true, keepAliveIdleMs: 10_000, keepAliveIntervalMs: 5000, keepAliveProbes: 3 }

export interface ClientOptions {
  readonly address: string
  readonly port: number
  /** `blockBytes` 0: of a datagram, what a frame takes. */
  readonly parameters: TestParameters
  readonly intervalMs: number
  /** Announced on the streams; undefined: what the device takes. */
  readonly mss: number | undefined
  readonly onStart: (measurement: Measurement) => void
  readonly onInterval: (interval: Interval) => void
  /** Once: with the results of both sides, or with what went wrong. */
  readonly onEnd: (outcome: ClientOutcome | PackratError) => void
}

export interface ClientOutcome {
  readonly measurement: Measurement
  readonly peer: PeerResults
}

const idle = (): void => {}

export class IperfClient {
  private readonly environment: Environment
  private readonly options: ClientOptions
  private readonly cookie: string
  private readonly channel: ControlChannel
  private readonly filler: Filler
  private readonly streams: Stream[] = []
  private readonly udpPorts: UdpPort[] = []
  private parameters: TestParameters
  private measurement: Measurement | undefined
  private peer: PeerResults | undefined
  /** What comes next on the control connection. */
  private expects: 'state' | 'results' | 'error' = 'state'
  private cancel: Cancel = idle
  private cancelWatch: Cancel = idle
  private isTested = false
  private isOver = false

  /** Connects. @param random draws the cookie. Throws EADDRNOTAVAIL, ENOBUFS. */
  constructor(environment: Environment, options: ClientOptions, random: () => number) {
    this.environment = environment
    this.options = options
    this.parameters = options.parameters
    this.cookie = Array.from(
      { length: COOKIE_BYTES - 1 },
      () => COOKIE_ALPHABET[(random() >>> 0) % COOKIE_ALPHABET.length]!,
    ).join('')
    this.filler = new Filler(environment.host)
    if (!this.filler.isReady) throw new PackratError('ENOBUFS', 'no buffer is free to send from: use a larger pool')
    const { address, port } = options
    const c = environment.host.tcp.connect(address, port, this.control, { noDelay: true, ...KEEP_ALIVE })
    this.channel = new ControlChannel(c, Buffer.alloc(0))
    this.limit()
  }

  /** Gives up; the server is told. */
  terminate(): void {
    if (this.isOver) return
    this.channel.sendState(CLIENT_TERMINATE)
    this.fail('the test was ended by the user')
  }

  /* --- the control connection --- */

  private readonly control: Application = {
    onAccept: (c) => {
      const isUdp = this.parameters.protocol === 'udp'
      if (this.parameters.blockBytes === 0 && isUdp) this.parameters = { ...this.parameters, blockBytes: c.sendMss }
      this.channel.send(this.cookieBytes())
    },
    onReceive: (c) => {
      this.channel.receive()
      while (!this.isOver && this.step()) {}
      if (!this.isOver && c.receiveFinished !== 0) this.fail('the server closed the control connection')
    },
    onSendSpace: idle,
    onClose: (_c, reason) => {
      const { address, port } = this.options
      const refused = reason === CLOSE_REFUSED
      this.fail(
        refused ? `nobody listens on ${address}:${port}; start iperf3 -s there` : 'the control connection broke',
      )
    },
  }

  private cookieBytes(): Buffer {
    return Buffer.from(`${this.cookie}\0`, 'latin1')
  }

  private limit(ms = STATE_MS, reason = 'the server does not answer'): void {
    this.cancel()
    this.cancel = this.environment.after(ms, () => this.fail(reason))
  }

  /** Uses what has come. @returns true if there may be more to use */
  private step(): boolean {
    if (this.expects === 'results') return this.readResults()
    if (this.expects === 'error') return this.readError()
    const state = this.channel.takeState()
    if (state === undefined) return false
    this.limit()
    if (state === PARAM_EXCHANGE) this.channel.sendDocument(writeParameters(this.parameters, VERSION))
    else if (state === CREATE_STREAMS) this.createStreams()
    else if (state === TEST_START) this.prepare()
    else if (state === TEST_RUNNING) this.run()
    else if (state === EXCHANGE_RESULTS && this.measurement !== undefined) this.exchangeResults(this.measurement)
    else if (state === DISPLAY_RESULTS) this.complete()
    else if (state === SERVER_ERROR) this.expects = 'error'
    else if (state === ACCESS_DENIED) this.fail('the server is busy with another test; try again later')
    else if (state === SERVER_TERMINATE) this.fail('the server has ended the test')
    else this.fail(`the server says state ${state}, which has no place here`)
    return true
  }

  private readError(): boolean {
    const error = this.channel.takeInt32()
    if (error !== undefined) this.fail(`the server refuses: ${errorText(error)}`)
    return false
  }

  private exchangeResults(measurement: Measurement): void {
    this.channel.sendDocument(writeResults(measurement, this.environment.congestion, undefined))
    this.expects = 'results'
  }

  private readResults(): boolean {
    const json = this.channel.takeDocument(RESULTS_BYTES_MAX)
    if (json === undefined) return false
    this.peer = json === OVERSIZE ? undefined : readResults(json)
    if (this.peer === undefined) this.fail('the results of the server cannot be read')
    this.expects = 'state'
    return true
  }

  /* --- streams --- */

  private createStreams(): void {
    const { parameters } = this
    const sendsDatagrams = parameters.protocol === 'udp' && !parameters.reverse
    if (sendsDatagrams && !this.filler.prepareDatagrams()) this.fail('no buffers are free to send from')
    else this.openStream()
  }

  private get streamCount(): number {
    return this.parameters.parallel * (this.parameters.bidirectional ? 2 : 1)
  }

  private isSender(index: number): boolean {
    const { reverse, bidirectional, parallel } = this.parameters
    return bidirectional ? index < parallel : !reverse
  }

  /** The next one; the server numbers them as they come. */
  private openStream(): void {
    if (this.isOver || this.streams.length === this.streamCount) return
    this.limit()
    if (this.parameters.protocol === 'tcp') this.openTcp(this.streams.length)
    else this.openUdp(this.streams.length)
  }

  private openTcp(index: number): void {
    const { address, port, mss } = this.options
    const { noDelay, blockBytes } = this.parameters
    const options: ConnectOptions = { noDelay, ...(mss !== undefined && { mss }) }
    const application = new StreamApplication((c) => this.onStreamOpen(c))
    const c = this.environment.host.tcp.connect(address, port, application, options)
    const stream = new TcpStream(this.environment, this.filler, c, {
      id: streamId(index),
      isSender: this.isSender(index),
      blockBytes,
      onLost: () => this.onStreamLost(),
    })
    c.user = stream
    this.streams.push(stream)
  }

  private onStreamOpen(c: Connection): void {
    const chain = chainOf(c.context.pool, this.cookieBytes())
    if (chain === NO_META) this.fail('no buffer is free for the cookie')
    else {
      c.send(chain)
      this.openStream()
    }
  }

  /** Behind the test the server is free to. Before, it may be about to say why. */
  private onStreamLost(): void {
    if (!this.isTested && !this.isOver) this.limit(REASON_MS, 'the server closed a stream')
  }

  private openUdp(index: number): void {
    const { host } = this.environment
    const remoteAddress = parseAddress(this.options.address)
    let isKnown = false
    const port = host.udp.bind(0, {
      onDatagrams: () => {
        for (let chain = host.udp.take(port); chain !== NO_META; chain = host.udp.take(port)) {
          if (isKnown && !stream.isSender) stream.receive(chain)
          host.pool.releaseChain(chain)
          if (isKnown) continue
          isKnown = true
          this.openStream()
        }
      },
      onUnreachable: () => this.fail('the server does not take datagrams'),
      onClose: idle,
    })
    const { word0, word1, word2, word3 } = remoteAddress
    port.remoteAddress.set(word0, word1, word2, word3)
    port.remotePort = this.options.port
    this.udpPorts.push(port)
    const stream = new UdpStream(this.environment, this.filler, {
      id: streamId(index),
      isSender: this.isSender(index),
      port,
      localAddress: this.channel.connection.localAddress,
      remoteAddress,
      remotePort: this.options.port,
      blockBytes: this.parameters.blockBytes,
      wideNumbers: this.parameters.wideNumbers,
    })
    this.streams.push(stream)
    const greet = (): void => {
      if (this.isOver || isKnown) return
      const chain = chainOf(host.pool, UDP_HELLO)
      if (chain !== NO_META) host.udp.send(port, remoteAddress, this.options.port, chain)
      this.environment.after(HELLO_MS, greet)
    }
    greet()
  }

  /* --- the test --- */

  private prepare(): void {
    const { intervalMs, onInterval } = this.options
    const options = { intervalMs, onInterval, isClient: true }
    this.measurement = new Measurement(this.environment, this.parameters, this.streams, options)
    this.options.onStart(this.measurement)
  }

  private run(): void {
    this.cancel()
    if (this.measurement === undefined) {
      this.fail('the server starts a test that is not prepared')
      return
    }
    this.measurement.start(() => this.endTest())
    if (this.parameters.bytes > 0) this.watch(this.measurement)
  }

  private watch(measurement: Measurement): void {
    const { goal, isOmitting } = measurement
    const isSent = goal.bytesLeft <= 0 && this.streams.every((stream) => stream.isDrained)
    const isReceived = measurement.bytesOf(false) >= this.parameters.bytes
    if (!isOmitting && (isSent || isReceived)) this.endTest()
    else this.cancelWatch = this.environment.after(WATCH_MS, () => this.watch(measurement))
  }

  private endTest(): void {
    this.isTested = true
    this.measurement!.stop()
    this.channel.sendState(TEST_END)
    this.limit()
  }

  /* --- the end --- */

  private complete(): void {
    const { measurement, peer } = this
    if (measurement === undefined || peer === undefined) {
      this.fail('the server shows results that are not there')
      return
    }
    this.channel.sendState(IPERF_DONE)
    this.end({ measurement, peer })
  }

  private fail(reason: string): void {
    this.end(new PackratError('IPERF3', reason))
  }

  /** Gives everything back, once. */
  private end(outcome: ClientOutcome | PackratError): void {
    if (this.isOver) return
    this.isOver = true
    this.cancel()
    this.cancelWatch()
    if (outcome instanceof PackratError) this.measurement?.stop()
    for (const stream of this.streams) stream.close()
    for (const port of this.udpPorts) this.environment.host.udp.unbind(port)
    this.filler.close()
    const { connection } = this.channel
    connection.application = new StreamApplication(idle)
    endConnection(this.environment, connection)
    this.options.onEnd(outcome)
  }
}

/** Of one connection whose role is given when it is opened. */
class StreamApplication extends RoleApplication {
  readonly onAccept: (c: Connection) => void

  constructor(onAccept: (c: Connection) => void) {
    super()
    this.onAccept = onAccept
  }
}
