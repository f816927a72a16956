/**
 * On which queue of an interface frames of a flow come in, so that what is sent to it leaves on the same queue: the
 * card's two queues of one number share an interrupt and often a core, and frames of one flow keep their order.
 *
 *   received:  hash(their address, their port, our port) ─► table[hash] = queue
 *   sent:      hash(their address, their port, our port) ─► table[hash]
 *
 * A flow that was never heard of leaves on the first queue. Two flows that share an entry take the queue of whoever was
 * heard last: both arrive all the same.
 *
 * Called by: xdp.ts, for devices with several queues.
 */

import type { Pool } from '../storage/pool.ts'
import { D_BUFFER, D_LENGTH, D_OFFSET } from './device.ts'

/** Entries, a power of two; one byte each. */
const FLOWS = 1 << 14

/* Offsets in the frame. */
const AT_TYPE = 12
const AT_IP = 14
const AT_IPV4_PROTOCOL = AT_IP + 9
const AT_IPV4_SOURCE = AT_IP + 12
const AT_IPV4_DESTINATION = AT_IP + 16
const AT_IPV6_NEXT_HEADER = AT_IP + 6
const AT_IPV6_SOURCE = AT_IP + 8
const AT_IPV6_DESTINATION = AT_IP + 24
const AT_IPV6_PAYLOAD = AT_IP + 40
const IPV4_HEADER_BYTES_MIN = 20
const PORTS_BYTES = 4

const TYPE_IPV4 = 0x0800
const TYPE_IPV6 = 0x86dd
const PROTOCOL_TCP = 6
const PROTOCOL_UDP = 17

export class XdpFlows {
  private readonly pool: Pool
  private readonly queues = new Uint8Array(FLOWS)

  constructor(pool: Pool) {
    this.pool = pool
  }

  /** The frame of the descriptor at `at` came in on this queue. */
  received(descriptors: Int32Array, at: number, queue: number): void {
    const hash = this.hash(descriptors, at, true)
    if (hash >= 0) this.queues[hash] = queue
  }

  /** The queue for the frame whose headers the descriptor at `at` names. */
  queueOf(descriptors: Int32Array, at: number): number {
    const hash = this.hash(descriptors, at, false)
    return hash < 0 ? 0 : this.queues[hash]!
  }

  /** Entry of the frame's flow, or -1 if it is neither IPv4 nor IPv6. */
  private hash(descriptors: Int32Array, at: number, isReceived: boolean): number {
    const buffer = descriptors[at + D_BUFFER]!
    const length = descriptors[at + D_LENGTH]!
    const view = this.pool.bufferView(buffer)
    const frame = this.pool.bufferStart(buffer) + descriptors[at + D_OFFSET]!
    if (length < AT_IP + IPV4_HEADER_BYTES_MIN) return -1
    const type = view.getUint16(frame + AT_TYPE)
    let remote: number
    let protocol: number
    let ports: number
    if (type === TYPE_IPV4) {
      remote = view.getInt32(frame + (isReceived ? AT_IPV4_SOURCE : AT_IPV4_DESTINATION))
      protocol = view.getUint8(frame + AT_IPV4_PROTOCOL)
      ports = AT_IP + (view.getUint8(frame + AT_IP) & 15) * 4
    } else if (type === TYPE_IPV6 && length >= AT_IPV6_PAYLOAD) {
      const from = frame + (isReceived ? AT_IPV6_SOURCE : AT_IPV6_DESTINATION)
      remote = view.getInt32(from)
      for (let word = 4; word < 16; word += 4) remote = Math.imul(remote, 31) + view.getInt32(from + word)
      protocol = view.getUint8(frame + AT_IPV6_NEXT_HEADER)
      ports = AT_IPV6_PAYLOAD
    } else return -1
    let pair = 0
    if ((protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP) && length >= ports + PORTS_BYTES) {
      const theirs = view.getUint16(frame + ports + (isReceived ? 0 : 2))
      const ours = view.getUint16(frame + ports + (isReceived ? 2 : 0))
      pair = (theirs << 16) | ours
    }
    const mixed = Math.imul(Math.imul(remote ^ pair, 0x9e3779b1) ^ (pair >>> 15), 0x85ebca6b)
    return (mixed ^ (mixed >>> 15)) & (FLOWS - 1)
  }
}
