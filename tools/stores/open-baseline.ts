/**
 * Opens the engine of a baseline, with its own file or directory beside the region: FILE.copy, FILE.conventional,
 * FILE.leveldb. The region then holds the network's buffers only. Called by: serve, the benchmarks.
 */
import type { DurabilityRequest } from '../../storage/durability.ts'
import { Area } from './area.ts'
import { ConventionalEngine } from './conventional.ts'
import { CopyEngine } from './copy.ts'
import { DiscardEngine } from './discard.ts'
import type { BaselineName, Engine } from './engine.ts'

export interface BaselineOptions {
  readonly name: BaselineName
  /** The region's file. */
  readonly path: string
  /** Size of the store's own file when it is created. */
  readonly fileBytes: number
  readonly durability: DurabilityRequest
  readonly random: () => number
  /** Measurements only. */
  readonly cachesPersist?: boolean
  /** Measurements only: the medium takes so long for a cache line. LevelDB writes no cache lines: it is not slowed. */
  readonly lineLatencyNs?: number
}

/** @throws RegionError, PackratError BASELINE_CLASS, BASELINE_AREA, BASELINE_LEVELDB */
export async function openBaseline(options: BaselineOptions): Promise<Engine> {
  const { name, random } = options
  if (name === 'discard') return new DiscardEngine()
  const path = `${options.path}.${name}`
  if (name === 'leveldb') {
    // Only whoever asks for LevelDB loads it.
    const { LevelDbEngine } = await import('./leveldb.ts')
    return LevelDbEngine.open(path)
  }
  const { fileBytes, durability, cachesPersist = false, lineLatencyNs = 0 } = options
  const area = new Area({ path, fileBytes, durability, cachesPersist, lineLatencyNs })
  try {
    return name === 'copy' ? new CopyEngine(area) : new ConventionalEngine(area, random)
  } catch (error) {
    area.close()
    throw error
  }
}
