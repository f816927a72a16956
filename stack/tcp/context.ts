/**
 * What all parts of TCP share: the pool, the tables, the work lists of the burst, the time of the burst. The parts
 * (input, output, recovery, ...) are functions over a context and a connection.
 *
 * Work lists: a connection with something to send stands once in the output list, one with something to tell its
 * application once in the news list. Both are worked off after all frames of the burst went in; so a burst costs one
 * callback and, while nothing is lost, one ACK a connection, however many segments it brought (acknowledge.ts).
 *
 * Invariants:
 *  1. A slot stands in a list at most once. Its connection may be gone, or be another one, when the list is worked off.
 *  2. nowMs, nowUs32 and nowUs are the same moment, and do not change within a burst.
 */
import type { Pool } from '../../storage/pool.ts'
import type { TcpCounters } from '../counters.ts'
import type { SumView } from '../host-options.ts'
import type { Ip } from '../ip.ts'
import type { PathMtus } from '../path-mtu.ts'
import type { Random } from '../random.ts'
import type { TimerWheel } from '../timer-wheel.ts'
import type { Transmitter } from '../transmitter.ts'
import type { CongestionControl } from './congestion/congestion.ts'
import type { Connection } from './connection.ts'
import { createCookieConnection } from './cookie-handshake.ts'
import { Delivery } from './delivery.ts'
import { Demux } from './demux.ts'
import { FastOpenCookies } from './fast-open.ts'
import { FastOpenCache } from './fast-open-cache.ts'
import type { InitialSequence } from './isn.ts'
import type { Listener } from './listen.ts'
import type { MtuProbing } from './path-mtu.ts'
import type { Recovery } from './recovery.ts'
import type { Scoreboard } from './scoreboard.ts'
import { SlotList, Slots } from './slots.ts'
import { SynCookies } from './syn-cookies.ts'
import { TimeWaitTable } from './time-wait.ts'
import type { Tuning } from './tuning.ts'

export interface TcpContextParts {
  pool: Pool
  transmitter: Transmitter
  ip: Ip
  timers: TimerWheel
  /** First timer of the connections, and the one of TIME-WAIT. */
  firstTimer: number
  timeWaitTimer: number
  counters: TcpCounters
  random: Random
  initialSequence: InitialSequence
  /** Key of what outsiders must not guess. */
  secret: Uint8Array
  congestion: CongestionControl
  recovery: Recovery
  scoreboard: Scoreboard
  sumView: SumView
  mtu: number
  /** The device takes frames of several segments. */
  segmentsTcp: boolean
  pathMtus: PathMtus
  mtuProbing: MtuProbing
  connectionsMax: number
  timeWaitsMax: number
  timeWaitMs: number
  reserveBuffers: number
  timestamps: boolean
  windowScaling: boolean
  sack: boolean
  tailProbes: boolean
  tuning: Tuning
  fastOpenKey: Uint8Array | undefined
}

export class TcpContext {
  readonly pool: Pool
  readonly transmitter: Transmitter
  readonly ip: Ip
  readonly timers: TimerWheel
  readonly firstTimer: number
  readonly counters: TcpCounters
  readonly random: Random
  readonly initialSequence: InitialSequence
  readonly synCookies: SynCookies
  readonly cookieConnection: Connection
  readonly fastOpen: FastOpenCookies
  readonly fastOpenCache = new FastOpenCache()
  readonly congestion: CongestionControl
  readonly recovery: Recovery
  readonly scoreboard: Scoreboard
  /** What the ACK that is being processed says. */
  readonly delivery = new Delivery()
  readonly sumView: SumView
  readonly mtu: number
  readonly segmentsTcp: boolean
  readonly pathMtus: PathMtus
  readonly mtuProbing: MtuProbing
  readonly connectionsMax: number
  readonly reserveBuffers: number
  /* What connections to come follow: Tcp.retune. */
  timestamps: boolean
  windowScaling: boolean
  sack: boolean
  readonly tailProbes: boolean
  tuning: Tuning

  readonly demux: Demux
  readonly timeWaits: TimeWaitTable
  readonly slots: Slots
  readonly connections: (Connection | undefined)[]
  readonly listeners = new Map<number, Listener>()

  nowUs = 0
  nowUs32 = 0
  nowMs = 0
  /** Arrival of the burst, ns since the epoch. */
  arrivalLow = 0
  arrivalHigh = 0

  readonly output: SlotList
  readonly news: SlotList
  /** Connections whose window the pool holds shut: they are told when it fills again. */
  readonly closedWindows: SlotList

  /** Connections that wait for their next segment's time, and when the first one's comes; Infinity: none waits (pacing.ts). */
  readonly paced: SlotList
  paceDeadlineUs = Number.POSITIVE_INFINITY

  /* Rate limits of the whole host. */
  challengeAcksLeft = 0
  challengeSinceMs = 0

  constructor(parts: TcpContextParts) {
    this.pool = parts.pool
    this.transmitter = parts.transmitter
    this.ip = parts.ip
    this.timers = parts.timers
    this.firstTimer = parts.firstTimer
    this.counters = parts.counters
    this.random = parts.random
    this.initialSequence = parts.initialSequence
    this.synCookies = new SynCookies(parts.secret)
    this.fastOpen = new FastOpenCookies(parts.secret, parts.fastOpenKey)
    this.congestion = parts.congestion
    this.recovery = parts.recovery
    this.scoreboard = parts.scoreboard
    this.sumView = parts.sumView
    this.mtu = parts.mtu
    this.segmentsTcp = parts.segmentsTcp
    this.pathMtus = parts.pathMtus
    this.mtuProbing = parts.mtuProbing
    this.connectionsMax = parts.connectionsMax
    this.reserveBuffers = parts.reserveBuffers
    this.timestamps = parts.timestamps
    this.windowScaling = parts.windowScaling
    this.sack = parts.sack
    this.tailProbes = parts.tailProbes
    this.tuning = parts.tuning
    this.demux = new Demux(parts.connectionsMax + parts.timeWaitsMax, parts.random.next())
    this.timeWaits = new TimeWaitTable(
      this.demux,
      parts.timers,
      parts.timeWaitTimer,
      parts.connectionsMax,
      parts.timeWaitsMax,
      parts.timeWaitMs,
    )
    this.slots = new Slots(parts.connectionsMax)
    this.connections = new Array(parts.connectionsMax).fill(undefined)
    this.output = new SlotList(parts.connectionsMax)
    this.news = new SlotList(parts.connectionsMax)
    this.closedWindows = new SlotList(parts.connectionsMax)
    this.paced = new SlotList(parts.connectionsMax)
    this.cookieConnection = createCookieConnection(this)
  }

  setNow(nowUs: number): void {
    this.nowUs = nowUs
    this.nowUs32 = nowUs | 0
    this.nowMs = Math.floor(nowUs / 1000) | 0
  }

  /** The connection has something to send before this burst ends. */
  queueOutput(c: Connection): void {
    this.output.add(c.slot)
  }

  /** The application of `c` has to be called at the end of the burst. */
  queueNews(c: Connection, news: number): void {
    c.news |= news
    this.news.add(c.slot)
  }
}
