/** Packing: small values share buffers, nothing that a reader can see changes, and nothing is copied twice for nothing. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { adoptHead, setArrival } from '../../storage/entry.ts'
import {
  BUFFER_BYTES,
  NO_FRAME,
  NO_META,
  W_PAYLOAD_CRC,
  W_PAYLOAD_CRC_COMPLEMENT,
  W_SUM,
  W_VALUE,
} from '../../storage/layout.ts'
import { PACK_BLOCKED, PACK_DONE, PACK_MORE, Packer, type PackOptions } from '../../storage/packing.ts'
import type { CorruptEntry } from '../../storage/recovery.ts'
import { Store } from '../../storage/store.ts'
import { HeldRegion } from '../support/held-region.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SEED = announceSeed('packing', 20261122)
const REGION_BYTES = 1 << 20
const EVERYTHING = 1 << 30
const SPARSE_BYTES = BUFFER_BYTES / 2

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

interface Bench<R extends TracingRegion> {
  readonly region: R
  readonly store: Store
  readonly packer: Packer
  readonly findings: CorruptEntry[]
}

function benchOn<R extends TracingRegion>(region: R, options: Partial<PackOptions> = {}): Bench<R> {
  let now = 1000n
  const store = new Store(region, { random: seededRandom(1), clock: () => now++ })
  const findings: CorruptEntry[] = []
  const packer = new Packer(store, region, {
    sparseBytes: SPARSE_BYTES,
    linesMax: 64,
    reserve: 0,
    onFinding: (finding) => findings.push(finding),
    ...options,
  })
  return { region, store, packer, findings }
}

const bench = (options?: Partial<PackOptions>): Bench<TracingRegion> =>
  benchOn(new TracingRegion({ regionBytes: REGION_BYTES }), options)

/** A value that says which it is, in every part. */
const numbered = (i: number, size: number): Uint8Array => bytes(`${i}.`.repeat(size).slice(0, size))

/** All that a reader can see. */
function picture(store: Store): unknown[] {
  return [...store.entries()].map(({ key, size, version, arrival }) => ({
    key: Buffer.from(key).toString(),
    size,
    version,
    arrival,
    value: Buffer.from(store.get(key)!).toString('latin1'),
  }))
}

function linesOf(store: Store): number[] {
  const lines: number[] = []
  for (const entry of store.entries())
    for (let meta = entry.meta; meta !== NO_META; meta = store.pool.next(meta)) lines.push(meta)
  return lines
}

const isPacked = (store: Store, meta: number): boolean => store.pool.get(meta, W_SUM) >>> 16 === NO_FRAME

/** Every buffer and line is free or part of an entry. */
async function checkBalance({ store, packer }: Bench<TracingRegion>): Promise<void> {
  packer.close()
  await store.drain()
  const { pool } = store
  assert.is(pool.freeBuffers + pool.storedBuffers, pool.totalBuffers)
  assert.is(pool.freeMetas + linesOf(store).length, pool.totalMetas)
}

/** Opens what a crash leaves for certain. */
function reopen({ region, store }: Bench<TracingRegion>): Store {
  const image = new TracingRegion({
    regionBytes: REGION_BYTES,
    image: region.durableImage(),
    versionFloor: store.nextVersion,
  })
  return new Store(image, { random: seededRandom(2) })
}

let arrivals = 5000n

/** Stores a value as segments bring it: each piece in a frame of its own, behind headers, the key in the first one's. */
function putFrames({ region, store }: Bench<TracingRegion>, key: string, pieces: readonly Uint8Array[]): void {
  const { pool } = store
  let head = NO_META
  let tail = NO_META
  for (const piece of pieces) {
    const buffer = pool.allocateBuffer()
    const start = pool.bufferStart(buffer)
    const offset = 66 + key.length
    pool.bufferBytes(buffer).set(bytes(key), start + 66)
    pool.bufferBytes(buffer).set(piece, start + offset)
    const meta = pool.createView(buffer, offset, piece.length, region.sumView(buffer, offset, piece.length))
    setArrival(pool, meta, arrivals++)
    if (head === NO_META) {
      adoptHead(pool, meta, 66, key.length)
      head = meta
    } else store.appendFragment(head, tail, meta)
    tail = meta
  }
  store.stagePut(head, tail)
  store.commit()
}

