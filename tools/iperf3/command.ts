/**
 * `packrat iperf3 -c ADDR`: the client on a stack of its own, over a TAP of its own (docs/iperf3.md). Buffers lie in plain
 * memory: nothing is to be kept.
 *
 * Called by: packrat.ts. Calls: client.ts, report.ts, json-report.ts.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { TapDevice } from '../../drivers/tap.ts'
import { SystemClock, SystemWallClock } from '../../stack/clock.ts'
import { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import { PackratError } from '../../storage/errors.ts'
import { cidr, hostAddress, hostCidr, ipv4, TAP_DEVICE } from '../address-flags.ts'
import {
  choice,
  count,
  EXIT_CANNOT,
  EXIT_OK,
  type FlagValues,
  lettered,
  runCommand,
  size,
  text,
  toggle,
  UsageError,
} from '../arguments.ts'
import { Loop } from '../loop.ts'
import { createPool } from '../scenario/pools.ts'
import { tcpKnobs } from '../tcp-knobs.ts'
import { type ClientOutcome, IperfClient } from './client.ts'
import { type Cancel, systemEnvironment } from './environment.ts'
import { jsonReport } from './json-report.ts'
import { checkParameters, type TestParameters } from './parameters.ts'
import {
  errorText,
  IPERF_PORT,
  OMIT_SECONDS_MAX,
  SECONDS_MAX,
  STREAMS_MAX,
  TCP_BLOCK_BYTES,
  TCP_BLOCK_BYTES_MAX,
  UDP_BITS_PER_SECOND,
} from './protocol.ts'
import { headText, intervalText, outcomeText } from './report.ts'

const SECONDS = 10
const SEED_MAX = 0x7fffffff
/** 64 MiB. */
const POOL_BUFFERS = 32_768
const CONNECTIONS_MAX = 1024
const BUSY_POLL_US = 200
/** What the last segments of a test may take to leave before the stack goes. */
const LINGER_MS = 50

const command = {
  name: 'packrat iperf3',
  summary: 'measures throughput to an iperf3 server, over a stack and a TAP of its own',
  operands: [],
  flags: {
    client: lettered('c', ipv4('ADDR', 'the server, an IPv4 address')),
    port: lettered('p', count('PORT', 'its port', { default: IPERF_PORT, minimum: 1, maximum: 65535 })),
    time: lettered(
      't',
      count('S', 'seconds; 10 unless -n or -k says when to end', { default: 0, maximum: SECONDS_MAX }),
    ),
    bytes: lettered('n', size('bytes to send instead', { default: 0 })),
    blockcount: lettered('k', count('N', 'writes, or datagrams, to send instead', { default: 0 })),
    parallel: lettered('P', count('N', 'streams', { default: 1, minimum: 1, maximum: STREAMS_MAX })),
    reverse: lettered('R', toggle('the server sends')),
    bidir: toggle('both send'),
    udp: lettered('u', toggle('datagrams instead of TCP')),
    bitrate: lettered(
      'b',
      text(
        'RATE',
        'bits a second of each stream, with K, M or G (decimal); 0: as fast as it goes; default 1M of UDP, else 0',
      ),
    ),
    length: lettered(
      'l',
      size('bytes of a write, or of a datagram; default 128K, or what a frame takes', {
        default: 0,
        maximum: TCP_BLOCK_BYTES_MAX,
      }),
    ),
    omit: lettered(
      'O',
      count('S', 'seconds at the start that do not count', { default: 0, maximum: OMIT_SECONDS_MAX }),
    ),
    interval: lettered('i', count('S', 'seconds between reports; 0: none', { default: 1, maximum: 60 })),
    'set-mss': lettered(
      'M',
      count('BYTES', 'largest segment to ask for; 0: what the link takes', { default: 0, maximum: 65_521 }),
    ),
    'no-delay': lettered('N', toggle('no Nagle algorithm')),
    'udp-counters-64bit': toggle('wide numbers in datagrams'),
    'get-server-output': toggle("print the server's report, too"),
    json: lettered('J', toggle('print one JSON document')),
    device: text('tap:NAME', 'the link', { default: 'tap:packrat1' }),
    address: cidr("this stack's own address", { default: '10.78.0.2/24' }),
    'host-address': hostCidr(),
    gateway: ipv4('IP', 'next hop for what is not on the link; default the kernel, which has to forward then'),
    mtu: count('BYTES', 'largest IP packet', { default: 1500, minimum: 576, maximum: 65_521 }),
    congestion: choice(['cubic', 'reno'], 'how the congestion window grows', { default: 'cubic' }),
    tcp: tcpKnobs('set a knob of TCP, under the name that Linux gives it'),
    seed: count('N', 'seed of ports and timestamps; 0: drawn', { default: 0, maximum: SEED_MAX }),
  },
}

type IperfFlags = FlagValues<typeof command.flags>

