/**
 * TCP Fast Open, the server's side (RFC 7413): a client that has once shown that it receives at its address gets a
 * cookie, and with it the data in its later SYNs goes to the application before the handshake is over.
 *
 *   SYN, cookie request ─────────► SYN-ACK, cookie                   (4.1.2) the data is not taken
 *   SYN, cookie, data ───────────► onAccept, onReceive; SYN-ACK of SYN and data; replies, and FIN, behind it (4.2.2)
 *
 * Until the SYN-ACK is acknowledged nothing but it is sent again. How many connections may live so is limited (5.1):
 * beyond that a SYN is one without Fast Open, and so is every SYN while a backlog is full.
 *
 * Called by: listen.ts, output.ts. Calls: data.ts. The client's side is fast-open-client.ts.
 */
import { isIpv4Pair } from '../ip.ts'
import { deriveKey, SipHash } from '../siphash.ts'
import { FLAG_FIN, FLAG_SYN } from '../wire/tcp.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { receiveData } from './data.ts'
import type { Endpoints } from './demux.ts'
import type { Listener } from './listen.ts'
import { FAST_OPEN_COOKIE_BYTES } from './options.ts'
import type { Segment } from './segment.ts'
import { seqAdd, seqDiff } from './seq.ts'
import { FAST_OPEN_EXPERIMENTAL, FAST_OPEN_STANDARD, STATE_SYN_RECEIVED } from './states.ts'

/** Both addresses, of IPv6. */
const WORDS_MAX = 8

export class FastOpenCookies {
  /** The cookie of the last `compute`. */
  readonly cookie = new Uint8Array(FAST_OPEN_COOKIE_BYTES)
  private readonly cookieView = new DataView(this.cookie.buffer)
  private readonly own: SipHash
  private hash: SipHash
  private readonly words = new Int32Array(WORDS_MAX)

  /** @param key 16 bytes that several hosts of one address share; absent: of this host alone */
  constructor(secret: Uint8Array, key: Uint8Array | undefined) {
    this.own = new SipHash(key ?? deriveKey(secret, 'Fast Open cookies'))
    this.hash = this.own
  }

  /** Which key counts for what follows: that of the listener, or the host's. */
  useKey(listener: Listener | undefined): void {
    this.hash = listener?.fastOpenHash ?? this.own
  }

  /**
   * RFC 7413 4.1.2: a keyed hash of the addresses; ports change with every connection. With the same key it is Linux's
   * cookie: the peer's address and ours as they stand in the packet.
   */
  compute(e: Endpoints): void {
    const { words, hash } = this
    let count = 0
    if (!isIpv4Pair(e)) {
      words[count++] = swapped(e.remoteAddress0)
      words[count++] = swapped(e.remoteAddress1)
      words[count++] = swapped(e.remoteAddress2)
      words[count++] = swapped(e.remoteAddress3)
      words[count++] = swapped(e.localAddress0)
      words[count++] = swapped(e.localAddress1)
      words[count++] = swapped(e.localAddress2)
      words[count++] = swapped(e.localAddress3)
    } else {
      words[count++] = swapped(e.remoteAddress3)
      words[count++] = swapped(e.localAddress3)
    }
    hash.hash(words, count)
    this.cookieView.setInt32(0, hash.low, true)
    this.cookieView.setInt32(4, hash.high, true)
  }

  /** Whether the SYN's cookie is the one that its sender's address got. */
  isRight(segment: Segment): boolean {
    if (segment.fastOpenBytes !== FAST_OPEN_COOKIE_BYTES) return false
    this.compute(segment)
    const { view, fastOpenAt } = segment
    return (
      view.getInt32(fastOpenAt) === this.cookieView.getInt32(0) &&
      view.getInt32(fastOpenAt + 4) === this.cookieView.getInt32(4)
    )
  }
}

function isRight(context: TcpContext, listener: Listener, segment: Segment): boolean {
  context.fastOpen.useKey(listener)
  return context.fastOpen.isRight(segment)
}

/** A SYN has made a connection: takes its data now, or gives a cookie for the next time, if it asks for either. */
export function openFast(context: TcpContext, c: Connection, listener: Listener, segment: Segment): void {
  const withoutCookie = context.tuning.fastOpenWithoutCookie && segment.payloadLength > 0
  if (listener.fastOpenMax === 0 || (segment.fastOpenBytes < 0 && !withoutCookie)) return
  if (listener.fastOpenPending >= listener.fastOpenMax) {
    context.counters.fastOpenOverflows++
    return
  }
  if (!context.tuning.fastOpenWithoutCookie && !isRight(context, listener, segment)) {
    c.fastOpenOption = segment.fastOpenExperimental !== 0 ? FAST_OPEN_EXPERIMENTAL : FAST_OPEN_STANDARD
    return
  }
  context.counters.fastOpens++
  listener.fastOpenPending++
  c.fastOpenPending = 1
  c.halfOpen = 0
  listener.halfOpen--
  listener.accepted++
  // The window is the data's: the SYN-ACK is no part of what is in flight.
  c.sndUna = seqAdd(c.iss, 1)
  context.congestion.initialize(c)
  if (segment.payloadLength > 0) c.synDataTaken = 1
  c.application.onAccept(c)
  if (c.state !== STATE_SYN_RECEIVED || segment.payloadLength === 0) return
  segment.sequence = seqAdd(segment.sequence, 1)
  segment.flags &= ~(FLAG_SYN | FLAG_FIN)
  // What came with the SYN takes nothing from the window that its answer offers (Linux tcp_openreq_init_rwin).
  const offered = seqDiff(c.rcvAdvertised, c.rcvNxt)
  receiveData(context, c, segment)
  c.rcvAdvertised = seqAdd(c.rcvNxt, offered)
}

/** A word as its bytes stand in a packet, read in little-endian order. */
function swapped(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)
}
