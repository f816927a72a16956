/**
 * Congestion control: how much may be in flight. Its state are fields of the connection (congestionWindow,
 * slowStartThreshold, congestionAcked), in bytes; one object serves all connections.
 *
 * Called by: ack.ts, recovery.ts, timers.ts. The window is read by output.ts.
 */
import type { Connection } from '../connection.ts'

export interface CongestionControl {
  readonly name: string
  /** The connection is established: initial window. */
  initialize(c: Connection): void
  /** New data was acknowledged outside of loss recovery. */
  onAck(c: Connection, ackedBytes: number): void
  /** Loss recovery begins: sets slowStartThreshold and reduces the window. `inFlight` is what was outstanding. */
  onLoss(c: Connection, inFlight: number): void
  /** The retransmission timer expired: window of one segment. */
  onTimeout(c: Connection, inFlight: number): void
  /** Nothing was sent for longer than the retransmission time-out (RFC 5681 4.1). */
  onIdle(c: Connection): void
}
