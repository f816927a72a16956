/**
 * `packrat wire`: a piece of bad wire between two TAP interfaces, so that two kernels (network namespaces) can be
 * measured over the very path that `serve --impair` gives Packrat's own stack. It knows nothing of protocols.
 *
 *   kernel A ── tap left ── impairment ── bridge ── tap right ── kernel B
 *
 * Called by packrat.ts. Calls: the TAP, impairment and capture devices, the bridge, the loop.
 */
import { Bridge } from '../drivers/bridge.ts'
import { CaptureDevice } from '../drivers/capture.ts'
import { CaptureFile } from '../drivers/capture-file.ts'
import type { Device } from '../drivers/device.ts'
import type { PathCounters } from '../drivers/impaired-path.ts'
import { parseImpairment } from '../drivers/impairment-spec.ts'
import { TapDevice } from '../drivers/tap.ts'
import { SystemClock, SystemWallClock } from '../stack/clock.ts'
import { PackratError } from '../storage/errors.ts'
import { BUFFER_BYTES, LINE_BYTES } from '../storage/layout.ts'
import { Pool } from '../storage/pool.ts'
import { cidr, TAP_DEVICE } from './address-flags.ts'
import { count, EXIT_CANNOT, EXIT_OK, type Flag, type FlagValues, runCommand, text } from './arguments.ts'
import { impairDevice, impairment } from './impairment.ts'
import { Loop } from './loop.ts'

/** Buffers in ordinary memory, 256 MiB, of which the kernel gives what is used. */
const POOL_BUFFERS = 1 << 17
/** Of them may be on their way: nothing else wants them. */
const HELD_POOL_SHARE = 1 / 2
/** The pool wants lines; the bridge uses none. */
const LINES_PER_BUFFER = 1
const PERFECT_LINK = 'loss=0'

const COMMAND = {
  name: 'packrat wire',
  summary: 'two TAP interfaces joined by an impaired link, to measure kernels over it',
  operands: [],
  flags: {
    left: tapName('the one end; rx of the impairment comes from here', 'wire0'),
    right: tapName('the other end; tx of the impairment comes from here', 'wire1'),
    'left-address': cidr("the kernel's address on the left end"),
    'right-address': cidr("the kernel's address on the right end"),
    impair: impairment('how bad the wire is; docs/impairment.md'),
    capture: text('FILE.pcapng', 'write what each kernel sends and receives to this file'),
    mtu: count('BYTES', 'largest IP packet', { default: 1500, minimum: 68, maximum: 65_521 }),
    'busy-poll-us': count('US', 'how long to poll on after the last frame before sleeping', {
      default: 200,
      maximum: 10_000_000,
    }),
  },
}

type WireFlags = FlagValues<typeof COMMAND.flags>

export const wire = (argv: string[]): number | Promise<number> =>
  runCommand(COMMAND, argv, (flags) => new Wire(flags).run())

function tapName(help: string, name: string): Flag<string> {
  return {
    placeholder: 'tap:NAME',
    help,
    shownDefault: `tap:${name}`,
    absent: name,
    read: (value) => TAP_DEVICE.exec(value)?.[1],
    expects: 'tap:NAME, a name of 1 to 15 characters',
  }
}

class Wire {
  private readonly flags: WireFlags
  private readonly closers: (() => void)[] = []
  private finish: (status: number) => void = () => {}

  constructor(flags: WireFlags) {
    this.flags = flags
  }

  /** Joins the ends until a signal or a fatal error; resolves with the exit status. */
  async run(): Promise<number> {
    const ended = new Promise<number>((resolve) => {
      this.finish = resolve
    })
    const stop = (): void => this.finish(EXIT_OK)
    process.on('SIGTERM', stop)
    process.on('SIGINT', stop)
    try {
      this.start()
      return await ended
    } finally {
      process.off('SIGTERM', stop)
      process.off('SIGINT', stop)
      for (const close of this.closers.reverse()) close()
    }
  }

  private start(): void {
    const { flags } = this
    const pool = createPool()
    const capture = this.openCapture()
    const left = this.openEnd(pool, flags.left, flags['left-address'], capture)
    const right = this.openEnd(pool, flags.right, flags['right-address'], capture)
    const impaired = impairDevice(left, pool, flags.impair ?? parseImpairment(PERFECT_LINK), HELD_POOL_SHARE)
    const bridge = new Bridge(impaired, right, pool)
    // Before the ends themselves: what is on its way to the left end is sent, the rest is freed.
    this.closers.push(() => impaired.close())
    this.closers.push(() => {
      console.log(`tap:${flags.left} -> tap:${flags.right}: ${describe(impaired.paths.rx)}`)
      console.log(`tap:${flags.right} -> tap:${flags.left}: ${describe(impaired.paths.tx)}`)
    })
    const loop = new Loop({
      host: bridge,
      device: bridge,
      clock: new SystemClock(),
      busyPollUs: flags['busy-poll-us'],
      onIdle: () => false,
      onError: (error) => this.fail(error),
    })
    this.closers.push(() => loop.stop())
    loop.start()
    console.log(`packrat wire ready left=tap:${flags.left} right=tap:${flags.right}`)
  }

  private openEnd(pool: Pool, name: string, address: string | undefined, capture: CaptureFile | undefined): Device {
    const options = { name, mtu: this.flags.mtu, ...(address !== undefined && { hostAddress: address }) }
    const tap = new TapDevice(pool, options)
    this.closers.push(() => tap.close())
    return capture === undefined ? tap : new CaptureDevice(tap, pool, capture)
  }

  private openCapture(): CaptureFile | undefined {
    const path = this.flags.capture
    if (path === undefined) return undefined
    const report = (message: string): void => console.error(`packrat wire: ${message}`)
    const file = new CaptureFile({ path, application: 'packrat', clock: new SystemWallClock(), report })
    this.closers.push(() => {
      file.close()
      if (file.missedFrames > 0) report(`the capture ${path} lacks ${file.missedFrames} frames`)
    })
    return file
  }

  private fail(error: unknown): void {
    console.error(`packrat wire: ${error instanceof PackratError ? error.message : ((error as Error).stack ?? error)}`)
    this.finish(EXIT_CANNOT)
  }
}

function createPool(): Pool {
  const memory = new ArrayBuffer(POOL_BUFFERS * (BUFFER_BYTES + LINES_PER_BUFFER * LINE_BYTES))
  const pool = new Pool([{ memory, buffers: POOL_BUFFERS }], LINES_PER_BUFFER)
  pool.buildFreeLists()
  return pool
}

/** `1200 frames, 12 lost, 3 reordered`: what did not happen is not named. */
function describe(counters: PathCounters): string {
  const { frames, lost, queueFull, tooLong, reordered, duplicated, corrupted, heldFull } = counters
  const named: readonly (readonly [number, string])[] = [
    [lost, 'lost'],
    [queueFull, 'dropped by the full queue'],
    [tooLong, 'over the MTU'],
    [reordered, 'reordered'],
    [duplicated, 'duplicated'],
    [corrupted, 'corrupted'],
    [heldFull, 'dropped because too many were on their way'],
  ]
  return [
    `${frames} frames`,
    ...named.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`),
  ].join(', ')
}
