/**
 * `packrat serve`: the daemon. Puts the parts together in the order in which they can fail without leaving anything
 * behind: region, store, device, host, service, admin address.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { CaptureDevice } from '../drivers/capture.ts'
import { CaptureFile } from '../drivers/capture-file.ts'
import { SystemClock, SystemWallClock } from '../stack/clock.ts'
import { Host } from '../stack/host.ts'
import { SeededRandom } from '../stack/random.ts'
import { PackratError } from '../storage/errors.ts'
import type { Region } from '../storage/region.ts'
import { Store } from '../storage/store.ts'
import { openAdmin } from './admin.ts'
import { EXIT_CANNOT, EXIT_OK, runCommand } from './arguments.ts'
import { reportCorrupt, reportRecovery } from './damage.ts'
import { impairDevice } from './impairment.ts'
import { type Environment, systemEnvironment } from './iperf3/environment.ts'
import { IperfServer } from './iperf3/server.ts'
import { AddressDetection } from './ipv6-flags.ts'
import { KvService } from './kv/service.ts'
import { Loop } from './loop.ts'
import { Packing } from './packing.ts'
import { Prefaulting } from './prefaulting.ts'
import { parseScrub, Scrubbing } from './scrubbing.ts'
import { checkFlags, command, SEED_MAX, type ServeFlags } from './serve-flags.ts'
import { ServedRegion } from './serve-region.ts'
import { readStats, type StatsSources } from './stats.ts'
import { BaselineStore } from './stores/baseline-store.ts'
import { openBaseline } from './stores/open-baseline.ts'

const STOP_SIGNALS = ['SIGTERM', 'SIGINT'] as const
/** Buffers that windows never promise. Less than what a full store leaves beside the device's own, or all windows would close then. */
const WINDOW_RESERVE_BUFFERS = 64

export const serve = (argv: string[]): number | Promise<number> =>
  runCommand(command, argv, (flags) => new Daemon(flags).run())

class Daemon {
  private readonly flags: ServeFlags
  private readonly closers: (() => void | Promise<void>)[] = []
  private finish: (status: number) => void = () => {}
  /** What ended the daemon has been said. */
  private hasFailed = false

  constructor(flags: ServeFlags) {
    this.flags = flags
  }

  /** Serves until a signal or a fatal error; resolves with the exit status. */
  async run(): Promise<number> {
    const ended = new Promise<number>((resolve) => {
      this.finish = resolve
    })
    const stop = (): void => this.finish(EXIT_OK)
    for (const signal of STOP_SIGNALS) process.on(signal, stop)
    try {
      await this.start()
      return await ended
    } finally {
      for (const signal of STOP_SIGNALS) process.off(signal, stop)
      await this.close()
    }
  }

