/** Opening, refusing and resetting connections, segment by segment (RFC 9293 3.5 and 3.10.7, RFC 5961). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CLOSE_ABORTED, CLOSE_REFUSED, CLOSE_RESET, CLOSE_TIMEOUT } from '../../../stack/tcp/application.ts'
import { patternBytes, RawPeer, type RawPeerOptions } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'

/** Every table runs with ordinary numbers, and with numbers that wrap inside the test. */
function everyNumber(name: string, body: (options: RawPeerOptions) => void): void {
  test(name, () => body({}))
  test(`${name} (numbers near 2^32)`, () => body({ hostIss: -2, peerIss: -3 }))
  test(`${name} (numbers near 2^31)`, () => body({ hostIss: 0x7ffffffe, peerIss: 0x7ffffffd }))
}

function listening(options: RawPeerOptions, port = 80): { peer: RawPeer; server: StreamApplication } {
  const peer = new RawPeer(options)
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(port, server)
  return { peer, server }
}

function assertEmpty(peer: RawPeer): void {
  assert.is(peer.host.tcp.connectionCount, 0)
  assert.is(peer.pool.freeBuffers, peer.pool.totalBuffers)
  assert.is(peer.pool.freeMetas, peer.pool.totalMetas)
}

everyNumber('passive open: SYN, SYN-ACK, ACK, data', (options) => {
  const { peer, server } = listening(options)
  peer.send('S', { seq: 0 })
  assert.equal(peer.take(), ['SA 0 1'])
  assert.equal(server.events, [], 'the application does not know yet')
  peer.send('A', { seq: 1, ack: 1 })
  assert.equal(peer.take(), [])
  assert.equal(server.events, ['accept'])
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(10) })
  assert.equal(peer.take(), ['A 1 11'])
  assert.equal([...server.bytes], [...patternBytes(10)])
})

everyNumber('the ACK of the handshake may be lost: the first data opens as well', (options) => {
  const { peer, server } = listening(options)
  peer.send('S', { seq: 0 })
  peer.take()
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(10) })
  assert.equal(peer.take(), ['A 1 11'])
  assert.equal(server.events, ['accept', 'receive'])
})

everyNumber('SYN-ACK is repeated for a repeated SYN, and by the timer: 1, 2, 4, 8, 16 s', (options) => {
  const { peer } = listening(options)
  peer.send('S', { seq: 0 })
  peer.send('S', { seq: 0 })
  assert.equal(peer.take(), ['SA 0 1', 'SA 0 1'])
  const start = peer.nowUs
  peer.advanceMs(70_000)
  assert.equal(
    peer.sent.map((s) => (s.atUs - start) / 1000),
    [1000, 3000, 7000, 15_000, 31_000],
  )
  assert.ok(peer.take().every((text) => text === 'SA 0 1'))
  assertEmpty(peer)
})

test('the SYN-ACK offers what the SYN offered, in the order that Linux uses', () => {
  const offers: [string, number[], number[]][] = [
    ['nothing', [], [2, 4, 5, 180]],
    ['window scale', [1, 3, 3, 7], [2, 4, 5, 180, 1, 3, 3, 7]],
    ['SACK', [1, 1, 4, 2], [2, 4, 5, 180, 1, 1, 4, 2]],
    [
      'all',
      [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7],
      [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 39, 16, 0, 0, 0, 9, 1, 3, 3, 7],
    ],
  ]
  for (const [name, offered, answered] of offers) {
    const { peer } = listening({})
    peer.send('S', { seq: 0, options: offered })
    assert.equal(peer.sent[0]!.options, answered, name)
  }
})

test('SYN to a port without listener: RST that acknowledges it', () => {
  const peer = new RawPeer()
  peer.send('S', { seq: 5 })
  assert.is(peer.sent[0]!.seq, -peer.hostIss, 'sequence number 0')
  assert.is(peer.sent[0]!.ack, 6)
  assert.is(peer.sent[0]!.flags, 'RA')
})

test('a segment with ACK out of nowhere: RST with the number from its ACK field', () => {
  const { peer } = listening({})
  for (const flags of ['A', 'PA', 'SA', 'FA']) {
    peer.send(flags, { seq: 7, ack: 77 })
    assert.equal(peer.take(), ['R 77 0'], flags)
  }
  peer.send('R', { seq: 7 })
  peer.send('RA', { seq: 7, ack: 3 })
  assert.equal(peer.take(), [], 'never an answer to RST')
})

everyNumber('a wrong ACK in SYN-RECEIVED is reset, and the handshake goes on', (options) => {
  const { peer, server } = listening(options)
  peer.send('S', { seq: 0 })
  peer.take()
  peer.send('A', { seq: 1, ack: 2 })
  assert.equal(peer.take(), ['R 2 0'])
  peer.send('A', { seq: 1, ack: 1 })
  assert.equal(server.events, ['accept'])
})

