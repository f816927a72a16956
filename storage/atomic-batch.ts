/**
 * Atomic batches from memory: conditions, room, copies, and only then anything staged. So a batch that is refused has
 * changed nothing, and one that is staged cannot fail halfway.
 *
 *   operations ─► last one of each key ─► conditions ─► room ─► copies ─► commit.stageMember, stageTombstone
 *                                                                         or, of one change alone, stagePut, stageDelete
 *
 * Called by: store.ts. Calls: copied-entry, commit.
 */
import type { Commit } from './commit.ts'
import { buffersFor, type CopiedEntry, copyEntry } from './copied-entry.ts'
import { versionOf } from './entry.ts'
import { ConditionError, FullError, PackratError } from './errors.ts'
import { KEY_LENGTH_MAX, NO_META, VALUE_LENGTH_MAX } from './layout.ts'
import type { Persistence } from './persistence.ts'

/**
 * Buffers of one batch at most: its persist program has about three operations for each, and such programs have a limit
 * (pmem-napi, OPERATIONS_MAX). As many as the largest value takes.
 */
const BATCH_BUFFERS_MAX = 1 << 21

/** What a key must be like for a write to be done: of exactly this version, absent, or present in any version. */
export type Condition = bigint | 'absent' | 'present'

export interface PutOperation {
  readonly op: 'put'
  readonly key: Uint8Array
  readonly value: Uint8Array
  readonly expect?: Condition | undefined
}

export interface DeleteOperation {
  readonly op: 'delete'
  readonly key: Uint8Array
  readonly expect?: Condition | undefined
}

/** Conditions are about the state before the batch. Of several operations on one key the last one counts. */
export type BatchOperation = PutOperation | DeleteOperation

export interface BatchResult {
  /** Operations that were committed. */
  readonly committed: number
  /** No entry of the batch has a greater version. */
  readonly version: bigint
}

/** What staging a batch needs of the store. */
export interface BatchTarget {
  readonly room: number
  hasRoom(buffers: number): boolean
  appendFragment(head: number, tail: number, meta: number): void
  currentOf(key: Uint8Array): number
}

export function checkKey(key: Uint8Array): Uint8Array {
  if (key.length === 0 || key.length > KEY_LENGTH_MAX) {
    throw new PackratError('KEY_LENGTH', `keys have 1 to ${KEY_LENGTH_MAX} bytes, this one has ${key.length}`)
  }
  return key
}

export function checkValue(value: Uint8Array): void {
  if (value.length > VALUE_LENGTH_MAX) {
    throw new PackratError(
      'VALUE_LENGTH',
      `values have at most ${VALUE_LENGTH_MAX} bytes, this one has ${value.length}; store it in parts`,
    )
  }
}

/**
 * Whether the head that is current for a key satisfies a condition.
 * @throws ConditionError
 */
export function checkCondition(persistence: Persistence, current: number, expect: Condition, operation = 0): void {
  const version = current === NO_META ? undefined : versionOf(persistence.pool, current)
  const holds =
    expect === 'absent' ? version === undefined : expect === 'present' ? version !== undefined : version === expect
  if (!holds) throw new ConditionError(operation, version)
}

/**
 * Stages all operations as members of the staging batch's group.
 * @returns bytes of values copied
 * @throws PackratError KEY_LENGTH, VALUE_LENGTH, BATCH_SIZE, ConditionError, FullError: then nothing has changed
 */
export function stageBatch(
  target: BatchTarget,
  persistence: Persistence,
  commitment: Commit,
  operations: readonly BatchOperation[],
  nowNs: bigint,
): number {
  const last = new Map<string, BatchOperation>()
  for (const [index, operation] of operations.entries()) {
    const key = checkKey(operation.key)
    if (operation.op === 'put') checkValue(operation.value)
    if (operation.expect !== undefined) checkCondition(persistence, target.currentOf(key), operation.expect, index)
    last.set(Buffer.from(key).toString('latin1'), operation)
  }
  // Deleting what is not there changes nothing, and leaves no trace.
  const changes = [...last.values()].filter(({ op, key }) => op === 'put' || target.currentOf(key) !== NO_META)
  takeRoom(target, persistence, changes)
  if (changes.length === 1 && changes[0]!.op === 'delete') {
    stageSingleDelete(commitment, persistence, changes[0]!.key)
    return 0
  }
  let copied = 0
  const entries: CopiedEntry[] = []
  for (const change of changes) {
    const value = change.op === 'put' ? change.value : EMPTY
    entries.push(copyEntry(target, persistence, change.key, value, nowNs))
    copied += value.length
  }
  for (const [i, { head, tail }] of entries.entries()) {
    // A single put is atomic by its own commit word.
    if (entries.length === 1) commitment.stagePut(head, tail)
    else if (changes[i]!.op === 'put') commitment.stageMember(head, tail)
    else commitment.stageTombstone(head)
  }
  return copied
}

const EMPTY = new Uint8Array(0)

/** One deletion needs neither a group nor a tombstone: one commit word is there or not. */
function stageSingleDelete(commitment: Commit, { pool }: Persistence, key: Uint8Array): void {
  const buffer = pool.allocateBuffer()
  pool.bufferBytes(buffer).set(key, pool.bufferStart(buffer))
  commitment.stageDelete(buffer, 0, key.length)
  pool.releaseBuffer(buffer)
}

/** @throws PackratError BATCH_SIZE, FullError */
function takeRoom(target: BatchTarget, { pool }: Persistence, changes: readonly BatchOperation[]): void {
  let buffers = 1 // the group's line
  for (const change of changes) buffers += buffersFor(change.key.length, change.op === 'put' ? change.value.length : 0)
  if (buffers > BATCH_BUFFERS_MAX)
    throw new PackratError('BATCH_SIZE', `a batch of ${buffers} buffers of 2 KiB is too large: do it in parts`)
  // Buffers that a device holds ready count as room, but only those on the free list can be had now.
  if (!target.hasRoom(buffers) || pool.freeBuffers < buffers || pool.freeMetas < buffers)
    throw new FullError(`no room for a batch of ${changes.length} changes; delete something`)
}
