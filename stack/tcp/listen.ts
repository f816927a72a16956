/**
 * Passive open: a listener, and what a segment to it does (RFC 9293 3.10.7.2). A full backlog drops the SYN silently:
 * the peer tries again, while a RST would tell it to give up.
 *
 * Called by: input.ts, tcp.ts. Calls: handshake.ts.
 */
import { LISTEN_BACKLOG } from '../limits.ts'
import { FLAG_ACK, FLAG_RST, FLAG_SYN } from '../wire/tcp.ts'
import type { Application, ListenOptions } from './application.ts'
import { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Endpoints } from './demux.ts'
import { initializeConnection, negotiate } from './handshake.ts'
import type { Segment } from './segment.ts'
import { NO_SLOT } from './slots.ts'
import { sendResetFor } from './stateless.ts'
import { STATE_SYN_RECEIVED } from './states.ts'

export class Listener {
  readonly port: number
  readonly application: Application
  readonly options: ListenOptions
  readonly backlog: number
  readonly connectionsMax: number
  /** Handshakes in progress, and accepted connections that live. */
  halfOpen = 0
  accepted = 0

  constructor(port: number, application: Application, options: ListenOptions) {
    this.port = port
    this.application = application
    this.options = options
    this.backlog = options.backlog ?? LISTEN_BACKLOG
    this.connectionsMax = options.connectionsMax ?? 0x7fffffff
  }
}

export function listenInput(context: TcpContext, listener: Listener, segment: Segment): void {
  if ((segment.flags & FLAG_RST) !== 0) return
  if ((segment.flags & FLAG_ACK) !== 0) {
    context.counters.dropNoConnection++
    sendResetFor(context, segment)
    return
  }
  if ((segment.flags & FLAG_SYN) === 0) {
    context.counters.dropNoAck++
    return
  }
  if (listener.halfOpen >= listener.backlog) {
    context.counters.dropBacklog++
    return
  }
  if (listener.halfOpen + listener.accepted >= listener.connectionsMax) {
    context.counters.dropConnectionsMax++
    return
  }
  const c = createConnection(context, listener.application, segment)
  if (c === undefined) return
  c.listener = listener
  c.halfOpen = 1
  listener.halfOpen++
  initializeConnection(context, c, listener.options)
  negotiate(context, c, segment)
  c.state = STATE_SYN_RECEIVED
  c.synPending = 1
  context.counters.passiveOpens++
  context.queueOutput(c)
}

/** A connection with its addresses, in the table; undefined if there are too many. */
export function createConnection(context: TcpContext, application: Application, e: Endpoints): Connection | undefined {
  const slot = context.slots.take()
  if (slot === NO_SLOT) {
    context.counters.dropConnectionsMax++
    return undefined
  }
  const c = new Connection(context, slot, application)
  c.localPort = e.localPort
  c.remotePort = e.remotePort
  c.localAddress0 = e.localAddress0
  c.localAddress1 = e.localAddress1
  c.localAddress2 = e.localAddress2
  c.localAddress3 = e.localAddress3
  c.remoteAddress0 = e.remoteAddress0
  c.remoteAddress1 = e.remoteAddress1
  c.remoteAddress2 = e.remoteAddress2
  c.remoteAddress3 = e.remoteAddress3
  context.connections[slot] = c
  context.demux.insert(slot, c)
  return c
}
