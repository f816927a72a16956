/**
 * `--xdp-timestamps`: what the daemon says of whose clock it goes by, and what a client sees of it. The interface here hands
 * over no times, so that asking for them changes nothing but the ready line.
 *
 * @timeout 60
 */
process.env.PACKRAT_TEST_DEVICE = 'xdp'

import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { privateNetworkSuite } from '../support/netns.ts'

const { keyUrl, lacks, PACKRAT_URL, scratchDirectory, send, startDaemon } = await import('../support/lab.ts')

const test = privateNetworkSuite('xdp timestamps end to end', import.meta.url, { missing: lacks() })

async function withDaemon(flags: readonly string[], body: (readyLine: string) => Promise<void>): Promise<void> {
  const daemon = await startDaemon({
    region: join(scratchDirectory(), 'times.pm'),
    flags: ['--pm-size', '32M', '--durability', 'process', ...flags],
  })
  try {
    await body(daemon.readyLine)
  } finally {
    await daemon.stop()
  }
}

async function storeAndRead(): Promise<void> {
  const before = BigInt(Date.now()) * 1_000_000n
  assert.is((await send('PUT', keyUrl('a'), { body: Buffer.from('value') })).status, 201)
  const { status, headers } = await send('GET', keyUrl('a'))
  assert.is(status, 200)
  assert.is(headers['packrat-arrival-clock'], undefined, 'software gave the time')
  const arrival = BigInt(headers['packrat-arrival'] as string)
  const nearNs = 1_000_000_000n
  assert.ok(arrival > before - nearNs && arrival < before + 10n * nearNs, `${arrival} is now`)
  const { ethernet } = JSON.parse((await send('GET', `${PACKRAT_URL}/stats`)).body.toString())
  assert.equal([ethernet.hardwareTimes, ethernet.hardwareTimesRefused], [0, 0])
}

test('by default the interface is asked whether it stamps frames, and the ready line says what it said', () =>
  withDaemon([], async (readyLine) => {
    assert.match(readyLine, /, software arrival times \(the interface stamps none\), /)
    await storeAndRead()
  }))

test('asked for, they are taken from the driver, which has none here', async () => {
  let refusal = ''
  await withDaemon(['--xdp-timestamps', 'hardware'], async (readyLine) => {
    assert.match(readyLine, /, hardware arrival times where the driver has them, /)
    await storeAndRead()
  }).catch((error: Error) => {
    refusal = error.message
  })
  if (refusal.includes('no arrival times from')) console.log(`SKIP: ${refusal}`)
  else assert.is(refusal, '')
})

test('where there can be none, the daemon says why and does not start', async () => {
  await withDaemon(['--xdp-timestamps', 'hardware', '--xdp-attach', 'generic'], async () => assert.unreachable()).then(
    () => assert.unreachable('it started'),
    (error: Error) => assert.match(error.message, /generic XDP hands over none; choose software/),
  )
})

test.run()
