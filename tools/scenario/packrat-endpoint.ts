/**
 * One Packrat host that plays its side of a scenario: the stack, the players on its in-place sockets, and the real
 * key-value service where the scenario wants PUTs or GETs.
 *
 * Called by: simulation.ts (both ends), linux-run.ts (the host's end). Calls: player.ts, the stack, the service.
 */
import type { Device } from '../../drivers/device.ts'
import { parseAddress } from '../../stack/address.ts'
import type { WallClock } from '../../stack/clock.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { sumBytes } from '../../storage/checksum.ts'
import { BUFFER_BYTES, NO_BUFFER, NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { ENDINGS, type HostSettings, type IpVersion, type Scenario, type Side } from './document.ts'
import type { KvHost } from './kv-host.ts'
import type { Plan } from './plan.ts'
import { Player, type Stream } from './player.ts'
import { FIRST_PORT } from './script.ts'
import type { Trace } from './trace.ts'

/** Of each end, by version of IP. */
const ADDRESSES: Readonly<Record<Side, Readonly<Record<IpVersion, string>>>> = {
  host: { 4: '10.77.0.2', 6: 'fd77::2' },
  peer: { 4: '10.77.0.1', 6: 'fd77::1' },
}
const PREFIX_LENGTHS: Readonly<Record<IpVersion, number>> = { 4: 24, 6: 64 }

/** The address that an end of a scenario has. */
export function addressOf(side: Side, ip: IpVersion): string {
  return ADDRESSES[side][ip]
}

/** The same with its prefix, `10.77.0.1/24`. */
export function addressWithPrefix(side: Side, ip: IpVersion): string {
  return `${addressOf(side, ip)}/${PREFIX_LENGTHS[ip]}`
}

const CONNECTIONS_MAX = 256
const DISCARD_PORT = 9
/** Buffers that stay free of payload: headers and ACKs need some. */
const RESERVE_BUFFERS = 64

export interface EndpointOptions {
  readonly side: Side
  readonly scenario: Scenario
  /** One a connection; undefined where the service plays. */
  readonly plans: readonly (Plan | undefined)[]
  readonly device: Device
  readonly pool: Pool
  readonly wallClock: WallClock
  /** Only where the scenario needs the service. */
  readonly kv: KvHost | undefined
  readonly nowUs: number
}

export class PackratEndpoint {
  readonly host: Host
  readonly players: (Player | undefined)[]
  /** Of each traffic; undefined before it is open and after it was closed. */
  readonly connections: (Connection | undefined)[]
  /** Of each traffic, a word of ENDINGS; undefined before. */
  readonly endings: (string | undefined)[]
  private readonly side: Side
  private readonly scenario: Scenario
  private readonly settings: HostSettings
  private readonly applications: readonly PlayedApplication[]
  private isReading = true

  constructor(options: EndpointOptions) {
    const { side, scenario, plans, device, pool, wallClock, kv, nowUs } = options
    this.side = side
    this.scenario = scenario
    this.settings = scenario[side]
    const number = side === 'host' ? 1 : 2
    this.host = new Host(
      {
        device,
        pool,
        address: addressWithPrefix(side, 4),
        ...(scenario.ip === 6 && { address6: addressWithPrefix(side, 6), dadTransmits: 0 }),
        mtu: this.settings.mtu,
        random: new SeededRandom(scenario.seed * 2 + number),
        secret: new Uint8Array(16).fill(number),
        wallClock,
        tcp: {
          connectionsMax: CONNECTIONS_MAX,
          timeWaitsMax: CONNECTIONS_MAX,
          reserveBuffers: RESERVE_BUFFERS,
          ...this.settings.tcp,
        },
      },
      nowUs,
    )
    this.players = plans.map((plan) => plan && new Player(plan))
    this.connections = plans.map(() => undefined)
    this.endings = plans.map(() => undefined)
    const service = kv?.attach(this.host, wallClock)
    this.applications = plans.map(
      (plan, index) => new PlayedApplication(this, index, plan === undefined ? service : undefined),
    )
    scenario.traffic.forEach((traffic, index) => {
      if (traffic.opens === side) return
      this.host.tcp.listen(FIRST_PORT + index, this.applications[index]!, this.settings.connection)
    })
  }

  /**
   * Sends a datagram to the other end's discard port (RFC 863), so that the ends know each other's link addresses before
   * the run begins: otherwise the SYN's round trip would be longer than any other.
   */
  greet(nowUs: number): void {
    const { udp, pool } = this.host
    const buffer = pool.allocateBuffer()
    const port = udp.bind(0, { onDatagrams: () => {}, onUnreachable: () => {}, onClose: () => {} })
    udp.send(port, parseAddress(this.otherAddress), DISCARD_PORT, pool.createView(buffer, 0, 0, 0))
    this.host.flush(nowUs)
    udp.unbind(port)
  }

  /** Opens connection `index`, if it is this side's to open. */
  open(index: number): void {
    if (this.scenario.traffic[index]!.opens !== this.side) return
    this.host.tcp.connect(this.otherAddress, FIRST_PORT + index, this.applications[index]!, this.settings.connection)
  }

  private get otherAddress(): string {
    return addressOf(this.side === 'host' ? 'peer' : 'host', this.scenario.ip)
  }

  /** Takes what arrived, or stops to. */
  setReading(isReading: boolean, nowUs: number): void {
    if (isReading === this.isReading) return
    this.isReading = isReading
    this.nowUs = nowUs
    if (isReading) for (const [index, c] of this.connections.entries()) if (c !== undefined) this.received(index, c)
  }

  /** Lets the player or the service take what is there, unless the scenario has them leave it. */
  received(index: number, c: Connection): void {
    if (this.isReading) this.applications[index]!.read(c)
  }

  /** Lets every player go on, and sends what they did. */
  play(nowUs: number): void {
    this.nowUs = nowUs
    let hasPlayed = false
    for (const player of this.players) if (player?.play(nowUs)) hasPlayed = true
    if (hasPlayed) this.host.flush(nowUs)
  }

  get wakeUs(): number {
    return Math.min(...this.players.map((player) => player?.wakeUs ?? Number.POSITIVE_INFINITY))
  }

  get isOver(): boolean {
    return this.endings.every((ending) => ending !== undefined)
  }

  /** One turn of the stack. @returns number of frames received */
  poll(nowUs: number): number {
    this.nowUs = nowUs
    return this.host.poll(nowUs)
  }

  sampleWindows(trace: Trace, nowUs: number): void {
    for (const [index, c] of this.connections.entries()) {
      if (c !== undefined && c.sendMss > 0)
        trace.sampleWindow(nowUs, index + 1, c.congestionWindow, c.slowStartThreshold, c.sendMss)
    }
  }

  /** Time of the turn, for the players' callbacks. */
  private nowUs = 0

  opened(index: number, c: Connection): void {
    this.connections[index] = c
    this.players[index]?.onOpen(new ConnectionStream(c, this.host.pool))
  }

  read(index: number, c: Connection): void {
    const player = this.players[index]
    if (player === undefined) return
    const { pool } = this.host
    for (let meta = c.takeReceived(); meta !== NO_META; meta = pool.release(meta)) {
      const start = pool.dataStartOf(meta)
      player.onBytes(pool.dataBytes(meta).subarray(start, start + pool.dataLength(meta)), this.nowUs)
    }
    if (c.receiveFinished !== 0) player.onPeerFinished()
  }

  closed(index: number, reason: number): void {
    this.connections[index] = undefined
    this.endings[index] = ENDINGS[reason]!
    this.players[index]?.onClose()
  }
}

/** From the stack's callbacks to the player of one connection, or to the service that plays there. */
class PlayedApplication implements Application {
  private readonly endpoint: PackratEndpoint
  private readonly index: number
  private readonly service: Application | undefined

  constructor(endpoint: PackratEndpoint, index: number, service: Application | undefined) {
    this.endpoint = endpoint
    this.index = index
    this.service = service
  }

  onAccept(c: Connection): void {
    this.endpoint.opened(this.index, c)
    this.service?.onAccept(c)
  }

  onReceive(c: Connection): void {
    this.endpoint.received(this.index, c)
  }

  read(c: Connection): void {
    this.endpoint.read(this.index, c)
    this.service?.onReceive(c)
  }

  onSendSpace(c: Connection): void {
    this.service?.onSendSpace(c)
  }

  onClose(c: Connection, reason: number): void {
    this.endpoint.closed(this.index, reason)
    this.service?.onClose(c, reason)
  }
}

class ConnectionStream implements Stream {
  private readonly connection: Connection
  private readonly pool: Pool

  constructor(connection: Connection, pool: Pool) {
    this.connection = connection
    this.pool = pool
  }

  /** Copies into buffers of the pool, one view each. */
  write(bytes: Uint8Array): number {
    const { connection, pool } = this
    const length = Math.min(bytes.length, connection.sendSpace)
    let taken = 0
    while (taken < length) {
      const part = bytes.subarray(taken, Math.min(taken + BUFFER_BYTES, length))
      const buffer = pool.freeBuffers > RESERVE_BUFFERS ? pool.allocateBuffer() : NO_BUFFER
      if (buffer === NO_BUFFER) break
      const start = pool.bufferStart(buffer)
      pool.bufferBytes(buffer).set(part, start)
      const meta = pool.createView(buffer, 0, part.length, sumBytes(pool.bufferView(buffer), start, part.length))
      if (meta === NO_META) {
        pool.releaseBuffer(buffer)
        break
      }
      connection.send(meta)
      taken += part.length
    }
    return taken
  }

  shutdown(): void {
    this.connection.shutdown()
  }

  abort(): void {
    this.connection.abort()
  }
}
