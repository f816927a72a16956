/**
 * Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 7.1): a keyed hash of the addresses and ports,
 * so that they grow for the same pair of sockets and tell an outsider nothing.
 *
 *   ISN = M + F(addresses, ports, secret)     M: a 4 us clock (RFC 9293 3.4.1)
 *
 * Called once per connection, by input of a SYN and by connect.
 */
import { createHmac } from 'node:crypto'
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

export class IsnGenerator implements InitialSequence {
  sequence = 0
  timestampOffset = 0
  private readonly secret: Uint8Array
  private readonly words = new Int32Array(9)
  private readonly bytes = new Uint8Array(this.words.buffer)

  constructor(secret: Uint8Array) {
    if (secret.length < 16) throw new RangeError('the secret of initial sequence numbers needs 16 bytes or more')
    this.secret = secret
  }

  generate(e: Endpoints, nowUs: number): void {
    const words = this.words
    words[0] = (e.localPort << 16) | e.remotePort
    words[1] = e.localAddress0
    words[2] = e.localAddress1
    words[3] = e.localAddress2
    words[4] = e.localAddress3
    words[5] = e.remoteAddress0
    words[6] = e.remoteAddress1
    words[7] = e.remoteAddress2
    words[8] = e.remoteAddress3
    const digest = createHmac('sha256', this.secret).update(this.bytes).digest()
    this.sequence = (digest.readInt32LE(0) + Math.floor(nowUs / TICK_US)) | 0
    this.timestampOffset = digest.readInt32LE(4)
  }
}
