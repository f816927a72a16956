import { NO_META } from '../storage/layout.ts'

/**
 * The packet that is being received: one long-lived object that every layer fills in further, so that nothing is
 * allocated per packet and no call has ten arguments. It is valid until the input call that it was passed to returns.
 */
export class ReceivedPacket {
  /** Arrival buffer and where the frame lies in it. */
  buffer = 0
  frameOffset = 0
  /** The extent's bytes, and where the buffer starts in it. */
  view: DataView
  bufferAt = 0

  /** Addresses: four int32 words each, IPv4 mapped (address.ts). */
  source0 = 0
  source1 = 0
  source2 = 0
  source3 = 0
  destination0 = 0
  destination1 = 0
  destination2 = 0
  destination3 = 0
  /** What the addresses add to the pseudo-header's sum, not folded: below 2^21. */
  addressSum = 0
  /** 1: sent to a group; IPv6 only. */
  isMulticast = 0
  /** What the payload is: IANA's number. */
  protocol = 0
  /** The two ECN bits of the IP header (RFC 3168 5). */
  ecn = 0
  /** Where the IP header starts and how long it is; in `view`. */
  headerAt = 0
  headerLength = 0
  /** Payload of the IP packet: where it starts in `view`, length, Internet sum. */
  at = 0
  length = 0
  sum = 0
  /**
   * Of a packet that lies in several buffers, because it came in fragments or in a long frame: the other parts of the
   * payload, lines in order, and how many. Who takes them leaves NO_META; the transport header stands in the first part.
   * NO_META for every other packet: it is in one piece.
   */
  rest = NO_META
  restLines = 0
  /** Of a long frame, 0 for others: bytes of those lines, and their sum as if the first stood at an even offset. */
  restBytes = 0
  restSum = 0
  /** Length and sum of the part at `at`: of the whole payload if the packet is in one piece. */
  firstLength = 0
  firstSum = 0

  constructor(view: DataView) {
    this.view = view
  }
}
