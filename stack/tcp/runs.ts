/**
 * Runs: segments with new data that follow each other and leave as one frame, where the device takes such frames
 * (TCP segmentation offload). One header, one checksum, one crossing into the kernel for up to 64 KiB.
 *
 *   frame       [headers][view][view] … [view]          segments of sendMss, the last one perhaps shorter
 *   scoreboard  [ segment ][ segment ] … [ segment ]    one each: loss is found and repaired segment by segment
 *
 * A run is what the windows let go at this moment anyway, so it is no larger a burst than its segments would be. What was
 * lost, probes, and everything under pacing leaves segment by segment.
 *
 * Called by: output.ts.
 */
import { NO_META } from '../../storage/layout.ts'
import { RUN_BYTES_MAX, SEGMENTS_IN_FLIGHT_MAX } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { seqAdd, seqLess } from './seq.ts'

/**
 * Bytes that could leave as a run; 0: a segment by itself is what goes.
 * @param usable what the windows allow; @param unsent what waits
 */
export function runBytes(context: TcpContext, c: Connection, usable: number, unsent: number): number {
  const mss = c.sendMss
  if (!context.segmentsTcp || usable < 2 * mss || unsent <= mss) return 0
  // CWR stands in one segment only (RFC 3168 6.1.2); what went with the SYN, or as a window probe, is a retransmission's business.
  if (context.tuning.pacing || c.ecnReduced !== 0 || seqLess(c.sndNxt, c.sndMax)) return 0
  const segmentsMax = Math.min(Math.trunc(RUN_BYTES_MAX / mss), SEGMENTS_IN_FLIGHT_MAX - c.segmentCount)
  const most = Math.min(usable, unsent, segmentsMax * mss)
  // The end of what is written may be a short segment, if Nagle lets it go.
  const endsHere = most === unsent && c.corked === 0 && (c.noDelay !== 0 || c.finQueued !== 0)
  const bytes = endsHere ? most : most - (most % mss)
  return bytes > mss ? bytes : 0
}

/**
 * Records the segments of a run that is leaving, in the scoreboard.
 * @param start its first number, whose byte lies at `offset` of line `meta`
 * @param end behind its last number, which is the FIN's if it has one
 */
export function appendRun(
  context: TcpContext,
  c: Connection,
  start: number,
  meta: number,
  offset: number,
  bytes: number,
  end: number,
  pushed: boolean,
): void {
  const { pool, scoreboard } = context
  for (let left = bytes; left > 0; left -= c.sendMss) {
    const last = left <= c.sendMss
    const next = last ? end : seqAdd(start, c.sendMss)
    scoreboard.append(c, start, next, meta, offset, context.nowUs32, false, last && pushed)
    start = next
    offset += c.sendMss
    while (meta !== NO_META && offset >= pool.dataLength(meta)) {
      offset -= pool.dataLength(meta)
      meta = pool.next(meta)
    }
  }
}
