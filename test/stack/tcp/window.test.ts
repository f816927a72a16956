/**
 * Windows: growing with what is read, never moving left, never opening in silly steps; and what stacks are known to hang on:
 * a lost window update, a window smaller than a segment, two full ends that answer each other.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { TcpOptions } from '../../../stack/host-options.ts'
import type { ConnectionOptions } from '../../../stack/tcp/application.ts'
import type { Connection } from '../../../stack/tcp/connection.ts'
import { announceSeed, seededRandom } from '../../support/random.ts'
import { patternBytes, RawPeer, type RawPeerOptions } from '../../support/raw-peer.ts'
import { chainOf, consumeChain, StreamApplication } from '../../support/stream-application.ts'
import { VirtualNetwork } from '../../support/virtual-link.ts'

const SEED = announceSeed('window', 5)
const SCALE = 7
const SYN_OPTIONS = [2, 4, 5, 180, 1, 3, 3, SCALE]
const START = 65_535

interface Lab {
  peer: RawPeer
  server: StreamApplication
  c: Connection
}

/** The peer scales its window by 7; so does the host. */
function established(options: ConnectionOptions = {}, peerOptions: RawPeerOptions = {}): Lab {
  const peer = new RawPeer({ buffers: 8192, ...peerOptions })
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, options)
  peer.establish({ options: SYN_OPTIONS })
  return { peer, server, c: server.connection! }
}

/** Bulk data from one virtual host to another that reads at once: seconds, and the window at the end. */
function bulk(bytes: number, delayUs: number, tcp: TcpOptions, receiver: ConnectionOptions = {}) {
  const network = new VirtualNetwork({ seed: SEED, buffers: 16_384, impairment: { delayUs }, tcp })
  const server = new StreamApplication(network.poolB)
  network.hostB.tcp.listen(80, server, receiver)
  const client = new StreamApplication(network.poolA)
  client.connected = (c) => {
    c.send(chainOf(network.poolA, new Uint8Array(bytes)))
    c.shutdown()
  }
  const start = network.nowUs
  network.hostA.tcp.connect('10.0.0.2', 80, client, { sendLimitBytes: bytes })
  let window = 0
  const done = () => {
    if (server.connection !== undefined && !server.finished) window = server.connection.receiveWindowBytes
    return server.finished
  }
  assert.ok(network.runUntil(done, 60_000_000))
  assert.is(server.receivedBytes, bytes)
  return { seconds: (network.nowUs - start) / 1e6, window }
}

for (const timestamps of [true, false])
  test(`the window grows with what is read, ${timestamps ? 'with' : 'without'} timestamps, and stops no sender`, () => {
    const delayUs = 20_000
    const tuned = bulk(8_000_000, delayUs, { timestamps })
    const open = bulk(8_000_000, delayUs, { timestamps, receiveTuning: false })
    const small = bulk(8_000_000, delayUs, { timestamps }, { receiveLimitBytes: START })
    assert.ok(tuned.window > 10 * START, `window ${tuned.window}`)
    assert.ok(tuned.seconds < 1.5 * open.seconds, `${tuned.seconds} s, with an open window ${open.seconds} s`)
    assert.ok(small.seconds > 3 * tuned.seconds, `held at the start: ${small.seconds} s`)
    assert.is(small.window, START, 'a limit of its own is not tuned')
  })

for (const bytes of [1000, 20])
  test(`a connection that is not read is offered no more than at the start: segments of ${bytes} bytes`, () => {
    const { peer, server, c } = established()
    server.reading = false
    let seq = 1
    for (let round = 0; round < 10_000 && c.rcvAdvertised - c.rcvNxt >= bytes; round++, seq += bytes) {
      peer.send('A', { seq, ack: 1, payload: patternBytes(bytes) })
      peer.sent.length = 0
    }
    assert.is(c.receiveWindowBytes, START)
    assert.ok(c.receiveQueuedBytes <= START + (START >> 3), `${c.receiveQueuedBytes} wait`)
  })

test('a pool that is nearly full lets no window grow beyond a share of what is free', () => {
  const { peer, server, c } = established({}, { buffers: 512 })
  let seq = 1
  for (let round = 0; round < 100; round++) {
    for (let n = 0; n < 30; n++, seq += 1000) peer.queue('A', { seq, ack: 1, payload: patternBytes(1000) })
    peer.poll()
    peer.advanceMs(20)
  }
  assert.is(server.receivedBytes, seq - 1)
  assert.ok(c.receiveWindowBytes <= Math.max(START, (512 / 4) * 730), `${c.receiveWindowBytes}`)
})

