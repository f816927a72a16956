/**
 * Linux's TCP as the peer of a scenario: a player for each connection, on the kernel's sockets.
 *
 * Called by: linux-run.ts. Calls: player.ts, node:net.
 */
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Scenario } from './document.ts'
import { addressOf } from './packrat-endpoint.ts'
import type { Plan } from './plan.ts'
import { Player, type Stream } from './player.ts'
import { FIRST_PORT } from './script.ts'

const WRITE_BYTES = 64 << 10
const ENDING_OF_ERROR: Readonly<Record<string, string>> = {
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  ETIMEDOUT: 'timeout',
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'unreachable',
}

export class LinuxPeer {
  readonly players: readonly Player[]
  /** Of each connection, a word of ENDINGS; undefined: it is still open. */
  readonly endings: (string | undefined)[]
  private readonly scenario: Scenario
  private readonly nowUs: () => number
  private readonly servers: Server[] = []
  private readonly sockets: (Socket | undefined)[]
  private isReading = true

  constructor(scenario: Scenario, plans: readonly Plan[], nowUs: () => number) {
    this.scenario = scenario
    this.nowUs = nowUs
    this.players = plans.map((plan) => new Player(plan))
    this.endings = plans.map(() => undefined)
    this.sockets = plans.map(() => undefined)
  }

  /** Listens for the connections that the host opens. */
  async listen(): Promise<void> {
    for (const [index, { opens }] of this.scenario.traffic.entries()) {
      if (opens === 'peer') continue
      const server = createServer({ allowHalfOpen: true }, (socket) => this.opened(index, socket))
      this.servers.push(server)
      await new Promise<void>((resolve, reject) => {
        server.on('error', reject)
        server.listen(FIRST_PORT + index, addressOf('peer', this.scenario.ip), resolve)
      })
    }
  }

  /** Opens connection `index`, if it is this side's to open. */
  open(index: number): void {
    if (this.scenario.traffic[index]!.opens === 'host') return
    const socket = connect({ host: addressOf('host', this.scenario.ip), port: FIRST_PORT + index, allowHalfOpen: true })
    this.watch(index, socket)
    socket.on('connect', () => this.opened(index, socket))
  }

  play(): void {
    for (const player of this.players) player.play(this.nowUs())
  }

  setReading(isReading: boolean): void {
    if (isReading === this.isReading) return
    this.isReading = isReading
    for (const socket of this.sockets) if (isReading) socket?.resume()
    for (const socket of this.sockets) if (!isReading) socket?.pause()
  }

  get wakeUs(): number {
    return Math.min(...this.players.map(({ wakeUs }) => wakeUs))
  }

  get isOver(): boolean {
    return this.endings.every((ending) => ending !== undefined)
  }

  close(): void {
    for (const socket of this.sockets) socket?.destroy()
    for (const server of this.servers) server.close()
  }

  private opened(index: number, socket: Socket): void {
    if (this.sockets[index] === undefined) this.watch(index, socket)
    const player = this.players[index]!
    player.onOpen(new SocketStream(socket))
    socket.on('data', (bytes) => {
      player.onBytes(bytes, this.nowUs())
      player.play(this.nowUs())
    })
    socket.on('end', () => {
      player.onPeerFinished()
      player.play(this.nowUs())
    })
    socket.on('drain', () => player.play(this.nowUs()))
    if (!this.isReading) socket.pause()
    player.play(this.nowUs())
  }

  private watch(index: number, socket: Socket): void {
    this.sockets[index] = socket
    let ending: string | undefined
    socket.on('error', (error: NodeJS.ErrnoException) => {
      ending = ENDING_OF_ERROR[error.code ?? ''] ?? error.code
    })
    socket.on('close', () => {
      this.sockets[index] = undefined
      this.endings[index] = ending ?? (this.players[index]!.hasAborted ? 'aborted' : 'orderly')
      this.players[index]!.onClose()
    })
  }
}

class SocketStream implements Stream {
  private readonly socket: Socket

  constructor(socket: Socket) {
    this.socket = socket
  }

  write(bytes: Uint8Array): number {
    if (this.socket.writableNeedDrain) return 0
    const part = bytes.subarray(0, WRITE_BYTES)
    this.socket.write(part)
    return part.length
  }

  shutdown(): void {
    this.socket.end()
  }

  abort(): void {
    this.socket.resetAndDestroy()
  }
}
