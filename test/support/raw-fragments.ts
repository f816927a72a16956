/**
 * IPv4 packets cut into fragments by hand, and fragments put together again by the slow and obvious way: for tests of
 * stack/fragments.ts and stack/fragmentation.ts. Every header's sum is right unless a test spoils it.
 */
import { foldSum, sumBytes } from '../../storage/checksum.ts'
import { RawPeer, type RawPeerOptions } from './raw-peer.ts'

export const PEER = 0x0a000001
export const HOST = 0x0a000002

export interface Fragment {
  /** Offset in the datagram's payload, bytes. */
  offset: number
  more: boolean
  bytes: Uint8Array
  protocol: number
  identification: number
  source?: number
  /** The two ECN bits of the IP header. */
  ecn?: number
}

/** A peer that keeps every IPv4 frame of the host, and sends fragments. */
export class FragmentPeer extends RawPeer {
  readonly frames: Uint8Array[] = []

  constructor(options: RawPeerOptions = {}) {
    super(options)
    this.frames.length = 0
  }

  override see(frame: Uint8Array): void {
    super.see(frame)
    // The field is not there yet while the constructor of RawPeer runs.
    if (frame[12] === 8 && frame[13] === 0) this.frames?.push(frame.slice())
  }

  /** In one burst each, as many as a burst takes. */
  sendFragments(fragments: readonly Fragment[]): void {
    for (const fragment of fragments) {
      this.device.queue.push(fragmentFrame(this.device.mac, fragment))
      if (this.device.queue.length === 64) this.poll()
    }
    this.poll()
  }

  /** Payloads of the packets that the host has sent since the last call, put together. */
  takePackets(): { protocol: number; payload: Uint8Array }[] {
    return reassemble(this.frames.splice(0))
  }
}

export function fragmentFrame(mac: Uint8Array, fragment: Fragment): Uint8Array {
  const frame = new Uint8Array(34 + fragment.bytes.length)
  const view = new DataView(frame.buffer)
  frame.set(mac, 0)
  frame.set([2, 0, 0, 0, 0, 1], 6)
  view.setUint16(12, 0x0800)
  view.setUint16(14, 0x4500 | (fragment.ecn ?? 0))
  view.setUint16(16, frame.length - 14)
  view.setUint16(18, fragment.identification)
  view.setUint16(20, (fragment.more ? 0x2000 : 0) | (fragment.offset >>> 3))
  view.setUint16(22, 0x4000 | fragment.protocol)
  view.setInt32(26, fragment.source ?? PEER)
  view.setInt32(30, HOST)
  view.setUint16(24, ~sumBytes(view, 14, 20) & 0xffff)
  frame.set(fragment.bytes, 34)
  return frame
}

/** Cuts a payload at these offsets. */
export function cut(
  payload: Uint8Array,
  protocol: number,
  identification: number,
  cuts: readonly number[],
): Fragment[] {
  const edges = [0, ...cuts, payload.length]
  return edges.slice(1).map((end, index) => ({
    offset: edges[index]!,
    more: end < payload.length,
    bytes: payload.subarray(edges[index]!, end),
    protocol,
    identification,
  }))
}

/** Where fragments of `bytes` each begin, but for the first. */
export function every(bytes: number, length: number): number[] {
  return Array.from({ length: Math.ceil(length / bytes) - 1 }, (_, index) => (index + 1) * bytes)
}

/** A UDP datagram to port 7000 of the host, header and right checksum included. */
export function datagram(data: Uint8Array, source = PEER): Uint8Array {
  const bytes = new Uint8Array(8 + data.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 5000)
  view.setUint16(2, 7000)
  view.setUint16(4, bytes.length)
  bytes.set(data, 8)
  const pseudo = (source >>> 16) + (source & 0xffff) + (HOST >>> 16) + (HOST & 0xffff) + 17 + bytes.length
  view.setUint16(6, ~foldSum(pseudo + sumBytes(view, 0, bytes.length)) & 0xffff)
  return bytes
}

export function echoRequest(data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + data.length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 0x0800)
  view.setInt32(4, 0x12340001)
  bytes.set(data, 8)
  view.setUint16(2, ~sumBytes(view, 0, bytes.length) & 0xffff)
  return bytes
}

/** The obvious way: bytes into an array, in any order; throws on gaps, overlaps and anything else that is not right. */
export function reassemble(frames: readonly Uint8Array[]): { protocol: number; payload: Uint8Array }[] {
  const packets = new Map<string, { protocol: number; parts: { offset: number; bytes: Uint8Array }[]; end: number }>()
  for (const frame of frames) {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
    if (sumBytes(view, 14, 20) !== 0xffff) throw new Error('bad IP header sum')
    const flags = view.getUint16(20)
    const offset = (flags & 0x1fff) << 3
    const bytes = frame.subarray(34, 14 + view.getUint16(16))
    const protocol = view.getUint8(23)
    const whole = (flags & 0x3fff) === 0
    if (!whole && (flags & 0x4000) !== 0) throw new Error('a fragment with DF')
    const key = whole ? `whole ${packets.size}` : `${view.getUint32(30)} ${protocol} ${view.getUint16(18)}`
    const packet = packets.get(key) ?? { protocol, parts: [], end: -1 }
    packets.set(key, packet)
    packet.parts.push({ offset, bytes })
    if ((flags & 0x2000) === 0) packet.end = offset + bytes.length
    else if (bytes.length % 8 !== 0) throw new Error('a fragment of no multiple of 8 bytes')
  }
  return [...packets.values()].map(({ protocol, parts, end }) => {
    parts.sort((a, b) => a.offset - b.offset)
    const payload = Buffer.concat(parts.map((part) => part.bytes))
    let at = 0
    for (const { offset, bytes } of parts) {
      if (offset !== at) throw new Error(`gap or overlap at ${at}`)
      at += bytes.length
    }
    if (payload.length !== end) throw new Error('not whole')
    return { protocol, payload }
  })
}
