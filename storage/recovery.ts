/**
 * Recovery: from a region in any state a crash can leave it in to a consistent store (docs/format.md, "Recovery").
 *
 * Called by: store.ts when it opens. Calls: persistence (line states, one persist program), skip-list (rebuild).
 *
 *   1. classify    every line by its commit word and CRC; heads must lead a complete chain of their own fragments;
 *                  members of an atomic batch count only if a committed group covers them
 *   2. walk        the level-0 links from the anchor, passing through lines that are not committed (any more)
 *   3. insert      committed heads that the walk did not meet (their predecessor's link was lost)
 *   4. reclaim     older versions of a key, fragments that no head reaches
 *   5. account     references to buffers, free lists
 *   6. persist     cleared lines and mended links, in one program
 *
 * Invariants:
 *  1. The lines are the authority; a link can be wrong without losing an entry.
 *  2. A line whose commit word is neither 0 nor valid is never reused or served: it is reported, and stays.
 *  3. recover(recover(x)) = recover(x): step 6 changes only what step 2 to 4 would find again.
 *  4. Of an atomic batch either every member counts or none does, also after a crash in this recovery.
 *  5. A head that fails its CRC never displaces one that does not: its version, and even its key, may be wrong.
 */
import { compareVersions, keyLength, keyStart, readableKey, valueLength } from './entry.ts'
import { compareKey, keyPrefix } from './key.ts'
import {
  ANCHOR_META,
  BUFFER_BYTES,
  FLAG_MEMBER,
  FLAG_TOMBSTONE,
  KIND_ANCHOR,
  KIND_FRAGMENT,
  KIND_GROUP,
  KIND_HEAD,
  NO_META,
  stateFlags,
  stateKind,
  viewLength,
  viewOffset,
  W_ARRIVAL_HIGH,
  W_ARRIVAL_LOW,
  W_BUFFER,
  W_DATA,
  W_NEXT,
  W_STATE,
  W_VALUE,
  W_VERSION_HIGH,
  W_VERSION_LOW,
} from './layout.ts'
import { LINE_INVALID, LINE_UNPUBLISHED, LINE_VALID, type Persistence } from './persistence.ts'
import type { Pool } from './pool.ts'
import type { Reclamation } from './reclamation.ts'
import type { SkipList } from './skip-list.ts'

/** A line or an entry that fails its check. */
export interface CorruptEntry {
  /** The key as it reads, if its view is plausible. */
  readonly key: Uint8Array | undefined
  readonly meta: number
  readonly buffer: number
  readonly reason: string
}

export interface RecoveryReport {
  records: number
  /** Lines whose commit word was set. */
  committedLines: number
  /** Entries that the level-0 walk did not meet and that were inserted. */
  inserted: number
  /** The walk was out of order; the list was linked anew by sorting. */
  relinked: boolean
  /** Older versions of a key that were cleared. */
  superseded: number
  /** Fragments that no head reaches, cleared. */
  orphans: number
  /** Changes of committed atomic batches that were still to be settled. */
  completed: number
  /** Changes of atomic batches that were never committed, undone. */
  undone: number
  corrupt: CorruptEntry[]
  /** Above every version found. */
  nextVersion: number
}

/* Where recovery is with a line, behind verifyLines's three answers. */
/** A head that is not linked yet. */
const HEAD = 3
/** A head in the list. */
const IN_LIST = 4
/** A fragment that an entry reaches, or a line that is being reclaimed. */
const TAKEN = 5
/** Neither free nor usable: stays as it is. */
const CORRUPT = 6

const VERIFY_CHUNK = 1 << 16

class Recovery {
  private readonly persistence: Persistence
  private readonly pool: Pool
  private readonly list: SkipList
  private readonly reclamation: Reclamation
  /** One state a line index. */
  readonly states: Uint8Array
  /** Corrupt heads that keep their place in the index, so that their keys answer "corrupt", not "not found". */
  readonly corruptHeads: Set<number>
  private readonly heads: number[] = []
  /** Older versions of a key. */
  private readonly losers: number[] = []
  /** Version ranges of the committed groups. */
  private readonly groups: { readonly first: number; readonly last: number }[] = []
  /** A damaged line that may have been a group: what it covered cannot be told. */
  private groupLost = false
  /** Members of committed groups: entries, and tombstones. */
  private readonly members: number[] = []
  private readonly tombstones = new Set<number>()
  /** Heads that fail their CRC but read as if they had a key. */
  private readonly damaged = new Set<number>()
  readonly report: RecoveryReport = {
    records: 0,
    committedLines: 0,
    inserted: 0,
    relinked: false,
    superseded: 0,
    orphans: 0,
    completed: 0,
    undone: 0,
    corrupt: [],
    nextVersion: 1,
  }

