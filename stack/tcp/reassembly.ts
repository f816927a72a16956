/**
 * Segments that came out of order, as runs: what lies side by side is one chain of lines, and the runs stand in a tree
 * by sequence number (reassembly-tree.ts).
 *
 *   rcvNxt …gap…  run [start, end)  …gap…  run [start, end)  …          a run: line ─► line ─► line
 *
 * A segment that goes on where a run ends, as most do, is appended to it; one that closes a gap makes one run of two. So a
 * run is a SACK block. Bytes that are there already win over new copies, but a new segment that covers a whole run
 * replaces it.
 *
 * The queue counts for nothing in the window and may be thrown away: the peer still has the data (RFC 2018 8: a receiver
 * may renege). Under pressure it is given up from the largest numbers down, which will be needed last.
 *
 * Called by: data.ts (insert, drain), segment-output.ts (SACK blocks), tcp.ts (pressure), close.ts. Calls: reassembly-tree.ts.
 */
import { NO_META } from '../../storage/layout.ts'
import { REASSEMBLY_LINES_MAX, REASSEMBLY_POOL_SHARE } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { reportDuplicate } from './dsack.ts'
import {
  firstRun,
  insertRun,
  lastRun,
  releaseRuns,
  removeRun,
  runAtOrBefore,
  runBehind,
  runEnd,
  runStart,
  runTail,
  setRunEnd,
} from './reassembly-tree.ts'
import { appendReceived } from './receive-queue.ts'
import { seqAdd, seqDiff, seqLess, seqLessEqual } from './seq.ts'
import { gatherLine, joinViews } from './shared-buffer.ts'

/**
 * Puts a line with bytes from `sequence` on into the queue; the line is the queue's, or freed if it brings nothing new.
 */
export function insertOutOfOrder(context: TcpContext, c: Connection, meta: number, sequence: number): void {
  const pool = context.pool
  if (!makeRoom(context, c, sequence)) {
    context.counters.dropNoMemory++
    pool.release(meta)
    return
  }
  let start = sequence
  const before = runAtOrBefore(pool, c.reassemblyRoot, sequence)
  if (before !== NO_META) {
    const overlap = seqDiff(runEnd(pool, before), sequence)
    const length = pool.dataLength(meta)
    if (overlap > 0) reportDuplicate(c, sequence, seqAdd(sequence, Math.min(overlap, length)))
    if (overlap >= length) {
      context.counters.duplicateBytes += length
      noteBlock(context, c, before)
      pool.release(meta)
      return
    }
    if (overlap > 0) {
      trimFront(context, meta, overlap)
      start = seqAdd(sequence, overlap)
    }
  }
  const behind = trimBehind(context, c, meta, start)
  const end = seqAdd(start, pool.dataLength(meta))
  c.reassemblyLines++
  let run = meta
  if (before !== NO_META && runEnd(pool, before) === start) {
    appendToRun(context, c, before, meta, end)
    run = before
  } else {
    pool.setNext(meta, NO_META)
    c.reassemblyRoot = insertRun(pool, c.reassemblyRoot, meta, start, end, meta)
  }
  if (behind !== NO_META && runStart(pool, behind) === end) {
    c.reassemblyRoot = removeRun(pool, c.reassemblyRoot, end)
    pool.setNext(runTail(pool, run), behind)
    setRunEnd(pool, run, runEnd(pool, behind), runTail(pool, behind))
  }
  noteBlock(context, c, run)
}