test('the right edge never moves left, whatever is sent, read, and held (RFC 9293 3.8.6)', () => {
  const random = seededRandom(SEED)
  for (let round = 0; round < 30; round++) {
    const limit = round % 3 === 0 ? {} : { receiveLimitBytes: 1000 + ((random() >>> 0) % 100_000) }
    const { peer, server, c } = established(limit, { buffers: 256 })
    server.reading = false
    const scale = c.receiveScale
    const held: number[] = []
    let edge = 0
    let seq = 1
    for (let step = 0; step < 300; step++) {
      const choice = (random() >>> 0) % 8
      if (choice < 4) {
        const length = Math.min(1 + ((random() >>> 0) % (choice === 0 ? 1460 : 40)), c.rcvAdvertised - c.rcvNxt)
        if (length > 0) {
          peer.send('A', { seq, ack: 1, payload: patternBytes(length) })
          seq = c.rcvNxt - peer.peerIss
        }
      } else if (choice === 4) consumeChain(peer.pool, c.takeReceived(1 + ((random() >>> 0) % 5000)))
      else if (choice === 5 && peer.pool.freeBuffers > 8) held.push(peer.pool.allocateBuffer())
      else if (choice === 6 && held.length > 0) peer.pool.releaseBuffer(held.pop()!)
      else peer.advanceMs((random() >>> 0) % 100)
      peer.host.flush(peer.nowUs)
      for (const segment of peer.sent) {
        const right = segment.ack + (segment.window << scale)
        // Segments of a few bytes: the edge may give by less than a unit (RFC 7323 2.4).
        assert.ok(right > edge - (1 << scale), `seed ${SEED}, round ${round}, step ${step}: ${right} after ${edge}`)
        edge = Math.max(edge, right)
      }
      peer.sent.length = 0
    }
  }
})

test('a window that is shut opens by a segment, then each time by as much again, not byte by byte (RFC 9293 3.8.6.2.2)', () => {
  const { peer, server, c } = established({ receiveLimitBytes: 20_000 })
  server.reading = false
  for (let n = 0; n < 20; n++) peer.send('A', { seq: 1 + n * 1000, ack: 1, payload: patternBytes(1000) })
  const shut = c.rcvAdvertised
  peer.take()
  const updates: number[] = []
  let read = 0
  while (read < 20_000) {
    read += consumeChain(peer.pool, c.takeReceived(1)).length // a line of 1000 bytes
    peer.host.flush(peer.nowUs)
    for (const segment of peer.sent) updates.push(segment.window << c.receiveScale)
    peer.sent.length = 0
  }
  assert.ok(updates.length > 3 && updates.length <= 10, `${updates}`)
  for (let n = 1; n < updates.length; n++) assert.ok(updates[n]! >= 2 * updates[n - 1]! - (1 << c.receiveScale))
  assert.ok(c.rcvAdvertised - shut >= 10_000)
})

test('a peer that sends byte by byte does not see its window open byte by byte', () => {
  const { peer, server, c } = established({ receiveLimitBytes: 4000 })
  server.reading = false
  for (let n = 0; n < 4000; n++) peer.send('A', { seq: 1 + n, ack: 1, payload: patternBytes(1) })
  peer.take()
  let updates = 0
  let read = 0
  while (read < 4000) {
    read += consumeChain(peer.pool, c.takeReceived(1)).length
    peer.host.flush(peer.nowUs)
    updates += peer.sent.length
    peer.sent.length = 0
  }
  assert.ok(updates >= 1 && updates <= 8, `${updates} updates for 4000 bytes`)
})

test('a window update does not wait for the delayed ACK', () => {
  const { peer, server, c } = established({ receiveLimitBytes: 10_000 })
  // Past the quick ACKs of a young connection.
  let seq = 1
  for (let n = 0; n < 40; n++, seq += 1000) {
    peer.send('A', { seq, ack: 1, payload: patternBytes(1000) })
    peer.advanceMs(50)
  }
  server.reading = false
  for (let n = 0; n < 9; n++, seq += 1000) peer.send('A', { seq, ack: 1, payload: patternBytes(1000) })
  peer.take()
  const start = peer.nowUs
  server.take(c)
  peer.host.flush(peer.nowUs)
  assert.is(peer.sent.length, 1)
  assert.is(peer.sent[0]!.atUs, start)
  assert.ok(peer.sent[0]!.window << c.receiveScale >= 9000)
})

test('a window smaller than a segment is used, at the latest when the persist timer fires', () => {
  const { peer, c } = established({ noDelay: true })
  peer.send('A', { seq: 1, ack: 1, window: 60_000 >> SCALE })
  c.send(chainOf(peer.pool, patternBytes(10_000)))
  peer.poll()
  peer.take()
  // 256 bytes for ever: far below half of the largest window.
  let acked = 10_001
  peer.send('A', { seq: 1, ack: acked, window: 256 >> SCALE })
  c.send(chainOf(peer.pool, patternBytes(2000, 10_000)))
  peer.poll()
  assert.equal(peer.take(), [], 'not at once: it would be silly (RFC 9293 3.8.6.2.1)')
  for (let guard = 0; guard < 20 && acked < 12_001; guard++) {
    peer.advanceMs(1000)
    const sent = peer.sent.at(-1)
    assert.ok(sent !== undefined, `after ${acked}`)
    assert.ok(sent.length > 0 && sent.length <= 256)
    acked = sent.seq + sent.length
    peer.sent.length = 0
    peer.send('A', { seq: 1, ack: acked, window: 256 >> SCALE })
    peer.sent.length = 0
  }
  assert.is(acked, 12_001)
})

