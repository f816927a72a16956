/** Errors of this package. Codes: ENODEV (no TUN driver; or the interface was deleted) EPERM EBUSY EINVAL EBADF (released), or another errno name. */
export declare class TapError extends Error {
  readonly code: string
  constructor(code: string, message: string)
}

/** Why no TAP can be created now, or undefined if one can. Creates nothing. */
export declare function probe(): { code: string; message: string } | undefined

/** Internet sum (RFC 1071) of big-endian 16-bit words, folded and not complemented. */
export declare function internetSum(bytes: Uint8Array): number

/** Places in the array that `readCounters` fills, and their number. */
export declare const COUNTERS: number
export declare const C_RECEIVED_FRAMES: number
export declare const C_RECEIVED_BYTES: number
/** Frames dropped because they filled their room, hence may have been cut. */
export declare const C_RECEIVE_TRUNCATED: number
export declare const C_TRANSMITTED_FRAMES: number
export declare const C_TRANSMITTED_BYTES: number
/** Frames that the kernel did not take: interface down, queue full, shorter than an Ethernet header. */
export declare const C_TRANSMIT_REFUSED: number
/** Frames whose checksum the kernel had left to this side; it is right in what `receiveBurst` gives. */
export declare const C_RECEIVED_PARTIAL_SUMS: number
/** Frames of several TCP segments. */
export declare const C_RECEIVED_LONG: number
export declare const C_TRANSMITTED_LONG: number

export type TapOffload = 'none' | 'checksum' | 'all'

/** Buffers of 2048 bytes in up to 64 extents; a buffer's index is `extent << 18 | local`. */
export interface TapMemory {
  readonly extents: readonly ArrayBuffer[]
  /** Byte offset of buffer 0 in each extent. */
  readonly dataStart: readonly number[]
  /** Number of buffers in each extent, at most 2^18. */
  readonly buffers: readonly number[]
}

/**
 * A TAP interface: created, or taken over if one of this name exists that nobody holds (a persistent one whose
 * process ended). Properties are the kernel's side of the link. Everything but the bursts throws TapError.
 */
export declare class Tap {
  /**
   * @param name 1 to 15 bytes; without it the kernel chooses one
   * @param options offload: what is left to the other side of the link, both ways: nothing; checksums of TCP and UDP; or
   *   cutting TCP segments, too, so that frames have up to 64 KiB whatever the MTU
   */
  constructor(name?: string, options?: { readonly offload?: TapOffload })

  readonly name: string
  /** `02:00:00:00:00:01` */
  get mac(): string
  set mac(text: string)
  /** Largest IP packet, bytes. */
  get mtu(): number
  set mtu(bytes: number)
  /** How many frames wait in the kernel for receiveBurst at most; what comes then is dropped. The kernel's default is 1000. */
  get queueLength(): number
  set queueLength(frames: number)
  /** `10.0.0.1/24`; setting replaces it. */
  get ipv4(): string | null
  set ipv4(cidr: string)
  /** The first that is not link-local, `fd00::1/64`; setting replaces all but the link-local. */
  get ipv6(): string | null
  set ipv6(cidr: string)
  get isUp(): boolean
  set isUp(up: boolean)
  /** Whether the interface outlives this process. */
  set persistent(persistent: boolean)

  /**
   * Processors of this host that take in what is sent, as the kernel's mask: `00000003`, or `00000001,00000000` for number
   * 32; all bits 0: the one that sends (receive packet steering). Needs CAP_SYS_ADMIN, and a kernel that has it (5.2).
   */
  get steering(): string
  set steering(mask: string)

  /** The memory that descriptors point into. It is held until `release`; detaching it makes bursts fail, not crash. */
  attach(memory: TapMemory): void

  /**
   * Receives up to `framesMax` frames into the `count` descriptors from `first` on, never waiting. In: [buffer, offset,
   * room, -]. Out: [buffer, offset, length, sum | flags], the Internet sum of the descriptor's bytes, of the first one
   * of a frame from byte 14 on; flag RX_MORE: the frame goes on in the next descriptor. A frame takes up to `frameSlots`
   * descriptors (1) and must be shorter than their room; one that is not is counted and dropped.
   * @returns descriptors filled, or -errno: -EINVAL bad descriptor, -ENODEV interface deleted, -EBADF released
   */
  receiveBurst(descriptors: Int32Array, first: number, count: number, framesMax?: number, frameSlots?: number): number

  /**
   * Sends the frames of `count` descriptors [buffer, offset, length, flags]; flag 1: the frame goes on in the next
   * descriptor, 64 at most. Flag 2, in the first one of a frame: it is TCP, with all headers in this descriptor; and in
   * the upper 16 bits, with offload `all`, of how many bytes each segment is that its payload makes, or 0. With offload
   * the checksum field of such a frame is overwritten. Frames that the kernel refuses are counted and skipped.
   * @returns frames sent, or -errno: -EINVAL bad descriptor (nothing was sent), -ENODEV interface deleted, -EBADF released
   */
  transmitBurst(descriptors: Int32Array, count: number): number

  /** Fills the first COUNTERS places. */
  readCounters(counters: Float64Array): void

  /** Calls back once when a frame can be received (or the interface was deleted). Replaces an earlier wait; keeps the process alive meanwhile. */
  onReadable(callback: () => void): void

  /** Closes the TAP, which deletes the interface unless it is persistent. A second call does nothing. */
  release(): void
}
