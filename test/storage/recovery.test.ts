/** Recovery of damaged regions: every word of every kind of line flipped, links that lead astray, damaged anchors. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CorruptionError } from '../../storage/errors.ts'
import { ANCHOR_META, LINE_BYTES, NO_META, viewOffset, W_KEY, W_NEXT, W_VERSION_HIGH } from '../../storage/layout.ts'
import { Store } from '../../storage/store.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const SEED = announceSeed('recovery', 4711)
const REGION_BYTES = 1 << 18
const LINE_WORDS = LINE_BYTES / 4

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))
const open = (region: TracingRegion): Store => new Store(region, { random: seededRandom(3) })
const reopen = (image: Uint8Array): { region: TracingRegion; store: Store } => {
  const region = new TracingRegion({ regionBytes: REGION_BYTES, image, versionFloor: 1 << 20 })
  return { region, store: open(region) }
}

/** Keys of which one is a prefix of another; a value of one line, of none, of several. */
const ENTRIES: readonly (readonly [string, string])[] = [
  ['alp', 'shorter'],
  ['alph', 'a neighbour'],
  ['alpha', 'a value of one line'],
  ['beta', 'of several lines '.repeat(400)],
  ['beta2', ''],
  ['gamma', 'last'],
]

interface Made {
  readonly image: Uint8Array
  readonly heads: ReadonlyMap<string, number>
  readonly store: Store
}

async function make(): Promise<Made> {
  const region = new TracingRegion({ regionBytes: REGION_BYTES })
  const store = open(region)
  for (const [key, value] of [...ENTRIES].reverse()) await store.put(text(key), text(value))
  await store.drain()
  const heads = new Map(ENTRIES.map(([key]) => [key, store.find(text(key), 0, key.length)]))
  return { image: region.durableImage(), heads, store }
}

function flip(image: Uint8Array, meta: number, word: number, bits: number): Uint8Array {
  const damaged = image.slice()
  const words = new Int32Array(damaged.buffer)
  words[meta * LINE_WORDS + word]! ^= bits
  return damaged
}

/** 'right', 'refused' or 'absent'; a wrong value throws. */
function read(store: Store, key: string, value: string): string {
  try {
    const found = store.get(text(key))
    if (found === undefined) return 'absent'
    assert.is(Buffer.from(found).toString(), value, `value of ${key}`)
    return 'right'
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error
    return 'refused'
  }
}

/** Buffers and lines that damaged lines hold, which nobody can free. */
function lost(store: Store): { buffers: number; lines: number } {
  const { pool } = store
  let lines = 0
  for (const { meta } of store.entries()) for (let at = meta; at !== NO_META; at = pool.next(at)) lines++
  return {
    buffers: pool.totalBuffers - pool.freeBuffers - pool.storedBuffers,
    lines: pool.totalMetas - pool.freeMetas - lines,
  }
}

async function checkDamage(made: Made, image: Uint8Array, victim: string | undefined, name: string): Promise<void> {
  const { region, store } = reopen(image)
  for (const [key, value] of ENTRIES) {
    const found = read(store, key, value)
    if (key !== victim) assert.is(found, 'right', `${name}: ${key}, which was not damaged`)
    else if (found === 'absent')
      assert.ok(store.report.corrupt.length > 0, `${name}: ${key} is gone and nobody says so`)
  }
  // What was found is found again: reading and mending loses nothing more.
  const again = reopen(region.durableImage()).store
  assert.is(again.report.corrupt.length, store.report.corrupt.length, `${name}: reported again`)
  // A new write heals the key; the others are untouched; and all of it survives.
  if (victim !== undefined) {
    await store.put(text(victim), text('healed'))
    assert.is(read(store, victim, 'healed'), 'right', name)
  }
  await store.drain()
  const healed = reopen(region.durableImage()).store
  for (const [key, value] of ENTRIES) {
    assert.is(read(healed, key, key === victim ? 'healed' : value), 'right', `${name}: ${key} after healing`)
  }
  const left = lost(healed)
  assert.ok(left.buffers <= 5 && left.lines <= 6, `${name}: lost ${JSON.stringify(left)}`)
  for (const [key] of ENTRIES) await healed.delete(text(key))
  await healed.drain()
  assert.is(
    healed.records,
    healed.checks.corruptHeads.size,
    `${name}: at most a damaged entry is left, under a key that it never had`,
  )
  const held = lost(healed)
  assert.is(held.lines, left.lines, `${name}: deleting everything frees everything but the damaged lines`)
  assert.ok(held.buffers <= held.lines, `${name}: and the buffers that these name`)
  assert.is(made.heads.size, ENTRIES.length)
}

/** One bit at a time in the low and the high half, and the whole word. */
const PATTERNS = [1, 4, 1 << 15, 1 << 16, 1 << 18, 1 << 30, -1]

