/**
 * TCP header (RFC 9293 3.1).
 *
 *   0        2        4          8     12    13      14       16    18       20
 *   | source | dest.  | sequence | ack | off | flags | window | sum | urgent | options …
 *
 * Options stand in tcp/options.ts.
 */
export const TCP_HEADER_BYTES = 20
export const TCP_SOURCE = 0
export const TCP_DESTINATION = 2
export const TCP_SEQUENCE = 4
export const TCP_ACKNOWLEDGEMENT = 8
export const TCP_OFFSET_FLAGS = 12
export const TCP_WINDOW = 14
export const TCP_CHECKSUM = 16

export const FLAG_FIN = 0x01
export const FLAG_SYN = 0x02
export const FLAG_RST = 0x04
export const FLAG_PSH = 0x08
export const FLAG_ACK = 0x10
/** Its pointer is not read: urgent data is delivered in line, like every other byte (RFC 6093 3). */
export const FLAG_URG = 0x20
export const FLAG_ECE = 0x40
export const FLAG_CWR = 0x80
/** RFC 9768 3.1, in front of the others. */
export const FLAG_AE = 0x100
const FLAGS = 0x1ff

export function tcpSourcePort(view: DataView, at: number): number {
  return view.getUint16(at + TCP_SOURCE)
}

export function tcpDestinationPort(view: DataView, at: number): number {
  return view.getUint16(at + TCP_DESTINATION)
}

export function tcpSequence(view: DataView, at: number): number {
  return view.getInt32(at + TCP_SEQUENCE)
}

export function tcpAcknowledgement(view: DataView, at: number): number {
  return view.getInt32(at + TCP_ACKNOWLEDGEMENT)
}

/** Header length in bytes, from the offset field's 32-bit words. */
export function tcpHeaderLength(view: DataView, at: number): number {
  return (view.getUint8(at + TCP_OFFSET_FLAGS) >>> 4) << 2
}

export function tcpFlags(view: DataView, at: number): number {
  return view.getUint16(at + TCP_OFFSET_FLAGS) & FLAGS
}

export function tcpWindow(view: DataView, at: number): number {
  return view.getUint16(at + TCP_WINDOW)
}
