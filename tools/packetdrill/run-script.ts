/**
 * Runs one script: its events in order, in virtual time, against a stack of its own.
 *
 *   set-up ─► settings ─► network ─► event ─► event ─► ... ─► passed
 *                                      packet in    peer.inject
 *                                      packet out   time passes until the stack sends; peer.take
 *                                      call         process.start
 *                                      code         assertions over tcp_info
 *
 * A time with `+` counts from the moment at which the event before it was over. What the stack sends while the script
 * expects nothing is kept, and compared with the next packet it expects, as packetdrill does; what it sends behind the
 * last event is nobody's concern.
 *
 * Called by: packetdrill.ts.
 */
import { type IpVersion, isAddress } from './addresses.ts'
import { Call } from './call.ts'
import { checkSupported } from './check-supported.ts'
import { runCommands } from './commands.ts'
import { ScriptEnd, ScriptError, ScriptFailure, ScriptUnsupported } from './errors.ts'
import { ScriptNetwork } from './network.ts'
import { parseScript } from './parse-script.ts'
import { Peer } from './peer.ts'
import { ScriptProcess, seconds } from './process.ts'
import { runPython, type Variables } from './python.ts'
import type { CodeAction, EventTime, PacketAction, Script, ScriptEvent } from './script.ts'
import { SCRIPT_OPTIONS } from './script-options.ts'
import { Settings } from './settings.ts'
import { setVariables } from './tcp-variables.ts'

/** packetdrill's own: two ticks of a kernel with 500 Hz. */
const TOLERANCE_US = 4000
/** And of the time since the event before, as a kernel's timers are late by up to an eighth (packetdrill, verify_time). */
const TOLERANCE_PERCENT = 12.5
/** Virtual time that a script may take, and that it waits for a packet without a time. */
const SCRIPT_US_MAX = 24 * 3600 * 1_000_000
const ANY_TIME_US_MAX = 600 * 1_000_000

export type Outcome =
  | { readonly verdict: 'passed' }
  | { readonly verdict: 'failed' | 'unsupported' | 'error'; readonly line: number; readonly reason: string }

/** What a command line says beside the script. */
export interface RunOptions {
  /** As a script's own, `--mtu=1400`, without the dashes; they override those. */
  readonly options?: ReadonlyMap<string, string>
  /** Words that are replaced in the script. */
  readonly defines?: ReadonlyMap<string, string>
}

/** @param print takes what the code of the script prints */
export function runScript(text: string, print: (text: string) => void, { options, defines }: RunOptions = {}): Outcome {
  return outcomeOf(() => {
    const script = parseScript(text, options, defines)
    new ScriptRun(script, print).run()
  })
}

/** The same for a script that is parsed already. */
export function runParsed(script: Script, print: (text: string) => void): Outcome {
  return outcomeOf(() => new ScriptRun(script, print).run())
}

function outcomeOf(run: () => void): Outcome {
  try {
    run()
    return { verdict: 'passed' }
  } catch (error) {
    if (error instanceof ScriptFailure) return { verdict: 'failed', line: error.line, reason: error.message }
    if (error instanceof ScriptUnsupported) return { verdict: 'unsupported', line: error.line, reason: error.message }
    if (error instanceof ScriptEnd) return { verdict: 'error', line: error.line, reason: error.message }
    throw error
  }
}

class ScriptRun {
  private readonly script: Script
  private readonly print: (text: string) => void
  private readonly settings = new Settings()
  private readonly toleranceUs: number
  private readonly tolerancePercent: number
  /** When the event before was due, µs of the script. */
  private lastDueUs = 0
  private readonly network: ScriptNetwork
  private readonly process: ScriptProcess
  private readonly peer: Peer
  private readonly variables: Variables = new Map()

