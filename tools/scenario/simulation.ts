/**
 * Runs a scenario in virtual time: two Packrat hosts over a simulated link. Time hops from event to event, so that a
 * run of minutes takes milliseconds, and depends on nothing but the file.
 *
 *   host ── script and trace ── link (impairments) ── observer ── peer
 *
 * Called by: run.ts. Calls: packrat-endpoint.ts, script.ts, drivers/sim-link.ts.
 */
import type { PathImpairment } from '../../drivers/impairment-spec.ts'
import { InterceptDevice, type Interceptor } from '../../drivers/intercept.ts'
import { SimulatedLink } from '../../drivers/sim-link.ts'
import type { WallClock } from '../../stack/clock.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { Scenario, TimedEvent } from './document.ts'
import { decodeFrame } from './frame.ts'
import { createKv, type KvHost } from './kv-host.ts'
import type { Outcome } from './measurement.ts'
import { PackratEndpoint } from './packrat-endpoint.ts'
import { planConnection } from './plan.ts'
import { createPool } from './pools.ts'
import { isActive, Script } from './script.ts'
import { Trace } from './trace.ts'

/** Far from 0, where a clock that just began would hide mistakes. */
const START_US = 1_000_000
/** Time for the greeting beside three round trips: jitter, and a slow link. */
const GREETING_US = 100_000
/** Turns at one instant of virtual time; more is a loop. */
const TURNS_AT_ONCE_MAX = 10_000

/** Runs the scenario to its end, or to its limit. */
export async function simulate(scenario: Scenario): Promise<Outcome> {
  const simulation = new Simulation(scenario, await createKv(scenario))
  try {
    return simulation.run()
  } finally {
    simulation.close()
  }
}

class Simulation {
  private readonly scenario: Scenario
  private readonly trace = new Trace()
  private readonly script: Script
  private readonly link: SimulatedLink
  private readonly kv: KvHost | undefined
  private readonly host: PackratEndpoint
  private readonly peer: PackratEndpoint
  private readonly devices: readonly InterceptDevice[]
  private readonly stops: readonly TimedEvent[]
  private readonly wallClock = new VirtualWallClock()
  private nowUs = START_US
  /** When the first connection is opened: the ends know each other by then. */
  private readonly openUs: number
  private readonly unopened: Set<number>

  constructor(scenario: Scenario, kv: KvHost | undefined) {
    this.scenario = scenario
    this.kv = kv
    this.openUs = START_US + 3 * scenario.roundTripUs + GREETING_US
    this.unopened = new Set(scenario.traffic.keys())
    this.script = new Script(scenario, this.trace, true)
    const poolA = kv?.store.pool ?? createPool(scenario.host.buffers)
    const poolB = createPool(scenario.peer.buffers)
    this.link = new SimulatedLink({
      poolA,
      poolB,
      impairment: scenario.link,
      createRandom: (seed) => {
        const random = new SeededRandom(seed)
        return () => random.next()
      },
      mtu: Math.max(scenario.host.mtu, scenario.peer.mtu),
    })
    const hostDevice = new InterceptDevice(this.link.a, poolA, this.script)
    const peerDevice = new InterceptDevice(this.link.b, poolB, new Observer(this.trace, scenario.link.tx))
    this.devices = [hostDevice, peerDevice]
    const plans = scenario.traffic.map((_, index) => planConnection(scenario, index))
    const common = { scenario, wallClock: this.wallClock, nowUs: this.nowUs }
    const hostPlans = plans.map(({ host }) => host)
    const peerPlans = plans.map(({ peer }) => peer)
    this.host = new PackratEndpoint({ ...common, side: 'host', plans: hostPlans, device: hostDevice, pool: poolA, kv })
    this.peer = new PackratEndpoint({
      ...common,
      side: 'peer',
      plans: peerPlans,
      device: peerDevice,
      pool: poolB,
      kv: undefined,
    })
    this.stops = scenario.events.filter((event): event is TimedEvent => event.kind === 'stop-reading')
  }

