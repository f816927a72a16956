/**
 * The three timers of a connection on the wheel; what happens when they fire stands in timers.ts.
 *
 *   firstTimer + slot * 3   + 0  loss: retransmission, persist, reordering or tail probe; c.lossTimer says which
 *                           + 1  delayed ACK
 *                           + 2  keep-alive; in FIN-WAIT-2 the end of the wait
 */

import { DELAYED_ACK_MS } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { currentRtoMs } from './rtt.ts'
import { NO_SEGMENT } from './scoreboard.ts'
import {
  LOSS_TIMER_CORK,
  LOSS_TIMER_PERSIST,
  LOSS_TIMER_PROBE,
  LOSS_TIMER_REORDER,
  LOSS_TIMER_RETRANSMISSION,
  STATE_CLOSED,
  STATE_FIN_WAIT_2,
  STATE_SYN_RECEIVED,
  STATE_SYN_SENT,
} from './states.ts'
import { tailProbeDelayMs } from './tail-probe.ts'

export const TIMERS_PER_CONNECTION = 3
export const TIMER_LOSS = 0
export const TIMER_DELAYED_ACK = 1
export const TIMER_KEEP_ALIVE = 2

function timerOf(context: TcpContext, c: Connection, timer: number): number {
  return context.firstTimer + c.slot * TIMERS_PER_CONNECTION + timer
}

function armLossTimer(context: TcpContext, c: Connection, lossTimer: number, delayMs: number): void {
  c.lossTimer = lossTimer
  context.timers.arm(timerOf(context, c, TIMER_LOSS), (context.nowMs + delayMs) | 0)
}

/** Starts the retransmission timer anew (RFC 6298 (5.1), (5.3), (5.6)). */
export function armRetransmission(context: TcpContext, c: Connection): void {
  armLossTimer(context, c, LOSS_TIMER_RETRANSMISSION, currentRtoMs(c))
}

/** The same for a SYN or SYN-ACK: a SYN may be sent some times before the time-outs double (Linux tcp_syn_linear_timeouts). */
export function armSyn(context: TcpContext, c: Connection): void {
  const linear = c.state === STATE_SYN_SENT ? Math.min(context.tuning.synLinearTimeouts, c.backoff) : 0
  armLossTimer(context, c, LOSS_TIMER_RETRANSMISSION, currentRtoMs(c, c.backoff - linear))
}

/** RFC 9293 3.8.6.1: first after one retransmission time-out, then doubling. */
export function armPersist(context: TcpContext, c: Connection): void {
  armLossTimer(context, c, LOSS_TIMER_PERSIST, currentRtoMs(c))
}

/** Data waits behind a cork (send-policy.ts): as long as it would wait for an ACK, 200 ms or more (Linux tcp_check_probe_timer). */
export function armCork(context: TcpContext, c: Connection): void {
  armLossTimer(context, c, LOSS_TIMER_CORK, currentRtoMs(c))
}

/** New data was sent, or acknowledged: the probe where there may be one (RFC 8985 7.2), else the time-out. */
export function armProbeOrRetransmission(context: TcpContext, c: Connection): void {
  const delayMs = tailProbeDelayMs(context, c)
  if (delayMs < 0) armRetransmission(context, c)
  else armLossTimer(context, c, LOSS_TIMER_PROBE, Math.min(delayMs, retransmissionLeftMs(context, c)))
}

/** An ACK was processed. @param progress it moved sndUna */
export function rearmLossTimer(context: TcpContext, c: Connection, progress: boolean): void {
  if (c.segmentHead === NO_SEGMENT) {
    if (progress) disarmLossTimer(context, c)
  } else if (c.reorderWaitUs > 0) armLossTimer(context, c, LOSS_TIMER_REORDER, Math.ceil(c.reorderWaitUs / 1000))
  else if (progress) armProbeOrRetransmission(context, c)
  else if (c.lossTimer === LOSS_TIMER_REORDER || c.lossTimer === LOSS_TIMER_PROBE)
    armLossTimer(context, c, LOSS_TIMER_RETRANSMISSION, retransmissionLeftMs(context, c))
}

/** What is left of the time-out of the oldest segment, which another timer stood in for. */
function retransmissionLeftMs(context: TcpContext, c: Connection): number {
  const ageUs = (context.nowUs32 - context.scoreboard.sentUs(c.segmentHead)) | 0
  return Math.max(currentRtoMs(c) - Math.floor(ageUs / 1000), 1)
}

export function disarmLossTimer(context: TcpContext, c: Connection): void {
  c.lossTimer = LOSS_TIMER_RETRANSMISSION
  context.timers.disarm(timerOf(context, c, TIMER_LOSS))
}

export function isLossTimerArmed(context: TcpContext, c: Connection): boolean {
  return context.timers.isArmed(timerOf(context, c, TIMER_LOSS))
}

/** The first unacknowledged segment fixes the moment; later ones do not push it back. */
export function armDelayedAck(context: TcpContext, c: Connection): void {
  const timer = timerOf(context, c, TIMER_DELAYED_ACK)
  if (!context.timers.isArmed(timer)) context.timers.arm(timer, (context.nowMs + DELAYED_ACK_MS) | 0)
}

export function disarmDelayedAck(context: TcpContext, c: Connection): void {
  context.timers.disarm(timerOf(context, c, TIMER_DELAYED_ACK))
}

export function armKeepAlive(context: TcpContext, c: Connection, delayMs: number): void {
  context.timers.arm(timerOf(context, c, TIMER_KEEP_ALIVE), (context.nowMs + delayMs) | 0)
}

/** Switches probing on or off. FIN-WAIT-2 probes in any case: its timer stays. */
export function setKeepAlive(context: TcpContext, c: Connection, on: boolean): void {
  c.keepAliveOn = on ? 1 : 0
  c.keepAliveProbes = 0
  if (c.state === STATE_FIN_WAIT_2 || !isSynchronized(c)) return
  if (on) armKeepAlive(context, c, c.keepAliveIdleMs)
  else context.timers.disarm(timerOf(context, c, TIMER_KEEP_ALIVE))
}

/** The handshake is over and the connection is not: RFC 9293 3.3.2. */
function isSynchronized(c: Connection): boolean {
  return c.state !== STATE_CLOSED && c.state !== STATE_SYN_SENT && c.state !== STATE_SYN_RECEIVED
}

/** Silence after which the peer is probed. In FIN-WAIT-2 every connection is: a peer that is gone would be waited for for ever. */
export function keepAliveIdle(context: TcpContext, c: Connection): number {
  return c.state === STATE_FIN_WAIT_2 && c.keepAliveOn === 0 ? context.tuning.finWait2Ms : c.keepAliveIdleMs
}

/** The peer was heard: no probe counts any more. */
export function heardPeer(context: TcpContext, c: Connection): void {
  c.lastHeardMs = context.nowMs
  c.probesUnanswered = 0
  if (c.keepAliveProbes === 0) return
  c.keepAliveProbes = 0
  armKeepAlive(context, c, keepAliveIdle(context, c))
}

export function disarmAll(context: TcpContext, c: Connection): void {
  for (let timer = 0; timer < TIMERS_PER_CONNECTION; timer++) context.timers.disarm(timerOf(context, c, timer))
}
