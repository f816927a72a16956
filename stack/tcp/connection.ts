/**
 * A TCP connection as its application sees it: its state (connection-state.ts), and what may be called (application.ts).
 *
 * Called by: applications. Calls: send-queue.ts, receive-queue.ts, close.ts.
 */
import { formatAddress } from '../address.ts'
import { QUICK_ACKS } from '../limits.ts'
import { abortConnection, shutdownConnection } from './close.ts'
import { ConnectionState } from './connection-state.ts'
import { takeReceived } from './receive-queue.ts'
import { endRecord } from './records.ts'
import { CORK_LIFTED, CORK_MORE, CORK_SET } from './send-policy.ts'
import { enqueueSend } from './send-queue.ts'
import { setSendWait, WAIT_BUSY, WAIT_QUEUE } from './send-waits.ts'
import { seqDiff } from './seq.ts'
import { ACK_NONE, ACK_NOW, RECEIVE_REFUSED, STATE_CLOSED } from './states.ts'
import { setKeepAlive } from './timer-arming.ts'

/** No limit of takeReceived: more than any receive queue holds. */
const EVERYTHING = 0x7fffffff

export class Connection extends ConnectionState {
  /** Peer's address as text; allocates. */
  get remoteAddress(): string {
    return formatAddress(this.remoteAddress0, this.remoteAddress1, this.remoteAddress2, this.remoteAddress3)
  }

  get localAddress(): string {
    return formatAddress(this.localAddress0, this.localAddress1, this.localAddress2, this.localAddress3)
  }

  /** Bytes that may be sent before the send queue is over its limit; never negative. */
  get sendSpace(): number {
    const space = this.sendLimitBytes - this.sendQueuedBytes
    return Math.max(space, 0)
  }

  /** Bytes sent and not acknowledged. */
  get inFlightBytes(): number {
    return (this.sndNxt - this.sndUna) | 0
  }

  /**
   * Head of the chain of lines received in order, now the caller's; NO_META if there is none.
   * @param limitBytes takes no more lines than are needed for so many bytes; default all
   */
  takeReceived(limitBytes = EVERYTHING): number {
    return takeReceived(this.context, this, limitBytes)
  }

  /**
   * Queues a chain of lines; the stack owns it from now on. Sent with this burst, or with Host.flush.
   * @param more is going to be sent at once: a small segment waits for it, or for an ACK, and is not pushed (Linux MSG_MORE)
   */
  send(chain: number, more = false): void {
    enqueueSend(this.context, this, chain)
    this.corked = more ? this.corked | CORK_MORE : this.corked & CORK_SET
    if (more) this.corkSequence = this.sndUna
  }

  /** Says whether there is more to send than `sendSpace` takes: only tcpInfo's sndbufLimited wants to know. */
  awaitSpace(awaited: boolean): void {
    this.spaceAwaited = awaited ? 1 : 0
    if (!awaited && this.sendWait === WAIT_QUEUE) setSendWait(this.context, this, WAIT_BUSY)
  }

  /** What is queued so far ends a record: no segment holds bytes of it and of what is sent later (Linux MSG_EOR). */
  endRecord(): void {
    endRecord(this)
  }

  /** Sends FIN behind what is queued. Receiving goes on. */
  shutdown(): void {
    shutdownConnection(this.context, this)
  }

  /** Nobody is going to read any more, and nothing waits to be read: data that still comes ends the connection with RST. */
  refuseData(): void {
    if (this.receiveFinished === 0) this.receiveFinished = RECEIVE_REFUSED
  }

  /** Small segments leave at once (RFC 9293 3.7.4), those that wait now included. */
  setNoDelay(noDelay: boolean): void {
    this.noDelay = noDelay ? 1 : 0
    if (!noDelay || this.state === STATE_CLOSED) return
    if (this.corked !== 0 && seqDiff(this.sendEnd, this.sndNxt) > 0) this.corkDue = CORK_LIFTED
    this.context.queueOutput(this)
  }

  /** Until uncork only full segments leave, but nothing waits longer than for an ACK (Linux TCP_CORK). */
  cork(): void {
    this.corked |= CORK_SET
  }

  uncork(): void {
    this.corked &= CORK_MORE
    this.corkDue = 0
    if (this.state !== STATE_CLOSED) this.context.queueOutput(this)
  }

  /** Acknowledges at once for the next segments, or waits from now on for data that an ACK can ride on (Linux TCP_QUICKACK). */
  setQuickAck(quick: boolean): void {
    this.quickAcks = quick ? QUICK_ACKS : 0
    if (!quick || this.ackPending === ACK_NONE) return
    this.ackPending = ACK_NOW
    this.context.queueOutput(this)
  }

  /** Probes a silent peer, or stops to (RFC 9293 3.8.4). @param idleMs silence before the first probe */
  setKeepAlive(keepAlive: boolean, idleMs = this.keepAliveIdleMs): void {
    this.keepAliveIdleMs = idleMs
    setKeepAlive(this.context, this, keepAlive)
  }

  /** Gives up when data stays unacknowledged this long (RFC 5482, for this side only); 0: only by retransmissions. */
  setUserTimeout(timeoutMs: number): void {
    this.userTimeoutMs = timeoutMs
  }

  /** Ends the connection now, with RST where the peer has to know (RFC 9293 3.10.5). onClose(CLOSE_ABORTED) comes before this returns. */
  abort(): void {
    abortConnection(this.context, this)
  }
}
