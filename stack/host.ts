/**
 * One host: a device, a pool, ARP, IPv4 with its fragments, ICMP, UDP and TCP, and the loop step that drives them.
 *
 *   poll(now)   device.receive ─► each frame in ─► onReceive … ─► burst hooks ─► TCP output ─► device.transmit
 *               ─► timers that are due ─► output again
 *   flush(now)  output and transmit only: after asynchronous commits, and for what was sent between bursts
 *
 * The program around it decides when to call: at once while poll returns frames, else when the device is readable or
 * nextDeadlineUs has come.
 *
 * Buffer accounting: when all connections are closed and no TIME-WAIT holds anything (it never does),
 * pool.freeBuffers + device.idleBuffers + what the application holds = pool.totalBuffers.
 *
 * Called by: tools (the daemon's loop), tests. Calls: everything below.
 */
import {
  D_BUFFER,
  D_LENGTH,
  D_OFFSET,
  D_SUM,
  DESCRIPTOR_WORDS,
  type Device,
  ReceiveBurst,
  RX_MORE,
  receivedFrameEnd,
} from '../drivers/device.ts'
import { sumBytes } from '../storage/checksum.ts'
import { PackratError } from '../storage/errors.ts'
import type { Pool } from '../storage/pool.ts'
import { formatIpv4, parseAddress, parseCidr } from './address.ts'
import { Arp } from './arp.ts'
import { Arrivals } from './arrivals.ts'
import { StackCounters } from './counters.ts'
import { Fragmentation } from './fragmentation.ts'
import { Fragments } from './fragments.ts'
import { FrameInput } from './frame-input.ts'
import type { HostOptions, SumBurst, SumView } from './host-options.ts'
import { Icmp } from './icmp.ts'
import { IcmpLimits } from './icmp-limits.ts'
import { Ip } from './ip.ts'
import { Ipv4 } from './ipv4.ts'
import { Ipv6Stack } from './ipv6-stack.ts'
import {
  CONNECTIONS_MAX,
  DAD_TRANSMITS,
  FRAGMENT_TIMEOUT_MS,
  IPV6_MTU_MIN,
  POOL_RESERVE_BUFFERS,
  TIME_WAIT_MS,
  TIME_WAITS_MAX,
} from './limits.ts'
import { PathMtus } from './path-mtu.ts'
import { ipv4Routes } from './routes.ts'
import { Cubic } from './tcp/congestion/cubic.ts'
import { Reno } from './tcp/congestion/reno.ts'
import { IsnGenerator } from './tcp/isn.ts'
import { LossRecovery } from './tcp/recovery.ts'
import { Scoreboard } from './tcp/scoreboard.ts'
import { Tcp } from './tcp/tcp.ts'
import { TIMERS_PER_CONNECTION } from './tcp/timer-arming.ts'
import { tuningOf } from './tcp/tuning.ts'
import { TimerWheel } from './timer-wheel.ts'
import { Transmitter } from './transmitter.ts'
import { Udp } from './udp.ts'
import { ETHERNET_HEADER_BYTES } from './wire/ethernet.ts'

/* Timers of the wheel. */
const TIMER_ARP = 0
const TIMER_TIME_WAIT = 1
const TIMER_FRAGMENTS = 2
const TIMER_PATH_MTU = 3
const TIMER_NEIGHBOURS = 4
const TIMER_DETECTION = 5
const TIMER_IPV6_FRAGMENTS = 6
const TIMER_CONNECTIONS = 7

/** Called once a burst between delivery and output: the store commits here. */
export type BurstHook = () => void

export class Host {
  readonly tcp: Tcp
  readonly udp: Udp
  readonly counters = new StackCounters()
  readonly device: Device
  readonly pool: Pool
  /** This host's address, without its prefix. */
  readonly address: string
  /** Its IPv6 address; undefined if it speaks IPv4 only. */
  readonly address6: string | undefined
  readonly sumView: SumView

