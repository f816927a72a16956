/**
 * Runs a scenario against Linux's TCP: Packrat on a TAP, or on AF_XDP, in a private network namespace, in real time. The script stands
 * where it stands in a simulation, so the identical events happen; figures of time depend on the machine.
 *
 *   Packrat host ── script and trace ── impairments ── link ── kernel 10.77.0.1 ── node:net ── players
 *
 * Called by: run.ts. Calls: packrat-endpoint.ts, linux-peer.ts, linux-link.ts, script.ts, the daemon's loop.
 */
import type { Device } from '../../drivers/device.ts'
import { InterceptDevice } from '../../drivers/intercept.ts'
import { SystemClock, SystemWallClock } from '../../stack/clock.ts'
import { impairDevice } from '../impairment.ts'
import { Loop } from '../loop.ts'
import type { Scenario, TimedEvent } from './document.ts'
import { createKv, type KvHost } from './kv-host.ts'
import { type LinkKind, type LinuxLink, linkLacks, openLinuxLink, regionDirectory } from './linux-link.ts'
import { LinuxPeer } from './linux-peer.ts'
import type { Outcome } from './measurement.ts'
import { PackratEndpoint } from './packrat-endpoint.ts'
import { planConnection } from './plan.ts'
import { inPrivateNetwork } from './private-network.ts'
import { isActive, Script } from './script.ts'
import { Trace } from './trace.ts'

/** How long to poll on after the last frame: the script's delays are exact then. */
const BUSY_POLL_US = 1000
const LIMIT_US_MAX = 60e6
/** Time for the greeting beside three round trips. */
const GREETING_US = 100_000

/** Why there is no Linux peer here; undefined: there is one. */
export function linuxPeerLacks(kind: LinkKind): string | undefined {
  if (!inPrivateNetwork()) return 'no private network: unshare(1) is missing, or needs root or user namespaces'
  return linkLacks(kind)
}

export async function runAgainstLinux(scenario: Scenario, kind: LinkKind): Promise<Outcome> {
  const run = await LinuxRun.create(scenario, kind)
  try {
    return await run.finish()
  } finally {
    run.close()
  }
}

class LinuxRun {
  private readonly scenario: Scenario
  private readonly trace = new Trace()
  private readonly script: Script
  private readonly clock = new SystemClock()
  private readonly link: LinuxLink
  private readonly device: Device
  private readonly host: PackratEndpoint
  private readonly peer: LinuxPeer
  private readonly kv: KvHost | undefined
  private readonly loop: Loop
  private readonly unopened: Set<number>
  private readonly stops: readonly TimedEvent[]
  /** When the first connection is opened: the ends know each other by then. */
  private readonly openUs: number
  private readonly endUs: number
  private ended: (isTimedOut: boolean) => void = () => {}
  private failed: (error: unknown) => void = () => {}

  static async create(scenario: Scenario, kind: LinkKind): Promise<LinuxRun> {
    const run = new LinuxRun(scenario, kind, await createKv(scenario, regionDirectory(kind)))
    await run.peer.listen()
    return run
  }

  private constructor(scenario: Scenario, kind: LinkKind, kv: KvHost | undefined) {
    this.scenario = scenario
    this.kv = kv
    this.unopened = new Set(scenario.traffic.keys())
    this.stops = scenario.events.filter((event): event is TimedEvent => event.kind === 'stop-reading')
    this.script = new Script(scenario, this.trace, false)
    this.link = openLinuxLink(kind, scenario, kv)
    const { pool } = this.link
    this.device = new InterceptDevice(impairDevice(this.link.device, pool, scenario.link), pool, this.script)
    const nowUs = this.clock.nowUs()
    const plans = scenario.traffic.map((_, index) => planConnection(scenario, index))
    this.host = new PackratEndpoint({
      scenario,
      side: 'host',
      plans: plans.map(({ host }) => host),
      device: this.device,
      pool,
      wallClock: new SystemWallClock(),
      kv,
      nowUs,
    })
    this.peer = new LinuxPeer(
      scenario,
      plans.map(({ peer }) => peer),
      () => this.clock.nowUs(),
    )
    this.openUs = nowUs + 3 * scenario.roundTripUs + GREETING_US
    this.endUs = nowUs + Math.min(scenario.limitUs, LIMIT_US_MAX)
    this.loop = new Loop({
      host: { poll: (now) => this.turn(now), nextDeadlineUs: () => this.nextUs() },
      device: this.device,
      clock: this.clock,
      busyPollUs: BUSY_POLL_US,
      onIdle: () => false,
      onError: (error) => this.failed(error),
    })
  }

  async finish(): Promise<Outcome> {
    const { host, peer, scenario, trace } = this
    host.greet(this.clock.nowUs())
    const isTimedOut = await new Promise<boolean>((resolve, reject) => {
      this.ended = resolve
      this.failed = reject
      this.loop.start()
    })
    this.loop.stop()
    const nowUs = this.clock.nowUs()
    const outcome = {
      scenario,
      trace,
      hits: this.script.hits,
      host: host.host.counters.tcp,
      peer: undefined,
      hostEndings: host.endings,
      peerEndings: peer.endings,
      players: [...host.players, ...peer.players],
      startUs: trace.startUs ?? nowUs,
      isTimedOut,
    }
    host.host.close(nowUs)
    this.device.close()
    const { pool } = host.host
    return { ...outcome, leakedBuffers: pool.totalBuffers - pool.freeBuffers - pool.storedBuffers }
  }

  close(): void {
    this.loop.stop()
    this.peer.close()
    this.device.close()
    this.link.close()
    this.kv?.close()
  }

  private turn(nowUs: number): number {
    const { host, peer, trace, scenario } = this
    const atUs = trace.relative(nowUs)
    if (this.unopened.size === scenario.traffic.length && nowUs < this.openUs) return host.poll(nowUs)
    for (const index of this.unopened) {
      if (scenario.traffic[index]!.atUs > atUs) continue
      this.unopened.delete(index)
      host.open(index)
      peer.open(index)
    }
    this.applyStops(atUs, nowUs)
    const frames = host.poll(nowUs)
    host.play(nowUs)
    peer.play()
    host.sampleWindows(trace, nowUs)
    if (host.isOver && peer.isOver) this.ended(false)
    else if (nowUs > this.endUs) this.ended(true)
    return frames
  }

  private applyStops(atUs: number, nowUs: number): void {
    for (const side of ['host', 'peer'] as const) {
      const stops = this.stops.filter(({ from }) => (from ?? 'peer') === side)
      if (stops.length === 0) continue
      const isReading = !stops.some((stop) => isActive(stop, atUs))
      if (side === 'host') this.host.setReading(isReading, nowUs)
      else this.peer.setReading(isReading)
    }
    for (const stop of this.stops) if (isActive(stop, atUs)) this.script.hits[this.scenario.events.indexOf(stop)]!++
  }

  private nextUs(): number {
    const { host, peer, trace, scenario } = this
    const times = [host.host.nextDeadlineUs(), host.wakeUs, peer.wakeUs, this.endUs]
    const { startUs } = trace
    const nowUs = this.clock.nowUs()
    if (nowUs < this.openUs) times.push(this.openUs)
    if (startUs !== undefined) {
      for (const { fromUs, toUs } of this.stops)
        times.push(...[startUs + fromUs, startUs + toUs].filter((time) => time > nowUs))
      for (const index of this.unopened) times.push(startUs + scenario.traffic[index]!.atUs)
    }
    return Math.min(...times)
  }
}
