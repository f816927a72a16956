/** Steady-state requests and replies over the memory link: the JavaScript heap does not grow with the segments. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MemoryPair } from '../../drivers/memory-pair.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { chainOf } from '../support/stream-application.ts'
import { createPool } from '../support/virtual-link.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const CONNECTIONS = 16
const WARM_UP_EXCHANGES = 20_000
const EXCHANGES = 100_000
/** Less than one smallest object, 16 bytes. What is seen, about 5, are a few numbers a burst in code not yet optimized. */
const BYTES_PER_EXCHANGE_MAX = 12

/** Sends back every line that it gets: both ends do, so one request travels for ever. */
class PingPong implements Application {
  exchanges = 0
  onAccept(): void {}
  onReceive(c: Connection): void {
    this.exchanges++
    c.send(c.takeReceived())
  }
  onSendSpace(): void {}
  onClose(): void {}
}

for (const address of ['10.0.0.2', 'fd00::2'])
  test(`an exchange of segments with ${address} allocates nothing`, () => exchange(address))

function exchange(address: string): void {
  const poolA = createPool(2048)
  const poolB = createPool(2048)
  const pair = new MemoryPair({ poolA, poolB })
  let nowUs = 1_000_000
  const common = {
    dadTransmits: 0,
    secret: new Uint8Array(16),
    wallClock: { low: 0, high: 0, read() {} },
    tcp: { connectionsMax: 64 },
  }
  const a = new Host(
    {
      ...common,
      device: pair.a,
      pool: poolA,
      address: '10.0.0.1/24',
      address6: 'fd00::1/64',
      random: new SeededRandom(1),
    },
    nowUs,
  )
  const b = new Host(
    {
      ...common,
      device: pair.b,
      pool: poolB,
      address: '10.0.0.2/24',
      address6: 'fd00::2/64',
      random: new SeededRandom(2),
    },
    nowUs,
  )
  const server = new PingPong()
  const client = new PingPong()
  b.tcp.listen(80, server, { noDelay: true })
  const connections = Array.from({ length: CONNECTIONS }, () => a.tcp.connect(address, 80, client, { noDelay: true }))
  const run = (exchanges: number): void => {
    const end = client.exchanges + exchanges
    while (client.exchanges < end) {
      nowUs += 50
      a.poll(nowUs)
      b.poll(nowUs)
    }
  }
  for (let turn = 0; turn < 20; turn++) {
    nowUs += 50
    a.poll(nowUs)
    b.poll(nowUs)
  }
  for (const c of connections) c.send(chainOf(poolA, new Uint8Array(1000).fill(7)))
  run(WARM_UP_EXCHANGES)
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  run(EXCHANGES)
  // Not collected before measuring: garbage counts, too. A scavenge in between would hide some, so none may be needed.
  const grown = process.memoryUsage().heapUsed - before
  assert.ok(grown < EXCHANGES * BYTES_PER_EXCHANGE_MAX, `${grown} bytes in ${EXCHANGES} exchanges`)
  assert.ok(grown > -1_000_000, 'no collection took place meanwhile')
  a.close(nowUs)
  b.close(nowUs)
  pair.close()
  assert.is(poolA.freeBuffers, poolA.totalBuffers)
  assert.is(poolB.freeBuffers, poolB.totalBuffers)
}

test.run()