  constructor(persistence: Persistence, list: SkipList, reclamation: Reclamation, corruptHeads: Set<number>) {
    this.persistence = persistence
    this.pool = persistence.pool
    this.list = list
    this.reclamation = reclamation
    this.corruptHeads = corruptHeads
    this.states = new Uint8Array(this.pool.metaIndexEnd)
  }

  run(): RecoveryReport {
    this.classify()
    this.linkAll()
    this.settleMembers()
    this.reclaimOrphans()
    this.account()
    this.report.records = this.list.size - this.corruptHeads.size
    return this.report
  }

  /** Step 1. */
  private classify(): void {
    const { pool } = this
    for (let extent = 0; extent < pool.lines.length; extent++) {
      const first = extent << pool.lineShift
      const count = pool.extentBuffers[extent]! * pool.linesPerBuffer
      for (let at = 0; at < count; at += VERIFY_CHUNK) {
        const chunk = Math.min(VERIFY_CHUNK, count - at)
        this.persistence.verifyLines(first + at, chunk, this.states.subarray(first + at, first + at + chunk))
      }
      for (let meta = first; meta < first + count; meta++) {
        if (this.states[meta] === LINE_UNPUBLISHED) continue
        this.report.committedLines++
        if (meta !== ANCHOR_META) this.classifyLine(meta)
      }
    }
    if (this.states[ANCHOR_META] !== LINE_VALID || stateKind(pool.get(ANCHOR_META, W_STATE)) !== KIND_ANCHOR) {
      this.reportCorrupt(ANCHOR_META, 'the anchor line of the list is damaged')
      pool.set(ANCHOR_META, W_NEXT, NO_META)
    }
    for (const head of this.heads) this.checkChain(head)
    for (const head of this.heads) if (this.states[head] === HEAD) this.judgeMember(head)
  }

  private classifyLine(meta: number): void {
    const { pool } = this
    if (this.states[meta] === LINE_INVALID) {
      // A fragment is reported with the entry that it breaks, if it still says that it is one.
      if (readableKey(pool, meta) !== undefined) this.heads.push(meta)
      else {
        this.groupLost = true
        this.reportCorrupt(meta, 'metadata line fails its CRC')
      }
      return
    }
    const kind = stateKind(pool.get(meta, W_STATE))
    if (kind === KIND_HEAD) {
      const version = this.version(meta)
      if (version >= this.report.nextVersion) this.report.nextVersion = version + 1
      this.heads.push(meta)
    } else if (kind === KIND_GROUP && pool.isBuffer(pool.buffer(meta))) {
      const first = pool.get(meta, W_ARRIVAL_HIGH) * 2 ** 32 + (pool.get(meta, W_ARRIVAL_LOW) >>> 0)
      this.groups.push({ first, last: this.version(meta) })
      this.states[meta] = TAKEN
      pool.retainBuffer(pool.buffer(meta))
      this.reclamation.defer(meta)
    } else if (kind !== KIND_FRAGMENT || !pool.isBuffer(pool.buffer(meta))) {
      this.reportCorrupt(meta, `metadata line of unexpected kind ${kind}`)
    }
  }

  private version(meta: number): number {
    return this.pool.get(meta, W_VERSION_HIGH) * 2 ** 32 + (this.pool.get(meta, W_VERSION_LOW) >>> 0)
  }

  /** Whether a head that is part of an atomic batch counts. */
  private judgeMember(head: number): void {
    const flags = stateFlags(this.pool.get(head, W_STATE))
    if ((flags & FLAG_MEMBER) === 0 || this.corruptHeads.has(head)) return
    const version = this.version(head)
    if (this.groups.some(({ first, last }) => first <= version && version <= last)) {
      this.report.completed++
      if ((flags & FLAG_TOMBSTONE) !== 0) this.tombstones.add(head)
      else this.members.push(head)
    } else if (this.groupLost) {
      const fragments: number[] = []
      for (let meta = this.pool.next(head); meta !== NO_META; meta = this.pool.next(meta)) fragments.push(meta)
      this.keepCorruptHead(
        head,
        fragments,
        'its atomic batch cannot be told to be committed: a line that may say so is damaged',
      )
    } else {
      this.report.undone++
      this.states[head] = TAKEN
      this.losers.push(head)
    }
  }

