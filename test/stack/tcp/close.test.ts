/** How connections end, segment by segment: both orders of closing, TIME-WAIT, half close, data that waits (RFC 9293 3.6). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CLOSE_ORDERLY, CLOSE_TIMEOUT } from '../../../stack/tcp/application.ts'
import { patternBytes, RawPeer, type RawSegment } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'

function established(syn: RawSegment = {}): { peer: RawPeer; server: StreamApplication } {
  const peer = new RawPeer({ hostIss: -5, peerIss: -7 })
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server)
  peer.establish(syn)
  return { peer, server }
}

function assertEmpty(peer: RawPeer): void {
  assert.is(peer.host.tcp.connectionCount, 0)
  assert.is(peer.pool.freeBuffers, peer.pool.totalBuffers)
  assert.is(peer.pool.freeMetas, peer.pool.totalMetas)
}

test('the peer closes first: FIN is acknowledged and answered by FIN, no TIME-WAIT', () => {
  const { peer, server } = established()
  peer.send('FA', { seq: 1, ack: 1 })
  assert.equal(peer.take(), ['FA 1 2'], 'the ACK rides on our FIN')
  assert.is(server.closeReason, -1)
  peer.send('A', { seq: 2, ack: 2 })
  assert.is(server.closeReason, CLOSE_ORDERLY)
  assert.is(peer.host.tcp.timeWaitCount, 0)
  assertEmpty(peer)
})

test('we close first: FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT for a minute', () => {
  const { peer, server } = established()
  server.connection!.shutdown()
  peer.poll()
  assert.equal(peer.take(), ['FA 1 1'])
  peer.send('A', { seq: 1, ack: 2 })
  peer.send('FA', { seq: 1, ack: 2 })
  assert.equal(peer.take(), ['A 2 2'])
  assert.is(server.closeReason, CLOSE_ORDERLY)
  assertEmpty(peer)
  assert.is(peer.host.tcp.timeWaitCount, 1)
  peer.advanceMs(30_000)
  peer.send('FA', { seq: 1, ack: 2 })
  assert.equal(peer.take(), ['A 2 2'], 'the FIN again: its ACK was lost')
  peer.advanceMs(59_000)
  assert.is(peer.host.tcp.timeWaitCount, 1, 'which starts the wait anew')
  peer.advanceMs(1000)
  assert.is(peer.host.tcp.timeWaitCount, 0)
})

test('both close at once: CLOSING, TIME-WAIT', () => {
  const { peer, server } = established()
  server.connection!.shutdown()
  peer.poll()
  peer.take()
  peer.send('FA', { seq: 1, ack: 1 })
  assert.equal(peer.take(), ['A 2 2'])
  assert.is(server.closeReason, -1)
  peer.send('A', { seq: 2, ack: 2 })
  assert.is(server.closeReason, CLOSE_ORDERLY)
  assert.is(peer.host.tcp.timeWaitCount, 1)
  assertEmpty(peer)
})

test('FIN, data and the ACK of our FIN in one segment end in TIME-WAIT with all data delivered', () => {
  const { peer, server } = established()
  server.connection!.shutdown()
  peer.poll()
  peer.take()
  peer.send('FPA', { seq: 1, ack: 2, payload: patternBytes(20) })
  assert.equal(peer.take(), ['A 2 22'])
  assert.is(server.receivedBytes, 20)
  assert.equal(server.events, ['accept', 'receive', 'close 0'])
  assertEmpty(peer)
})

test('half close: we send on after the peer has finished', () => {
  const { peer, server } = established()
  server.closesAfterPeer = false
  peer.send('FPA', { seq: 1, ack: 1, payload: patternBytes(5) })
  assert.equal(peer.take(), ['A 1 7'])
  assert.ok(server.finished)
  const c = server.connection!
  c.send(chainOf(peer.pool, patternBytes(30)))
  c.shutdown()
  peer.poll()
  assert.equal(peer.take(), ['FPA 1 7 30'])
  peer.send('A', { seq: 7, ack: 32 })
  assert.is(server.closeReason, CLOSE_ORDERLY)
  assertEmpty(peer)
})

test('a FIN that overtakes data waits for it', () => {
  const { peer, server } = established()
  peer.send('FA', { seq: 11, ack: 1 })
  assert.equal(peer.take(), ['A 1 1'])
  assert.not(server.finished)
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(10) })
  assert.ok(server.finished)
  assert.is(server.receivedBytes, 10)
  assert.equal(peer.take(), ['FA 1 12'])
})

test('a connection whose data was not taken lingers, and closes when it is', () => {
  const { peer, server } = established()
  server.reading = false
  const c = server.connection!
  c.shutdown()
  peer.poll()
  peer.send('FPA', { seq: 1, ack: 2, payload: patternBytes(20) })
  assert.is(server.closeReason, -1)
  assert.is(peer.host.tcp.timeWaitCount, 1, 'for the peer it is over')
  peer.advanceMs(100_000)
  assert.is(server.closeReason, -1)
  server.take(c)
  peer.poll()
  assert.is(server.closeReason, CLOSE_ORDERLY)
  assert.is(server.receivedBytes, 20)
  assertEmpty(peer)
})

test('our FIN is repeated, and given up', () => {
  const { peer, server } = established()
  peer.send('FA', { seq: 1, ack: 1 })
  peer.take()
  peer.advanceMs(700)
  assert.equal(peer.take(), ['FA 1 2', 'FA 1 2'])
  peer.advanceMs(300_000)
  assert.is(server.closeReason, CLOSE_TIMEOUT)
  assertEmpty(peer)
})

test('in FIN-WAIT-2 a silent peer is probed; one that answers may take its time', () => {
  const { peer, server } = established()
  server.connection!.shutdown()
  peer.poll()
  peer.send('A', { seq: 1, ack: 2 })
  peer.take()
  peer.advanceMs(60_000)
  assert.equal(peer.take(), ['A 1 1'])
  peer.send('A', { seq: 1, ack: 2 })
  peer.advanceMs(10 * 60_000 + 300_000)
  assert.is(server.closeReason, CLOSE_TIMEOUT)
  assertEmpty(peer)
})

/** A TIME-WAIT row of ours; the peer's next number is 2. */
function timeWaiting(syn: RawSegment = {}): RawPeer {
  const { peer, server } = established(syn)
  server.connection!.shutdown()
  peer.poll()
  const echo: RawSegment = syn.timestamps === undefined ? {} : { timestamps: syn.timestamps }
  peer.send('A', { seq: 1, ack: 2, ...echo })
  peer.send('FA', { seq: 1, ack: 2, ...echo })
  assert.is(peer.host.tcp.timeWaitCount, 1)
  peer.take()
  return peer
}

