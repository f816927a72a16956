/**
 * Rot under a real daemon: what was damaged while it was stopped is named by `verify` and answered with 500, what is
 * damaged while it runs is found by the scrubber; the rest is served.
 *
 * @timeout 120
 */
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
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
  sleep,
  startDaemon,
  untilIdle,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'
import { seededRandom } from '../support/random.ts'

const test = privateNetworkSuite('integrity', import.meta.url, { timeoutMs: 120_000, missing: lacks() })

const region = join(scratchDirectory(), 'integrity.pm')
const KEYS = ['first', 'second', 'third', 'fourth']
const VALUE_BYTES = 5000
const SCRUB_WAIT_MS = 10_000
const random = seededRandom(11)
const values = new Map(KEYS.map((key) => [key, Buffer.from(randomBytes(random, VALUE_BYTES))]))

interface ScrubStats {
  readonly scrub: { readonly passes: number; readonly upgraded: number; readonly corrupt: number }
}

let daemon: Daemon | undefined

const start = (...flags: string[]): Promise<Daemon> =>
  startDaemon({ region, flags: ['--pm-size', '8M', '--durability', 'process', ...flags] })

const scrubStats = async (): Promise<ScrubStats['scrub']> => ((await daemon!.stats()) as unknown as ScrubStats).scrub

test.after(async () => {
  if (daemon?.alive) await daemon.stop()
})

/** Flips a bit of a stored value in the file: of its last bytes, which lie in one frame. */
function damage(key: string): void {
  const tail = values.get(key)!.subarray(VALUE_BYTES - 16)
  const at = readFileSync(region).indexOf(tail)
  assert.ok(at > 0)
  const descriptor = openSync(region, 'r+')
  const byte = Buffer.alloc(1)
  readSync(descriptor, byte, 0, 1, at + 3)
  byte[0]! ^= 0x20
  writeSync(descriptor, byte, 0, 1, at + 3)
  closeSync(descriptor)
}

async function statusOf(key: string): Promise<number> {
  const { status, body } = await send('GET', keyUrl(key))
  if (status === 200) assert.ok(body.equals(values.get(key)!), `${key} has a wrong value`)
  else assert.is((JSON.parse(body.toString()) as { key: string }).key, key)
  return status
}

test('a byte that changed in a stopped region: verify names the key, GET answers 500, the rest is served', async () => {
  daemon = await start('--scrub', 'off')
  for (const [key, body] of values) assert.is((await send('PUT', keyUrl(key), { body })).status, 201)
  await untilIdle(daemon)
  await daemon.stop()
  assert.is((await packrat('verify', region)).status, 0)
  damage('second')
  const { status, stdout } = await packrat('verify', region, '--json')
  assert.is(status, 1)
  const { records, corrupt } = JSON.parse(stdout.toString())
  assert.is(records, KEYS.length)
  assert.equal(
    corrupt.map(({ key }: { key: string }) => key),
    ['second'],
  )
  daemon = await start('--scrub', 'off')
  assert.is(await statusOf('first'), 200)
  assert.is(await statusOf('second'), 500)
  assert.is((await send('PUT', keyUrl('second'), { body: values.get('second')! })).status, 204)
  assert.is(await statusOf('second'), 200)
  await untilIdle(daemon)
  await daemon.stop()
  assert.is((await packrat('verify', region)).status, 0)
})

test('the scrubber upgrades every value, and finds what changes under a running daemon', async () => {
  daemon = await start('--scrub', '1')
  const deadline = performance.now() + SCRUB_WAIT_MS
  const until = async (reached: (scrub: ScrubStats['scrub']) => boolean): Promise<void> => {
    while (!reached(await scrubStats()) && performance.now() < deadline) await sleep(100)
    assert.ok(reached(await scrubStats()), JSON.stringify(await scrubStats()))
  }
  await until(({ passes, upgraded }) => passes >= 1 && upgraded >= KEYS.length * 2) // lines: of long frames a value has fewer
  assert.is((await scrubStats()).corrupt, 0)
  for (const key of KEYS) assert.is(await statusOf(key), 200)
  damage('third')
  await until(({ corrupt }) => corrupt === 1)
  assert.is(await statusOf('third'), 500)
  assert.is(await statusOf('fourth'), 200)
})

test.run()
