/** The store as a library: the documented example prints what it says, and the edges of a store's life. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type KeyValueStore, openStore } from '../../storage/index.ts'

/** The package's root, seen from dist/test/storage. */
const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const DOCUMENT = join(ROOT, 'docs/library.md')
const BYTES = 4 << 20
const RUN_MS_MAX = 15_000

const test = suite<{ directory: string; path: string }>('library')
test.before.each((context) => {
  context.directory = mkdtempSync(join(tmpdir(), 'packrat-library-'))
  context.path = join(context.directory, 'store.pm')
})
test.after.each((context) => rmSync(context.directory, { recursive: true }))

const show = (value: Uint8Array | undefined): string | undefined => value && Buffer.from(value).toString()
const keys = (entries: Iterable<{ key: Uint8Array }>): string[] => [...entries].map(({ key }) => show(key)!)

function codeOf(action: () => unknown): string {
  try {
    action()
    return 'none'
  } catch (error) {
    return (error as { code: string }).code
  }
}

async function rejectionOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (error: { code: string }) => error.code,
  )
}

test('the example of the documentation runs and prints what its comments say', ({ path }) => {
  const document = readFileSync(DOCUMENT, 'utf8')
  const [, example] = /```js\n([\s\S]*?)```/.exec(document)!
  const promised = [...example!.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, comment]) => comment)
  assert.is(promised.length, 6)
  // In the package, where 'packrat/storage' means its own exports.
  const script = join(dirname(fileURLToPath(import.meta.url)), `library-example-${process.pid}.mjs`)
  writeFileSync(script, example!)
  try {
    const run = spawnSync(process.execPath, [script, path], { encoding: 'utf8', timeout: RUN_MS_MAX })
    assert.is(run.stderr, '')
    assert.is(run.status, 0)
    const printed = run.stdout.trim().split('\n')
    assert.match(printed[0]!, /^a write that has resolved survives: (dax|msync|process)$/)
    assert.equal(printed.slice(1), promised)
  } finally {
    rmSync(script)
  }
})

for (const durability of ['process', 'auto'] as const) {
  test(`what was written is there when the store is opened again (durability ${durability})`, async ({ path }) => {
    const store = openStore(path, { createBytes: BYTES, durability })
    for (let i = 0; i < 100; i++) await store.put(`key-${i % 20}`, `value ${i}`.repeat(i * 5))
    await store.batch([
      { op: 'delete', key: 'key-0' },
      { op: 'put', key: new Uint8Array([0xff]), value: new Uint8Array([1, 2]) },
    ])
    assert.is(store.records, 20)
    const version = store.describe('key-19')!.version
    await store.close()
    await store.close()
    const again = openStore(path, { durability })
    assert.is(again.records, 20)
    assert.equal(again.corrupt, [])
    assert.is(again.get('key-0'), undefined)
    assert.is(again.describe('key-0'), undefined)
    assert.is(show(again.get('key-19')), 'value 99'.repeat(99 * 5))
    assert.is(again.describe('key-19')!.version, version)
    assert.equal([...again.get(new Uint8Array([0xff]))!], [1, 2])
    assert.ok((await again.put('new', '')) > version)
    await again.close()
  })

  test(`writes wait for room that is on its way (durability ${durability})`, async ({ path }) => {
    const store = openStore(path, { createBytes: BYTES, durability })
    const large = new Uint8Array(900_000)
    const writes: Promise<bigint>[] = []
    for (let i = 0; i < 8; i++) writes.push(store.put('same', large.fill(i)))
    await Promise.all(writes)
    assert.is(store.get('same')![0], 7)
    assert.is(await rejectionOf(store.put('other', new Uint8Array(2 * BYTES))), 'FULL')
    await store.close()
  })
}

test('scans take text or bytes, and times of arrival', async ({ path }) => {
  const store = openStore(path, { createBytes: BYTES, durability: 'process' })
  for (const key of ['a', 'b1', 'b2', 'c']) {
    await store.put(key, key)
    await new Promise((resolve) => setTimeout(resolve, 3)) // the clock of arrivals has milliseconds here
  }
  assert.equal(keys(store.scan()), ['a', 'b1', 'b2', 'c'])
  assert.equal(keys(store.scan({ prefix: 'b', reverse: true })), ['b2', 'b1'])
  assert.equal(keys(store.scan({ start: new Uint8Array([0x62]), end: 'c', limit: 1 })), ['b1'])
  const { arrival } = store.describe('b2')!
  assert.equal(keys(store.scan({ since: arrival })), ['b2', 'c'])
  assert.equal(keys(store.scan({ until: arrival, limit: 1, reverse: true })), ['b1'])
  await store.close()
})

