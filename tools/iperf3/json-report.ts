/**
 * What the client has measured as one JSON document, under iperf3's names, so that what reads iperf3's reads this, too.
 *
 * Called by: command.ts.
 */
import type { ClientOutcome } from './client.ts'
import type { Interval, StreamFigures } from './measurement.ts'
import { bitsPerSecond, sum } from './report.ts'
import { bothSides, type PeerResults } from './results.ts'

/** @param version of this program */
export function jsonReport({ measurement, peer }: ClientOutcome, version: string): object {
  const { parameters, streams, intervals, figures, cpu } = measurement
  const isUdp = parameters.protocol === 'udp'
  const pairs = figures.map((f) => pairOf(f, peer))
  return {
    start: {
      version,
      connected: streams.map(({ id, ends }) => ({
        socket: id,
        local_host: ends.localAddress,
        local_port: ends.localPort,
        remote_host: ends.remoteAddress,
        remote_port: ends.remotePort,
      })),
      test_start: {
        protocol: isUdp ? 'UDP' : 'TCP',
        num_streams: parameters.parallel,
        blksize: parameters.blockBytes,
        omit: parameters.omitSeconds,
        duration: parameters.seconds,
        bytes: parameters.bytes,
        reverse: Number(parameters.reverse),
        bidir: Number(parameters.bidirectional),
        target_bitrate: parameters.bitsPerSecond,
      },
    },
    intervals: intervals.map((interval) => intervalOf(interval, isUdp)),
    end: {
      streams: pairs.map(({ sent, received }) => (isUdp ? { udp: received } : { sender: sent, receiver: received })),
      ...sumsOf(
        pairs.filter(({ isSender }) => isSender === !parameters.reverse),
        '',
      ),
      ...(parameters.bidirectional &&
        sumsOf(
          pairs.filter(({ isSender }) => !isSender),
          '_bidir_reverse',
        )),
      cpu_utilization_percent: {
        host_total: cpu.total,
        host_user: cpu.user,
        host_system: cpu.system,
        remote_total: peer.cpu.total,
        remote_user: peer.cpu.user,
        remote_system: peer.cpu.system,
      },
    },
    ...(peer.outputText !== undefined && { server_output_text: peer.outputText }),
  }
}

interface Figures {
  readonly socket?: number
  readonly start: number
  readonly end: number
  readonly seconds: number
  readonly bytes: number
  readonly bits_per_second: number
  readonly retransmits?: number
  readonly jitter_ms?: number
  readonly lost_packets?: number
  readonly packets?: number
  readonly lost_percent?: number
}

/** A stream as both sides have counted it. */
interface StreamPair {
  /** On this side. */
  readonly isSender: boolean
  readonly sent: Figures
  readonly received: Figures
}

function pairOf(own: StreamFigures, peer: PeerResults): StreamPair {
  const { sent, received } = bothSides(own, peer)
  const socket = own.stream.id
  return {
    isSender: own.stream.isSender,
    sent: { socket, ...figuresOf(sent), retransmits: sent.retransmits },
    received: { socket, ...figuresOf(received), ...datagramsOf(received) },
  }
}

function intervalOf({ figures, isOmitted }: Interval, isUdp: boolean): object {
  const entry = (f: StreamFigures): object => ({
    ...figuresOf(f),
    ...(isUdp
      ? datagramsOf(f)
      : f.stream.isSender && { retransmits: f.retransmits, snd_cwnd: f.windowBytes, rtt: f.rttUs }),
    omitted: isOmitted,
    sender: f.stream.isSender,
  })
  const first = figures.filter((f) => f.stream.isSender === figures[0]!.stream.isSender)
  return {
    streams: figures.map((f) => ({ socket: f.stream.id, ...entry(f) })),
    sum: entry(sum(first)),
    ...(first.length < figures.length && {
      sum_bidir_reverse: entry(sum(figures.filter((f) => !first.includes(f)))),
    }),
  }
}

function sumsOf(pairs: readonly StreamPair[], suffix: string): object {
  return {
    [`sum_sent${suffix}`]: whole(pairs.map(({ sent }) => sent)),
    [`sum_received${suffix}`]: whole(pairs.map(({ received }) => received)),
  }
}

/** Several streams as one. */
function whole(figures: readonly Figures[]): Figures {
  const add = (pick: (f: Figures) => number | undefined): number =>
    figures.reduce((total, f) => total + (pick(f) ?? 0), 0)
  const { start, end, seconds, retransmits, packets } = figures[0]!
  const lost = add((f) => f.lost_packets)
  const count = add((f) => f.packets)
  return {
    start,
    end,
    seconds,
    bytes: add((f) => f.bytes),
    bits_per_second: add((f) => f.bits_per_second),
    ...(retransmits !== undefined && { retransmits: add((f) => f.retransmits) }),
    ...(packets !== undefined && {
      jitter_ms: add((f) => f.jitter_ms) / figures.length,
      lost_packets: lost,
      packets: count,
      lost_percent: percentOf(lost, count),
    }),
  }
}

function figuresOf(f: StreamFigures): Figures {
  return {
    start: f.startSeconds,
    end: f.endSeconds,
    seconds: f.endSeconds - f.startSeconds,
    bytes: f.bytes,
    bits_per_second: bitsPerSecond(f),
  }
}

function datagramsOf(f: StreamFigures): Partial<Figures> {
  if (f.packets === 0) return {}
  return {
    jitter_ms: f.jitterSeconds * 1000,
    lost_packets: f.lost,
    packets: f.packets,
    lost_percent: percentOf(f.lost, f.packets),
  }
}

function percentOf(part: number, all: number): number {
  return all === 0 ? 0 : (part / all) * 100
}
