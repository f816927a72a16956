/** UDP's in-place interface in virtual time: datagrams are lines on the buffers they came in, and mutants do no harm. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Address, parseAddress } from '../../stack/address.ts'
import { SeededRandom } from '../../stack/random.ts'
import {
  type DatagramApplication,
  datagramAddress,
  datagramPort,
  SEND_NO_BUFFER,
  SEND_NO_ROUTE,
  SEND_OK,
  SEND_TOO_LONG,
  type Udp,
  type UdpPort,
} from '../../stack/udp.ts'
import { NO_BUFFER, NO_META, W_ARRIVAL_HIGH, W_ARRIVAL_LOW } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { announceSeed } from '../support/random.ts'
import { chainOf, consumeChain } from '../support/stream-application.ts'
import { VirtualNetwork } from '../support/virtual-link.ts'

const seed = announceSeed('udp', 53)
const PORT = 7000
const SERVER = parseAddress('10.0.0.2')

/** Does with each datagram what it is told to, and remembers the sender. */
class Peer implements DatagramApplication {
  readonly senders: string[] = []
  readonly pool: Pool
  readonly udp: Udp
  private readonly onDatagram: (port: UdpPort, meta: number) => void

  constructor(pool: Pool, udp: Udp, onDatagram: (port: UdpPort, meta: number) => void) {
    this.pool = pool
    this.udp = udp
    this.onDatagram = onDatagram
  }

  onDatagrams(port: UdpPort): void {
    for (let meta = this.udp.take(port); meta !== NO_META; meta = this.udp.take(port)) {
      this.senders.push(`${datagramAddress(this.pool, meta, new Address())}:${datagramPort(this.pool, meta)}`)
      this.onDatagram(port, meta)
    }
  }

  onUnreachable(): void {}
  onClose(): void {}
}

/** Leaves everything in the queue. */
const idle: DatagramApplication = { onDatagrams() {}, onUnreachable() {}, onClose() {} }

/** An echo on host B that sends the very lines back that came in. */
function echo(network: VirtualNetwork): Peer {
  const { udp, pool } = network.hostB
  const peer = new Peer(pool, udp, (port, meta) => {
    const sender = datagramAddress(pool, meta, new Address())
    assert.is(udp.send(port, sender, datagramPort(pool, meta), meta), SEND_OK)
  })
  udp.bind(PORT, peer)
  return peer
}

function finish(network: VirtualNetwork, label = ''): void {
  for (const host of [network.hostA, network.hostB]) {
    host.close(network.nowUs)
    assert.is(host.pool.freeBuffers, host.pool.totalBuffers, `${label}: buffers`)
    assert.is(host.pool.freeMetas, host.pool.totalMetas, `${label}: lines`)
  }
}

test('echoes in place: the line that came in goes out, with its sum, sender and arrival time', () => {
  const network = new VirtualNetwork({ seed })
  const server = echo(network)
  const { udp, pool } = network.hostA
  const got: Uint8Array[] = []
  const client = new Peer(pool, udp, (_port, meta) => {
    assert.is(pool.get(meta, W_ARRIVAL_LOW), (network.nowUs * 1000) | 0)
    assert.is(pool.get(meta, W_ARRIVAL_HIGH), Math.floor((network.nowUs * 1000) / 4294967296))
    got.push(consumeChain(pool, meta)) // checks the sum
  })
  const port = udp.bind(5000, client)
  const sent = [1, 2, 3, 500, 1471, 1472].map((size) => Uint8Array.from({ length: size }, (_, index) => index * 7))
  for (const bytes of sent) {
    assert.is(udp.send(port, SERVER, PORT, chainOf(pool, bytes, 2048)), SEND_OK)
    assert.ok(network.runUntil(() => got.length > 0, 5_000_000))
    assert.equal(Uint8Array.from(got.pop()!), bytes)
  }
  assert.is(server.senders.length, sent.length)
  assert.equal(new Set(server.senders), new Set(['10.0.0.1:5000']))
  finish(network)
})

test('what cannot be sent is released', () => {
  const network = new VirtualNetwork({ seed, buffers: 64 })
  const { udp, pool } = network.hostA
  const port = udp.bind(0, idle)
  const line = (length: number): number => chainOf(pool, new Uint8Array(length), 2048)
  assert.is(udp.send(port, SERVER, PORT, chainOf(pool, new Uint8Array(65_508), 2048)), SEND_TOO_LONG)
  assert.is(udp.send(port, parseAddress('192.0.2.1'), PORT, line(1)), SEND_NO_ROUTE)
  assert.is(udp.send(port, parseAddress('192.0.2.1'), PORT, line(3000)), SEND_NO_ROUTE)
  const last = line(1)
  const lastLong = line(3000)
  const taken: number[] = []
  for (let buffer = pool.allocateBuffer(); buffer !== NO_BUFFER; buffer = pool.allocateBuffer()) taken.push(buffer)
  assert.is(udp.send(port, SERVER, PORT, lastLong), SEND_NO_BUFFER)
  for (let buffer = pool.allocateBuffer(); buffer !== NO_BUFFER; buffer = pool.allocateBuffer()) taken.push(buffer)
  assert.is(udp.send(port, SERVER, PORT, last), SEND_NO_BUFFER)
  for (const buffer of taken) pool.releaseBuffer(buffer)
  finish(network)
})

test('a flood that nobody reads takes the queue’s bound of buffers, and never the reserve', () => {
  for (const [buffers, queueLimit, expected] of [
    [512, 100, 100],
    [96, 1000, 64],
  ] as const) {
    const network = new VirtualNetwork({ seed, buffers, tcp: { reserveBuffers: 32 } })
    const port = network.hostB.udp.bind(PORT, idle, queueLimit)
    const { udp, pool } = network.hostA
    const local = udp.bind(0, idle)
    udp.send(local, SERVER, PORT, chainOf(pool, new Uint8Array(1)))
    network.runFor(1_000_000) // the neighbour is resolved
    for (let index = 0; index < 300; index++) {
      udp.send(local, SERVER, PORT, chainOf(pool, new Uint8Array(1)))
      network.hostA.flush(network.nowUs)
      network.runFor(1000)
    }
    const { received, dropQueue } = network.hostB.counters.udp
    assert.is(received, 301)
    assert.is(dropQueue + port.queued, 301)
    assert.ok(port.queued <= expected && port.queued >= expected - 2, `${port.queued} queued`)
    finish(network)
  }
})

test('mutated datagrams do no harm, and what passes its checks is answered', () => {
  let answers = 0
  for (let round = 0; round < 40; round++) {
    const random = new SeededRandom(seed + round)
    const network: VirtualNetwork = new VirtualNetwork({
      seed: seed + round,
      buffers: 256,
      filter: (frame) => {
        if (frame[12] !== 8 || frame[13] !== 0 || !random.chance(0.5)) return true
        // Behind the Ethernet header: IP header, UDP header, a little payload.
        frame[14 + random.below(32)] = random.chance(0.5) ? 0 : random.next() & 255
        return true
      },
    })
    echo(network)
    const { udp, pool } = network.hostA
    const port = udp.bind(
      5000,
      new Peer(pool, udp, (_port, meta) => {
        answers++
        consumeChain(pool, meta)
      }),
    )
    for (let index = 0; index < 50; index++) {
      udp.send(port, SERVER, PORT, chainOf(pool, new Uint8Array(random.below(100) + 1), 2048))
      network.runUntil(() => false, 10_000)
    }
    finish(network, `seed ${seed + round}`)
  }
  assert.ok(answers > 100, `${answers} answers`)
})

test.run()
