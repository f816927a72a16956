/**
 * The events of a scenario, applied to the segments that pass in front of the host; everything that passes goes into
 * the trace. The same for a simulated link and for a TAP with Linux behind it.
 *
 * Called by: InterceptDevice. Calls: frame.ts, flow.ts, selector.ts.
 */
import type { Interceptor, Verdict } from '../../drivers/intercept.ts'
import type { Scenario, SegmentEvent, Side, TimedEvent, Traffic } from './document.ts'
import { Flow, type Segment } from './flow.ts'
import { corrupt, decodeFrame, markCongestion, type TcpFrame } from './frame.ts'
import { inRanges, type Kind, type Selector } from './selector.ts'
import type { Fate, Trace } from './trace.ts'

/** Connection n (from 0) of a scenario has this port at the side that accepts it. */
export const FIRST_PORT = 5001

export class Script implements Interceptor {
  /** How often each event of the scenario came true. */
  readonly hits: number[]
  private readonly scenario: Scenario
  private readonly trace: Trace
  private readonly flows = new Map<number, Flow>()
  private readonly watchesArrivals: boolean

  /** @param watchesArrivals somebody at the far end of the link tells the trace what arrives */
  constructor(scenario: Scenario, trace: Trace, watchesArrivals: boolean) {
    this.scenario = scenario
    this.trace = trace
    this.watchesArrivals = watchesArrivals
    this.hits = scenario.events.map(() => 0)
  }

  onFrame(frame: Uint8Array, isOutgoing: boolean, nowUs: number, verdict: Verdict): void {
    const from: Side = isOutgoing ? 'host' : 'peer'
    const tcp = decodeFrame(frame)
    const connection = tcp === undefined ? 0 : this.connectionOf(tcp)
    if (connection > 0) this.trace.startUs ??= nowUs
    const fate = this.apply(frame, tcp, connection, from, nowUs, verdict)
    if (fate === 'dropped') verdict.drop = true
  }

  private apply(
    frame: Uint8Array,
    tcp: TcpFrame | undefined,
    connection: number,
    from: Side,
    nowUs: number,
    verdict: Verdict,
  ): Fate {
    const atUs = this.trace.relative(nowUs)
    let fate = this.timedFate(frame.length, from, atUs, verdict)
    if (tcp === undefined || connection === 0) return fate
    const segment = this.flowOf(connection).take(tcp, from)
    this.scenario.events.forEach((event, index) => {
      if (!('selector' in event) || fate === 'dropped' || !this.means(event.selector, connection, segment)) return
      const done = this.perform(event, index, frame, tcp, verdict)
      if (done === undefined) return
      fate = done
      this.hits[index]!++
    })
    const traced = { ...segment, atUs, connection, fate, lostByLink: false }
    this.trace.segments.push(traced)
    if (this.watchesArrivals && from === 'host' && fate !== 'dropped') this.trace.awaitArrival(tcp, traced)
    return fate
  }

  /** Undefined: nothing came of it. */
  private perform(
    event: SegmentEvent,
    index: number,
    frame: Uint8Array,
    tcp: TcpFrame,
    verdict: Verdict,
  ): Fate | undefined {
    switch (event.kind) {
      case 'drop':
        return 'dropped'
      case 'duplicate':
        verdict.copies = event.times
        return 'doubled'
      case 'delay':
        verdict.delayUs = event.byUs
        return 'held'
      case 'swap':
        // The first of the two waits for the second.
        if (this.hits[index]! > 0) {
          verdict.releasesHeld = true
          return 'passed'
        }
        verdict.delayUs = Number.POSITIVE_INFINITY
        return 'held'
      case 'corrupt':
        corrupt(frame, tcp)
        return 'corrupted'
      case 'mark':
        return markCongestion(frame, tcp) ? 'marked' : undefined
    }
  }

  private timedFate(frameBytes: number, from: Side, atUs: number, verdict: Verdict): Fate {
    let fate: Fate = 'passed'
    this.scenario.events.forEach((event, index) => {
      if ('selector' in event || event.kind === 'stop-reading') return
      if (!isActive(event, atUs) || (event.from !== undefined && event.from !== from)) return
      if (event.kind === 'mtu' && frameBytes - ETHERNET_HEADER_BYTES <= event.mtuBytes) return
      this.hits[index]!++
      if (event.kind !== 'hold') fate = 'dropped'
      else if (fate === 'passed') fate = 'held'
      if (event.kind === 'hold') verdict.delayUs = event.toUs - atUs
    })
    return fate
  }

  private means(selector: Selector, connection: number, segment: Segment): boolean {
    const { kind, ranges, repeated, from } = selector
    if (selector.connection !== connection) return false
    if (segment.from !== (from ?? usualSender(kind, this.scenario.traffic[connection - 1]!))) return false
    const number = segment.names.get(kind)
    if (number === undefined) return false
    if (repeated === undefined) return inRanges(ranges, number)
    return inRanges(repeated, segment.repeats) && inRanges(ranges, segment.repetition)
  }

  private connectionOf({ sourcePort, destinationPort }: TcpFrame): number {
    const count = this.scenario.traffic.length
    for (const port of [sourcePort, destinationPort])
      if (port >= FIRST_PORT && port < FIRST_PORT + count) return port - FIRST_PORT + 1
    return 0
  }

  private flowOf(connection: number): Flow {
    const flow = this.flows.get(connection) ?? new Flow()
    this.flows.set(connection, flow)
    return flow
  }
}

const ETHERNET_HEADER_BYTES = 14 // IEEE 802.3

export function isActive({ fromUs, toUs }: TimedEvent, atUs: number): boolean {
  return atUs >= fromUs && atUs < toUs
}

/** The side that the segments of a kind come from, if the file does not say. */
export function usualSender(kind: Kind, traffic: Traffic): Side {
  const sender: Side = dataSender(traffic)
  switch (kind) {
    case 'ack':
    case 'window-update':
    case 'last-ack':
      return otherSide(sender)
    case 'syn':
      return traffic.opens
    case 'syn-ack':
      return otherSide(traffic.opens)
    default:
      return sender
  }
}

/** The side whose data a connection is about: the host, unless only the peer sends, or stores. */
export function dataSender({ send, receive, http }: Traffic): Side {
  return (send.length === 0 && receive.length > 0) || http?.method === 'PUT' ? 'peer' : 'host'
}

export function otherSide(side: Side): Side {
  return side === 'host' ? 'peer' : 'host'
}