test('RST in SYN-RECEIVED gives the slot back without a word to the application', () => {
  const { peer, server } = listening({})
  peer.send('S', { seq: 0 })
  peer.send('R', { seq: 1 })
  assert.equal(server.events, [])
  assertEmpty(peer)
})

test('without cookies a full backlog drops SYNs silently; a finished handshake makes room', () => {
  const peer = new RawPeer({ tcp: { synCookies: 0 } })
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, { backlog: 2 })
  for (const sourcePort of [1, 2, 3]) peer.send('S', { seq: 0, sourcePort })
  assert.equal(peer.take(), ['SA 0 1', 'SA 0 1'])
  assert.is(peer.host.counters.tcp.dropBacklog, 1)
  peer.send('A', { seq: 1, ack: 1, sourcePort: 1 })
  peer.send('S', { seq: 0, sourcePort: 3 })
  assert.equal(peer.take(), ['SA 0 1'])
})

test('a listener with all its connections taken drops SYNs silently', () => {
  const peer = new RawPeer()
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, { connectionsMax: 1 })
  peer.establish()
  peer.send('S', { seq: 0, sourcePort: 9 })
  assert.equal(peer.take(), [])
  assert.is(peer.host.counters.tcp.dropConnectionsMax, 1)
})

test('while the application takes no connections, SYNs and last ACKs are dropped, never reset, and come again', () => {
  const peer = new RawPeer()
  const server = new StreamApplication(peer.pool)
  const listener = peer.host.tcp.listen(80, server)
  peer.send('S', { seq: 0 })
  assert.equal(peer.take(), ['SA 0 1'])
  listener.accepting = false
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(100) })
  peer.send('S', { seq: 0, sourcePort: 9 })
  assert.equal(peer.take(), [])
  assert.is(peer.host.counters.tcp.dropNotAccepting, 2)
  peer.advanceMs(1000)
  assert.equal(peer.take(), ['SA 0 1'], 'as if the ACK had been lost')
  peer.send('A', { seq: 1, ack: 1 })
  assert.equal(server.events, [])
  listener.accepting = true
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(100) })
  assert.equal(server.events, ['accept', 'receive'])
  assert.is(server.receivedBytes, 100)
})

test('nor are connections made of cookies', () => {
  const peer = new RawPeer({ tcp: { synCookies: 2 } })
  const server = new StreamApplication(peer.pool)
  const listener = peer.host.tcp.listen(80, server)
  peer.send('S', { seq: 0 })
  const cookie = peer.sent[0]!.seq
  peer.take()
  listener.accepting = false
  peer.send('A', { seq: 1, ack: cookie + 1 })
  assert.equal([peer.take(), server.events, peer.host.tcp.connectionCount], [[], [], 0])
  listener.accepting = true
  peer.send('A', { seq: 1, ack: cookie + 1 })
  assert.equal(server.events, ['accept'])
})

/** An active open; the SYN has been sent. */
function connecting(options: RawPeerOptions): { peer: RawPeer; client: StreamApplication } {
  const peer = new RawPeer(options)
  const client = new StreamApplication(peer.pool)
  const c = peer.host.tcp.connect('10.0.0.1', 4000, client)
  peer.hostPort = c.localPort
  peer.poll()
  assert.equal(peer.take(), ['S 0 0'])
  return { peer, client }
}

everyNumber('active open', (options) => {
  const { peer, client } = connecting(options)
  peer.send('SA', { seq: 0, ack: 1 })
  assert.equal(peer.take(), ['A 1 1'])
  assert.equal(client.events, ['accept'])
})

everyNumber('simultaneous open (RFC 9293 figure 7)', (options) => {
  const { peer, client } = connecting(options)
  peer.send('S', { seq: 0 })
  assert.equal(peer.take(), ['SA 0 1'])
  peer.send('SA', { seq: 0, ack: 1 })
  assert.equal(client.events, ['accept'])
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(5) })
  assert.is(client.receivedBytes, 5)
})

test('simultaneous open: the window of a SYN-ACK is not scaled (RFC 7323 2.2)', () => {
  const { peer, client } = connecting({})
  const options = [2, 4, 5, 180, 1, 3, 3, 7]
  peer.send('S', { seq: 0, options, window: 1024 })
  peer.send('SA', { seq: 0, ack: 1, options, window: 1024 })
  const c = client.connection!
  assert.equal([c.sendScale, c.sndWnd, c.sndWndMax], [7, 1024, 1024])
  peer.send('A', { seq: 1, ack: 1, window: 100 })
  assert.is(c.sndWnd, 12_800)
})

test('an unanswered SYN is repeated after 1, 3, 7, 15, 31, 63 s and given up after 127 s', () => {
  const { peer, client } = connecting({})
  const start = peer.nowUs
  peer.advanceMs(126_999)
  assert.equal(
    peer.sent.map((s) => (s.atUs - start) / 1000),
    [1000, 3000, 7000, 15_000, 31_000, 63_000],
  )
  assert.is(client.closeReason, -1)
  peer.advanceMs(1)
  assert.is(client.closeReason, CLOSE_TIMEOUT)
  assertEmpty(peer)
})

