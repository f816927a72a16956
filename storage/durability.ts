/**
 * What a reply may promise on this machine: the strongest class that the backing of the region supports, with the
 * evidence for it. Never claims more than the machine showed (docs/durability.md).
 */
import { readdirSync, readFileSync } from 'node:fs'
import { RegionError } from './errors.ts'
import type { DurabilityClass } from './persistence.ts'

export type DurabilityRequest = 'auto' | DurabilityClass

export interface Durability {
  readonly class: DurabilityClass
  /** Why, one finding each. */
  readonly evidence: readonly string[]
  /** CPU caches need no flush: every region's persistence domain includes them. */
  readonly eadr: boolean
}

export interface Backing {
  readonly path: string
  readonly fsName: string
  readonly device: boolean
  readonly mapSync: boolean
}

/** Page-cache file systems whose msync reaches the disk. */
const DISK_FILE_SYSTEMS = ['ext4', 'xfs', 'btrfs', 'overlay', 'f2fs', 'zfs', 'bcachefs']
/** File systems in memory: msync succeeds there and persists nothing. */
const MEMORY_FILE_SYSTEMS = ['tmpfs', 'hugetlbfs', 'ramfs']

const ORDER: readonly DurabilityClass[] = ['process', 'msync', 'dax']

/** Whether a file system can hold a region at all. Network and FUSE file systems promise nothing about shared mappings. */
export function isSupportedFileSystem(fsName: string): boolean {
  return DISK_FILE_SYSTEMS.includes(fsName) || MEMORY_FILE_SYSTEMS.includes(fsName)
}

/** Persistence domains of all NVDIMM regions of the machine, from sysfs. */
export function persistenceDomains(root = '/sys/bus/nd/devices'): string[] {
  let names: string[]
  try {
    names = readdirSync(root).filter((name) => /^region\d+$/.test(name))
  } catch {
    return []
  }
  return names.map((name) => {
    try {
      return readFileSync(`${root}/${name}/persistence_domain`, 'utf8').trim()
    } catch {
      return 'unknown'
    }
  })
}

/** The strongest class that a backing supports. */
export function strongestClass(backing: Backing): DurabilityClass {
  if (backing.mapSync || backing.device) return 'dax'
  return MEMORY_FILE_SYSTEMS.includes(backing.fsName) ? 'process' : 'msync'
}

/** Chooses the class. Throws RegionError DURABILITY if more is asked than the backing gives. */
export function chooseDurability(
  request: DurabilityRequest,
  backing: Backing,
  domains = persistenceDomains(),
): Durability {
  const strongest = strongestClass(backing)
  const chosen = request === 'auto' ? strongest : request
  if (ORDER.indexOf(chosen) > ORDER.indexOf(strongest) || (chosen === 'msync' && strongest === 'dax')) {
    throw new RegionError(
      'DURABILITY',
      `${backing.path}: durability class ${chosen} is not to be had on ${backing.device ? 'a DAX device' : backing.fsName}; use --durability ${strongest} or auto`,
    )
  }
  const eadr = domains.length > 0 && domains.every((domain) => domain === 'cpu_cache')
  const evidence = [
    backing.device ? 'backing: DAX character device' : `file system: ${backing.fsName}`,
    `MAP_SYNC: ${backing.mapSync ? 'accepted' : 'refused'}`,
    `persistence_domain: ${domains.length > 0 ? domains.join(', ') : 'no NVDIMM region'}`,
  ]
  if (request !== 'auto') evidence.push(`asked for: ${request}`)
  return { class: chosen, evidence, eadr: chosen === 'dax' && eadr }
}
