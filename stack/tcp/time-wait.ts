/**
 * TIME-WAIT as a row of numbers instead of a connection (RFC 9293 3.6.1): addresses stay in the demultiplexing table
 * under the row's slot, the rest is below. All rows live equally long, so they form a queue by age, and one timer
 * serves its head.
 *
 *   oldest ◄── row ◄─► row ◄─► row ──► newest         expiry grows from left to right
 *
 * When the table is full the oldest row goes early, which is what Linux does, too.
 *
 * Called by: close.ts (enter), input.ts (segments for a row), stateless.ts (its ACKs), tcp.ts (timer).
 */
import { TIME_WAIT_REUSE_MS } from '../limits.ts'
import type { TimerWheel } from '../timer-wheel.ts'
import type { Connection } from './connection.ts'
import type { Demux } from './demux.ts'
import { mayBeMarked } from './ecn.ts'
import { NO_SLOT, Slots } from './slots.ts'

export class TimeWaitTable {
  readonly sndNxt: Int32Array
  readonly rcvNxt: Int32Array
  readonly tsRecent: Int32Array
  readonly tsOffset: Int32Array
  readonly timestampsOn: Uint8Array
  /** 1: its ACKs may be marked, as those before. */
  readonly marked: Uint8Array
  private readonly expiresMs: Int32Array
  private readonly older: Int32Array
  private readonly newer: Int32Array
  private oldest = NO_SLOT
  private newest = NO_SLOT

  private readonly rows: Slots
  private readonly demux: Demux
  private readonly timers: TimerWheel
  private readonly timer: number
  /** Row r is slot firstSlot + r of the demultiplexing table. */
  private readonly firstSlot: number
  private readonly durationMs: number

  constructor(demux: Demux, timers: TimerWheel, timer: number, firstSlot: number, rows: number, durationMs: number) {
    this.demux = demux
    this.timers = timers
    this.timer = timer
    this.firstSlot = firstSlot
    this.durationMs = durationMs
    this.rows = new Slots(rows)
    this.sndNxt = new Int32Array(rows)
    this.rcvNxt = new Int32Array(rows)
    this.tsRecent = new Int32Array(rows)
    this.tsOffset = new Int32Array(rows)
    this.timestampsOn = new Uint8Array(rows)
    this.marked = new Uint8Array(rows)
    this.expiresMs = new Int32Array(rows)
    this.older = new Int32Array(rows)
    this.newer = new Int32Array(rows)
  }

  get size(): number {
    return this.rows.used
  }

  rowOfSlot(slot: number): number {
    return slot - this.firstSlot
  }

  /** Takes over the addresses of a connection that has just left the demultiplexing table. Returns the row. */
  enter(c: Connection, nowMs: number): number {
    let row = this.rows.take()
    if (row === NO_SLOT) {
      this.remove(this.oldest)
      row = this.rows.take()
    }
    this.sndNxt[row] = c.sndMax
    this.rcvNxt[row] = c.rcvNxt
    this.tsRecent[row] = c.tsRecent
    this.tsOffset[row] = c.tsOffset
    this.timestampsOn[row] = c.timestampsOn
    this.marked[row] = c.ecnOn !== 0 && mayBeMarked(c, false) ? 1 : 0
    this.demux.insert(this.firstSlot + row, c)
    this.append(row, nowMs)
    return row
  }

  /** The peer sent its FIN again: the wait starts anew (RFC 9293 3.10.7.4). */
  restart(row: number, nowMs: number): void {
    this.unlink(row)
    this.append(row, nowMs)
  }

  remove(row: number): void {
    this.unlink(row)
    this.demux.remove(this.firstSlot + row)
    this.rows.give(row)
    if (this.oldest === NO_SLOT) this.timers.disarm(this.timer)
  }

  /**
   * Whether this side may open a new connection between the same ports: the peer can tell the two apart by timestamps, which
   * have moved on (RFC 6191 2, RFC 7323; Linux tcp_tw_reuse).
   */
  mayReuse(row: number, nowMs: number): boolean {
    const ageMs = (nowMs - (this.expiresMs[row]! - this.durationMs)) | 0
    return this.timestampsOn[row] !== 0 && ageMs >= TIME_WAIT_REUSE_MS
  }

  /** The timer: rows at the head whose time is over. */
  expire(nowMs: number): void {
    while (this.oldest !== NO_SLOT && ((this.expiresMs[this.oldest]! - nowMs) | 0) <= 0) this.remove(this.oldest)
    if (this.oldest !== NO_SLOT) this.timers.arm(this.timer, this.expiresMs[this.oldest]!)
  }

  /** Forgets all rows. */
  clear(): void {
    while (this.oldest !== NO_SLOT) this.remove(this.oldest)
  }

  private append(row: number, nowMs: number): void {
    this.expiresMs[row] = (nowMs + this.durationMs) | 0
    this.older[row] = this.newest
    this.newer[row] = NO_SLOT
    if (this.newest === NO_SLOT) this.oldest = row
    else this.newer[this.newest] = row
    this.newest = row
    if (!this.timers.isArmed(this.timer)) this.timers.arm(this.timer, this.expiresMs[row]!)
  }

  private unlink(row: number): void {
    const older = this.older[row]!
    const newer = this.newer[row]!
    if (older === NO_SLOT) this.oldest = newer
    else this.newer[older] = newer
    if (newer === NO_SLOT) this.newest = older
    else this.older[newer] = older
  }
}
