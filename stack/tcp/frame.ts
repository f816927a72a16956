/**
 * One TCP segment as a frame: the fixed header and its checksum. Which IP version carries it is ip.ts's business.
 *
 *   at = beginSegment(…)      header slot with Ethernet and IP headers
 *   … options at `at + 20` …
 *   finishSegment(…)          header, checksum, first descriptor; the caller pushes the views and calls ip.end()
 *
 * The checksum is put together from numbers that are at hand (RFC 1071): the header's fields, the options, and the
 * stored sums of the views. No payload byte is read.
 *
 * Called by: segment-output.ts, stateless.ts. Calls: ip.ts, transmitter.ts.
 */
import { addSums, foldSum, sumBytes } from '../../storage/checksum.ts'
import type { ReceivedPacket } from '../packet.ts'
import { PROTOCOL_TCP } from '../wire/ipv4.ts'
import { TCP_ACKNOWLEDGEMENT, TCP_CHECKSUM, TCP_HEADER_BYTES, TCP_OFFSET_FLAGS, TCP_SEQUENCE } from '../wire/tcp.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import type { Endpoints } from './demux.ts'
import { ECN_CAPABLE } from './ecn.ts'

/** Starts a segment of `length` bytes, header included. Where it lies in transmitter.view, or -1. */
export function beginSegment(context: TcpContext, e: Endpoints, length: number): number {
  return context.ip.begin(e, PROTOCOL_TCP, length)
}

/** The segment at `at` may be marked by routers: ECT(0) in its IP header (RFC 3168 5). Before finishSegment. */
export function markCapable(context: TcpContext, at: number): void {
  context.ip.setEcn(context.transmitter.view, at, ECN_CAPABLE)
}

/**
 * Writes the fixed header and the checksum, and pushes header and options.
 * @param segmentBytes of each segment, if the payload is that of several: a device that segmentsTcp cuts it
 */
export function finishSegment(
  context: TcpContext,
  at: number,
  e: Endpoints,
  sequence: number,
  acknowledgement: number,
  flags: number,
  window: number,
  optionsLength: number,
  payloadLength: number,
  payloadSum: number,
  segmentBytes = 0,
): void {
  const tx = context.transmitter
  const view = tx.view
  const headerLength = TCP_HEADER_BYTES + optionsLength
  const offsetFlags = (headerLength << 10) | flags
  view.setInt32(at, (e.localPort << 16) | e.remotePort)
  view.setInt32(at + TCP_SEQUENCE, sequence)
  view.setInt32(at + TCP_ACKNOWLEDGEMENT, acknowledgement)
  view.setInt32(at + TCP_OFFSET_FLAGS, (offsetFlags << 16) | window)
  let sum =
    context.ip.beganAddressSum(e) +
    PROTOCOL_TCP +
    headerLength +
    payloadLength +
    e.localPort +
    e.remotePort +
    (sequence >>> 16) +
    (sequence & 0xffff) +
    (acknowledgement >>> 16) +
    (acknowledgement & 0xffff) +
    offsetFlags +
    window +
    payloadSum // thirty terms of at most 2^16: far below 2^31
  if (optionsLength > 0) sum += sumBytes(view, at + TCP_HEADER_BYTES, optionsLength)
  view.setInt32(at + TCP_CHECKSUM, (~foldSum(sum) & 0xffff) << 16) // and urgent pointer 0
  tx.pushTcpHeaders(context.ip.frameHeaderBytes + headerLength, payloadLength > 0, segmentBytes)
  context.counters.sent++
}

/** Whether the checksum of a received segment is right (RFC 9293 3.1). */
export function segmentSumIsRight(packet: ReceivedPacket): boolean {
  return addSums(foldSum(packet.addressSum + PROTOCOL_TCP + packet.length), packet.sum) === 0xffff
}

/** TSval: milliseconds, with an offset of the connection's own (RFC 7323 5.4). */
export function timestampNow(context: TcpContext, c: Connection): number {
  return (context.nowMs + c.tsOffset) | 0
}
