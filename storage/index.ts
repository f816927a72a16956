/** The store as a library: everything that users outside may rely on (docs/library.md). */
export type { BatchResult, Condition } from './atomic-batch.ts'
export type { IntegrityMode } from './commit.ts'
export type { Durability, DurabilityRequest } from './durability.ts'
export { ConditionError, CorruptionError, FullError, PackratError, RegionError } from './errors.ts'
export {
  type BatchWrite,
  type Bytes,
  type Entry,
  type KeyValueStore,
  type OpenStoreOptions,
  openStore,
  type ScanRange,
  type StoreSnapshot,
  type WriteOptions,
} from './library.ts'
export type { DurabilityClass } from './persistence.ts'
export type { CorruptEntry } from './recovery.ts'
