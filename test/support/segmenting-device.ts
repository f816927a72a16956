/**
 * A device around a device of a test that takes frames of several TCP segments, as a TAP with offloads does: it cuts them,
 * as a network card would, or passes them on whole, as the kernel does to itself. Each such frame is checked first: its
 * checksum is right, and what its flags say of it fits.
 */
import {
  D_BUFFER,
  D_FLAGS,
  DESCRIPTOR_WORDS,
  type Device,
  type DeviceCapabilities,
  type DeviceCounters,
  type ReceiveBurst,
  TransmitBurst,
  TX_FRAME_DESCRIPTORS_MAX,
  TX_MORE,
  TX_SEGMENT_SHIFT,
  TX_TCP,
} from '../../drivers/device.ts'
import { gatherFrame, scatterFrame } from '../../drivers/frame-copy.ts'
import { foldSum, sumBytes } from '../../storage/checksum.ts'
import { BUFFER_BYTES } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'

const ETHERNET_BYTES = 14
const FRAME_BYTES_MAX = ETHERNET_BYTES + 40 + 65_535
const FIN_PSH = 0x09

export class SegmentingDevice implements Device {
  readonly name: string
  readonly mac: Uint8Array
  readonly capabilities: DeviceCapabilities
  readonly counters: DeviceCounters
  /** Frames of several segments that were sent, and the segments in them. */
  runs = 0
  segments = 0
  private readonly device: Device
  private readonly pool: Pool
  private readonly cuts: boolean
  private readonly out = new TransmitBurst()
  private readonly pieces = new Int32Array(TX_FRAME_DESCRIPTORS_MAX * DESCRIPTOR_WORDS)
  private readonly frame = new Uint8Array(FRAME_BYTES_MAX)

  constructor(device: Device, pool: Pool, cuts: boolean) {
    this.device = device
    this.pool = pool
    this.cuts = cuts
    this.name = device.name
    this.mac = device.mac
    this.capabilities = { ...device.capabilities, segmentsTcp: true }
    this.counters = device.counters
  }

  get idleBuffers(): number {
    return this.device.idleBuffers
  }

  receive(burst: ReceiveBurst): number {
    return this.device.receive(burst)
  }

  transmit(burst: TransmitBurst): number {
    const { descriptors } = burst
    let first = 0
    for (let at = 0; at < burst.count * DESCRIPTOR_WORDS; at += DESCRIPTOR_WORDS) {
      if ((descriptors[at + D_FLAGS]! & TX_MORE) !== 0) continue
      const length = gatherFrame(this.pool, descriptors, first, at + DESCRIPTOR_WORDS, this.frame, 0)
      const flags = descriptors[first + D_FLAGS]!
      const head = descriptors[first + 2]!
      this.take(this.frame.subarray(0, length), flags, head)
      first = at + DESCRIPTOR_WORDS
    }
    return burst.frames
  }

  waitReadable(ready: () => void): void {
    this.device.waitReadable(ready)
  }

  close(): void {
    this.device.close()
  }

  private take(frame: Uint8Array, flags: number, head: number): void {
    const segmentBytes = flags >>> TX_SEGMENT_SHIFT
    if ((flags & TX_TCP) === 0) {
      if (segmentBytes > 0) throw new Error('a frame that is not TCP has segments')
      this.forward(frame)
      return
    }
    const start = checkTcp(frame, head)
    if (segmentBytes === 0) {
      this.forward(frame)
      return
    }
    if (frame.length - head <= segmentBytes) throw new Error('a run of one segment')
    this.runs++
    this.segments += Math.ceil((frame.length - head) / segmentBytes)
    if (!this.cuts) {
      this.forward(frame)
      return
    }
    for (let from = head; from < frame.length; from += segmentBytes)
      this.forward(cutSegment(frame, start, head, from, Math.min(from + segmentBytes, frame.length)))
  }

  private forward(frame: Uint8Array): void {
    const { out, pieces, pool } = this
    const end = scatterFrame(pool, frame, BUFFER_BYTES, pieces, 0)
    for (let at = 0; at < end; at += DESCRIPTOR_WORDS)
      out.push(pieces[at]!, pieces[at + 1]!, pieces[at + 2]!, at + DESCRIPTOR_WORDS < end ? TX_MORE : 0)
    this.device.transmit(out)
    for (let at = 0; at < end; at += DESCRIPTOR_WORDS) pool.releaseBuffer(pieces[at + D_BUFFER]!)
    out.clear()
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

function isIpv4(view: DataView): boolean {
  return view.getUint16(12) === 0x0800
}

/** Sum of pseudo-header and segment: 0xffff if the checksum is right. */
function tcpSum(view: DataView, start: number): number {
  const length = view.byteLength - start
  const addresses = isIpv4(view) ? sumBytes(view, 26, 8) : sumBytes(view, 22, 32)
  return foldSum(addresses + 6 + length + sumBytes(view, start, length))
}

/** @returns where the TCP header starts */
function checkTcp(frame: Uint8Array, head: number): number {
  const view = viewOf(frame)
  const start = isIpv4(view) ? 34 : 54
  const protocol = view.getUint8(isIpv4(view) ? 23 : 20)
  if (protocol !== 6) throw new Error(`flagged as TCP, but of protocol ${protocol}`)
  if (head !== start + (view.getUint8(start + 12) >>> 4) * 4) throw new Error('the first descriptor is not the headers')
  if (tcpSum(view, start) !== 0xffff) throw new Error('a frame leaves with a wrong TCP checksum')
  return start
}

/** Bytes [from, to) of a run as a segment of their own. */
function cutSegment(frame: Uint8Array, start: number, head: number, from: number, to: number): Uint8Array {
  const segment = new Uint8Array(head + to - from)
  const view = viewOf(segment)
  segment.set(frame.subarray(0, head))
  segment.set(frame.subarray(from, to), head)
  view.setUint32(start + 4, view.getUint32(start + 4) + from - head)
  if (to < frame.length) segment[start + 13]! &= ~FIN_PSH
  if (isIpv4(view)) {
    view.setUint16(16, segment.length - ETHERNET_BYTES)
    view.setUint16(24, 0)
    view.setUint16(24, ~sumBytes(view, ETHERNET_BYTES, 20) & 0xffff)
  } else view.setUint16(18, segment.length - ETHERNET_BYTES - 40)
  view.setUint16(start + 16, 0)
  view.setUint16(start + 16, ~tcpSum(view, start) & 0xffff)
  return segment
}
