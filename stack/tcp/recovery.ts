/**
 * Loss recovery: decides what is sent again; output.ts sends it and does not know this file. NewReno (RFC 6582)
 * with limited transmit (RFC 3042): for connections without SACK information from the peer.
 *
 *   duplicate ACK 1, 2     limitedTransmitBytes: new data keeps the ACK clock running
 *   duplicate ACK 3        first segment again, window halved, recovering until recoverSequence
 *   partial ACK            next hole: first segment again, window deflated by what was acknowledged
 *   full ACK               recovering ends, window = slowStartThreshold
 *
 * Called by: ack.ts, timers.ts. Calls: the congestion control.
 */

import type { TcpCounters } from '../counters.ts'
import { DUPLICATE_ACKS } from '../limits.ts'
import type { CongestionControl } from './congestion/congestion.ts'
import type { Connection } from './connection.ts'
import { seqDiff, seqLess } from './seq.ts'

export interface Recovery {
  /** A duplicate ACK (RFC 5681 2) came in. */
  onDuplicateAck(c: Connection): void
  /** sndUna has moved by `ackedBytes`. */
  onAck(c: Connection, ackedBytes: number): void
  /** The retransmission timer expired; sndNxt has not been moved back yet. */
  onTimeout(c: Connection): void
}

export class NewReno implements Recovery {
  private readonly congestion: CongestionControl
  private readonly counters: TcpCounters

  constructor(congestion: CongestionControl, counters: TcpCounters) {
    this.congestion = congestion
    this.counters = counters
  }

  onDuplicateAck(c: Connection): void {
    c.duplicateAcks++
    if (c.recovering !== 0) {
      c.congestionWindow += c.sendMss // RFC 6582 3.2 (3): a segment has left the network
      return
    }
    if (c.duplicateAcks < DUPLICATE_ACKS) {
      c.limitedTransmitBytes = c.duplicateAcks * c.sendMss // RFC 3042
      return
    }
    // RFC 6582 3.2 (1): not for duplicates of what an earlier recovery or time-out sent again.
    if (c.duplicateAcks > DUPLICATE_ACKS || seqLess(c.sndUna, c.recoverSequence)) return
    this.counters.fastRetransmits++
    c.recovering = 1
    c.recoverSequence = c.sndMax
    c.limitedTransmitBytes = 0
    this.congestion.onLoss(c, seqDiff(c.sndMax, c.sndUna))
    c.congestionWindow += DUPLICATE_ACKS * c.sendMss // RFC 5681 3.2 (3)
    c.retransmitHead = 1
  }

  onAck(c: Connection, ackedBytes: number): void {
    c.duplicateAcks = 0
    c.limitedTransmitBytes = 0
    if (c.recovering === 0) {
      this.congestion.onAck(c, ackedBytes)
      return
    }
    if (!seqLess(c.sndUna, c.recoverSequence)) {
      c.recovering = 0
      // RFC 6582 3.2 (3), full acknowledgement, option 1: no burst when little is in flight.
      const flight = seqDiff(c.sndMax, c.sndUna)
      c.congestionWindow = Math.min(c.slowStartThreshold, Math.max(flight, c.sendMss) + c.sendMss)
      return
    }
    // Partial acknowledgement: the next hole is lost too.
    c.congestionWindow = Math.max(c.congestionWindow - ackedBytes, c.sendMss)
    if (ackedBytes >= c.sendMss) c.congestionWindow += c.sendMss
    c.retransmitHead = 1
  }

  onTimeout(c: Connection): void {
    c.recovering = 0
    c.duplicateAcks = 0
    c.limitedTransmitBytes = 0
    c.retransmitHead = 0
    c.recoverSequence = c.sndMax // RFC 6582 4: no fast retransmit for what the time-out covers
    this.congestion.onTimeout(c, seqDiff(c.sndNxt, c.sndUna))
  }
}
