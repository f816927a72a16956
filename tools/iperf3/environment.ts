/**
 * What tests of iperf3 need of the program around them: the stack, the time, and timers whose callbacks are followed by
 * output. Given from outside, so that tests run in virtual time.
 */
import type { Clock } from '../../stack/clock.ts'
import type { Host } from '../../stack/host.ts'

/** Ends a timer that has not fired. */
export type Cancel = () => void

export interface Environment {
  readonly host: Host
  readonly clock: Clock
  /** How windows grow here; for reports. */
  readonly congestion: string
  /** Processor time of this process so far, µs. */
  cpuUs(): { user: number; system: number }
  /** Calls back once; what the callback sends leaves at once. 0: with the next turn of the event loop. */
  after(delayMs: number, callback: () => void): Cancel
}

/** Of the process. @param resume sends what is queued, and wakes the loop */
export function systemEnvironment(host: Host, clock: Clock, congestion: string, resume: () => void): Environment {
  return {
    host,
    clock,
    congestion,
    cpuUs: () => process.cpuUsage(),
    after: (delayMs, callback) => {
      const fire = (): void => {
        callback()
        resume()
      }
      // No timer keeps the process alive: that is the loop's.
      if (delayMs === 0) {
        const immediate = setImmediate(fire).unref()
        return () => clearImmediate(immediate)
      }
      const timer = setTimeout(fire, delayMs).unref()
      return () => clearTimeout(timer)
    },
  }
}
