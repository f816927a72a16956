/**
 * Duplicate SACK (RFC 2883): bytes that came twice are reported in the first block of the next ACK, so that the sender
 * learns which of its retransmissions were needless.
 *
 * Called by: input.ts, data.ts and reassembly.ts (report), segment-output.ts (write).
 */
import type { Connection } from './connection.ts'
import { seqLess } from './seq.ts'

/**
 * [left, right) has been received before, or a part of it left of rcvNxt. Of an ACK only the first is reported, with what
 * continues it (RFC 2883 4: a contiguous sequence of data).
 */
export function reportDuplicate(c: Connection, left: number, right: number): void {
  if (c.sackOn === 0 || !seqLess(left, right)) return
  if (c.dsackPending !== 0) {
    if (left === c.dsackRight) c.dsackRight = right
    else if (right === c.dsackLeft) c.dsackLeft = left
    return
  }
  c.dsackPending = 1
  c.dsackLeft = left
  c.dsackRight = right
}
