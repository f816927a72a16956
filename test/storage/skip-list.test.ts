/** The ordered index and the exact one against a sorted array, under random operations. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { adoptHead } from '../../storage/entry.ts'
import { HashIndex } from '../../storage/hash-index.ts'
import { hashKey } from '../../storage/key.ts'
import { ANCHOR_META, NO_META, W_NEXT } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { SkipList } from '../../storage/skip-list.ts'
import { sortableKeyWords } from '../support/key-words.ts'
import { poolOf } from '../support/pools.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const SEED = announceSeed('skip list', 1990)

interface Node {
  readonly key: Buffer
  readonly meta: number
}

class Workload {
  readonly pool: Pool
  readonly random: () => number

  constructor(seed: number, buffers: number) {
    this.random = seededRandom(seed)
    this.pool = poolOf(2, buffers)
  }

  below(bound: number): number {
    return (this.random() >>> 0) % bound
  }

  /** Short keys over few letters, so that prefixes are shared beyond what blocks carry (16 bytes). */
  key(): Buffer {
    const stem = ['', 'common-prefix-of-17', '\xff\xff\xff\xff', '\0'][this.below(4)]!
    return Buffer.from(
      `${stem + Array.from({ length: this.below(5) }, () => 'ab\0\xff'[this.below(4)]).join('')}k`,
      'latin1',
    )
  }

  node(key: Buffer): Node {
    const buffer = this.pool.allocateBuffer()
    const meta = this.pool.createView(buffer, 500, 0, 0)
    this.pool.bufferBytes(buffer).set(key, this.pool.bufferStart(buffer) + 7)
    adoptHead(this.pool, meta, 7, key.length)
    return { key, meta }
  }
}

const hashOf = ({ key }: Pick<Node, 'key'>): number => hashKey(key, 0, key.length)

/** Every level-0 link, the back links, and the lookups, against the model in key order. */
function check(list: SkipList, pool: Pool, model: readonly Node[], context: string): void {
  assert.is(list.size, model.length, context)
  let meta = list.first()
  let before = ANCHOR_META
  for (const node of model) {
    assert.is(meta, node.meta, `${context}: order at ${node.key.toString('latin1')}`)
    assert.is(list.before(meta), before, `${context}: back link`)
    assert.ok(list.has(meta))
    assert.is(list.find(node.key, 0, node.key.length), node.meta, `${context}: find`)
    before = meta
    meta = list.next(meta)
  }
  assert.is(meta, NO_META, `${context}: end`)
  assert.is(pool.get(before, W_NEXT), NO_META)
}

const compare = (a: Node, b: Node): number => Buffer.compare(a.key, b.key)

test('insertions, replacements and removals keep the order and the places of a sorted array', () => {
  for (let run = 0; run < 12; run++) {
    const work = new Workload(SEED + run, 1024)
    const { pool } = work
    const list = new SkipList(pool, work.random)
    const model: Node[] = []
    for (let step = 0; step < 1500; step++) {
      const context = `run ${run} step ${step}, PACKRAT_SEED=${SEED}`
      const key = work.key()
      const at = model.findIndex((node) => node.key.equals(key))
      assert.is(list.find(key, 0, key.length), at === -1 ? NO_META : model[at]!.meta, context)
      const epoch = list.epoch
      if (at === -1 && model.length < 900) {
        const node = work.node(key)
        list.insert(node.meta)
        model.push(node)
        model.sort(compare)
      } else if (at !== -1 && work.below(2) === 0) {
        const node = work.node(key)
        list.replace(model[at]!.meta, node.meta)
        assert.not(list.has(model[at]!.meta))
        pool.release(model[at]!.meta)
        model[at] = node
      } else if (at !== -1) {
        list.remove(model[at]!.meta)
        pool.release(model[at]!.meta)
        model.splice(at, 1)
      }
      assert.ok(list.epoch !== epoch || (at === -1 && model.length >= 900), 'a change shows in the epoch')
      if (step % 100 === 0) check(list, pool, model, context)
      const sought = work.key()
      const place = model.findIndex((node) => Buffer.compare(node.key, sought) >= 0)
      const expected = place === -1 ? NO_META : model[place]!.meta
      assert.is(list.locate(sought, 0, sought.length), expected, `${context}: locate`)
      const last = place === -1 ? model.at(-1) : model[place - 1]
      assert.is(list.predecessor, last === undefined ? ANCHOR_META : last.meta, `${context}: predecessor`)
    }
    check(list, pool, model, `run ${run}`)
    for (const node of model) list.remove(node.meta)
    assert.is(list.first(), NO_META)
    assert.is(list.size, 0)
  }
})

