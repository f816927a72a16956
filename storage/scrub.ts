/**
 * The scrubber: reads what is stored again, at its own pace, so that rot is found while a copy may still exist
 * elsewhere, and gives values that carry only the sum of their TCP segment a CRC32C.
 *
 *   lines     0 ───────────────────────────────────────────────► end
 *   patrol           ──► every published line: its CRC, its place in the chain, its payload    one pass in `passMs`
 *   upgrade                ──► published lines without a CRC32C: the payload, then the CRC     one pass in `upgradeMs`
 *
 * Both walk the lines, not the list, so a pass needs no order and survives any change of the store. How far each should
 * have come follows from the time; a call does what is due, within the bytes it was given, and never waits.
 *
 * An upgrade is [CRC_VIEW line][FLUSH_LINE line] in a persist program of its own, without a fence: the next one, whoever
 * needs it, makes it durable. If a crash comes first, the line still has its sum, and is upgraded again.
 *
 * Called by: tools/scrubbing.ts. Calls: entry-check.ts, persistence. docs/integrity.md.
 *
 * Invariants:
 *  1. A CRC32C is stored only over bytes whose sum was found right in the same call.
 *  2. No upgrade while a program is on its way: both would write metadata lines.
 *  3. Nothing but the payload CRC word of a published line is ever written.
 */
import { EntryCheck } from './entry-check.ts'
import {
  ANCHOR_META,
  KIND_FRAGMENT,
  KIND_HEAD,
  LINE_BYTES,
  NO_META,
  stateKind,
  W_PAYLOAD_CRC,
  W_PAYLOAD_CRC_COMPLEMENT,
  W_STATE,
  W_VERSION_LOW,
} from './layout.ts'
import { PersistProgram } from './persist-program.ts'
import type { Persistence } from './persistence.ts'
import type { Pool } from './pool.ts'
import type { CorruptEntry } from './recovery.ts'
import type { Store } from './store.ts'

export interface ScrubOptions {
  /** Everything is verified once in this time, ms. */
  readonly passMs: number
  /** A value gets its CRC32C within this time of being published, ms, as far as the calls' budgets allow. */
  readonly upgradeMs: number
  /** Called once for each entry found damaged. */
  readonly onFinding: (finding: CorruptEntry) => void
  /** Time of the construction, ms; the same clock as `step`. */
  readonly nowMs: number
}

/** Counters that `/stats` shows under `scrub`. */
export class ScrubCounters {
  /** Complete patrols. */
  passes = 0
  linesChecked = 0
  bytesChecked = 0
  /** Lines that were given a CRC32C. */
  upgraded = 0
  /** Entries found damaged. */
  corrupt = 0
  /** Part of the present patrol that is done, 0 to 1. */
  progress = 0
}

/** Where a walk over the lines stands, and where it should. */
class Walk {
  /** The line to look at next. */
  next = 0
  private readonly end: number
  private readonly periodMs: number
  private startedMs: number

  constructor(end: number, periodMs: number, nowMs: number) {
    this.end = end
    this.periodMs = periodMs
    this.startedMs = nowMs
  }

  /** The line up to which the walk should have come by now. */
  due(nowMs: number): number {
    return Math.floor(this.end * Math.min((nowMs - this.startedMs) / this.periodMs, 1))
  }

  /** Starts over behind the last line. Returns whether it did. */
  wrap(nowMs: number): boolean {
    if (this.next < this.end) return false
    this.next = 0
    this.startedMs = nowMs
    return true
  }

  get progress(): number {
    return this.next / this.end
  }
}

export class Scrubber {
  readonly counters = new ScrubCounters()
  private readonly store: Store
  private readonly persistence: Persistence
  private readonly pool: Pool
  private readonly entries: EntryCheck
  private readonly patrol: Walk
  private readonly upgrade: Walk
  private readonly program = new PersistProgram()

  constructor(store: Store, persistence: Persistence, options: ScrubOptions) {
    this.store = store
    this.persistence = persistence
    this.pool = persistence.pool
    this.entries = new EntryCheck(store, persistence, (finding) => {
      this.counters.corrupt++
      options.onFinding(finding)
    })
    this.patrol = new Walk(this.pool.metaIndexEnd, options.passMs, options.nowMs)
    this.upgrade = new Walk(this.pool.metaIndexEnd, options.upgradeMs, options.nowMs)
  }

  /**
   * Does what is due by now.
   * @param budgetBytes bound of what is read: payload, and 64 bytes a line; the last line may exceed it
   * @returns whether the budget ended before what is due was done
   */
  step(nowMs: number, budgetBytes: number): boolean {
    const behindUpgrade = this.stepUpgrade(nowMs, budgetBytes >> 1)
    const behindPatrol = this.stepPatrol(nowMs, budgetBytes >> 1)
    return behindUpgrade || behindPatrol
  }

  private stepPatrol(nowMs: number, budgetBytes: number): boolean {
    const { patrol, counters } = this
    const due = patrol.due(nowMs)
    let left = budgetBytes
    while (patrol.next < due && left > 0) {
      const meta = patrol.next++
      left -= LINE_BYTES
      const head = this.entryOf(meta)
      if (head === NO_META || this.store.checks.isMarkedCorrupt(head)) continue
      left -= this.pool.dataLength(meta)
      this.check(head, meta)
    }
    if (patrol.wrap(nowMs)) counters.passes++
    counters.progress = patrol.progress
    return patrol.next < due && left <= 0
  }

  private stepUpgrade(nowMs: number, budgetBytes: number): boolean {
    const { store, pool, upgrade, program } = this
    if (store.busy || store.poisoned !== 0) return false
    const due = upgrade.due(nowMs)
    let left = budgetBytes
    let upgrades = 0
    while (upgrade.next < due && left > 0) {
      const meta = upgrade.next++
      left -= LINE_BYTES
      const head = this.entryOf(meta)
      if (head === NO_META || store.checks.isMarkedCorrupt(head)) continue
      if (pool.get(meta, W_PAYLOAD_CRC) !== 0 || pool.get(meta, W_PAYLOAD_CRC_COMPLEMENT) !== 0) continue
      left -= pool.dataLength(meta)
      if (!this.check(head, meta)) continue
      program.crcView(meta)
      program.flushLine(meta)
      upgrades++
    }
    upgrade.wrap(nowMs)
    if (upgrades > 0) this.execute(upgrades)
    return upgrade.next < due && left <= 0
  }

  private execute(upgrades: number): void {
    const { program } = this
    const error = this.persistence.execute(program.words, program.length)
    program.reset()
    // There is no sync in the program that could fail, so it is the program itself that was refused.
    if (error !== 0) throw new Error(`the scrubber's program was refused (error ${-error})`)
    this.counters.upgraded += upgrades
  }

  /** The head of the published entry that a line is part of, or NO_META. */
  private entryOf(meta: number): number {
    const { pool, store } = this
    if (meta === ANCHOR_META || !pool.isMeta(meta)) return NO_META
    if (store.list.has(meta)) return meta
    if (stateKind(pool.get(meta, W_STATE)) !== KIND_FRAGMENT) return NO_META
    const head = pool.get(meta, W_VERSION_LOW)
    if (head === ANCHOR_META || !pool.isMeta(head) || !store.list.has(head)) return NO_META
    return stateKind(pool.get(head, W_STATE)) === KIND_HEAD ? head : NO_META
  }

  private check(head: number, meta: number): boolean {
    this.counters.linesChecked++
    this.counters.bytesChecked += this.pool.dataLength(meta)
    return this.entries.check(head, meta)
  }
}
