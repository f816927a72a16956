/**
 * What happened in a run, in order: every segment as it passed the instrument in front of the host, and the sender's
 * window after each turn. Times are in µs from the first segment of the run.
 *
 * Called by: script.ts, simulation.ts, linux-run.ts (they write); measurement.ts, diagram.ts (they read).
 */
import type { Segment } from './flow.ts'
import type { TcpFrame } from './frame.ts'

export type Fate = 'passed' | 'dropped' | 'held' | 'doubled' | 'corrupted' | 'marked'

export interface TraceSegment extends Segment {
  readonly atUs: number
  /** From 1. */
  readonly connection: number
  /** What the script did to it. */
  readonly fate: Fate
  /** The link lost it: it did not come to the peer. Known only of a simulated link, and of what the host sent. */
  lostByLink: boolean
}

/** The host's congestion state, each time it changed. */
export interface WindowSample {
  readonly atUs: number
  readonly connection: number
  readonly windowBytes: number
  /** 0: not set yet. */
  readonly thresholdBytes: number
  readonly mssBytes: number
}

export class Trace {
  readonly segments: TraceSegment[] = []
  readonly windows: WindowSample[] = []
  /** The clock's time of the first segment; undefined before it. */
  startUs: number | undefined
  /** Segments of the host that the far end has not seen yet, by what identifies them. */
  private readonly onTheWay = new Map<string, TraceSegment[]>()

  /** A time of the run's clock, from the run's start. */
  relative(nowUs: number): number {
    return nowUs - (this.startUs ?? nowUs)
  }

  /** The far end of the link will say when this segment comes. */
  awaitArrival(frame: TcpFrame, segment: TraceSegment): void {
    const key = identity(frame)
    const waiting = this.onTheWay.get(key)
    if (waiting === undefined) this.onTheWay.set(key, [segment])
    else waiting.push(segment)
  }

  /** Of several copies it is the last one that can have come so far. @param transitUs the least that the link takes */
  noteArrival(frame: TcpFrame, nowUs: number, transitUs: number): void {
    const waiting = this.onTheWay.get(identity(frame)) ?? []
    const sentUs = this.relative(nowUs) - transitUs
    const index = waiting.findLastIndex(({ atUs }) => atUs <= sentUs)
    if (index >= 0) waiting.splice(index, 1)
  }

  /** The run is over: what did not arrive, the link lost. */
  endArrivals(): void {
    for (const segments of this.onTheWay.values()) for (const segment of segments) segment.lostByLink = true
  }

  sampleWindow(nowUs: number, connection: number, windowBytes: number, thresholdBytes: number, mssBytes: number): void {
    const last = this.windows.findLast((sample) => sample.connection === connection)
    if (last?.windowBytes === windowBytes && last.thresholdBytes === thresholdBytes) return
    this.windows.push({ atUs: this.relative(nowUs), connection, windowBytes, thresholdBytes, mssBytes })
  }
}

function identity({
  sourcePort,
  destinationPort,
  sequence,
  acknowledgement,
  flags,
  payloadBytes,
  window,
}: TcpFrame): string {
  return [sourcePort, destinationPort, sequence, acknowledgement, flags, payloadBytes, window].join(' ')
}
