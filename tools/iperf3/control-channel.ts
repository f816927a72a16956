/**
 * The control connection of a test: single bytes that are states, and JSON documents behind their length. What comes may
 * be cut anywhere; what is not asked for yet waits, at last in the peer, for no more is taken than the largest document.
 *
 *   [state s8]            [length u32 BE][JSON]
 *
 * Control bytes are few and are copied out of the lines; the streams' are not.
 *
 * Called by: session.ts, client.ts. Calls: Connection.
 */
import { copyChain } from '../../stack/sockets/copy.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { NO_META } from '../../storage/layout.ts'
import { chainOf } from '../kv/response-writer.ts'
import { RESULTS_BYTES_MAX } from './protocol.ts'

const LENGTH_BYTES = 4
const PENDING_BYTES_MAX = LENGTH_BYTES + RESULTS_BYTES_MAX

/** A document that is longer than it may be. */
export const OVERSIZE = Symbol('oversize')

export class ControlChannel {
  readonly connection: Connection
  private pending: Buffer

  /** @param first what came behind the cookie already */
  constructor(connection: Connection, first: Buffer) {
    this.connection = connection
    this.pending = first
  }

  /** Takes what has arrived. */
  receive(): void {
    const room = PENDING_BYTES_MAX - this.pending.length
    if (room <= 0) return
    const chain = this.connection.takeReceived(room)
    if (chain === NO_META) return
    this.pending = Buffer.concat([this.pending, copyChain(this.connection.context.pool, chain)])
  }

  /** The next state; undefined if nothing is there. */
  takeState(): number | undefined {
    if (this.pending.length === 0) return undefined
    return this.take(1).readInt8(0)
  }

  /** The next int32; undefined if it is not there yet. */
  takeInt32(): number | undefined {
    return this.pending.length < 4 ? undefined : this.take(4).readInt32BE(0)
  }

  /** The next document; undefined if it is not complete. */
  takeDocument(bytesMax: number): string | typeof OVERSIZE | undefined {
    if (this.pending.length < LENGTH_BYTES) return undefined
    const length = this.pending.readUInt32BE(0)
    if (length > bytesMax) return OVERSIZE
    if (this.pending.length < LENGTH_BYTES + length) return undefined
    return this.take(LENGTH_BYTES + length).toString('utf8', LENGTH_BYTES)
  }

  sendState(state: number): void {
    this.send(Buffer.of(state & 0xff))
  }

  sendError(error: number): void {
    const message = Buffer.alloc(8)
    message.writeInt32BE(error)
    this.send(message)
  }

  sendDocument(json: string): void {
    const length = Buffer.alloc(LENGTH_BYTES)
    length.writeUInt32BE(Buffer.byteLength(json))
    this.send(Buffer.concat([length, Buffer.from(json)]))
  }

  /** Sends bytes as they are. Without a buffer for them the connection ends: a peer cannot wait for half a message. */
  send(bytes: Uint8Array): void {
    const chain = chainOf(this.connection.context.pool, bytes)
    if (chain === NO_META) this.connection.abort()
    else this.connection.send(chain)
  }

  private take(length: number): Buffer {
    const taken = this.pending.subarray(0, length)
    this.pending = this.pending.subarray(length)
    return taken
  }
}
