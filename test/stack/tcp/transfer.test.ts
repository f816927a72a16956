/**
 * Random bytes in both directions over links that lose, reorder, duplicate and corrupt frames: they arrive exactly once
 * and in order, and everything is given back. Every case runs from a seed that it prints; PACKRAT_SEED replays one.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SeededRandom } from '../../../stack/random.ts'
import { CLOSE_ABORTED, CLOSE_ORDERLY, CLOSE_RESET } from '../../../stack/tcp/application.ts'
import type { Connection } from '../../../stack/tcp/connection.ts'
import type { InitialSequence } from '../../../stack/tcp/isn.ts'
import type { Pool } from '../../../storage/pool.ts'
import { checkScoreboard } from '../../support/check-scoreboard.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'
import { ADDRESS6_B, type Impairment, type NetworkOptions, VirtualNetwork } from '../../support/virtual-link.ts'

const SEED = Number(process.env.PACKRAT_SEED ?? 20_261_122)
const SECOND_US = 1_000_000

/** Initial sequence numbers shortly before 2^32, or 2^31, so that a transfer passes them. */
class FixedSequence implements InitialSequence {
  readonly sequence: number
  readonly timestampOffset = -1000
  constructor(sequence: number) {
    this.sequence = sequence
  }
  generate(): void {}
}

/** Sends `bytes` in pieces of random sizes and views, as room comes, then shuts down. */
class Sender extends StreamApplication {
  /** Every view holds a buffer: where buffers are few, views must not be tiny. */
  viewBytesMin = 60
  private sent = 0
  private readonly random: SeededRandom
  private readonly bytesToSend: Uint8Array

  constructor(pool: Pool, bytes: Uint8Array, seed: number) {
    super(pool)
    this.random = new SeededRandom(seed)
    this.bytesToSend = bytes
    this.closesAfterPeer = false
    this.connected = (c) => this.fill(c)
  }

  override onSendSpace(c: Connection): void {
    this.fill(c)
  }

  private fill(c: Connection): void {
    while (this.sent < this.bytesToSend.length && c.sendSpace > 0) {
      const piece = this.bytesToSend.subarray(this.sent, this.sent + 1 + this.random.below(20_000))
      c.send(chainOf(this.pool, piece, this.viewBytesMin + this.random.below(2048 - this.viewBytesMin)))
      this.sent += piece.length
    }
    if (this.sent === this.bytesToSend.length) c.shutdown()
  }
}

function randomBytes(length: number, random: SeededRandom): Uint8Array {
  return Uint8Array.from({ length }, () => random.next() & 255)
}

function assertIdle(network: VirtualNetwork, label: string): void {
  for (const host of [network.hostA, network.hostB]) {
    assert.is(host.tcp.connectionCount, 0, `${label}: connections`)
    assert.is(host.pool.freeBuffers, host.pool.totalBuffers, `${label}: buffers`)
    assert.is(host.pool.freeMetas, host.pool.totalMetas, `${label}: lines`)
  }
}

interface Case extends Omit<NetworkOptions, 'seed'> {
  name: string
  bytes: number
  sequence?: number
  mss?: number
  receiveLimitBytes?: number
}

const links: { name: string; impairment: Impairment }[] = [
  { name: 'clean', impairment: { delayUs: 200 } },
  { name: '1 % loss', impairment: { delayUs: 5000, loss: 0.01 } },
  { name: '10 % loss', impairment: { delayUs: 2000, loss: 0.1 } },
  { name: 'reordering', impairment: { delayUs: 1000, jitterUs: 3000 } },
  { name: 'duplication', impairment: { delayUs: 1000, duplicate: 0.2 } },
  { name: 'corruption', impairment: { delayUs: 1000, corrupt: 0.03 } },
  { name: 'everything', impairment: { delayUs: 3000, jitterUs: 2000, loss: 0.05, duplicate: 0.05, corrupt: 0.02 } },
]

