/**
 * The in-place socket interface: what an application gives to the stack and gets from it. It goes beyond POSIX
 * sockets in one thing: bytes are never copied through the interface, chains of metadata lines change owner.
 *
 *   receive   c.takeReceived()  -> head of a chain of lines, in order; the application owns lines and their buffer
 *                                  references from then on: pool.release() each, or commit it to the store
 *   send      c.send(chain)     -> the stack owns the lines until the peer has acknowledged them; to keep a value
 *                                  send clones (pool.clone): a second line on the same buffer. A line's sum
 *                                  (pool.sum) must be right: it goes into the segment's checksum unread
 *
 * One burst, in this order (Host.poll):
 *   every frame goes in -> onAccept as connections get established
 *   -> for each connection that has news: onReceive, onSendSpace
 *   -> burst hooks (the store commits here; replies may be sent here)
 *   -> segments and ACKs go out -> timers
 *   onClose comes at any of these places, once, as the last call for a connection.
 *
 * All calls are synchronous, on the loop. Every Connection method may be called from every callback, and between
 * bursts; what was sent between bursts leaves with the next Host.poll or Host.flush.
 *
 * Rules:
 *  1. onReceive is called once a burst, not once a segment. Data that is not taken stays queued, and closes the
 *     window offered to the peer; taking it later opens the window again. onReceive is not repeated for it.
 *  2. The end of the peer's data (FIN) shows as c.receiveFinished after the last line; onReceive announces it too.
 *  3. An orderly close waits until the application has taken all received data: then onClose(c, CLOSE_ORDERLY).
 *  4. With any other reason what was still queued, both ways, is released by the stack before onClose.
 *  5. After onClose the connection object is dead: its methods do nothing and send() releases the chain.
 */
import type { Connection } from './connection.ts'

export interface Application {
  /** The connection is established, whichever side opened it. Set c.user here. */
  onAccept(connection: Connection): void
  /** New data in order (takeReceived), or its end (receiveFinished). */
  onReceive(connection: Connection): void
  /** The send queue fell to its low mark or below: there is room for more. */
  onSendSpace(connection: Connection): void
  /** The connection is gone; release everything held for it. Also the answer to a failed connect. */
  onClose(connection: Connection, reason: number): void
}

/* Why a connection is gone. */
/** Both sides closed, everything was delivered both ways. */
export const CLOSE_ORDERLY = 0
/** The peer sent RST. */
export const CLOSE_RESET = 1
/** Retransmissions, probes or keep-alives stayed unanswered. */
export const CLOSE_TIMEOUT = 2
/** RST in answer to our SYN: nobody listens. */
export const CLOSE_REFUSED = 3
/** This side called abort(). */
export const CLOSE_ABORTED = 4
/** ICMP says the destination cannot be reached (while connecting). */
export const CLOSE_UNREACHABLE = 5

/** Options of a connection; for a listener they hold for every connection that it accepts. */
export interface ConnectionOptions {
  /**
   * Bytes that may wait, unread, for the application. Fixes the window scale. Without it the window starts small and grows
   * with what is read, up to RECEIVE_LIMIT_BYTES.
   */
  receiveLimitBytes?: number
  /** The window starts small and grows with what is read, up to the limit; default: where there is no `receiveLimitBytes`. */
  receiveTuning?: boolean
  /**
   * Send queue size that `sendSpace` counts against. Without it, and without a low mark, it starts small and grows with the
   * congestion window, up to SEND_LIMIT_BYTES.
   */
  sendLimitBytes?: number
  /** onSendSpace is called when the queue falls to this (default half of the limit). */
  sendLowMarkBytes?: number
  /** Sends small segments at once (no Nagle, RFC 9293 3.7.4). Default false. */
  noDelay?: boolean
  /**
   * Splits views wherever a segment is full, as if all that is sent were one run of bytes; default: views that fit into a
   * segment stay whole, because a whole view brings its sum along (send-queue.ts).
   */
  fullSegments?: boolean
  /** Probes a silent peer (RFC 9293 3.8.4). Default off. */
  keepAlive?: boolean
  keepAliveIdleMs?: number
  keepAliveIntervalMs?: number
  keepAliveProbes?: number
  /** Gives up when data stays unacknowledged this long (RFC 5482); 0 = only by the number of retransmissions. */
  userTimeoutMs?: number
  /** Maximum segment size to announce; default from the device's MTU. */
  mss?: number
  /** SYNs sent again before connecting fails (Linux TCP_SYNCNT; default the host's). */
  synRetries?: number
}

export interface ListenOptions extends ConnectionOptions {
  /** Handshakes in progress; further SYNs are answered with cookies, or dropped, so that the peer tries again. */
  backlog?: number
  /** Accepted connections that live at the same time; handshakes beyond are dropped. */
  connectionsMax?: number
  /** Connections that Fast Open has accepted and whose handshakes are not over; 0: none (default the host's). */
  fastOpenMax?: number
}

export interface ConnectOptions extends ConnectionOptions {
  /** 0 or absent: an ephemeral port. */
  localPort?: number
  /**
   * RFC 7413: what is sent before this burst ends goes with the SYN if the server has given a cookie before (`synDataLimit`
   * says how much); else the SYN asks for one. Only for requests that may arrive twice (RFC 7413 2.1). Default false.
   */
  fastOpen?: boolean
  /** With `fastOpen`: data goes with the SYN even if the server has given no cookie (default the host's). */
  fastOpenWithoutCookie?: boolean
}
