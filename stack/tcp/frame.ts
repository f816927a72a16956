/**
 * One TCP segment as a frame: the fixed header and its checksum. The only file of TCP that knows which IP version
 * carries a segment.
 *
 *   at = beginSegment(…)      header slot with Ethernet and IP headers
 *   … options at `at + 20` …
 *   finishSegment(…)          header, checksum, first descriptor; the caller pushes the views and calls ipv4.end()
 *
 * The checksum is put together from numbers that are at hand (RFC 1071): the header's fields, the options, and the
 * stored sums of the views. No payload byte is read.
 *
 * Called by: output.ts, stateless.ts. Calls: ipv4.ts, transmitter.ts.
 */
import { addSums, foldSum, sumBytes } from '../../storage/checksum.ts'
import { IPV4_FRAME_HEADER_BYTES } from '../ipv4.ts'
import type { ReceivedPacket } from '../packet.ts'
import { IPV4_HEADER_BYTES, ipv4PseudoSum, PROTOCOL_TCP, setIpv4Ecn } from '../wire/ipv4.ts'
import { TCP_ACKNOWLEDGEMENT, TCP_CHECKSUM, TCP_HEADER_BYTES, TCP_OFFSET_FLAGS, TCP_SEQUENCE } from '../wire/tcp.ts'
import type { TcpContext } from './context.ts'
import type { Endpoints } from './demux.ts'
import { ECN_CAPABLE } from './ecn.ts'

/** Starts a segment of `length` bytes, header included. Where it lies in transmitter.view, or -1. */
export function beginSegment(context: TcpContext, e: Endpoints, length: number): number {
  return context.ipv4.begin(e.remoteAddress3, PROTOCOL_TCP, length)
}

/** The segment at `at` may be marked by routers: ECT(0) in its IP header (RFC 3168 5). Before finishSegment. */
export function markCapable(context: TcpContext, at: number): void {
  setIpv4Ecn(context.transmitter.view, at - IPV4_HEADER_BYTES, ECN_CAPABLE)
}

/** Writes the fixed header and the checksum, and pushes header and options. */
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
    ipv4PseudoSum(e.localAddress3, e.remoteAddress3, PROTOCOL_TCP) +
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
    payloadSum // twelve terms of at most 2^16: far below 2^31
  if (optionsLength > 0) sum += sumBytes(view, at + TCP_HEADER_BYTES, optionsLength)
  view.setInt32(at + TCP_CHECKSUM, (~foldSum(sum) & 0xffff) << 16) // and urgent pointer 0
  tx.push(tx.buffer, tx.offset, IPV4_FRAME_HEADER_BYTES + headerLength, payloadLength > 0)
  context.counters.sent++
}

/** Whether the checksum of a received segment is right (RFC 9293 3.1). */
export function segmentSumIsRight(packet: ReceivedPacket): boolean {
  return addSums(foldSum(packet.addressSum + PROTOCOL_TCP + packet.length), packet.sum) === 0xffff
}
