/**
 * A device moves frames between a link and buffers of the pool: receive burst, transmit burst, capabilities,
 * readiness. It knows nothing of protocols and never reads a clock.
 *
 * Both bursts are flat arrays of descriptors, four int32 each, so that one native call serves a burst and
 * nothing is allocated per frame:
 *
 *   receive   [buffer, offset, length, sum | flags]   buffer reference passes to the caller
 *   transmit  [buffer, offset, length, flags]         MORE: the frame goes on in the next descriptor
 *
 * A frame that is longer than a buffer is received into several, one descriptor each: RX_MORE stands in all but the
 * last.
 *
 * Invariants:
 *  1. After `receive` the caller owns one reference to the buffer of each descriptor it got.
 *  2. `transmit` borrows: a device that needs a buffer past the call takes its own reference.
 *  3. A received descriptor with RX_MORE holds RX_PIECE_BYTES_MIN or more: headers lie in the first piece, but for extension headers
 *     of IPv6 that are longer; the stack refuses those.
 */

export const DESCRIPTOR_WORDS = 4
export const D_BUFFER = 0
export const D_OFFSET = 1
export const D_LENGTH = 2
/**
 * Receive: Internet sum of the descriptor's bytes, of the first one of a frame from byte 14 (behind the Ethernet header)
 * on; and RX_MORE. Each sum is one of its own bytes only: what stands at an odd offset of the frame is not swapped.
 */
export const D_SUM = 3
/** Transmit: descriptor flags. */
export const D_FLAGS = 3

/** Transmit flag: the frame goes on in the next descriptor. */
export const TX_MORE = 1
/** Of a frame's first descriptor: TCP, its headers all in this one, with the right checksum. */
export const TX_TCP = 2
/** Of the same: the payload is that of segments of so many bytes, the last one perhaps shorter; only where `segmentsTcp`. */
export const TX_SEGMENT_SHIFT = 16
/** The same as TX_MORE in a received descriptor, above the sum. */
export const RX_MORE = 1 << 16
export const RX_SUM_MASK = 0xffff
/** A received frame of more pieces than one has so many bytes in each but the last: a full frame of plain Ethernet. */
export const RX_PIECE_BYTES_MIN = 1514

export const RECEIVE_BURST_FRAMES = 128
/** Room for a few frames of 64 KiB, of 33 buffers each. */
export const RECEIVE_BURST_DESCRIPTORS = 512
/** A frame takes up to TX_FRAME_DESCRIPTORS_MAX descriptors: one for headers, the others for views. */
export const TRANSMIT_BURST_DESCRIPTORS = 1024
export const TX_FRAME_DESCRIPTORS_MAX = 64

/** Frames that one `receive` call brought in: RECEIVE_BURST_FRAMES at most. */
export class ReceiveBurst {
  readonly descriptors = new Int32Array(RECEIVE_BURST_DESCRIPTORS * DESCRIPTOR_WORDS)
  /** With `receiveTime`: two words a frame, when the link got it, ns since the epoch; 0 and 0 if it does not know. */
  readonly stamps = new Int32Array(RECEIVE_BURST_FRAMES * 2)
  /** Descriptors filled. */
  count = 0

  setStamp(frame: number, low: number, high: number): void {
    this.stamps[frame * 2] = low
    this.stamps[frame * 2 + 1] = high
  }
}

/** The descriptor behind the received frame that begins at word `at`: its word. */
export function receivedFrameEnd(descriptors: Int32Array, at: number): number {
  while ((descriptors[at + D_SUM]! & RX_MORE) !== 0) at += DESCRIPTOR_WORDS
  return at + DESCRIPTOR_WORDS
}

/** Frames collected for one `transmit` call. */
export class TransmitBurst {
  readonly descriptors = new Int32Array(TRANSMIT_BURST_DESCRIPTORS * DESCRIPTOR_WORDS)
  /** Descriptors used. */
  count = 0
  /** Whole frames. */
  frames = 0

  /** Room for one more frame of any shape? */
  hasRoom(): boolean {
    return this.count + TX_FRAME_DESCRIPTORS_MAX <= TRANSMIT_BURST_DESCRIPTORS
  }

  push(buffer: number, offset: number, length: number, flags: number): void {
    const at = this.count * DESCRIPTOR_WORDS
    const d = this.descriptors
    d[at] = buffer
    d[at + D_OFFSET] = offset
    d[at + D_LENGTH] = length
    d[at + D_FLAGS] = flags
    this.count++
    if ((flags & TX_MORE) === 0) this.frames++
  }

  clear(): void {
    this.count = 0
    this.frames = 0
  }
}

export interface DeviceCapabilities {
  /** Largest IP packet, bytes. */
  readonly mtu: number
  /** `receive` fills D_SUM. Without it the stack computes sums itself, in one native call a burst. */
  readonly receiveSum: boolean
  /** `receive` fills `stamps` with the times of the link's own clock. Without it the stack reads a clock, once a burst. */
  readonly receiveTime?: boolean
  /** `transmit` takes TCP frames of several segments, up to 64 KiB, and has them cut where somebody wants segments. */
  readonly segmentsTcp?: boolean
}

/** Counters of a device; one object that lives as long as the device. */
export class DeviceCounters {
  receivedFrames = 0
  receivedBytes = 0
  transmittedFrames = 0
  transmittedBytes = 0
  /** Frames that the kernel or the link refused; TCP sends them again. */
  transmitDropped = 0
  /** `receive` found no free buffer: frames wait in, or fall out of, the device's own queue. */
  receiveStarved = 0
}

/**
 * For a device that holds frames back until their time. Whoever drives it says the time before each turn, and comes
 * back when the next frame is due even if nothing else happens.
 */
export interface DeviceTiming {
  /** Integer microseconds, of the same clock as the stack's. */
  setNow(nowUs: number): void
  /** When the next frame is due, µs; Infinity if none is held back. */
  nextDeadlineUs(): number
}

export interface Device {
  /** How users name it: `tap:packrat0`. */
  readonly name: string
  /** Address of this end, 6 bytes. */
  readonly mac: Uint8Array
  readonly capabilities: DeviceCapabilities
  readonly counters: DeviceCounters
  /** Buffers the device holds ready for reception; idle, hence free for accounting. */
  readonly idleBuffers: number
  /** Only on devices that hold frames back. */
  readonly timing?: DeviceTiming | undefined
  /** Fills `burst` from its start with what is there; returns the number of frames. Never blocks. Throws PackratError if the device is gone. */
  receive(burst: ReceiveBurst): number
  /** Sends every frame of `burst`; frames that the link refuses are counted and dropped. Returns the number of frames sent. */
  transmit(burst: TransmitBurst): number
  /** Calls `ready` once when a frame can be received; replaces an earlier wait. */
  waitReadable(ready: () => void): void
  /** Lets the process end while waiting; releases the link and all buffers held. */
  close(): void
}
