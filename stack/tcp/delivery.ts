/**
 * What one ACK says: how much arrived, which copy of it, how long it took. One long-lived object, filled while the ACK
 * and its SACK blocks are worked into the scoreboard, then read by RTT, recovery and congestion control.
 *
 * Called by: ack.ts (begin), scoreboard.ts (note). Read by: recovery.ts, rack.ts.
 */
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Segment } from './segment.ts'

export class Delivery {
  nowUs32 = 0
  nowMs = 0
  /** The peer's echo as a time of ours, milliseconds; valid if hasEcho is 1. */
  echoMs = 0
  hasEcho = 0

  /** Sequence numbers by which sndUna moved. */
  ackedBytes = 0
  /** Bytes that left the network: acknowledged or SACKed for the first time (RFC 6937 DeliveredData). */
  deliveredBytes = 0
  /** Of these, by SACK. */
  sackedBytes = 0
  /** RFC 5681 2: nothing new, and nothing in it. */
  duplicate = 0
  /** 1: the peer has got a packet that a router marked (RFC 3168). */
  echo = 0
  /** A duplicate SACK block came along (RFC 2883), and what it covers. */
  dsack = 0
  dsackLeft = 0
  dsackRight = 0
  /** Age of the oldest, and of the newest, segment that was sent once only and arrived now, microseconds; -1: none. */
  rttUs = -1
  rttNewestUs = -1
  /** 1: a segment that had been sent twice arrived: its copies cannot be told apart (Karn, RFC 6298 (3)). */
  retransmissionAcked = 0
  /** 1: a segment sent once only, and before the last time-out, arrived (RFC 5682 3.1). */
  originalArrived = 0
  /** RACK.fack before this ACK; valid if hasFack is 1. */
  fack = 0
  hasFack = 0
  /** 1: something arrived later than what was sent behind it (RFC 8985 6.2 step 3). */
  reordered = 0
  /** Bytes that this ACK made count as lost. */
  lostBytes = 0

  begin(context: TcpContext, c: Connection, segment: Segment): void {
    this.nowUs32 = context.nowUs32
    this.nowMs = context.nowMs
    this.hasEcho = c.timestampsOn !== 0 && segment.hasTimestamps !== 0 ? 1 : 0
    this.echoMs = this.hasEcho !== 0 ? (segment.timestampEcho - c.tsOffset) | 0 : 0
    this.ackedBytes = 0
    this.deliveredBytes = 0
    this.sackedBytes = 0
    this.duplicate = 0
    this.echo = 0
    this.dsack = 0
    this.rttUs = -1
    this.rttNewestUs = -1
    this.retransmissionAcked = 0
    this.originalArrived = 0
    this.fack = c.rackFack
    this.hasFack = c.rackFackValid
    this.reordered = 0
    this.lostBytes = 0
  }

  /** For losses that no ACK, but time, brings to light. */
  beginTimer(context: TcpContext): void {
    this.nowUs32 = context.nowUs32
    this.nowMs = context.nowMs
    this.ackedBytes = 0
    this.deliveredBytes = 0
    this.sackedBytes = 0
    this.lostBytes = 0
  }

  /** A segment that was sent once only arrived `ageUs` after that. */
  noteAge(ageUs: number): void {
    if (ageUs > this.rttUs) this.rttUs = ageUs
    if (this.rttNewestUs < 0 || ageUs < this.rttNewestUs) this.rttNewestUs = ageUs
  }
}
