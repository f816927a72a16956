/**
 * A process of its own for each variant of table1 and of a sweep, so that none sees code that another one's use has made
 * general. Between rounds it sleeps; the parent runs one worker at a time, in turn.
 *
 *   parent ── { requests, readPercent } ─► worker ── { cpuUs, wallUs, … } ─► parent     over the channel of child_process.fork
 *
 * Started by: variant.ts with the options as JSON in its first argument.
 */
import { inlineMore } from '../compiler.ts'
import { MemoryBench, type MemoryBenchOptions } from './memory-bench.ts'
import type { Ready, Round } from './variant.ts'

inlineMore()
const bench = await MemoryBench.create(JSON.parse(process.argv[2]!) as MemoryBenchOptions)

process.on('message', async ({ requests, readPercent }: { requests: number; readPercent: number }) => {
  const startMs = performance.now()
  const before = process.cpuUsage()
  await bench.run(requests, readPercent)
  const { user, system } = process.cpuUsage(before)
  const round: Round = {
    cpuUs: (user + system) / requests,
    wallUs: ((performance.now() - startMs) * 1000) / requests,
    payloadBytesCopied: bench.store.payloadBytesCopied,
    privateBytes: bench.privateBytes,
  }
  process.send!(round)
})
process.on('disconnect', () => {
  void bench.close().then(() => process.exit(0))
})
const ready: Ready = { medium: bench.medium }
process.send!(ready)
