/** TCP Fast Open, the client's side (RFC 7413): what goes with the SYN, what SYN-ACKs may say of it, and what is remembered. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FAST_OPEN_LOSS_PAUSE_MS, FAST_OPEN_SERVERS_MAX } from '../../../stack/limits.ts'
import { CLOSE_REFUSED } from '../../../stack/tcp/application.ts'
import type { Connection } from '../../../stack/tcp/connection.ts'
import { FastOpenCache, NO_ROW } from '../../../stack/tcp/fast-open-cache.ts'
import { OPTION_SYN_DATA, TcpInfo, tcpInfo } from '../../../stack/tcp/info.ts'
import { Segment } from '../../../stack/tcp/segment.ts'
import { patternBytes, RawPeer, type RawPeerOptions } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'

const COOKIE = [34, 6, 1, 2, 3, 4, 1, 1]
const MSS_1000 = [2, 4, 1000 >> 8, 1000 & 255]
const NUMBERS: RawPeerOptions[] = [{}, { hostIss: -2, peerIss: -3 }]

class Client {
  readonly peer: RawPeer
  application!: StreamApplication
  connection!: Connection

  constructor(options: RawPeerOptions = {}) {
    this.peer = new RawPeer(options)
  }

  /** Opens, with so many bytes queued. @returns the SYN as text */
  open(bytes: number, withoutCookie = false): string {
    const { peer } = this
    peer.sent.length = 0
    peer.peerPort++
    this.application = new StreamApplication(peer.pool)
    const options = { localPort: peer.hostPort, fastOpen: true, fastOpenWithoutCookie: withoutCookie }
    this.connection = peer.host.tcp.connect('10.0.0.1', peer.peerPort, this.application, options)
    if (bytes > 0) this.connection.send(chainOf(peer.pool, patternBytes(bytes)))
    peer.poll()
    return peer.take()[0]!
  }

  /** Learns a cookie, and ends. */
  warm(options = COOKIE): void {
    this.open(0)
    this.peer.send('SA', { seq: 0, ack: 1, options: [...MSS_1000, ...options] })
    this.peer.send('RA', { seq: 1, ack: 1 })
    this.peer.take()
  }

  get synDataTaken(): boolean {
    return (tcpInfo(this.connection, new TcpInfo()).options & OPTION_SYN_DATA) !== 0
  }
}

function optionsOfSyn(client: Client, bytes: number): number[] {
  client.peer.sent.length = 0
  const { peer } = client
  peer.peerPort++
  client.application = new StreamApplication(peer.pool)
  client.connection = peer.host.tcp.connect('10.0.0.1', peer.peerPort, client.application, {
    localPort: peer.hostPort,
    fastOpen: true,
  })
  if (bytes > 0) client.connection.send(chainOf(peer.pool, patternBytes(bytes)))
  peer.poll()
  return peer.sent[0]!.options
}

for (const numbers of NUMBERS) {
  const name = `(numbers from ${numbers.hostIss ?? 100})`

  test(`the first SYN asks, the next one brings cookie and data ${name}`, () => {
    const client = new Client(numbers)
    const { peer } = client
    assert.equal(optionsOfSyn(client, 500).slice(-4), [34, 2, 1, 1])
    assert.equal(peer.take(), ['S 0 0'], 'no data yet')
    peer.send('SA', { seq: 0, ack: 1, options: [...MSS_1000, ...COOKIE] })
    assert.equal(peer.take(), ['PA 1 1 500'])
    peer.send('RA', { seq: 1, ack: 501 })
    assert.ok(peer.host.tcp.knowsCookie('10.0.0.1'))
    assert.equal(optionsOfSyn(client, 500).slice(-8), COOKIE)
    assert.equal(peer.take(), ['S 0 0 500'])
    peer.send('SA', { seq: 0, ack: 501, options: MSS_1000 })
    assert.equal(peer.take(), ['A 501 1'])
    assert.ok(client.synDataTaken)
    assert.is(client.connection.sendQueuedBytes, 0)
  })

  test(`what the SYN-ACK leaves is sent at once ${name}`, () => {
    for (const [acked, rest] of [
      [0, 'PA 1 1 500'],
      [120, 'PA 121 1 380'],
    ] as const) {
      const client = new Client(numbers)
      client.warm()
      assert.is(client.open(500), 'S 0 0 500')
      client.peer.send('SA', { seq: 0, ack: 1 + acked, options: MSS_1000 })
      assert.equal(client.peer.take(), [rest])
      assert.not(client.synDataTaken)
      client.peer.send('A', { seq: 1, ack: 501 })
      assert.is(client.connection.sendQueuedBytes, 0)
      assert.is(client.connection.sndUna, client.connection.sndMax)
    }
  })
}

test('the SYN carries what fits beside all options that there can be', () => {
  const client = new Client()
  client.warm()
  assert.is(client.open(5000), 'S 0 0 960')
  assert.is(client.connection.synDataLimit, 960)
  client.peer.send('SA', { seq: 0, ack: 961, window: 65_535, options: MSS_1000 })
  assert.is(client.peer.take()[0], 'A 961 1 1000')
})

test('a SYN that comes again is a plain one', () => {
  const client = new Client()
  client.warm()
  client.open(500)
  client.peer.advanceMs(1000)
  assert.is(client.peer.sent[0]!.options.includes(34), false)
  assert.equal(client.peer.take(), ['S 0 0'])
  client.peer.send('SA', { seq: 0, ack: 1, options: MSS_1000 })
  assert.equal(client.peer.take(), ['PA 1 1 500'])
})