for (const victim of ['alpha', 'beta', 'beta2']) {
  test(`any flipped word of the head of ${victim} is noticed or harmless, and a new write heals it`, async () => {
    const made = await make()
    const head = made.heads.get(victim)!
    for (let word = 0; word < LINE_WORDS; word++) {
      for (const bits of PATTERNS) {
        await checkDamage(made, flip(made.image, head, word, bits), victim, `word ${word} ^ ${bits}`)
      }
    }
  })
}

test('any flipped word of a fragment is noticed or harmless, and a new write heals the key', async () => {
  const made = await make()
  const { pool } = made.store
  const fragments: number[] = []
  for (let meta = pool.next(made.heads.get('beta')!); meta !== NO_META; meta = pool.next(meta)) fragments.push(meta)
  assert.ok(fragments.length >= 2)
  for (const fragment of [fragments[0]!, fragments.at(-1)!]) {
    for (let word = 0; word < LINE_WORDS; word++) {
      for (const bits of PATTERNS) {
        await checkDamage(made, flip(made.image, fragment, word, bits), 'beta', `fragment word ${word} ^ ${bits}`)
      }
    }
  }
})

test('any flipped word of the anchor is mended from the lines', async () => {
  const made = await make()
  for (let word = 0; word < LINE_WORDS; word++) {
    for (const bits of PATTERNS) {
      const { store } = reopen(flip(made.image, ANCHOR_META, word, bits))
      for (const [key, value] of ENTRIES) assert.is(read(store, key, value), 'right', `word ${word} ^ ${bits}: ${key}`)
      const keys = [...store.entries()].map(({ key }) => Buffer.from(key).toString())
      assert.equal(
        keys,
        ENTRIES.map(([key]) => key),
      )
    }
  }
})

test('any flipped word of a free line is harmless, or reported; nothing appears', async () => {
  const made = await make()
  const free = made.store.pool.totalMetas - 3
  for (let word = 0; word < LINE_WORDS; word++) {
    for (const bits of PATTERNS) {
      await checkDamage(made, flip(made.image, free, word, bits), undefined, `free line, word ${word} ^ ${bits}`)
    }
  }
})

test('a damaged line that reads as another key displaces nothing; if more than a byte is wrong, it casts doubt', async () => {
  // Shorten the key "alpha", which is newer than "alph", to "alph".
  const region = new TracingRegion({ regionBytes: REGION_BYTES })
  const store = open(region)
  await store.put(text('alph'), text('older, and sound'))
  await store.put(text('alpha'), text('newer, to be damaged'))
  await store.drain()
  const head = store.find(text('alpha'), 0, 5)
  const words = new Int32Array(region.durableImage().buffer)
  const shortened = (words[head * LINE_WORDS + W_KEY]! ^ (5 << 16)) | (4 << 16)
  const image = flip(region.durableImage(), head, W_KEY, words[head * LINE_WORDS + W_KEY]! ^ shortened)
  // One damaged byte is found: the line was that of "alpha". With two it may be a newer version of "alph".
  for (const [damaged, says] of [
    [image, 'right'],
    [flip(image, head, W_VERSION_HIGH, 1 << 20), 'refused'],
  ] as const) {
    const { region: mended, store: found } = reopen(damaged)
    assert.is(read(found, 'alph', 'older, and sound'), says)
    const findings = found.report.corrupt.length
    assert.ok(findings > 0)
    await found.drain()
    const again = reopen(mended.durableImage())
    assert.is(read(again.store, 'alph', 'older, and sound'), says)
    assert.is(again.store.report.corrupt.length, findings, 'it stays reported')
    await again.store.put(text('alph'), text('written anew'))
    await again.store.drain()
    const healed = reopen(again.region.durableImage()).store
    assert.is(read(healed, 'alph', 'written anew'), 'right')
  }
})

/** An overwrite whose older version is not cleared yet: the image right behind its reply, and where both heads are. */
async function overwritten(
  older: string,
  newer: string,
): Promise<{ image: Uint8Array; newHead: number; oldHead: number }> {
  const region = new TracingRegion({ regionBytes: REGION_BYTES })
  let now = 1_700_000_000_000_000_000n
  const store = new Store(region, { random: seededRandom(3), clock: () => now++ })
  for (const key of ['overwrit', 'overwritten2']) await store.put(text(key), text(`value of ${key}`))
  await store.put(text('overwritten'), text(older))
  await store.drain()
  const oldHead = store.find(text('overwritten'), 0, 11)
  await store.put(text('overwritten'), text(newer))
  return { image: region.durableImage(), oldHead, newHead: store.find(text('overwritten'), 0, 11) }
}

