/**
 * Loss detection without SACK (RFC 5681 3.2, RFC 6582): three duplicate ACKs mean that the first segment is lost; a
 * partial ACK means that the next one is, too. Each duplicate says that a segment, nobody knows which, has left the
 * network: it counts as SACKed, so that the pipe, and with it limited transmit (RFC 3042), come out as with SACK.
 *
 * Called by: recovery.ts, for peers that did not offer SACK.
 */
import { DUPLICATE_ACKS } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { Delivery } from './delivery.ts'
import { NO_SEGMENT, type Scoreboard } from './scoreboard.ts'
import { seqDiff, seqLess, seqMax } from './seq.ts'
import { RECOVERY_FAST, RECOVERY_NONE } from './states.ts'

export function newRenoDetectLoss(c: Connection, scoreboard: Scoreboard, delivery: Delivery): void {
  if (delivery.ackedBytes > 0) {
    // The duplicates stood for segments that this ACK covers, all but the one that was missing.
    const counted = Math.min(c.sackedBytes, Math.max(delivery.ackedBytes - c.sendMss, 0))
    c.sackedBytes = c.recoveryState === RECOVERY_FAST ? c.sackedBytes - counted : 0
    delivery.deliveredBytes = Math.max(delivery.deliveredBytes - counted, 0)
    c.duplicateAcks = 0
    // RFC 6582 3.2 (3), partial acknowledgement.
    if (c.recoveryState === RECOVERY_FAST && seqLess(c.sndUna, c.recoverSequence)) markHead(c, scoreboard, delivery)
    // Left behind by 2^31 bytes it would seem to lie ahead, and no duplicate would count for the next 2^31.
    else if (c.recoveryState === RECOVERY_NONE) c.recoverSequence = seqMax(c.recoverSequence, c.sndUna)
    return
  }
  if (delivery.duplicate === 0) return
  const room = seqDiff(c.sndNxt, c.sndUna) - c.sackedBytes - c.sendMss
  const left = Math.min(c.sendMss, Math.max(room, 0))
  c.sackedBytes += left
  delivery.deliveredBytes += left
  c.duplicateAcks++
  // RFC 6582 3.2 (1): not for duplicates of what an earlier recovery or time-out sent again.
  if (c.recoveryState !== RECOVERY_NONE || seqLess(c.sndUna, c.recoverSequence)) return
  if (c.duplicateAcks >= DUPLICATE_ACKS) markHead(c, scoreboard, delivery)
}

function markHead(c: Connection, scoreboard: Scoreboard, delivery: Delivery): void {
  if (c.segmentHead !== NO_SEGMENT) delivery.lostBytes += scoreboard.markLost(c, c.segmentHead)
}
