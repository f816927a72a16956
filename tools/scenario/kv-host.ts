/**
 * The real key-value service for scenarios with PUTs and GETs, on a region in a temporary file.
 *
 * Called by: packrat-endpoint.ts. Calls: the store, the service.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { WallClock } from '../../stack/clock.ts'
import type { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { Application } from '../../stack/tcp/application.ts'
import { Region } from '../../storage/region.ts'
import { Store } from '../../storage/store.ts'
import { KvService } from '../kv/service.ts'
import type { HttpLoad, Scenario } from './document.ts'
import { httpEntry } from './plan.ts'

const REGION_BYTES = 64 << 20
const VALUE_BYTES_MAX = 32 << 20

/** For a scenario with PUTs or GETs; undefined for others. @param parent where the region lies */
export async function createKv(scenario: Scenario, parent = tmpdir()): Promise<KvHost | undefined> {
  const loads = scenario.traffic.flatMap(({ http }) => http ?? [])
  if (loads.length === 0) return undefined
  const shape = new SeededRandom(scenario.seed)
  const kv = new KvHost(parent, () => shape.next())
  for (const load of loads) if (load.method === 'GET') await kv.fill(load)
  return kv
}

/** A region whose file has no name any more once it is mapped: nothing is left of it, however this process ends. */
export function openTemporaryRegion(parent: string, bytes: number): Region {
  const directory = mkdtempSync(join(parent, 'packrat-scenario-'))
  try {
    const path = join(directory, 'scenario.pm')
    Region.create(path, { bytes })
    return new Region(path, { durability: 'process' })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

export class KvHost {
  readonly store: Store
  readonly region: Region
  /** @param random shape of the index */
  constructor(parent: string, random: () => number) {
    // In the class `process` a commit is over when the call returns: virtual time need not wait for a disk.
    this.region = openTemporaryRegion(parent, REGION_BYTES)
    this.store = new Store(this.region, { random })
  }

  /** Stores what GETs will ask for. */
  async fill(load: HttpLoad): Promise<void> {
    for (let index = 0; index < load.count; index++) {
      const { key, value } = httpEntry(load, index)
      await this.store.put(Buffer.from(key), value)
    }
  }

  /** The service on a host that uses the region's pool. */
  attach(host: Host, wallClock: WallClock): Application {
    const service = new KvService({
      store: this.store,
      sumView: host.sumView,
      maxValue: VALUE_BYTES_MAX,
      stats: () => ({}),
      wallClock,
    })
    host.addBurstHook(() => service.commitBurst())
    return service
  }

  close(): void {
    this.region.close()
  }
}
