/**
 * What a connection costs in JavaScript's heap: 10,000 of them between two hosts, idle, and after requests on each. Both ends
 * live here, so a connection counts twice. The bound is what docs/tcp.md promises.
 * @timeout 120
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Application } from '../../../stack/tcp/application.ts'
import type { Connection } from '../../../stack/tcp/connection.ts'
import { NO_META } from '../../../storage/layout.ts'
import type { Pool } from '../../../storage/pool.ts'
import { chainOf } from '../../support/stream-application.ts'
import { VirtualNetwork } from '../../support/virtual-link.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const CONNECTIONS = 10_000
const REQUESTS = 3
const BATCH = 200
/** For one end of a connection. */
const BYTES_MAX = 2304

class End implements Application {
  accepted = 0
  received = 0
  readonly connections: Connection[] = []
  private readonly pool: Pool
  private readonly answers: boolean

  constructor(pool: Pool, answers: boolean) {
    this.pool = pool
    this.answers = answers
  }

  onAccept(c: Connection): void {
    this.accepted++
    this.connections.push(c)
  }

  onReceive(c: Connection): void {
    const chain = c.takeReceived()
    if (chain === NO_META) return
    this.received++
    this.pool.releaseChain(chain)
    if (this.answers) c.send(chainOf(this.pool, new Uint8Array(200)))
  }

  onSendSpace(): void {}
  onClose(): void {}
}

function heapBytes(): number {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

test('10,000 connections, idle and after requests on each: bytes of heap for one end', () => {
  const network = new VirtualNetwork({
    seed: 1,
    buffers: 4096,
    tcp: { connectionsMax: CONNECTIONS + 16, timeWaitsMax: CONNECTIONS },
  })
  const server = new End(network.poolB, true)
  const client = new End(network.poolA, false)
  network.hostB.tcp.listen(80, server)
  network.hostA.tcp.connect('10.0.0.2', 80, client)
  network.runFor(100_000)
  const before = heapBytes()
  for (let opened = 1; opened < CONNECTIONS; opened += BATCH) {
    for (let n = opened; n < Math.min(opened + BATCH, CONNECTIONS); n++)
      network.hostA.tcp.connect('10.0.0.2', 80, client)
    network.runFor(2000)
  }
  network.runFor(100_000)
  assert.is(server.accepted, CONNECTIONS)
  const idle = (heapBytes() - before) / CONNECTIONS / 2
  for (let round = 1; round <= REQUESTS; round++) {
    for (let from = 0; from < CONNECTIONS; from += BATCH) {
      for (const c of client.connections.slice(from, from + BATCH)) c.send(chainOf(network.poolA, new Uint8Array(100)))
      network.runFor(2000)
    }
    network.runFor(100_000)
    assert.is(client.received, CONNECTIONS * round)
  }
  const used = (heapBytes() - before) / CONNECTIONS / 2
  console.log(`${idle.toFixed(0)} bytes idle, ${used.toFixed(0)} after ${REQUESTS} requests`)
  assert.ok(idle > 200, 'the measurement works')
  assert.ok(idle < BYTES_MAX && used < BYTES_MAX, `${idle.toFixed(0)} and ${used.toFixed(0)} bytes`)
  assert.is(network.poolB.freeBuffers, network.poolB.totalBuffers, 'no connection holds a buffer')
  network.hostA.close(network.nowUs)
  network.runFor(1_000_000)
  network.hostB.close(network.nowUs)
  server.connections.length = 0
  client.connections.length = 0
  const left = heapBytes() - before
  assert.ok(left < (used * CONNECTIONS * 2) / 10, `${left} bytes are left when all are closed`)
})

test.run()
