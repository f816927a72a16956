/**
 * Two hosts in virtual time over the impairment device that `serve --impair` uses: the host tells the device the time,
 * the device tells when to come back, and both directions' bytes arrive whole. The same seed gives the same run.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ImpairDevice } from '../../drivers/impair.ts'
import { parseImpairment } from '../../drivers/impairment-spec.ts'
import { MemoryPair } from '../../drivers/memory-pair.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import { CLOSE_ORDERLY } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { announceSeed, seededRandom } from '../support/random.ts'
import { chainOf, StreamApplication } from '../support/stream-application.ts'
import { createPool } from '../support/virtual-link.ts'

const seed = announceSeed('impaired link', 20)
const SECOND_US = 1_000_000
const BYTES = 200_000
const LIMITS = { sendLimitBytes: 100_000, receiveLimitBytes: 200_000 }

/** Sends its bytes as room comes, then shuts down. */
class Sender extends StreamApplication {
  private sent = 0
  private readonly bytesToSend: Uint8Array

  constructor(pool: ReturnType<typeof createPool>, bytes: Uint8Array) {
    super(pool)
    this.bytesToSend = bytes
    this.closesAfterPeer = false
    this.connected = (c) => this.fill(c)
  }

  override onSendSpace(c: Connection): void {
    this.fill(c)
  }

  private fill(c: Connection): void {
    while (this.sent < this.bytesToSend.length && c.sendSpace > 0) {
      const piece = this.bytesToSend.subarray(this.sent, this.sent + 10_000)
      c.send(chainOf(this.pool, piece))
      this.sent += piece.length
    }
    if (this.sent === this.bytesToSend.length) c.shutdown()
  }
}

class Lab {
  nowUs = SECOND_US
  readonly poolA = createPool(4096)
  readonly poolB = createPool(4096)
  private readonly pair = new MemoryPair({ poolA: this.poolA, poolB: this.poolB })
  readonly device: ImpairDevice
  readonly hostA: Host
  readonly hostB: Host

  constructor(spec: string) {
    this.device = new ImpairDevice({
      device: this.pair.a,
      pool: this.poolA,
      impairment: parseImpairment(`${spec},seed=${seed}`),
      createRandom: (value) => {
        const random = new SeededRandom(value)
        return () => random.next()
      },
      heldBuffersMax: 1024,
    })
    this.hostA = this.createHost(this.device, this.poolA, '10.0.0.1/24', 1)
    this.hostB = this.createHost(this.pair.b, this.poolB, '10.0.0.2/24', 2)
  }

  /** Hops from deadline to deadline; true when done, in virtual time. */
  runUntil(done: () => boolean, limitUs: number): boolean {
    const end = this.nowUs + limitUs
    while (!done()) {
      // Frames cross the inner link at once: both ends poll until nothing moves.
      while (this.hostA.poll(this.nowUs) + this.hostB.poll(this.nowUs) > 0);
      const next = Math.min(this.hostA.nextDeadlineUs(), this.hostB.nextDeadlineUs())
      if (next > end) return done()
      this.nowUs = Math.max(this.nowUs, next)
    }
    return true
  }

  close(): void {
    this.hostA.close(this.nowUs)
    this.hostB.close(this.nowUs)
    this.device.close()
    this.pair.b.close()
    assert.is(this.poolA.freeBuffers, this.poolA.totalBuffers, 'buffers of the impaired host')
    assert.is(this.poolB.freeBuffers, this.poolB.totalBuffers, 'buffers of the other host')
  }

  private createHost(
    device: ConstructorParameters<typeof Host>[0]['device'],
    pool: ReturnType<typeof createPool>,
    address: string,
    number: number,
  ): Host {
    const options = {
      device,
      pool,
      address,
      random: new SeededRandom(seed + number),
      secret: new Uint8Array(16).fill(number),
      wallClock: { low: 0, high: 0, read() {} },
      tcp: { connectionsMax: 8, timeWaitsMax: 8, reserveBuffers: 32 },
    }
    return new Host(options, this.nowUs)
  }
}

/** One transfer both ways. @returns virtual time it took, µs, and what the path counted */
function transfer(spec: string): { tookUs: number; paths: string } {
  const random = seededRandom(seed)
  const lab = new Lab(spec)
  const up = Uint8Array.from({ length: BYTES }, () => random())
  const down = Uint8Array.from({ length: BYTES }, () => random())
  const server = new Sender(lab.poolB, down)
  const client = new Sender(lab.poolA, up)
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