/** Two virtual hosts, both full and both with more to send. */
function bothFull(): { network: VirtualNetwork; ends: StreamApplication[]; frames: () => number } {
  let count = 0
  const network = new VirtualNetwork({ seed: SEED, impairment: { delayUs: 5000 } })
  network.filter = (frame) => {
    if (frame[12] === 8 && frame[13] === 0) count++ // not ARP
    return true
  }
  const ends = [new StreamApplication(network.poolA), new StreamApplication(network.poolB)]
  for (const [index, end] of ends.entries()) {
    end.reading = false
    end.connected = (c) => {
      c.send(chainOf(index === 0 ? network.poolA : network.poolB, patternBytes(60_000)))
      c.shutdown()
    }
  }
  network.hostB.tcp.listen(80, ends[1]!, { receiveLimitBytes: 20_000 })
  network.hostA.tcp.connect('10.0.0.2', 80, ends[0]!, { receiveLimitBytes: 20_000 })
  return { network, ends, frames: () => count }
}

test('two full ends: a few probes and answers in ten minutes, no dialogue of ACKs; then everything arrives', () => {
  const { network, ends, frames } = bothFull()
  network.runFor(10_000_000)
  for (const end of ends) assert.is(end.connection!.receiveQueuedBytes, 20_000, 'full')
  const before = frames()
  network.runFor(600_000_000)
  const quiet = frames() - before
  assert.ok(quiet > 4 && quiet <= 32, `${quiet} frames: a probe and its answer, ever more rarely`)
  for (const end of ends) {
    end.reading = true
    end.take(end.connection!)
  }
  assert.ok(network.runUntil(() => ends.every((end) => end.finished), 10_000_000))
  for (const end of ends) assert.ok(Buffer.compare(end.bytes, patternBytes(60_000)) === 0)
})

test('of two full ends one reads: it gets everything, though its own ACKs come with a number beyond a shut window', () => {
  const { network, ends } = bothFull()
  const [a, b] = ends as [StreamApplication, StreamApplication]
  network.runFor(10_000_000)
  a.reading = true
  a.take(a.connection!)
  assert.ok(network.runUntil(() => a.finished, 10_000_000))
  assert.ok(Buffer.compare(a.bytes, patternBytes(60_000)) === 0)
  assert.is(b.connection!.receiveQueuedBytes, 20_000)
})

test('a reset into a shut window has the number that the peer waits for, probe or not', () => {
  const { peer, c } = established()
  peer.send('A', { seq: 1, ack: 1, window: 0 })
  c.send(chainOf(peer.pool, patternBytes(10)))
  peer.poll()
  peer.advanceMs(1000)
  assert.equal(peer.take().at(-1), 'A 1 1 1', 'a probe')
  c.abort()
  peer.host.flush(peer.nowUs)
  assert.equal(peer.take(), ['RA 1 1'])
})

test('every window update is lost for a while: probes find the open window', () => {
  const { network, ends } = bothFull()
  network.runFor(10_000_000)
  network.filter = () => false
  for (const end of ends) {
    end.reading = true
    end.take(end.connection!)
  }
  network.runFor(3_000_000)
  network.filter = undefined
  assert.ok(network.runUntil(() => ends.every((end) => end.finished), 300_000_000))
  for (const end of ends) assert.ok(Buffer.compare(end.bytes, patternBytes(60_000)) === 0)
})

test('a probe into a window that is shut takes no byte; one into a window that has opened takes it, once', () => {
  const { peer, server, c } = established({ receiveLimitBytes: 2000 })
  server.reading = false
  peer.send('A', { seq: 1, ack: 1, payload: patternBytes(1000) })
  peer.send('A', { seq: 1001, ack: 1, payload: patternBytes(1000, 1000) })
  peer.take()
  peer.send('A', { seq: 2001, ack: 1, payload: patternBytes(1, 2000) })
  assert.equal(peer.take(), ['A 1 2001'], 'answered, not taken')
  server.take(c)
  peer.host.flush(peer.nowUs)
  peer.take() // the update, which is lost
  peer.send('A', { seq: 2001, ack: 1, payload: patternBytes(1, 2000) })
  assert.is(c.rcvNxt - c.irs, 2002)
  peer.send('A', { seq: 2001, ack: 1, payload: patternBytes(100, 2000) })
  server.take(c)
  assert.ok(Buffer.compare(server.bytes, patternBytes(2100)) === 0)
})

test.run()
