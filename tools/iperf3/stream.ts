/**
 * One stream of a test, as the measurement sees it: something that sends until it is stopped, or receives, and counts.
 * tcp-stream.ts and udp-stream.ts implement it.
 */

/** Counted from the stream's beginning. */
export interface StreamTotals {
  readonly bytes: number
  /** Segments sent again; datagrams are not. */
  readonly retransmits: number
  /** Datagrams sent, or the highest number received. */
  readonly packets: number
  /** Of these, those that did not come. */
  readonly lost: number
  readonly outOfOrder: number
  /** RFC 1889 A.8, seconds. */
  readonly jitterSeconds: number
  /** Congestion window and smoothed round trip of a sender over TCP; else 0. */
  readonly windowBytes: number
  readonly rttUs: number
}

/** What all senders of a test together may still send. */
export class Goal {
  /** Infinity if the test ends by time. */
  bytesLeft = Number.POSITIVE_INFINITY
}

export interface Stream {
  readonly id: number
  readonly isSender: boolean
  /** Whether everything that was sent is known to have arrived; true for who cannot know. */
  readonly isDrained: boolean
  /** For reports: addresses and ports. */
  readonly ends: StreamEnds
  /** Begins to send. @param bitsPerSecond 0: as fast as it goes */
  start(goal: Goal, bitsPerSecond: number): void
  /** Stops to send. */
  stop(): void
  totals(): StreamTotals
  /** Ends the stream and gives back what it holds. */
  close(): void
}

export interface StreamEnds {
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
}

/** How often a sender with a given rate looks whether it may go on, ms; iperf3's pacing timer. */
export const PACING_MS = 1
/** A sender that found the pool empty tries again after this, ms. */
export const STARVED_MS = 10
