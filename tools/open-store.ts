/** Opens a region for looking: locked shared, mapped privately, recovered in memory only. */

import { SeededRandom } from '../stack/random.ts'
import { Region } from '../storage/region.ts'
import { Store } from '../storage/store.ts'

/** The shape of the index only: any seed will do. */
const SEED = 1

export interface OpenedStore {
  readonly region: Region
  readonly store: Store
}

/** @throws RegionError if the file is in use, no region, damaged … */
export function openForReading(path: string): OpenedStore {
  const region = new Region(path, { readOnly: true })
  const random = new SeededRandom(SEED)
  return { region, store: new Store(region, { random: () => random.next() }) }
}
