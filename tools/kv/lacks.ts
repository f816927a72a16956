/** What the baselines of `--store` cannot do, asked before a request is run. Called by: the service. */
import type { BaselineStore } from '../stores/baseline-store.ts'
import {
  METHOD_DELETE,
  METHOD_PUT,
  type RequestHead,
  TARGET_BATCH,
  TARGET_KEY,
  TARGET_LISTING,
  TARGET_SNAPSHOT,
} from './request-head.ts'

/** What of a request a baseline does not have, as its answer says; undefined: it can be done. */
export function lacks({ engine }: BaselineStore, head: RequestHead): string | undefined {
  const { target, method } = head
  if (target === TARGET_BATCH || target === TARGET_SNAPSHOT || target === TARGET_LISTING) {
    return `--store ${engine.name} has keys only: no listings, batches or snapshots`
  }
  if (target !== TARGET_KEY) return undefined
  if (method !== METHOD_PUT && !engine.hasIndex) return `--store ${engine.name} keeps nothing that it could find again`
  const isConditional = head.ifMatchStart | head.ifNoneMatchStart | head.ifUnmodifiedSinceStart
  if (isConditional !== 0 && (method === METHOD_PUT || method === METHOD_DELETE)) {
    return `--store ${engine.name} has no conditional writes`
  }
  return undefined
}
