/**
 * The out-of-order queue against a slow reference, an array with one entry a byte: random segments that overlap, repeat,
 * cover and join, with numbers that pass 2^32. And ten thousand holes in no time.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Connection } from '../../../stack/tcp/connection.ts'
import {
  collectSackBlocks,
  drainReassembly,
  insertOutOfOrder,
  pruneReassembly,
  releaseReassembly,
} from '../../../stack/tcp/reassembly.ts'
import { firstRun, runBehind, runEnd, runStart, runTail } from '../../../stack/tcp/reassembly-tree.ts'
import { appendReceived } from '../../../stack/tcp/receive-queue.ts'
import { seqAdd, seqDiff } from '../../../stack/tcp/seq.ts'
import { sumBytes } from '../../../storage/checksum.ts'
import { NO_META, W_KEY, W_VERSION_HIGH } from '../../../storage/layout.ts'
import type { Pool } from '../../../storage/pool.ts'
import { announceSeed, seededRandom } from '../../support/random.ts'
import { RawPeer } from '../../support/raw-peer.ts'
import { consumeChain, StreamApplication } from '../../support/stream-application.ts'

const SEED = announceSeed('reassembly', 11)
const WINDOW = 3000

class Lab {
  readonly peer: RawPeer
  readonly pool: Pool
  readonly c: Connection
  /** Sequence number of place 0. */
  readonly base: number

  constructor(peerIss: number, buffers: number) {
    this.peer = new RawPeer({ peerIss, buffers })
    this.pool = this.peer.pool
    const server = new StreamApplication(this.pool)
    this.peer.host.tcp.listen(80, server)
    this.peer.establish({ options: [4, 2, 1, 1] })
    this.c = server.connection!
    this.base = this.c.rcvNxt
  }

  /** A segment with the pattern's bytes [from, to). */
  insert(from: number, to: number): void {
    insertOutOfOrder(this.c.context, this.c, this.line(from, to), seqAdd(this.base, from))
  }

  line(from: number, to: number): number {
    const { pool } = this
    const buffer = pool.allocateBuffer()
    const start = pool.bufferStart(buffer)
    for (let at = from; at < to; at++) pool.bufferBytes(buffer)[start + 100 + at - from] = pattern(at)
    const sum = sumBytes(pool.bufferView(buffer), start + 100, to - from)
    return pool.createView(buffer, 100, to - from, sum)
  }

  /** Runs from left to right, as places. Checks lines, bytes, sums and counts on the way. */
  runs(): [number, number][] {
    const { pool, c } = this
    const found: [number, number][] = []
    let lines = 0
    let run = firstRun(pool, c.reassemblyRoot)
    while (run !== NO_META) {
      const from = seqDiff(runStart(pool, run), this.base)
      let at = from
      let last = NO_META
      for (let meta = run; meta !== NO_META; meta = pool.next(meta)) {
        const start = pool.dataStartOf(meta)
        const length = pool.dataLength(meta)
        for (let index = 0; index < length; index++)
          if (pool.dataBytes(meta)[start + index] !== pattern(at + index))
            throw new Error(`byte ${at + index} is wrong`)
        assert.is(pool.sum(meta) % 0xffff, sumBytes(pool.dataView(meta), start, length) % 0xffff)
        at += length
        lines++
        last = meta
      }
      assert.is(runTail(pool, run), last)
      assert.is(seqDiff(runEnd(pool, run), this.base), at)
      found.push([from, at])
      run = runBehind(pool, c.reassemblyRoot, runStart(pool, run))
    }
    assert.is(c.reassemblyLines, lines)
    return found
  }

  depth(node = this.c.reassemblyRoot): number {
    if (node === NO_META) return 0
    return 1 + Math.max(this.depth(this.pool.get(node, W_VERSION_HIGH)), this.depth(this.pool.get(node, W_KEY)))
  }

  sackBlocks(): [number, number][] {
    const edges = new Int32Array(8)
    const count = collectSackBlocks(this.c.context, this.c, edges, 0, 4)
    return Array.from({ length: count }, (_, block) => [
      seqDiff(edges[block * 2]!, this.base),
      seqDiff(edges[block * 2 + 1]!, this.base),
    ])
  }
}