test('a hundred small values share a few buffers, and read as before, also after a crash', async () => {
  const packed = bench()
  const { store, packer } = packed
  for (let i = 0; i < 100; i++) putFrames(packed, `key-${i}`, [numbered(i, 100)])
  await store.drain()
  assert.is(store.pool.storedBuffers, 100)
  const before = picture(store)
  assert.is(packer.step(EVERYTHING), PACK_DONE)
  assert.equal(picture(store), before)
  await store.drain()
  assert.equal(picture(store), before)
  const buffers = Math.ceil(100 / Math.floor(BUFFER_BYTES / 106))
  assert.is(store.pool.storedBuffers, buffers)
  assert.is(store.counters.moves, 100)
  assert.is(store.counters.movesVacatedBuffers, 100 - buffers)
  assert.is(store.counters.changes, 100, 'moving an entry is no change')
  for (const meta of linesOf(store)) {
    assert.ok(isPacked(store, meta))
    assert.is(store.pool.get(meta, W_PAYLOAD_CRC_COMPLEMENT), ~store.pool.get(meta, W_PAYLOAD_CRC))
  }
  const recovered = reopen(packed)
  assert.equal(recovered.report.corrupt, [])
  assert.equal(picture(recovered), before)
  await checkBalance(packed)
})

test('values in many pieces of odd sizes are put together, in whole buffers and one piece that shares', async () => {
  const random = seededRandom(SEED)
  const upTo = (n: number): number => (random() >>> 0) % n
  for (let round = 0; round < 12; round++) {
    const packed = bench()
    const { store, packer } = packed
    for (let i = 0; i < 12; i++) {
      const pieces = Array.from({ length: 1 + upTo(9) }, (_, j) => numbered(i * 10 + j, upTo(900)))
      putFrames(packed, `${i}`.padEnd(1 + upTo(900), 'k'), pieces)
    }
    await store.drain()
    const before = picture(store)
    const lines = linesOf(store).length
    while (packer.step(1 + upTo(5000)) !== PACK_DONE) assert.equal(picture(store), before)
    await store.drain()
    assert.equal(picture(store), before)
    assert.ok(linesOf(store).length < lines)
    const recovered = reopen(packed)
    assert.equal(recovered.report.corrupt, [])
    assert.equal(picture(recovered), before)
    await checkBalance(packed)
  }
})

test('a key and a rest that do not fit into one buffer leave the rest to the end', async () => {
  const packed = bench({ sparseBytes: BUFFER_BYTES })
  const { store, packer } = packed
  for (const size of [0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 3071, 3072, 3073, 4095, 4096, 5000]) {
    await store.put(bytes(`${size}`.padEnd(1024, '-')), numbered(size, size))
  }
  const before = picture(store)
  packer.step(EVERYTHING)
  await store.drain()
  assert.equal(picture(store), before)
  assert.is(store.counters.moves, 14)
  await checkBalance(packed)
})

test('a second pass moves nothing', async () => {
  const packed = bench()
  const { store, packer } = packed
  const random = seededRandom(SEED)
  for (let i = 0; i < 150; i++) putFrames(packed, `key-${i}`, [numbered(i, (random() >>> 0) % 1400)])
  putFrames(
    packed,
    'long',
    Array.from({ length: 20 }, (_, i) => numbered(i, 700)),
  )
  packer.step(EVERYTHING)
  await store.drain()
  const { moves } = store.counters
  assert.ok(moves > 50)
  for (let i = 0; i < 3; i++) packer.step(EVERYTHING)
  assert.is(store.counters.moves, moves)
  assert.is(packer.counters.passes, 4)
  await checkBalance(packed)
})