  constructor(script: Script, print: (text: string) => void) {
    this.script = script
    this.print = print
    // The link is made with it; what the script says of its link comes later.
    this.settings.mtu = this.numberOption('mtu', this.settings.mtu)
    const initScripts = script.options.get('init_scripts') ?? ''
    runCommands(initScripts.replaceAll(',', ';'), 1, this.settings, false)
    for (const { text, line } of script.setup) runCommands(text, line, this.settings, false)
    const timestampTickUs = this.readOptions()
    this.toleranceUs = this.numberOption('tolerance_usecs', TOLERANCE_US)
    this.tolerancePercent = this.numberOption('tolerance_percent', TOLERANCE_PERCENT)
    checkSupported(script)
    this.network = new ScriptNetwork(this.settings)
    this.process = new ScriptProcess(this.network, this.settings, this.toleranceUs)
    const segmentBytes = this.numberOption('mss', 0)
    this.peer = new Peer(this.network, {
      ends: this.settings.addresses[this.settings.ipVersion].ends,
      mtu: this.settings.mtu,
      segmentBytes,
      timestampTickUs,
      scaledEchoes: script.options.has('tcp_ts_ecr_scaled'),
      timestampSlackUs: () => this.tolerance(this.network.scriptUs),
    })
    this.peer.datagramPorts = () => this.process.datagrams?.ports
    this.peer.startsAnew = (remotePort) => this.process.startsAnew(remotePort)
  }

  run(): void {
    try {
      for (const event of this.script.events) this.runEvent(event)
      if (this.process.isBlocked) this.awaitCall()
    } finally {
      this.network.close()
    }
  }

  /* --- options --- */

  /** @returns the tick of timestamps, µs; 0: not compared */
  private readOptions(): number {
    const { options } = this.script
    this.setVersion(options.get('ip_version') ?? 'ipv4')
    for (const [name, value] of options) {
      if (!Object.hasOwn(SCRIPT_OPTIONS, name)) throw new ScriptUnsupported(1, `the option --${name}`)
      if (name === 'local_ip' || name === 'remote_ip') this.setAddress(name, value)
    }
    return this.numberOption('tcp_ts_tick_usecs', 0)
  }

  private setVersion(name: string): void {
    const versions = Object.hasOwn(IP_VERSIONS, name) ? IP_VERSIONS[name] : undefined
    if (versions === undefined)
      throw new ScriptError(1, `--ip_version=${name} is none of ${Object.keys(IP_VERSIONS).join(', ')}`)
    this.settings.socketVersion = versions[0]
    this.settings.ipVersion = versions[1]
  }

  private setAddress(name: 'local_ip' | 'remote_ip', text: string): void {
    const { addresses, ipVersion } = this.settings
    if (isAddress(text, ipVersion === 4 ? 6 : 4))
      throw new ScriptUnsupported(1, `--${name}=${text} for a script of IPv${ipVersion}`)
    if (!isAddress(text, ipVersion)) throw new ScriptError(1, `--${name}=${text} is no address of IPv${ipVersion}`)
    addresses[ipVersion][name === 'local_ip' ? 'local' : 'remote'] = text
  }

  private numberOption(name: string, otherwise: number): number {
    const value = this.script.options.get(name)
    if (value === undefined) return otherwise
    if (!/^\d+(\.\d+)?$/.test(value)) throw new ScriptError(1, `--${name}=${value} is no number`)
    return Number(value)
  }

  /* --- events --- */