  private readonly transmitter: Transmitter
  private readonly timers: TimerWheel
  private readonly arp: Arp
  private readonly ipv4: Ipv4
  private readonly icmp: Icmp
  private readonly pathMtus: PathMtus
  private readonly icmpLimits: IcmpLimits
  private readonly fragments: Fragments
  private readonly fragmentation: Fragmentation
  private readonly ip: Ip
  /** Undefined: the host speaks IPv4 only. */
  private readonly ipv6Stack: Ipv6Stack | undefined
  private readonly arrivals: Arrivals
  private readonly sumBurst: SumBurst | undefined
  private readonly burst = new ReceiveBurst()
  private readonly frames: FrameInput
  private readonly hooks: BurstHook[] = []
  private announced = false
  private starvedBefore = 0
  private nowMs = 0

  /** @param nowUs the time from which the host lives */
  constructor(options: HostOptions, nowUs: number) {
    const { device, pool } = options
    const tcp = options.tcp ?? {}
    const connectionsMax = tcp.connectionsMax ?? CONNECTIONS_MAX
    const { address, prefixLength } = parseCidr(options.address)
    const statics = options.routes ?? []
    const routes = ipv4Routes(options.address, options.gateway, statics)
    this.sumView = options.sumView ?? ((buffer, offset, length) => sumOfView(pool, buffer, offset, length))
    this.device = device
    this.pool = pool
    this.address = formatIpv4(address)
    this.arrivals = new Arrivals(options.wallClock, this.counters.ethernet)
    this.sumBurst = device.capabilities.receiveSum
      ? undefined
      : (options.sumBurst ?? ((descriptors, count) => sumOfBurst(pool, descriptors, count)))
    this.transmitter = new Transmitter(device, pool)
    const timerCount = TIMER_CONNECTIONS + connectionsMax * TIMERS_PER_CONNECTION
    this.timers = new TimerWheel(timerCount, Math.floor(nowUs / 1000) | 0, (timer) => this.onTimer(timer))
    this.arp = new Arp(device.mac, address, pool, this.transmitter, this.timers, TIMER_ARP, this.counters.arp)
    this.ipv4 = new Ipv4(address, prefixLength, routes, this.arp, this.transmitter, this.counters.ipv4)
    this.ip = new Ip(this.ipv4)
    this.fragmentation = new Fragmentation(pool, this.ip, this.transmitter, options.random)
    const mtu = Math.min(options.mtu ?? device.capabilities.mtu, device.capabilities.mtu)
    const reserveBuffers = tcp.reserveBuffers ?? POOL_RESERVE_BUFFERS
    this.pathMtus = new PathMtus(mtu, this.timers, TIMER_PATH_MTU, options.random.next())
    this.icmpLimits = new IcmpLimits(Math.floor(nowUs / 1000) | 0, options.random.next())
    this.ipv6Stack =
      options.address6 === undefined
        ? undefined
        : new Ipv6Stack({
            address: options.address6,
            gateway: options.gateway6,
            routes: statics,
            mac: device.mac,
            macHigh: this.arp.macHigh,
            macLow: this.arp.macLow,
            pool,
            transmitter: this.transmitter,
            timers: this.timers,
            neighbourTimer: TIMER_NEIGHBOURS,
            detectionTimer: TIMER_DETECTION,
            detectionTransmits: options.dadTransmits ?? DAD_TRANSMITS,
            random: options.random,
            counters: this.counters,
            notice: options.onAddress ?? (() => {}),
            transports: this,
            limits: this.icmpLimits,
            fragmentation: this.fragmentation,
            pathMtus: this.pathMtus,
            fragmentTimer: TIMER_IPV6_FRAGMENTS,
            reserveBuffers,
          })
    this.address6 = this.ipv6Stack?.address
    if (this.ipv6Stack === undefined && statics.some((route) => !route.network.isIpv4))
      throw new PackratError(
        'BAD_ROUTE',
        'there is a route of IPv6, but no address: give the host one, or no such route',
      )
    if (this.ipv6Stack !== undefined) this.ip.attach(this.ipv6Stack.ipv6)
    if (this.ipv6Stack !== undefined && mtu < IPV6_MTU_MIN)
      throw new PackratError('BAD_MTU', `an MTU of ${mtu} is too small for IPv6: it needs ${IPV6_MTU_MIN} or more`)
    const hystart = tcp.hystart ?? true
    const congestion = tcp.congestion === 'reno' ? new Reno(hystart) : new Cubic(hystart)
    const scoreboard = new Scoreboard()
    this.tcp = new Tcp({
      pool,
      transmitter: this.transmitter,
      ip: this.ip,
      timers: this.timers,
      firstTimer: TIMER_CONNECTIONS,
      timeWaitTimer: TIMER_TIME_WAIT,
      counters: this.counters.tcp,
      random: options.random,
      secret: options.secret,
      initialSequence: tcp.initialSequence ?? new IsnGenerator(options.secret),
      congestion,
      recovery: new LossRecovery(scoreboard, congestion, this.counters.tcp, {
        rack: tcp.rack ?? true,
        frto: tcp.frto ?? true,
      }),
      scoreboard,
      sumView: this.sumView,
      mtu,
      segmentsTcp: device.capabilities.segmentsTcp === true,
      pathMtus: this.pathMtus,
      mtuProbing: tcp.mtuProbing ?? 'on-black-hole',
      connectionsMax,
      timeWaitsMax: tcp.timeWaitsMax ?? TIME_WAITS_MAX,
      timeWaitMs: tcp.timeWaitMs ?? TIME_WAIT_MS,
      reserveBuffers,
      timestamps: tcp.timestamps ?? true,
      windowScaling: tcp.windowScaling ?? true,
      sack: tcp.sack ?? true,
      tailProbes: tcp.tailProbes ?? true,
      tuning: tuningOf(tcp),
      fastOpenKey: tcp.fastOpenKey,
    })
    this.udp = new Udp({
      pool,
      transmitter: this.transmitter,
      ip: this.ip,
      fragmentation: this.fragmentation,
      counters: this.counters.udp,
      random: options.random,
      pathMtus: this.pathMtus,
      reserveBuffers,
    })
    this.icmp = new Icmp(
      pool,
      this.ipv4,
      this.fragmentation,
      this.pathMtus,
      this.icmpLimits,
      this.transmitter,
      this.tcp,
      this.udp,
      this.counters.icmp,
    )
    this.fragments = new Fragments({
      pool,
      timers: this.timers,
      timer: TIMER_FRAGMENTS,
      counters: this.counters.fragments,
      errors: this.icmp,
      timeoutMs: FRAGMENT_TIMEOUT_MS,
      reserveBuffers,
      seed: options.random.next(),
    })
    const { arp, ipv4, icmp, udp, fragments, ipv6Stack, counters } = this
    this.frames = new FrameInput({ pool, counters, arp, ipv4, fragments, icmp, tcp: this.tcp, udp, ipv6Stack })
    this.setNow(nowUs)
  }