/** Moves the lines that rcvNxt has reached to the receive queue. */
export function drainReassembly(context: TcpContext, c: Connection): void {
  const pool = context.pool
  for (;;) {
    const run = firstRun(pool, c.reassemblyRoot)
    if (run === NO_META) return
    let sequence = runStart(pool, run)
    if (seqLess(c.rcvNxt, sequence)) return
    c.reassemblyRoot = removeRun(pool, c.reassemblyRoot, sequence)
    let meta = run
    while (meta !== NO_META) {
      const next = pool.next(meta)
      const length = pool.dataLength(meta)
      const overlap = seqDiff(c.rcvNxt, sequence)
      pool.setNext(meta, NO_META)
      c.reassemblyLines--
      if (overlap >= length) {
        context.counters.duplicateBytes += length
        pool.release(meta)
      } else {
        if (overlap > 0) trimFront(context, meta, overlap)
        appendReceived(context, c, gatherLine(context, c, c.receiveTail, meta), length - overlap)
      }
      sequence = seqAdd(sequence, length)
      meta = next
    }
  }
}

/** Throws the queue away. */
export function releaseReassembly(context: TcpContext, c: Connection): void {
  releaseRuns(context.pool, c.reassemblyRoot)
  c.reassemblyRoot = NO_META
  c.reassemblyLines = 0
}

/** Gives up `lines` lines or a few more, those with the largest numbers. @returns how many */
export function pruneReassembly(context: TcpContext, c: Connection, lines: number): number {
  const before = c.reassemblyLines
  const kept = Math.max(before - lines, 0)
  while (c.reassemblyLines > kept) pruneLastRun(context, c, c.reassemblyLines - kept)
  context.counters.prunedLines += before - c.reassemblyLines
  return before - c.reassemblyLines
}

/**
 * SACK blocks (RFC 2018 4): the block with the latest segment first, then those that were reported before it, then others
 * from the left.
 * @param first blocks that are there already: a duplicate SACK goes before all others (RFC 2883 4)
 * @returns number of blocks in `blocks`, pairs of edges
 */
export function collectSackBlocks(
  context: TcpContext,
  c: Connection,
  blocks: Int32Array,
  first: number,
  max: number,
): number {
  const pool = context.pool
  let count = first
  count = addBlock(context, c, blocks, first, count, max, c.reassemblyLatest)
  count = addBlock(context, c, blocks, first, count, max, c.reassemblyBefore1)
  count = addBlock(context, c, blocks, first, count, max, c.reassemblyBefore2)
  count = addBlock(context, c, blocks, first, count, max, c.reassemblyBefore3)
  let run = firstRun(pool, c.reassemblyRoot)
  while (run !== NO_META && count < max) {
    const start = runStart(pool, run)
    count = addBlock(context, c, blocks, first, count, max, start)
    run = runBehind(pool, c.reassemblyRoot, start)
  }
  return count
}

/** The run that holds `sequence`, unless there is none, or it stands in `blocks` already. @returns the new count */
function addBlock(
  context: TcpContext,
  c: Connection,
  blocks: Int32Array,
  first: number,
  count: number,
  max: number,
  sequence: number,
): number {
  const pool = context.pool
  if (count >= max) return count
  const run = runAtOrBefore(pool, c.reassemblyRoot, sequence)
  if (run === NO_META || seqLessEqual(runEnd(pool, run), sequence)) return count
  const start = runStart(pool, run)
  for (let block = first; block < count; block++) if (blocks[block * 2] === start) return count
  const end = runEnd(pool, run)
  blocks[count * 2] = start
  // The FIN has a sequence number, too (RFC 2018 3): without it the last segment never counts as arrived.
  blocks[count * 2 + 1] = c.peerFinKnown !== 0 && end === c.peerFin ? seqAdd(end, 1) : end
  return count + 1
}

/** A segment came for this run: its block is the latest, and the others move down. */
function noteBlock(context: TcpContext, c: Connection, run: number): void {
  const start = runStart(context.pool, run)
  const length = seqDiff(runEnd(context.pool, run), start)
  if (!isIn(c.reassemblyLatest, start, length)) {
    if (!isIn(c.reassemblyBefore1, start, length)) {
      if (!isIn(c.reassemblyBefore2, start, length)) c.reassemblyBefore3 = c.reassemblyBefore2
      c.reassemblyBefore2 = c.reassemblyBefore1
    }
    c.reassemblyBefore1 = c.reassemblyLatest
  }
  c.reassemblyLatest = start
}