  private runEvent(event: ScriptEvent): void {
    const { action, line } = event
    // One call at a time: the next one waits for the one that blocks.
    if (action.kind === 'call' && this.process.isBlocked) this.awaitCall()
    const beforeUs = this.network.scriptUs
    const [startUs, endUs] = this.window(event.time, beforeUs)
    if (startUs > SCRIPT_US_MAX) throw new ScriptError(line, 'the script goes on for more than a day')
    const toleranceUs = this.tolerance(startUs - this.lastDueUs)
    this.lastDueUs = startUs
    if (action.kind === 'packet' && !action.inbound) {
      this.expectPacket(action, line, event.time, startUs, endUs, toleranceUs)
      return
    }
    this.waitUntil(startUs)
    const lateUs = this.network.scriptUs - endUs
    if (event.time.kind !== 'any' && lateUs > toleranceUs)
      throw new ScriptFailure(
        line,
        `the event is due at ${seconds(startUs)}, the one before it was over ${lateUs} µs later`,
      )
    switch (action.kind) {
      case 'packet':
        this.peer.inject(action, line)
        break
      case 'call': {
        const base = event.time.kind === 'relative' ? beforeUs : 0
        if (base + action.endUs > SCRIPT_US_MAX) throw new ScriptError(line, 'the call may block for more than a day')
        this.process.start(new Call(action, line), action.endUs < 0 ? -1 : base + action.endUs)
        break
      }
      case 'command':
        this.waitUntil(this.network.scriptUs + runCommands(action.text, line, this.settings, true))
        break
      case 'code':
        this.runCode(action, line)
    }
  }

  /** First and last moment of an event, µs of the script. */
  private window(time: EventTime, beforeUs: number): [number, number] {
    if (time.kind === 'any') return [beforeUs, beforeUs]
    const base = time.kind === 'relative' ? beforeUs : 0
    return [base + time.us, base + time.endUs]
  }

  /** By how much something may be early or late that is due so long behind the event before. */
  private tolerance(sinceUs: number): number {
    return Math.max(this.toleranceUs, (sinceUs * this.tolerancePercent) / 100)
  }

  private expectPacket(
    action: PacketAction,
    line: number,
    time: EventTime,
    startUs: number,
    endUs: number,
    toleranceUs: number,
  ): void {
    const any = time.kind === 'any'
    const lastUs = any ? startUs + ANY_TIME_US_MAX : endUs + toleranceUs
    const found = this.advance(lastUs, () => this.peer.hasPacket)
    if (!found)
      throw new ScriptFailure(
        line,
        `no packet until ${seconds(lastUs)}\n    expected ${action.text}\n    actual   nothing`,
      )
    const sentUs = this.peer.take(action, line) - (this.network.nowUs - this.network.scriptUs)
    if (any || (sentUs >= startUs - toleranceUs && sentUs <= lastUs)) return
    const expected = startUs === endUs ? seconds(startUs) : `${seconds(startUs)} to ${seconds(endUs)}`
    throw new ScriptFailure(line, `sent at ${seconds(sentUs)}, expected at ${expected}\n    expected ${action.text}`)
  }

  private runCode(action: CodeAction, line: number): void {
    setVariables(this.variables, this.process.current?.lastConnection)
    runPython(action.text, line, this.variables, this.print)
  }

  /* --- time --- */

  private waitUntil(us: number): void {
    this.advance(us, () => this.network.scriptUs >= us)
  }

  /** Lets time pass; a call that blocks for too long fails on the way. */
  private advance(toUs: number, stop: () => boolean): boolean {
    const { process, network } = this
    while (process.isBlocked && !stop()) {
      const nextUs = Math.min(toUs, process.blockedUntilUs, process.wakeUs)
      const stopped = network.advance(nextUs, () => stop() || !process.isBlocked)
      if (stopped) continue
      if (process.isBlocked && process.wakeUs <= network.scriptUs) network.turn()
      if (process.isBlocked && network.scriptUs >= process.blockedUntilUs) process.failBlocked()
      if (network.scriptUs >= toUs) return stop()
    }
    return network.advance(toUs, stop)
  }

  private awaitCall(): void {
    this.advance(this.process.blockedUntilUs, () => !this.process.isBlocked)
    if (this.process.isBlocked) this.process.failBlocked()
  }
}

/** Of sockets and of packets. */
const IP_VERSIONS: Readonly<Record<string, readonly [IpVersion, IpVersion]>> = {
  ipv4: [4, 4],
  ipv6: [6, 6],
  'ipv4-mapped-ipv6': [6, 4],
}