  run(): Outcome {
    const { host, peer, scenario } = this
    host.greet(this.nowUs)
    const endUs = this.openUs + scenario.limitUs
    let isTimedOut = false
    for (;;) {
      this.turn()
      if (host.isOver && peer.isOver) break
      const nextUs = this.nextUs()
      if (nextUs > endUs) {
        isTimedOut = true
        break
      }
      this.nowUs = Math.ceil(nextUs) // a rate makes fractions of microseconds
    }
    this.trace.endArrivals()
    const outcome = {
      scenario,
      trace: this.trace,
      hits: this.script.hits,
      host: host.host.counters.tcp,
      peer: peer.host.counters.tcp,
      hostEndings: host.endings,
      peerEndings: peer.endings,
      players: [...host.players, ...peer.players],
      startUs: this.trace.startUs ?? this.nowUs,
      isTimedOut,
    }
    return { ...outcome, leakedBuffers: this.leakedBuffers() }
  }

  close(): void {
    this.closeLink()
    this.kv?.close()
  }

  /** Everything that happens at this instant. */
  private turn(): void {
    const { host, peer, link, nowUs } = this
    this.wallClock.nowUs = nowUs
    this.open()
    this.applyStops()
    for (let turn = 0; turn === 0 || link.pendingA > 0 || link.pendingB > 0; turn++) {
      if (turn > TURNS_AT_ONCE_MAX) throw new Error(`scenario ${this.scenario.name}: time stands still`)
      host.poll(nowUs)
      host.play(nowUs)
      peer.poll(nowUs)
      peer.play(nowUs)
    }
    host.sampleWindows(this.trace, nowUs)
  }

  /** Opens the connections whose time has come; the first one starts the clock. */
  private open(): void {
    const atUs = this.trace.relative(this.nowUs)
    if (this.nowUs < this.openUs) return
    for (const index of this.unopened) {
      if (this.scenario.traffic[index]!.atUs > atUs) continue
      this.unopened.delete(index)
      this.host.open(index)
      this.peer.open(index)
    }
    this.host.host.flush(this.nowUs)
    this.peer.host.flush(this.nowUs)
  }

  private applyStops(): void {
    const atUs = this.trace.relative(this.nowUs)
    for (const [side, endpoint] of [
      ['host', this.host],
      ['peer', this.peer],
    ] as const) {
      const stops = this.stops.filter(({ from }) => (from ?? 'peer') === side)
      if (stops.length > 0) endpoint.setReading(!stops.some((stop) => isActive(stop, atUs)), this.nowUs)
    }
    for (const stop of this.stops) if (isActive(stop, atUs)) this.script.hits[this.scenario.events.indexOf(stop)]!++
  }

  private nextUs(): number {
    const { host, peer, trace, scenario } = this
    const times = [this.openUs, host.host.nextDeadlineUs(), peer.host.nextDeadlineUs(), host.wakeUs, peer.wakeUs]
    const { startUs } = trace
    if (startUs !== undefined) {
      for (const { fromUs, toUs } of this.stops) times.push(startUs + fromUs, startUs + toUs)
      for (const index of this.unopened) times.push(startUs + scenario.traffic[index]!.atUs)
    }
    return Math.min(...times.filter((time) => time > this.nowUs))
  }

  /** Closes both hosts, and counts the buffers that nobody gave back. */
  private leakedBuffers(): number {
    const { host, peer } = this
    host.host.close(this.nowUs)
    peer.host.close(this.nowUs)
    this.closeLink()
    let leaked = 0
    for (const { pool } of [host.host, peer.host]) leaked += pool.totalBuffers - pool.freeBuffers - pool.storedBuffers
    return leaked
  }

  private closeLink(): void {
    for (const device of this.devices) device.close()
    this.link.close()
  }
}

/** Stands in front of the peer, and sees which of the host's segments came through. */
class Observer implements Interceptor {
  private readonly trace: Trace
  private readonly transitUs: number

  constructor(trace: Trace, { delayUs, jitterUs }: PathImpairment) {
    this.trace = trace
    this.transitUs = delayUs - jitterUs
  }

  onFrame(frame: Uint8Array, isOutgoing: boolean, nowUs: number): void {
    const tcp = isOutgoing ? undefined : decodeFrame(frame)
    if (tcp !== undefined) this.trace.noteArrival(tcp, nowUs, this.transitUs)
  }
}

class VirtualWallClock implements WallClock {
  low = 0
  high = 0
  nowUs = 0

  read(): void {
    const ns = BigInt(this.nowUs) * 1000n
    this.low = Number(BigInt.asIntN(32, ns))
    this.high = Number(BigInt.asIntN(32, ns >> 32n))
  }
}
