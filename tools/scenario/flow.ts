/**
 * Follows one connection at one point of the link, and calls each segment by its name: the third data segment, the
 * second retransmission, the twelfth ACK. Numbers are per direction and from 1.
 *
 *   data            payload that goes beyond everything sent before
 *   retransmission  payload that does not; `repeats` is the number of the data segment
 *   ack             no payload, no SYN, FIN or RST; the ACK of the handshake counts
 *   window-update   an ack that acknowledges nothing new, shows no new SACK block, and opens the window
 *   last-ack        an ack of the other side's FIN
 *
 * Called by: script.ts. Calls: frame.ts.
 */
import { FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN } from '../../stack/wire/tcp.ts'
import type { Side } from './document.ts'
import type { TcpFrame } from './frame.ts'
import type { Kind } from './selector.ts'

/** One segment of a connection; numbers relative to the first data byte of its direction, which is 0. */
export interface Segment {
  readonly from: Side
  readonly start: number
  readonly end: number
  /** -1: no ACK flag. */
  readonly acknowledged: number
  /** Bytes, scaled. */
  readonly windowBytes: number
  readonly sack: readonly (readonly [number, number])[]
  readonly flags: number
  readonly payloadBytes: number
  /** What it is called, and its number as such. */
  readonly names: ReadonlyMap<Kind, number>
  /** Of a retransmission: the number of the data segment that it repeats, and how often that was done, this included. */
  readonly repeats: number
  readonly repetition: number
}

class Direction {
  /** Raw number of the SYN; undefined before it was seen. */
  initial: number | undefined
  scale = 0
  maxEnd = 0
  finEnd = -1
  /** Where each data segment began. */
  readonly dataStarts: number[] = []
  /** How often the data segment of each number was repeated. */
  readonly repetitions: number[] = []
  readonly counts = new Map<Kind, number>()
  lastAcknowledged = -1
  lastWindowBytes = 0
  lastSack = ''

  count(kind: Kind): number {
    const number = (this.counts.get(kind) ?? 0) + 1
    this.counts.set(kind, number)
    return number
  }
}

export class Flow {
  private readonly directions: Record<Side, Direction> = { host: new Direction(), peer: new Direction() }
  /** RFC 7323 2.2: windows are scaled only if both sides said so. */
  private scaling = true

  /** Takes the next segment of this connection, in the order of passing. */
  take(frame: TcpFrame, from: Side): Segment {
    const own = this.directions[from]
    const other = this.directions[from === 'host' ? 'peer' : 'host']
    const { flags, payloadBytes } = frame
    const isSyn = (flags & FLAG_SYN) !== 0
    if (isSyn) {
      own.initial = frame.sequence
      own.scale = Math.max(frame.scale, 0)
      if (frame.scale < 0) this.scaling = false
    }
    const start = isSyn ? 0 : (frame.sequence - (own.initial ?? frame.sequence) - 1) | 0
    const end = start + payloadBytes
    const hasAck = (flags & FLAG_ACK) !== 0 && other.initial !== undefined
    const acknowledged = hasAck ? (frame.acknowledgement - other.initial! - 1) | 0 : -1
    const relative = (edge: number): number => (edge - (other.initial ?? edge) - 1) | 0
    const sack = frame.sack.map(([left, right]) => [relative(left), relative(right)] as const)
    const windowBytes = frame.window * (isSyn || !this.scaling ? 1 : 2 ** own.scale)
    const segment = { from, start, end, acknowledged, windowBytes, sack, flags, payloadBytes }
    return { ...segment, ...this.name(segment, own, other) }
  }

  private name(
    segment: Omit<Segment, 'names' | 'repeats' | 'repetition'>,
    own: Direction,
    other: Direction,
  ): Pick<Segment, 'names' | 'repeats' | 'repetition'> {
    const { flags, payloadBytes, start, end, acknowledged, windowBytes } = segment
    const names = new Map<Kind, number>()
    const call = (kind: Kind): unknown => names.set(kind, own.count(kind))
    let repeats = 0
    let repetition = 0
    if (flags & FLAG_SYN) call(flags & FLAG_ACK ? 'syn-ack' : 'syn')
    if (flags & FLAG_RST) call('rst')
    if (flags & FLAG_FIN) {
      call('fin')
      own.finEnd = end + 1
    }
    if (payloadBytes > 0 && end > own.maxEnd) {
      call('data')
      own.dataStarts.push(start)
      own.maxEnd = end
    } else if (payloadBytes > 0) {
      call('retransmission')
      repeats = own.dataStarts.findLastIndex((begin) => begin <= start) + 1
      repetition = (own.repetitions[repeats] ?? 0) + 1
      own.repetitions[repeats] = repetition
    }
    if (payloadBytes === 0 && (flags & (FLAG_SYN | FLAG_FIN | FLAG_RST)) === 0 && acknowledged >= 0) {
      call('ack')
      const sack = segment.sack.join(' ')
      if (acknowledged === own.lastAcknowledged && sack === own.lastSack && windowBytes > own.lastWindowBytes)
        call('window-update')
      if (other.finEnd >= 0 && acknowledged === other.finEnd) call('last-ack')
      own.lastSack = sack
    }
    if (acknowledged >= 0) {
      own.lastAcknowledged = acknowledged
      own.lastWindowBytes = windowBytes
    }
    return { names, repeats, repetition }
  }
}
