/**
 * The segment that is being received: one long-lived object, filled from the wire once and then passed through
 * input.ts, ack.ts and data.ts, which trim it. Nothing is allocated per segment.
 */

import { subtractSums, sumBytes } from '../../storage/checksum.ts'
import { W_SUM } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import type { ReceivedPacket } from '../packet.ts'
import {
  FLAG_FIN,
  FLAG_SYN,
  TCP_HEADER_BYTES,
  tcpAcknowledgement,
  tcpDestinationPort,
  tcpFlags,
  tcpHeaderLength,
  tcpSequence,
  tcpSourcePort,
  tcpWindow,
} from '../wire/tcp.ts'
import { clearOptions, parseOptions, type SegmentOptions } from './options.ts'

const NO_BYTES = new DataView(new ArrayBuffer(0))

export class Segment implements SegmentOptions {
  localPort = 0
  remotePort = 0
  localAddress0 = 0
  localAddress1 = 0
  localAddress2 = 0
  localAddress3 = 0
  remoteAddress0 = 0
  remoteAddress1 = 0
  remoteAddress2 = 0
  remoteAddress3 = 0

  sequence = 0
  acknowledgement = 0
  flags = 0
  /** ECN bits of the IP header. */
  ecn = 0
  /** As on the wire, not scaled. */
  window = 0

  /** Where the header was read from: the SACK blocks are read in place. */
  view: DataView = NO_BYTES

  /** Arrival buffer, the frame's offset in it, the payload's offset and length in it, the payload's Internet sum. */
  buffer = 0
  frameOffset = 0
  payloadOffset = 0
  payloadLength = 0
  payloadSum = 0
  /** 1: a line has taken over the reference to the buffer. */
  bufferTaken = 0
  /** 1: a further part of a segment that came in several buffers, which is acknowledged as one. */
  isPart = 0
  /** Payload of the whole segment, all of its parts. */
  wholeLength = 0

  hasTimestamps = 0
  timestampValue = 0
  timestampEcho = 0
  mss = 0
  windowScale = -1
  sackPermitted = 0
  sackBlocks = 0
  sackAt = 0
  fastOpenBytes = -1
  fastOpenAt = 0
  fastOpenExperimental = 0
  accurateBytes = -1
  accurateAt = 0
  accurateKind = 0

  /** Sequence numbers that the segment takes: payload, SYN and FIN (SEG.LEN). */
  get sequenceLength(): number {
    return this.payloadLength + ((this.flags & FLAG_SYN) >>> 1) + (this.flags & FLAG_FIN)
  }

  /**
   * Reads the header. The checksum of the whole was verified before, so the payload's sum is what the header leaves.
   * @returns false if the header is longer than the packet or shorter than a header
   */
  read(packet: ReceivedPacket): boolean {
    const view = packet.view
    const at = packet.at
    this.view = view
    const headerLength = tcpHeaderLength(view, at)
    if (headerLength < TCP_HEADER_BYTES || headerLength > packet.length) return false
    this.remotePort = tcpSourcePort(view, at)
    this.localPort = tcpDestinationPort(view, at)
    this.sequence = tcpSequence(view, at)
    this.acknowledgement = tcpAcknowledgement(view, at)
    this.flags = tcpFlags(view, at)
    this.window = tcpWindow(view, at)
    this.ecn = packet.ecn
    this.localAddress0 = packet.destination0
    this.localAddress1 = packet.destination1
    this.localAddress2 = packet.destination2
    this.localAddress3 = packet.destination3
    this.remoteAddress0 = packet.source0
    this.remoteAddress1 = packet.source1
    this.remoteAddress2 = packet.source2
    this.remoteAddress3 = packet.source3
    this.buffer = packet.buffer
    this.frameOffset = packet.frameOffset
    this.payloadOffset = at - packet.bufferAt + headerLength
    this.payloadLength = packet.length - headerLength
    this.payloadSum = this.payloadLength === 0 ? 0 : subtractSums(packet.sum, sumBytes(view, at, headerLength))
    this.bufferTaken = 0
    this.isPart = 0
    this.wholeLength = this.payloadLength
    clearOptions(this)
    if (headerLength > TCP_HEADER_BYTES) parseOptions(this, view, at + TCP_HEADER_BYTES, at + headerLength)
    return true
  }

  /** Turns to a further part of a payload that came in fragments: the same header, the line's bytes, a number of their own. */
  readPart(pool: Pool, line: number, sequence: number): void {
    this.sequence = sequence
    this.buffer = pool.buffer(line)
    this.frameOffset = pool.get(line, W_SUM) >>> 16
    this.payloadOffset = pool.dataOffset(line)
    this.payloadLength = pool.dataLength(line)
    this.payloadSum = pool.sum(line)
    this.bufferTaken = 0
    this.isPart = 1
    this.sackBlocks = 0 // were read with the first part
  }

  /** Turns to the FIN behind the last part. */
  readEnd(sequence: number): void {
    this.sequence = sequence
    this.payloadLength = 0
    this.bufferTaken = 0
    this.isPart = 1
  }
}
