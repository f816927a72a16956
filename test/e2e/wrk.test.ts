/**
 * Load: 64 connections of wrk over TAP, 1 KB PUTs and then GETs. No error, no leak, no copy, two fences a batch.
 *
 * @timeout 120
 */
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { type Daemon, lacks, scratchDirectory, startDaemon, untilIdle, type WrkResult, wrk } from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const LOAD = { connections: 64, seconds: 10, valueBytes: 1024, keys: 1000 }

const test = privateNetworkSuite('wrk', import.meta.url, { timeoutMs: 120_000, missing: lacks('wrk') })

let daemon: Daemon

test.before(async () => {
  daemon = await startDaemon({
    region: join(scratchDirectory(), 'wrk.pm'),
    flags: ['--pm-size', '512M', '--durability', 'process'],
  })
})

test.after(async () => {
  if (daemon?.alive) await daemon.stop()
})

function assertClean(result: WrkResult): void {
  assert.equal(result.errors, { connect: 0, read: 0, write: 0, status: 0, timeout: 0 })
  assert.ok(result.requests > 1000, `only ${result.requests} requests`)
  console.log(`${Math.round(result.requests / (result.duration_us / 1e6))} requests/s, p99 ${result.p99_us} us`)
}

test('PUT for 10 s: no errors; afterwards every buffer is free or stored', async () => {
  const before = await daemon.stats()
  assertClean(await wrk({ ...LOAD, method: 'PUT' }))
  assert.ok(daemon.alive)
  const after = await untilIdle(daemon)
  assert.is(after.records, LOAD.keys)
  assert.is(after.buffers.free + after.buffers.stored, after.buffers.total, 'buffers leaked')
  assert.is(after.buffers.total, before.buffers.total)
  assert.is(after.buffers.inFlight, 0)
})

test('no payload byte was copied, and every batch took exactly two fences', async () => {
  const { payloadBytesCopied, commit } = await daemon.stats()
  assert.is(payloadBytesCopied, 0)
  assert.ok(commit.batches > 0)
  assert.is(commit.fences, 2 * commit.batches)
  // A 1 KB value is 16 lines and its metadata line another.
  assert.ok(commit.flushedLines > 16 * commit.batches)
})

test('GET for 10 s: no errors, and still nothing leaked or copied', async () => {
  assertClean(await wrk({ ...LOAD, method: 'GET' }))
  const after = await untilIdle(daemon)
  assert.is(after.buffers.free + after.buffers.stored, after.buffers.total, 'buffers leaked')
  assert.is(after.records, LOAD.keys)
  assert.is(after.payloadBytesCopied, 0)
  // What was written since the start needs no check: its TCP checksum held.
  assert.is(after.payloadBytesTouchedOnGet, 0)
})

test('after the load the daemon stops in order', async () => {
  assert.equal(await daemon.stop(), { status: 0, signal: null })
})

test.run()
