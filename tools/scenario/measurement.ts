/**
 * What a run is judged by: figures taken from the trace, and the counters of TCP at both ends.
 *
 * Called by: parse-expectations.ts (the names), judge.ts (the values). Adding a figure: one entry in FIGURES.
 */
import { TcpCounters } from '../../stack/counters.ts'
import { ENDINGS, type Scenario, type Side } from './document.ts'
import type { Player } from './player.ts'
import { dataSender, otherSide } from './script.ts'
import type { Trace, TraceSegment } from './trace.ts'

/** What a run leaves behind. */
export interface Outcome {
  readonly scenario: Scenario
  readonly trace: Trace
  /** How often each event came true. */
  readonly hits: readonly number[]
  readonly host: TcpCounters
  /** Undefined: the peer is Linux, which does not tell. */
  readonly peer: TcpCounters | undefined
  /** Of each connection, a word of ENDINGS; undefined: it is still open. */
  readonly hostEndings: readonly (string | undefined)[]
  readonly peerEndings: readonly (string | undefined)[]
  readonly players: readonly (Player | undefined)[]
  /** The run's clock at the first segment. */
  readonly startUs: number
  readonly isTimedOut: boolean
  readonly leakedBuffers: number
}

interface Figure {
  /** `ms`: may be given as a time; `ending`: as a word of ENDINGS. */
  readonly unit: '' | 'ms' | 'ending' | 'round trips' | 'segments' | 'Mbit/s'
  /** Of the first connection; NaN: there is nothing to measure. */
  readonly measure: (outcome: Outcome) => number
}

/** Counters of TCP that may be expected, as GET /stats shows them. */
export const COUNTER_NAMES: readonly string[] = Object.keys(new TcpCounters())

export const FIGURES: Readonly<Record<string, Figure>> = {
  /** Until the last byte was delivered, both ways, all connections. */
  finished: {
    unit: 'ms',
    measure: ({ players, startUs }) => (Math.max(...players.map((p) => p?.completedUs ?? 0)) - startUs) / 1000,
  },
  /** Segments that the data's sender sent again, lost ones included. */
  retransmissions: { unit: '', measure: (outcome) => named(outcome, 'retransmission').length },
  /** Different data segments that were sent again. */
  repeatedSegments: {
    unit: '',
    measure: (outcome) => new Set(named(outcome, 'retransmission').map(({ start }) => start)).size,
  },
  dataSegments: { unit: '', measure: (outcome) => named(outcome, 'data').length },
  /** Data segments with less payload than the fullest one. */
  smallSegments: { unit: '', measure: smallSegments },
  acks: { unit: '', measure: (outcome) => acks(outcome).length },
  /** ACKs that shut the window. */
  zeroWindows: { unit: '', measure: (outcome) => acks(outcome).filter(({ windowBytes }) => windowBytes === 0).length },
  windowUpdates: {
    unit: '',
    measure: (outcome) => acks(outcome).filter(({ names }) => names.has('window-update')).length,
  },
  /** From the first retransmission until everything sent by then was acknowledged: the longest such time. */
  recovery: { unit: 'round trips', measure: recoveryRoundTrips },
  /** The longest time in which the data's sender sent nothing, between its first segment and its last. */
  longestSilence: { unit: 'ms', measure: longestSilenceMs },
  finalWindow: { unit: 'segments', measure: (outcome) => windows(outcome).at(-1) ?? Number.NaN },
  smallestWindow: { unit: 'segments', measure: (outcome) => Math.min(...windows(outcome)) },
  largestWindow: { unit: 'segments', measure: (outcome) => Math.max(...windows(outcome)) },
  goodput: { unit: 'Mbit/s', measure: goodput },
  /** How the host's end of every connection ended. */
  ends: { unit: 'ending', measure: ({ hostEndings }) => commonEnding(hostEndings) },
  peerEnds: { unit: 'ending', measure: ({ peerEndings }) => commonEnding(peerEndings) },
}

