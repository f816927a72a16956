/**
 * Steady load leaves the JavaScript heap alone: per PUT about nothing is allocated, and nothing is kept.
 *
 * V8 itself says so (`--trace-gc`): between two collections, the heap grew by what was allocated. With a young
 * generation of 1 MiB hardly more than that goes unseen.
 *
 * @timeout 120
 */
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { type Daemon, lacks, scratchDirectory, startDaemon, wrk } from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const LOAD = { method: 'PUT', connections: 16, valueBytes: 1024, keys: 1000 } as const
const WARM_UP_SECONDS = 4
const MEASURED_SECONDS = 6
const MEBIBYTE = 2 ** 20
/**
 * Bounds the whole daemon, with the loop's own clock readings and wake-ups, which are the more per PUT the slower the
 * client is. That a PUT itself costs less than one object is service-allocation.test.ts's to show.
 */
const BYTES_PER_PUT_MAX = 512
const KEPT_BYTES_MAX = MEBIBYTE

const test = privateNetworkSuite('heap', import.meta.url, { timeoutMs: 120_000, missing: lacks('wrk') })

let daemon: Daemon

test.before(async () => {
  daemon = await startDaemon({
    region: join(scratchDirectory(), 'heap.pm'),
    flags: ['--pm-size', '512M', '--durability', 'process'],
    nodeFlags: ['--trace-gc', '--max-semi-space-size=1'],
  })
})

test.after(async () => {
  if (daemon?.alive) await daemon.stop()
})

/** Heap sizes before and after each collection, in bytes. */
function collections(trace: string): { before: number; after: number }[] {
  return [...trace.matchAll(/ ms: [A-Z][^\d]*?([\d.]+) \([\d.]+\) -> ([\d.]+) \([\d.]+\) MB/g)].map((match) => ({
    before: Number(match[1]) * MEBIBYTE,
    after: Number(match[2]) * MEBIBYTE,
  }))
}

test('PUTs allocate about nothing on the JavaScript heap, and keep nothing', async () => {
  await wrk({ ...LOAD, seconds: WARM_UP_SECONDS })
  const traceStart = daemon.stdout.length
  const { requests, errors } = await wrk({ ...LOAD, seconds: MEASURED_SECONDS })
  assert.equal(errors, { connect: 0, read: 0, write: 0, status: 0, timeout: 0 })
  assert.ok(requests > 10_000, `only ${requests} requests`)
  const seen = collections(daemon.stdout.slice(traceStart))
  let allocated = MEBIBYTE // what no collection has seen yet
  for (let i = 1; i < seen.length; i++) allocated += seen[i]!.before - seen[i - 1]!.after
  const perPut = allocated / requests
  console.log(`${seen.length} collections in ${requests} PUTs: at most ${perPut.toFixed(1)} bytes a PUT`)
  assert.ok(perPut < BYTES_PER_PUT_MAX, `${perPut.toFixed(1)} bytes a PUT`)
  const kept = seen.length < 2 ? 0 : seen.at(-1)!.after - seen[0]!.after
  assert.ok(kept < KEPT_BYTES_MAX, `the heap grew by ${kept} bytes`)
})

test.run()
