/**
 * The three timers of a connection on the wheel; what happens when they fire stands in timers.ts.
 *
 *   firstTimer + slot * 3   + 0  retransmission, or persist while persisting is 1
 *                           + 1  delayed ACK
 *                           + 2  keep-alive; in FIN-WAIT-2 the end of the wait
 */

import { DELAYED_ACK_MS, FIN_WAIT_2_MS } from '../limits.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { currentRtoMs } from './rtt.ts'
import { STATE_CLOSED, STATE_FIN_WAIT_2, STATE_SYN_RECEIVED, STATE_SYN_SENT } from './states.ts'

export const TIMERS_PER_CONNECTION = 3
export const TIMER_RETRANSMISSION = 0
export const TIMER_DELAYED_ACK = 1
export const TIMER_KEEP_ALIVE = 2

function timerOf(context: TcpContext, c: Connection, timer: number): number {
  return context.firstTimer + c.slot * TIMERS_PER_CONNECTION + timer
}

/** Starts the retransmission timer anew (RFC 6298 (5.1), (5.3), (5.6)). */
export function armRetransmission(context: TcpContext, c: Connection): void {
  c.persisting = 0
  context.timers.arm(timerOf(context, c, TIMER_RETRANSMISSION), (context.nowMs + currentRtoMs(c)) | 0)
}

/** RFC 9293 3.8.6.1: first after one retransmission time-out, then doubling. */
export function armPersist(context: TcpContext, c: Connection): void {
  c.persisting = 1
  context.timers.arm(timerOf(context, c, TIMER_RETRANSMISSION), (context.nowMs + currentRtoMs(c)) | 0)
}

export function disarmRetransmission(context: TcpContext, c: Connection): void {
  c.persisting = 0
  context.timers.disarm(timerOf(context, c, TIMER_RETRANSMISSION))
}

export function isRetransmissionArmed(context: TcpContext, c: Connection): boolean {
  return context.timers.isArmed(timerOf(context, c, TIMER_RETRANSMISSION))
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
export function keepAliveIdle(c: Connection): number {
  return c.state === STATE_FIN_WAIT_2 && c.keepAliveOn === 0 ? FIN_WAIT_2_MS : c.keepAliveIdleMs
}

/** The peer was heard: no probe counts any more. */
export function heardPeer(context: TcpContext, c: Connection): void {
  c.lastHeardMs = context.nowMs
  c.probesUnanswered = 0
  if (c.keepAliveProbes === 0) return
  c.keepAliveProbes = 0
  armKeepAlive(context, c, keepAliveIdle(c))
}

export function disarmAll(context: TcpContext, c: Connection): void {
  for (let timer = 0; timer < TIMERS_PER_CONNECTION; timer++) context.timers.disarm(timerOf(context, c, timer))
}