export const iperf3 = (argv: string[]): number | Promise<number> =>
  runCommand(command, argv, async (flags) => {
    const address = flags.client
    if (address === undefined) throw new UsageError('-c ADDR is missing: say which server to measure to')
    const parameters = parametersOf(flags)
    const outcome = await measure(flags, address, parameters)
    if (outcome instanceof PackratError) {
      if (flags.json) console.log(JSON.stringify({ error: outcome.message }))
      else console.error(`${command.name}: ${outcome.message}`)
      return EXIT_CANNOT
    }
    console.log(flags.json ? JSON.stringify(jsonReport(outcome, command.name), null, 2) : outcomeText(outcome))
    return EXIT_OK
  })

function parametersOf(flags: IperfFlags): TestParameters {
  const ends = [flags.time, flags.bytes, flags.blockcount].filter((value) => value > 0).length
  if (ends > 1) throw new UsageError('-t, -n and -k each say when the test ends; give one of them')
  const blockBytes = flags.length > 0 ? flags.length : flags.udp ? 0 : TCP_BLOCK_BYTES
  if (flags.blockcount > 0 && blockBytes === 0) throw new UsageError('-k of datagrams needs their length; give -l, too')
  const parameters: TestParameters = {
    protocol: flags.udp ? 'udp' : 'tcp',
    seconds: ends === 0 ? SECONDS : flags.time,
    omitSeconds: flags.omit,
    bytes: flags.bytes > 0 ? flags.bytes : flags.blockcount * blockBytes,
    parallel: flags.parallel,
    reverse: flags.reverse,
    bidirectional: flags.bidir,
    blockBytes,
    bitsPerSecond: flags.bitrate === undefined ? (flags.udp ? UDP_BITS_PER_SECOND : 0) : parseRate(flags.bitrate),
    noDelay: flags['no-delay'],
    wideNumbers: flags['udp-counters-64bit'],
    serverOutput: flags['get-server-output'],
  }
  const error = checkParameters(blockBytes === 0 ? { ...parameters, blockBytes: TCP_BLOCK_BYTES >> 3 } : parameters)
  if (error !== undefined) throw new UsageError(`${errorText(error)}; see ${command.name} --help`)
  return parameters
}

const RATE_UNITS: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9 }

function parseRate(rate: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)([kmg]?)$/i.exec(rate) ?? []
  if (number === undefined) throw new UsageError(`--bitrate '${rate}' is refused: it must be a number with K, M or G`)
  return Number(number) * RATE_UNITS[unit.toLowerCase()]!
}

/** Runs the test on a stack that lives as long as it. */
async function measure(
  flags: IperfFlags,
  address: string,
  parameters: TestParameters,
): Promise<ClientOutcome | PackratError> {
  const [, name] = TAP_DEVICE.exec(flags.device) ?? []
  if (name === undefined)
    throw new UsageError(`--device '${flags.device}' is not known; write tap:NAME, a name of 1 to 15 characters`)
  const kernel = hostAddress(flags)
  const gateway = flags.gateway ?? kernel?.split('/')[0]
  const pool = createPool(POOL_BUFFERS)
  const device = new TapDevice(pool, { name, mtu: flags.mtu, ...(kernel !== undefined && { hostAddress: kernel }) })
  const clock = new SystemClock()
  const random = new SeededRandom(flags.seed === 0 ? randomInt(1, SEED_MAX) : flags.seed)
  const host = new Host(
    {
      device,
      pool,
      address: flags.address,
      ...(gateway !== undefined && { gateway }),
      mtu: flags.mtu,
      random,
      secret: randomBytes(32),
      wallClock: new SystemWallClock(),
      tcp: {
        connectionsMax: CONNECTIONS_MAX,
        timeWaitsMax: CONNECTIONS_MAX,
        congestion: flags.congestion,
        ...flags.tcp,
      },
    },
    clock.nowUs(),
  )
  let end: (outcome: ClientOutcome | PackratError) => void = () => {}
  let fail: (error: unknown) => void = () => {}
  const ended = new Promise<ClientOutcome | PackratError>((resolve, reject) => {
    end = resolve
    fail = reject
  })
  const loop = new Loop({ host, device, clock, busyPollUs: BUSY_POLL_US, onIdle: () => false, onError: fail })
  const environment = systemEnvironment(host, clock, flags.congestion, () => {
    host.flush(clock.nowUs())
    loop.wake()
  })
  const print = (line: string): void => {
    if (!flags.json) console.log(line)
  }
  let stop: Cancel = () => {}
  try {
    loop.start()
    const client = new IperfClient(
      environment,
      {
        address,
        port: flags.port,
        parameters,
        intervalMs: flags.interval * 1000,
        mss: flags['set-mss'] === 0 ? undefined : flags['set-mss'],
        onStart: () => print(headText(parameters.protocol)),
        onInterval: (interval) => print(intervalText(interval, parameters.protocol).join('\n')),
        onEnd: end,
      },
      () => random.next(),
    )
    stop = () => client.terminate()
    process.once('SIGINT', stop)
    process.once('SIGTERM', stop)
    const outcome = await ended
    await new Promise((resolve) => setTimeout(resolve, LINGER_MS))
    return outcome
  } finally {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
    loop.stop()
    host.close(clock.nowUs())
    device.close()
  }
}
