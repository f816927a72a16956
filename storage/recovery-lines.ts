/**
 * Recovery, step 1: what every line is (docs/format.md, "Recovery").
 *
 * One pass over the lines in order, read natively a chunk at a time. Most entries are a head without fragments, and no
 * line of theirs is looked at again here; the other heads wait until every line of their chains has been verified.
 *
 *   scanLines ─► unpublished                                       free
 *             ─► whole: an entry by itself                         HEAD
 *             ─► invalid  ─► half of its commit word 0: was free ─► readable key: a corrupt head, else reported
 *             ─► valid    ─► head of a chain, member: `pending` ─► checkChain, counts
 *                         ─► fragment: until a head takes it ─► group
 *
 * Called by: recovery.ts.
 */
import { LineList } from './batch.ts'
import { findLostKind, SEARCHED_LINES_MAX } from './damaged-line.ts'
import { readableKey, valueLength, versionNumber } from './entry.ts'
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
  W_META_CRC,
  W_NEXT,
  W_STATE,
  W_VALUE,
  W_VERSION_LOW,
} from './layout.ts'
import {
  DIGEST_LINK,
  DIGEST_WORDS,
  LINE_INVALID,
  LINE_UNPUBLISHED,
  LINE_VALID,
  LINE_WHOLE,
  TALLY_COMMITTED,
  TALLY_OTHERS,
  TALLY_VERSION_HIGH,
  TALLY_VERSION_LOW,
} from './persistence.ts'
import type { Pool } from './pool.ts'
import { HEAD, type RecoveryState, TAKEN } from './recovery-state.ts'

/** Lines read by one native call: 256 KiB, so that those which are classified one by one are still cached. */
const CHUNK_LINES = 1 << 12

class LineScan {
  private readonly state: RecoveryState
  private readonly pool: Pool
  private readonly states: Uint8Array
  /** Heads that cannot be judged by their own line alone. */
  private readonly pending = new LineList()
  /** Version ranges of the committed groups. */
  private readonly groups: { readonly first: number; readonly last: number }[] = []
  /** Damaged lines that say nothing of a key: each may have been a group. */
  private readonly keyless: number[] = []

  constructor(state: RecoveryState) {
    this.state = state
    this.pool = state.pool
    this.states = state.states
  }

  run(): void {
    const { pool } = this
    for (let extent = 0; extent < pool.lines.length; extent++) {
      const first = extent << pool.lineShift
      const end = first + pool.extentBuffers[extent]! * pool.linesPerBuffer
      for (let at = first; at < end; at += CHUNK_LINES) this.scanChunk(at, Math.min(at + CHUNK_LINES, end))
    }
    const { report, tally } = this.state
    report.committedLines = tally[TALLY_COMMITTED]!
    report.nextVersion = (tally[TALLY_VERSION_HIGH]! >>> 0) * 2 ** 32 + (tally[TALLY_VERSION_LOW]! >>> 0) + 1
    this.checkAnchor()
    const { pending } = this
    for (let i = 0; i < pending.length; i++) this.checkChain(pending.lines[i]!)
    const uncovered: number[] = []
    for (let i = 0; i < pending.length; i++) {
      const head = pending.lines[i]!
      if (this.states[head] === HEAD && !this.counts(head)) uncovered.push(head)
    }
    if (uncovered.length === 0) return
    const isGroupLost = this.isGroupLost()
    for (const head of uncovered) this.undo(head, isGroupLost)
  }

  /** Lines [first, end) of one extent, read by one native call. */
  private scanChunk(first: number, end: number): void {
    const { states, tally, persistence } = this.state
    const others = tally[TALLY_OTHERS]!
    persistence.scanLines(first, end - first, this.state)
    if (tally[TALLY_OTHERS] === others) return
    for (let meta = first; meta < end; meta++) {
      const status = states[meta]
      if (status !== LINE_UNPUBLISHED && status !== LINE_WHOLE && meta !== ANCHOR_META) this.classifyOther(meta)
    }
  }

