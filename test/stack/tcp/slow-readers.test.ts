/** Many connections whose applications do not read: the pool is not theirs alone, others make progress; and later all arrives. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Connection } from '../../../stack/tcp/connection.ts'
import { NO_META } from '../../../storage/layout.ts'
import type { Pool } from '../../../storage/pool.ts'
import { announceSeed } from '../../support/random.ts'
import { StreamApplication } from '../../support/stream-application.ts'
import { VirtualNetwork } from '../../support/virtual-link.ts'

const SEED = announceSeed('slow readers', 3)
const SLOW = 120
const QUICK = 10
const LINE_BYTES = 1400
const SLOW_LINES = 44
const QUICK_LINES = 150
const BUFFERS = 4096
const RESERVE = 128

/** Lines of one buffer: much data that costs the sender no memory. */
class Clones {
  private readonly pool: Pool
  readonly meta: number

  constructor(pool: Pool) {
    this.pool = pool
    this.meta = pool.createView(pool.allocateBuffer(), 0, LINE_BYTES, 0)
  }

  send(c: Connection, lines: number): void {
    let head = NO_META
    for (let line = 0; line < lines; line++) {
      const clone = this.pool.clone(this.meta)
      this.pool.setNext(clone, head)
      head = clone
    }
    c.send(head)
    c.shutdown()
  }
}

test('120 connections that are not read fill the pool down to its reserves; ten others are served meanwhile', () => {
  const network = new VirtualNetwork({ seed: SEED, buffers: BUFFERS, tcp: { reserveBuffers: RESERVE } })
  const clones = new Clones(network.poolA)
  const slow: StreamApplication[] = []
  for (let n = 0; n < SLOW; n++) {
    const end = new StreamApplication(network.poolB)
    end.reading = false
    slow.push(end)
    network.hostB.tcp.listen(1000 + n, end)
    const client = new StreamApplication(network.poolA)
    client.connected = (c) => clones.send(c, SLOW_LINES)
    network.hostA.tcp.connect('10.0.0.2', 1000 + n, client)
  }
  network.runFor(3_000_000)
  const free = network.poolB.freeBuffers
  assert.ok(free < 3 * RESERVE, `the slow ones have taken what they can: ${free} of ${BUFFERS} left`)
  assert.ok(free >= RESERVE, `but not the reserve: ${free}`)
  assert.ok(network.hostB.counters.tcp.dropUnread > 0)
  const quick: StreamApplication[] = []
  for (let n = 0; n < QUICK; n++) {
    const end = new StreamApplication(network.poolB)
    quick.push(end)
    network.hostB.tcp.listen(2000 + n, end)
    const client = new StreamApplication(network.poolA)
    client.connected = (c) => clones.send(c, QUICK_LINES)
    network.hostA.tcp.connect('10.0.0.2', 2000 + n, client)
  }
  const start = network.nowUs
  assert.ok(
    network.runUntil(() => quick.every((end) => end.finished), 10_000_000),
    'the others are served',
  )
  const seconds = (network.nowUs - start) / 1e6
  assert.ok(seconds < 2, `${seconds} s for 2 MB`)
  for (const end of quick) assert.is(end.receivedBytes, QUICK_LINES * LINE_BYTES)
  assert.is(network.deviceB.counters.receiveStarved, 0, 'no frame found the pool empty')
  for (const end of slow) {
    end.reading = true
    end.take(end.connection!)
  }
  assert.ok(
    network.runUntil(() => slow.every((end) => end.finished), 600_000_000),
    'and so are they, in the end',
  )
  for (const end of slow) assert.is(end.receivedBytes, SLOW_LINES * LINE_BYTES)
  network.runFor(200_000_000)
  assert.is(network.poolB.freeBuffers, BUFFERS)
})

test.run()
