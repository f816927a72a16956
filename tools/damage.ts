/** What the daemon says of damage in its region: on standard error, at its start and whenever some is found. Called by: serve. */
import type { CorruptEntry } from '../storage/recovery.ts'
import type { Store } from '../storage/store.ts'
import { keyText, percentEncode } from './kv/key-codec.ts'

export function reportRecovery(store: Store): void {
  const { report } = store
  if (report.relinked)
    console.error('packrat serve: the links of the list led astray; it was linked anew by sorting, no entry is lost')
  for (const entry of report.corrupt) reportCorrupt(entry)
}

export function reportCorrupt({ key, meta, buffer, reason }: CorruptEntry): void {
  const name = key === undefined ? 'an entry with an unreadable key' : `key ${keyText(key) ?? percentEncode(key)}`
  console.error(
    `packrat serve: CORRUPT: ${name}: ${reason} (meta ${meta}, buffer ${buffer}); it is kept, and not served`,
  )
}