function pattern(at: number): number {
  return (at * 31 + (at >> 7)) & 255
}

/** Maximal stretches of ones. */
function stretches(held: Uint8Array): [number, number][] {
  const found: [number, number][] = []
  for (let at = 0; at < held.length; at++) {
    if (held[at] === 0) continue
    const from = at
    while (at < held.length && held[at] !== 0) at++
    found.push([from, at])
  }
  return found
}

for (const [name, peerIss] of [
  ['far from 2^32', 50_000],
  ['over 2^32', -1500],
] as const)
  test(`random segments, ${name}: runs, bytes and sums are those of the reference, and everything is given back`, () => {
    const random = seededRandom(SEED ^ peerIss)
    for (let round = 0; round < 40; round++) {
      const lab = new Lab(peerIss, 2048)
      const free = lab.pool.freeBuffers
      const held = new Uint8Array(WINDOW)
      const longest = [3, 40, 600][round % 3]!
      for (let step = 0; step < 150; step++) {
        const from = 1 + ((random() >>> 0) % (WINDOW - 1))
        const to = Math.min(from + 1 + ((random() >>> 0) % longest), WINDOW)
        lab.insert(from, to)
        held.fill(1, from, to)
        const expected = stretches(held)
        assert.equal(lab.runs(), expected)
        const blocks = lab.sackBlocks()
        assert.ok(blocks[0]![0] <= from && from < blocks[0]![1], 'the latest goes first')
        assert.is(blocks.length, Math.min(4, expected.length))
        assert.is(new Set(blocks.map(String)).size, blocks.length)
        for (const [left, right] of blocks) assert.ok(expected.some(([l, r]) => l === left && r === right))
      }
      if (round % 2 === 0) fillGaps(lab, held)
      else releaseReassembly(lab.c.context, lab.c)
      assert.is(lab.c.reassemblyLines, 0)
      assert.is(lab.pool.freeBuffers, free)
    }
  })

/** What is missing arrives in order; everything moves to the receive queue. */
function fillGaps(lab: Lab, held: Uint8Array): void {
  const { c, pool } = lab
  let at = 0
  while (at < WINDOW) {
    if (held[at] !== 0) throw new Error(`place ${at} was not drained`)
    let to = at
    while (to < WINDOW && held[to] === 0) to++
    const meta = lab.line(at, to)
    appendReceived(c.context, c, meta, to - at)
    drainReassembly(c.context, c)
    at = seqDiff(c.rcvNxt, lab.base)
  }
  const bytes = consumeChain(pool, c.takeReceived())
  assert.is(bytes.length, WINDOW)
  for (let index = 0; index < WINDOW; index++) assert.is(bytes[index], pattern(index))
}

test('blocks are reported latest first, then in the order of their last segments (RFC 2018 4)', () => {
  const lab = new Lab(50_000, 256)
  lab.insert(100, 110)
  lab.insert(200, 210)
  lab.insert(300, 310)
  assert.equal(lab.sackBlocks(), [
    [300, 310],
    [200, 210],
    [100, 110],
  ])
  lab.insert(110, 120)
  assert.equal(lab.sackBlocks(), [
    [100, 120],
    [300, 310],
    [200, 210],
  ])
  lab.insert(400, 410)
  lab.insert(500, 510)
  assert.equal(lab.sackBlocks(), [
    [500, 510],
    [400, 410],
    [100, 120],
    [300, 310],
  ])
  lab.insert(120, 300)
  assert.equal(lab.sackBlocks(), [
    [100, 310],
    [500, 510],
    [400, 410],
  ])
})

