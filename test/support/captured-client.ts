/**
 * The stack as a client of the kernel: sockets over a TAP, IPv4 and IPv6, driven by the daemon's loop, with everything that
 * it receives and sends in a capture.
 *
 *   sockets ── host ── capture ── TAP ── kernel 10.66.0.1, fd66::1
 */
import * as assert from 'uvu/assert'
import { CaptureDevice } from '../../drivers/capture.ts'
import { CaptureFile } from '../../drivers/capture-file.ts'
import { TapDevice } from '../../drivers/tap.ts'
import { SystemClock, SystemWallClock } from '../../stack/clock.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import { connect, Network, type Socket } from '../../stack/sockets/index.ts'
import { Loop } from '../../tools/loop.ts'
import { until } from './socket-lab.ts'
import { createPool } from './virtual-link.ts'

export const KERNEL = '10.66.0.1'
export const KERNEL6 = 'fd66::1'
const ADDRESS = '10.66.0.2'
const ADDRESS6 = 'fd66::2'

export class CapturedClient {
  /** Of its interface. */
  readonly name = 'pkclient0'
  private readonly pool = createPool(8192)
  private readonly clock = new SystemClock()
  private readonly file: CaptureFile
  private readonly device: CaptureDevice
  private readonly host: Host
  private readonly network: Network
  private readonly loop: Loop
  private isUsable = false

  /** Resolves when the IPv6 address may be used. */
  static async start(path: string, seed: number): Promise<CapturedClient> {
    const client = new CapturedClient(path, seed)
    await until(() => client.isUsable, 'our IPv6 address is ours alone')
    return client
  }

  private constructor(path: string, seed: number) {
    const wallClock = new SystemWallClock()
    const onError = (error: unknown): never => {
      throw error
    }
    this.file = new CaptureFile({
      path,
      application: 'interop test',
      clock: new SystemWallClock(),
      report: assert.unreachable,
    })
    const tap = new TapDevice(this.pool, {
      name: this.name,
      hostAddress: `${KERNEL}/24`,
      hostAddress6: `${KERNEL6}/64`,
    })
    this.device = new CaptureDevice(tap, this.pool, this.file)
    this.host = new Host(
      {
        device: this.device,
        pool: this.pool,
        address: `${ADDRESS}/24`,
        address6: `${ADDRESS6}/64`,
        onAddress: (address, isUsable) => {
          if (address === ADDRESS6) this.isUsable = isUsable
        },
        random: new SeededRandom(seed),
        secret: new Uint8Array(16).fill(seed),
        wallClock,
      },
      this.clock.nowUs(),
    )
    const { host, device, clock } = this
    this.loop = new Loop({ host, device, clock, busyPollUs: 100, onIdle: () => false, onError })
    this.network = new Network({ host, clock, wake: () => this.loop.wake() })
    this.loop.start()
  }

  /** Allows half-open connections: the caller ends its side itself. */
  connect(host: string, port: number): Socket {
    return connect({ network: this.network, host, port, allowHalfOpen: true })
  }

  /** Waits until all connections have ended; then every buffer has to be back, and the capture is complete. */
  async close(): Promise<void> {
    try {
      await until(() => this.host.tcp.connectionCount === 0, 'connections end')
    } finally {
      this.loop.stop()
      this.host.close(this.clock.nowUs())
      this.device.close()
      this.file.close()
    }
    assert.is(this.pool.freeBuffers, this.pool.totalBuffers, 'every buffer is back')
  }
}