test('TIME-WAIT ignores RST (RFC 1337) and answers old segments', () => {
  const peer = timeWaiting()
  peer.send('R', { seq: 2 })
  peer.send('RA', { seq: 2, ack: 2 })
  assert.is(peer.host.tcp.timeWaitCount, 1)
  assert.equal(peer.take(), [])
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(3) })
  assert.equal(peer.take(), ['A 2 2'])
})

test('a new SYN reuses TIME-WAIT with a higher number, not with a lower one (RFC 6191)', () => {
  const peer = timeWaiting()
  peer.send('S', { seq: 1 })
  assert.equal(peer.take(), ['A 2 2'])
  assert.is(peer.host.tcp.timeWaitCount, 1)
  peer.send('S', { seq: 1000 })
  assert.equal(peer.take(), ['SA 0 1001'])
  assert.is(peer.host.tcp.timeWaitCount, 0)
})

test('with timestamps, the newer timestamp decides, whatever the number (RFC 6191)', () => {
  const peer = timeWaiting({ timestamps: [100, 0] })
  peer.send('S', { seq: 5000, timestamps: [99, 0] })
  assert.equal(peer.take(), ['A 2 2'])
  peer.send('S', { seq: -5000, timestamps: [101, 0] })
  assert.equal(peer.take(), ['SA 0 -4999'])
})

test('when all TIME-WAIT rows are taken the oldest goes', () => {
  const peer = new RawPeer({ tcp: { timeWaitsMax: 4 } })
  const server = new StreamApplication(peer.pool)
  server.connected = (c) => c.shutdown()
  peer.host.tcp.listen(80, server)
  for (let port = 1; port <= 10; port++) {
    peer.send('S', { seq: 0, sourcePort: port })
    peer.send('A', { seq: 1, ack: 1, sourcePort: port })
    peer.send('FA', { seq: 1, ack: 2, sourcePort: port })
  }
  assert.is(peer.host.tcp.timeWaitCount, 4)
  peer.take()
  peer.send('A', { seq: 1, ack: 2, sourcePort: 1 })
  assert.equal(peer.take(), ['R 2 0'], 'forgotten')
  peer.advanceMs(60_000)
  assert.is(peer.host.tcp.timeWaitCount, 0)
  assert.is(peer.host.armedTimers, 0)
})

test('closing the host resets everything and gives all buffers back', () => {
  const { peer, server } = established()
  server.reading = false
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(100) })
  peer.send('PA', { seq: 1001, ack: 1, payload: patternBytes(100) })
  server.connection!.send(chainOf(peer.pool, patternBytes(5000)))
  peer.poll()
  peer.take()
  peer.host.close(peer.nowUs)
  assert.ok(peer.take()[0]!.startsWith('RA'))
  assertEmpty(peer)
  assert.is(peer.host.armedTimers, 0)
})

test.run()
