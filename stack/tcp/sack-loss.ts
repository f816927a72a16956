/**
 * Loss detection by SACK alone (RFC 6675 4, IsLost): a segment is lost when more than two segments' worth of bytes
 * beyond it were SACKed. Used instead of RACK where options say so (Linux: tcp_recovery = 0); it cannot see that a
 * retransmission was lost.
 *
 * Called by: recovery.ts.
 */
import { DUPLICATE_ACKS } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { Delivery } from './delivery.ts'
import { NO_SEGMENT, type Scoreboard } from './scoreboard.ts'

export function sackDetectLoss(c: Connection, scoreboard: Scoreboard, delivery: Delivery): void {
  if (delivery.sackedBytes === 0 && delivery.ackedBytes === 0) return
  let beyond = c.sackedBytes
  let segment = c.segmentHead
  while (segment !== NO_SEGMENT && beyond > (DUPLICATE_ACKS - 1) * c.sendMss) {
    if (scoreboard.isSacked(segment)) beyond -= scoreboard.length(segment)
    else if (!scoreboard.isRepairing(segment)) delivery.lostBytes += scoreboard.markLost(c, segment)
    segment = scoreboard.next(segment)
  }
}
