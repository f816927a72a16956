/**
 * What a test has measured, as text in iperf3's columns.
 *
 * Called by: session.ts (for --get-server-output), command.ts, json-report.ts (sums).
 */
import type { ClientOutcome } from './client.ts'
import type { Interval, Measurement, StreamFigures } from './measurement.ts'
import { bothSides } from './results.ts'

const HEADS = {
  tcp: '[ ID][Role] Interval           Transfer     Bitrate         Retr',
  udp: '[ ID][Role] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams',
}

export function headText(protocol: 'tcp' | 'udp'): string {
  return HEADS[protocol]
}

/** A line a stream, and one for their sum if there are several. */
export function intervalText(interval: Interval, protocol: 'tcp' | 'udp'): string[] {
  const mark = interval.isOmitted ? '  (omitted)' : ''
  return figuresText(interval.figures, protocol).map((line) => line + mark)
}

/** The whole test as this side has counted it. */
export function measurementText(measurement: Measurement): string {
  const { intervals, figures, parameters, cpu } = measurement
  const { protocol } = parameters
  return [
    headText(protocol),
    ...intervals.flatMap((interval) => intervalText(interval, protocol)),
    '- - - - - - - - - - - - - - - - - - - - - - - - -',
    ...figuresText(figures, protocol),
    `CPU: ${cpu.total.toFixed(1)}% (${cpu.user.toFixed(1)}%u/${cpu.system.toFixed(1)}%s)`,
    '',
  ].join('\n')
}

/** The end of a client's report: what senders have counted, and what receivers have. */
export function outcomeText({ measurement, peer }: ClientOutcome): string {
  const { figures, parameters } = measurement
  const { protocol } = parameters
  const pairs = figures.map((f) => bothSides(f, peer))
  const lines = [
    '- - - - - - - - - - - - - - - - - - - - - - - - -',
    headText(protocol),
    ...figuresText(
      pairs.map(({ sent }) => sent),
      protocol,
      true,
    ).map((text) => `${text}  sender`),
    ...figuresText(
      pairs.map(({ received }) => received),
      protocol,
      false,
    ).map((text) => `${text}  receiver`),
  ]
  if (peer.outputText !== undefined) lines.push('', 'Server output:', peer.outputText)
  return lines.join('\n')
}

/** @param countsSent whether these are a sender's numbers; default what the stream is here */
function figuresText(figures: readonly StreamFigures[], protocol: 'tcp' | 'udp', countsSent?: boolean): string[] {
  const lines: string[] = []
  for (const isSender of [true, false]) {
    const same = figures.filter((f) => f.stream.isSender === isSender)
    const counted = countsSent ?? isSender
    for (const f of same) lines.push(line(String(f.stream.id).padStart(3), f, protocol, counted))
    if (same.length > 1) lines.push(line('SUM', sum(same), protocol, counted))
  }
  return lines
}

/** Figures of several streams as those of one. */
export function sum(figures: readonly StreamFigures[]): StreamFigures {
  const add = (pick: (f: StreamFigures) => number): number => figures.reduce((whole, f) => whole + pick(f), 0)
  return {
    ...figures[0]!,
    bytes: add((f) => f.bytes),
    retransmits: add((f) => f.retransmits),
    packets: add((f) => f.packets),
    lost: add((f) => f.lost),
    outOfOrder: add((f) => f.outOfOrder),
    jitterSeconds: add((f) => f.jitterSeconds) / figures.length,
  }
}

export function bitsPerSecond(f: { bytes: number; startSeconds: number; endSeconds: number }): number {
  const seconds = f.endSeconds - f.startSeconds
  return seconds > 0 ? (f.bytes * 8) / seconds : 0
}

function line(id: string, f: StreamFigures, protocol: 'tcp' | 'udp', countsSent: boolean): string {
  const role = f.stream.isSender ? '[TX]' : '[RX]'
  const times = `${f.startSeconds.toFixed(2).padStart(6)}-${f.endSeconds.toFixed(2).padEnd(6)} sec`
  const columns = `[${id}]${role} ${times}  ${bytesText(f.bytes)}  ${bitsText(bitsPerSecond(f))}`
  if (protocol === 'tcp') return countsSent ? `${columns}  ${f.retransmits}` : columns
  if (countsSent) return `${columns}  ${f.packets}`
  const percent = f.packets === 0 ? 0 : (f.lost / f.packets) * 100
  return `${columns}  ${(f.jitterSeconds * 1000).toFixed(3)} ms  ${f.lost}/${f.packets} (${percent.toPrecision(2)}%)`
}

const UNITS = ['', 'K', 'M', 'G', 'T']

/** Binary units, as iperf3. */
function bytesText(bytes: number): string {
  const power = Math.min(bytes >= 1024 ? Math.floor(Math.log2(bytes) / 10) : 0, UNITS.length - 1)
  return `${(bytes / 1024 ** power).toPrecision(3).padStart(5)} ${UNITS[power]}Bytes`
}

/** Decimal units, as iperf3. */
function bitsText(bits: number): string {
  const power = Math.min(bits >= 1000 ? Math.floor(Math.log10(bits) / 3) : 0, UNITS.length - 1)
  return `${(bits / 1000 ** power).toPrecision(3).padStart(5)} ${UNITS[power]}bits/sec`
}
