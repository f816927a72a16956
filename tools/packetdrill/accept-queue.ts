/** What listens for a script's socket, and the connections that wait to be accepted. Called by: script-socket.ts, calls-*.ts, options.ts. */
import type { ConnectionOptions } from '../../stack/tcp/application.ts'
import type { Listener } from '../../stack/tcp/listen.ts'

export class AcceptQueue<T> {
  readonly waiting: T[] = []
  /** Connections that wait at most. */
  limit = 0
  private listening: Listener | undefined
  private fastOpenKey: Uint8Array | undefined

  /** Undefined: the socket does not listen yet. */
  get listener(): Listener | undefined {
    return this.listening
  }

  begin(listener: Listener): void {
    this.listening = listener
    if (this.fastOpenKey !== undefined) listener.setFastOpenKey(this.fastOpenKey)
  }

  /** Linux holds one more than it is told. */
  setBacklog(backlog: number): void {
    this.limit = Math.max(backlog, 0) + 1
    this.admit()
  }

  push(connection: T): void {
    this.waiting.push(connection)
    this.admit()
  }

  /** The oldest connection that waits; undefined: none. */
  take(): T | undefined {
    const connection = this.waiting.shift()
    this.admit()
    return connection
  }

  /** What an option of a listener says is for the connections to come. */
  update(options: ConnectionOptions): void {
    if (this.listening !== undefined) Object.assign(this.listening.options, options)
  }

  /** TCP_FASTOPEN_KEY: of this listener, now or once it listens. */
  setFastOpenKey(key: Uint8Array): void {
    this.fastOpenKey = key
    this.listening?.setFastOpenKey(key)
  }

  /** TCP_FASTOPEN: how many connections may live before their handshakes are over. */
  setFastOpen(most: number): void {
    if (this.listening !== undefined) this.listening.fastOpenMax = most
  }

  /** A full accept queue takes no connection (Linux sk_acceptq_is_full). */
  private admit(): void {
    if (this.listening !== undefined) this.listening.accepting = this.waiting.length < this.limit
  }
}
