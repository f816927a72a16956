/**
 * What happens when a connection's timer fires. Handlers only mark what output.ts shall send, except for the keep-alive
 * probe, which is no part of the send sequence.
 *
 * Called by: tcp.ts, from the timer wheel at the end of a burst. Calls: recovery of the context, close.ts, output.ts.
 */
import { elapsed } from '../clock.ts'
import { RTO_MAX_MS } from '../limits.ts'
import { CLOSE_TIMEOUT, CLOSE_UNREACHABLE } from './application.ts'
import { endConnection } from './close.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { sendKeepAlive } from './output.ts'
import { detectBlackHole } from './path-mtu.ts'
import { NO_SEGMENT } from './scoreboard.ts'
import { CORK_OVERDUE } from './send-policy.ts'
import { acceptableSequence } from './send-queue.ts'
import { seqAdd } from './seq.ts'
import { sendConnectionReset } from './stateless.ts'
import {
  ACK_DELAYED,
  ACK_NOW,
  LOSS_TIMER_CORK,
  LOSS_TIMER_PERSIST,
  LOSS_TIMER_PROBE,
  LOSS_TIMER_REORDER,
  LOSS_TIMER_RETRANSMISSION,
  STATE_CLOSING,
  STATE_LAST_ACK,
  STATE_SYN_RECEIVED,
  STATE_SYN_SENT,
} from './states.ts'
import {
  armKeepAlive,
  armProbeOrRetransmission,
  isLossTimerArmed,
  keepAliveIdle,
  rearmLossTimer,
  TIMER_DELAYED_ACK,
  TIMER_KEEP_ALIVE,
  TIMER_LOSS,
  TIMERS_PER_CONNECTION,
} from './timer-arming.ts'

/** @param index number of the timer behind context.firstTimer */
export function connectionTimer(context: TcpContext, index: number): void {
  const c = context.connections[Math.trunc(index / TIMERS_PER_CONNECTION)]
  if (c === undefined) return
  switch (index % TIMERS_PER_CONNECTION) {
    case TIMER_LOSS:
      if (c.state === STATE_SYN_SENT || c.state === STATE_SYN_RECEIVED) onSynTimeout(context, c)
      else onLossTimer(context, c)
      break
    case TIMER_DELAYED_ACK:
      if (c.ackPending !== ACK_DELAYED) break
      c.ackPending = ACK_NOW
      context.counters.delayedAcks++
      context.queueOutput(c)
      break
    case TIMER_KEEP_ALIVE:
      onKeepAlive(context, c)
      break
  }
}

function onSynTimeout(context: TcpContext, c: Connection): void {
  const { synLinearTimeouts, synAckRetries } = context.tuning
  const max = c.state === STATE_SYN_SENT ? c.synRetriesMax + synLinearTimeouts : synAckRetries
  if (c.backoff >= max || userTimeoutIsOver(context, c)) {
    endConnection(context, c, c.unreachable !== 0 ? CLOSE_UNREACHABLE : CLOSE_TIMEOUT)
    return
  }
  context.counters.timeouts++
  c.backoff++ // RFC 6298 (5.5)
  c.synPending = 1
  context.queueOutput(c)
}

function onLossTimer(context: TcpContext, c: Connection): void {
  const lossTimer = c.lossTimer
  c.lossTimer = LOSS_TIMER_RETRANSMISSION
  switch (lossTimer) {
    case LOSS_TIMER_PERSIST:
      onPersist(context, c)
      break
    case LOSS_TIMER_CORK:
      c.corkDue = CORK_OVERDUE
      context.queueOutput(c)
      break
    case LOSS_TIMER_REORDER:
      onReorder(context, c)
      break
    case LOSS_TIMER_PROBE:
      if (c.segmentHead === NO_SEGMENT) break
      c.tailProbeDue = 1
      context.queueOutput(c)
      break
    default:
      onRetransmission(context, c)
  }
}

/** RFC 8985 6.3. */
function onReorder(context: TcpContext, c: Connection): void {
  const { delivery } = context
  delivery.beginTimer(context)
  context.recovery.onReorderTimer(c, delivery)
  rearmLossTimer(context, c, false)
  if (!isLossTimerArmed(context, c)) armProbeOrRetransmission(context, c)
  context.queueOutput(c)
}

/** RFC 6298 (5.4) to (5.6), RFC 9293 3.8.3. */
function onRetransmission(context: TcpContext, c: Connection): void {
  if (c.segmentHead === NO_SEGMENT) return
  const closing = c.state === STATE_CLOSING || c.state === STATE_LAST_ACK
  const { orphanRetries, retries } = context.tuning
  const spent = c.backoff >= (closing ? orphanRetries : retries) && !holdsWindowShut(context, c)
  if (spent || userTimeoutIsOver(context, c)) {
    giveUp(context, c)
    return
  }
  context.counters.timeouts++
  detectBlackHole(context, c)
  context.recovery.onTimeout(c)
  c.backoff++
  context.queueOutput(c)
}

/** A peer that has shut its window over data in flight, and answers: retransmissions are its probes (RFC 9293 3.8.6.1). */
function holdsWindowShut(context: TcpContext, c: Connection): boolean {
  return c.sndWnd === 0 && ((context.nowMs - c.lastHeardMs) | 0) <= RTO_MAX_MS
}

/** RFC 9293 3.8.6.1: as long as the peer answers, probing goes on for ever. */
function onPersist(context: TcpContext, c: Connection): void {
  if (c.probesUnanswered >= context.tuning.retries || userTimeoutIsOver(context, c)) {
    giveUp(context, c)
    return
  }
  c.probesUnanswered++
  c.backoff++
  c.probePending = 1
  context.queueOutput(c)
}

/** RFC 9293 3.8.4. */
function onKeepAlive(context: TcpContext, c: Connection): void {
  const idleMs = keepAliveIdle(context, c)
  const silentMs = elapsed(context.nowMs, c.lastHeardMs)
  if (c.sndUna !== seqAdd(c.sendEnd, c.finQueued)) {
    armKeepAlive(context, c, idleMs) // retransmission, or a window probe, finds out
    return
  }
  if (silentMs < idleMs) {
    armKeepAlive(context, c, idleMs - silentMs)
    return
  }
  if (c.keepAliveProbes >= c.keepAliveProbesMax) {
    sendConnectionReset(context, c, acceptableSequence(c)) // in case that the peer is alive and deaf (Linux tcp_keepalive_timer)
    giveUp(context, c)
    return
  }
  c.keepAliveProbes++
  sendKeepAlive(context, c)
  armKeepAlive(context, c, c.keepAliveIntervalMs)
}

/** RFC 9293 3.8.3: R2 has passed, and whatever was sent was sent in vain: so would be a RST. */
function giveUp(context: TcpContext, c: Connection): void {
  endConnection(context, c, CLOSE_TIMEOUT)
}

/** RFC 5482. */
function userTimeoutIsOver(context: TcpContext, c: Connection): boolean {
  return c.userTimeoutMs > 0 && ((context.nowMs - c.progressMs) | 0) >= c.userTimeoutMs
}
