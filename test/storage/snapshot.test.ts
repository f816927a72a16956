/** Snapshots at their edges; store-model.test.ts compares what they read with a model. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { W_VERSION_HIGH } from '../../storage/layout.ts'
import { SNAPSHOTS_MAX } from '../../storage/snapshot.ts'
import { Store } from '../../storage/store.ts'
import { seededRandom } from '../support/random.ts'
import { TracingRegion } from '../support/tracing-region.ts'

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value))
const show = (value: Uint8Array | undefined): string | undefined => value && Buffer.from(value).toString()
const open = (options: ConstructorParameters<typeof TracingRegion>[0] = {}): Store =>
  new Store(new TracingRegion(options), { random: seededRandom(1) })

function codeOf(action: () => unknown): string {
  try {
    action()
    return 'none'
  } catch (error) {
    return (error as { code: string }).code
  }
}

test('a snapshot keeps lines only while it sees something that was replaced, and only once', async () => {
  const store = open()
  await store.put(text('a'), new Uint8Array(5000))
  const first = store.snapshot()
  const second = store.snapshot()
  assert.is(store.snapshots.retainedLines, 0)
  await store.put(text('a'), text('1'))
  assert.is(store.snapshots.retainedLines, 3)
  await store.put(text('a'), text('2'))
  assert.is(store.snapshots.retainedLines, 3, 'nobody sees the version between')
  first.close()
  first.close()
  assert.is(store.snapshots.retainedLines, 3)
  assert.is(second.get(text('a'))!.length, 5000)
  second.close()
  assert.is(store.snapshots.retainedLines, 0)
  await store.drain()
  assert.is(store.pool.freeBuffers + store.pool.storedBuffers, store.pool.totalBuffers)
})

test('it does not see what was staged but not published when it was taken', async () => {
  const store = open({ asynchronous: true })
  const put = store.put(text('a'), text('1'))
  const snapshot = store.snapshot()
  assert.is(snapshot.version, 0)
  await put
  assert.is(show(store.get(text('a'))), '1')
  assert.is(snapshot.get(text('a')), undefined)
  assert.equal([...snapshot.entries()], [])
  snapshot.close()
})

test('a deletion and a new entry of the same key do not show through', async () => {
  const store = open()
  await store.put(text('a'), text('old'))
  const snapshot = store.snapshot()
  await store.delete(text('a'))
  await store.put(text('a'), text('new'))
  await store.delete(text('a'))
  assert.is(show(snapshot.get(text('a'))), 'old')
  assert.is([...snapshot.entries()].length, 1)
  assert.is([...snapshot.entries({ reverse: true })].length, 1)
  snapshot.close()
})

test('there is a limit to how many are open', () => {
  const store = open()
  const snapshots = Array.from({ length: SNAPSHOTS_MAX }, () => store.snapshot())
  assert.is(
    codeOf(() => store.snapshot()),
    'SNAPSHOT_LIMIT',
  )
  snapshots[3]!.close()
  store.snapshot()
})

test('a running scan of a snapshot that ends throws, and does not end quietly', async () => {
  const store = open()
  for (const key of ['a', 'b', 'c']) await store.put(text(key), text(key))
  const snapshot = store.snapshot()
  const scan = snapshot.entries()
  assert.is(show(scan.next().value!.key), 'a')
  snapshot.close()
  assert.is(
    codeOf(() => scan.next()),
    'SNAPSHOT_GONE',
  )
})

test('a damaged entry stays refused in a snapshot, but the mark does not pass on to what uses its line later', async () => {
  const store = open()
  await store.put(text('a'), text('1'))
  const meta = store.find(text('a'), 0, 1)
  const early = store.snapshot()
  store.checks.markCorrupt(meta, false)
  await store.put(text('a'), text('2'))
  assert.is(
    codeOf(() => early.get(text('a'))),
    'CORRUPT',
  )
  early.close()
  await store.drain()
  for (let i = 0; store.find(text('b'), 0, 1) !== meta; i++) {
    assert.ok(i < 1000, 'the line is used again')
    await store.put(text('b'), text('1'))
    if (i % 5 === 0) await store.put(text(`c${i}`), text('1'))
  }
  const late = store.snapshot()
  await store.put(text('b'), text('2'))
  assert.is(show(late.get(text('b'))), '1')
  late.close()
})

test('an entry whose links are damaged can be replaced and deleted under a snapshot', async () => {
  for (const place of ['head', 'fragment'] as const) {
    const region = new TracingRegion()
    const before = new Store(region, { random: seededRandom(1) })
    for (const key of ['over', 'gone']) await before.put(text(key), new Uint8Array(5000))
    await before.drain()
    for (const key of ['over', 'gone']) {
      const head = before.find(text(key), 0, key.length)
      before.pool.setNext(place === 'head' ? head : before.pool.next(head), 0x7ffffff0)
    }
    const image = region.bytes.slice()
    const store = open({ image, versionFloor: 100 })
    assert.is(store.checks.corruptHeads.size, 2)
    const snapshots = [store.snapshot(), store.snapshot()]
    await store.put(text('over'), text('new'))
    assert.is(await store.delete(text('gone')), true)
    await store.drain()
    assert.is(store.snapshots.retainedLines, 2, 'what they lead to is not followed')
    for (const snapshot of snapshots) {
      for (const key of ['over', 'gone']) {
        assert.is(
          codeOf(() => snapshot.get(text(key))),
          'CORRUPT',
        )
      }
      assert.is([...snapshot.entries()].length, 2)
      snapshot.close()
    }
    assert.is(store.snapshots.retainedLines, 0)
    assert.is(show(store.get(text('over'))), 'new')
    await store.drain()
  }
})

test('a damaged entry is seen, whatever its version reads as, but for a key that was replaced since', async () => {
  const region = new TracingRegion()
  const before = new Store(region, { random: seededRandom(1) })
  await before.put(text('a'), text('1'))
  before.pool.set(before.find(text('a'), 0, 1), W_VERSION_HIGH, 1)
  const store = open({ image: region.bytes.slice(), versionFloor: 100 })
  const snapshot = store.snapshot()
  assert.is(
    codeOf(() => snapshot.get(text('a'))),
    'CORRUPT',
  )
  assert.equal(
    [...snapshot.entries()].map(({ key }) => show(key)),
    ['a'],
  )
  await store.put(text('b'), text('old'))
  const later = store.snapshot()
  await store.put(text('b'), text('new'))
  store.checks.markCorrupt(store.find(text('b'), 0, 1), true)
  assert.is(show(later.get(text('b'))), 'old')
  await store.put(text('b'), text('newer'))
  assert.is(show(later.get(text('b'))), 'old')
  snapshot.close()
  later.close()
  assert.is(store.snapshots.retainedLines, 0)
})

test.run()
