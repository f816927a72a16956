/** Applications for tests of the stack: one that collects what it receives, one that sends given bytes. */
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { sumBytes } from '../../storage/checksum.ts'
import { NO_BUFFER, NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'

/** Puts bytes into buffers of the pool, `viewBytes` each; the head of a chain that the caller owns. */
export function chainOf(pool: Pool, bytes: Uint8Array, viewBytes = 1448): number {
  let head = NO_META
  let tail = NO_META
  for (let from = 0; from < bytes.length; from += viewBytes) {
    const part = bytes.subarray(from, from + viewBytes)
    const buffer = pool.allocateBuffer()
    if (buffer === NO_BUFFER) throw new Error('test ran out of buffers')
    const start = pool.bufferStart(buffer)
    pool.bufferBytes(buffer).set(part, start)
    const meta = pool.createView(buffer, 0, part.length, sumBytes(pool.bufferView(buffer), start, part.length))
    if (meta === NO_META) throw new Error('test ran out of lines')
    if (tail === NO_META) head = meta
    else pool.setNext(tail, meta)
    tail = meta
  }
  return head
}

/** Reads a chain, checks each view's stored sum against its bytes, and releases it. */
export function consumeChain(pool: Pool, chain: number): Uint8Array {
  const parts: Uint8Array[] = []
  let meta = chain
  while (meta !== NO_META) {
    const start = pool.dataStartOf(meta)
    const length = pool.dataLength(meta)
    const sum = sumBytes(pool.dataView(meta), start, length)
    const stored = pool.sum(meta)
    if (sum !== stored && sum + stored !== 0xffff) throw new Error(`line ${meta}: sum ${stored}, bytes have ${sum}`)
    parts.push(pool.dataBytes(meta).slice(start, start + length))
    meta = pool.release(meta)
  }
  return Buffer.concat(parts)
}

/** Collects what arrives, sends what it is told to, and remembers its callbacks. */
export class StreamApplication implements Application {
  readonly events: string[] = []
  readonly pool: Pool
  connection: Connection | undefined
  received: Uint8Array[] = []
  receivedBytes = 0
  finished = false
  closeReason = -1
  /** Called in onReceive, after the data was taken. */
  onData: ((c: Connection) => void) | undefined
  /** False: leaves data in the receive queue. */
  reading = true
  /** Answers FIN by FIN. */
  closesAfterPeer = true

  constructor(pool: Pool) {
    this.pool = pool
  }

  onAccept(c: Connection): void {
    this.events.push('accept')
    this.connection = c
    this.connected?.(c)
  }

  connected: ((c: Connection) => void) | undefined

  onReceive(c: Connection): void {
    this.events.push('receive')
    if (this.reading) this.take(c)
  }

  take(c: Connection): void {
    const bytes = consumeChain(this.pool, c.takeReceived())
    if (bytes.length > 0) {
      this.received.push(bytes)
      this.receivedBytes += bytes.length
    }
    this.onData?.(c)
    if (c.receiveFinished !== 0) {
      this.finished = true
      if (this.closesAfterPeer) c.shutdown()
    }
  }

  onSendSpace(_c: Connection): void {
    this.events.push('space')
  }

  onClose(_c: Connection, reason: number): void {
    this.events.push(`close ${reason}`)
    this.closeReason = reason
  }

  get bytes(): Uint8Array {
    return Buffer.concat(this.received)
  }
}
