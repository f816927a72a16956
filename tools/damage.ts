/**
 * What is said of damage in a region, on standard error: by the daemon at its start and whenever some is found, by the
 * programs that read a region offline, for what they cannot show. Called by: serve, list, export.
 */
import type { CorruptEntry } from '../storage/recovery.ts'
import type { Store } from '../storage/store.ts'
import { keyText, percentEncode } from './kv/key-codec.ts'

export function reportRecovery(store: Store): void {
  const { report } = store
  if (report.relinked)
    console.error('packrat serve: the links of the list led astray; it was linked anew by sorting, no entry is lost')
  for (const entry of report.corrupt) reportCorrupt(entry)
}

export function reportCorrupt(entry: CorruptEntry): void {
  console.error(`packrat serve: CORRUPT: ${corruptText(entry)}; it is kept, and not served`)
}

export function corruptText({ key, meta, buffer, reason }: CorruptEntry): string {
  const name = key === undefined ? 'an entry with an unreadable key' : `key ${keyText(key) ?? percentEncode(key)}`
  return `${name}: ${reason} (meta ${meta}, buffer ${buffer})`
}
