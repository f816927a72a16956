/**
 * Snapshots of clients: taken by POST /kv/_snapshot, named by an identifier in `?snapshot=`, ended by
 * DELETE /kv/_snapshot/ID, by disuse, by a write that needs the room, or by the end of the process (docs/http.md).
 *
 * Time is that of the service: seconds since the epoch, as of the last burst. Called by: the service and its methods.
 */
import { SNAPSHOTS_MAX, type Snapshot } from '../../storage/snapshot.ts'
import type { Store } from '../../storage/store.ts'
import { parseSnapshotQuery } from './key-codec.ts'
import type { RequestHead } from './request-head.ts'

/** A snapshot that is not used for so long is ended: nobody else would give back what it keeps. */
export const SNAPSHOT_IDLE_SECONDS = 60

export const GONE = `this snapshot is gone: deleted, not used for ${SNAPSHOT_IDLE_SECONDS} s, ended because a write needed the room, or the server was restarted; take another one`

/** Keys that begin with it name snapshots, if they are open, for DELETE. */
const PREFIX = Buffer.from('_snapshot/')

export interface HeldSnapshot {
  readonly id: string
  readonly snapshot: Snapshot
  /** Last use, seconds since the epoch. */
  usedAt: number
}

export class SnapshotTable {
  private readonly store: Store
  private readonly held = new Map<string, HeldSnapshot>()
  private taken = 0

  constructor(store: Store) {
    this.store = store
  }

  /** The number of open ones. */
  get count(): number {
    return this.held.size
  }

  /** Undefined: there are too many. */
  take(now: number): HeldSnapshot | undefined {
    if (this.store.snapshots.count >= SNAPSHOTS_MAX) return undefined
    // Unlike every other, also of earlier processes: a client must not read from a snapshot that is not its own.
    const id = `${now.toString(36)}-${this.store.nextVersion.toString(36)}-${++this.taken}`
    const held = { id, snapshot: this.store.snapshot(), usedAt: now }
    this.held.set(id, held)
    return held
  }

  /** The open snapshot of an identifier, used now. */
  find(id: string, now: number): Snapshot | undefined {
    this.expire(now)
    const held = this.held.get(id)
    if (held === undefined) return undefined
    held.usedAt = now
    return held.snapshot
  }

  /** The one that a request on a key names in its query: undefined if it names none, null if that is gone. */
  ofRequest(bytes: Uint8Array, start: number, head: RequestHead, now: number): Snapshot | undefined | null {
    const id = parseSnapshotQuery(bytes, start + head.queryStart, head.queryLength)
    return id === undefined ? undefined : (this.find(id, now) ?? null)
  }

  /** Ends the snapshot that a key names (`_snapshot/ID`); false if it names none. */
  endByKey(key: Uint8Array): boolean {
    if (key.length <= PREFIX.length || PREFIX.compare(key, 0, PREFIX.length) !== 0) return false
    const held = this.held.get(Buffer.from(key.subarray(PREFIX.length)).toString('latin1'))
    if (held === undefined) return false
    held.snapshot.close()
    this.held.delete(held.id)
    return true
  }

  /** Ends what was not used, and forgets what the store ended. */
  expire(now: number): void {
    for (const { id, snapshot, usedAt } of this.held.values()) {
      if (!snapshot.ended && now - usedAt <= SNAPSHOT_IDLE_SECONDS) continue
      snapshot.close()
      this.held.delete(id)
    }
  }
}
