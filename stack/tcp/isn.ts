/**
 * Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 7.1): a keyed hash of the addresses and ports,
 * so that they grow for the same pair of sockets and tell an outsider nothing.
 *
 *   ISN = M + F(addresses, ports, secret)     M: a 4 us clock (RFC 9293 3.4.1)
 *
 * Called once per connection, by input of a SYN and by connect.
 */
import { deriveKey, SipHash } from '../siphash.ts'
import type { Endpoints } from './demux.ts'

/** Microseconds a tick of M. */
const TICK_US = 4

/** Where initial sequence numbers come from; tests replace it to start near 2^32. */
export interface InitialSequence {
  /** Results of the last `generate`. */
  readonly sequence: number
  readonly timestampOffset: number
  generate(e: Endpoints, nowUs: number): void
}

/** Words that writeEndpoints fills. */
export const ENDPOINTS_WORDS = 9

export class IsnGenerator implements InitialSequence {
  sequence = 0
  timestampOffset = 0
  private readonly hash: SipHash
  private readonly words = new Int32Array(ENDPOINTS_WORDS)

  constructor(secret: Uint8Array) {
    if (secret.length < 16) throw new RangeError('the secret of initial sequence numbers needs 16 bytes or more')
    this.hash = new SipHash(deriveKey(secret, 'initial sequence numbers'))
  }

  generate(e: Endpoints, nowUs: number): void {
    writeEndpoints(this.words, e)
    this.hash.hash(this.words, ENDPOINTS_WORDS)
    this.sequence = (this.hash.low + Math.floor(nowUs / TICK_US)) | 0
    this.timestampOffset = this.hash.high
  }
}

/** Ports and addresses, as they are hashed. */
export function writeEndpoints(into: Int32Array, e: Endpoints): void {
  into[0] = (e.localPort << 16) | e.remotePort
  into[1] = e.localAddress0
  into[2] = e.localAddress1
  into[3] = e.localAddress2
  into[4] = e.localAddress3
  into[5] = e.remoteAddress0
  into[6] = e.remoteAddress1
  into[7] = e.remoteAddress2
  into[8] = e.remoteAddress3
}