test('a missing file is an error unless its size is given; a file in use is one anyway', async ({ path }) => {
  assert.is(
    codeOf(() => openStore(path)),
    'ENOENT',
  )
  const store = openStore(path, { createBytes: BYTES })
  assert.is(statSync(path).size, BYTES)
  assert.is(
    codeOf(() => openStore(path, { createBytes: BYTES })),
    'ELOCKED',
  )
  await store.close()
})

test('a store that is open for reading takes no writes, and its file does not change', async ({ path }) => {
  const store = openStore(path, { createBytes: BYTES, durability: 'process' })
  await store.put('a', '1')
  await store.close()
  const bytes = readFileSync(path)
  const reader = openStore(path, { readOnly: true })
  assert.is(show(reader.get('a')), '1')
  assert.is(await rejectionOf(reader.put('a', '2')), 'READ_ONLY')
  assert.is(await rejectionOf(reader.delete('a')), 'READ_ONLY')
  assert.is(await rejectionOf(reader.batch([])), 'READ_ONLY')
  await reader.close()
  assert.is(Buffer.compare(readFileSync(path), bytes), 0)
})

test('no answer tells of a write that is still on its way', async ({ path }) => {
  const store = openStore(path, { createBytes: BYTES })
  await store.put('a', '1')
  const first = store.delete('a')
  assert.is(await store.delete('a'), false, 'somebody else deletes it')
  assert.is(store.get('a'), undefined)
  assert.is(await first, true)
  const put = store.put('a', '2')
  assert.is(await rejectionOf(store.put('a', '3', { expect: 'absent' })), 'CONDITION')
  assert.is(show(store.get('a')), '2')
  await put
  const again = store.put('a', '4')
  assert.is(await rejectionOf(store.batch([{ op: 'put', key: 'a', value: '5', expect: 2n }])), 'CONDITION')
  assert.is(show(store.get('a')), '4')
  await again
  await store.close()
})

test('a scan that goes on when the store is closed says so', async ({ path }) => {
  const store = openStore(path, { createBytes: BYTES, durability: 'process' })
  for (const key of ['a', 'b', 'c']) await store.put(key, key)
  const begun = store.scan()
  assert.is(show(begun.next().value!.key), 'a')
  const reverse = store.scan({ reverse: true })
  await store.close()
  assert.is(
    codeOf(() => begun.next()),
    'CLOSED',
  )
  assert.is(
    codeOf(() => reverse.next()),
    'CLOSED',
  )
})

test('errors are typed, and a closed store says so', async ({ path }) => {
  const store: KeyValueStore = openStore(path, { createBytes: BYTES, durability: 'process' })
  assert.is(await rejectionOf(store.put('', '1')), 'KEY_LENGTH')
  assert.is(await rejectionOf(store.put('k'.repeat(1025), '1')), 'KEY_LENGTH')
  assert.is(await rejectionOf(store.delete('')), 'KEY_LENGTH')
  const huge = new Uint8Array(2 ** 32) // its length is 0 in the line's 32 bits; no page of it is touched
  assert.is(await rejectionOf(store.put('k', huge)), 'VALUE_LENGTH')
  assert.is(await rejectionOf(store.batch([{ op: 'put', key: 'k', value: huge }])), 'VALUE_LENGTH')
  const half = huge.subarray(2 ** 31)
  const three = ['x', 'y', 'z'].map((key) => ({ op: 'put', key, value: half }) as const)
  assert.is(await rejectionOf(store.batch(three)), 'BATCH_SIZE')
  assert.is(await rejectionOf(store.put('a', '1', { expect: 'present' })), 'CONDITION')
  await store.put('a', '1')
  assert.is(await rejectionOf(store.delete('a', { expect: 'absent' })), 'CONDITION')
  const snapshot = store.snapshot()
  assert.is(snapshot.version, 1n)
  await store.delete('a')
  assert.is(show(snapshot.get('a')), '1')
  await store.close()
  assert.is(snapshot.ended, true)
  assert.is(
    codeOf(() => snapshot.get('a')),
    'SNAPSHOT_GONE',
  )
  assert.is(
    codeOf(() => store.get('a')),
    'CLOSED',
  )
  assert.is(
    codeOf(() => store.snapshot()),
    'CLOSED',
  )
  assert.is(await rejectionOf(store.put('a', '1')), 'CLOSED')
})

test.run()
