/**
 * A stream over UDP: numbered datagrams with the time of sending, and what the receiver makes of them.
 *
 *   [seconds u32][microseconds u32][number u32, or u64]   big-endian, numbers from 1
 *
 * A receiver counts the numbers that are missing as lost; one that comes late is out of order, and lost no more. Jitter
 * is that of RFC 1889 A.8, from the arrival time of the burst, not from when it was looked at.
 *
 * Called by: session.ts, client.ts. Calls: Udp, filler.ts.
 */
import type { Address } from '../../stack/address.ts'
import { SEND_OK, type UdpPort } from '../../stack/udp.ts'
import { NO_META, W_ARRIVAL_HIGH, W_ARRIVAL_LOW } from '../../storage/layout.ts'
import type { Cancel, Environment } from './environment.ts'
import type { Filler } from './filler.ts'
import { type Goal, PACING_MS, type Stream, type StreamEnds, type StreamTotals } from './stream.ts'

/** Datagrams between two looks at everything else. */
const BATCH_DATAGRAMS = 256
/** Jitter moves by this part of each difference (RFC 1889 A.8). */
const JITTER_SHARE = 16
const TWO_TO_32 = 0x1_0000_0000
/** Doubles in place, so that none is allocated: [bytes, jitter µs, transit µs of the datagram before, start µs]. */
const BYTES = 0
const JITTER_US = 1
const TRANSIT_US = 2
const STARTED_US = 3

export interface UdpStreamOptions {
  readonly id: number
  readonly isSender: boolean
  readonly port: UdpPort
  readonly localAddress: string
  /** Kept, not copied. */
  readonly remoteAddress: Address
  readonly remotePort: number
  /** Bytes of a datagram. */
  readonly blockBytes: number
  /** Numbers have 64 bits. */
  readonly wideNumbers: boolean
}

export class UdpStream implements Stream {
  readonly id: number
  readonly isSender: boolean
  readonly isDrained = true
  readonly options: UdpStreamOptions
  private readonly environment: Environment
  private readonly filler: Filler
  private readonly doubles = new Float64Array(4)
  private packets = 0
  private lost = 0
  private outOfOrder = 0
  private goal: Goal | undefined
  private bitsPerSecond = 0
  private cancel: Cancel | undefined

  constructor(environment: Environment, filler: Filler, options: UdpStreamOptions) {
    this.environment = environment
    this.filler = filler
    this.options = options
    this.id = options.id
    this.isSender = options.isSender
  }

  get ends(): StreamEnds {
    const { localAddress, port, remoteAddress, remotePort } = this.options
    return { localAddress, localPort: port.number, remoteAddress: remoteAddress.toString(), remotePort }
  }

  start(goal: Goal, bitsPerSecond: number): void {
    this.goal = goal
    this.bitsPerSecond = bitsPerSecond
    this.doubles[STARTED_US] = this.environment.clock.nowUs()
    this.sendBatch()
  }

  stop(): void {
    this.goal = undefined
    this.cancel?.()
    this.cancel = undefined
  }

  totals(): StreamTotals {
    return {
      bytes: this.doubles[BYTES]!,
      retransmits: 0,
      packets: this.packets,
      lost: this.lost,
      outOfOrder: this.outOfOrder,
      jitterSeconds: this.doubles[JITTER_US]! / 1e6,
      windowBytes: 0,
      rttUs: 0,
    }
  }

  close(): void {
    this.stop()
  }

  /** Counts a datagram; the chain stays the caller's. */
  receive(chain: number): void {
    const { pool } = this.environment.host
    const head = this.options.wideNumbers ? 16 : 12
    if (pool.dataLength(chain) < head) return
    for (let meta = chain; meta !== NO_META; meta = pool.next(meta)) this.doubles[BYTES]! += pool.dataLength(meta)
    const view = pool.dataView(chain)
    const at = pool.dataStartOf(chain)
    const sentUs = view.getUint32(at) * 1e6 + view.getUint32(at + 4)
    this.count(
      this.options.wideNumbers ? view.getUint32(at + 8) * TWO_TO_32 + view.getUint32(at + 12) : view.getUint32(at + 8),
    )
    const arrivalNs = (pool.get(chain, W_ARRIVAL_HIGH) >>> 0) * TWO_TO_32 + (pool.get(chain, W_ARRIVAL_LOW) >>> 0)
    this.measureJitter(arrivalNs / 1000 - sentUs)
  }

  private count(number: number): void {
    if (number > this.packets) {
      this.lost += number - this.packets - 1
      this.packets = number
      return
    }
    this.outOfOrder++
    if (this.lost > 0) this.lost--
  }

  private measureJitter(transitUs: number): void {
    const { doubles } = this
    const isFirst = doubles[TRANSIT_US] === 0
    const difference = Math.abs(transitUs - doubles[TRANSIT_US]!)
    doubles[TRANSIT_US] = transitUs
    if (!isFirst) doubles[JITTER_US]! += (difference - doubles[JITTER_US]!) / JITTER_SHARE
  }

  /** As many datagrams as the rate and the goal allow, then a pause. */
  private sendBatch(): void {
    const { goal, environment, options, doubles } = this
    if (goal === undefined) return
    const { udp } = environment.host
    const { blockBytes, wideNumbers } = options
    const nowUs = environment.clock.nowUs()
    const elapsedUs = nowUs - doubles[STARTED_US]!
    const allowed = this.bitsPerSecond === 0 ? Number.POSITIVE_INFINITY : (elapsedUs * this.bitsPerSecond) / 8e6
    for (let sent = 0; sent < BATCH_DATAGRAMS; sent++) {
      if (goal.bytesLeft <= 0 || doubles[BYTES]! > allowed) break
      const chain = this.filler.datagram(blockBytes, nowUs, this.packets + 1, wideNumbers)
      if (chain === NO_META) break
      if (udp.send(options.port, options.remoteAddress, options.remotePort, chain) !== SEND_OK) break
      this.packets++
      doubles[BYTES]! += blockBytes
      goal.bytesLeft -= blockBytes
    }
    this.cancel = environment.after(this.bitsPerSecond === 0 ? 0 : PACING_MS, this.batchCallback)
  }

  private readonly batchCallback = (): void => this.sendBatch()
}
