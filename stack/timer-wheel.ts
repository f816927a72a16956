/**
 * Hierarchical timing wheel (Varghese and Lauck 1987, scheme 6): timers are small integers, ticks are milliseconds,
 * arming and disarming take constant time and allocate nothing.
 *
 *   level 0   256 slots of 1 ms         ticks     now .. now + 255
 *   level 1   256 slots of 256 ms                 .. 65 s
 *   level 2   256 slots of 65 s                   .. 4.6 h
 *   level 3   256 slots of 4.6 h                  .. 49 days
 *
 * A slot is a doubly linked list through next/previous; a bitmap a level says which slots are not empty, so that
 * long silences are skipped and not walked. When time reaches the first tick of a slot of a higher level, its timers
 * are dealt out to lower levels (cascade).
 *
 * Re-arming to a later moment, which TCP does with every ACK, only stores the new deadline: the timer stays where
 * it is, and moves when its old place comes up (lazy re-arm).
 *
 * Invariants:
 *  1. A linked timer stands in a slot whose first tick is not later than its deadline.
 *  2. nextEvent is not later than any tick at which something has to be done.
 *  3. Time never goes back; ticks are int32 and compared by subtraction, hence deadlines lie less than 2^31 ms ahead.
 *
 * Called by: Host.poll (advance), arp.ts and tcp/timers.ts (arm, disarm).
 */

const LEVELS = 4
const SLOT_BITS = 8
const SLOTS = 1 << SLOT_BITS
const SLOT_MASK = SLOTS - 1
const BITMAP_WORDS = SLOTS >> 5
const NONE = -1

export type TimerHandler = (timer: number) => void

export class TimerWheel {
  private readonly next: Int32Array
  private readonly previous: Int32Array
  /** Slot that the timer is linked in, or NONE. */
  private readonly slotOf: Int32Array
  private readonly deadline: Int32Array
  private readonly armed: Uint8Array
  private readonly heads = new Int32Array(LEVELS * SLOTS).fill(NONE)
  private readonly bitmap = new Int32Array(LEVELS * BITMAP_WORDS)
  private readonly handler: TimerHandler
  private linkedCount = 0
  private armedCount = 0
  /** Every tick up to and including this one was processed. */
  private current: number
  private nextEvent: number

  /** @param timers number of timers; their names are 0 .. timers - 1 */
  constructor(timers: number, nowMs: number, handler: TimerHandler) {
    this.next = new Int32Array(timers).fill(NONE)
    this.previous = new Int32Array(timers).fill(NONE)
    this.slotOf = new Int32Array(timers).fill(NONE)
    this.deadline = new Int32Array(timers)
    this.armed = new Uint8Array(timers)
    this.handler = handler
    this.current = nowMs
    this.nextEvent = nowMs
  }

  /** Timers that are armed. */
  get armedTimers(): number {
    return this.armedCount
  }

  isArmed(timer: number): boolean {
    return this.armed[timer] !== 0
  }

  deadlineOf(timer: number): number {
    return this.deadline[timer]!
  }

  /** Fires `timer` at deadlineMs, or at the next tick if that is past. Replaces an earlier deadline. */
  arm(timer: number, deadlineMs: number): void {
    // The tick that is current may have been processed already.
    if (((deadlineMs - this.current) | 0) <= 0) deadlineMs = (this.current + 1) | 0
    if (this.armed[timer] === 0) {
      this.armed[timer] = 1
      this.armedCount++
    }
    const linked = this.slotOf[timer] !== NONE
    if (linked && ((deadlineMs - this.deadline[timer]!) | 0) >= 0) {
      this.deadline[timer] = deadlineMs // lazy: it moves when its old place comes up
      return
    }
    if (linked) this.unlink(timer)
    this.deadline[timer] = deadlineMs
    this.link(timer)
  }

  /** Stops a timer; harmless if it is not armed. */
  disarm(timer: number): void {
    if (this.armed[timer] === 0) return
    this.armed[timer] = 0
    this.armedCount--
    this.unlink(timer)
  }

