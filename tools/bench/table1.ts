/**
 * The paper's Table 1, reproduced: what a 1 KB write costs, operation by operation.
 *
 * Way 1, CPU time: client, link and server in one process (memory-bench.ts). What an operation costs is the difference
 * between a store with it and the same store without it, as the paper measured it:
 *
 *   networking      discard
 *   an operation    conventional − conventional without it
 *   insertion       packet without flushes − discard        (packet has no preparation, checksum or copy to leave out)
 *   persistence     with flushes − without
 *
 * Way 2, round trips over TAP: round-trip.ts.
 *
 * Called by: command.ts. Calls: variant.ts.
 */
import { join } from 'node:path'
import { PackratError } from '../../storage/errors.ts'
import { MEMORY_BENCH_DEFAULTS, type MemoryBenchOptions } from './memory-bench.ts'
import { hundredths, quantile } from './statistics.ts'
import { Variant } from './variant.ts'

/** Figures of the paper (HotNets '21, Table 1), microseconds. */
const PAPER = {
  networking: 26.71,
  preparation: 0.7,
  checksum: 1.77,
  copy: 1.14,
  insertion: 2.78,
  dataManagement: 6.39,
  persistence: 1.94,
  total: 34.79,
}

/**
 * A machine that does other work too makes requests slower, never faster: so the figure of a variant is that of its
 * fast rounds, the lowest tenth. The best and the middle round stand beside it: where they tell another story, the
 * machine was too busy.
 */
const DECILE = 0.1
const MEDIAN = 0.5

export interface Figure {
  readonly bestUs: number
  readonly decileUs: number
  readonly medianUs: number
}

export interface Table1Row {
  readonly operation: string
  readonly paperUs: number
  readonly conventionalUs: number
  readonly packetUs: number
  readonly conventionalSpread: Figure
  readonly packetSpread: Figure
}

export interface Table1 {
  readonly rows: readonly Table1Row[]
  readonly dataManagementUs: { readonly paper: number; readonly conventional: number; readonly packet: number }
}

export interface Table1Options {
  /** A directory of its own, on tmpfs or DAX. */
  readonly directory: string
  readonly rounds: number
  /** Requests of one round and variant. */
  readonly requests: number
  readonly keys: number
  readonly valueBytes: number
  readonly progress: (text: string) => void
}

const WARM_UP_ROUNDS = 8

const VARIANTS = {
  discard: { store: 'discard' },
  conventional: { store: 'conventional' },
  conventionalNoPreparation: { store: 'conventional', without: 'prepare' },
  conventionalNoChecksum: { store: 'conventional', without: 'checksum' },
  conventionalNoCopy: { store: 'conventional', without: 'copy' },
  conventionalNoInsertion: { store: 'conventional', without: 'insert' },
  conventionalNoFlush: { store: 'conventional', cachesPersist: true },
  packet: { store: 'packet' },
  packetNoFlush: { store: 'packet', cachesPersist: true },
} satisfies Record<string, Pick<MemoryBenchOptions, 'store'> & Partial<MemoryBenchOptions>>

type VariantName = keyof typeof VARIANTS
type Samples = Record<VariantName, number[]>

/** Runs all rounds. @throws PackratError BENCH */
export async function measureTable1(options: Table1Options): Promise<Table1> {
  const names = Object.keys(VARIANTS) as VariantName[]
  const workers = new Map<VariantName, Variant>()
  try {
    for (const name of names) {
      const path = join(options.directory, `${name}.pm`)
      const { keys, valueBytes } = options
      const variant: MemoryBenchOptions = { ...MEMORY_BENCH_DEFAULTS, path, keys, valueBytes, ...VARIANTS[name] }
      workers.set(name, await Variant.start(variant))
    }
    const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Samples
    // The first rounds are for the compiler and do not count.
    for (let round = 1 - WARM_UP_ROUNDS; round <= options.rounds; round++) {
      options.progress(round < 1 ? 'warming up' : `round ${round} of ${options.rounds}`)
      for (const name of names) {
        const { cpuUs, payloadBytesCopied } = await workers.get(name)!.round(options.requests)
        if (payloadBytesCopied > 0)
          throw new PackratError('BENCH', `${name} copied ${payloadBytesCopied} payload bytes`)
        if (round >= 1) samples[name].push(cpuUs)
      }
    }
    return tableOf(samples)
  } finally {
    for (const worker of workers.values()) await worker.close()
  }
}

/** Cost of an operation: of a variant, less that of another one. */
interface Cost {
  readonly of: VariantName
  readonly less?: VariantName
}

const CONVENTIONAL_STEPS: readonly (readonly [string, number, Cost])[] = [
  ['request preparation', PAPER.preparation, { of: 'conventional', less: 'conventionalNoPreparation' }],
  ['checksum', PAPER.checksum, { of: 'conventional', less: 'conventionalNoChecksum' }],
  ['data copy', PAPER.copy, { of: 'conventional', less: 'conventionalNoCopy' }],
  ['buffer allocation and insertion', PAPER.insertion, { of: 'conventional', less: 'conventionalNoInsertion' }],
]
const PACKET_INSERTION: Cost = { of: 'packetNoFlush', less: 'discard' }

function tableOf(samples: Samples): Table1 {
  const figure = (costs: readonly Cost[]): Figure => {
    const at = (share: number): number =>
      hundredths(
        costs.reduce((sum, { of, less }) => {
          const lessUs = less === undefined ? 0 : quantile(samples[less], share)
          return sum + quantile(samples[of], share) - lessUs
        }, 0),
      )
    return { bestUs: at(0), decileUs: at(DECILE), medianUs: at(MEDIAN) }
  }
  const row = (operation: string, paperUs: number, conventional: Cost[], packet: Cost[]): Table1Row => {
    const conventionalSpread = figure(conventional)
    const packetSpread = figure(packet)
    return {
      operation,
      paperUs,
      conventionalUs: conventionalSpread.decileUs,
      packetUs: packetSpread.decileUs,
      conventionalSpread,
      packetSpread,
    }
  }
  const steps = CONVENTIONAL_STEPS.map(([operation, paperUs, cost], index) =>
    row(operation, paperUs, [cost], index === CONVENTIONAL_STEPS.length - 1 ? [PACKET_INSERTION] : []),
  )
  const managed = CONVENTIONAL_STEPS.map(([, , cost]) => cost)
  const management = row('data management', PAPER.dataManagement, managed, [PACKET_INSERTION])
  const { conventionalUs, packetUs } = management
  return {
    rows: [
      row('networking', PAPER.networking, [{ of: 'discard' }], [{ of: 'discard' }]),
      ...steps,
      management,
      row(
        'persistence',
        PAPER.persistence,
        [{ of: 'conventional', less: 'conventionalNoFlush' }],
        [{ of: 'packet', less: 'packetNoFlush' }],
      ),
      row('total', PAPER.total, [{ of: 'conventional' }], [{ of: 'packet' }]),
    ],
    dataManagementUs: { paper: PAPER.dataManagement, conventional: conventionalUs, packet: packetUs },
  }
}
