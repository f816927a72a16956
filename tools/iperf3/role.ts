/**
 * What a connection is to iperf3: newcomer, control connection, stream, or one that is only being ended. It stands in
 * Connection.user; `RoleApplication` passes the stack's calls on to it.
 */
import type { Application } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { STATE_CLOSED } from '../../stack/tcp/states.ts'
import type { Cancel, Environment } from './environment.ts'

export interface Role {
  onReceive(connection: Connection): void
  onSendSpace(connection: Connection): void
  onClose(connection: Connection, reason: number): void
}

/** The peer has this long to close, too. */
const ENDING_MS = 15_000

/** Ends a connection in order: what comes is dropped until the peer has closed, too, or its time is up. */
export function endConnection(environment: Environment, c: Connection): void {
  if (c.state === STATE_CLOSED && c.lingering === 0) return
  c.user = new Ending(environment.after(ENDING_MS, () => c.abort()))
  c.shutdown()
  c.context.pool.releaseChain(c.takeReceived())
}

class Ending implements Role {
  private readonly cancel: Cancel

  constructor(cancel: Cancel) {
    this.cancel = cancel
  }

  onReceive(c: Connection): void {
    c.context.pool.releaseChain(c.takeReceived())
  }

  onSendSpace(): void {}

  onClose(): void {
    this.cancel()
  }
}

/** Connections whose first role is given by `onAccept`. */
export abstract class RoleApplication implements Application {
  abstract readonly onAccept: (connection: Connection) => void

  onReceive(c: Connection): void {
    ;(c.user as Role).onReceive(c)
  }

  onSendSpace(c: Connection): void {
    ;(c.user as Role).onSendSpace(c)
  }

  onClose(c: Connection, reason: number): void {
    ;(c.user as Role | undefined)?.onClose(c, reason)
  }
}
