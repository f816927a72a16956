/** The send queue's limit: grows with the congestion window where that needs it, and only there. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SEND_LIMIT_BYTES, SEND_LIMIT_START_BYTES } from '../../../stack/limits.ts'
import type { ConnectionOptions } from '../../../stack/tcp/application.ts'
import { BulkSender, CountingReceiver } from '../../support/bulk-sender.ts'
import { patternBytes, RawPeer } from '../../support/raw-peer.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'
import { VirtualNetwork } from '../../support/virtual-link.ts'

const BYTES = 12_000_000

/** Bulk data from an application that sends as it is told of room: seconds, and the limit at the end. */
function bulk(options: ConnectionOptions, buffers = 32_768): { seconds: number; limit: number; mark: number } {
  const network = new VirtualNetwork({ seed: 1, buffers, impairment: { delayUs: 50_000 }, tcp: { hystart: false } })
  const receiver = new CountingReceiver(network.poolB)
  network.hostB.tcp.listen(80, receiver)
  const sender = new BulkSender(network.poolA, new Uint8Array(BYTES))
  const start = network.nowUs
  const c = network.hostA.tcp.connect('10.0.0.2', 80, sender, options)
  assert.is(c.sendLimitBytes, options.sendLimitBytes ?? SEND_LIMIT_START_BYTES)
  assert.ok(
    network.runUntil(() => receiver.totalBytes === BYTES, 60_000_000),
    'nobody waits for room that nobody tells of',
  )
  return { seconds: (network.nowUs - start) / 1e6, limit: c.sendLimitBytes, mark: c.sendLowMarkBytes }
}

test('a long fat link is filled, as with a limit that is never reached', () => {
  const tuned = bulk({})
  const free = bulk({ sendLimitBytes: BYTES })
  const held = bulk({ sendLimitBytes: SEND_LIMIT_START_BYTES })
  assert.ok(tuned.seconds < 1.1 * free.seconds, `${tuned.seconds} s, without a limit ${free.seconds} s`)
  assert.ok(held.seconds > 2 * tuned.seconds, `held at the start: ${held.seconds} s`)
  assert.ok(tuned.limit > 4 * SEND_LIMIT_START_BYTES && tuned.limit <= SEND_LIMIT_BYTES, `${tuned.limit} bytes`)
  assert.is(tuned.mark, tuned.limit >> 1)
  assert.is(held.limit, SEND_LIMIT_START_BYTES, 'a limit of its own is not tuned')
})

test('a low mark of its own is kept', () => {
  assert.is(bulk({ sendLowMarkBytes: 1000 }).mark, 1000)
})

test('a small pool bounds it', () => {
  const buffers = 4096
  const { limit } = bulk({}, buffers)
  assert.ok(limit < 2 * buffers * 730, `${limit} bytes`)
})

test('a peer that acknowledges nothing is never given more than at the start', () => {
  const peer = new RawPeer({ buffers: 4096 })
  const server = new StreamApplication(peer.pool)
  peer.host.tcp.listen(80, server)
  peer.establish({ options: [2, 4, 5, 180, 1, 3, 3, 7], window: 65_535 })
  const c = server.connection!
  while (c.sendSpace > 0) c.send(chainOf(peer.pool, patternBytes(1460)))
  peer.advanceMs(100)
  assert.is(c.sendLimitBytes, SEND_LIMIT_START_BYTES)
})

test.run()
