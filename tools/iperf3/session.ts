/**
 * One test, as the server sees it: from the cookie on the control connection to the last state.
 *
 *   PARAM_EXCHANGE ◄─ parameters      CREATE_STREAMS ◄─ streams      TEST_START, TEST_RUNNING ─ ─ ─ TEST_END ◄─
 *   EXCHANGE_RESULTS ◄─ results ─► results      DISPLAY_RESULTS      IPERF_DONE ◄─      (docs/iperf3.md)
 *
 * The client says when the test ends. Streams are numbered in the order in which they were accepted; in a bidirectional
 * test the first half is received, the second half is sent.
 *
 * Called by: server.ts. Calls: measurement.ts, tcp-stream.ts, udp-stream.ts.
 */
import { Address } from '../../stack/address.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { datagramAddress, datagramPort, type UdpPort } from '../../stack/udp.ts'
import { PackratError } from '../../storage/errors.ts'
import { NO_META } from '../../storage/layout.ts'
import { chainOf } from '../kv/response-writer.ts'
import { type ControlChannel, OVERSIZE } from './control-channel.ts'
import type { Cancel, Environment } from './environment.ts'
import { Filler } from './filler.ts'
import { Measurement } from './measurement.ts'
import { readParameters, type TestParameters } from './parameters.ts'
import {
  CREATE_STREAMS,
  DISPLAY_RESULTS,
  ERROR_LISTEN_STREAMS,
  ERROR_RECEIVE_PARAMETERS,
  ERROR_RECEIVE_RESULTS,
  EXCHANGE_RESULTS,
  IPERF_DONE,
  PARAM_EXCHANGE,
  PARAMETERS_BYTES_MAX,
  RESULTS_BYTES_MAX,
  SERVER_ERROR,
  SERVER_TERMINATE,
  streamId,
  TEST_END,
  TEST_RUNNING,
  TEST_START,
  UDP_ANSWER,
  UDP_HELLO,
} from './protocol.ts'
import { measurementText } from './report.ts'
import { readResults, writeResults } from './results.ts'
import { endConnection, type Role } from './role.ts'
import type { Stream } from './stream.ts'
import { TcpStream } from './tcp-stream.ts'
import { UdpStream } from './udp-stream.ts'

/** What the client has to do next has to be done within this time; the test itself may take as long as it wants to. */
const STATE_MS = 15_000
/** Behind its seconds, a test that its client does not end is over. */
const GRACE_MS = 15_000
const INTERVAL_MS = 1000
/** Datagrams that wait in one burst: fragments of the largest, from many streams. */
const UDP_QUEUE_LIMIT = 1024

const idle = (): void => {}

export class Session implements Role {
  private readonly environment: Environment
  private readonly channel: ControlChannel
  private readonly cookie: string
  private readonly port: number
  private readonly onEnd: (completed: boolean) => void
  /** What the client was told last, and what is expected of it. */
  private state = PARAM_EXCHANGE
  private parameters: TestParameters | undefined
  private filler: Filler | undefined
  private udpPort: UdpPort | undefined
  private readonly streams: Stream[] = []
  private measurement: Measurement | undefined
  private cancel: Cancel = idle
  private isOver = false

  constructor(
    environment: Environment,
    channel: ControlChannel,
    cookie: string,
    port: number,
    onEnd: (completed: boolean) => void,
  ) {
    this.environment = environment
    this.channel = channel
    this.cookie = cookie
    this.port = port
    this.onEnd = onEnd
    channel.connection.user = this
  }

  begin(): void {
    this.enter(PARAM_EXCHANGE)
  }