const cases: Case[] = []
for (const link of links) {
  cases.push({ name: link.name, bytes: 300_000, impairment: link.impairment })
  cases.push({
    name: `${link.name}, numbers near 2^32`,
    bytes: 200_000,
    impairment: link.impairment,
    sequence: -100_000,
  })
  cases.push({
    name: `${link.name}, numbers near 2^31`,
    bytes: 200_000,
    impairment: link.impairment,
    sequence: 0x7fff0000,
  })
  cases.push({ name: `${link.name}, small MTU`, bytes: 100_000, impairment: link.impairment, mtu: 576 })
  cases.push({
    name: `${link.name}, no options, small window`,
    bytes: 100_000,
    impairment: link.impairment,
    receiveLimitBytes: 5000,
    tcp: { timestamps: false, windowScaling: false, sack: false },
    receiveSum: false,
  })
  for (const sack of [true, false])
    for (const timestamps of [true, false])
      for (const rack of sack ? [true, false] : [true])
        cases.push({
          name: `${link.name}, SACK ${sack}, timestamps ${timestamps}, RACK ${sack && rack}, ${timestamps ? 'CUBIC' : 'Reno'}`,
          bytes: 120_000,
          impairment: link.impairment,
          sequence: -60_000,
          tcp: { sack, timestamps, rack, congestion: timestamps ? 'cubic' : 'reno' },
        })
  cases.push({ name: `${link.name}, IPv6`, bytes: 200_000, impairment: link.impairment, ipv6: true })
  cases.push({
    name: `${link.name}, IPv6, smallest MTU, numbers near 2^32`,
    bytes: 100_000,
    impairment: link.impairment,
    ipv6: true,
    mtu: 1280,
    receiveSum: false,
    sequence: -50_000,
  })
  cases.push({ name: `${link.name}, few buffers`, bytes: 150_000, impairment: link.impairment, buffers: 600 })
}

cases.forEach((each, index) => {
  test(`transfer: ${each.name}`, () => {
    const seed = SEED + index
    const random = new SeededRandom(seed)
    const tcp = { ...each.tcp }
    if (each.sequence !== undefined) tcp.initialSequence = new FixedSequence(each.sequence)
    const network = new VirtualNetwork({ ...each, seed, tcp, buffers: each.buffers ?? 8192 })
    const up = randomBytes(each.bytes, random)
    const down = randomBytes(each.bytes, random)
    const limits = { sendLimitBytes: 100_000, receiveLimitBytes: each.receiveLimitBytes ?? 400_000 }
    const server = new Sender(network.poolB, down, seed + 1)
    const client = new Sender(network.poolA, up, seed + 2)
    network.hostB.tcp.listen(80, server, limits)
    network.hostA.tcp.connect(each.ipv6 === true ? ADDRESS6_B : '10.0.0.2', 80, client, limits)
    if (each.buffers !== undefined) {
      client.viewBytesMin = 1000
      server.viewBytesMin = 1000
    }
    const closed = () => {
      if (client.connection !== undefined) checkScoreboard(client.connection)
      if (server.connection !== undefined) checkScoreboard(server.connection)
      return client.closeReason >= 0 && server.closeReason >= 0
    }
    const label = `${each.name}, seed ${seed}`
    assert.ok(network.runUntil(closed, 3600 * SECOND_US), `${label}: done in an hour of virtual time`)
    assert.is(client.closeReason, CLOSE_ORDERLY, label)
    assert.is(server.closeReason, CLOSE_ORDERLY, label)
    assert.ok(Buffer.compare(server.bytes, up) === 0, `${label}: bytes up`)
    assert.ok(Buffer.compare(client.bytes, down) === 0, `${label}: bytes down`)
    network.runFor(70 * SECOND_US)
    assertIdle(network, label)
    assert.is(network.hostA.armedTimers + network.hostB.armedTimers, 0, `${label}: timers`)
  })
})

test('connections that end at a random moment, by abort or shutdown, leave nothing behind', () => {
  for (let round = 0; round < 60; round++) {
    const seed = SEED + 1000 + round
    const random = new SeededRandom(seed)
    const network = new VirtualNetwork({
      seed,
      buffers: 8192,
      impairment: { delayUs: 500, jitterUs: 500, loss: 0.05, duplicate: 0.05 },
    })
    const server = new Sender(network.poolB, randomBytes(60_000, random), seed + 1)
    const client = new Sender(network.poolA, randomBytes(60_000, random), seed + 2)
    network.hostB.tcp.listen(80, server, { userTimeoutMs: 20_000 })
    const connection = network.hostA.tcp.connect('10.0.0.2', 80, client, { userTimeoutMs: 20_000 })
    network.runFor(random.below(60_000))
    const ended = random.below(3)
    const wasOpen = client.closeReason < 0
    if (ended === 0) connection.abort()
    else if (ended === 1) server.connection?.abort()
    else connection.shutdown()
    // The abort's RST may be lost: then the other side gives up by itself.
    network.runUntil(() => network.hostA.tcp.connectionCount + network.hostB.tcp.connectionCount === 0, 300 * SECOND_US)
    network.runFor(130 * SECOND_US)
    const label = `round ${round}, seed ${seed}`
    if (network.hostB.tcp.connectionCount > 0) server.connection?.abort()
    network.runFor(130 * SECOND_US)
    assertIdle(network, label)
    assert.is(network.hostA.armedTimers + network.hostB.armedTimers, 0, `${label}: timers`)
    if (ended === 0 && wasOpen) assert.is(client.closeReason, CLOSE_ABORTED, label)
    assert.ok(server.closeReason !== CLOSE_RESET || ended !== 2, label)
  }
})

console.log(`seed ${SEED}`)
test.run()
