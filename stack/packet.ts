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

  /** IPv4 addresses. */
  source = 0
  destination = 0
  /** Where the IP header starts and how long it is; in `view`. */
  headerAt = 0
  headerLength = 0
  /** Payload of the IP packet: where it starts in `view`, length, Internet sum. */
  at = 0
  length = 0
  sum = 0

  constructor(view: DataView) {
    this.view = view
  }
}