  /** A connection with a cookie: one of the streams, unless it is none of ours. @returns false then */
  addConnection(c: Connection, cookie: string): boolean {
    const { parameters, filler } = this
    if (cookie !== this.cookie || this.state !== CREATE_STREAMS) return false
    if (parameters?.protocol !== 'tcp' || filler === undefined) return false
    const index = this.streams.length
    const stream = new TcpStream(this.environment, filler, c, {
      id: streamId(index),
      isSender: this.isSender(index),
      blockBytes: parameters.blockBytes,
      onLost: () => this.onStreamLost(),
    })
    c.user = stream
    c.setNoDelay(parameters.noDelay)
    this.addStream(stream)
    return true
  }

  /** The server stops. */
  terminate(): void {
    this.channel.sendState(SERVER_TERMINATE)
    this.end(false)
  }

  /* --- Role, of the control connection --- */

  onReceive(c: Connection): void {
    this.channel.receive()
    while (!this.isOver && this.step()) {}
    if (!this.isOver && c.receiveFinished !== 0) this.end(false)
  }

  onSendSpace(): void {}

  onClose(): void {
    this.end(false)
  }

  /* --- states --- */

  private enter(state: number): void {
    this.state = state
    this.channel.sendState(state)
    if (!this.isOver) this.limit(STATE_MS) // it is where no buffer was left to say so
  }

  private limit(ms: number): void {
    this.cancel()
    this.cancel = this.environment.after(ms, () => this.fail(undefined))
  }

  /** Uses what has come. @returns true if there may be more to use */
  private step(): boolean {
    if (this.state === PARAM_EXCHANGE) return this.readParameters()
    if (this.state === EXCHANGE_RESULTS) return this.exchangeResults()
    const state = this.channel.takeState()
    if (state === undefined) return false
    if (state === TEST_END && this.state === TEST_RUNNING) this.endTest()
    else if (state === IPERF_DONE && this.state === DISPLAY_RESULTS) this.end(true)
    else this.end(false) // the client gives up, or says what has no place here
    return !this.isOver
  }

  private readParameters(): boolean {
    const json = this.channel.takeDocument(PARAMETERS_BYTES_MAX)
    if (json === undefined) return false
    const parameters =
      json === OVERSIZE ? ERROR_RECEIVE_PARAMETERS : readParameters(json, this.channel.connection.sendMss)
    if (typeof parameters === 'number') this.fail(parameters)
    else this.prepare(parameters)
    return !this.isOver
  }

  /** Everything that streams need is there before they are asked for. */
  private prepare(parameters: TestParameters): void {
    this.parameters = parameters
    this.filler = new Filler(this.environment.host)
    const sends = parameters.reverse || parameters.bidirectional
    const isReady = this.filler.isReady && (parameters.protocol === 'tcp' || this.bindUdp(this.filler, sends))
    if (isReady) this.enter(CREATE_STREAMS)
    else this.fail(ERROR_LISTEN_STREAMS)
  }

  private bindUdp(filler: Filler, sends: boolean): boolean {
    if (sends && !filler.prepareDatagrams()) return false
    try {
      this.udpPort = this.environment.host.udp.bind(this.port, this.datagrams, UDP_QUEUE_LIMIT)
      return true
    } catch (error) {
      if (error instanceof PackratError) return false
      throw error
    }
  }

  private addStream(stream: Stream): void {
    const { parallel, bidirectional } = this.parameters!
    this.streams.push(stream)
    this.limit(STATE_MS)
    if (this.streams.length < parallel * (bidirectional ? 2 : 1)) return
    this.measurement = new Measurement(this.environment, this.parameters!, this.streams, {
      intervalMs: this.parameters!.serverOutput ? INTERVAL_MS : 0,
      isClient: false,
    })
    this.enter(TEST_START)
    this.enter(TEST_RUNNING)
    if (this.isOver) return // and so is what streams send from
    const { seconds, omitSeconds } = this.parameters!
    if (seconds > 0) this.limit((seconds + omitSeconds) * 1000 + GRACE_MS)
    else this.cancel()
    // The client says when time is up.
    this.measurement.start(idle)
  }

