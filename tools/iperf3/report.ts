/**
 * What a test has measured, as text in iperf3's columns.
 *
 * Called by: session.ts (for --get-server-output), command.ts.
 */
import type { Interval, Measurement, StreamFigures } from './measurement.ts'

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

export function figuresText(figures: readonly StreamFigures[], protocol: 'tcp' | 'udp'): string[] {
  const lines = figures.map((f) => line(String(f.stream.id).padStart(3), role(f.stream.isSender), f, protocol))
  for (const isSender of [true, false]) {
    const same = figures.filter((f) => f.stream.isSender === isSender)
    if (same.length > 1) lines.push(line('SUM', role(isSender), sum(same), protocol))
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

function role(isSender: boolean): string {
  return isSender ? '[TX]' : '[RX]'
}

function line(id: string, which: string, f: StreamFigures, protocol: 'tcp' | 'udp'): string {
  const times = `${f.startSeconds.toFixed(2).padStart(6)}-${f.endSeconds.toFixed(2).padEnd(6)} sec`
  const columns = `[${id}]${which} ${times}  ${bytesText(f.bytes)}  ${bitsText(bitsPerSecond(f))}`
  if (protocol === 'tcp') return f.stream.isSender ? `${columns}  ${f.retransmits}` : columns
  if (f.stream.isSender) return `${columns}  ${f.packets}`
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
