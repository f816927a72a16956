/**
 * The client of memory-bench.ts: so many connections over the stack, each with one request under way, sent when the
 * answer to its last one is in. Called by: memory-bench.ts. Calls: requests.ts.
 */
import type { Random } from '../../stack/random.ts'
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { PackratError } from '../../storage/errors.ts'
import { NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { KEYS_KEPT_MAX, Requests } from './requests.ts'

/** 'H' 'T' 'T' 'P' '/' '1' '.' '1' ' ' and the first digit of the status. */
const STATUS_OFFSET = 9
const DIGIT_2 = 0x32
const CR = 0x0d
const LF = 0x0a

/** One connection. */
class Lane {
  readonly connection: Connection
  /** Bytes of the answer that are still to come; 0: none is under way, or its head is. */
  left = 0
  isRead = false

  constructor(connection: Connection) {
    this.connection = connection
  }
}

export class MemoryClient implements Application {
  answers = 0
  /** Answers at which no more requests are sent. */
  private goal = 0
  private sent = 0
  private readonly pool: Pool
  private readonly random: Random & { below(bound: number): number }
  private readonly requests: Requests
  private readonly keys: number
  private readonly valueBytes: number
  private readonly lanes: Lane[] = []
  private readPercent = 0
  private nextKey = 0

  constructor(
    pool: Pool,
    random: Random & { below(bound: number): number },
    options: { host: string; keys: number; valueBytes: number },
  ) {
    this.pool = pool
    this.random = random
    this.keys = options.keys
    this.valueBytes = options.valueBytes
    this.requests = new Requests(pool, options)
  }

  /** Connections that are established. */
  get connected(): number {
    return this.lanes.length
  }

  /** Sends the first of so many requests, one a connection; the others follow as answers come. */
  start(requests: number, readPercent: number): void {
    this.readPercent = readPercent
    this.answers = 0
    this.sent = 0
    this.goal = requests
    for (const lane of this.lanes) if (this.sent < requests) this.send(lane)
  }

  get isDone(): boolean {
    return this.answers >= this.goal
  }

  private send(lane: Lane): void {
    this.sent++
    lane.isRead = this.readPercent > 0 && this.random.below(100) < this.readPercent
    lane.connection.send(this.requests.make(this.chooseKey(), lane.isRead))
  }

  /** Few keys in turn, so that all are used alike; many at random, so that caches help no more than they would. */
  private chooseKey(): number {
    if (this.keys > KEYS_KEPT_MAX) return this.random.below(this.keys)
    const key = this.nextKey
    this.nextKey = key + 1 === this.keys ? 0 : key + 1
    return key
  }

  /* --- Application --- */

  onAccept(connection: Connection): void {
    const lane = new Lane(connection)
    connection.user = lane
    this.lanes.push(lane)
  }

  onReceive(connection: Connection): void {
    const { pool } = this
    const lane = connection.user as Lane
    let isComplete = false
    for (let meta = connection.takeReceived(); meta !== NO_META; meta = pool.release(meta)) {
      const length = pool.dataLength(meta)
      if (lane.left === 0) lane.left = this.answerBytes(meta, length, lane.isRead)
      lane.left -= length
      isComplete = lane.left === 0
    }
    if (!isComplete) return
    this.answers++
    if (this.sent < this.goal) this.send(lane)
  }

  /** Length of the answer that begins in this line: a whole head, and behind it the value if it was read. */
  private answerBytes(meta: number, length: number, isRead: boolean): number {
    const bytes = this.pool.dataBytes(meta)
    const start = this.pool.dataStartOf(meta)
    if (bytes[start + STATUS_OFFSET] !== DIGIT_2) {
      const line = Buffer.from(bytes.subarray(start, start + length))
        .toString('latin1')
        .split('\r\n')[0]
      throw new PackratError('BENCH', `a request was answered with ${line}`)
    }
    if (!isRead) return length
    for (let at = start + STATUS_OFFSET; at < start + length - 3; at++) {
      if (bytes[at] === CR && bytes[at + 1] === LF && bytes[at + 2] === CR && bytes[at + 3] === LF)
        return at + 4 - start + this.valueBytes
    }
    throw new PackratError('BENCH', 'the head of an answer was cut')
  }

  onSendSpace(): void {}

  onClose(): void {
    throw new PackratError('BENCH', 'a connection ended')
  }
}
