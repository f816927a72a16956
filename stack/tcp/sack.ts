/**
 * SACK blocks of an ACK (RFC 2018, RFC 2883): read from the segment where they lie, and marked in the scoreboard.
 *
 *   [no-op][no-op][5][length] [left][right] …          sackAt points to the first left edge
 *
 * Called by: ack.ts, before the ACK field itself is worked in: `una` is still what it was.
 */
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Delivery } from './delivery.ts'
import { SACK_BLOCK_BYTES } from './options.ts'
import type { Segment } from './segment.ts'
import { seqDiff, seqLess, seqLessEqual, seqMax } from './seq.ts'

export function processSack(context: TcpContext, c: Connection, segment: Segment, delivery: Delivery): void {
  const view = segment.view
  const ack = segment.acknowledgement
  const from = seqMax(ack, c.sndUna) // of an ACK that was overtaken, only what is still in flight counts
  for (let block = 0; block < segment.sackBlocks; block++) {
    const at = segment.sackAt + block * SACK_BLOCK_BYTES
    const left = view.getInt32(at)
    const right = view.getInt32(at + 4)
    if (!seqLess(left, right)) continue
    if (block === 0 && isDuplicate(segment, left, right)) {
      // Only what was sent, and not too long ago, can have been received twice.
      if (seqLessEqual(right, c.sndMax) && seqDiff(ack, left) <= c.sndWndMax) {
        delivery.dsack = 1
        delivery.dsackLeft = left
        delivery.dsackRight = right
      }
      continue
    }
    if (seqLess(left, from) || seqLess(c.sndNxt, right)) continue
    context.scoreboard.sack(c, left, right, delivery)
  }
}

/** RFC 2883 4: the first block lies left of the ACK, or inside of the second block. */
function isDuplicate(segment: Segment, left: number, right: number): boolean {
  if (seqLess(left, segment.acknowledgement)) return true
  if (segment.sackBlocks < 2) return false
  const view = segment.view
  const second = segment.sackAt + SACK_BLOCK_BYTES
  return seqLessEqual(view.getInt32(second), left) && seqLessEqual(right, view.getInt32(second + 4))
}
