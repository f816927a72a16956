/**
 * A process of its own for each variant of table1, so that none sees code that another one's use has made general.
 * Between rounds it sleeps; the parent runs one worker at a time, in turn.
 *
 *   parent ── { requests } ─► worker ── { cpuUs } ─► parent          over the channel of child_process.fork
 *
 * Started by: variant.ts with the options as JSON in its first argument.
 */
import { MemoryBench, type MemoryBenchOptions } from './memory-bench.ts'

const bench = await MemoryBench.create(JSON.parse(process.argv[2]!) as MemoryBenchOptions)

process.on('message', ({ requests }: { requests: number }) => {
  const before = process.cpuUsage()
  bench.run(requests)
  const { user, system } = process.cpuUsage(before)
  process.send!({ cpuUs: (user + system) / requests, payloadBytesCopied: bench.store.payloadBytesCopied })
})
process.on('disconnect', () => {
  void bench.close().then(() => process.exit(0))
})
process.send!({ ready: true })