  /** Closes also what comes behind something that cannot be closed in order: the region and the capture behind a link that is gone. */
  private async close(): Promise<void> {
    const failures: unknown[] = []
    for (const close of this.closers.reverse()) {
      try {
        await close()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0 && !this.hasFailed) throw failures[0]
  }

  private async start(): Promise<void> {
    const { flags } = this
    const seed = flags.seed === 0 ? randomInt(1, SEED_MAX) : flags.seed
    const random = new SeededRandom(seed)
    const scrubPassMs = parseScrub(flags.scrub)
    const openLink = checkFlags(flags)

    const served = new ServedRegion(
      flags.pm,
      { durability: flags.durability, lineLatencyNs: flags['pm-latency-ns'] },
      { bytes: flags['pm-size'], linesPerBuffer: Number(flags['pm-lines']) },
    )
    const { region } = served
    let cleanVersion: number | undefined
    this.closers.push(() => served.close(cleanVersion))
    const store = new Store(region, { integrity: flags.integrity, random: () => random.next() })
    reportRecovery(store)
    region.markOpen()
    this.closers.push(() => {
      if (store.poisoned === 0 && store.isIdle) cleanVersion = store.nextVersion
    })

    const baseline = await this.openBaseline(store, () => random.next())
    const capture = this.openCapture()
    const link = openLink(region, store)
    const impaired = flags.impair === undefined ? undefined : impairDevice(link.device, store.pool, flags.impair)
    // Around the impairment: the capture shows what the stack sees.
    const wire = impaired ?? link.device
    const device = capture === undefined ? wire : new CaptureDevice(wire, store.pool, capture)
    store.idleBuffers = () => device.idleBuffers
    this.closers.push(() => device.close())

    const clock = new SystemClock()
    const wallClock = new SystemWallClock()
    const sumView = (buffer: number, offset: number, length: number): number => region.sumView(buffer, offset, length)
    const detection = new AddressDetection(flags.address6)
    const hostOptions = {
      device,
      pool: store.pool,
      address: flags.address,
      ...(flags.gateway !== undefined && { gateway: flags.gateway }),
      routes: flags.route,
      ...(flags.address6 !== undefined && { address6: flags.address6 }),
      ...(flags.gateway6 !== undefined && { gateway6: flags.gateway6 }),
      onAddress: (address: string, usable: boolean) => detection.settled(address, usable),
      mtu: flags.mtu,
      random,
      secret: randomBytes(32),
      wallClock,
      sumView,
      sumBurst: (descriptors: Int32Array, count: number) => region.sumDescriptors(descriptors, count),
      tcp: { reserveBuffers: WINDOW_RESERVE_BUFFERS, congestion: flags.congestion, ...flags.tcp },
    }
    const host = new Host(hostOptions, clock.nowUs())
    const scrubbing = scrubPassMs === 0 ? undefined : new Scrubbing(store, region, scrubPassMs, reportCorrupt)
    this.closers.push(() => scrubbing?.close())
    const packing = flags.packing === 'on' ? new Packing(store, region, reportCorrupt) : undefined
    this.closers.push(() => packing?.close())
    const prefaulting = new Prefaulting(region)
    this.closers.push(() => prefaulting.close())
    const sources: StatsSources = {
      region,
      store,
      baseline,
      device,
      host,
      service: () => service,
      iperf: () => iperf?.counters,
      scrub: scrubbing?.counters,
      packing: packing?.counters,
      impaired,
      offloads: link.offloads,
      xdp: link.xdp,
      startedAtMs: Date.now(),
    }
    const service = new KvService({
      store,
      baseline,
      sumView,
      wallClock,
      maxValue: flags['max-value'],
      stats: () => readStats(sources),
    })
    host.tcp.listen(flags['http-port'], service, { noDelay: true, keepAlive: true })
    host.addBurstHook(() => service.commitBurst())

    const loop = new Loop({
      host,
      device,
      clock,
      busyPollUs: flags['busy-poll-us'],
      onIdle: () =>
        settle(store) ||
        retryStalled() ||
        prefaulting.idle() ||
        (packing?.idle() ?? false) ||
        (scrubbing?.idle() ?? false),
      onError: (error) => this.fail(error),
    })
    /** True while sessions wait for room: the loop must not sleep, nothing else may come to wake it. */
    const retryStalled = (): boolean => {
      if (!service.hasStalled) return false
      service.commitBurst()
      host.flush(clock.nowUs())
      return service.hasStalled
    }
    const resume = (): void => {
      service.commitBurst()
      host.flush(clock.nowUs())
      loop.wake()
    }
    const output = (): void => {
      host.flush(clock.nowUs())
      loop.wake()
    }
    const iperf = this.openIperf(systemEnvironment(host, clock, flags.congestion, output))
    store.onComplete((_batch, error) => {
      if (error !== 0) console.error(`packrat serve: ${store.poisonError().message}`)
      // The replies that this batch held are with their sockets now; nothing else may come to send them.
      if (store.asynchronous) queueMicrotask(resume)
    })
    baseline?.onComplete((_batch, error) => {
      if (error !== 0) console.error(`packrat serve: --store ${flags.store}: a write failed (error ${-error})`)
      if (baseline.engine.isAsynchronous) queueMicrotask(resume)
    })
    const admin = await openAdmin(flags.admin, () => readStats(sources))
    this.closers.push(() => {
      admin?.close()
      admin?.closeAllConnections()
    })
    this.closers.push(async () => {
      loop.stop()
      iperf?.close()
      await drained(store) // what was received becomes durable, and is answered
      await baseline?.drained()
      host.flush(clock.nowUs())
      host.close(clock.nowUs())
      await drained(store) // what the connections held
    })
    served.keep()
    loop.start()
    const address6 = await detection.outcome
    this.announce(region, store, baseline, seed, address6, link.mode)
  }

  /** The store of --store, in the region's place; undefined for packets. */
  private async openBaseline(store: Store, random: () => number): Promise<BaselineStore | undefined> {
    const { flags } = this
    if (flags.store === 'packet') return undefined
    const engine = await openBaseline({
      name: flags.store,
      path: flags.pm,
      fileBytes: flags['pm-size'],
      durability: flags.durability,
      lineLatencyNs: flags['pm-latency-ns'],
      random,
    })
    this.closers.push(() => engine.close())
    return new BaselineStore(engine, store.pool, () => store.idleBuffers())
  }

  private openIperf(environment: Environment): IperfServer | undefined {
    const port = this.flags['iperf-port']
    return port === 0 ? undefined : new IperfServer(environment, port)
  }

  /** The file of --capture, closed behind the device. */
  private openCapture(): CaptureFile | undefined {
    const path = this.flags.capture
    if (path === undefined) return undefined
    const report = (message: string): void => console.error(`packrat serve: ${message}`)
    const file = new CaptureFile({ path, application: 'packrat', clock: new SystemWallClock(), report })
    this.closers.push(() => {
      file.close()
      if (file.missedFrames > 0) report(`the capture ${path} lacks ${file.missedFrames} frames`)
    })
    return file
  }

  private announce(
    region: Region,
    store: Store,
    baseline: BaselineStore | undefined,
    seed: number,
    address6: string | undefined,
    mode?: string,
  ): void {
    const { flags } = this
    const kept = baseline === undefined ? '' : ` store=${flags.store} (${baseline.engine.promise})`
    const latencyNs = flags['pm-latency-ns']
    const slowed = latencyNs === 0 ? '' : ` medium=emulated (${latencyNs} ns a cache line)`
    const ip = flags.address.split('/')[0]
    const port = flags['http-port'] === 80 ? '' : `:${flags['http-port']}`
    const { durability } = region
    console.log(
      `packrat ready http://${ip}${port}/${address6 === undefined ? '' : ` http://[${address6}]${port}/`} device=${flags.device}${mode === undefined ? '' : ` (${mode})`} pm=${flags.pm} records=${store.records} ` +
        `durability=${durability.class} (${durability.evidence.join('; ')}) integrity=${flags.integrity}${slowed}${kept} seed=${seed}`,
    )
    const url = `http://${ip}${port}/kv`
    console.log(
      [
        'Try it from another terminal:',
        `  curl -T README.md ${url}/readme     # store a value: 201 when it is durable`,
        `  curl ${url}/readme                  # read it back`,
        `  curl '${url}?limit=10'              # list, in key order`,
        `  curl -X DELETE ${url}/readme        # remove it`,
        `  curl http://${ip}${port}/stats             # counters`,
        'Stop with Ctrl-C; kill -9 loses nothing that was acknowledged.',
      ].join('\n'),
    )
  }

  private fail(error: unknown): void {
    console.error(`packrat serve: ${error instanceof PackratError ? error.message : ((error as Error).stack ?? error)}`)
    this.hasFailed = true
    this.finish(EXIT_CANNOT)
  }
}

/** Everything staged is durable and everything free is released, unless the store is poisoned: then there is no more to do. */
async function drained(store: Store): Promise<void> {
  if (store.poisoned === 0) await store.drain().catch(() => {})
}

/** Cleans up behind the last batches. True while there is more to do. */
function settle(store: Store): boolean {
  if (store.isIdle || store.poisoned !== 0) return false
  store.settle()
  // An asynchronous program wakes the loop when it is through.
  return !store.asynchronous && !store.isIdle
}