test('under pressure the largest numbers are given up', () => {
  const lab = new Lab(50_000, 1024)
  for (let hole = 0; hole < 20; hole++) lab.insert(10 + hole * 10, 15 + hole * 10)
  for (let part = 0; part < 20; part++) lab.insert(1000 + part * 10, 1010 + part * 10)
  assert.is(lab.c.reassemblyLines, 40)
  assert.is(pruneReassembly(lab.c.context, lab.c, 5), 5)
  assert.equal(lab.runs().at(-1), [1000, 1150], 'a long run is cut, not dropped')
  pruneReassembly(lab.c.context, lab.c, 25)
  assert.equal(lab.runs().at(-1), [100, 105])
  assert.is(lab.c.reassemblyLines, 10)
  assert.is(lab.peer.host.counters.tcp.prunedLines, 30)
  lab.insert(1000, 1010)
  assert.equal(lab.runs().at(-1), [1000, 1010])
})

test('at the limit of lines a segment farther left is taken, one farther right is not', () => {
  const lab = new Lab(50_000, 128)
  const limit = Math.trunc(lab.pool.totalMetas / 4)
  for (let hole = 0; hole < limit; hole++) lab.insert(1000 + hole * 2, 1001 + hole * 2)
  assert.is(lab.c.reassemblyLines, limit)
  lab.insert(2000, 2001)
  assert.is(lab.c.reassemblyLines, limit, 'dropped')
  assert.is(lab.peer.host.counters.tcp.dropNoMemory, 1)
  lab.insert(10, 11)
  assert.equal(lab.runs()[0], [10, 11])
  assert.ok(lab.c.reassemblyLines < limit)
})

test('holes from left to right, and from right to left: the tree stays flat', () => {
  for (const order of [(n: number) => n, (n: number) => 999 - n]) {
    const lab = new Lab(50_000, 3000)
    for (let hole = 0; hole < 1000; hole++) lab.insert(1 + order(hole) * 2, 2 + order(hole) * 2)
    assert.is(lab.c.reassemblyLines, 1000)
    assert.ok(lab.depth() < 40, `depth ${lab.depth()}`)
  }
})

test('10,000 holes, in random order, and filled in random order: a microsecond or two a segment', () => {
  const holes = 10_000
  const lab = new Lab(50_000, 40_000)
  const random = seededRandom(SEED)
  const order = shuffled(holes, random)
  const lines = order.map((hole) => lab.line(1 + hole * 2, 2 + hole * 2))
  const start = process.hrtime.bigint()
  for (let index = 0; index < holes; index++)
    insertOutOfOrder(lab.c.context, lab.c, lines[index]!, seqAdd(lab.base, 1 + order[index]! * 2))
  const insertNs = Number(process.hrtime.bigint() - start) / holes
  assert.is(lab.c.reassemblyLines, holes)
  const depth = lab.depth()
  assert.ok(depth < 60, `depth ${depth} of a tree that would have 14 levels if it were perfect`)
  const blocksStart = process.hrtime.bigint()
  const edges = new Int32Array(8)
  for (let index = 0; index < holes; index++) collectSackBlocks(lab.c.context, lab.c, edges, 0, 4)
  const blocksNs = Number(process.hrtime.bigint() - blocksStart) / holes
  const fills = shuffled(holes - 1, random)
  const fillers = fills.map((hole) => lab.line(2 + hole * 2, 3 + hole * 2))
  const fillStart = process.hrtime.bigint()
  for (let index = 0; index < fills.length; index++)
    insertOutOfOrder(lab.c.context, lab.c, fillers[index]!, seqAdd(lab.base, 2 + fills[index]! * 2))
  const fillNs = Number(process.hrtime.bigint() - fillStart) / fills.length
  assert.equal(lab.sackBlocks(), [[1, 1 + holes * 2 - 1]])
  console.log(
    `depth ${depth}; ${insertNs.toFixed(0)} ns a hole, ${fillNs.toFixed(0)} ns a filled gap, ${blocksNs.toFixed(0)} ns for four blocks`,
  )
  // A list would take about a hundred times as long; machines that run tests are slow, and busy.
  assert.ok(insertNs < 20_000 && fillNs < 20_000)
})

function shuffled(count: number, random: () => number): number[] {
  const order = Array.from({ length: count }, (_, index) => index)
  for (let index = count - 1; index > 0; index--) {
    const other = (random() >>> 0) % (index + 1)
    const value = order[index]!
    order[index] = order[other]!
    order[other] = value
  }
  return order
}

test.run()
