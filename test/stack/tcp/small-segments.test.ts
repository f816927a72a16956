/**
 * Up to a megabyte in one-byte segments to an application that does not read: memory is what the bytes need, not a buffer a
 * byte; whatever the order, and the bytes are right when they are read at last.
 * @timeout 60
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { COALESCE_LINES } from '../../../stack/limits.ts'
import { seqDiff } from '../../../stack/tcp/seq.ts'
import { RawPeer } from '../../support/raw-peer.ts'
import { consumeChain, StreamApplication } from '../../support/stream-application.ts'

const BURST = 64
const BUFFERS = 4096
/** Lines that wait before copying begins, and one burst. */
const UNCOPIED = COALESCE_LINES + BURST

/** Place of the n-th segment in the stream. */
type Order = (n: number) => number

/** Buffers for the bytes: those out of order are copied twice. */
const orders: [string, number, number, Order][] = [
  ['1 MB in order', 1 << 20, 512, (n) => n],
  ['256 KB, every 512 bytes from behind', 1 << 18, 256, (n) => n ^ 511],
  [
    '256 KB, of every 512 bytes first the odd, then the even ones',
    1 << 18,
    256,
    (n) => (n & ~511) | ((n << 1) & 510) | (~(n >> 8) & 1),
  ],
]

for (const [name, bytes, buffers, order] of orders)
  test(`one-byte segments: ${name}`, () => {
    const peer = new RawPeer({ buffers: BUFFERS })
    const server = new StreamApplication(peer.pool)
    server.reading = false
    peer.host.tcp.listen(80, server, { receiveLimitBytes: 2 * bytes })
    peer.establish({ options: [4, 2, 3, 3, 7, 1, 1, 1] })
    const c = server.connection!
    const free = peer.pool.freeBuffers
    const one = new Uint8Array(1)
    let most = 0
    for (let n = 0; n < bytes; n++) {
      const place = order(n)
      one[0] = place * 7 + (place >> 8)
      peer.queue('A', { seq: 1 + place, ack: 1, payload: one })
      if (n % BURST !== BURST - 1) continue
      peer.poll()
      peer.sent.length = 0
      most = Math.max(most, free - peer.pool.freeBuffers)
    }
    assert.is(seqDiff(c.rcvNxt, c.irs), 1 + bytes)
    assert.is(c.receiveQueuedBytes, bytes)
    assert.ok(most < buffers + UNCOPIED, `${most} buffers`)
    assert.ok(most > bytes / 2048, 'the measurement works')
    assert.ok(peer.host.counters.tcp.coalescedBytes > bytes * 0.9)
    const read = consumeChain(peer.pool, c.takeReceived())
    for (let place = 0; place < bytes; place++)
      if (read[place] !== ((place * 7 + (place >> 8)) & 255)) throw new Error(`byte ${place} is wrong`)
    assert.is(peer.pool.freeBuffers, free)
  })

test('small segments that are read as they come stay in the buffers they came in', () => {
  const peer = new RawPeer({ buffers: 1024 })
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server)
  peer.establish()
  const payload = new Uint8Array(100)
  for (let n = 0; n < 500; n++) peer.send('PA', { seq: 1 + n * 100, ack: 1, payload })
  assert.is(server.receivedBytes, 50_000)
  assert.is(peer.host.counters.tcp.coalescedBytes, 0)
})

test('when the pool runs low the first small segment that waits is copied, too', () => {
  const peer = new RawPeer({ buffers: 64 })
  const server = new StreamApplication(peer.pool)
  server.reading = false
  peer.host.tcp.listen(80, server)
  peer.establish()
  const held: number[] = []
  while (peer.pool.freeBuffers > 7) held.push(peer.pool.allocateBuffer())
  for (let n = 0; n < 500; n++) peer.send('PA', { seq: 1 + n, ack: 1, payload: new Uint8Array(1).fill(n) })
  assert.is(server.connection!.receiveQueuedBytes, 500)
  assert.ok(peer.pool.freeBuffers >= 4, `${peer.pool.freeBuffers} buffers left of 7`)
  for (const buffer of held) peer.pool.releaseBuffer(buffer)
  assert.is(consumeChain(peer.pool, server.connection!.takeReceived()).length, 500)
  assert.is(peer.pool.freeBuffers, peer.pool.totalBuffers)
})

test('a connection that ends gives its shared buffer back', () => {
  const peer = new RawPeer({ buffers: 256 })
  const server = new StreamApplication(peer.pool)
  server.reading = false
  peer.host.tcp.listen(80, server)
  peer.establish()
  for (let n = 0; n < 400; n++) peer.send('PA', { seq: 1 + n, ack: 1, payload: new Uint8Array(1) })
  assert.ok(peer.host.counters.tcp.coalescedBytes > 100)
  peer.send('RA', { seq: 401, ack: 1 })
  assert.is(peer.pool.freeBuffers, peer.pool.totalBuffers)
})

test.run()