  /** Every view inside its buffer, every fragment valid, owned by this head and at its place, lengths adding up. */
  private checkChain(head: number): void {
    const { pool, states } = this
    if (states[head] === LINE_INVALID) {
      this.damaged.add(head)
      this.keepCorruptHead(head, [], 'metadata line fails its CRC')
      return
    }
    if (!this.viewIsInside(head)) {
      this.reportCorrupt(head, 'view outside its buffer')
      return
    }
    states[head] = HEAD
    const fragments: number[] = []
    let length = pool.dataLength(head)
    let reason = ''
    for (let meta = pool.next(head); meta !== NO_META; meta = pool.next(meta)) {
      reason = this.fragmentFault(meta, head, length)
      if (reason !== '') break
      states[meta] = TAKEN
      fragments.push(meta)
      length += pool.dataLength(meta)
    }
    if (reason === '' && length !== valueLength(pool, head))
      reason = `value has ${length} of ${valueLength(pool, head)} bytes`
    if (reason !== '') this.keepCorruptHead(head, fragments, reason)
  }

  private fragmentFault(meta: number, head: number, offset: number): string {
    const { pool } = this
    if (!pool.isMeta(meta)) return `chain leads out of the region (line ${meta})`
    if (this.states[meta] !== LINE_VALID) return `fragment line ${meta} fails its check`
    if (stateKind(pool.get(meta, W_STATE)) !== KIND_FRAGMENT) return `line ${meta} is no fragment`
    if (pool.get(meta, W_VERSION_LOW) !== head) return `fragment line ${meta} belongs to another entry`
    if (pool.get(meta, W_VALUE) >>> 0 !== offset) return `fragment line ${meta} is out of place`
    if (!this.viewIsInside(meta)) return `fragment line ${meta} has a view outside its buffer`
    return ''
  }

  private viewIsInside(meta: number): boolean {
    const view = this.pool.get(meta, W_DATA)
    return this.pool.isBuffer(this.pool.get(meta, W_BUFFER)) && viewOffset(view) + viewLength(view) <= BUFFER_BYTES
  }

  private keepCorruptHead(head: number, fragments: number[], reason: string): void {
    this.reportCorrupt(head, reason)
    this.states[head] = HEAD
    this.corruptHeads.add(head)
    this.reclamation.brokenChains.set(head, fragments)
  }

  private reportCorrupt(meta: number, reason: string): void {
    const key = meta === ANCHOR_META ? undefined : readableKey(this.pool, meta)
    this.report.corrupt.push({ key, meta, buffer: this.pool.get(meta, W_BUFFER), reason })
    this.states[meta] = CORRUPT
  }

  /** Steps 2 and 3. */
  private linkAll(): void {
    if (!this.walk()) {
      this.report.relinked = true
      this.relinkSorted()
      return
    }
    for (const head of this.heads) {
      if (this.states[head] === HEAD) this.insertUnmet(head)
    }
  }

  /** Follows the level-0 links. False if they lead astray: out of order, in a circle, or out of the region. */
  private walk(): boolean {
    const { pool, list, states } = this
    list.beginRebuild()
    let last = NO_META
    let steps = 0
    for (let meta = pool.get(ANCHOR_META, W_NEXT); meta !== NO_META; ) {
      if (!pool.isMeta(meta) || ++steps > pool.totalMetas) return false
      const next = pool.get(meta, W_NEXT)
      if (states[meta] === IN_LIST) return false
      if (states[meta] === HEAD) {
        if (last !== NO_META && this.compareEntries(last, meta) >= 0) return false
        states[meta] = IN_LIST
        list.appendRebuilt(meta)
        last = meta
      }
      meta = next
    }
    list.endRebuild()
    return true
  }

  private compareEntries(a: number, b: number): number {
    const { pool } = this
    const start = keyStart(pool, b)
    const length = keyLength(pool, b)
    const bytes = pool.dataBytes(b)
    return compareKey(pool, a, bytes, start, length, keyPrefix(bytes, start, length))
  }

  /** Members become entries of their own; tombstones have hidden what they delete, and leave the list. */
  private settleMembers(): void {
    const { states, list, reclamation } = this
    for (const head of this.members) if (states[head] === IN_LIST) reclamation.settleMember(head)
    for (const head of this.tombstones) {
      if (states[head] !== IN_LIST) {
        this.tombstones.delete(head)
        continue
      }
      list.remove(head)
      states[head] = TAKEN
      reclamation.defer(head)
    }
  }