function isIn(sequence: number, start: number, length: number): boolean {
  const distance = seqDiff(sequence, start)
  return distance >= 0 && distance < length
}

function appendToRun(context: TcpContext, c: Connection, run: number, meta: number, end: number): void {
  const pool = context.pool
  const tail = runTail(pool, run)
  if (joinViews(pool, tail, meta)) {
    c.reassemblyLines--
    setRunEnd(pool, run, end, tail)
    return
  }
  pool.setNext(meta, NO_META)
  pool.setNext(tail, meta)
  setRunEnd(pool, run, end, meta)
}

/** Removes the runs that the new line covers whole; of the first that sticks out it leaves the bytes. @returns that run, or NO_META */
function trimBehind(context: TcpContext, c: Connection, meta: number, start: number): number {
  const pool = context.pool
  const end = seqAdd(start, pool.dataLength(meta))
  for (;;) {
    const run = runBehind(pool, c.reassemblyRoot, start)
    if (run === NO_META) return run
    const behindStart = runStart(pool, run)
    const behindEnd = runEnd(pool, run)
    const overlap = seqDiff(end, behindStart)
    if (overlap <= 0) return run
    if (seqLess(end, behindEnd)) {
      reportDuplicate(c, behindStart, end)
      context.counters.duplicateBytes += overlap
      setView(context, meta, pool.dataOffset(meta), pool.dataLength(meta) - overlap)
      return run
    }
    reportDuplicate(c, behindStart, behindEnd)
    context.counters.duplicateBytes += seqDiff(behindEnd, behindStart)
    c.reassemblyRoot = removeRun(pool, c.reassemblyRoot, behindStart)
    for (let line = run; line !== NO_META; line = pool.release(line)) c.reassemblyLines--
  }
}

/** At the limit what lies farthest right makes room, unless the new line lies there itself. @returns false: no room */
function makeRoom(context: TcpContext, c: Connection, sequence: number): boolean {
  const pool = context.pool
  const limit = Math.min(REASSEMBLY_LINES_MAX, Math.trunc(pool.totalMetas / REASSEMBLY_POOL_SHARE))
  if (c.reassemblyLines < limit) return true
  if (seqLessEqual(runStart(pool, lastRun(pool, c.reassemblyRoot)), sequence)) return false
  pruneReassembly(context, c, limit >> 3) // an eighth, so that a long run is not walked for every segment
  return true
}

/** Cuts at most `lines` lines off the end of the last run. */
function pruneLastRun(context: TcpContext, c: Connection, lines: number): void {
  const pool = context.pool
  const run = lastRun(pool, c.reassemblyRoot)
  let length = 0
  for (let meta = run; meta !== NO_META; meta = pool.next(meta)) length++
  if (length <= lines) {
    c.reassemblyRoot = removeRun(pool, c.reassemblyRoot, runStart(pool, run))
    pool.releaseChain(run)
    c.reassemblyLines -= length
    return
  }
  let tail = run
  let end = seqAdd(runStart(pool, run), pool.dataLength(run))
  for (let kept = length - lines; kept > 1; kept--) {
    tail = pool.next(tail)
    end = seqAdd(end, pool.dataLength(tail))
  }
  pool.releaseChain(pool.next(tail))
  pool.setNext(tail, NO_META)
  setRunEnd(pool, run, end, tail)
  c.reassemblyLines -= lines
}

function trimFront(context: TcpContext, meta: number, bytes: number): void {
  const pool = context.pool
  context.counters.duplicateBytes += bytes
  setView(context, meta, pool.dataOffset(meta) + bytes, pool.dataLength(meta) - bytes)
}

function setView(context: TcpContext, meta: number, offset: number, length: number): void {
  context.pool.setData(meta, offset, length)
  context.pool.setSum(meta, context.sumView(context.pool.buffer(meta), offset, length))
}
