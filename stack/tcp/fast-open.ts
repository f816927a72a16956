/**
 * TCP Fast Open, the server's side (RFC 7413): a client that has once shown that it receives at its address gets a
 * cookie, and with it the data in its later SYNs goes to the application before the handshake is over.
 *
 *   SYN, cookie request ─────────► SYN-ACK, cookie                   (4.1.2) the data is not taken
 *   SYN, cookie, data ───────────► onAccept, onReceive; SYN-ACK of SYN and data
 *
 * Replies wait for the end of the handshake. How many connections may live between SYN and ACK is limited (5.1): beyond
 * that a SYN is one without Fast Open, and so is every SYN while a backlog is full.
 *
 * Called by: listen.ts, output.ts. Calls: data.ts.
 */
import { FAST_OPEN_PENDING_MAX } from '../limits.ts'
import { deriveKey, SipHash } from '../siphash.ts'
import { FLAG_FIN, FLAG_SYN } from '../wire/tcp.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { receiveData } from './data.ts'
import type { Endpoints } from './demux.ts'
import type { Listener } from './listen.ts'
import { FAST_OPEN_COOKIE_BYTES, type SegmentOptions } from './options.ts'
import type { Segment } from './segment.ts'
import { seqAdd } from './seq.ts'
import { STATE_SYN_RECEIVED } from './states.ts'

const ADDRESS_WORDS = 8

export class FastOpenCookies {
  /** The cookie of the last `compute`. */
  high = 0
  low = 0
  private readonly hash: SipHash
  private readonly words = new Int32Array(ADDRESS_WORDS)

  constructor(secret: Uint8Array) {
    this.hash = new SipHash(deriveKey(secret, 'Fast Open cookies'))
  }

  /** RFC 7413 4.1.2: a keyed hash of the addresses; ports change with every connection. */
  compute(e: Endpoints): void {
    const { words, hash } = this
    words[0] = e.localAddress0
    words[1] = e.localAddress1
    words[2] = e.localAddress2
    words[3] = e.localAddress3
    words[4] = e.remoteAddress0
    words[5] = e.remoteAddress1
    words[6] = e.remoteAddress2
    words[7] = e.remoteAddress3
    hash.hash(words, ADDRESS_WORDS)
    this.high = hash.high
    this.low = hash.low
  }

  /** Whether the SYN's cookie is the one that its sender's address got. */
  isRight(e: Endpoints, options: SegmentOptions): boolean {
    if (options.fastOpenBytes !== FAST_OPEN_COOKIE_BYTES) return false
    this.compute(e)
    return options.fastOpenHigh === this.high && options.fastOpenLow === this.low
  }
}

/** A SYN has made a connection: takes its data now, or gives a cookie for the next time, if it asks for either. */
export function openFast(context: TcpContext, c: Connection, listener: Listener, segment: Segment): void {
  if (!context.tuning.fastOpen || segment.fastOpenBytes < 0) return
  if (!context.fastOpen.isRight(c, segment)) {
    c.fastOpenGrant = 1
    return
  }
  if (listener.fastOpenPending >= FAST_OPEN_PENDING_MAX) {
    context.counters.fastOpenOverflows++
    return
  }
  context.counters.fastOpens++
  listener.fastOpenPending++
  c.fastOpenPending = 1
  c.halfOpen = 0
  listener.halfOpen--
  listener.accepted++
  c.application.onAccept(c)
  if (c.state !== STATE_SYN_RECEIVED || segment.payloadLength === 0) return
  segment.sequence = seqAdd(segment.sequence, 1)
  segment.flags &= ~(FLAG_SYN | FLAG_FIN)
  receiveData(context, c, segment)
}
