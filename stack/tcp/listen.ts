/**
 * Passive open: a listener, and what a segment to it does (RFC 9293 3.10.7.2). When the backlog is full, SYNs are
 * answered with cookies; without them they are dropped silently, as they are when all connections are taken: the peer
 * tries again, while a RST would tell it to give up.
 *
 * The accept queue is the application's own: onAccept is called with the handshake's last ACK, and who queues connections
 * says when there are too many (Listener.accepting). Then SYNs and last ACKs are dropped, as Linux does behind a full queue:
 * the SYN-ACK goes again, and its answer finds room or is dropped like the one before.
 *
 * Called by: input.ts, tcp.ts. Calls: handshake.ts, cookie-handshake.ts.
 */
import { SipHash } from '../siphash.ts'
import { FLAG_ACK, FLAG_RST, FLAG_SYN } from '../wire/tcp.ts'
import type { Application, ListenOptions } from './application.ts'
import { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { answerWithCookie, cookieOf, expectsCookie, restoreHandshake } from './cookie-handshake.ts'
import { copyEndpoints, type Endpoints } from './demux.ts'
import { openFast } from './fast-open.ts'
import { initializeConnection, negotiate } from './handshake.ts'
import type { Segment } from './segment.ts'
import { NO_SLOT } from './slots.ts'
import { sendResetFor } from './stateless.ts'
import { STATE_SYN_RECEIVED } from './states.ts'
import { COOKIES_ALWAYS, COOKIES_OFF } from './syn-cookies.ts'

export class Listener {
  readonly port: number
  readonly application: Application
  readonly options: ListenOptions
  readonly backlog: number
  readonly connectionsMax: number
  /** For the application to set: false while it can take no connection. None that it has not taken is reset for that. */
  accepting = true
  /** Handshakes in progress, and accepted connections that live. */
  halfOpen = 0
  accepted = 0
  /** 1: SYNs were answered with cookies, the last time at cookiesMs. */
  cookiesSent = 0
  cookiesMs = 0
  /** Accepted by Fast Open, their handshakes in progress; and how many there may be. */
  fastOpenPending = 0
  fastOpenMax: number
  /** Makes its cookies; undefined: as the host does. */
  fastOpenHash: SipHash | undefined = undefined

  /**
   * @param backlog handshakes in progress, unless the options say otherwise
   * @param fastOpenMax likewise, of those in progress the ones that Fast Open has accepted
   */
  constructor(port: number, application: Application, options: ListenOptions, backlog: number, fastOpenMax: number) {
    this.port = port
    this.application = application
    this.options = options
    this.backlog = options.backlog ?? backlog
    this.connectionsMax = options.connectionsMax ?? 0x7fffffff
    this.fastOpenMax = options.fastOpenMax ?? fastOpenMax
  }

  /** Cookies of this listener's own (Linux TCP_FASTOPEN_KEY). @param key 16 bytes */
  setFastOpenKey(key: Uint8Array): void {
    this.fastOpenHash = new SipHash(key)
  }
}

/** @returns the connection that the segment has made and is to be worked on by: it was the ACK of a handshake with a cookie */
export function listenInput(context: TcpContext, listener: Listener, segment: Segment): Connection | undefined {
  const { flags } = segment
  if ((flags & FLAG_RST) !== 0) return undefined
  if ((flags & FLAG_ACK) !== 0) return ackInput(context, listener, segment)
  if ((flags & FLAG_SYN) === 0) {
    context.counters.dropNoAck++
    return undefined
  }
  synInput(context, listener, segment)
  return undefined
}

/** Whether the application takes connections now; one more drop is counted if not. */
export function isAccepting(context: TcpContext, listener: Listener): boolean {
  if (!listener.accepting) context.counters.dropNotAccepting++
  return listener.accepting
}

function synInput(context: TcpContext, listener: Listener, segment: Segment): void {
  if (!isAccepting(context, listener)) return
  const { synCookies } = context.tuning
  const full = listener.halfOpen >= listener.backlog
  if (synCookies === COOKIES_ALWAYS || (full && synCookies !== COOKIES_OFF)) {
    answerWithCookie(context, listener, segment)
    return
  }
  if (full) {
    context.counters.dropBacklog++
    return
  }
  const c = createPassive(context, listener, segment)
  if (c === undefined) return
  initializeConnection(context, c, listener.options)
  negotiate(context, c, segment)
  c.state = STATE_SYN_RECEIVED
  c.synPending = 1
  context.queueOutput(c)
  openFast(context, c, listener, segment)
}

/** Nothing can be acknowledged here but a cookie. */
function ackInput(context: TcpContext, listener: Listener, segment: Segment): Connection | undefined {
  if ((segment.flags & FLAG_SYN) === 0 && expectsCookie(context, listener)) {
    const mss = cookieOf(context, segment)
    if (mss !== 0) {
      if (!isAccepting(context, listener)) return undefined
      // Without room it is dropped: the peer's data comes again, and brings the cookie once more.
      const c = createPassive(context, listener, segment)
      if (c !== undefined) restoreHandshake(context, c, listener, segment, mss)
      return c
    }
    context.counters.cookiesRefused++
  }
  context.counters.dropNoConnection++
  sendResetFor(context, segment)
  return undefined
}

/** A connection of the listener's, half-open; undefined if there are too many. */
function createPassive(context: TcpContext, listener: Listener, segment: Segment): Connection | undefined {
  if (listener.halfOpen + listener.accepted >= listener.connectionsMax) {
    context.counters.dropConnectionsMax++
    return undefined
  }
  const c = createConnection(context, listener.application, segment)
  if (c === undefined) return undefined
  c.listener = listener
  c.halfOpen = 1
  listener.halfOpen++
  context.counters.passiveOpens++
  return c
}

/** A connection with its addresses, in the table; undefined if there are too many. */
export function createConnection(context: TcpContext, application: Application, e: Endpoints): Connection | undefined {
  const slot = context.slots.take()
  if (slot === NO_SLOT) {
    context.counters.dropConnectionsMax++
    return undefined
  }
  const c = new Connection(context, slot, application)
  copyEndpoints(c, e)
  context.connections[slot] = c
  context.demux.insert(slot, c)
  return c
}