  /** Adds a hook that runs in every poll that brought frames or callbacks, in the order of adding. */
  addBurstHook(hook: BurstHook): void {
    this.hooks.push(hook)
  }

  /** Whether packets for an address have somewhere to go. */
  hasRoute(address: string): boolean {
    return this.ip.hasRoute(parseAddress(address))
  }

  /** One turn of the loop. @returns number of frames received */
  poll(nowUs: number): number {
    this.setNow(nowUs)
    if (!this.announced) {
      this.announced = true
      this.arp.announce()
      this.ipv6Stack?.start()
    }
    const frames = this.device.receive(this.burst)
    if (frames > 0) this.input()
    else if (this.device.counters.receiveStarved !== this.starvedBefore) this.relieve()
    this.finishTurn(frames > 0)
    this.timers.advance(this.nowMs)
    this.finishTurn(false)
    return frames
  }

  /** Sends what applications have queued since the last turn. */
  flush(nowUs: number): void {
    this.setNow(nowUs)
    this.finishTurn(false)
  }

  /** When poll has to be called even if no frame comes: microseconds, Infinity for never. May be early. */
  nextDeadlineUs(): number {
    const left = this.timers.msUntilNext(this.nowMs)
    const timersUs = left < 0 ? Number.POSITIVE_INFINITY : (Math.floor(this.nowUs / 1000) + left) * 1000
    const stackUs = Math.min(timersUs, this.tcp.paceDeadlineUs)
    const { timing } = this.device
    return timing === undefined ? stackUs : Math.min(stackUs, timing.nextDeadlineUs())
  }

  /** Timers that are armed; for tests. */
  get armedTimers(): number {
    return this.timers.armedTimers
  }

