/**
 * What a segment carries beside its payload, and how large a segment may be that comes to us (RFC 9293 3.7.1, RFC 6691).
 * How large one may be that we send is path-mtu.ts's business.
 */
import { ipHeaderBytes } from '../ip.ts'
import { TCP_HEADER_BYTES } from '../wire/tcp.ts'
import type { Connection } from './connection.ts'
import type { TcpContext } from './context.ts'
import { TIMESTAMPS_PADDED_BYTES } from './options.ts'

/** Headers of a segment without options. */
export function headersBytes(c: Connection): number {
  return ipHeaderBytes(c) + TCP_HEADER_BYTES
}

/** Options of every segment behind the handshake. */
export function optionsBytes(c: Connection): number {
  return (c.timestampsOn !== 0 ? TIMESTAMPS_PADDED_BYTES : 0) + (c.accurateEcn?.reservedBytes ?? 0)
}

/** Segment size to announce: what the device takes, or what the application wants. */
export function maximumSegmentSize(context: TcpContext, c: Connection): number {
  const fits = context.mtu - headersBytes(c)
  return c.announcedMss > 0 && c.announcedMss < fits ? c.announcedMss : fits
}
