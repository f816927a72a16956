/**
 * Two hosts in virtual time over the impairment device that `serve --impair` uses: the host tells the device the time,
 * the device tells when to come back, and both directions' bytes arrive whole. The same seed gives the same run.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CLOSE_ORDERLY } from '../../stack/tcp/application.ts'
import { BulkSender } from '../support/bulk-sender.ts'
import { ImpairedLab } from '../support/impaired-lab.ts'
import { announceSeed, seededRandom } from '../support/random.ts'

const seed = announceSeed('impaired link', 20)
const SECOND_US = 1_000_000
const BYTES = 200_000
const LIMITS = { sendLimitBytes: 100_000, receiveLimitBytes: 200_000 }

/** One transfer both ways. @returns virtual time it took, µs, and what the path counted */
function transfer(spec: string): { tookUs: number; paths: string } {
  const random = seededRandom(seed)
  const lab = new ImpairedLab({ impairment: spec, seed })
  const up = Uint8Array.from({ length: BYTES }, () => random())
  const down = Uint8Array.from({ length: BYTES }, () => random())
  const server = new BulkSender(lab.poolB, down)
  const client = new BulkSender(lab.poolA, up)
  lab.hostB.tcp.listen(80, server, LIMITS)
  lab.hostA.tcp.connect('10.0.0.2', 80, client, LIMITS)
  const startUs = lab.nowUs
  assert.ok(
    lab.runUntil(() => client.closeReason >= 0 && server.closeReason >= 0, 3600 * SECOND_US),
    `${spec}: done in an hour of virtual time`,
  )
  const tookUs = lab.nowUs - startUs
  assert.equal([client.closeReason, server.closeReason], [CLOSE_ORDERLY, CLOSE_ORDERLY])
  assert.is(Buffer.compare(server.bytes, up), 0, `${spec}: bytes up`)
  assert.is(Buffer.compare(client.bytes, down), 0, `${spec}: bytes down`)
  const paths = JSON.stringify(lab.device.paths)
  lab.close()
  return { tookUs, paths }
}

const SPECS = [
  'delay=5ms',
  'delay=10ms,jitter=3ms,reorder=5%/4ms',
  'delay=5ms,loss=3%',
  'delay=5ms,burst=0.5%/30%',
  'delay=2ms,dup=10%,corrupt=2%',
  'delay=2ms,rate=20mbit,queue=20K',
  'delay=4ms,jitter=1ms,reorder=3%,loss=2%,dup=3%,corrupt=1%,rate=50mbit',
]

for (const spec of SPECS) {
  test(`both directions arrive whole, and a second run is the same: ${spec}`, () => {
    const first = transfer(spec)
    assert.equal(transfer(spec), first)
  })
}

test('the delay and the rate bound how fast it can be', () => {
  // Three round trips at least: handshake, data in slow start, close.
  assert.ok(transfer('delay=50ms').tookUs >= 300_000)
  // 200,000 bytes each way at 1 MB/s.
  const { tookUs } = transfer('rate=8mbit,delay=1ms')
  assert.ok(tookUs >= 200_000 && tookUs < 400_000, `${tookUs} us`)
})

test.run()
