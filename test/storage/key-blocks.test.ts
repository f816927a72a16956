/**
 * The upper levels of the ordered index on their own: enough entries for several levels, inserted, replaced and removed in
 * random, ascending and descending order, against a sorted array; and that blocks are given back.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { BLOCK_ENTRIES } from '../../storage/block-layout.ts'
import { adoptHead } from '../../storage/entry.ts'
import { KeyBlocks } from '../../storage/key-blocks.ts'
import type { Pool } from '../../storage/pool.ts'
import { sortableKeyWords } from '../support/key-words.ts'
import { poolOf } from '../support/pools.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const SEED = announceSeed('key blocks', 1992)
const BUFFERS = 8192

interface Node {
  readonly key: Buffer
  readonly meta: number
}

const compare = (a: Node, b: Node): number => Buffer.compare(a.key, b.key)

class Harness {
  readonly pool: Pool
  readonly blocks: KeyBlocks
  readonly random: () => number
  model: Node[] = []

  constructor(seed: number, linesPerBuffer = 2, buffers = BUFFERS) {
    this.pool = poolOf(linesPerBuffer, buffers)
    this.random = seededRandom(seed)
    this.blocks = new KeyBlocks(this.pool, this.random)
  }

  below(bound: number): number {
    return (this.random() >>> 0) % bound
  }

  /** Four kinds of keys: told apart by their first word, by their fourth, behind the 16 bytes that blocks hold, by length. */
  key(number: number): Buffer {
    const digits = String(number).padStart(6, '0')
    const stem = ['', 'ten-bytes:', 'a stem of 20 bytes: ', '\xff\xff\xff\xff'][number & 3]!
    return Buffer.from(`${stem}${digits}${'\0'.repeat(number % 3)}`, 'latin1')
  }

  node(key: Buffer): Node {
    const meta = this.pool.createView(this.pool.allocateBuffer(), 500, 0, 0)
    this.pool.bufferBytes(this.pool.buffer(meta)).set(key, this.pool.bufferStart(this.pool.buffer(meta)) + 3)
    adoptHead(this.pool, meta, 3, key.length)
    return { key, meta }
  }

  insert(node: Node): void {
    this.blocks.locate(node.key, 0, node.key.length)
    this.blocks.insert(node.meta)
  }

  remove(node: Node): void {
    this.blocks.locate(node.key, 0, node.key.length)
    assert.is(this.blocks.here, node.meta)
    this.blocks.remove()
    assert.is(this.blocks.blockOf[node.meta], 0)
    this.pool.release(node.meta)
  }

  /** Each key of the model leads to its entry, the one before it, and, a byte longer, to the one behind it. */
  check(context: string): void {
    const { blocks, model } = this
    for (const [i, { key, meta }] of model.entries()) {
      blocks.locate(key, 0, key.length)
      assert.is(blocks.here, meta, `${context}: ${key}`)
      assert.ok(blocks.blockOf[meta] !== 0)
      // The beginning of a block says nothing of the entry before.
      assert.ok(blocks.before === 0 || blocks.before === model[i - 1]!.meta, `${context}: before ${key}`)
      const longer = Buffer.concat([key, Buffer.of(0)])
      const behind = model[i + 1]
      if (behind?.key.equals(longer) === true) continue
      blocks.locate(longer, 0, longer.length)
      assert.ok([0, behind?.meta].includes(blocks.here), `${context}: behind ${key}`)
      assert.ok(blocks.here !== 0 || blocks.before === meta, `${context}: the end of a block is behind its last entry`)
    }
  }
}

const COUNT = 6000

const ORDERS: readonly (readonly [string, (numbers: number[], below: (bound: number) => number) => number[]])[] = [
  ['ascending', (numbers) => numbers],
  ['descending', (numbers) => numbers.reverse()],
  [
    'random',
    (numbers, below) =>
      numbers
        .map((n) => ({ n, at: below(1 << 30) }))
        .sort((a, b) => a.at - b.at)
        .map(({ n }) => n),
  ],
]

for (const [name, arrange] of ORDERS) {
  test(`entries inserted and removed in ${name} order are found as in a sorted array`, () => {
    const harness = new Harness(SEED)
    const numbers = arrange([...Array(COUNT).keys()], (bound) => harness.below(bound))
    for (const number of numbers) {
      const node = harness.node(harness.key(number))
      harness.insert(node)
      harness.model.push(node)
    }
    harness.model.sort(compare)
    harness.check(`filled, PACKRAT_SEED=${SEED}`)
    for (const [i, node] of harness.model.entries()) {
      if (harness.below(3) > 0) continue
      const fresh = harness.node(node.key)
      harness.blocks.replace(node.meta, fresh.meta)
      harness.pool.release(node.meta)
      harness.model[i] = fresh
    }
    harness.check('replaced')
    for (const part of [10, 2, 1]) {
      const gone = arrange([...harness.model.keys()], (bound) => harness.below(bound))
        .filter(() => part === 1 || harness.below(part) > 0)
        .map((i) => harness.model[i]!)
      for (const node of gone) harness.remove(node)
      harness.model = harness.model.filter((node) => !gone.includes(node))
      harness.check(`one of ${part} left`)
    }
    assert.is(harness.model.length, 0)
    harness.insert(harness.node(Buffer.from('one more')))
  })
}

test('a region of half a million lines has its blocks in larger chunks', () => {
  const harness = new Harness(SEED + 3, 8, 1 << 16)
  const nodes = [...Array(COUNT).keys()].map((i) => harness.node(harness.key(i)))
  for (const node of nodes) harness.insert(node)
  harness.model = nodes.sort(compare)
  harness.check('in a large region')
  for (const node of harness.model.splice(0, COUNT / 2)) harness.remove(node)
  harness.check('half of them removed')
})

test('blocks that have emptied are used again', () => {
  const harness = new Harness(SEED + 1)
  let most = 0
  for (let round = 0; round < 6; round++) {
    const nodes = [...Array(2000).keys()].map((i) => harness.node(harness.key(100_000 * round + i)))
    for (const node of nodes) harness.insert(node)
    const used = Math.max(...harness.blocks.blockOf)
    if (round === 0) most = used
    assert.ok(used < most * 1.5, `round ${round}: block ${used} in use, ${most} in the first`)
    for (const node of nodes) harness.remove(node)
  }
})

test('entries appended in order fill their blocks unequally, and three quarters of them at least', () => {
  const harness = new Harness(SEED + 2)
  const nodes = [...Array(COUNT).keys()].map((i) => harness.node(harness.key(i))).sort(compare)
  for (let next = 0; next < nodes.length; ) {
    const run = nodes.slice(next, next + harness.below(200))
    const metas = Int32Array.from([0, ...run.map(({ meta }) => meta)])
    harness.blocks.appendRun(metas, sortableKeyWords([Buffer.alloc(0), ...run.map(({ key }) => key)]))
    next += run.length
  }
  harness.blocks.endRebuild()
  harness.model = nodes
  harness.check('appended')
  const fill = new Map<number, number>()
  for (const { meta } of nodes)
    fill.set(harness.blocks.blockOf[meta]!, (fill.get(harness.blocks.blockOf[meta]!) ?? 0) + 1)
  const counts = [...fill.values()].slice(0, -1)
  assert.ok(Math.min(...counts) >= (BLOCK_ENTRIES * 3) / 4)
  assert.ok(new Set(counts).size > 5, 'not all of them will be cut at the same time')
  harness.blocks.clear()
  harness.blocks.locate(nodes[0]!.key, 0, nodes[0]!.key.length)
  assert.is(harness.blocks.here, 0)
})

test.run()
