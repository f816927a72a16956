/** TCP Fast Open, the server's side (RFC 7413): cookies, data in the SYN, the limit, and how such connections end. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FAST_OPEN_PENDING_MAX } from '../../../stack/limits.ts'
import { CLOSE_RESET, CLOSE_TIMEOUT } from '../../../stack/tcp/application.ts'
import { patternBytes, RawPeer, type RawPeerOptions } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'

const REQUEST = [34, 2, 1, 1]
const NUMBERS: RawPeerOptions[] = [{}, { hostIss: -2, peerIss: -3 }]

function listening(options: RawPeerOptions = {}) {
  const peer = new RawPeer({ ...options, tcp: { fastOpen: true, ...options.tcp } })
  const server = new StreamApplication(peer.pool)
  const listener = peer.host.tcp.listen(80, server)
  return { peer, server, listener }
}

/** Asks for a cookie, as a client's first connection does; the option that brings it back. */
function askCookie(peer: RawPeer): number[] {
  peer.send('S', { seq: 0, sourcePort: 9, options: REQUEST })
  const [answer] = peer.sent.splice(0)
  peer.send('R', { seq: 1, sourcePort: 9 })
  const { options } = answer!
  assert.equal(options.slice(-12, -8), [1, 1, 34, 10], 'a cookie of 8 bytes')
  return [34, 10, ...options.slice(-8), 1, 1]
}

function assertEmpty(peer: RawPeer): void {
  assert.is(peer.host.tcp.connectionCount, 0)
  assert.is(peer.pool.freeBuffers, peer.pool.totalBuffers)
  assert.is(peer.pool.freeMetas, peer.pool.totalMetas)
}

for (const numbers of NUMBERS)
  test(`data in a SYN with a cookie is there before the handshake is over (numbers from ${numbers.hostIss ?? 100})`, () => {
    const { peer, server, listener } = listening(numbers)
    const cookie = askCookie(peer)
    peer.send('S', { seq: 0, options: cookie, payload: patternBytes(100) })
    assert.equal(server.events, ['accept', 'receive'])
    assert.equal([...server.bytes], [...patternBytes(100)])
    assert.equal(peer.take(), ['SA 0 101'])
    server.connection!.send(chainOf(peer.pool, patternBytes(50)))
    peer.send('S', { seq: 0, options: cookie, payload: patternBytes(100) })
    assert.equal(peer.take(), ['SA 0 101'], 'the SYN again')
    assert.is(listener.fastOpenPending, 1)
    peer.send('A', { seq: 101, ack: 1 })
    assert.equal(peer.take(), ['PA 1 101 50'])
    assert.is(listener.fastOpenPending, 0)
    assert.equal([listener.halfOpen, listener.accepted], [0, 1])
    peer.send('FA', { seq: 101, ack: 51 })
    peer.send('A', { seq: 102, ack: 52 })
    assert.equal(server.events, ['accept', 'receive', 'receive', 'close 0'])
    assert.equal([listener.halfOpen, listener.accepted], [0, 0])
    assertEmpty(peer)
  })

test('without a right cookie the data is not taken, and a new cookie comes', () => {
  const { peer, server } = listening()
  const cookie = askCookie(peer)
  const wrong = [...cookie]
  wrong[5]! ^= 1
  for (const options of [REQUEST, wrong, [34, 6, 1, 2, 3, 4, 1, 1]]) {
    peer.peerPort++
    peer.send('S', { seq: 0, options, payload: patternBytes(100) })
    assert.equal(peer.sent[0]!.options.slice(-8), cookie.slice(2, 10))
    assert.equal(peer.take(), ['SA 0 1'])
  }
  assert.equal(server.events, [])
})

test('switched off the option means nothing', () => {
  const { peer, server } = listening({ tcp: { fastOpen: false } })
  peer.send('S', { seq: 0, options: REQUEST, payload: patternBytes(100) })
  assert.equal(peer.sent[0]!.options, [2, 4, 5, 180])
  assert.equal(peer.take(), ['SA 0 1'])
  assert.equal(server.events, [])
})

test('beyond the limit the handshake comes first (RFC 7413 5.1)', () => {
  const { peer, server, listener } = listening({ tcp: { connectionsMax: 200 } })
  const cookie = askCookie(peer)
  for (let sourcePort = 1000; sourcePort <= 1000 + FAST_OPEN_PENDING_MAX; sourcePort++)
    peer.send('S', { seq: 0, sourcePort, options: cookie, payload: patternBytes(10) })
  assert.is(server.receivedBytes, 10 * FAST_OPEN_PENDING_MAX)
  assert.is(peer.take().at(-1), 'SA 0 1')
  assert.is(peer.host.counters.tcp.fastOpenOverflows, 1)
  peer.send('A', { seq: 11, ack: 1, sourcePort: 1000 })
  peer.send('S', { seq: 0, sourcePort: 2000, options: cookie, payload: patternBytes(10) })
  assert.is(peer.take().at(-1), 'SA 0 11', 'a finished handshake makes room')
  assert.is(listener.fastOpenPending, FAST_OPEN_PENDING_MAX)
})

test('the application hears of the end of a handshake that is never finished', () => {
  for (const [end, reason] of [
    ['reset', CLOSE_RESET],
    ['silence', CLOSE_TIMEOUT],
  ] as const) {
    const { peer, server, listener } = listening()
    const cookie = askCookie(peer)
    peer.send('S', { seq: 0, options: cookie, payload: patternBytes(10) })
    if (end === 'reset') peer.send('R', { seq: 11 })
    else peer.advanceMs(70_000)
    assert.is(server.closeReason, reason, end)
    assert.equal([listener.fastOpenPending, listener.halfOpen, listener.accepted], [0, 0, 0])
    assertEmpty(peer)
  }
})

test('an application that aborts when it is told', () => {
  const { peer, server } = listening()
  const cookie = askCookie(peer)
  server.connected = (c) => c.abort()
  peer.send('S', { seq: 0, options: cookie, payload: patternBytes(10) })
  assert.ok(peer.take()[0]!.startsWith('RA'))
  assertEmpty(peer)
})

test.run()
