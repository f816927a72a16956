/**
 * One batch: the changes that one receive burst staged, the persist program that will make them durable, and
 * what may be reused afterwards. commit.ts owns two of them and swaps: one is staged while the other is in flight.
 *
 * Keys staged in a batch are found again through a small open-addressing table, so that a second write to a key
 * in the same batch takes the place of the first. Nothing allocates once the arrays have grown to their working size.
 */

import { keyEquals } from './key.ts'
import { NO_META } from './layout.ts'
import { PersistProgram } from './persist-program.ts'
import type { Pool } from './pool.ts'

export const CHANGE_PUT = 1
export const CHANGE_DELETE = 2

const INITIAL_CHANGES = 64

/** A list of line indices that grows and is emptied as a whole. */
export class LineList {
  lines = new Int32Array(64)
  length = 0

  push(meta: number): void {
    if (this.length === this.lines.length) {
      const larger = new Int32Array(this.lines.length * 2)
      larger.set(this.lines)
      this.lines = larger
    }
    this.lines[this.length++] = meta
  }

  /** Takes a line out, if it is in the list; the order of the others may change. */
  remove(meta: number): void {
    const at = this.lines.subarray(0, this.length).indexOf(meta)
    if (at >= 0) this.lines[at] = this.lines[--this.length]!
  }
}

export class Batch {
  readonly program = new PersistProgram()
  /** Lines given up before they were published; the program may seal some of them nevertheless. */
  readonly discarded = new LineList()
  /** Lines that are free once this batch's program has run: their clears and unlinks are part of it. */
  readonly releasable = new LineList()
  /** Superseded heads that this batch's program clears; their fragments follow in a later one. */
  readonly retired = new LineList()
  /** Lines that may be cleared only when this batch's program has run: what kept an atomic batch alive until then. */
  readonly deferred = new LineList()
  number = 0
  /** No version that its changes carry is greater. */
  lastVersion = 0
  /** The line that commits the batch's atomic changes, all together; NO_META if it has none. */
  group = NO_META

  count = 0
  kind = new Uint8Array(INITIAL_CHANGES)
  /** 1: becomes part of the store together with all others that have it, by the group's seal. */
  atomic = new Uint8Array(INITIAL_CHANGES)
  /** The entry to publish (CHANGE_PUT), or the tombstone of an atomic deletion. */
  head = new Int32Array(INITIAL_CHANGES)
  /** Key: (buffer, view). For a put the head's own; for a delete the request's buffer, retained by the batch. */
  keyBuffer = new Int32Array(INITIAL_CHANGES)
  keyView = new Int32Array(INITIAL_CHANGES)
  hash = new Int32Array(INITIAL_CHANGES)
  /** The committed entry that this change supersedes, as of `epoch`. */
  existing = new Int32Array(INITIAL_CHANGES)
  /** Skip-list epoch at which `existing` and the place were right. */
  epoch = new Int32Array(INITIAL_CHANGES)
  /** Place of a key that is new: the node before it. */
  predecessor = new Int32Array(INITIAL_CHANGES)
  /** Change number + 1 by hash; 0 is empty. */
  private table = new Int32Array(INITIAL_CHANGES * 2)

  /** The staged change of a key, or -1. */
  find(pool: Pool, hash: number, bytes: Uint8Array, start: number, length: number): number {
    const mask = this.table.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const change = this.table[slot]! - 1
      if (change < 0) return -1
      if (
        this.hash[change] === hash &&
        keyEquals(pool, this.keyBuffer[change]!, this.keyView[change]!, bytes, start, length)
      )
        return change
    }
  }

  /** Adds a change for a key that `find` did not find. Returns its number. */
  add(hash: number): number {
    if (this.count === this.kind.length) this.grow()
    const change = this.count++
    this.hash[change] = hash
    this.atomic[change] = 0
    this.index(change, hash)
    return change
  }

  /** Forgets everything; the arrays stay. */
  reset(): void {
    const mask = this.table.length - 1
    for (let change = 0; change < this.count; change++) {
      let slot = this.hash[change]! & mask
      while (this.table[slot] !== 0) {
        this.table[slot] = 0
        slot = (slot + 1) & mask
      }
    }
    this.count = 0
    this.program.reset()
    this.discarded.length = 0
    this.releasable.length = 0
    this.retired.length = 0
    this.deferred.length = 0
    this.group = NO_META
  }

  private index(change: number, hash: number): void {
    const mask = this.table.length - 1
    let slot = hash & mask
    while (this.table[slot] !== 0) slot = (slot + 1) & mask
    this.table[slot] = change + 1
  }

  private grow(): void {
    const capacity = this.kind.length * 2
    const widen = <T extends Uint8Array | Int32Array>(from: T, to: T): T => {
      to.set(from)
      return to
    }
    this.kind = widen(this.kind, new Uint8Array(capacity))
    this.atomic = widen(this.atomic, new Uint8Array(capacity))
    this.head = widen(this.head, new Int32Array(capacity))
    this.keyBuffer = widen(this.keyBuffer, new Int32Array(capacity))
    this.keyView = widen(this.keyView, new Int32Array(capacity))
    this.hash = widen(this.hash, new Int32Array(capacity))
    this.existing = widen(this.existing, new Int32Array(capacity))
    this.epoch = widen(this.epoch, new Int32Array(capacity))
    this.predecessor = widen(this.predecessor, new Int32Array(capacity))
    this.table = new Int32Array(capacity * 2)
    for (let change = 0; change < this.count; change++) this.index(change, this.hash[change]!)
  }
}