test('in SYN-SENT only an exact ACK counts, for RST as well (RFC 9293 3.10.7.3)', () => {
  const { peer, client } = connecting({})
  peer.send('SA', { seq: 0, ack: 2 })
  assert.equal(peer.take(), ['R 2 0'])
  peer.send('RA', { seq: 0, ack: 2 })
  peer.send('R', { seq: 0 })
  assert.is(client.closeReason, -1, 'still trying')
  peer.send('RA', { seq: 0, ack: 1 })
  assert.is(client.closeReason, CLOSE_REFUSED)
  assertEmpty(peer)
})

everyNumber(
  'RST counts only with the exact next number; others in the window are asked back (RFC 5961 3.2)',
  (options) => {
    const { peer, server } = listening(options)
    peer.establish()
    peer.send('R', { seq: 2 })
    assert.equal(peer.take(), ['A 1 1'], 'in the window: challenge')
    peer.send('R', { seq: 0 })
    peer.send('R', { seq: 100_000_000 })
    assert.equal(peer.take(), [], 'outside: nothing')
    assert.is(server.closeReason, -1)
    peer.send('R', { seq: 1 })
    assert.is(server.closeReason, CLOSE_RESET)
    assertEmpty(peer)
  },
)

everyNumber('SYN on an established connection is asked back (RFC 5961 4.2)', (options) => {
  const { peer, server } = listening(options)
  peer.establish()
  peer.send('S', { seq: 1 })
  assert.equal(peer.take(), ['A 1 1'])
  assert.is(server.closeReason, -1)
})

everyNumber('an ACK of what was never sent is answered, and changes nothing (RFC 5961 5.2)', (options) => {
  const { peer, server } = listening(options)
  peer.establish()
  peer.send('PA', { seq: 1, ack: 2, payload: patternBytes(3) })
  assert.equal(peer.take(), ['A 1 1'])
  assert.is(server.receivedBytes, 0)
})

test('data outside the window is answered by an ACK with the right number', () => {
  const { peer, server } = listening({})
  peer.establish()
  peer.send('PA', { seq: 1 + 70_000_000, ack: 1, payload: patternBytes(3) })
  assert.equal(peer.take(), ['A 1 1'])
  assert.is(server.receivedBytes, 0)
})

test('an old timestamp is refused (PAWS, RFC 7323 5)', () => {
  const { peer, server } = listening({})
  peer.establish({ timestamps: [1000, 0] })
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(3), timestamps: [999, 0] })
  assert.is(server.receivedBytes, 0)
  assert.is(peer.host.counters.tcp.dropPaws, 1)
  assert.equal(peer.take(), ['A 1 1'])
  peer.send('PA', { seq: 1, ack: 1, payload: patternBytes(3), timestamps: [1000, 0] })
  assert.is(server.receivedBytes, 3)
})

test('abort sends RST at the right number and frees what was queued', () => {
  const { peer, server } = listening({})
  peer.establish()
  server.connection!.send(chainOf(peer.pool, patternBytes(100)))
  peer.poll()
  peer.take()
  server.connection!.abort()
  assert.is(server.closeReason, CLOSE_ABORTED)
  peer.poll()
  assert.equal(peer.take(), ['RA 101 1'])
  assertEmpty(peer)
  server.connection!.send(chainOf(peer.pool, patternBytes(100)))
  assertEmpty(peer)
})

test('a segment with a wrong checksum is dropped and counted', () => {
  const { peer, server } = listening({})
  peer.establish()
  peer.queue('PA', { seq: 1, ack: 1, payload: patternBytes(50) })
  peer.device.queue[0]![60]! ^= 1
  peer.poll()
  assert.is(server.receivedBytes, 0)
  assert.is(peer.host.counters.tcp.dropChecksum, 1)
})

test('local ports are random, and never one that is taken (RFC 6056 3.3.1)', () => {
  const first = [1, 2, 3, 4].map((seed) => {
    const peer = new RawPeer({ seed, tcp: { connectionsMax: 600 } })
    const client = new StreamApplication(peer.pool)
    const ports = Array.from({ length: 500 }, () => peer.host.tcp.connect('10.0.0.1', 4000, client).localPort)
    assert.is(new Set(ports).size, ports.length)
    assert.ok(ports.every((port) => port >= 49_152))
    return ports[0]
  })
  assert.is(new Set(first).size, first.length)
})

test('a user time-out may be set while data is unacknowledged, and taken back (RFC 5482)', () => {
  for (const [timeoutMs, ended] of [
    [5000, CLOSE_TIMEOUT],
    [0, -1],
  ] as const) {
    const { peer, server } = listening({})
    peer.establish()
    server.connection!.send(chainOf(peer.pool, patternBytes(10)))
    peer.advanceMs(1000)
    server.connection!.setUserTimeout(1)
    server.connection!.setUserTimeout(timeoutMs)
    peer.advanceMs(12_000)
    assert.is(server.closeReason, ended)
  }
})

test.run()
