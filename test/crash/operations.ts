/**
 * The operations that crash workloads are made of: one row each. To add one, add a row; all sequences of up to three rows
 * are run. A row does one thing that a client or the daemon can do; what it needs of the bench is in bench.ts.
 */
import type { Bench } from './bench.ts'

export interface Operation {
  readonly name: string
  readonly run: (bench: Bench) => void
}

/**
 * Values stay within a cache line where that does not matter, so that all subsets of lines can be tried. No two are alike:
 * bytes that lie there already could not be lost.
 */
const short = (bench: Bench): string => `short value ${bench.step}`
const segments = (bench: Bench): string[] => ['one', 'two', 'three'].map((name) => `${name} ${bench.step}, `)

export const OPERATIONS: readonly Operation[] = [
  { name: 'put', run: (bench) => bench.put(bench.newKey(), [short(bench)]) },
  { name: 'overwrite', run: (bench) => bench.put('f', [short(bench)]) },
  { name: 'overwrite chain', run: (bench) => bench.put('d', [short(bench)]) },
  { name: 'delete', run: (bench) => bench.remove('f') },
  { name: 'delete chain', run: (bench) => bench.remove('d') },
  { name: 'put segments', run: (bench) => bench.put(bench.newKey(), segments(bench)) },
  { name: 'overwrite by segments', run: (bench) => bench.put('f', segments(bench).slice(1)) },
  { name: 'slow upload', run: (bench) => bench.putSlowly(bench.newKey(), segments(bench)) },
  { name: 'broken upload', run: (bench) => bench.abandon(segments(bench)) },
  {
    name: 'batch',
    run: (bench) =>
      bench.batch([
        [bench.newKey(), `new in batch ${bench.step}`],
        ['f', `batch ${bench.step}`],
        ['d', undefined],
      ]),
  },
  {
    name: 'batch of deletes',
    run: (bench) =>
      bench.batch([
        ['f', undefined],
        ['h', undefined],
      ]),
  },
  { name: 'reclaim', run: (bench) => bench.reclaim() },
  { name: 'pack', run: (bench) => bench.pack() },
  { name: 'scrub', run: (bench) => bench.scrub() },
  { name: 'take snapshot', run: (bench) => bench.takeSnapshot() },
  { name: 'close snapshot', run: (bench) => bench.closeSnapshot() },
  { name: 'crash', run: (bench) => bench.crash() },
]

/** For longer workloads only: images of these are many lines wide, or dear to recover. */
export const WIDE_OPERATIONS: readonly Operation[] = [
  { name: 'put large', run: (bench) => bench.putCopy(bench.newKey(), 4000) },
  { name: 'overwrite by large', run: (bench) => bench.putCopy('f', 3000) },
  { name: 'put empty', run: (bench) => bench.putCopy('h', 0) },
]

export const GROW: Operation = { name: 'grow', run: (bench) => bench.grow() }