/** Builds a list of nodes in order, in runs of random lengths, as recovery does. */
function rebuild(list: SkipList, pool: Pool, nodes: readonly Node[], work: Workload): void {
  const hashes = new Int32Array(pool.metaIndexEnd)
  for (const { key, meta } of nodes) hashes[meta] = hashKey(key, 0, key.length)
  const all = [{ key: Buffer.alloc(0), meta: ANCHOR_META }, ...nodes]
  list.beginRebuild()
  for (let last = 0; last + 1 < all.length; ) {
    const run = all.slice(last, last + 2 + work.below(200))
    const metas = Int32Array.from(run, ({ meta }) => meta)
    list.appendRun(metas, sortableKeyWords(run.map(({ key }) => key)))
    for (let i = 1; i < metas.length; i++) list.setLink(metas[i - 1]!, metas[i]!)
    last += run.length - 1
  }
  list.endRebuild(all.at(-1)!.meta, hashes)
}

test('a rebuild from a sorted sequence gives the same list, and it can go on changing', () => {
  for (const size of [0, 1, 44, 45, 60, 61, 300, 5000]) {
    const work = new Workload(SEED + 5000 + size, 6000)
    const { pool } = work
    const keys = new Set<string>()
    while (keys.size < size) keys.add(`${work.key().toString('latin1')}${keys.size < 200 ? '' : work.below(100_000)}`)
    const model = [...keys].map((key) => work.node(Buffer.from(key, 'latin1'))).sort(compare)
    const list = new SkipList(pool, work.random)
    rebuild(list, pool, model, work)
    check(list, pool, model, `${size} rebuilt`)
    const gone = model.splice(3, 5)
    for (const node of gone) list.remove(node.meta)
    for (const node of gone) {
      list.insert(node.meta)
      model.push(node)
    }
    check(list, pool, model.sort(compare), `${size}, changed behind a rebuild`)
    rebuild(list, pool, model, work)
    check(list, pool, model, `${size}, rebuilt again`)
  }
})

test('every changed level-0 link is remembered once until it is flushed, and no unchanged one', () => {
  const work = new Workload(SEED + 6000, 64)
  const { pool } = work
  const list = new SkipList(pool, work.random)
  const lines = pool.totalMetas + 1
  let before = Array.from({ length: lines }, (_, meta) => pool.get(meta, W_NEXT))
  for (let step = 0; step < 40; step++) {
    const node = work.node(Buffer.from(`key ${work.below(1000)} ${step}`))
    list.insert(node.meta)
    if (step % 3 === 2) list.remove(list.first())
    if (step % 5 !== 4) continue
    const dirty = [...list.dirtyLinks.subarray(0, list.dirtyLinkCount)]
    assert.is(new Set(dirty).size, dirty.length, 'once each')
    const after = Array.from({ length: lines }, (_, meta) => pool.get(meta, W_NEXT))
    for (let meta = 0; meta < lines; meta++) {
      if (after[meta] !== before[meta]) assert.ok(dirty.includes(meta), `line ${meta}`)
    }
    before = after
    list.clearDirtyLinks()
    assert.is(list.dirtyLinkCount, 0)
    list.setLink(node.meta, list.next(node.meta))
    assert.is(list.dirtyLinkCount, 0, 'storing what stands there costs nothing')
  }
})

