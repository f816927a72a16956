/** SYN cookies: what they remember, when they are believed, and that a SYN costs nothing (RFC 4987 3.6). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { TcpOptions } from '../../../stack/host-options.ts'
import { SeededRandom } from '../../../stack/random.ts'
import type { Endpoints } from '../../../stack/tcp/demux.ts'
import { type CookieOptions, cookieTime, readCookieTime, SynCookies } from '../../../stack/tcp/syn-cookies.ts'
import { patternBytes, RawPeer, type RawSegment } from '../../support/raw-peer.ts'
import { StreamApplication } from '../../support/stream-application.ts'

const MINUTE_US = 60_000_000
const ALL_OPTIONS = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7]

function randomEndpoints(random: SeededRandom): Endpoints {
  const word = (): number => random.next() | 0
  return {
    localPort: random.below(65536),
    remotePort: random.below(65536),
    localAddress0: word(),
    localAddress1: word(),
    localAddress2: word(),
    localAddress3: word(),
    remoteAddress0: word(),
    remoteAddress1: word(),
    remoteAddress2: word(),
    remoteAddress3: word(),
  }
}

test('a cookie remembers the segment size for one to two minutes, and for its own sockets only', () => {
  const seed = Number(process.env.SEED ?? 5)
  const random = new SeededRandom(seed)
  const cookies = new SynCookies(new Uint8Array(32).fill(7))
  for (let run = 0; run < 2000; run++) {
    const e = randomEndpoints(random)
    const irs = random.next() | 0
    const mss = 48 + random.below(9000)
    const now = random.below(1e9) * 1000
    const cookie = cookies.make(e, irs, mss, now)
    const remembered = cookies.check(e, irs, cookie, now)
    const text = `seed ${seed}, run ${run}`
    assert.ok(remembered === 536 || (remembered > 536 && remembered <= mss), text)
    assert.is(cookies.check(e, irs, cookie, now + MINUTE_US), remembered, text)
    assert.is(cookies.check(e, irs, cookie, now + 2 * MINUTE_US), 0, `${text}: too old`)
    assert.is(cookies.check(e, irs + 1, cookie, now), 0, text)
    assert.is(cookies.check({ ...e, remotePort: e.remotePort ^ 1 }, irs, cookie, now), 0, text)
    assert.is(cookies.check({ ...e, remoteAddress3: e.remoteAddress3 ^ 1 }, irs, cookie, now), 0, text)
    assert.is(new SynCookies(new Uint8Array(32)).check(e, irs, cookie, now), 0, `${text}: another secret`)
  }
  assert.is(cookies.check(randomEndpoints(random), 0, 0, 0), 0)
})

test('usual sizes are remembered exactly', () => {
  const cookies = new SynCookies(new Uint8Array(32))
  const e = randomEndpoints(new SeededRandom(1))
  for (const mss of [536, 1220, 1440, 1460, 8940]) assert.is(cookies.check(e, 9, cookies.make(e, 9, mss, 0), 0), mss)
  assert.is(cookies.check(e, 9, cookies.make(e, 9, 1459, 0), 0), 1452)
})

test('a time with options is never ahead of the clock, and at most 64 ms behind', () => {
  const options: CookieOptions = { windowScale: 0, sack: false, ecn: false }
  for (const now of [0, 5, 63, 64, 1000, -1, -64, 0x7fffffff, -0x80000000])
    for (const scale of [-1, 0, 7, 14])
      for (const bits of [0, 1, 2, 3]) {
        const time = cookieTime(now, scale, (bits & 1) !== 0, (bits & 2) !== 0)
        const behind = (now - time) | 0
        assert.ok(behind >= 0 && behind < 64, `${now} ${scale} ${bits}: ${behind}`)
        readCookieTime(options, time)
        assert.equal(options, { windowScale: scale, sack: (bits & 1) !== 0, ecn: (bits & 2) !== 0 })
      }
})

interface Lab {
  peer: RawPeer
  server: StreamApplication
}

/** The backlog of one is taken. */
function full(tcp: TcpOptions = {}): Lab {
  const peer = new RawPeer({ tcp })
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, { backlog: 1 })
  peer.send('S', { seq: 0, sourcePort: 9 })
  peer.take()
  return { peer, server }
}

/** Sends a SYN that is answered with a cookie; the segment that finishes the handshake. */
function handshake(peer: RawPeer, syn: RawSegment = {}, flags = 'S'): RawSegment {
  peer.send(flags, { seq: 0, ...syn })
  const [answer] = peer.sent.splice(0)
  assert.ok(answer?.flags.startsWith('SA'), 'answered')
  const ack: RawSegment = { seq: 1, ack: answer!.seq + 1 }
  if (answer!.timestamps !== undefined) ack.timestamps = [10, answer!.timestamps[0]]
  return ack
}

test('a SYN on a full backlog is answered, and takes no slot, no buffer, no timer', () => {
  const { peer } = full()
  const { connectionCount } = peer.host.tcp
  const { armedTimers } = peer.host
  const { freeBuffers, freeMetas } = peer.pool
  for (let sourcePort = 1000; sourcePort < 3000; sourcePort++) peer.send('S', { seq: 0, sourcePort })
  assert.is(peer.sent.length, 2000)
  assert.is(peer.host.counters.tcp.cookiesSent, 2000)
  assert.is(peer.host.tcp.connectionCount, connectionCount)
  assert.is(peer.host.armedTimers, armedTimers)
  assert.is(peer.pool.freeBuffers, freeBuffers)
  assert.is(peer.pool.freeMetas, freeMetas)
})

