/**
 * The order of the runs of an out-of-order queue: a treap (Aragon and Seidel 1989), a search tree by sequence number that
 * a random priority keeps balanced. The nodes are the metadata lines themselves: while a line is in transit most of its
 * words are nobody's, and its priority is a hash of its index. So a connection's queue costs one number, its root, and
 * ten thousand holes cost some twenty steps a segment.
 *
 *   line of a run's head     W_VERSION_LOW   first sequence number       W_VERSION_HIGH  left child
 *                            W_VALUE         behind the last one         W_KEY           right child
 *                            W_KEY_PREFIX    last line of the run
 *
 * Invariants:
 *  1. Runs left of a node end before it starts, runs right of it start behind its end; none touch.
 *  2. No node has a smaller priority than its children.
 *  3. All numbers lie within a window of each other, so that seqDiff orders them.
 *
 * Called by: reassembly.ts, alone. Allocates nothing.
 */
import { NO_META, W_KEY, W_KEY_PREFIX, W_VALUE, W_VERSION_HIGH, W_VERSION_LOW } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { seqDiff } from './seq.ts'

const W_START = W_VERSION_LOW
const W_LEFT = W_VERSION_HIGH
const W_RIGHT = W_KEY
const W_END = W_VALUE
const W_TAIL = W_KEY_PREFIX

/** What split leaves: runs that start before the place, and the others. */
let splitBefore = NO_META
let splitBehind = NO_META

export function runStart(pool: Pool, run: number): number {
  return pool.get(run, W_START)
}

export function runEnd(pool: Pool, run: number): number {
  return pool.get(run, W_END)
}

export function runTail(pool: Pool, run: number): number {
  return pool.get(run, W_TAIL)
}

/** The run now ends before `end`, with line `tail`. */
export function setRunEnd(pool: Pool, run: number, end: number, tail: number): void {
  pool.set(run, W_END, end)
  pool.set(run, W_TAIL, tail)
}

/** A run [start, end) of the lines from `head` to `tail`; its place must be free. @returns the new root */
export function insertRun(pool: Pool, root: number, head: number, start: number, end: number, tail: number): number {
  pool.set(head, W_START, start)
  pool.set(head, W_END, end)
  pool.set(head, W_TAIL, tail)
  return insert(pool, root, head, start, priority(head))
}

/** Takes the run that starts at `start` out of the tree; its lines stay linked. @returns the new root */
export function removeRun(pool: Pool, root: number, start: number): number {
  const side = seqDiff(start, pool.get(root, W_START))
  if (side === 0) return join(pool, pool.get(root, W_LEFT), pool.get(root, W_RIGHT))
  const child = side < 0 ? W_LEFT : W_RIGHT
  pool.set(root, child, removeRun(pool, pool.get(root, child), start))
  return root
}

/** The last run that starts at `sequence` or before it, or NO_META. */
export function runAtOrBefore(pool: Pool, root: number, sequence: number): number {
  let best = NO_META
  let node = root
  while (node !== NO_META) {
    if (seqDiff(sequence, pool.get(node, W_START)) < 0) node = pool.get(node, W_LEFT)
    else {
      best = node
      node = pool.get(node, W_RIGHT)
    }
  }
  return best
}

/** The first run that starts behind `sequence`, or NO_META. */
export function runBehind(pool: Pool, root: number, sequence: number): number {
  let best = NO_META
  let node = root
  while (node !== NO_META) {
    if (seqDiff(sequence, pool.get(node, W_START)) < 0) {
      best = node
      node = pool.get(node, W_LEFT)
    } else node = pool.get(node, W_RIGHT)
  }
  return best
}

/** The run with the smallest numbers, or NO_META. */
export function firstRun(pool: Pool, root: number): number {
  return outermost(pool, root, W_LEFT)
}

/** The run with the largest numbers, or NO_META. */
export function lastRun(pool: Pool, root: number): number {
  return outermost(pool, root, W_RIGHT)
}

/** Releases the lines of all runs. */
export function releaseRuns(pool: Pool, root: number): void {
  if (root === NO_META) return
  const right = pool.get(root, W_RIGHT)
  releaseRuns(pool, pool.get(root, W_LEFT))
  pool.releaseChain(root)
  releaseRuns(pool, right)
}

function outermost(pool: Pool, root: number, child: number): number {
  let node = root
  while (node !== NO_META) {
    const next = pool.get(node, child)
    if (next === NO_META) break
    node = next
  }
  return node
}

function insert(pool: Pool, root: number, head: number, start: number, rank: number): number {
  if (root === NO_META || priority(root) < rank) {
    split(pool, root, start)
    pool.set(head, W_LEFT, splitBefore)
    pool.set(head, W_RIGHT, splitBehind)
    return head
  }
  const child = seqDiff(start, pool.get(root, W_START)) < 0 ? W_LEFT : W_RIGHT
  pool.set(root, child, insert(pool, pool.get(root, child), head, start, rank))
  return root
}

/** Parts a tree at `start`, which no run starts at. */
function split(pool: Pool, root: number, start: number): void {
  if (root === NO_META) {
    splitBefore = NO_META
    splitBehind = NO_META
  } else if (seqDiff(pool.get(root, W_START), start) < 0) {
    split(pool, pool.get(root, W_RIGHT), start)
    pool.set(root, W_RIGHT, splitBefore)
    splitBefore = root
  } else {
    split(pool, pool.get(root, W_LEFT), start)
    pool.set(root, W_LEFT, splitBehind)
    splitBehind = root
  }
}

/** One tree of two, all of `before` lying left of `behind`. */
function join(pool: Pool, before: number, behind: number): number {
  if (before === NO_META) return behind
  if (behind === NO_META) return before
  if (priority(before) > priority(behind)) {
    pool.set(before, W_RIGHT, join(pool, pool.get(before, W_RIGHT), behind))
    return before
  }
  pool.set(behind, W_LEFT, join(pool, before, pool.get(behind, W_LEFT)))
  return behind
}

/** A bijection of the index, so that no two lines have the same (the finalizer of MurmurHash3). */
function priority(meta: number): number {
  let hash = Math.imul(meta ^ (meta >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) | 0
}
