/** Two hosts over a virtual link: connections open, carry bytes and close, and give everything back. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SeededRandom } from '../../../stack/random.ts'
import { CLOSE_ORDERLY, CLOSE_REFUSED } from '../../../stack/tcp/application.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'
import { VirtualNetwork } from '../../support/virtual-link.ts'

const SEED = Number(process.env.PACKRAT_SEED ?? 1)
const SECOND_US = 1_000_000

function randomBytes(length: number, seed: number): Uint8Array {
  const random = new SeededRandom(seed)
  return Uint8Array.from({ length }, () => random.next() & 255)
}

function assertIdle(network: VirtualNetwork): void {
  for (const host of [network.hostA, network.hostB]) {
    assert.is(host.tcp.connectionCount, 0, 'connections')
    assert.is(host.pool.freeBuffers, host.pool.totalBuffers, 'buffers')
    assert.is(host.pool.freeMetas, host.pool.totalMetas, 'lines')
  }
}

test('a request is answered and both sides close in order', () => {
  const network = new VirtualNetwork({ seed: SEED })
  const server = new StreamApplication(network.poolB)
  server.onData = (c) => {
    if (server.receivedBytes === 5) c.send(chainOf(network.poolB, Buffer.from('world!')))
  }
  network.hostB.tcp.listen(80, server)
  const client = new StreamApplication(network.poolA)
  client.connected = (c) => {
    c.send(chainOf(network.poolA, Buffer.from('hello')))
    c.shutdown()
  }
  network.hostA.tcp.connect('10.0.0.2', 80, client)
  const done = network.runUntil(() => client.closeReason >= 0 && server.closeReason >= 0, 5 * SECOND_US)
  assert.ok(done, 'closed')
  assert.is(Buffer.from(server.bytes).toString(), 'hello')
  assert.is(Buffer.from(client.bytes).toString(), 'world!')
  assert.is(client.closeReason, CLOSE_ORDERLY)
  assert.is(server.closeReason, CLOSE_ORDERLY)
  assert.is(network.hostA.tcp.timeWaitCount, 1, 'the side that closed first waits')
  assert.is(network.hostB.tcp.timeWaitCount, 0)
  assertIdle(network)
  network.runFor(61 * SECOND_US)
  assert.is(network.hostA.tcp.timeWaitCount, 0)
  assert.is(network.hostA.armedTimers + network.hostB.armedTimers, 0, 'timers')
})

test('a port without a listener refuses', () => {
  const network = new VirtualNetwork({ seed: SEED })
  const client = new StreamApplication(network.poolA)
  network.hostA.tcp.connect('10.0.0.2', 81, client)
  network.runFor(SECOND_US)
  assert.equal(client.events, [`close ${CLOSE_REFUSED}`])
  assertIdle(network)
})

test('a megabyte in both directions arrives as it was sent', () => {
  const network = new VirtualNetwork({ seed: SEED, buffers: 4096 })
  const up = randomBytes(1 << 20, SEED + 1)
  const down = randomBytes(1 << 20, SEED + 2)
  const server = new StreamApplication(network.poolB)
  server.connected = (c) => c.send(chainOf(network.poolB, down))
  network.hostB.tcp.listen(80, server)
  const client = new StreamApplication(network.poolA)
  client.connected = (c) => {
    c.send(chainOf(network.poolA, up))
    c.shutdown()
  }
  network.hostA.tcp.connect('10.0.0.2', 80, client)
  assert.ok(network.runUntil(() => client.closeReason >= 0 && server.closeReason >= 0, 20 * SECOND_US))
  assert.ok(Buffer.compare(server.bytes, up) === 0, 'up')
  assert.ok(Buffer.compare(client.bytes, down) === 0, 'down')
  assert.is(network.hostA.counters.tcp.retransmitted, 0)
  assertIdle(network)
})

test.run()
