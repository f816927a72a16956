/**
 * The part of a test that both sides have: streams that run for a while, what is counted while they do, less the time to
 * omit, second by second and altogether; and the results that the sides exchange.
 *
 *   start ──omit──► counters are taken as zero ──► one interval after the other ──► stop: the counts stand
 *
 * Called by: session.ts, client.ts. Calls: stream.ts, environment.ts. Read by: results.ts, report.ts.
 */
import type { Cancel, Environment } from './environment.ts'
import type { TestParameters } from './parameters.ts'
import { Goal, type Stream, type StreamTotals } from './stream.ts'

/** What one stream did between two moments; seconds since the start, or since the end of the time to omit. */
export interface StreamFigures extends StreamTotals {
  readonly stream: Stream
  readonly startSeconds: number
  readonly endSeconds: number
}

export interface Interval {
  readonly figures: readonly StreamFigures[]
  readonly isOmitted: boolean
}

export interface CpuShares {
  readonly total: number
  readonly user: number
  readonly system: number
}

export interface MeasurementOptions {
  /** 0: only the whole test. */
  readonly intervalMs: number
  /** The client sends no more than the test's bytes; the server goes on until the client says that they have come. */
  readonly isClient: boolean
  /** Told of each interval when it is over. */
  readonly onInterval?: (interval: Interval) => void
}

const NOTHING: StreamTotals = {
  bytes: 0,
  retransmits: 0,
  packets: 0,
  lost: 0,
  outOfOrder: 0,
  jitterSeconds: 0,
  windowBytes: 0,
  rttUs: 0,
}

export class Measurement {
  readonly parameters: TestParameters
  readonly streams: readonly Stream[]
  readonly intervals: Interval[] = []
  /** When the client has to end it. */
  readonly goal = new Goal()
  /** Since the end of the time to omit; set by `stop`. */
  figures: readonly StreamFigures[] = []
  /** Of what was omitted, by stream. */
  omitted: readonly StreamTotals[]
  cpu: CpuShares = { total: 0, user: 0, system: 0 }
  isOmitting = false
  private readonly environment: Environment
  private readonly options: MeasurementOptions
  private readonly timers = new Map<string, Cancel>()
  private startedUs = 0
  private intervalUs = 0
  private before: readonly StreamTotals[]
  private cpuBefore = { user: 0, system: 0 }

  constructor(
    environment: Environment,
    parameters: TestParameters,
    streams: readonly Stream[],
    options: MeasurementOptions,
  ) {
    this.environment = environment
    this.parameters = parameters
    this.streams = streams
    this.options = options
    this.omitted = streams.map(() => NOTHING)
    this.before = this.omitted
  }

  /**
   * Starts every sender. What receivers got before is counted, too: the peer may have begun a moment earlier.
   * @param onTimeUp called after the test's seconds, if it has any
   */
  start(onTimeUp: () => void): void {
    const { parameters } = this
    this.isOmitting = parameters.omitSeconds > 0
    this.restart()
    if (this.isOmitting) this.set('omit', parameters.omitSeconds * 1000, () => this.endOmission())
    if (parameters.seconds > 0) this.set('end', (parameters.omitSeconds + parameters.seconds) * 1000, onTimeUp)
    this.scheduleInterval()
    for (const stream of this.streams) if (stream.isSender) stream.start(this.goal, parameters.bitsPerSecond)
  }

  /** Stops every sender, and takes the counts. */
  stop(): void {
    for (const cancel of this.timers.values()) cancel()
    this.timers.clear()
    for (const stream of this.streams) stream.stop()
    const nowUs = this.environment.clock.nowUs()
    if (nowUs > this.intervalUs) this.endInterval(nowUs)
    const seconds = (nowUs - this.startedUs) / 1e6
    this.figures = this.streams.map((stream, index) =>
      difference(stream, this.omitted[index]!, stream.totals(), 0, seconds),
    )
    const cpu = this.environment.cpuUs()
    const user = (cpu.user - this.cpuBefore.user) / 1e4 / Math.max(seconds, 1e-6)
    const system = (cpu.system - this.cpuBefore.system) / 1e4 / Math.max(seconds, 1e-6)
    this.cpu = { total: user + system, user, system }
  }

  /** Bytes that senders have sent, or receivers received, since the end of the time to omit. */
  bytesOf(senders: boolean): number {
    let bytes = 0
    for (const [index, stream] of this.streams.entries())
      if (stream.isSender === senders) bytes += stream.totals().bytes - this.omitted[index]!.bytes
    return bytes
  }

  private set(name: string, delayMs: number, callback: () => void): void {
    this.timers.set(name, this.environment.after(delayMs, callback))
  }

  private restart(): void {
    this.startedUs = this.environment.clock.nowUs()
    this.intervalUs = this.startedUs
    this.cpuBefore = this.environment.cpuUs()
    const { bytes } = this.parameters
    if (this.options.isClient && bytes > 0 && !this.isOmitting) this.goal.bytesLeft = bytes
  }

  private endOmission(): void {
    const nowUs = this.environment.clock.nowUs()
    if (nowUs > this.intervalUs) this.endInterval(nowUs)
    this.isOmitting = false
    this.omitted = this.streams.map((stream) => stream.totals())
    this.restart()
    this.scheduleInterval()
  }

  private scheduleInterval(): void {
    this.timers.get('interval')?.()
    const { intervalMs } = this.options
    if (intervalMs === 0) return
    // From the last one's end: delays do not add up.
    const leftMs = intervalMs - (this.environment.clock.nowUs() - this.intervalUs) / 1000
    this.set('interval', Math.max(Math.round(leftMs), 1), () => {
      this.endInterval(this.environment.clock.nowUs())
      this.scheduleInterval()
    })
  }

  private endInterval(nowUs: number): void {
    const from = (this.intervalUs - this.startedUs) / 1e6
    const to = (nowUs - this.startedUs) / 1e6
    const totals = this.streams.map((stream) => stream.totals())
    const figures = this.streams.map((stream, index) =>
      difference(stream, this.before[index]!, totals[index]!, from, to),
    )
    const interval = { figures, isOmitted: this.isOmitting }
    this.intervals.push(interval)
    this.before = totals
    this.intervalUs = nowUs
    this.options.onInterval?.(interval)
  }
}

function difference(
  stream: Stream,
  before: StreamTotals,
  after: StreamTotals,
  startSeconds: number,
  endSeconds: number,
): StreamFigures {
  return {
    ...after,
    stream,
    startSeconds,
    endSeconds,
    bytes: after.bytes - before.bytes,
    retransmits: after.retransmits - before.retransmits,
    packets: after.packets - before.packets,
    lost: after.lost - before.lost,
    outOfOrder: after.outOfOrder - before.outOfOrder,
  }
}
