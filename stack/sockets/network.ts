/**
 * What joins sockets to the loop that drives a host. The stack calls applications in the middle of a burst; a socket's
 * user gets his events when the burst is over, in a microtask, as node:net gives them outside of libuv's callbacks:
 * what he throws is an uncaught exception and no torn burst, and he may call anything, Host.close included.
 *
 *   Host.poll ─► channel.ts: onReceive …  ─► schedule(task) ┐
 *                                                           ├─► microtask: tasks ─► Host.flush ─► wake()
 *   user: write(), end(), connect() …    ─► requestFlush()  ┘
 *
 * Invariants:
 *  1. However many sockets ask, one microtask is pending at most.
 *  2. A task that throws does not keep the others, or the flush, from running.
 *
 * Called by: channel.ts, server.ts, datagram.ts. Calls: Host.flush, and the loop through `wake`.
 */
import { AsyncResource } from 'node:async_hooks'
import type { Clock } from '../clock.ts'
import type { Host } from '../host.ts'

/** How long a socket that found no free buffer waits before it looks again; buffers come back with every ACK. */
const STARVED_RETRY_MS = 10

export interface NetworkOptions {
  readonly host: Host
  /** The clock whose time the loop passes to Host.poll. */
  readonly clock: Clock
  /** Ends the loop's sleep: what was sent may have set a timer earlier than the one that the loop sleeps for. */
  readonly wake?: () => void
}

/** Something to do when the burst is over. */
export interface Task {
  run(): void
}

export class Network {
  readonly host: Host
  private readonly clock: Clock
  private readonly wake: (() => void) | undefined
  private tasks: Task[] = []
  private starved: Task[] = []
  private turnPending = false
  /** In the asynchronous context of the construction: a user's AsyncLocalStorage must not leak into the loop or into others' events. */
  private readonly turn = AsyncResource.bind(() => this.runTurn())

  constructor(options: NetworkOptions) {
    this.host = options.host
    this.clock = options.clock
    this.wake = options.wake
  }

  /** Runs the task once, after the burst or the user's code that is running now. */
  schedule(task: Task): void {
    this.tasks.push(task)
    this.requestFlush()
  }

  /** Something was queued: sends it after the burst or the user's code that is running now. */
  requestFlush(): void {
    if (this.turnPending) return
    this.turnPending = true
    queueMicrotask(this.turn)
  }

  /** No buffer was free: runs the task again in a while. */
  retryLater(task: Task): void {
    if (this.starved.includes(task) || this.starved.push(task) > 1) return
    setTimeout(() => {
      const tasks = this.starved
      this.starved = []
      for (const starved of tasks) this.schedule(starved)
    }, STARVED_RETRY_MS)
  }

  private runTurn(): void {
    this.turnPending = false
    const tasks = this.tasks
    this.tasks = []
    let done = 0
    try {
      while (done < tasks.length) tasks[done++]!.run()
    } finally {
      for (; done < tasks.length; done++) this.schedule(tasks[done]!)
      this.host.flush(this.clock.nowUs())
      this.wake?.()
    }
  }
}