test('the ACK that brings it back opens, with every option that was agreed on', () => {
  const { peer, server } = full()
  const ack = handshake(peer, { options: ALL_OPTIONS }, 'SEW')
  assert.equal(server.events, [])
  peer.send('A', { ...ack, window: 100 })
  assert.equal(server.events, ['accept'])
  const c = server.connection!
  assert.equal([c.sackOn, c.timestampsOn, c.ecnOn, c.sendScale, c.sndWnd, c.peerMss], [1, 1, 1, 7, 100 << 7, 1460])
  peer.send('PA', { ...ack, timestamps: [11, 0], payload: patternBytes(100) })
  assert.is(server.receivedBytes, 100)
  assert.is(peer.host.counters.tcp.cookiesAccepted, 1)
})

test('the SYN-ACK says what one without cookie says', () => {
  const answers = [full().peer, new RawPeer()].map((peer) => {
    if (peer.host.tcp.connectionCount === 0) peer.host.tcp.listen(80, new StreamApplication(peer.pool))
    peer.send('SEW', { seq: 0, options: ALL_OPTIONS })
    const { flags, window, options, ack } = peer.sent[0]!
    return { flags, window, ack, options: options.map((byte, index) => (index >= 8 && index < 12 ? 0 : byte)) }
  })
  assert.equal(answers[0], answers[1])
})

test('half of the question for ECN is none, and leaves nothing behind for the next SYN', () => {
  const { peer } = full({ ecn: 5 })
  for (const flags of ['SW', 'SE', 'S']) {
    peer.send(flags, { seq: 0, options: ALL_OPTIONS })
    const [answer] = peer.sent.splice(0)
    assert.is(answer!.flags, 'SA', flags)
    assert.is(answer!.options.length, ALL_OPTIONS.length, flags)
  }
})

test('without timestamps there is nothing that could remember more than the segment size', () => {
  const { peer, server } = full()
  peer.send('SEW', { seq: 0, options: [2, 4, 5, 180, 1, 3, 3, 7, 1, 1, 4, 2] })
  assert.is(peer.sent[0]!.flags, 'SA')
  assert.equal(peer.sent[0]!.options, [2, 4, 5, 180])
  peer.send('A', { seq: 1, ack: peer.sent[0]!.seq + 1 })
  const c = server.connection!
  assert.equal([c.sackOn, c.timestampsOn, c.ecnOn, c.sendScale, c.peerMss], [0, 0, 0, 0, 1460])
})

test('when the ACK is lost the data opens as well, and is delivered', () => {
  const { peer, server } = full()
  const ack = handshake(peer)
  peer.send('PA', { ...ack, payload: patternBytes(50) })
  assert.equal(server.events, ['accept', 'receive'])
  assert.equal([...server.bytes], [...patternBytes(50)])
})

test('guesses are reset, and where no cookie was sent nothing is a guess', () => {
  const { peer, server } = full()
  peer.send('A', { seq: 1, ack: 77 })
  assert.is(peer.host.counters.tcp.cookiesRefused, 0)
  peer.take()
  const ack = handshake(peer)
  peer.sent.length = 0
  const random = new SeededRandom(4)
  for (let guess = 0; guess < 2000; guess++) peer.send('A', { seq: 1, ack: random.next() | 0 })
  assert.is(peer.host.counters.tcp.cookiesRefused, 2000)
  assert.ok(peer.sent.every((s) => s.flags === 'R'))
  assert.equal(server.events, [])
  peer.advanceMs(121_000)
  peer.send('A', ack)
  assert.equal(server.events, [], 'too late')
  assert.is(peer.host.counters.tcp.cookiesRefused, 2000, 'none was sent for two minutes')
})

test('a RST or a FIN with a right cookie: no connection, and one that ends', () => {
  const { peer, server } = full()
  const ack = handshake(peer)
  peer.send('R', ack)
  assert.equal(server.events, [])
  peer.send('FA', ack)
  assert.equal(server.events, ['accept', 'receive'])
  assert.ok(server.finished)
})

test('0: SYNs are dropped; 2: every SYN gets a cookie', () => {
  const never = full({ synCookies: 0 })
  never.peer.send('S', { seq: 0 })
  assert.equal(never.peer.take(), [])
  assert.is(never.peer.host.counters.tcp.dropBacklog, 1)
  const always = new RawPeer({ tcp: { synCookies: 2 } })
  const server = new StreamApplication(always.pool)
  always.host.tcp.listen(80, server)
  const ack = handshake(always)
  assert.is(always.host.tcp.connectionCount, 0)
  always.send('A', ack)
  assert.equal(server.events, ['accept'])
})

test('a listener with all its connections taken drops the ACK; when there is room again, the data that follows opens', () => {
  const peer = new RawPeer({ tcp: { synCookies: 2 } })
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, { connectionsMax: 1 })
  const first = handshake(peer, { sourcePort: 1 })
  const second = handshake(peer, { sourcePort: 2 })
  peer.send('A', { ...first, sourcePort: 1 })
  peer.send('A', { ...second, sourcePort: 2 })
  assert.equal(peer.take(), [], 'no reset')
  assert.is(peer.host.counters.tcp.dropConnectionsMax, 1)
  server.connection!.abort()
  peer.send('PA', { ...second, sourcePort: 2, payload: patternBytes(5) })
  assert.is(server.receivedBytes, 5)
})

test.run()