test('under random writes packing copies no more than was written and deleted', async () => {
  const packed = bench()
  const { store, packer } = packed
  const random = seededRandom(SEED)
  let changed = 0
  for (let step = 0; step < 3000; step++) {
    const key = `key-${(random() >>> 0) % 200}`
    const old = store.get(bytes(key))
    if (old !== undefined) changed += old.length + key.length
    if ((random() >>> 0) % 4 === 0) await store.delete(bytes(key))
    else {
      const size = (random() >>> 0) % 600
      changed += size + key.length
      await store.put(bytes(key), numbered(step, size))
    }
    packer.step(2000)
    if (step % 8 === 0) store.settle()
  }
  const { bytesCopied, passes } = packer.counters
  assert.ok(passes > 10)
  assert.ok(store.counters.moves > 500)
  assert.ok(bytesCopied < changed, `${bytesCopied} bytes copied for ${changed} changed`)
  await checkBalance(packed)
})

test('what is being written or deleted is left alone, and a write behind a move counts', async () => {
  const packed = benchOn(new HeldRegion({ regionBytes: REGION_BYTES, asynchronous: true }))
  const { region, store, packer } = packed
  const finish = (): void => {
    while (!store.isIdle) region.isHolding ? region.complete() : store.settle()
  }
  for (const key of ['a', 'b', 'c', 'd']) putFrames(packed, key, [bytes(`${key} in a frame`)])
  finish()
  const old = store.find(bytes('a'), 0, 1)
  void store.put(bytes('a'), bytes('newer'))
  assert.is(packer.step(EVERYTHING), PACK_BLOCKED, 'a program is on its way')
  finish()
  // Staged, not committed: the step commits it with its own.
  const deleted = store.find(bytes('d'), 0, 1)
  const { pool } = store
  store.stageDelete(pool.buffer(deleted), 66, 1)
  assert.is(packer.step(EVERYTHING), PACK_DONE)
  assert.ok(region.isHolding)
  // The moves are on their way now.
  void store.put(bytes('b'), bytes('newest'))
  void store.delete(bytes('c'))
  finish()
  assert.equal(
    picture(store).map((entry) => (entry as { key: string; value: string }).value),
    ['newer', 'newest'],
  )
  assert.is(store.counters.moves, 3, 'a, b and c')
  assert.is.not(store.find(bytes('a'), 0, 1), old)
  assert.equal(picture(reopen(packed)), picture(store))
  packer.close()
  finish()
  assert.is(pool.freeBuffers + pool.storedBuffers, pool.totalBuffers)
})

test('a snapshot sees each entry once, before and behind a move, and keeps nothing for it', async () => {
  const packed = bench()
  const { store, packer } = packed
  for (let i = 0; i < 10; i++) putFrames(packed, `key-${i}`, [numbered(i, 50)])
  const snapshot = store.snapshot()
  const seen = (): string[] =>
    [...snapshot.entries()].map(({ key }) => `${Buffer.from(key)}=${Buffer.from(snapshot.get(key)!)}`)
  const before = seen()
  packer.step(EVERYTHING)
  assert.is(store.counters.moves, 10)
  assert.equal(seen(), before)
  assert.is(store.snapshots.retainedLines, 0)
  for (let i = 0; i < 10; i++) await store.delete(bytes(`key-${i}`))
  assert.equal(seen(), before)
  assert.is(store.snapshots.retainedLines, 10)
  packer.step(EVERYTHING)
  await store.drain()
  assert.equal(seen(), before)
  snapshot.close()
  await checkBalance(packed)
})

test('an entry that is being sent keeps its lines until the last byte is queued', async () => {
  const packed = bench()
  const { store, packer } = packed
  putFrames(packed, 'a', [bytes('first '), bytes('second')])
  const { pool } = store
  const head = store.find(bytes('a'), 0, 1)
  const second = pool.next(head)
  store.pin(head)
  packer.step(EVERYTHING)
  await store.drain()
  assert.is.not(store.find(bytes('a'), 0, 1), head)
  for (let i = 0; i < 40; i++) await store.put(bytes(`other-${i}`), numbered(i, 300))
  assert.is(pool.next(head), second)
  const start = pool.dataStartOf(second)
  assert.is(Buffer.from(pool.dataBytes(second).slice(start, start + 6)).toString(), 'second')
  store.unpin(head)
  await checkBalance(packed)
})