test('the exact index finds what a map does, through growth, replacement and removal', () => {
  const work = new Workload(SEED + 7000, 8192)
  const { pool } = work
  const index = new HashIndex(pool)
  const model = new Map<string, Node>()
  for (let step = 0; step < 12_000; step++) {
    const name = `key-${work.below(3500)}`
    const key = Buffer.from(name)
    const known = model.get(name)
    const found = index.find(hashOf({ key }), key, 0, key.length)
    assert.is(found, known === undefined ? NO_META : known.meta, `step ${step}, PACKRAT_SEED=${SEED}`)
    if (known === undefined) {
      const node = work.node(key)
      index.insert(node.meta, hashOf(node))
      model.set(name, node)
    } else if (work.below(3) === 0) {
      const node = work.node(key)
      index.replace(known.meta, node.meta, hashOf(node))
      pool.release(known.meta)
      model.set(name, node)
    } else if (work.below(2) === 0) {
      index.remove(known.meta, hashOf(known))
      pool.release(known.meta)
      model.delete(name)
    }
  }
  assert.ok(model.size > 2048, 'the table has grown')
  for (const { key, meta } of model.values()) assert.is(index.find(hashOf({ key }), key, 0, key.length), meta)
  for (const node of model.values()) index.remove(node.meta, hashOf(node))
  for (const { key } of model.values()) assert.is(index.find(hashOf({ key }), key, 0, key.length), NO_META)
  const stranger = work.node(Buffer.from('stranger'))
  assert.throws(() => index.remove(stranger.meta, hashOf(stranger)), /not in the exact index/)
  index.clear()
})

test('the exact index takes any number of entries at once, beside those it has', () => {
  for (const count of [0, 1, 63, 64, 65, 1000, 3000]) {
    const work = new Workload(SEED + count, 4096)
    const index = new HashIndex(work.pool)
    const named = (name: string): Node => work.node(Buffer.from(name))
    const before = Array.from({ length: 10 }, (_, i) => named(`before-${i}`))
    for (const node of before) index.insert(node.meta, hashOf(node))
    const bulk = Array.from({ length: count }, (_, i) => named(`bulk-${i}`))
    const listed = new Int32Array(work.pool.metaIndexEnd)
    const hashes = new Int32Array(work.pool.metaIndexEnd)
    for (const node of bulk) {
      listed[node.meta] = 1
      hashes[node.meta] = hashOf(node)
    }
    index.insertAll(listed, hashes, count)
    const after = Array.from({ length: 10 }, (_, i) => named(`after-${i}`))
    for (const node of after) index.insert(node.meta, hashOf(node))
    for (const { key, meta } of [...before, ...bulk, ...after])
      assert.is(index.find(hashOf({ key }), key, 0, key.length), meta, `${count}: ${key}`)
    for (const node of bulk) index.remove(node.meta, hashOf(node))
    for (const { key } of bulk) assert.is(index.find(hashOf({ key }), key, 0, key.length), NO_META)
  }
})

test('keys with one hash are told apart', () => {
  const work = new Workload(SEED, 64)
  const index = new HashIndex(work.pool)
  // All of them probe from neighbouring slots of a small table: the lower 12 bits of their hashes agree.
  const wanted = hashKey(Buffer.from('x'), 0, 1) & 0xfff
  const nodes: Node[] = []
  for (let i = 0; nodes.length < 8; i++) {
    const key = Buffer.from(`collision-${i}`)
    if ((hashKey(key, 0, key.length) & 0xfff) === wanted) nodes.push(work.node(key))
  }
  for (const node of nodes) index.insert(node.meta, hashOf(node))
  for (const gone of [0, 3, 7, 5, 1, 6, 2, 4]) {
    index.remove(nodes[gone]!.meta, hashOf(nodes[gone]!))
    nodes[gone] = { key: nodes[gone]!.key, meta: NO_META }
    for (const { key, meta } of nodes) assert.is(index.find(hashOf({ key }), key, 0, key.length), meta)
  }
})

test.run()
