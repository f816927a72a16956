/**
 * `packrat serve --store …`: what a baseline was told to keep is there after kill -9, as far as it promises.
 *
 * @timeout 90
 */
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import {
  type Daemon,
  keyUrl,
  lacks,
  packrat,
  randomBytes,
  scratchDirectory,
  send,
  startDaemon,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const VALUES = 200

const test = privateNetworkSuite('baseline-stores', import.meta.url, { timeoutMs: 80_000, missing: lacks() })
const random = seededRandom(announceSeed('baseline-stores', 77))
const values = Array.from({ length: VALUES }, (_, index) => randomBytes(random, 10 + index * 20))
const flagsOf = (store: string): string[] => ['--pm-size', '32M', '--durability', 'process', '--store', store]

let daemon: Daemon | undefined

test.after.each(async () => {
  if (daemon?.alive) await daemon.kill()
  daemon = undefined
})

async function storeAll(target: Daemon): Promise<void> {
  daemon = target
  for (const [index, body] of values.entries()) {
    const { status } = await send('PUT', keyUrl(`key ${index}`), { body })
    assert.ok(status === 201 || status === 204, `PUT: ${status}`)
  }
}

for (const store of ['conventional', 'leveldb']) {
  test(`${store}: every value is there after kill -9`, async () => {
    if (store === 'leveldb' && !hasLevelDb()) return console.error('SKIP: classic-level is not installed')
    const region = join(scratchDirectory(), `${store}.pm`)
    await storeAll(await startDaemon({ region, flags: flagsOf(store) }))
    await daemon!.kill()
    daemon = await startDaemon({ region, flags: flagsOf(store) })
    assert.match(daemon.readyLine, `store=${store}`)
    for (const [index, value] of values.entries()) {
      const { status, body } = await send('GET', keyUrl(`key ${index}`))
      assert.is(status, 200)
      assert.ok(body.equals(Buffer.from(value)), `key ${index} differs`)
    }
    assert.is((await send('DELETE', keyUrl('key 7'))).status, 204)
    assert.is((await send('GET', keyUrl('key 7'))).status, 404)
    assert.equal(await daemon.stop(), { status: 0, signal: null })
  })
}

test('copy: every value lies in its file after kill -9', async () => {
  const region = join(scratchDirectory(), 'copy.pm')
  await storeAll(await startDaemon({ region, flags: flagsOf('copy') }))
  await daemon!.kill()
  const bytes = readFileSync(`${region}.copy`)
  for (const [index, value] of values.entries())
    assert.ok(bytes.includes(Buffer.from(value)), `value ${index} is missing`)
})

test('discard: answers, and writes nothing', async () => {
  const region = join(scratchDirectory(), 'discard.pm')
  await storeAll(await startDaemon({ region, flags: flagsOf('discard') }))
  const stats = (await daemon!.stats()) as unknown as { records: number; baseline: { name: string } }
  assert.is(stats.records, 0)
  assert.is(stats.baseline.name, 'discard')
  assert.equal(await daemon!.stop(), { status: 0, signal: null })
})

test('a store that flushes cache lines is refused on a disk, where that promises nothing', async () => {
  const region = join(scratchDirectory(tmpdir()), 'disk.pm')
  const { status, stderr } = await packrat('serve', '--pm', region, '--pm-size', '16M', '--store', 'copy')
  // Where the folder for temporary files is in memory, the daemon gets as far as its device.
  if (!stderr.includes('class msync')) return console.error(`SKIP: ${tmpdir()} is on no disk`)
  assert.is(status, 3)
  assert.match(stderr, '--durability process')
})

test('a store that does not exist is wrong usage', async () => {
  const { status, stderr } = await packrat('serve', '--store', 'fast')
  assert.is(status, 2)
  assert.match(stderr, 'conventional')
})

function hasLevelDb(): boolean {
  try {
    import.meta.resolve('classic-level')
    return true
  } catch {
    return false
  }
}

test.run()
