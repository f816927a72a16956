/**
 * A full store: PUT is refused with 507 and changes nothing, reads and the listing go on, DELETE makes room, PUT works
 * again in the same daemon.
 *
 * @timeout 120
 */
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import {
  type Daemon,
  keyUrl,
  lacks,
  PACKRAT_URL,
  scratchDirectory,
  send,
  sleep,
  startDaemon,
  untilIdle,
} from '../support/lab.ts'
import { privateNetworkSuite } from '../support/netns.ts'

const VALUE_BYTES = 16 << 10
/** The client's segments fall differently each time: a value may take a buffer more than it did before. */
const SPARE_VALUES = 6
/** More than an 8 MiB region can hold. */
const PUTS_MAX = 1024

const test = privateNetworkSuite('full store', import.meta.url, { timeoutMs: 120_000, missing: lacks() })

let daemon: Daemon
let stored = 0

test.before(async () => {
  daemon = await startDaemon({
    region: join(scratchDirectory(), 'full.pm'),
    // Packing would make room behind the test's back.
    flags: ['--pm-size', '8M', '--durability', 'process', '--packing', 'off'],
  })
})

test.after(async () => {
  if (daemon?.alive) await daemon.stop()
})

const name = (index: number) => `full-${String(index).padStart(4, '0')}`
const value = (index: number) => Buffer.alloc(VALUE_BYTES, `value ${index} `)

async function put(index: number): Promise<number> {
  return (await send('PUT', keyUrl(name(index)), { body: value(index) })).status
}

/** At the brim a few buffers decide, and the replies and frames of the requests before may hold them for a moment. */
async function putSoon(index: number): Promise<number> {
  const deadline = performance.now() + 2000
  for (;;) {
    const status = await put(index)
    if (status !== 507 || performance.now() > deadline) return status
    await sleep(20)
  }
}

async function assertReadable(index: number): Promise<void> {
  const { status, body } = await send('GET', keyUrl(name(index)))
  assert.is(status, 200, name(index))
  assert.ok(body.equals(value(index)), `${name(index)} differs`)
}

test('PUT goes on until the store is full, then says 507', async () => {
  let status = 0
  while (stored < PUTS_MAX) {
    status = await putSoon(stored)
    if (status !== 201) break
    stored++
  }
  assert.is(status, 507)
  // Most of the region must be usable: 8 MiB in 2 KiB buffers, 12 for a value, an eighth kept for the network.
  assert.ok(stored * VALUE_BYTES > 2 << 20, `full after ${stored} values`)
})

test('full is not dead: every value reads back, the listing works, the refused one is absent', async () => {
  for (let index = 0; index < stored; index++) await assertReadable(index)
  assert.is((await send('GET', keyUrl(name(stored)))).status, 404)
  const { body } = await send('GET', `${PACKRAT_URL}/kv?prefix=full-`)
  assert.is(body.toString().trim().split('\n').length, stored)
  assert.is(await put(stored), 507, 'still full')
})

test('the device had buffers to receive into all the while: what is full is the store, not the link', async () => {
  const { device, xdp, buffers } = await untilIdle(daemon)
  assert.is(device.receiveStarved, 0)
  assert.ok(buffers.free > buffers.total >> 5, 'a reserve is left')
  if (xdp !== undefined) assert.equal([xdp.fillRingEmpty, xdp.receiveRingFull], [0, 0])
})

test('a refused replacement leaves the old value', async () => {
  const { status } = await send('PUT', keyUrl(name(0)), { body: Buffer.alloc(4 * VALUE_BYTES, 'new') })
  assert.is(status, 507)
  await assertReadable(0)
})

test('refused writes leave no buffer behind', async () => {
  const { buffers, records } = await untilIdle(daemon)
  assert.is(buffers.free + buffers.stored, buffers.total)
  assert.is(records, stored)
})

test('DELETE makes room, and PUT works again in the same daemon', async () => {
  const { pid } = daemon
  const freed = Math.ceil(stored / 2)
  for (let index = 0; index < freed; index++) assert.is((await send('DELETE', keyUrl(name(index)))).status, 204)
  const again = freed - SPARE_VALUES
  for (let index = 0; index < again; index++) assert.is(await putSoon(index), 201, `after the room was made: ${index}`)
  for (let index = 0; index < stored; index++) if (index < again || index >= freed) await assertReadable(index)
  for (let index = again; index < freed; index++) await putSoon(index)
  assert.ok(daemon.alive)
  assert.is(daemon.pid, pid)
})

test('filling and emptying again and again loses no space', async () => {
  for (let round = 0; round < 3; round++) {
    for (let index = 0; index < stored; index++) {
      const { status } = await send('DELETE', keyUrl(name(index)))
      assert.ok(status === 204 || status === 404)
    }
    const empty = await untilIdle(daemon)
    assert.is(empty.records, 0)
    assert.is(empty.buffers.free, empty.buffers.total)
    for (let index = 0; index < stored - SPARE_VALUES; index++) {
      assert.is(await putSoon(index), 201, `round ${round}, value ${index}`)
    }
  }
})

test.run()
