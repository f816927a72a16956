/**
 * The JSON documents that the two sides exchange behind a test: what each has counted. Names and meanings are iperf3's.
 *
 * Called by: session.ts, client.ts.
 */
import type { Measurement, StreamFigures } from './measurement.ts'
import { parseObject } from './parameters.ts'

/** What the peer has counted of one stream. */
export interface PeerFigures {
  readonly bytes: number
  readonly retransmits: number
  readonly jitterSeconds: number
  readonly lost: number
  readonly packets: number
  readonly seconds: number
}

export interface PeerResults {
  readonly cpu: { readonly total: number; readonly user: number; readonly system: number }
  /** By the number of the stream. */
  readonly streams: ReadonlyMap<number, PeerFigures>
  /** The peer's report, if it was asked for. */
  readonly outputText: string | undefined
}

/** @param outputText the report, for a client that asked for it */
export function writeResults(measurement: Measurement, congestion: string, outputText: string | undefined): string {
  const { figures, omitted, cpu, parameters } = measurement
  const onlyReceives = figures.every(({ stream }) => !stream.isSender)
  const isTcp = parameters.protocol === 'tcp'
  return JSON.stringify({
    cpu_util_total: cpu.total,
    cpu_util_user: cpu.user,
    cpu_util_system: cpu.system,
    // Whether a sender here counts them; iperf3 says -1 of who only receives.
    sender_has_retransmits: onlyReceives ? -1 : Number(isTcp),
    ...(isTcp && { congestion_used: congestion }),
    streams: figures.map((f, index) => ({
      id: f.stream.id,
      bytes: f.bytes,
      retransmits: isTcp && f.stream.isSender ? f.retransmits : -1,
      jitter: f.jitterSeconds,
      // iperf3 says these with what was omitted, and that beside them.
      errors: f.lost + omitted[index]!.lost,
      omitted_errors: omitted[index]!.lost,
      packets: f.packets + omitted[index]!.packets,
      omitted_packets: omitted[index]!.packets,
      start_time: f.startSeconds,
      end_time: f.endSeconds,
    })),
    ...(outputText !== undefined && { server_output_text: outputText }),
  })
}

/** What the peer says, undefined if it is not a document of results. */
export function readResults(json: string): PeerResults | undefined {
  const document = parseObject(json)
  if (document === undefined || !Array.isArray(document.streams)) return undefined
  const streams = new Map<number, PeerFigures>()
  for (const entry of document.streams as unknown[]) {
    if (typeof entry !== 'object' || entry === null) return undefined
    const stream = entry as Record<string, unknown>
    if (typeof stream.id !== 'number' || typeof stream.bytes !== 'number') return undefined
    streams.set(stream.id, {
      bytes: stream.bytes,
      retransmits: numberOf(stream.retransmits),
      jitterSeconds: numberOf(stream.jitter),
      lost: numberOf(stream.errors) - numberOf(stream.omitted_errors),
      packets: numberOf(stream.packets) - numberOf(stream.omitted_packets),
      seconds: numberOf(stream.end_time) - numberOf(stream.start_time),
    })
  }
  return {
    cpu: {
      total: numberOf(document.cpu_util_total),
      user: numberOf(document.cpu_util_user),
      system: numberOf(document.cpu_util_system),
    },
    streams,
    outputText: typeof document.server_output_text === 'string' ? document.server_output_text : undefined,
  }
}

/** One stream as its sender and as its receiver has counted it. A peer that says nothing of it has counted nothing. */
export function bothSides(own: StreamFigures, peer: PeerResults): { sent: StreamFigures; received: StreamFigures } {
  const theirs = peer.streams.get(own.stream.id)
  const other: StreamFigures = {
    ...own,
    bytes: theirs?.bytes ?? 0,
    retransmits: theirs?.retransmits ?? 0,
    jitterSeconds: theirs?.jitterSeconds ?? 0,
    lost: theirs?.lost ?? 0,
    packets: theirs?.packets ?? 0,
    startSeconds: 0,
    endSeconds: theirs?.seconds ?? 0,
  }
  return own.stream.isSender ? { sent: own, received: other } : { sent: other, received: own }
}

function numberOf(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0
}