test('where SYNs with data are lost none is sent for a while', () => {
  const client = new Client()
  client.warm()
  for (let turn = 0; turn < 2; turn++) {
    assert.is(client.open(500), 'S 0 0 500')
    client.peer.advanceMs(1000)
    client.peer.send('SA', { seq: 0, ack: 1, options: MSS_1000 })
    client.peer.send('RA', { seq: 1, ack: 1 })
  }
  assert.is(client.open(500), 'S 0 0')
  assert.not(client.peer.host.tcp.knowsCookie('10.0.0.1'))
  client.connection.abort()
  client.peer.advanceMs(4 * FAST_OPEN_LOSS_PAUSE_MS)
  assert.ok(client.peer.host.tcp.knowsCookie('10.0.0.1'))
})

test('an ACK beyond the data is answered by RST, and teaches nothing', () => {
  const client = new Client()
  client.warm()
  client.open(500)
  client.peer.send('SA', { seq: 0, ack: 502, options: [...MSS_1000, 34, 6, 9, 9, 9, 9, 1, 1] })
  assert.equal(client.peer.take(), ['R 502 0'])
  client.connection.abort()
  assert.equal(optionsOfSyn(client, 0).slice(-8), COOKIE)
})

test('data and FIN of a SYN-ACK are taken', () => {
  const client = new Client()
  client.warm()
  client.open(10)
  client.peer.send('FSA', { seq: 0, ack: 11, options: MSS_1000, payload: patternBytes(30) })
  assert.is(client.application.receivedBytes, 30)
  assert.is(client.connection.receiveFinished, 1)
  assert.equal(client.peer.take(), ['FA 11 32'], 'both are acknowledged; the application ends, too')
})

test('a server that knows only the experiment', () => {
  const client = new Client()
  client.warm([])
  const { peer } = client
  assert.equal(optionsOfSyn(client, 100).slice(-4), [254, 4, 0xf9, 0x89], 'the standard option was not answered')
  peer.take()
  peer.send('SA', { seq: 0, ack: 1, options: [254, 8, 0xf9, 0x89, 5, 6, 7, 8] })
  peer.send('RA', { seq: 1, ack: 101 })
  peer.take()
  assert.equal(optionsOfSyn(client, 100).slice(-8), [254, 8, 0xf9, 0x89, 5, 6, 7, 8])
  assert.equal(peer.take(), ['S 0 0 100'])
})

test('a server that knows neither is asked with the standard option from then on', () => {
  const client = new Client()
  client.warm([])
  client.warm([])
  assert.equal(optionsOfSyn(client, 0).slice(-4), [34, 2, 1, 1])
  client.peer.send('SA', { seq: 0, ack: 1 })
  client.peer.send('RA', { seq: 1, ack: 1 })
  assert.equal(optionsOfSyn(client, 0).slice(-4), [34, 2, 1, 1])
})

test('without a cookie where the application knows the way', () => {
  const client = new Client()
  assert.is(client.open(300, true), 'S 0 0 300')
  client.peer.send('SA', { seq: 0, ack: 301, options: COOKIE })
  assert.ok(client.synDataTaken)
  assert.not(client.peer.host.tcp.knowsCookie('10.0.0.1'), 'a cookie that was not asked for')
})

test('switched off, or not asked for, a SYN is what it always was', () => {
  const off = new Client({ tcp: { fastOpenClient: false } })
  assert.is(optionsOfSyn(off, 100).includes(34), false)
  const peer = new RawPeer()
  peer.host.tcp.connect('10.0.0.1', 4000, new StreamApplication(peer.pool))
  peer.poll()
  assert.is(peer.sent[0]!.options.includes(34), false)
})

test('what was learned of servers can be forgotten, and other options hold for connections to come', () => {
  const client = new Client()
  client.warm()
  client.peer.host.tcp.forgetServers()
  assert.equal(optionsOfSyn(client, 100).slice(-4), [34, 2, 1, 1])
  client.peer.host.tcp.retune({ fastOpenClient: false, timestamps: false, sack: false, windowScaling: false })
  assert.equal(optionsOfSyn(client, 100), [2, 4, 5, 180])
})

test('both sides open at once: the data waits for the ACK', () => {
  const client = new Client()
  client.warm()
  client.open(100)
  client.peer.send('S', { seq: 0, options: COOKIE })
  assert.is(client.peer.sent[0]!.options.includes(34), false)
  assert.equal(client.peer.take(), ['SA 0 1'])
  client.peer.send('SA', { seq: 0, ack: 101 })
  assert.is(client.connection.sendQueuedBytes, 0)
})

test('a refusal gives back the data, and every buffer', () => {
  const client = new Client()
  client.warm()
  client.open(5000)
  client.peer.send('RA', { seq: 0, ack: 1 })
  assert.is(client.application.closeReason, CLOSE_REFUSED)
  assert.is(client.peer.pool.freeBuffers, client.peer.pool.totalBuffers)
  assert.is(client.peer.pool.freeMetas, client.peer.pool.totalMetas)
})

test('the oldest server is forgotten for one more', () => {
  const cache = new FastOpenCache()
  const segment = new Segment()
  for (let server = 0; server <= FAST_OPEN_SERVERS_MAX; server++) {
    segment.remoteAddress3 = server
    segment.mss = 500 + server
    cache.learn(segment, 0, false, undefined)
  }
  segment.remoteAddress3 = 0
  assert.is(cache.find(segment), NO_ROW)
  for (let server = 1; server <= FAST_OPEN_SERVERS_MAX; server++) {
    segment.remoteAddress3 = server
    assert.is(cache.segmentSize(cache.find(segment)), 500 + server)
  }
})

test.run()