test('what is damaged is reported, not copied', async () => {
  const packed = bench()
  const { region, store, packer, findings } = packed
  for (const key of ['a', 'b', 'c']) putFrames(packed, key, [bytes(`value of ${key}`), bytes(`more of ${key}`)])
  await store.drain()
  region.bytes[Buffer.from(region.bytes.buffer).indexOf('more of b')]! ^= 1
  const { pool } = store
  const [, , broken] = ['a', 'b', 'c'].map((key) => pool.next(store.find(bytes(key), 0, 1)))
  pool.set(broken!, W_VALUE, 3)
  packer.step(EVERYTHING)
  assert.is(store.counters.moves, 1)
  assert.equal(
    findings.map(({ key, reason }) => [Buffer.from(key!).toString(), reason]),
    [
      ['b', 'payload fails its check'],
      ['c', `fragment line ${broken} fails its check`],
    ],
  )
  assert.is(packer.counters.corrupt, 2)
  assert.throws(() => store.get(bytes('b')), /payload fails its check/)
  packer.step(EVERYTHING)
  assert.is(findings.length, 2, 'reported once')
})

test('a copy that is not the original is thrown away', async () => {
  const packed = bench()
  const { region, store, packer } = packed
  putFrames(packed, 'a', [bytes('value'), bytes('of a')])
  const head = store.find(bytes('a'), 0, 1)
  const frame = store.pool.buffer(head)
  const { sumView } = region
  // Memory that does not keep what is written to it, other than the frames.
  region.sumView = (buffer, offset, length) => {
    const sum = sumView.call(region, buffer, offset, length)
    return buffer <= frame + 1 ? sum : sum ^ 0x100
  }
  packer.step(EVERYTHING)
  await store.drain()
  assert.is(packer.counters.spoilt, 1)
  assert.is(store.find(bytes('a'), 0, 1), head)
  assert.is(Buffer.from(store.get(bytes('a'))!).toString(), 'valueof a')
  await checkBalance(packed)
})

test('of two copies of one version that a crash leaves, the one whose chain is whole counts', () => {
  for (const which of [0, 1]) {
    const packed = bench()
    const { region, store, packer } = packed
    const pieces = [numbered(1, 900), numbered(2, 900), numbered(3, 900), numbered(4, 900)]
    putFrames(packed, 'a', pieces)
    const before = picture(store)
    const old = store.find(bytes('a'), 0, 1)
    packer.step(EVERYTHING)
    const heads = [old, store.find(bytes('a'), 0, 1)]
    const image = region.durableImage()
    // Both are durable: the clear of the old one comes with the next program. One of them loses a fragment.
    const damaged = store.pool.next(heads[which]!)
    image[damaged * 64 + 28]! ^= 1
    const recovered = new Store(new TracingRegion({ regionBytes: REGION_BYTES, image }), { random: seededRandom(2) })
    assert.equal(picture(recovered), before, `the ${['old', 'new'][which]} copy damaged`)
    assert.is(recovered.report.superseded, 1)
    assert.is(recovered.records, 1)
  }
})

test('a step takes neither the last buffers nor more than its budget', async () => {
  const packed = bench({ reserve: 40 })
  const { store, packer } = packed
  const { pool } = store
  for (let i = 0; i < 300; i++) putFrames(packed, `key-${i}`, [numbered(i, 100)])
  await store.drain()
  assert.is(packer.step(2000), PACK_MORE)
  assert.ok(packer.counters.bytesCopied < 2000, `${packer.counters.bytesCopied} bytes`)
  await store.drain()
  const held: number[] = []
  while (pool.freeBuffers > 50) held.push(pool.allocateBuffer())
  assert.is(packer.step(EVERYTHING), PACK_BLOCKED)
  for (const buffer of held) pool.releaseBuffer(buffer)
  assert.is(packer.step(EVERYTHING), PACK_DONE)
  assert.is(store.counters.moves, 300)
  await checkBalance(packed)
})

test('a poisoned store is left alone', () => {
  const packed = bench()
  const { region, store, packer } = packed
  putFrames(packed, 'a', [bytes('value')])
  region.failure = -5
  void store.put(bytes('b'), bytes('lost')).catch(() => {})
  assert.is(store.poisoned, -5)
  assert.is(packer.step(EVERYTHING), PACK_BLOCKED)
  assert.is(packer.counters.bytesCopied, 0)
})

test.run()
