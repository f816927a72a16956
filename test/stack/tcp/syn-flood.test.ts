/**
 * A flood of SYNs from invented addresses, while honest clients connect: all of them get through, and the flood costs no
 * memory beyond the backlog. In virtual time, over a link in memory.
 *
 * SYN_FLOOD=1000000 runs another number of SYNs, one honest connection for each hundred.
 * @timeout 120
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SeededRandom } from '../../../stack/random.ts'
import type { Application } from '../../../stack/tcp/application.ts'
import type { Connection } from '../../../stack/tcp/connection.ts'
import { foldSum, sumBytes } from '../../../storage/checksum.ts'
import { chainOf, consumeChain } from '../../support/stream-application.ts'
import { VirtualNetwork } from '../../support/virtual-link.ts'

const SYNS = Number(process.env.SYN_FLOOD ?? 200_000)
const SYNS_PER_CONNECTION = 100
const BACKLOG = 128
const REQUEST = Uint8Array.from({ length: 100 }, (_, index) => index)

/** A SYN with Linux's options to port 80 of 10.0.0.2, from anywhere. */
function inventedSyn(random: SeededRandom, mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(74)
  const view = new DataView(frame.buffer)
  frame.set(mac, 0)
  frame.set([2, 0, 0, 0, 0, 0x0a], 6)
  view.setUint16(12, 0x0800)
  view.setUint32(14, 0x45000000 | 60)
  view.setUint32(20, 0x40004006)
  view.setUint8(26, 11 + random.below(100)) // the first byte: neither reserved nor on the link
  view.setUint8(27, random.below(256))
  view.setUint16(28, random.below(65536))
  view.setUint32(30, 0x0a000002)
  view.setUint16(24, ~sumBytes(view, 14, 20) & 0xffff)
  view.setUint16(34, 1024 + random.below(60_000))
  view.setUint16(36, 80)
  view.setInt32(38, random.next() | 0)
  view.setUint32(46, 0xa002ffff)
  frame.set([2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7], 54)
  const pseudo = sumBytes(view, 26, 8) + 6 + 40
  view.setUint16(50, ~foldSum(pseudo + sumBytes(view, 34, 40)) & 0xffff)
  return frame
}

/** Sends back what it gets, and closes after the peer. */
const echo: Application = {
  onAccept() {},
  onReceive(c: Connection) {
    c.send(c.takeReceived())
    if (c.receiveFinished !== 0) c.shutdown()
  },
  onSendSpace() {},
  onClose() {},
}

test(`${SYNS} SYNs, and a hundredth as many honest connections`, () => {
  const seed = Number(process.env.SEED ?? 1)
  const random = new SeededRandom(seed)
  const network = new VirtualNetwork({
    seed,
    buffers: 4096,
    tcp: { connectionsMax: 512, timeWaitsMax: 16_000, reserveBuffers: 32 },
    hostOptions: { gateway: '10.0.0.1' },
    // What goes to invented addresses finds nobody.
    filter: (frame, fromA) => fromA || frame[12] !== 0x08 || frame[13] !== 0 || frame[30] === 10,
  })
  const { hostA, hostB, poolA, deviceB } = network
  hostB.tcp.listen(80, echo, { backlog: BACKLOG })
  let answered = 0
  let failed = 0
  const client: Application = {
    onAccept(c) {
      c.send(chainOf(poolA, REQUEST))
      c.shutdown()
    },
    onReceive(c) {
      const bytes = consumeChain(poolA, c.takeReceived())
      if (bytes.length === REQUEST.length && Buffer.compare(bytes, REQUEST) === 0) answered++
    },
    onSendSpace() {},
    onClose(_c, reason) {
      if (reason !== 0) failed++
    },
  }
  let connections = 0
  let peakConnections = 0
  let leastBuffers = hostB.pool.totalBuffers
  for (let syns = 0; syns < SYNS; syns += SYNS_PER_CONNECTION) {
    for (let syn = 0; syn < SYNS_PER_CONNECTION; syn++) deviceB.arrive(inventedSyn(random, deviceB.mac), network.nowUs)
    hostA.tcp.connect('10.0.0.2', 80, client)
    connections++
    network.runFor(1000)
    peakConnections = Math.max(peakConnections, hostB.tcp.connectionCount)
    leastBuffers = Math.min(leastBuffers, hostB.pool.freeBuffers)
  }
  network.runFor(1_000_000)
  const text = `seed ${seed}`
  assert.is(answered, connections, text)
  assert.is(failed, 0, text)
  const { cookiesSent, cookiesAccepted, dropBacklog } = hostB.counters.tcp
  assert.ok(cookiesAccepted >= connections - BACKLOG && cookiesSent >= SYNS - BACKLOG, text)
  assert.is(dropBacklog, 0)
  assert.ok(peakConnections <= BACKLOG + 8, `${peakConnections} connections at once, ${text}`)
  assert.ok(leastBuffers >= hostB.pool.totalBuffers - 16, `${leastBuffers} buffers free, ${text}`)
  network.runFor(130_000_000)
  assert.is(hostB.tcp.connectionCount, 0, 'half-open ones are given up')
  assert.is(hostB.pool.freeBuffers, hostB.pool.totalBuffers)
  assert.is(hostB.armedTimers, 0, text)
})

test.run()