  /** A committed line that is not an entry by itself. */
  private classifyOther(meta: number): void {
    const { pool, state } = this
    if (this.states[meta] === LINE_INVALID) {
      if (this.wasFree(meta)) {
        state.reportCorrupt(meta, 'the commit word of a free line is damaged')
        return
      }
      state.damaged.add(meta)
      // A fragment is reported with the entry that it breaks, if it still says that it is one.
      if (readableKey(pool, meta) !== undefined) this.pending.push(meta)
      else {
        this.keyless.push(meta)
        state.reportCorrupt(meta, 'metadata line fails its CRC')
      }
      return
    }
    const kind = stateKind(pool.get(meta, W_STATE))
    if (kind === KIND_HEAD) this.pending.push(meta)
    else if (kind === KIND_GROUP && pool.isBuffer(pool.buffer(meta))) {
      const first = pool.get(meta, W_ARRIVAL_HIGH) * 2 ** 32 + (pool.get(meta, W_ARRIVAL_LOW) >>> 0)
      this.groups.push({ first, last: versionNumber(pool, meta) })
      this.states[meta] = TAKEN
      pool.retainBuffer(pool.buffer(meta))
      state.reclamation.defer(meta)
    } else if (kind !== KIND_FRAGMENT || !pool.isBuffer(pool.buffer(meta))) {
      state.reportCorrupt(meta, `metadata line of unexpected kind ${kind}`)
    }
  }

  /** A sealed line has neither half of its commit word 0: the CRC is 0 once in 2^32, and the other half has its kind. */
  private wasFree(meta: number): boolean {
    return this.pool.get(meta, W_STATE) === 0 || this.pool.get(meta, W_META_CRC) === 0
  }

  private checkAnchor(): void {
    const { pool, state } = this
    if (this.states[ANCHOR_META] === LINE_VALID && stateKind(pool.get(ANCHOR_META, W_STATE)) === KIND_ANCHOR) return
    state.reportCorrupt(ANCHOR_META, 'the anchor line of the list is damaged')
    pool.set(ANCHOR_META, W_NEXT, NO_META)
    state.digests[ANCHOR_META * DIGEST_WORDS + DIGEST_LINK] = NO_META
  }

  /** Every view inside its buffer, every fragment valid, owned by this head and at its place, lengths adding up. */
  private checkChain(head: number): void {
    const { pool, states, state } = this
    if (states[head] === LINE_INVALID) {
      state.keepCorruptHead(head, [], 'metadata line fails its CRC')
      return
    }
    if (!this.viewIsInside(head)) {
      state.reportCorrupt(head, 'view outside its buffer')
      return
    }
    states[head] = HEAD
    let fragments = 0
    let length = pool.dataLength(head)
    let reason = ''
    for (let meta = pool.next(head); meta !== NO_META; meta = pool.next(meta)) {
      reason = this.fragmentFault(meta, head, length)
      if (reason !== '') break
      states[meta] = TAKEN
      fragments++
      length += pool.dataLength(meta)
    }
    if (reason === '' && length !== valueLength(pool, head))
      reason = `value has ${length} of ${valueLength(pool, head)} bytes`
    if (reason !== '') state.keepCorruptHead(head, this.fragmentsOf(head, fragments), reason)
  }

  /** The first `count` fragments of a head. */
  private fragmentsOf(head: number, count: number): number[] {
    const fragments: number[] = []
    for (let meta = this.pool.next(head); fragments.length < count; meta = this.pool.next(meta)) fragments.push(meta)
    return fragments
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

  /** Whether a head counts: if it is part of an atomic batch, only as far as a group covers it. */
  private counts(head: number): boolean {
    const { pool, state } = this
    const flags = stateFlags(pool.get(head, W_STATE))
    if ((flags & FLAG_MEMBER) === 0 || state.corruptHeads.has(head)) return true
    const version = versionNumber(pool, head)
    if (!this.groups.some(({ first, last }) => first <= version && version <= last)) return false
    state.report.completed++
    if ((flags & FLAG_TOMBSTONE) !== 0) state.tombstones.push(head)
    else state.members.push(head)
    return true
  }

  /** Whether a damaged line may have been a group: what it covered cannot be told. */
  private isGroupLost(): boolean {
    const { keyless, pool } = this
    if (keyless.length > SEARCHED_LINES_MAX) return true
    return keyless.some((meta) => [undefined, KIND_GROUP].includes(findLostKind(pool, meta)))
  }

  /** A member that no group covers. */
  private undo(head: number, isGroupLost: boolean): void {
    const { pool, state } = this
    if (isGroupLost) {
      let fragments = 0
      for (let meta = pool.next(head); meta !== NO_META; meta = pool.next(meta)) fragments++
      state.keepCorruptHead(
        head,
        this.fragmentsOf(head, fragments),
        'its atomic batch cannot be told to be committed: a line that may say so is damaged',
      )
    } else {
      state.report.undone++
      this.states[head] = TAKEN
      state.losers.push(head)
    }
  }
}

/** Fills the states and links of all lines, and finds what is damaged, undone or still to be settled. */
export function scanLines(state: RecoveryState): void {
  new LineScan(state).run()
}
