/**
 * Tens of thousands of short connections between two hosts within seconds of virtual time, one request each: more than there
 * are ports, and every one leaves a TIME-WAIT of a minute, on the server's side or on the client's. None may stall.
 * @timeout 180
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { TcpOptions } from '../../../stack/host-options.ts'
import type { Application } from '../../../stack/tcp/application.ts'
import { CLOSE_ORDERLY } from '../../../stack/tcp/application.ts'
import type { Connection } from '../../../stack/tcp/connection.ts'
import { NO_META } from '../../../storage/layout.ts'
import type { Pool } from '../../../storage/pool.ts'
import { announceSeed } from '../../support/random.ts'
import { RawPeer } from '../../support/raw-peer.ts'
import { chainOf } from '../../support/stream-application.ts'
import { VirtualNetwork } from '../../support/virtual-link.ts'

const SEED = announceSeed('churn', 17)
const REQUEST = new Uint8Array(100)
/** Ephemeral ports towards one destination. */
const PORTS = 16_384

/** One end of all connections. */
class End implements Application {
  ended = 0
  disorderly = 0
  onEnd: () => void = () => {}
  private readonly pool: Pool
  private readonly speaksFirst: boolean
  private readonly closesFirst: boolean

  constructor(pool: Pool, speaksFirst: boolean, closesFirst: boolean) {
    this.pool = pool
    this.speaksFirst = speaksFirst
    this.closesFirst = closesFirst
  }

  onAccept(c: Connection): void {
    if (this.speaksFirst) c.send(chainOf(this.pool, REQUEST))
  }

  onReceive(c: Connection): void {
    const chain = c.takeReceived()
    if (chain !== NO_META) {
      this.pool.releaseChain(chain)
      if (!this.speaksFirst) c.send(chainOf(this.pool, REQUEST))
      if (this.closesFirst) c.shutdown()
    }
    if (c.receiveFinished !== 0) c.shutdown()
  }

  onSendSpace(): void {}

  onClose(_c: Connection, reason: number): void {
    this.ended++
    if (reason !== CLOSE_ORDERLY) this.disorderly++
    this.onEnd()
  }
}

/** @param atOnce how many are open at a time: with 20, ports come round after more than a second */
function churn(connections: number, atOnce: number, serverClosesFirst: boolean, tcp: TcpOptions = {}) {
  const network = new VirtualNetwork({
    seed: SEED,
    impairment: { delayUs: 500 },
    tcp: { timeWaitsMax: 65_536, ...tcp },
  })
  const server = new End(network.poolB, false, serverClosesFirst)
  const client = new End(network.poolA, true, !serverClosesFirst)
  network.hostB.tcp.listen(80, server)
  let opened = 0
  const open = () => {
    if (opened >= connections) return
    opened++
    network.hostA.tcp.connect('10.0.0.2', 80, client)
  }
  client.onEnd = open
  const start = network.nowUs
  open()
  network.runFor(10_000) // the neighbours know each other: no SYN has to wait for ARP
  for (let n = 1; n < atOnce; n++) open()
  const done = network.runUntil(() => client.ended === connections && server.ended === connections, 100_000_000)
  const seconds = (network.nowUs - start) / 1e6
  return { network, client, server, seconds, done }
}

test('50,000 connections that the server closes: ports come round while it holds them in TIME-WAIT (RFC 6191)', () => {
  const { network, client, server, seconds, done } = churn(50_000, 50, true)
  assert.ok(done, `${client.ended} ended after ${seconds} s`)
  assert.is(client.disorderly + server.disorderly, 0)
  assert.ok(seconds < 10, `${seconds} s: all within one TIME-WAIT`)
  const { timeWaitsReused } = network.hostB.counters.tcp
  assert.ok(timeWaitsReused > 50_000 - 2 * PORTS, `${timeWaitsReused} reused`)
  assert.is(network.hostA.counters.tcp.timeouts, 0, 'no SYN was ignored')
})

test('40,000 connections that the client closes: its own TIME-WAITs are cut short when ports run out', () => {
  const { network, client, server, seconds, done } = churn(40_000, 20, false)
  assert.ok(done, `${client.ended} ended after ${seconds} s`)
  assert.is(client.disorderly + server.disorderly, 0)
  assert.ok(seconds < 10, `${seconds} s`)
  assert.ok(network.hostA.counters.tcp.timeWaitsReused > 40_000 - 2 * PORTS)
  assert.is(network.hostA.counters.tcp.timeouts, 0)
})

test('without timestamps a port waits its minute; a client that has none left is told so', () => {
  assert.throws(() => churn(PORTS + 1, 50, false, { timestamps: false }), /no ephemeral port is free/)
})

test('a SYN into TIME-WAIT within the same millisecond counts by its sequence number (RFC 6191 2)', () => {
  const peer = new RawPeer()
  const server = new End(peer.pool, false, true)
  peer.host.tcp.listen(80, server)
  peer.establish({ timestamps: [7000, 0] })
  peer.send('A', { seq: 1, ack: 1, payload: REQUEST, timestamps: [7001, 0] })
  peer.send('FA', { seq: 101, ack: 102, timestamps: [7001, 0] })
  assert.is(peer.host.tcp.timeWaitCount, 1)
  peer.take()
  peer.send('S', { seq: 100, timestamps: [7001, 0] })
  assert.is(peer.host.tcp.timeWaitCount, 1, 'an old number')
  peer.take()
  peer.send('S', { seq: 1000, timestamps: [7001, 0] })
  assert.is(peer.host.tcp.timeWaitCount, 0)
  assert.ok(peer.take()[0]!.startsWith('SA'))
})

test.run()
