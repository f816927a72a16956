/**
 * The stack under a script, and its time: a host on a link whose other end is the script. Time moves only when the
 * runner says so; it hops from deadline to deadline.
 *
 * Called by: run-script.ts, process.ts, peer.ts.
 */
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import { extentBytes } from '../../storage/header.ts'
import { BUFFER_BYTES, NO_BUFFER, NO_FRAME, NO_META } from '../../storage/layout.ts'
import { Pool } from '../../storage/pool.ts'
import { ScriptDevice } from './device.ts'
import type { Settings } from './settings.ts'

/** 64 MB: the largest window that a script's set-up asks for can be offered. */
const BUFFERS = 32_768
const LINES_PER_BUFFER = 2
const CONNECTIONS_MAX = 64
const FIRST_PORT = 49_152
/** Time zero of every script. Not zero, so that what is "never" cannot be mistaken for "just now". */
const START_US = 1_000_000_000
/** Turns at one moment before something is going in circles. */
const TURNS_MAX = 10_000

let pool: Pool | undefined

export class ScriptNetwork {
  readonly host: Host
  readonly device: ScriptDevice
  readonly pool: Pool
  private readonly settings: Settings
  /** Port of the next connection that is opened from here. */
  nextPort = FIRST_PORT
  nowUs = START_US
  /** Address that the script's peer has. */
  readonly remote: string
  /** Called after each turn: calls that wait look again. */
  onTurn: () => void = () => {}
  /** Called before a connection is opened from here: it is the one under test. */
  onOpen: (localPort: number, remotePort: number) => void = () => {}

  constructor(settings: Settings) {
    // All scripts of a run share the memory: each gives back what it took.
    pool ??= createPool()
    this.pool = pool
    this.settings = settings
    this.remote = settings.addresses[settings.ipVersion].remote
    this.device = new ScriptDevice(pool, settings.mtu)
    this.host = new Host(
      {
        device: this.device,
        pool,
        address: settings.addresses[4].interface,
        gateway: settings.addresses[4].gateway,
        address6: settings.addresses[6].interface,
        gateway6: settings.addresses[6].gateway,
        dadTransmits: 0,
        random: new SeededRandom(1),
        secret: new Uint8Array(16),
        wallClock: { low: 0, high: 0, read() {} },
        tcp: {
          connectionsMax: CONNECTIONS_MAX,
          timeWaitsMax: CONNECTIONS_MAX,
          reserveBuffers: 0,
          ...settings.tcp,
        },
      },
      this.nowUs,
    )
    settings.onChange = () => this.host.tcp.retune(settings.tcp)
    settings.onFlush = () => this.host.tcp.forgetServers()
    this.turn()
  }

  /* tcp_fastopen: listeners need not ask; connects may; and they need no cookie. */

  get fastOpenUnasked(): boolean {
    return this.settings.fastOpenUnasked && this.settings.tcp.fastOpen === true
  }

  get fastOpenClient(): boolean {
    return this.settings.tcp.fastOpenClient !== false
  }

  get fastOpenNeedsNoCookie(): boolean {
    return this.settings.tcp.fastOpenClientWithoutCookie === true
  }

  /** Microseconds since the script began. */
  get scriptUs(): number {
    return this.nowUs - START_US
  }

  /** Turns of the loop until nothing more happens at this moment. */
  turn(): void {
    this.device.nowUs = this.nowUs
    for (let turns = 0; turns < TURNS_MAX; turns++) {
      this.host.poll(this.nowUs)
      if (!this.device.hasFrames) break
    }
    this.onTurn()
    this.host.flush(this.nowUs)
  }

  /** Sends what a system call has left to send. */
  flush(): void {
    this.device.nowUs = this.nowUs
    this.host.flush(this.nowUs)
    if (this.device.hasFrames) this.turn()
  }

  /** Lets time pass until `stop` says so, or until a moment of the script. @returns false if that moment came first */
  advance(toUs: number, stop: () => boolean): boolean {
    const endUs = toUs + START_US
    while (!stop()) {
      const deadlineUs = this.host.nextDeadlineUs()
      if (deadlineUs > endUs) {
        if (this.nowUs < endUs) {
          this.nowUs = endUs
          this.turn()
        }
        return stop()
      }
      // A deadline may be early: then time still moves.
      this.nowUs = deadlineUs > this.nowUs ? deadlineUs : Math.min(this.nowUs + 1000, endUs)
      this.turn()
      if (this.nowUs === endUs && this.host.nextDeadlineUs() <= endUs) return stop()
    }
    return true
  }

  /** A chain of lines with `bytes` zeros. */
  zeros(bytes: number): number {
    const { pool } = this
    let head = NO_META
    let tail = NO_META
    for (let left = bytes; left > 0; ) {
      const length = Math.min(left, BUFFER_BYTES)
      const buffer = pool.allocateBuffer()
      if (buffer === NO_BUFFER) throw new Error('the pool is empty: the script writes more than it can hold')
      const start = pool.bufferStart(buffer)
      pool.bufferBytes(buffer).fill(0, start, start + length)
      const meta = pool.createView(buffer, 0, length, NO_FRAME << 16) // the sum of zeros is zero
      if (tail === NO_META) head = meta
      else pool.setNext(tail, meta)
      tail = meta
      left -= length
    }
    return head
  }

  /** @throws Error if the stack does not give back every buffer that it took */
  close(): void {
    this.host.close(this.nowUs)
    this.device.close()
    const { freeBuffers, totalBuffers } = this.pool
    if (freeBuffers !== totalBuffers) throw new Error(`the stack keeps ${totalBuffers - freeBuffers} buffers`)
  }
}

function createPool(): Pool {
  const memory = new ArrayBuffer(extentBytes(BUFFERS, LINES_PER_BUFFER))
  const created = new Pool([{ memory, buffers: BUFFERS }], LINES_PER_BUFFER)
  created.buildFreeLists()
  return created
}
