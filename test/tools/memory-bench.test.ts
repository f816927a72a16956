/** The load in one process that table1 and sweeps measure: that it does what its options say, and asks what it seems to ask. */
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CURVES, connectionCounts, planCurve } from '../../tools/bench/curves.ts'
import { MEMORY_BENCH_DEFAULTS, MemoryBench, type MemoryBenchOptions } from '../../tools/bench/memory-bench.ts'
import { shortNumber } from '../../tools/bench/statistics.ts'
import { scratchDirectory } from '../support/lab.ts'

let files = 0

function create(options: Pick<MemoryBenchOptions, 'store'> & Partial<MemoryBenchOptions>): Promise<MemoryBench> {
  const path = join(scratchDirectory(), `${++files}.pm`)
  return MemoryBench.create({ ...MEMORY_BENCH_DEFAULTS, path, keys: 50, valueBytes: 1024, ...options })
}

for (const store of ['packet', 'conventional'] as const) {
  test(`${store}: every request of every connection is answered, reads and writes, at each size`, async () => {
    for (const valueBytes of [1, 1024, 1363, 1364, 5000, 200_000]) {
      const bench = await create({ store, valueBytes, keys: 20, connections: 7 })
      for (const readPercent of [0, 100, 50]) {
        const gets = bench.counters.gets
        await bench.run(30, readPercent)
        const reads = bench.counters.gets - gets
        if (readPercent === 50) assert.ok(reads > 3 && reads < 27, `${reads} of 30 were reads`)
        else assert.is(reads, (readPercent * 30) / 100)
      }
      assert.is(bench.counters.refused, 0)
      await bench.close()
    }
  })

  test(`${store}: of many keys each is there from the start, and small ones share buffers`, async () => {
    const bench = await create({ store, keys: 5000, valueBytes: 64, connections: 3 })
    await bench.run(500, 100)
    assert.is(bench.counters.gets, 500)
    await bench.run(200, 0)
    assert.is(bench.counters.puts, 200)
    if (store === 'packet') {
      assert.is(bench.store.records, 5000)
      // 625 shared ones, and one for each key that was written over the network.
      assert.ok(bench.store.pool.storedBuffers <= 625 + 200, `${bench.store.pool.storedBuffers} buffers`)
    }
    await bench.close()
  })
}

test('a thousand connections are opened, and each is used', async () => {
  const bench = await create({ store: 'discard', connections: 1000 })
  await bench.run(3000, 0)
  assert.ok(bench.counters.puts >= 5000)
  await bench.close()
})

test('crc32c and a slower medium reach the store', async () => {
  const bench = await create({ store: 'packet', integrity: 'crc32c', lineLatencyNs: 20_000 })
  const startMs = performance.now()
  await bench.run(10, 0)
  // 16 lines of value at least, each PUT alone in its batch.
  assert.ok(performance.now() - startMs > 10 * 16 * 0.02, 'each fence waits')
  await bench.close()
})

test('a sweep varies one thing on each curve, and quick ones keep the ends', () => {
  for (const name of CURVES) {
    const [full, quick] = [planCurve(name, false), planCurve(name, true)]
    const xs = (plan: typeof full): number[] => [...new Set(plan.probes.map(({ x }) => x))]
    assert.ok(xs(quick).length < xs(full).length)
    for (const x of xs(quick)) assert.ok(xs(full).includes(x))
    assert.is(xs(quick)[0], xs(full)[0])
    const places = full.probes.map(({ series, onDisk, x }) => `${series} ${onDisk} ${x}`)
    assert.is(new Set(places).size, places.length)
  }
  assert.is(connectionCounts(false).at(-1), 10_000)
  assert.is(connectionCounts(true).at(-1), 10_000)
})

test('numbers are written as people say them', () => {
  assert.equal([0, 1, 64, 1000, 1024, 16_384, 1_048_576, 10_000, 100_000, 10_000_000, 4096].map(shortNumber), [
    '0',
    '1',
    '64',
    '1000',
    '1 K',
    '16 K',
    '1 M',
    '10 k',
    '100 k',
    '10 M',
    '4 K',
  ])
})

test.run()
