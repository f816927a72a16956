/**
 * The loop that drives a host, or a bridge between devices: polls its device while traffic flows, sleeps on the device's readiness when it does not.
 *
 *   turn:   poll, poll, … (a few)  ──frames lately──► next turn (setImmediate: other I/O lives in between)
 *             └── quiet for busyPollUs ──► idle work ──► sleep until a frame or the next timer
 *
 * A sleeping process takes tens of microseconds to wake, so a request that arrives while we poll is answered several
 * times faster. Called by: serve, wire.
 */
import type { Device } from '../drivers/device.ts'
import type { Clock } from '../stack/clock.ts'

/** Polls in one turn at most, so that timers and other sockets of the process get their share. */
const POLLS_PER_TURN = 32

/** Longest sleep, ms: a bound, not a period; timers and frames end it earlier. */
const SLEEP_MS_MAX = 1000

/** A frame that the device holds back is due sooner than this, µs: a timer, whose unit is the millisecond, would be late. */
const POLL_UNTIL_DUE_US = 2000

/** What the loop drives; a Host is one. */
export interface Driven {
  /** One turn. @returns number of frames received */
  poll(nowUs: number): number
  /** When to poll even if no frame comes, µs; Infinity for never. */
  nextDeadlineUs(): number
}

export interface LoopOptions {
  readonly host: Driven
  readonly device: Pick<Device, 'waitReadable' | 'timing'>
  readonly clock: Clock
  /** How long to poll on after the last frame, µs. */
  readonly busyPollUs: number
  /** Called when the traffic pauses. Returns true if it wants to be called again before the loop sleeps. */
  readonly onIdle: () => boolean
  /** The device is gone, or the stack threw: the loop has stopped. */
  readonly onError: (error: unknown) => void
}

export class Loop {
  private readonly options: LoopOptions
  private running = false
  private sleeping = false
  /** [0]: time of the last frame, µs. A typed array, because a double in a plain field is allocated anew at each store. */
  private readonly lastFrameUs = new Float64Array(1)
  private timer: NodeJS.Timeout | undefined
  private readonly turnCallback = (): void => this.turn()
  private readonly wakeCallback = (): void => this.wake()

  constructor(options: LoopOptions) {
    this.options = options
  }

  start(): void {
    this.running = true
    this.lastFrameUs[0] = this.options.clock.nowUs()
    setImmediate(this.turnCallback)
  }

  stop(): void {
    this.running = false
    clearTimeout(this.timer)
  }

  /** Something outside the device happened (a batch became durable): go on now. */
  wake(): void {
    if (!this.sleeping) return
    this.sleeping = false
    clearTimeout(this.timer)
    if (this.running) this.turn()
  }

  private turn(): void {
    if (!this.running) return
    const { host, clock, busyPollUs } = this.options
    try {
      let nowUs = clock.nowUs()
      for (let i = 0; i < POLLS_PER_TURN; i++) {
        const frames = host.poll(nowUs)
        // An empty poll takes less than a microsecond: every fourth reading is enough, and each one is a double on the heap.
        if (frames === 0 && (i & 3) !== 3) continue
        if (frames > 0) this.lastFrameUs[0] = nowUs
        nowUs = clock.nowUs()
        if (nowUs - this.lastFrameUs[0]! >= busyPollUs) {
          this.idle(nowUs)
          return
        }
      }
    } catch (error) {
      this.stop()
      this.options.onError(error)
      return
    }
    setImmediate(this.turnCallback)
  }

  private idle(nowUs: number): void {
    const { host, device, onIdle } = this.options
    const frameDueUs = (device.timing?.nextDeadlineUs() ?? Number.POSITIVE_INFINITY) - nowUs
    if (onIdle() || frameDueUs < POLL_UNTIL_DUE_US) {
      setImmediate(this.turnCallback)
      return
    }
    // The stack's timers count in milliseconds too and may be late by one; a frame may not, so the rest is polled for.
    const timerMs = Math.max(Math.ceil((host.nextDeadlineUs() - nowUs) / 1000), 0)
    const frameMs = Math.floor(frameDueUs / 1000) - 1
    this.sleeping = true
    this.timer = setTimeout(this.wakeCallback, Math.min(timerMs, frameMs, SLEEP_MS_MAX))
    device.waitReadable(this.wakeCallback)
  }
}