  /** Orders two heads of one key: the one that counts first. */
  private compareRank(a: number, b: number): number {
    const soundness = Number(this.damaged.has(a)) - Number(this.damaged.has(b))
    return soundness !== 0 ? soundness : compareVersions(this.pool, b, a)
  }

  /** The whole list by sorting; of several versions of a key the newest. */
  private relinkSorted(): void {
    const { list, states } = this
    const entries = this.heads.filter((head) => states[head] === HEAD || states[head] === IN_LIST)
    entries.sort((a, b) => this.compareEntries(a, b) || this.compareRank(a, b))
    list.beginRebuild()
    let last = NO_META
    for (const head of entries) {
      if (last !== NO_META && this.compareEntries(last, head) === 0) {
        this.supersede(head)
        continue
      }
      states[head] = IN_LIST
      list.appendRebuilt(head)
      last = head
    }
    list.endRebuild()
  }

  private insertUnmet(head: number): void {
    const { pool, list } = this
    const other = list.find(pool.dataBytes(head), keyStart(pool, head), keyLength(pool, head))
    if (other === NO_META) {
      list.locate(pool.dataBytes(head), keyStart(pool, head), keyLength(pool, head))
      list.insert(head, list.drawHeight())
      this.report.inserted++
    } else if (this.compareRank(head, other) < 0) {
      list.replace(other, head)
      this.supersede(other)
    } else {
      this.supersede(head)
      return
    }
    this.states[head] = IN_LIST
  }

  private supersede(head: number): void {
    this.corruptHeads.delete(head)
    if (this.damaged.has(head)) {
      // Perhaps it is not a version of this key at all: it stays, out of the index, and goes on being reported.
      this.states[head] = CORRUPT
      this.reclamation.brokenChains.delete(head)
      return
    }
    this.report.superseded++
    this.states[head] = TAKEN
    this.losers.push(head)
  }

  /** Step 4, second half: committed fragments that belong to no entry. */
  private reclaimOrphans(): void {
    const { pool, states } = this
    for (let meta = 0; meta < states.length; meta++) {
      if (states[meta] !== LINE_VALID || meta === ANCHOR_META) continue
      const owner = pool.get(meta, W_VERSION_LOW)
      if (this.corruptHeads.has(owner)) {
        // What is left of a damaged entry stays until the key is written or deleted.
        this.reclamation.brokenChains.get(owner)!.push(meta)
        states[meta] = TAKEN
        continue
      }
      if (states[owner] === CORRUPT) {
        states[meta] = CORRUPT
        continue
      }
      this.report.orphans++
      states[meta] = TAKEN
      pool.retainBuffer(pool.buffer(meta))
      this.reclamation.reclaim(meta)
    }
  }

  /** Step 5; the losers of step 3 are retired like superseded entries of a running store. */
  private account(): void {
    const { pool, states } = this
    const hold = (meta: number): void => {
      pool.retainBuffer(pool.buffer(meta))
      pool.markStored(pool.buffer(meta))
    }
    for (const head of this.heads) {
      if (states[head] === CORRUPT) continue
      if (this.tombstones.has(head)) {
        pool.retainBuffer(pool.buffer(head))
        continue
      }
      hold(head)
      const broken = this.reclamation.brokenChains.get(head)
      if (broken !== undefined) for (const meta of broken) hold(meta)
      else for (let meta = pool.next(head); meta !== NO_META; meta = pool.next(meta)) hold(meta)
    }
    for (let meta = 0; meta < states.length; meta++) {
      if (states[meta] === CORRUPT && pool.isBuffer(pool.buffer(meta))) pool.retainBuffer(pool.buffer(meta))
    }
    pool.buildFreeLists((meta) => states[meta] !== LINE_UNPUBLISHED)
    for (const head of this.losers) this.reclamation.retire(head, false)
  }
}

/**
 * Recovers a region into an empty list. What has to be written (cleared lines, mended links) is left to
 * `commit.settle`, which the caller runs before it serves.
 */
export function recover(
  persistence: Persistence,
  list: SkipList,
  reclamation: Reclamation,
  corruptHeads: Set<number>,
): RecoveryReport {
  return new Recovery(persistence, list, reclamation, corruptHeads).run()
}