  /** Runs the handler of every timer whose deadline is not later than nowMs, in order of deadlines. */
  advance(nowMs: number): void {
    while (this.linkedCount > 0 && ((nowMs - this.nextEvent) | 0) >= 0) {
      if (((this.nextEvent - this.current) | 0) > 0) {
        this.current = this.nextEvent
        this.cascade()
        this.fire(this.current & SLOT_MASK)
      }
      this.nextEvent = this.findNextEvent()
    }
    // With no timer that ends the sleep the silence may have been so long that the difference has wrapped.
    if (this.linkedCount === 0 || ((nowMs - this.current) | 0) > 0) this.current = nowMs
  }

  /** Milliseconds from nowMs until something may be due; -1 if no timer is armed. May be early, never late. */
  msUntilNext(nowMs: number): number {
    if (this.linkedCount === 0) return -1
    const distance = (this.nextEvent - nowMs) | 0
    return Math.max(distance, 0)
  }

  private link(timer: number): void {
    const deadline = this.deadline[timer]!
    const distance = (deadline - this.current) | 0
    const level = distance < SLOTS ? 0 : distance < 1 << 16 ? 1 : distance < 1 << 24 ? 2 : 3
    const shift = level * SLOT_BITS
    const slot = level * SLOTS + ((deadline >> shift) & SLOT_MASK)
    const head = this.heads[slot]!
    this.next[timer] = head
    this.previous[timer] = NONE
    if (head !== NONE) this.previous[head] = timer
    this.heads[slot] = timer
    this.slotOf[timer] = slot
    this.bitmap[slot >> 5]! |= 1 << (slot & 31)
    const event = (deadline >> shift) << shift
    if (this.linkedCount++ === 0 || ((event - this.nextEvent) | 0) < 0) this.nextEvent = event
  }

  private unlink(timer: number): void {
    const slot = this.slotOf[timer]!
    const next = this.next[timer]!
    const previous = this.previous[timer]!
    if (next !== NONE) this.previous[next] = previous
    if (previous !== NONE) this.next[previous] = next
    else {
      this.heads[slot] = next
      if (next === NONE) this.bitmap[slot >> 5]! &= ~(1 << (slot & 31))
    }
    this.slotOf[timer] = NONE
    this.linkedCount--
  }

  /** Deals out the slots of higher levels that begin at the current tick. */
  private cascade(): void {
    for (let level = LEVELS - 1; level > 0; level--) {
      const shift = level * SLOT_BITS
      if ((this.current & ((1 << shift) - 1)) !== 0) continue
      const slot = level * SLOTS + ((this.current >> shift) & SLOT_MASK)
      let timer = this.heads[slot]!
      while (timer !== NONE) {
        const next = this.next[timer]!
        this.unlink(timer)
        this.link(timer)
        timer = next
      }
    }
  }

  private fire(slot: number): void {
    // From the head each time: a handler may arm and disarm other timers of this very slot.
    for (;;) {
      const timer = this.heads[slot]!
      if (timer === NONE) return
      this.unlink(timer)
      if (((this.deadline[timer]! - this.current) | 0) > 0) {
        this.link(timer) // was re-armed to a later moment
        continue
      }
      this.armed[timer] = 0
      this.armedCount--
      this.handler(timer)
    }
  }

  private findNextEvent(): number {
    let best = this.current
    let found = false
    for (let level = 0; level < LEVELS; level++) {
      const shift = level * SLOT_BITS
      const from = this.current >> shift
      const distance = this.nextSlotDistance(level, from & SLOT_MASK)
      if (distance < 0) continue
      const event = ((from + distance) << shift) | 0
      if (!found || ((event - best) | 0) < 0) best = event
      found = true
    }
    return best
  }

  /** Slots from `index` to the next one that is not empty, 1 .. 256 (256: the same slot, a whole turn ahead); -1 if all are empty. */
  private nextSlotDistance(level: number, index: number): number {
    const base = level * BITMAP_WORDS
    for (let step = 0; step <= BITMAP_WORDS; step++) {
      const start = index + 1
      const word = ((start >> 5) + step) & (BITMAP_WORDS - 1)
      let bits = this.bitmap[base + word]!
      if (step === 0) bits &= -1 << (start & 31)
      if (bits === 0) continue
      const slot = (word << 5) + (31 - Math.clz32(bits & -bits))
      const distance = (slot - index) & SLOT_MASK
      return distance === 0 ? SLOTS : distance
    }
    return -1
  }
}
