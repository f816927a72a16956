/** Applications for tests that move much: one that sends given bytes as room comes, one that counts what it gets. */
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { NO_META } from '../../storage/layout.ts'
import type { Pool } from '../../storage/pool.ts'
import { chainOf, StreamApplication } from './stream-application.ts'

const PIECE_BYTES = 10_000

/** Sends its bytes as room comes, then shuts down. */
export class BulkSender extends StreamApplication {
  private sent = 0
  private readonly bytesToSend: Uint8Array

  constructor(pool: Pool, bytes: Uint8Array) {
    super(pool)
    this.bytesToSend = bytes
    this.closesAfterPeer = false
    this.connected = (c) => this.fill(c)
  }

  override onSendSpace(c: Connection): void {
    this.fill(c)
  }

  private fill(c: Connection): void {
    while (this.sent < this.bytesToSend.length && c.sendSpace > 0) {
      const piece = this.bytesToSend.subarray(this.sent, this.sent + PIECE_BYTES)
      c.send(chainOf(this.pool, piece))
      this.sent += piece.length
    }
    if (this.sent === this.bytesToSend.length) c.shutdown()
  }
}

/** Counts the bytes of each connection, by the peer's port, and closes after the peer. */
export class CountingReceiver implements Application {
  readonly bytesByPort = new Map<number, number>()
  totalBytes = 0
  private readonly pool: Pool

  constructor(pool: Pool) {
    this.pool = pool
  }

  onAccept(c: Connection): void {
    this.bytesByPort.set(c.remotePort, 0)
  }

  onReceive(c: Connection): void {
    let bytes = 0
    for (let meta = c.takeReceived(); meta !== NO_META; meta = this.pool.release(meta))
      bytes += this.pool.dataLength(meta)
    this.bytesByPort.set(c.remotePort, this.bytesByPort.get(c.remotePort)! + bytes)
    this.totalBytes += bytes
    if (c.receiveFinished !== 0) c.shutdown()
  }

  onSendSpace(): void {}

  onClose(): void {}
}
