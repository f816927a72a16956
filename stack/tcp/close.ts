/**
 * How connections end: shutdown, abort, the peer's RST, time-outs, and the orderly end with or without TIME-WAIT.
 *
 *   orderly:  leave the demultiplexing table (a TIME-WAIT row may take over)
 *             -> linger until the application has taken all data -> onClose -> slot free
 *   else:     release both queues -> leave the table -> onClose -> slot free
 *
 * Called by: Connection (shutdown, abort), input.ts, ack.ts, data.ts, timers.ts, tcp.ts.
 */
import { NO_META } from '../../storage/layout.ts'
import { CLOSE_ABORTED, CLOSE_ORDERLY } from './application.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { endFastOpen } from './handshake.ts'
import { releaseReassembly } from './reassembly.ts'
import { releaseReceiveQueue } from './receive-queue.ts'
import { acceptableSequence, releaseSendQueue } from './send-queue.ts'
import { releaseShared } from './shared-buffer.ts'
import { sendConnectionReset, sendTimeWaitAck } from './stateless.ts'
import {
  STATE_CLOSE_WAIT,
  STATE_CLOSED,
  STATE_ESTABLISHED,
  STATE_FIN_WAIT_1,
  STATE_FIN_WAIT_2,
  STATE_LAST_ACK,
  STATE_SYN_RECEIVED,
  STATE_SYN_SENT,
} from './states.ts'
import { armKeepAlive, disarmAll } from './timer-arming.ts'

/** RFC 9293 3.10.4. */
export function shutdownConnection(context: TcpContext, c: Connection): void {
  if (c.finQueued !== 0 || c.lingering !== 0) return
  switch (c.state) {
    case STATE_CLOSED:
      return
    case STATE_SYN_SENT:
      // Nothing is established: just delete the connection.
      endConnection(context, c, CLOSE_ORDERLY)
      return
    case STATE_SYN_RECEIVED: // the FIN goes out when the handshake is over; see ack.ts
      break
    case STATE_ESTABLISHED:
      c.state = STATE_FIN_WAIT_1
      break
    case STATE_CLOSE_WAIT:
      c.state = STATE_LAST_ACK
      break
  }
  c.finQueued = 1
  context.queueOutput(c)
}

/** RFC 9293 3.10.5. */
export function abortConnection(context: TcpContext, c: Connection): void {
  if (c.state === STATE_CLOSED && c.lingering === 0) return
  if (c.lingering === 0 && c.state !== STATE_SYN_SENT) sendConnectionReset(context, c, acceptableSequence(c))
  endConnection(context, c, CLOSE_ABORTED)
}

/** In FIN-WAIT-2: the peer may still send, but not silently forever. */
export function enterFinWait2(context: TcpContext, c: Connection): void {
  c.state = STATE_FIN_WAIT_2
  armKeepAlive(context, c, context.tuning.finWait2Ms)
}

/** Both FINs are there and this side closed first. @param acknowledge the peer's FIN has just come in */
export function enterTimeWait(context: TcpContext, c: Connection, acknowledge: boolean): void {
  context.counters.timeWaits++
  leaveTable(context, c)
  const row = context.timeWaits.enter(c, context.nowMs)
  if (acknowledge) sendTimeWaitAck(context, c, row)
  linger(context, c)
}

/** Both FINs are acknowledged and the peer closed first. */
export function enterClosed(context: TcpContext, c: Connection): void {
  leaveTable(context, c)
  linger(context, c)
}

/** Ends a lingering connection as soon as its data was taken. Called with the output list. */
export function finishLingering(context: TcpContext, c: Connection): void {
  if (c.lingering !== 0 && c.receiveHead === NO_META && c.news === 0) remove(context, c, CLOSE_ORDERLY)
}

/** The end without ceremony: everything queued is given up. */
export function endConnection(context: TcpContext, c: Connection, reason: number): void {
  if (c.lingering === 0) leaveTable(context, c)
  releaseReceiveQueue(context, c)
  remove(context, c, reason)
}

function leaveTable(context: TcpContext, c: Connection): void {
  disarmAll(context, c)
  context.demux.remove(c.slot)
  releaseSendQueue(context, c)
  context.scoreboard.release(c)
  releaseReassembly(context, c)
  releaseShared(context, c)
}

/** Orderly over, but the application may have data to take: tcp.ts asks at the end of the burst. */
function linger(context: TcpContext, c: Connection): void {
  c.state = STATE_CLOSED
  c.lingering = 1
  context.queueOutput(c)
}

function remove(context: TcpContext, c: Connection, reason: number): void {
  const wasHandshake = c.halfOpen !== 0
  endFastOpen(c)
  c.state = STATE_CLOSED
  c.lingering = 0
  c.closeReason = reason
  c.news = 0
  context.connections[c.slot] = undefined
  context.slots.give(c.slot)
  if (c.listener !== undefined) {
    if (wasHandshake) c.listener.halfOpen--
    else c.listener.accepted--
  }
  // The application of a passive open does not know of a connection before onAccept.
  if (!wasHandshake) c.application.onClose(c, reason)
}
