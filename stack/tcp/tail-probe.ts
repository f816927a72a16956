/**
 * Tail loss probes (RFC 8985 7): when the ACKs of the last segments do not come, one segment is sent after about two
 * round trips, so that SACK shows what is missing, long before the retransmission timer fires.
 *
 * Called by: timer-arming.ts (when), recovery.ts (the probe's ACK). output.ts sends what c.tailProbeDue asks for.
 */
import { TAIL_PROBE_ACK_DELAY_MS, TAIL_PROBE_MIN_MS } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Delivery } from './delivery.ts'
import { seqLess } from './seq.ts'
import { RECOVERY_NONE } from './states.ts'

/** RFC 8985 7.2. @returns milliseconds to the probe, or -1: no probe here */
export function tailProbeDelayMs(context: TcpContext, c: Connection): number {
  if (!context.tailProbes || c.sackOn === 0 || c.srttUs === 0 || c.tailProbeOn !== 0) return -1
  if (c.recoveryState !== RECOVERY_NONE || c.sackedSegments > 0 || c.lostBytes > 0) return -1
  const delayMs = Math.ceil((2 * c.srttUs) / 1000)
  return delayMs + (c.segmentCount === 1 ? TAIL_PROBE_ACK_DELAY_MS : TAIL_PROBE_MIN_MS)
}

/**
 * RFC 8985 7.4.2: what became of the probe.
 * @returns true if the probe repaired a loss, which has to be answered like any other
 */
export function tailProbeRepaired(c: Connection, delivery: Delivery): boolean {
  if (c.tailProbeOn === 0 || seqLess(c.sndUna, c.tailProbeEnd)) return false
  if (c.tailProbeRepeats === 0 || (delivery.dsack !== 0 && delivery.dsackRight === c.tailProbeEnd)) {
    c.tailProbeOn = 0 // new data, or arrived twice: nothing was lost
    return false
  }
  if (seqLess(c.tailProbeEnd, c.sndUna)) {
    c.tailProbeOn = 0
    return true
  }
  if (delivery.duplicate !== 0 && delivery.sackedBytes === 0) c.tailProbeOn = 0 // both copies were acknowledged
  return false
}
