/** TCP Fast Open, the server's side (RFC 7413): cookies, data in the SYN, the limit, and how such connections end. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Ends } from '../../../stack/address.ts'
import type { TcpOptions } from '../../../stack/host-options.ts'
import { FAST_OPEN_PENDING_MAX } from '../../../stack/limits.ts'
import { CLOSE_ORDERLY, CLOSE_RESET, CLOSE_TIMEOUT } from '../../../stack/tcp/application.ts'
import { FastOpenCookies } from '../../../stack/tcp/fast-open.ts'
import { OPTION_SYN_DATA, TcpInfo, tcpInfo } from '../../../stack/tcp/info.ts'
import { setKnob } from '../../../stack/tcp/knobs.ts'
import { patternBytes, RawPeer, type RawPeerOptions } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'

const REQUEST = [34, 2, 1, 1]
/** Between 192.0.2.1 and 192.168.0.1, as the scripts among Linux's self-tests expect them. */
const LINUX_COOKIES = [
  ['a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4', '3021b9d889017eeb'],
  ['00000000-00000000-00000000-00000000', 'b7c12350a90dc8f5'],
] as const
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
  assert.equal([...options.slice(-12, -10), ...options.slice(-2)], [34, 10, 1, 1], 'a cookie of 8 bytes')
  return options.slice(-12)
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
    peer.poll()
    assert.equal(peer.take(), ['PA 1 101 50'], 'the reply does not wait (RFC 7413 4.2.2)')
    peer.send('S', { seq: 0, options: cookie, payload: patternBytes(100) })
    assert.equal(peer.take(), ['SA 0 101'], 'the SYN again')
    peer.advanceMs(1000)
    assert.equal(peer.take(), ['SA 0 101'], 'and nothing but the SYN-ACK is repeated')
    assert.is(listener.fastOpenPending, 1)
    peer.send('A', { seq: 101, ack: 1 })
    assert.equal(peer.take(), [])
    assert.is(listener.fastOpenPending, 0)
    peer.advanceMs(4000)
    assert.is(peer.take()[0], 'PA 1 101 50', 'now the reply is, too')
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
    assert.equal(peer.sent[0]!.options.slice(-12), cookie)
    assert.equal(peer.take(), ['SA 0 1'])
  }
  assert.equal(server.events, [])
})

test('a FIN leaves before the handshake is over, and one ACK answers SYN, data and FIN', () => {
  const { peer, server, listener } = listening()
  const cookie = askCookie(peer)
  server.connected = (c) => {
    c.send(chainOf(peer.pool, patternBytes(20)))
    c.shutdown()
  }
  peer.send('S', { seq: 0, options: cookie, payload: patternBytes(10) })
  assert.equal(peer.take(), ['SA 0 11', 'FPA 1 11 20'])
  peer.send('FA', { seq: 11, ack: 22 })
  assert.equal(peer.take(), ['A 22 12'])
  assert.is(server.closeReason, CLOSE_ORDERLY)
  assert.equal([listener.fastOpenPending, listener.accepted], [0, 0])
})

test('the window of the SYN and the initial window bound what leaves before the ACK', () => {
  for (const [window, bytes] of [
    [3000, 3000],
    [65_535, 10 * 1000],
  ] as const) {
    const { peer, server } = listening()
    const cookie = askCookie(peer)
    server.connected = (c) => c.send(chainOf(peer.pool, patternBytes(20_000)))
    peer.send('S', { seq: 0, window, options: [2, 4, 1000 >> 8, 1000 & 255, ...cookie], payload: patternBytes(10) })
    const sent = peer.sent.reduce((total, segment) => total + segment.length, 0)
    assert.is(sent, bytes)
  }
})

test('an ACK of the SYN alone is no duplicate of anything', () => {
  const { peer, server } = listening()
  const cookie = askCookie(peer)
  server.connected = (c) => c.send(chainOf(peer.pool, patternBytes(500)))
  peer.send('S', { seq: 0, options: cookie, payload: patternBytes(10) })
  peer.send('A', { seq: 11, ack: 1 })
  assert.is(server.connection!.duplicateAcks, 0)
  assert.is(tcpInfo(server.connection!, new TcpInfo()).options & OPTION_SYN_DATA, OPTION_SYN_DATA)
})

test('the option that came before RFC 7413 is answered by itself, with the same cookie', () => {
  const { peer, server } = listening()
  const cookie = askCookie(peer)
  peer.send('S', { seq: 0, options: [254, 4, 0xf9, 0x89] })
  const experimental = [254, 12, 0xf9, 0x89, ...cookie.slice(2, 10)]
  assert.equal(peer.sent[0]!.options.slice(-12), experimental)
  peer.peerPort++
  peer.send('S', { seq: 0, options: [254, 4, 0xf9, 0x88] })
  assert.equal(peer.sent.at(-1)!.options, [2, 4, 5, 180], 'another experiment')
  peer.peerPort++
  peer.send('S', { seq: 0, options: experimental, payload: patternBytes(10) })
  assert.is(server.receivedBytes, 10)
})

test('without cookies data is enough, and without data nothing is', () => {
  const { peer, server } = listening({ tcp: { fastOpenWithoutCookie: true } })
  peer.send('S', { seq: 0 })
  assert.equal(server.events, [])
  peer.peerPort++
  peer.send('S', { seq: 0, payload: patternBytes(10) })
  assert.equal(server.events, ['accept', 'receive'])
})

test('a listener of its own mind', () => {
  const { peer, listener } = listening({ tcp: { fastOpen: false } })
  assert.is(listener.fastOpenMax, 0)
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(81, server, { fastOpenMax: 1 })
  peer.send('S', { seq: 0, destinationPort: 81, options: REQUEST })
  assert.is(peer.sent[0]!.options.at(-12), 34)
})

test('a key makes the cookies that Linux makes with it', () => {
  const { low, high } = { low: 0xc0000201, high: 0xc0a80001 }
  for (const [key, cookie] of LINUX_COOKIES) {
    const options: TcpOptions = {}
    assert.is(setKnob(options, 'tcp_fastopen_key', key), 'set')
    const cookies = new FastOpenCookies(new Uint8Array(16), options.fastOpenKey)
    const ports = { localPort: 0, remotePort: 0 }
    const ends = Object.assign(new Ends(), ports, { remoteAddress2: 0xffff, remoteAddress3: low | 0 })
    cookies.compute(Object.assign(ends, { localAddress2: 0xffff, localAddress3: high | 0 }))
    assert.is(Buffer.from(cookies.cookie).toString('hex'), cookie)
  }
  const options: TcpOptions = {}
  for (const key of ['', '0', '00000000-00000000-00000000', '00000000-00000000-00000000-0000000g'])
    assert.is(setKnob(options, 'tcp_fastopen_key', key), 'refused', key)
  assert.equal(options, {})
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
