/**
 * How much a socket of the kernel takes where a script says how large its send buffer is (SO_SNDBUF, tcp_wmem,
 * TCP_NOTSENT_LOWAT). Linux counts its packet buffers, not bytes (tcp_sendmsg_locked): it begins another one as long as
 * there is room for anything at all, fills the last one to the end, and wakes who waits when a third is free.
 *
 *   acknowledged │ piece │ piece │ piece, half full ◄─ filled first
 *                        ▲ sent up to here: what lies on both sides is cut
 *
 * The stack has no such pieces; this is about what calls return, never about what is sent. Where the script says
 * nothing the stack's own limit counts. Called by: script-socket.ts.
 */
import type { Connection } from '../../stack/tcp/connection.ts'
import { seqDiff } from '../../stack/tcp/seq.ts'

/** Of a packet buffer beside its payload (Linux SKB_TRUESIZE of the headers, rounded), bytes. */
const PIECE_OVERHEAD = 1024
/** Linux GSO_LEGACY_MAX_SIZE, less MAX_TCP_HEADER + 1. */
const PIECE_BYTES_MAX = 65_215
/** Linux MAX_TCP_HEADER with what the buffer ends in; struct sk_buff; TCP_INIT_CWND. */
const SEGMENT_HEADERS = 640
const SEGMENT_DESCRIPTOR = 256
const INITIAL_WINDOW = 10
const NO_LOW_MARK = 0xffffffff

export class SendBuffer {
  /** sk_sndbuf, bytes; 0: the script does not say. */
  private limitBytes = 0
  /** Up to which it grows by itself (the last of tcp_wmem); 0: it does not. */
  private growthBytesMax = 0
  /** TCP_NOTSENT_LOWAT: bytes that may wait unsent. */
  private lowMarkBytes = NO_LOW_MARK
  private written = 0
  /** Up to where a piece that was full has left, while the write goes on. */
  private pushedTo = Number.POSITIVE_INFINITY
  /** Offsets behind the pieces that are not acknowledged, oldest first. */
  private readonly ends: number[] = []

  /** TCP_NOTSENT_LOWAT; 0 says that there is none. */
  setLowMark(bytes: number): void {
    this.lowMarkBytes = bytes === 0 ? NO_LOW_MARK : bytes >>> 0
  }

  /** SO_SNDBUF, doubled. */
  setLimit(bytes: number): void {
    this.limitBytes = bytes
    this.growthBytesMax = 0
  }

  /** tcp_wmem: its size at first, and at most. */
  setGrowth(startBytes: number, mostBytes: number): void {
    this.limitBytes = startBytes
    this.growthBytesMax = mostBytes
  }

  /** A connection has what its listener was told. */
  inherit(from: SendBuffer): void {
    this.limitBytes = from.limitBytes
    this.growthBytesMax = from.growthBytesMax
    this.lowMarkBytes = from.lowMarkBytes
  }

  get counts(): boolean {
    return this.limitBytes > 0 || this.lowMarkBytes !== NO_LOW_MARK
  }

  /**
   * Takes as much of `bytes` as goes into one piece.
   * @returns how much; 0: there is no room
   */
  take(c: Connection, bytes: number): number {
    this.settle(c)
    const goal = pieceBytes(c)
    const last = this.ends.length - 1
    const start = this.startOfLast(c)
    const open = last >= 0 ? this.written - start : 0
    if (open > 0 && open < goal) this.ends.pop()
    else if (!this.hasRoom(c)) return 0
    const taken = Math.min(bytes, open < goal ? goal - open : goal)
    this.written += taken
    this.ends.push(this.written)
    return taken
  }

  /** Bytes are going to be written: one call. */
  begin(): void {
    this.pushedTo = Number.POSITIVE_INFINITY
  }

  /** A piece is full, and the write goes on: half a congestion window of it leaves now (Linux tcp_push_one, tcp_cwnd_test). */
  push(c: Connection): void {
    const segments = Math.max(Math.trunc(c.congestionWindow / c.sendMss) >> 1, 1)
    this.pushedTo = this.startOfLast(c) + segments * c.sendMss
  }

  /** Where the last piece begins: behind the one before, and behind what has left. */
  private startOfLast(c: Connection): number {
    const last = this.ends.length - 1
    return Math.max(last > 0 ? this.ends[last - 1]! : this.acknowledged(c), Math.min(this.sent(c), this.pushedTo))
  }

  /** Somebody waits, and something was acknowledged: twice the congestion window (Linux tcp_sndbuf_expand). */
  grow(c: Connection): void {
    const window = Math.trunc(c.congestionWindow / c.sendMss)
    if (this.growthBytesMax === 0) return
    const bytes = 2 * Math.max(window, INITIAL_WINDOW) * segmentCost(c)
    this.limitBytes = Math.max(this.limitBytes, Math.min(bytes, this.growthBytesMax))
  }

  /** Whether a poll says that there is room, and a call that waits goes on (Linux sk_stream_is_writeable). */
  isWriteable(c: Connection): boolean {
    this.settle(c)
    const used = this.used(c)
    return this.limit - used >= used >> 1 && 2 * unsentBytes(c) < this.lowMarkBytes
  }

  private hasRoom(c: Connection): boolean {
    return this.used(c) < this.limit && unsentBytes(c) < this.lowMarkBytes
  }

  private get limit(): number {
    return this.limitBytes || Number.POSITIVE_INFINITY
  }

  private used(c: Connection): number {
    return c.sendQueuedBytes + this.ends.length * PIECE_OVERHEAD
  }

  private acknowledged(c: Connection): number {
    return this.written - c.sendQueuedBytes
  }

  private sent(c: Connection): number {
    return this.written - unsentBytes(c)
  }

  /** Forgets what was acknowledged, and cuts where sending has come to. */
  private settle(c: Connection): void {
    const { ends } = this
    while (ends.length > 0 && ends[0]! <= this.acknowledged(c)) ends.shift()
    const sent = this.sent(c)
    if (sent <= this.acknowledged(c) || ends.includes(sent)) return
    const at = ends.findIndex((end) => end > sent)
    if (at >= 0) ends.splice(at, 0, sent)
  }
}

/** What Linux takes a packet buffer with one segment to cost: a power of two, and its descriptor. */
function segmentCost(c: Connection): number {
  return 2 ** Math.ceil(Math.log2(c.sendMss + SEGMENT_HEADERS)) + SEGMENT_DESCRIPTOR
}

function unsentBytes(c: Connection): number {
  return Math.max(seqDiff(c.sendEnd, c.sndNxt), 0)
}

/** Whole segments, at most half of the largest window that the peer has offered (Linux tcp_xmit_size_goal). */
function pieceBytes(c: Connection): number {
  const most = Math.min(PIECE_BYTES_MAX, c.sndWndMax >> 1)
  return Math.max(Math.trunc(most / c.sendMss), 1) * c.sendMss
}
