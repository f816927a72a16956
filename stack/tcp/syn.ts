/**
 * SYN and SYN-ACK: what they offer, the Fast Open option, and the data that goes with a SYN (RFC 7413 4.2.1).
 *
 * Called by: output.ts; cookie-handshake.ts, for a SYN-ACK that nobody remembers. Calls: frame.ts, send-queue.ts.
 */
import { FLAG_ACK, FLAG_SYN, TCP_HEADER_BYTES } from '../wire/tcp.ts'
import { ACCURATE_FIELDS, ACCURATE_PADDED_BYTES, writeAccurate } from './accurate-ecn-option.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { synEcnFlags } from './ecn.ts'
import { beginSegment, finishSegment, timestampNow } from './frame.ts'
import {
  FAST_OPEN_COOKIE_BYTES,
  FAST_OPEN_COOKIE_BYTES_MAX,
  fastOpenLength,
  synOptionsLength,
  writeFastOpen,
  writeSynOptions,
} from './options.ts'
import { WINDOW_FIELD_MAX } from './receive-queue.ts'
import { maximumSegmentSize } from './segment-size.ts'
import { clearGather, Gather, gatherSegment } from './send-queue.ts'
import { seqAdd, seqDiff, seqMax } from './seq.ts'
import { ACK_NONE, FAST_OPEN_EXPERIMENTAL, FAST_OPEN_NONE, STATE_SYN_RECEIVED, STATE_SYN_SENT } from './states.ts'
import { armSyn } from './timer-arming.ts'

const gather = new Gather()
const cookie = new Uint8Array(FAST_OPEN_COOKIE_BYTES_MAX)

/** SYN of an active open, SYN-ACK of a passive one; first time and again. */
export function sendSyn(context: TcpContext, c: Connection): void {
  c.synPending = 0
  armSyn(context, c)
  if (!writeSyn(context, c)) return // no buffer: the timer tries again
  const again = c.backoff > 0 || (c.state === STATE_SYN_SENT && c.segmentsOut > 0)
  c.segmentsOut++
  if (again) {
    context.counters.retransmitted++
    c.totalRetransmitted++
  }
  c.synTiming = again ? 0 : 1 // Karn: not if it was sent twice
  c.synSentUs32 = context.nowUs32
  c.lastAckSent = c.rcvNxt
  c.ackPending = ACK_NONE
}

/** The data of the SYN was too much for the path: the SYN goes again without, at once (Linux tcp_simple_retransmit). */
export function repeatPlainSyn(context: TcpContext, c: Connection): void {
  c.synDataLimit = 0
  c.fastOpenOption = FAST_OPEN_NONE
  c.synPending = 1
  context.queueOutput(c)
}

/** The segment itself. @returns false if there was no buffer for it */
export function writeSyn(context: TcpContext, c: Connection): boolean {
  const passive = c.state === STATE_SYN_RECEIVED
  // A SYN-ACK carries what the SYN asked for (RFC 7323 2.2, 3.2; RFC 2018 2).
  const timestamps = passive ? c.timestampsOn !== 0 : context.timestamps
  const scale = !context.windowScaling || (passive && c.sendScale < 0) ? -1 : c.receiveScale
  const sack = passive ? c.sackOn !== 0 : context.sack
  // A SYN-ACK that comes again may have been dropped for it (RFC 9768 3.2.3.2.1).
  const a = passive && c.segmentsOut === 0 && context.tuning.ecnOption !== 0 ? c.accurateEcn : undefined
  const gap = a === undefined ? 0 : ACCURATE_PADDED_BYTES
  const usual = synOptionsLength(scale, sack, timestamps) + gap
  // A SYN that comes again leaves out what may have been the reason (RFC 7413 4.1.3.1).
  const plain = !passive && c.backoff > 0
  const fastOpen = c.fastOpenOption !== FAST_OPEN_NONE && !plain
  const experimental = c.fastOpenOption === FAST_OPEN_EXPERIMENTAL
  const cookieBytes = fastOpen ? loadCookie(context, c, passive) : 0
  const options = usual + (fastOpen ? fastOpenLength(cookieBytes, experimental) : 0)
  if (!passive && !plain && c.synDataLimit > 0) gatherSegment(context, gather, c.sendHead, 0, c.synDataLimit, 0)
  else clearGather(gather)
  const at = beginSegment(context, c, TCP_HEADER_BYTES + options + gather.bytes)
  if (at < 0) return false
  const { view } = context.transmitter
  const window = Math.min(seqDiff(c.rcvAdvertised, c.rcvNxt), WINDOW_FIELD_MAX)
  const free = writeSynOptions(
    view,
    at + TCP_HEADER_BYTES,
    maximumSegmentSize(context, c),
    scale,
    sack,
    timestamps,
    timestampNow(context, c),
    passive ? c.tsRecent : 0,
    gap,
  )
  if (a !== undefined) writeAccurate(view, free, a.receivedBytes, ACCURATE_FIELDS, gap)
  if (fastOpen) writeFastOpen(view, at + TCP_HEADER_BYTES + usual, cookie, cookieBytes, experimental)
  const flags = (passive ? FLAG_SYN | FLAG_ACK : FLAG_SYN) | synEcnFlags(context, c, passive)
  finishSegment(context, at, c, c.iss, passive ? c.rcvNxt : 0, flags, window, options, gather.bytes, gather.sum)
  if (gather.bytes > 0) pushSynData(context, c)
  context.ip.end()
  return true
}

/** @returns its bytes; 0 asks for one */
function loadCookie(context: TcpContext, c: Connection, passive: boolean): number {
  if (passive) {
    context.fastOpen.useKey(c.listener)
    context.fastOpen.compute(c)
    cookie.set(context.fastOpen.cookie)
    return FAST_OPEN_COOKIE_BYTES
  }
  const cache = context.fastOpenCache
  const row = cache.find(c)
  const bytes = cache.cookieLength(row)
  if (bytes > 0) cache.copyCookie(row, cookie)
  return bytes
}

function pushSynData(context: TcpContext, c: Connection): void {
  const last = gather.count - 1
  for (let index = 0; index <= last; index++)
    context.transmitter.push(gather.buffers[index]!, gather.offsets[index]!, gather.lengths[index]!, index < last)
  c.dataSegmentsOut++
  c.bytesSent += gather.bytes
  // For its ACK it counts as sent, but not as in flight: without one it is sent as if it never had been.
  c.sndMax = seqMax(c.sndMax, seqAdd(c.iss, 1 + gather.bytes))
}