test('a damaged newest version is refused: the one before, not cleared yet, is never served in its place', async () => {
  for (const [older, newer] of [
    ['the older', 'the newer'],
    ['the older, in several lines '.repeat(200), 'the newer '.repeat(500)],
  ] as const) {
    const { image, newHead, oldHead } = await overwritten(older, newer)
    const keyAt = keyPlace(image, newHead)
    const places = [...Array.from({ length: LINE_BYTES }, (_, at) => newHead * LINE_BYTES + at), keyAt, keyAt + 7]
    for (const at of places) {
      for (const mask of [1 << (at & 7), 0xff]) {
        const damaged = image.slice()
        damaged[at]! ^= mask
        const name = `byte ${at - newHead * LINE_BYTES} ^ ${mask}`
        const { region, store } = reopen(damaged)
        const isRefused = read(store, 'overwritten', newer) === 'refused' // never the older one: that throws
        const isCovered = at < newHead * LINE_BYTES + 4 * W_NEXT || at >= keyAt
        if (isCovered) assert.ok(isRefused, name)
        for (const key of ['overwrit', 'overwritten2'])
          assert.is(read(store, key, `value of ${key}`), 'right', `${name}: ${key}`)
        await store.drain()
        // Nothing was given up for it: the next recovery finds the same.
        const again = reopen(region.durableImage())
        assert.is(read(again.store, 'overwritten', newer) === 'refused', isRefused, name)
        if (!isRefused) continue
        if ((at & 1) === 0) await again.store.put(text('overwritten'), text('healed'))
        else await again.store.delete(text('overwritten'))
        await again.store.drain()
        const healed = reopen(again.region.durableImage()).store
        const found = read(healed, 'overwritten', 'healed')
        if ((at & 1) === 0) assert.is(found, 'right', name)
        else assert.is.not(found, 'right', name)
      }
    }
    // The older one damaged: the newer is served.
    for (let at = 0; at < 4 * W_NEXT; at++) {
      const damaged = image.slice()
      damaged[oldHead * LINE_BYTES + at]! ^= 1 << (at & 7)
      assert.is(read(reopen(damaged).store, 'overwritten', newer), 'right', `older, byte ${at}`)
    }
  }
})

test('a damaged commit word of a free line that held an older version says nothing of its key', async () => {
  const region = new TracingRegion({ regionBytes: REGION_BYTES })
  const store = open(region)
  await store.put(text('rewritten'), text('first'))
  const head = store.find(text('rewritten'), 0, 9)
  await store.put(text('rewritten'), text('second'))
  await store.drain()
  for (let bit = 0; bit < 64; bit++) {
    const damaged = flip(region.durableImage(), head, bit >> 5, 1 << (bit & 31))
    const { store: found } = reopen(damaged)
    assert.is(read(found, 'rewritten', 'second'), 'right', `bit ${bit}`)
    assert.is(found.report.corrupt.length, 1, `bit ${bit}`)
  }
})

/** Where the first byte of a head's key lies in the image. */
function keyPlace(image: Uint8Array, head: number): number {
  const { store } = reopen(image)
  return store.pool.bufferStart(store.pool.buffer(head)) + viewOffset(store.pool.get(head, W_KEY))
}

test('links that lead astray lose no entry: out of order, in a circle, out of the region, to free lines', async () => {
  const made = await make()
  const lines = made.store.pool.totalMetas
  const random = seededRandom(SEED)
  for (let run = 0; run < 300; run++) {
    const image = made.image.slice()
    const words = new Int32Array(image.buffer)
    for (const meta of [ANCHOR_META, ...made.heads.values()]) {
      if ((random() & 3) === 0) continue
      const targets = [...made.heads.values(), ANCHOR_META, (random() >>> 0) % lines, lines + 5, random()]
      words[meta * LINE_WORDS + W_NEXT] = targets[(random() >>> 0) % targets.length]!
    }
    const { region, store } = reopen(image)
    assert.is(store.report.corrupt.length, 0)
    for (const [key, value] of ENTRIES) assert.is(read(store, key, value), 'right', `run ${run}; PACKRAT_SEED=${SEED}`)
    await store.drain()
    assert.equal(lost(store), { buffers: 0, lines: 0 }, `run ${run}`)
    const second = reopen(region.durableImage()).store.report
    assert.is(second.relinked || second.inserted > 0, false, `run ${run}: mended once and for all`)
  }
})

test('random damage anywhere among the lines never serves a wrong value and never throws', async () => {
  const made = await make()
  const random = seededRandom(SEED + 1)
  const values = new Map(ENTRIES)
  const used = [ANCHOR_META, ...made.heads.values()]
  for (let run = 0; run < 400; run++) {
    let image = made.image
    for (let flips = 1 + ((random() >>> 0) % 12); flips > 0; flips--) {
      const meta = (random() & 1) === 0 ? used[(random() >>> 0) % used.length]! : (random() >>> 0) % 40
      image = flip(image, meta, (random() >>> 0) % LINE_WORDS, 1 << ((random() >>> 0) % 32))
    }
    const { store } = reopen(image)
    for (const [key, value] of values) read(store, key, value)
    for (const { key } of store.entries()) assert.ok(key.length > 0)
    for (const [key] of values) await store.put(text(key), text(`new ${key}`))
    for (const [key] of values) assert.is(read(store, key, `new ${key}`), 'right', `run ${run}; PACKRAT_SEED=${SEED}`)
    for (const [key] of values) await store.delete(text(key))
    await store.drain()
  }
})

test.run()