  private isSender(index: number): boolean {
    const { reverse, bidirectional, parallel } = this.parameters!
    return bidirectional ? index >= parallel : reverse
  }

  private endTest(): void {
    this.measurement!.stop()
    for (const stream of this.streams) if (stream instanceof TcpStream) stream.finish()
    this.enter(EXCHANGE_RESULTS)
  }

  private exchangeResults(): boolean {
    const json = this.channel.takeDocument(RESULTS_BYTES_MAX)
    if (json === undefined) return false
    if (json === OVERSIZE || readResults(json) === undefined) {
      this.fail(ERROR_RECEIVE_RESULTS)
      return false
    }
    const output = this.parameters!.serverOutput ? measurementText(this.measurement!) : undefined
    this.channel.sendDocument(writeResults(this.measurement!, this.environment.congestion, output))
    this.enter(DISPLAY_RESULTS)
    return true
  }

  /* --- datagrams --- */

  private readonly datagrams = {
    onDatagrams: (port: UdpPort): void => {
      const { udp, pool } = this.environment.host
      for (let chain = udp.take(port); chain !== NO_META; chain = udp.take(port)) {
        this.takeDatagram(port, chain)
        pool.releaseChain(chain)
      }
    },
    onUnreachable: idle,
    onClose: idle,
  }
  private readonly sender = new Address()

  private takeDatagram(port: UdpPort, chain: number): void {
    const { pool } = this.environment.host
    datagramAddress(pool, chain, this.sender)
    const stream = this.streamOf(this.sender, datagramPort(pool, chain))
    if (stream !== undefined && this.state === TEST_RUNNING) {
      if (!stream.isSender) stream.receive(chain)
      return
    }
    if (this.state !== CREATE_STREAMS || pool.dataLength(chain) !== UDP_HELLO.length) return
    const answer = chainOf(pool, UDP_ANSWER)
    if (answer === NO_META) return
    const known = stream ?? this.createUdpStream(port, datagramPort(pool, chain))
    this.environment.host.udp.send(port, known.options.remoteAddress, known.options.remotePort, answer)
    if (stream === undefined) this.addStream(known)
  }

  private streamOf({ word0, word1, word2, word3 }: Address, remotePort: number): UdpStream | undefined {
    for (const stream of this.streams as UdpStream[]) {
      const { options } = stream
      if (options.remotePort === remotePort && options.remoteAddress.equals(word0, word1, word2, word3)) return stream
    }
    return undefined
  }

  private createUdpStream(port: UdpPort, remotePort: number): UdpStream {
    const index = this.streams.length
    const { word0, word1, word2, word3 } = this.sender
    return new UdpStream(this.environment, this.filler!, {
      id: streamId(index),
      isSender: this.isSender(index),
      port,
      localAddress: this.channel.connection.localAddress,
      remoteAddress: new Address().set(word0, word1, word2, word3),
      remotePort,
      blockBytes: this.parameters!.blockBytes,
      wideNumbers: this.parameters!.wideNumbers,
    })
  }

  /* --- the end --- */

  /** A stream that was not to end yet. */
  private onStreamLost(): void {
    if (this.state === CREATE_STREAMS || this.state === TEST_RUNNING) this.fail(undefined)
  }

  /** @param error iperf's number for it; undefined if there is nobody to tell */
  private fail(error: number | undefined): void {
    if (error !== undefined) {
      this.channel.sendState(SERVER_ERROR)
      this.channel.sendError(error)
    }
    this.end(false)
  }

  /** Gives everything back, once. */
  private end(completed: boolean): void {
    if (this.isOver) return
    this.isOver = true
    this.cancel()
    this.measurement?.stop()
    for (const stream of this.streams) stream.close()
    if (this.udpPort !== undefined) this.environment.host.udp.unbind(this.udpPort)
    this.filler?.close()
    endConnection(this.environment, this.channel.connection)
    this.onEnd(completed)
  }
}
