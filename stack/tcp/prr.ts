/**
 * Proportional rate reduction (RFC 6937): during fast recovery the window follows what is delivered, so that it falls
 * to the threshold within one round trip, evenly, and never in a burst.
 *
 *   pipe > threshold    send  threshold / RecoverFS  of what is delivered
 *   else                send  what is delivered, and a segment more while ACKs make progress (PRR-SSRB)
 *
 * Called by: recovery.ts. c.prrOutBytes is counted by output.ts.
 */
import type { Connection } from './connection.ts'
import type { Delivery } from './delivery.ts'
import { pipeBytes } from './scoreboard.ts'
import { seqDiff } from './seq.ts'

/** Recovery begins; the threshold is set. @param deliveredBefore bytes that this ACK took from the pipe */
export function beginReduction(c: Connection, deliveredBefore: number): void {
  c.prrFlightBytes = Math.max(seqDiff(c.sndNxt, c.sndUna) - c.sackedBytes + deliveredBefore, c.sendMss)
  c.prrDeliveredBytes = 0
  c.prrOutBytes = 0
}

/** RFC 6937 3.1. @param first the fast retransmit itself: goes out whatever the pipe is */
export function reduceWindow(c: Connection, delivery: Delivery, first: boolean): void {
  const pipe = pipeBytes(c)
  c.prrDeliveredBytes += delivery.deliveredBytes
  let send: number
  if (pipe > c.slowStartThreshold) {
    send = Math.ceil((c.prrDeliveredBytes * c.slowStartThreshold) / c.prrFlightBytes) - c.prrOutBytes
  } else {
    let limit = Math.max(c.prrDeliveredBytes - c.prrOutBytes, delivery.deliveredBytes)
    // Slow start only while nothing else turns out to be lost, as in Linux.
    if (delivery.ackedBytes > 0 && delivery.lostBytes === 0) limit += c.sendMss
    send = Math.min(c.slowStartThreshold - pipe, limit)
  }
  c.congestionWindow = pipe + Math.max(send, first ? c.sendMss : 0)
}
