/** Steady PUTs over the memory link: the whole way of a PUT – TCP, HTTP, commit, reply – leaves the JavaScript heap alone. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MemoryPair } from '../../drivers/memory-pair.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { KvService } from '../../tools/kv/service.ts'
import { chainOf } from '../support/stream-application.ts'
import { createPool } from '../support/virtual-link.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const CONNECTIONS = 16
const WARM_UP_PUTS = 40_000
const PUTS = 60_000
/** Less than one small object, for client, link and server together; what is seen, 8 to 13, are a few numbers a burst. */
const BYTES_PER_PUT_MAX = 24

/** Sends the same request again for every reply; the request's line is kept, and cloned. */
class Repeater implements Application {
  replies = 0
  private readonly pool: Pool
  private readonly requests: number[]

  constructor(pool: Pool, requests: number[]) {
    this.pool = pool
    this.requests = requests
  }

  onAccept(c: Connection): void {
    this.next(c)
  }

  onReceive(c: Connection): void {
    let line = c.takeReceived()
    while (line !== NO_META) line = this.pool.release(line)
    this.replies++
    this.next(c)
  }

  onSendSpace(): void {}
  onClose(): void {}

  private next(c: Connection): void {
    c.send(this.pool.clone(this.requests[this.replies % this.requests.length]!))
  }
}

test('a PUT allocates nothing', () => {
  const directory = mkdtempSync(join(tmpdir(), 'packrat-allocation-'))
  const path = join(directory, 'a.pm')
  Region.create(path, { bytes: 16 << 20 })
  const region = new Region(path, { durability: 'process' })
  const random = new SeededRandom(3)
  const store = new Store(region, { random: () => random.next() })
  const clientPool = createPool(2048)
  const pair = new MemoryPair({ poolA: clientPool, poolB: store.pool })
  let nowUs = 1_000_000
  const wallClock = { low: 0, high: 395_813_163, read() {} }
  const common = { secret: new Uint8Array(16), wallClock, tcp: { connectionsMax: 64 } }
  const sumView = (buffer: number, offset: number, length: number): number => region.sumView(buffer, offset, length)
  const client = new Host(
    { ...common, device: pair.a, pool: clientPool, address: '10.0.0.1/24', random: new SeededRandom(1) },
    nowUs,
  )
  const server = new Host(
    { ...common, device: pair.b, pool: store.pool, address: '10.0.0.2/24', random: new SeededRandom(2), sumView },
    nowUs,
  )
  const service = new KvService({ store, sumView, maxValue: 1 << 20, stats: () => ({}), wallClock })
  server.tcp.listen(80, service, { noDelay: true })
  server.addBurstHook(() => service.commitBurst())
  const requests = Array.from({ length: 97 }, (_, key) => {
    const head = `PUT /kv/key-${key} HTTP/1.1\r\nHost: packrat\r\nContent-Length: 1024\r\n\r\n`
    return chainOf(clientPool, new Uint8Array(Buffer.concat([Buffer.from(head), Buffer.alloc(1024, key)])))
  })
  const repeater = new Repeater(clientPool, requests)
  for (let i = 0; i < CONNECTIONS; i++) client.tcp.connect('10.0.0.2', 80, repeater, { noDelay: true })
  const run = (puts: number): void => {
    const end = repeater.replies + puts
    for (let turn = 0; repeater.replies < end; turn++) {
      assert.ok(turn < puts * 10, 'the exchange has stopped')
      nowUs += 50
      client.poll(nowUs)
      server.poll(nowUs)
    }
  }
  run(WARM_UP_PUTS)
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  run(PUTS)
  // Not collected before measuring: garbage counts, too.
  const grown = process.memoryUsage().heapUsed - before
  console.log(`${(grown / PUTS).toFixed(1)} bytes a PUT`)
  assert.ok(grown < PUTS * BYTES_PER_PUT_MAX, `${grown} bytes in ${PUTS} PUTs`)
  assert.ok(grown > -500_000, 'a collection took place meanwhile')
  assert.is(store.payloadBytesCopied, 0)
  assert.is(store.counters.fences, 2 * store.counters.batches)
  client.close(nowUs)
  server.close(nowUs)
  pair.close()
  region.close()
  rmSync(directory, { recursive: true })
})

test.run()
