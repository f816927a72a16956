/**
 * Ends of records: places in the send queue that no segment reaches across (Linux MSG_EOR). Bytes of the record before
 * and of the one behind never share a segment, not when it is sent again either: what is in flight is cut already, and
 * is never joined. So only the ends that sndNxt has not reached are kept.
 *
 * Called by: Connection.endRecord; fast-open-client.ts; output.ts, before each segment with new data.
 */
import type { Connection } from './connection.ts'
import { seqDiff, seqLess } from './seq.ts'

const NO_LIMIT = 0x7fffffff

/** What is queued so far ends a record. */
export function endRecord(c: Connection): void {
  if (seqDiff(c.sendEnd, c.sndNxt) > 0 && c.recordEnds.at(-1) !== c.sendEnd) c.recordEnds.push(c.sendEnd)
}

/** No segment reaches across this number, which is not yet sent. */
export function endRecordAt(c: Connection, sequence: number): void {
  const ends = c.recordEnds
  let at = 0
  while (at < ends.length && seqLess(ends[at]!, sequence)) at++
  if (ends[at] !== sequence) ends.splice(at, 0, sequence)
}

/** Bytes from sndNxt to the end of the record. */
export function recordLeft(c: Connection): number {
  while (c.recordEnds.length > 0) {
    const left = seqDiff(c.recordEnds[0]!, c.sndNxt)
    if (left > 0) return left
    c.recordEnds.shift()
  }
  return NO_LIMIT
}
