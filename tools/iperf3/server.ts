/**
 * The iperf3 server: accepts on one port, tells newcomers apart by their cookies, and holds one test at a time.
 *
 *   connection ─► newcomer: 37 bytes of cookie ─► no test is on      ─► the control connection of a new one (session.ts)
 *                                              ─► the cookie of it   ─► one of its streams
 *                                              ─► another cookie     ─► busy: byte -1
 *                                              ─► no cookie          ─► reset
 *
 * Invariants:
 *  1. What a peer may hold is bounded: connections by the listener, time by a limit on every state but the test itself,
 *     which its own length bounds, and keep-alive probes where it has none.
 *  2. When a test is over, however it ended, none of its connections, ports, buffers and timers is left.
 *
 * Called by: serve.ts. Calls: session.ts, the stack's in-place sockets.
 */
import { copyChain } from '../../stack/sockets/copy.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import type { Listener } from '../../stack/tcp/listen.ts'
import { ControlChannel } from './control-channel.ts'
import type { Cancel, Environment } from './environment.ts'
import { ACCESS_DENIED, COOKIE_ALPHABET, COOKIE_BYTES, STREAMS_MAX } from './protocol.ts'
import { endConnection, type Role, RoleApplication } from './role.ts'
import { Session } from './session.ts'

/** A newcomer has this long to say its cookie. */
const NEWCOMER_MS = 10_000
/** Streams both ways, and newcomers beside them. */
const CONNECTIONS_MAX = 2 * STREAMS_MAX + 64
/** A silent peer is given up after some 25 s: then the server is free for others again. */
const KEEP_ALIVE = { keepAlive: true, keepAliveIdleMs: 10_000, keepAliveIntervalMs: 5000, keepAliveProbes: 3 }

/** For /stats. */
export class IperfCounters {
  /** Tests that ran to their end, and those that did not. */
  tests = 0
  failed = 0
  /** Clients that came while a test was on. */
  busy = 0
  /** Connections that said no cookie. */
  noCookie = 0
}

export class IperfServer extends RoleApplication {
  readonly counters = new IperfCounters()
  private readonly environment: Environment
  private readonly port: number
  private readonly listener: Listener
  private session: Session | undefined

  constructor(environment: Environment, port: number) {
    super()
    this.environment = environment
    this.port = port
    this.listener = environment.host.tcp.listen(port, this, {
      connectionsMax: CONNECTIONS_MAX,
      noDelay: true,
      ...KEEP_ALIVE,
    })
  }

  readonly onAccept = (c: Connection): void => {
    c.user = new Newcomer(c, this.environment, (cookie, rest) => this.assign(c, cookie, rest))
  }

  /** Ends the test that is on, and listens no more. */
  close(): void {
    this.session?.terminate()
    this.environment.host.tcp.closeListener(this.listener)
  }

  private assign(c: Connection, cookie: string, rest: Buffer): void {
    if (!isCookie(cookie)) {
      this.counters.noCookie++
      c.abort()
      return
    }
    const channel = new ControlChannel(c, rest)
    if (this.session === undefined) {
      this.session = new Session(this.environment, channel, cookie, this.port, (completed) => this.end(completed))
      this.session.begin()
    } else if (!this.session.addConnection(c, cookie)) {
      this.counters.busy++
      channel.sendState(ACCESS_DENIED)
      endConnection(this.environment, c)
    }
  }

  private end(completed: boolean): void {
    this.session = undefined
    if (completed) this.counters.tests++
    else this.counters.failed++
  }
}

function isCookie(cookie: string): boolean {
  if (cookie.charCodeAt(COOKIE_BYTES - 1) !== 0) return false
  for (let index = 0; index < COOKIE_BYTES - 1; index++) if (!COOKIE_ALPHABET.includes(cookie[index]!)) return false
  return true
}

/** A connection that has not said its cookie yet. */
class Newcomer implements Role {
  private readonly connection: Connection
  private readonly onCookie: (cookie: string, rest: Buffer) => void
  private readonly cancel: Cancel
  private bytes = Buffer.alloc(0)

  constructor(c: Connection, environment: Environment, onCookie: (cookie: string, rest: Buffer) => void) {
    this.connection = c
    this.onCookie = onCookie
    this.cancel = environment.after(NEWCOMER_MS, () => c.abort())
  }

  onReceive(c: Connection): void {
    const chain = c.takeReceived(COOKIE_BYTES - this.bytes.length)
    this.bytes = Buffer.concat([this.bytes, copyChain(c.context.pool, chain)])
    if (this.bytes.length >= COOKIE_BYTES) {
      this.cancel()
      this.onCookie(this.bytes.toString('latin1', 0, COOKIE_BYTES), this.bytes.subarray(COOKIE_BYTES))
      // What came with the cookie in the same burst is not announced again.
      if (this.connection.user !== this) (this.connection.user as Role).onReceive(c)
    } else if (c.receiveFinished !== 0) c.abort()
  }

  onSendSpace(): void {}

  onClose(): void {
    this.cancel()
  }
}
