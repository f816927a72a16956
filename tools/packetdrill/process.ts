/**
 * The process of the script: its descriptors, and the one call that may block while packets come and go.
 *
 * Called by: run-script.ts. Calls: calls.ts.
 */
import type { Attempt, Call, CallResult } from './call.ts'
import { prepareCall } from './calls.ts'
import type { DatagramSocket } from './datagram-socket.ts'
import { Epoll } from './epoll.ts'
import { ScriptFailure } from './errors.ts'
import { ScriptFile } from './files.ts'
import type { ScriptNetwork } from './network.ts'
import { ScriptSocket } from './script-socket.ts'
import type { Settings } from './settings.ts'

type Descriptor = ScriptSocket | Epoll | ScriptFile

interface Waiting {
  readonly call: Call
  readonly attempt: Attempt
  readonly endUs: number
}

export class ScriptProcess {
  readonly network: ScriptNetwork
  readonly settings: Settings
  /** By which times may differ from what the script says. */
  readonly toleranceUs: number
  private readonly descriptors = new Map<number, Descriptor>()
  /** Every connection that was accepted. */
  readonly accepted: ScriptSocket[] = []
  private listenerClosed = false
  private waiting: Waiting | undefined
  /** When the last call has a time-out of its own, µs of the script. */
  wakeUs = Number.POSITIVE_INFINITY
  /** The datagram socket under test: the last one that was opened. */
  datagrams: DatagramSocket | undefined
  /** The socket that code asks about: the last connection that was opened or accepted. */
  current: ScriptSocket | undefined

  constructor(network: ScriptNetwork, settings: Settings, toleranceUs: number) {
    this.toleranceUs = toleranceUs
    this.network = network
    this.settings = settings
    network.onTurn = () => {
      this.settle()
      this.retry()
      this.settle()
    }
  }

  get isBlocked(): boolean {
    return this.waiting !== undefined
  }

  /** When the call that blocks has to have returned, tolerance included; µs of the script. */
  get blockedUntilUs(): number {
    return this.waiting === undefined ? 0 : this.waiting.endUs + this.toleranceUs
  }

  /**
   * Makes a call.
   * @param endUs when it has to return, µs of the script; -1: at once
   */
  start(call: Call, endUs: number): void {
    this.wakeUs = Number.POSITIVE_INFINITY
    const attempt = prepareCall(this, call)
    const result = attempt()
    this.network.flush()
    this.settle()
    if (result !== undefined) {
      if (endUs >= 0) this.checkTime(call, endUs)
      this.check(call, result)
    } else if (endUs >= 0) this.waiting = { call, attempt, endUs }
    else throw new ScriptFailure(call.line, `${call.action.text}: the call blocks`)
  }

  /** Time is up for the call that blocks. */
  failBlocked(): never {
    const { call, endUs } = this.waiting!
    this.waiting = undefined
    throw new ScriptFailure(call.line, `${call.action.text}: expected to return at ${seconds(endUs)}, still blocks`)
  }

  /** Sockets look at what was sent and acknowledged. */
  private settle(): void {
    for (const opened of this.descriptors.values())
      if (opened instanceof ScriptSocket) opened.settle(this.network.scriptUs)
  }

  private retry(): void {
    const { waiting } = this
    if (waiting === undefined) return
    const result = waiting.attempt()
    if (result === undefined) return
    this.waiting = undefined
    this.checkTime(waiting.call, waiting.endUs)
    this.check(waiting.call, result)
  }

  private checkTime(call: Call, endUs: number): void {
    const nowUs = this.network.scriptUs
    if (Math.abs(nowUs - endUs) > this.toleranceUs)
      throw new ScriptFailure(
        call.line,
        `${call.action.text}: expected to return at ${seconds(endUs)}, returned at ${seconds(nowUs)}`,
      )
  }

  private check(call: Call, result: CallResult): void {
    const { result: expected, errno, text } = call.action
    if (expected.kind === 'ellipsis') return
    const value = call.numberOf(expected)
    if (value !== result.value || (errno !== '' && errno !== result.errno)) {
      const actual = result.errno === '' ? `${result.value}` : `-1 ${result.errno}`
      throw new ScriptFailure(call.line, `${text}: returned ${actual}`)
    }
  }

  /* --- descriptors, which have the numbers that the script gives them --- */

  /** A socket by the number in the script; undefined if it is none. */
  socket(descriptor: number): ScriptSocket | undefined {
    const found = this.descriptors.get(descriptor)
    return found instanceof ScriptSocket ? found : undefined
  }

  epoll(descriptor: number): Epoll | undefined {
    const found = this.descriptors.get(descriptor)
    return found instanceof Epoll ? found : undefined
  }

  file(descriptor: number): ScriptFile | undefined {
    const found = this.descriptors.get(descriptor)
    return found instanceof ScriptFile ? found : undefined
  }

  open(call: Call, opened: Descriptor): number {
    const { result } = call.action
    const descriptor = result.kind === 'ellipsis' ? this.freeDescriptor() : call.numberOf(result)
    if (descriptor < 0) return this.freeDescriptor()
    // A number that is given again means the newer one; the older stays open (packetdrill numbers them for itself).
    this.descriptors.set(descriptor, opened)
    return descriptor
  }

  /** @returns false if it is none */
  close(descriptor: number): boolean {
    if (this.socket(descriptor)?.isListening) this.listenerClosed = true
    return this.descriptors.delete(descriptor)
  }

  /**
   * Whether a SYN from the peer begins another connection: someone listens, and either the one with this port is over, or
   * it is another listener than before.
   */
  startsAnew(remotePort: number): boolean {
    const listens = [...this.descriptors.keys()].some((descriptor) => this.socket(descriptor)?.isListening)
    if (listens && this.listenerClosed) {
      this.listenerClosed = false
      return true
    }
    return listens && this.accepted.some((socket) => socket.remotePort === remotePort && socket.isOver)
  }

  private freeDescriptor(): number {
    let descriptor = 3
    while (this.descriptors.has(descriptor)) descriptor++
    return descriptor
  }
}

export function seconds(us: number): string {
  return `${(us / 1_000_000).toFixed(6)} s`
}