/** The value of an expectation's name; NaN if it cannot be measured here. */
export function measure(outcome: Outcome, name: string): number {
  const figure = FIGURES[name]
  if (figure !== undefined) return figure.measure(outcome)
  const counters = name.startsWith('peer.') ? outcome.peer : outcome.host
  const counter = name.replace('peer.', '')
  return counters === undefined ? Number.NaN : (counters as unknown as Record<string, number>)[counter]!
}

/** Every figure, and the host's counters that are not zero: what `--json` shows. */
export function measureAll(outcome: Outcome): Record<string, number | string> {
  const measured: Record<string, number | string> = {}
  for (const [name, { unit }] of Object.entries(FIGURES)) {
    const value = measure(outcome, name)
    if (Number.isFinite(value)) measured[name] = unit === 'ending' ? (ENDINGS[value] ?? 'open') : rounded(value)
  }
  for (const name of COUNTER_NAMES) {
    const value = measure(outcome, name)
    if (value !== 0) measured[name] = value
  }
  return measured
}

export function rounded(value: number): number {
  return Math.round(value * 1000) / 1000
}

function senderOf({ scenario }: Outcome): Side {
  return dataSender(scenario.traffic[0]!)
}

function sentBy(outcome: Outcome, side: Side): TraceSegment[] {
  return outcome.trace.segments.filter(({ connection, from }) => connection === 1 && from === side)
}

function named(outcome: Outcome, kind: 'data' | 'retransmission'): TraceSegment[] {
  return sentBy(outcome, senderOf(outcome)).filter(({ names }) => names.has(kind))
}

function acks(outcome: Outcome): TraceSegment[] {
  return sentBy(outcome, otherSide(senderOf(outcome))).filter(({ names }) => names.has('ack'))
}

function smallSegments(outcome: Outcome): number {
  const data = named(outcome, 'data')
  const fullest = Math.max(...data.map(({ payloadBytes }) => payloadBytes))
  return data.filter(({ payloadBytes }) => payloadBytes < fullest).length
}

function recoveryRoundTrips(outcome: Outcome): number {
  const { trace, scenario } = outcome
  const sender = senderOf(outcome)
  let longestUs = 0
  let beganUs = -1
  let target = 0
  let maxEnd = 0
  for (const segment of trace.segments) {
    if (segment.connection !== 1) continue
    if (segment.from === sender) {
      if (beganUs < 0 && segment.names.has('retransmission')) {
        beganUs = segment.atUs
        target = maxEnd
      }
      maxEnd = Math.max(maxEnd, segment.end)
    } else if (beganUs >= 0 && segment.fate !== 'dropped' && segment.acknowledged >= target) {
      longestUs = Math.max(longestUs, segment.atUs - beganUs)
      beganUs = -1
    }
  }
  return beganUs >= 0 ? Number.POSITIVE_INFINITY : longestUs / Math.max(scenario.roundTripUs, 1)
}

function longestSilenceMs(outcome: Outcome): number {
  const times = sentBy(outcome, senderOf(outcome)).map(({ atUs }) => atUs)
  return times.reduce((longest, at, index) => Math.max(longest, at - (times[index - 1] ?? at)), 0) / 1000
}

function windows({ trace }: Outcome): number[] {
  return trace.windows.flatMap(({ connection, windowBytes, mssBytes }) =>
    connection === 1 ? windowBytes / mssBytes : [],
  )
}

function goodput(outcome: Outcome): number {
  const bytes = Math.max(0, ...named(outcome, 'data').map(({ end }) => end))
  return (bytes * 8) / (measure(outcome, 'finished') * 1000)
}

/** The ending of all; NaN if one is open or they differ. */
function commonEnding(endings: readonly (string | undefined)[]): number {
  const numbers = new Set(endings.map((ending) => (ENDINGS as readonly (string | undefined)[]).indexOf(ending)))
  const [first] = numbers
  return numbers.size === 1 && first! >= 0 ? first! : Number.NaN
}
