/**
 * Congestion control: how much may be in flight. Its state are fields of the connection, in bytes; one object serves all
 * connections.
 *
 * Called by: ack.ts, recovery.ts, timers.ts. The window is read by output.ts.
 */
import type { Connection } from '../connection.ts'

export interface CongestionControl {
  readonly name: string
  /** The connection is established: initial window. */
  initialize(c: Connection): void
  /** New data arrived, outside of fast recovery. @param rttUs its round trip, or -1 */
  onAck(c: Connection, deliveredBytes: number, rttUs: number): void
  /** Fast recovery begins: sets slowStartThreshold; the window goes there by and by (prr.ts). `inFlight` is what was outstanding. */
  onLoss(c: Connection, inFlight: number): void
  /** The retransmission timer expired: sets slowStartThreshold; the window is one segment (recovery.ts). */
  onTimeout(c: Connection, inFlight: number): void
  /** The reduction was needless; window and threshold have been restored (undo.ts). */
  onUndo(c: Connection): void
  /** Sending goes on after nothing was in flight; the last segment was sent `idleMs` ago. */
  onRestart(c: Connection, idleMs: number): void
}
