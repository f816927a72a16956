/**
 * Somebody who does not see the segments of a connection, but knows its addresses and ports, tries to end it or to put
 * data into it (RFC 5961): numbers are guessed all over the space, and, which is harder to withstand, inside the window.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SeededRandom } from '../../../stack/random.ts'
import { STATE_ESTABLISHED } from '../../../stack/tcp/states.ts'
import { patternBytes, RawPeer, type RawSegment } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'

const FLAGS = ['R', 'RA', 'S', 'SA', 'A', 'PA', 'FA', 'SEW', 'P', 'F', 'SR', 'FSRPAU', '']
const CHALLENGES_PER_SECOND = 100
const WINDOW = 60_000

/** An established connection with data in flight our way; the peer's next number is 1, ours 1 to 2001. */
function attacked(seed: number, timestamps: boolean) {
  const peer = new RawPeer({ seed, tcp: { challengeAcksPerSecond: CHALLENGES_PER_SECOND } })
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server, { noDelay: true })
  peer.establish(timestamps ? { timestamps: [1000, 0] } : {})
  const c = server.connection!
  c.send(chainOf(peer.pool, patternBytes(2000)))
  peer.poll()
  peer.sent.length = 0
  return { peer, server, c }
}

for (const timestamps of [false, true]) {
  test(`guesses do not end a connection and bring no byte${timestamps ? ', with timestamps' : ''}`, () => {
    const seed = Number(process.env.SEED ?? 21)
    const random = new SeededRandom(seed)
    const { peer, server, c } = attacked(seed, timestamps)
    const counters = peer.host.counters.tcp
    for (let guess = 0; guess < 20_000; guess++) {
      const near = random.chance(0.5)
      const segment: RawSegment = {
        seq: near ? random.below(2 * WINDOW) - WINDOW : random.next() | 0,
        // Never a number that may be acknowledged: from 60,000 below what is in flight to its end.
        ack: 2002 + random.below(0xffff_0000 - WINDOW - 4000),
        payload: patternBytes(random.below(3) === 0 ? 1 + random.below(100) : 0),
        window: random.below(65536),
      }
      if (random.chance(0.3)) segment.timestamps = [random.next() | 0, random.next() | 0]
      const flags = FLAGS[random.below(FLAGS.length)]!
      // The very number that is next resets: that guess is one in 2^32.
      if (segment.seq === 1 && flags.includes('R')) continue
      peer.send(flags, segment)
    }
    const text = `seed ${seed}`
    assert.is(c.state, STATE_ESTABLISHED, text)
    assert.equal(server.events, ['accept'], text)
    assert.is(c.sndWnd, WINDOW, `the window, ${text}`)
    assert.is(c.inFlightBytes, 2000, text)
    assert.ok(isWithinLimit(counters.challengeAcks), `one second's worth, ${text}`)
    // The rightful peer is heard as before.
    const rightful: RawSegment = { seq: 1, ack: 2001, payload: patternBytes(100) }
    if (timestamps) rightful.timestamps = [1001, Math.floor(peer.nowUs / 1000) | 0]
    peer.send('PA', rightful)
    assert.equal([...server.bytes], [...patternBytes(100)], text)
    assert.is(c.inFlightBytes, 0, text)
  })
}

test('challenges are limited by the second, for the whole host (RFC 5961 10), and nobody knows how many there are', () => {
  const { peer } = attacked(1, false)
  const counters = peer.host.counters.tcp
  const seen = new Set<number>()
  for (let second = 1; second <= 10; second++) {
    const before = counters.challengeAcks
    for (let attempt = 0; attempt < 500; attempt++) peer.send('S', { seq: 50 })
    const challenges = counters.challengeAcks - before
    assert.ok(isWithinLimit(challenges), `${challenges}`)
    seen.add(challenges)
    peer.advanceMs(1000)
  }
  assert.ok(seen.size > 5, `${[...seen]}`)
})

/** A second has half of the limit to one and a half. */
function isWithinLimit(challenges: number): boolean {
  return challenges >= CHALLENGES_PER_SECOND / 2 && challenges < 1.5 * CHALLENGES_PER_SECOND
}

test('a peer that has restarted is found out: the challenge brings the RST that ends the old connection', () => {
  const { peer, server } = attacked(1, false)
  peer.send('S', { seq: 0x100000 })
  const [challenge] = peer.sent
  assert.is(challenge!.flags, 'A')
  peer.send('R', { seq: challenge!.ack })
  assert.equal(server.events, ['accept', 'close 1'])
})

test.run()
