/**
 * Plays one side of a connection: takes the steps of its plan, as far as the stream and the other side allow. Knows
 * neither Packrat's sockets nor the kernel's: those are behind Stream.
 *
 * Called by: packrat-endpoint.ts, linux-peer.ts.
 */
import type { Plan } from './plan.ts'

/** What a player plays on. */
export interface Stream {
  /** @returns how many of the bytes were taken; 0: come back later */
  write(bytes: Uint8Array): number
  /** Sends the end behind what was written. */
  shutdown(): void
  abort(): void
}

export class Player {
  readonly plan: Plan
  /** When the last expected byte was here, µs of the run's clock; Infinity before. */
  completedUs = Number.POSITIVE_INFINITY
  /** It ended the connection by a reset of its own. */
  hasAborted = false
  private stream: Stream | undefined
  private step = 0
  private written = 0
  private pausedUntilUs: number | undefined
  private peerFinished = false

  constructor(plan: Plan) {
    this.plan = plan
    if (plan.receiver.isComplete) this.completedUs = 0
  }

  /** When the pause ends in which the player is; Infinity if it is in none. */
  get wakeUs(): number {
    return this.stream === undefined ? Number.POSITIVE_INFINITY : (this.pausedUntilUs ?? Number.POSITIVE_INFINITY)
  }

  onOpen(stream: Stream): void {
    this.stream = stream
  }

  onBytes(bytes: Uint8Array, nowUs: number): void {
    const { receiver } = this.plan
    receiver.take(bytes)
    if (receiver.isComplete) this.completedUs = Math.min(this.completedUs, nowUs)
  }

  onPeerFinished(): void {
    this.peerFinished = true
  }

  onClose(): void {
    this.stream = undefined
  }

  /** Goes on. @returns whether anything was done that has to be sent */
  play(nowUs: number): boolean {
    const { plan } = this
    const before = this.step
    const writtenBefore = this.written
    while (this.stream !== undefined && this.step < plan.steps.length && this.takeStep(this.stream, nowUs)) this.step++
    return this.step !== before || this.written !== writtenBefore
  }

  /** @returns whether the step is done */
  private takeStep(stream: Stream, nowUs: number): boolean {
    const step = this.plan.steps[this.step]!
    if ('write' in step) {
      while (this.written < step.write) {
        const taken = stream.write(this.plan.content.subarray(this.written, step.write))
        if (taken === 0) return false
        this.written += taken
      }
      return true
    }
    if ('await' in step) return this.plan.receiver.progress >= step.await
    if ('pauseUs' in step) {
      this.pausedUntilUs ??= nowUs + step.pauseUs
      if (nowUs < this.pausedUntilUs) return false
      this.pausedUntilUs = undefined
      return true
    }
    if (step.end === 'reset') {
      this.hasAborted = true
      stream.abort()
    } else if (step.end === 'shutdown' || this.peerFinished) stream.shutdown()
    else return false
    return true
  }
}
