/** Errors of this package. `code` is the errno name of the kernel's answer; the message says what to do. */
export declare class XdpError extends Error {
  readonly code: string
  constructor(code: string, message: string)
}

/** Places in the array that `readStatistics` fills (struct xdp_statistics), and their number. */
export declare const STATISTICS: number
/** Frames dropped for another reason than a full ring. */
export declare const S_RX_DROPPED: number
/** Addresses in the fill ring, and descriptors in the transmit ring, that the kernel refused. */
export declare const S_RX_INVALID: number
export declare const S_TX_INVALID: number
/** Frames dropped because the receive ring was full, and frames for which the fill ring had no chunk. */
export declare const S_RX_RING_FULL: number
export declare const S_FILL_RING_EMPTY: number
export declare const S_TX_RING_EMPTY: number

/** Why this process may not load an XDP program, or undefined if it may. Leaves nothing. */
export declare function probe(): { code: string; message: string } | undefined

export interface NetworkInterface {
  readonly index: number
  /** Largest IP packet, bytes. */
  readonly mtu: number
  readonly isUp: boolean
  /** Receive queues, at least 1. */
  readonly queues: number
  /** It stamps the arrival of every frame, as configured now (SIOCGHWTSTAMP). */
  readonly stampsFrames: boolean
  readonly mac: Uint8Array
}

/** @throws XdpError ENODEV */
export declare function readInterface(name: string): NetworkInterface

/**
 * A ring shared with the kernel: `words[producer]` and `words[consumer]` are free-running 32-bit indices, to be read and
 * written with Atomics; entry i lies at `descriptors + (i & (entries - 1)) * 2` (fill, completion: address u64) or
 * `* 4` (rx, tx: address u64, length u32, options u32). After `release` `words` is empty.
 */
export interface XdpRing {
  readonly words: Int32Array
  readonly producer: number
  readonly consumer: number
  /** Bit 0: the kernel waits for a kick (tx) or a wake (fill). */
  readonly flags: number
  readonly descriptors: number
  readonly entries: number
}

export interface XdpRings {
  readonly fill: XdpRing
  readonly completion: XdpRing
  readonly rx: XdpRing
  readonly tx: XdpRing
}

export interface XdpSocketOptions {
  readonly ifindex: number
  readonly queue: number
  /** Extents of one mapping: extents[i] begins offsets[i] bytes behind its start. Addresses of descriptors are offsets in the mapping. Not with `share`. */
  readonly memory?: { readonly extents: readonly ArrayBuffer[]; readonly offsets: readonly number[] }
  /** Entries of each ring, powers of two. */
  readonly rings: { readonly fill: number; readonly completion: number; readonly rx: number; readonly tx: number }
  /** auto: zero-copy if the driver can, else copy; chosen by the kernel. */
  readonly mode?: 'auto' | 'zerocopy' | 'copy'
  /** Frames of several descriptors (XDP_USE_SG, Linux 6.6). */
  readonly scatter?: boolean
  /** SO_BUSY_POLL with SO_PREFER_BUSY_POLL; 0: off. */
  readonly busyPollUs?: number
  /** Uses the UMEM of this socket, for another queue of the same interface. */
  readonly share?: XdpSocket
}

export declare class XdpSocket {
  /** @throws XdpError EPERM, EFAULT and ENOTSUP (memory cannot be pinned), ENOBUFS (memlock), EBUSY, EINVAL (queue, or scatter unknown), ENETDOWN … */
  constructor(options: XdpSocketOptions)
  readonly rings: XdpRings
  readonly isZeroCopy: boolean
  /** Has the kernel send what the transmit ring holds. @returns 0 or -errno; a full queue is no error, the frames stay */
  kick(): number
  /** Tells a sleeping driver that the fill ring has chunks again. @returns 0 or -errno */
  wake(): number
  readStatistics(into: Float64Array): void
  /** Calls back once when a frame can be received. Replaces an earlier wait; keeps the process alive meanwhile. */
  onReadable(callback: () => void): void
  /** Closes the socket and detaches its rings. A second call does nothing. */
  release(): void
}

export interface XdpProgramOptions {
  readonly ifindex: number
  /** Places in the map of sockets by queue. */
  readonly queues: number
  /** In the driver, or (false) in the kernel's generic path. */
  readonly native: boolean
  /** Frames to this address, and ARP, are looked at; 6 bytes. */
  readonly mac: Uint8Array
  /** 4 bytes. */
  readonly ipv4: Uint8Array
  /** Up to 4 addresses of 16 bytes, unicast and multicast. */
  readonly ipv6?: readonly Uint8Array[]
  /** Frames of several buffers, too: what an MTU larger than a buffer wants (Linux 5.18). */
  readonly fragments?: boolean
  /**
   * BTF id of `bpf_xdp_metadata_rx_timestamp` in the running kernel; 0 (default): no timestamps. The eight bytes in front
   * of each frame are then its arrival as the driver tells it, ns, little-endian, or 0. Native mode only, Linux 6.3.
   */
  readonly timestampFunction?: number
}

/** The program that redirects frames for the given addresses, attached until `release` or the end of the process. */
export declare class XdpProgram {
  /** @throws XdpError EPERM, EBUSY (another program), ENOTSUP (no native mode) … */
  constructor(options: XdpProgramOptions)
  setSocket(queue: number, socket: XdpSocket): void
  release(): void
}
