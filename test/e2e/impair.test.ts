/**
 * `packrat serve --impair`: curl moves 5 MB both ways byte-exact over a link that loses and delays; the numbers say
 * that it did.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import {
  curl,
  curlStatus,
  type Daemon,
  fileHash,
  keyUrl,
  lacks,
  packrat,
  randomBytes,
  run,
  scratchDirectory,
  startDaemon,
  untilIdle,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const test = privateNetworkSuite('impair', import.meta.url, { missing: lacks('curl', 'ping') })

const seed = announceSeed('impair', 11)
const VALUE_BYTES = 5_000_000
const DELAY_MS = 5

interface ImpairmentStats {
  readonly impairment: Readonly<Record<'rx' | 'tx', { readonly frames: number; readonly lost: number }>>
}

const directory = scratchDirectory()
let daemon: Daemon

test.after(async () => {
  if (daemon?.alive) await daemon.stop()
})

test('5 MB in and out over a link that loses 2 % and delays by 5 ms arrive byte-exact', async () => {
  daemon = await startDaemon({
    region: join(directory, 'impair.pm'),
    flags: ['--pm-size', '64M', '--durability', 'process', '--impair', `loss=2%,delay=${DELAY_MS}ms,seed=${seed}`],
  })
  const value = join(directory, 'value')
  const back = join(directory, 'back')
  writeFileSync(value, randomBytes(seededRandom(seed), VALUE_BYTES))
  assert.is(await curlStatus('--upload-file', value, keyUrl('a')), 201)
  const got = await curl('--output', back, keyUrl('a'))
  assert.is(got.status, 0, got.stderr)
  assert.is(fileHash(back), fileHash(value))

  const { impairment } = (await daemon.stats()) as unknown as ImpairmentStats
  for (const { frames, lost } of [impairment.rx, impairment.tx]) {
    assert.ok(frames > 1000, `${frames} frames`)
    assert.ok(lost > frames * 0.01 && lost < frames * 0.03, `${lost} of ${frames} frames lost`)
  }
})

test('a ping takes the delay both ways, and little more', async () => {
  const { stdout } = await run('ping', ['-c', '20', '-i', '0.05', '-W', '1', '10.77.0.2'])
  const shortest = Number(/= ([\d.]+)\//.exec(stdout.toString())?.[1])
  // The time of a turn is read before its frames are taken: a frame may be some microseconds younger than that.
  assert.ok(shortest > 2 * DELAY_MS - 0.3 && shortest < 2 * DELAY_MS + 3, `shortest round trip ${shortest} ms`)
})

test('afterwards every buffer is free or stored', async () => {
  const { buffers } = await untilIdle(daemon)
  assert.is(buffers.free + buffers.stored, buffers.total)
  assert.equal(await daemon.stop(), { status: 0, signal: null })
})

test('a specification may lie in a file; a wrong one is one line and exit status 2, a missing file status 3', async () => {
  const file = join(directory, 'impair.json')
  writeFileSync(file, '{"delay": "1ms", "rx": {"los": "3%"}}')
  const wrong = await packrat('serve', '--impair', `@${file}`)
  assert.is(wrong.status, 2)
  assert.match(wrong.stderr, /^packrat serve: --impair [^\n]*impair\.json: there is no impairment 'los'[^\n]*\n$/)
  const missing = await packrat('serve', '--impair', '@/nonexistent')
  assert.is(missing.status, 3)
  assert.match(missing.stderr, /^packrat serve: cannot read --impair @\/nonexistent: ENOENT[^\n]*\n$/)
})

test.run()