  /** Resets all connections, closes all UDP ports and gives every buffer back. The device stays open. */
  close(nowUs: number): void {
    this.setNow(nowUs)
    this.tcp.close()
    this.udp.close()
    this.arp.close()
    this.fragments.release()
    this.pathMtus.clear()
    this.ipv6Stack?.close()
    this.finishTurn(false)
  }

  private nowUs = 0

  private setNow(nowUs: number): void {
    this.nowUs = nowUs
    this.nowMs = Math.floor(nowUs / 1000) | 0
    this.device.timing?.setNow(nowUs)
    this.tcp.setNow(nowUs)
    this.arp.setNow(this.nowMs)
    this.icmpLimits.setNow(this.nowMs)
    this.fragments.setNow(this.nowMs)
    this.pathMtus.setNow(this.nowMs)
    this.fragmentation.setNow(this.nowMs)
    this.ipv6Stack?.setNow(this.nowMs)
  }

  /** Callbacks, hooks, output, transmission. */
  private finishTurn(hadFrames: boolean): void {
    const hadNews = this.tcp.hasNews || this.udp.hasNews
    if (this.udp.hasNews) this.udp.deliver()
    if (this.tcp.hasNews) this.tcp.deliver()
    if (hadFrames || hadNews) for (let index = 0; index < this.hooks.length; index++) this.hooks[index]!()
    this.tcp.output()
    this.transmitter.flush()
  }

  private input(): void {
    const { arrivals, burst, frames, pool } = this
    const { descriptors } = burst
    this.sumBurst?.(descriptors, burst.count)
    arrivals.readClock()
    this.setArrival()
    const isStamped = this.device.capabilities.receiveTime === true
    const end = burst.count * DESCRIPTOR_WORDS
    for (let at = 0, frame = 0; at < end; frame++) {
      if (isStamped) {
        arrivals.take(burst, frame)
        this.setArrival()
      }
      const sum = descriptors[at + D_SUM]!
      if ((sum & RX_MORE) !== 0) {
        const next = receivedFrameEnd(descriptors, at)
        frames.inputLong(descriptors, at, next)
        at = next
        continue
      }
      const buffer = descriptors[at + D_BUFFER]!
      if (!frames.input(buffer, descriptors[at + D_OFFSET]!, descriptors[at + D_LENGTH]!, sum))
        pool.releaseBuffer(buffer)
      at += DESCRIPTOR_WORDS
    }
  }

  private setArrival(): void {
    this.tcp.setArrival(this.arrivals.low, this.arrivals.high)
    this.udp.setArrival(this.arrivals.low, this.arrivals.high)
  }

  /** The device starves: what can be had again from peers is given up. */
  private relieve(): void {
    this.starvedBefore = this.device.counters.receiveStarved
    this.tcp.releasePressure()
    this.fragments.release()
    this.ipv6Stack?.relieve()
  }

  private onTimer(timer: number): void {
    if (timer >= TIMER_CONNECTIONS) this.tcp.onTimer(timer - TIMER_CONNECTIONS)
    else if (timer === TIMER_ARP) this.arp.onTimer()
    else if (timer === TIMER_FRAGMENTS) this.fragments.onTimer()
    else if (timer === TIMER_PATH_MTU) this.pathMtus.onTimer()
    else if (timer === TIMER_TIME_WAIT) this.tcp.onTimeWaitTimer()
    else this.ipv6Stack?.onTimer(timer)
  }
}

function sumOfView(pool: Pool, buffer: number, offset: number, length: number): number {
  return sumBytes(pool.bufferView(buffer), pool.bufferStart(buffer) + offset, length)
}

function sumOfBurst(pool: Pool, descriptors: Int32Array, count: number): void {
  let headerBytes = ETHERNET_HEADER_BYTES
  for (let at = 0; at < count * DESCRIPTOR_WORDS; at += DESCRIPTOR_WORDS) {
    const buffer = descriptors[at + D_BUFFER]!
    const offset = descriptors[at + D_OFFSET]! + headerBytes
    const more = descriptors[at + D_SUM]! & RX_MORE
    descriptors[at + D_SUM] = sumOfView(pool, buffer, offset, descriptors[at + D_LENGTH]! - headerBytes) | more
    headerBytes = more === 0 ? ETHERNET_HEADER_BYTES : 0
  }
}
