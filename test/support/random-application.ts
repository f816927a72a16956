/**
 * An application that behaves as its plan says: it writes in pieces of random size, reads at once or at leisure, closes,
 * half-closes or aborts, and remembers how its connection ended. For properties over random behaviour.
 */
import type { SeededRandom } from '../../stack/random.ts'
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import type { Pool } from '../../storage/pool.ts'
import type { ImpairedLab } from './impaired-lab.ts'
import { chainOf, consumeChain } from './stream-application.ts'

/** Buffers of the pool that an application leaves to others when it writes. */
const BUFFERS_LEFT = 48
/** When there is no room to write: tries again after this, µs. */
const RETRY_US = 5000

export interface Plan {
  /** Where its bytes lie in the pattern, and how many there are. */
  from: number
  bytes: number
  /** Largest piece of one write, and of one view in it. */
  pieceMax: number
  viewMax: number
  /** Pause after a write, up to this, µs; 0 writes as fast as there is room. */
  pauseUsMax: number
  /** It reads at most so much at a time, every so many µs; 0 reads at once. */
  readBytes: number
  readEveryUs: number
  /** Reads nothing before this time after the start, µs. */
  readAfterUs: number
  /** Shuts down when everything is written; else only when the peer has, too. */
  closesFirst: boolean
  /** Gives the first piece to a connection that is not established yet. */
  writesEarly: boolean
  /** Aborts so long after the start, µs; negative: never. */
  abortAfterUs: number
  /** Aborts in onReceive, when so many bytes have come; negative: never. */
  abortAfterBytes: number
}

export class RandomApplication implements Application {
  readonly plan: Plan
  connection: Connection | undefined
  /** 1 + the reason that onClose gave; 0 while it lives. */
  ended = 0
  established = false
  aborted = false
  writtenBytes = 0
  hasShutDown = false
  receivedBytes = 0
  sawEnd = false
  /** The first thing that must not be. */
  fault = ''
  private readonly lab: ImpairedLab
  private readonly pool: Pool
  private readonly random: SeededRandom
  private readonly pattern: Uint8Array
  private readonly expectedFrom: number
  private readonly startUs: number
  private writePending = false
  private readPending = false

  /** @param expectedFrom where the peer's bytes lie in the pattern */
  constructor(
    lab: ImpairedLab,
    pool: Pool,
    plan: Plan,
    pattern: Uint8Array,
    expectedFrom: number,
    random: SeededRandom,
  ) {
    this.lab = lab
    this.pool = pool
    this.plan = plan
    this.pattern = pattern
    this.expectedFrom = expectedFrom
    this.random = random
    this.startUs = lab.nowUs
    if (plan.abortAfterUs >= 0) lab.at(lab.nowUs + plan.abortAfterUs, () => this.abort())
  }

  get reason(): number {
    return this.ended - 1
  }

  /** The connection that `connect` gave: not established yet. */
  opens(c: Connection): void {
    this.connection = c
    if (this.plan.writesEarly) this.writePiece(c)
  }

  onAccept(c: Connection): void {
    if (this.established) this.fail('onAccept came twice')
    if (this.connection !== undefined && this.connection !== c) this.fail('onAccept of another connection')
    this.connection = c
    this.established = true
    this.write()
  }

  onReceive(c: Connection): void {
    if (!this.established) this.fail('onReceive came before onAccept')
    if (c !== this.connection) this.fail('onReceive of another connection')
    const atOnce = this.plan.readEveryUs === 0 && this.lab.nowUs >= this.startUs + this.plan.readAfterUs
    // Where nothing is left to take, the connection may end before this application would look again.
    if (atOnce || c.receiveQueuedBytes === 0) this.read()
    else this.readLater()
  }

  onSendSpace(): void {
    this.write()
  }

  onClose(_c: Connection, reason: number): void {
    if (this.ended !== 0) this.fail('onClose came twice')
    this.ended = 1 + reason
  }

  abort(): void {
    if (this.ended !== 0 || this.connection === undefined) return
    this.aborted = true
    this.connection.abort()
    if (this.ended === 0) this.fail('abort returned before onClose')
  }

  private fail(text: string): void {
    if (this.fault === '') this.fault = text
  }

  /** Writes until the plan says pause, or there is no room; shuts down behind the last byte. */
  private write(): void {
    const { plan, connection: c } = this
    if (c === undefined || !this.established || this.ended !== 0 || this.writePending || this.hasShutDown) return
    while (this.writtenBytes < plan.bytes) {
      if (!this.writePiece(c)) {
        // onSendSpace says when the queue has room; that the pool has, nobody does.
        if (c.sendSpace > 0) this.writeLater(RETRY_US)
        return
      }
      if (plan.pauseUsMax > 0) {
        this.writeLater(1 + this.random.below(plan.pauseUsMax))
        return
      }
    }
    if (!plan.closesFirst && !this.sawEnd) return
    this.hasShutDown = true
    c.shutdown()
  }

  /** @returns false if there is no room for a byte */
  private writePiece(c: Connection): boolean {
    const { plan } = this
    const inPool = (this.pool.freeBuffers - BUFFERS_LEFT) * plan.viewMax
    const room = Math.min(c.sendSpace, inPool, plan.bytes - this.writtenBytes)
    if (room <= 0) return false
    const length = Math.min(room, 1 + this.random.below(plan.pieceMax))
    const from = plan.from + this.writtenBytes
    c.send(chainOf(this.pool, this.pattern.subarray(from, from + length), plan.viewMax))
    this.writtenBytes += length
    return true
  }

  private writeLater(delayUs: number): void {
    this.writePending = true
    this.lab.at(this.lab.nowUs + delayUs, () => {
      this.writePending = false
      this.write()
    })
  }

  private read(): void {
    const { plan, connection: c } = this
    if (c === undefined || this.ended !== 0) return
    const chain = plan.readBytes > 0 ? c.takeReceived(plan.readBytes) : c.takeReceived()
    const bytes = consumeChain(this.pool, chain)
    const from = this.expectedFrom + this.receivedBytes
    if (Buffer.compare(bytes, this.pattern.subarray(from, from + bytes.length)) !== 0)
      this.fail(`bytes ${this.receivedBytes} to ${this.receivedBytes + bytes.length} are not the peer's`)
    this.receivedBytes += bytes.length
    if (plan.abortAfterBytes >= 0 && this.receivedBytes >= plan.abortAfterBytes) {
      this.abort()
      return
    }
    if (c.receiveQueuedBytes > 0) {
      this.readLater()
      return
    }
    if (c.receiveFinished === 0 || this.sawEnd) return
    this.sawEnd = true
    this.write()
  }

  private readLater(): void {
    if (this.readPending) return
    this.readPending = true
    const atUs = Math.max(this.lab.nowUs + this.plan.readEveryUs, this.startUs + this.plan.readAfterUs)
    this.lab.at(atUs, () => {
      this.readPending = false
      this.read()
    })
  }
}
