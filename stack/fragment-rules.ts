/** Which fragments are refused for what they are, and which ECN codepoint a whole datagram has. Called by: fragments.ts. */
import { PROTOCOL_TCP } from './wire/ipv4.ts'
import { TCP_HEADER_BYTES } from './wire/tcp.ts'

/** RFC 1858 3.2.1: the ports and flags of a segment stand in its first fragment; so do the header words of the others. */
const TRANSPORT_BYTES_MIN = 8

/* RFC 3168 5. */
const NOT_ECT_SEEN = 1 << 0
const CONGESTION_SEEN = 1 << 3
const CONGESTION_EXPERIENCED = 3
/** What ecnOf says of a datagram that is to be dropped. */
export const ECN_CONTRADICTS = -1

/** RFC 1858 3, RFC 3128 2: fragments that would part a transport header, to fool who looks at first fragments only. */
export function isTiny(protocol: number, offset: number, length: number): boolean {
  const header = protocol === PROTOCOL_TCP ? TCP_HEADER_BYTES : TRANSPORT_BYTES_MIN
  return offset === 0 ? length < header : offset < header
}

/**
 * RFC 3168 5.3: a mark of congestion is not lost, and not given to who cannot answer it.
 * @param seen the codepoints of all fragments, a bit each; `last` that of the one that came last
 * @returns the datagram's codepoint, or ECN_CONTRADICTS
 */
export function ecnOf(seen: number, last: number): number {
  if ((seen & CONGESTION_SEEN) === 0) return last
  return (seen & NOT_ECT_SEEN) !== 0 ? ECN_CONTRADICTS : CONGESTION_EXPERIENCED
}
