/**
 * One random case for test/stack/properties.test.ts: a link, two hosts with options of their own, and connections between
 * applications with plans of their own. Everything is drawn from one seed, so that the seed names the case.
 */
import { RX_PIECE_BYTES_MIN } from '../../drivers/device.ts'
import type { TcpOptions } from '../../stack/host-options.ts'
import { SeededRandom } from '../../stack/random.ts'
import type { ConnectionOptions } from '../../stack/tcp/application.ts'
import type { InitialSequence } from '../../stack/tcp/isn.ts'
import { BUFFER_BYTES } from '../../storage/layout.ts'
import type { LabHostOptions } from './impaired-lab.ts'
import type { Plan } from './random-application.ts'

const MTU_MIN = 576
const MTU_MIN_IPV6 = 1280 // RFC 8200 5
/** Jumbo frames, of up to six buffers. */
const MTU_MAX = 9000
const SECOND_US = 1_000_000
/** Moments at which a clock wraps: signed and unsigned microseconds and milliseconds, 32 bits each. */
const WRAPS_US = [2 ** 31, 2 ** 32, 2 ** 31 * 1000, 2 ** 32 * 1000]
/** Bytes of all applications come from one pattern, each from a place of its own. */
export const PATTERN_BYTES = 1 << 20

export interface RandomConnection {
  client: Plan
  server: Plan
  clientOptions: ConnectionOptions
  serverOptions: ConnectionOptions
  /** When the client connects, µs after the start. */
  opensAtUs: number
  /** Both connect to each other, the server so long after the client; negative: the server listens. */
  alsoOpensAfterUs: number
}

export interface RandomCase {
  seed: number
  impairment: string
  mtu: number
  /** Bytes of a frame that one buffer of a receiver takes. */
  pieceBytes: number
  /** B sends runs of segments, which its end of the link cuts. */
  segmentsTcp: 'cut' | undefined
  /** 4 or 6: what the connections use. */
  version: 4 | 6
  ipv6: boolean
  startUs: number
  /** The link loses everything in this time after the start, µs. */
  outageFromUs: number
  outageToUs: number
  a: LabHostOptions
  b: LabHostOptions
  connections: RandomConnection[]
  /** Frames get lost by themselves. */
  lossy: boolean
  /** So many that a retransmission limit may be reached, or a user time-out may. */
  mayTimeOut: boolean
}

/** Starts so many bytes before a wrap of the sequence space that a transfer passes it. */
class SequenceBefore implements InitialSequence {
  readonly sequence: number
  readonly timestampOffset: number
  constructor(sequence: number, timestampOffset: number) {
    this.sequence = sequence
    this.timestampOffset = timestampOffset
  }
  generate(): void {}
}

class Draw {
  private readonly random: SeededRandom

  constructor(seed: number) {
    this.random = new SeededRandom(Math.imul(seed, 0x9e3779b1))
  }

  chance(probability: number): boolean {
    return this.random.chance(probability)
  }

  between(low: number, high: number): number {
    return low + this.random.below(high - low + 1)
  }

  /** As often small as large: uniform in the logarithm. */
  spread(low: number, high: number): number {
    const share = this.random.below(1 << 20) / (1 << 20)
    return Math.round(low * (high / low) ** share)
  }

  /** A probability up to `most`, as the specification of an impairment writes it. */
  share(most: number): string {
    return ((most * this.random.below(10_000)) / 10_000).toFixed(5)
  }

  of<T>(...values: T[]): T {
    return values[this.random.below(values.length)]!
  }
}

export function drawCase(seed: number): RandomCase {
  const draw = new Draw(seed)
  const delayUs = draw.spread(50, 150_000)
  const items = [`delay=${delayUs}us`]
  const loss = draw.of(0, 0, 0.02, 0.2)
  const corrupt = draw.chance(0.2) ? 0.05 : 0
  const hasBursts = draw.chance(0.1)
  const hasRate = draw.chance(0.25)
  if (loss > 0) items.push(`loss=${draw.share(loss)}`)
  if (corrupt > 0) items.push(`corrupt=${draw.share(corrupt)}`)
  if (hasBursts) items.push(`burst=${draw.share(0.02)}/${draw.of('0.2', '0.5')}`)
  if (hasRate) items.push(`rate=${draw.spread(500, 100_000)}kbit`, `queue=${draw.spread(10_000, 300_000)}`)
  if (draw.chance(0.3)) items.push(`jitter=${draw.spread(10, delayUs)}us`)
  const reorders = draw.chance(0.3)
  if (reorders) items.push(`reorder=${draw.share(0.3)}/${draw.spread(100, 50_000)}us`)
  const duplicates = draw.chance(0.3)
  if (duplicates) items.push(`dup=${draw.share(0.3)}`)
  const hasOutage = draw.chance(0.08)
  const outageFromUs = hasOutage ? draw.spread(1, 3 * SECOND_US) : 0
  const version = draw.chance(0.3) ? 6 : 4
  const mtuMin = version === 6 ? MTU_MIN_IPV6 : MTU_MIN
  const mtu = draw.chance(0.5) ? 1500 : draw.between(mtuMin, MTU_MAX)
  // A path that takes less than both ends think, and does not say so.
  const hasBlackHole = draw.chance(0.1)
  if (hasBlackHole) items.push(`mtu=${draw.between(mtuMin, mtu)}`)
  const connections = Array.from({ length: draw.of(1, 1, 1, 2, 3) }, () => drawConnection(draw, delayUs))
  const userTimeouts = connections.some(
    ({ clientOptions, serverOptions }) => (clientOptions.userTimeoutMs ?? serverOptions.userTimeoutMs) !== undefined,
  )
  const lossy = hasBlackHole || loss > 0 || corrupt > 0 || hasBursts || hasRate || hasOutage
  const mayTimeOut = loss > 0.02 || corrupt > 0.02 || hasBursts || hasOutage || userTimeouts
  const aborts = connections.some(({ client, server }) => mayAbort(client) || mayAbort(server))
  // Who lost the RST of an abort would wait for ever without probes. All others have to do without: the answers to
  // probes bring news of a window, too, and hide that a window update was lost.
  if (!mayTimeOut && !(lossy && aborts))
    for (const { clientOptions, serverOptions } of connections) {
      clientOptions.keepAlive = false
      serverOptions.keepAlive = false
    }
  const a = drawHost(draw, mtuMin, mtu, hasBlackHole)
  const b = drawHost(draw, mtuMin, mtu, hasBlackHole)
  // Nobody repeats a SYN-ACK with a cookie, and a late copy of the ACK that answers it opens another connection.
  if (!lossy && !reorders && !duplicates) b.tcp!.synCookies = draw.of(0, 2)
  return {
    seed,
    impairment: items.join(','),
    mtu,
    pieceBytes: draw.chance(0.5) ? BUFFER_BYTES : draw.between(RX_PIECE_BYTES_MIN, BUFFER_BYTES),
    segmentsTcp: draw.chance(0.5) ? 'cut' : undefined,
    version,
    ipv6: version === 6,
    startUs: draw.chance(0.3) ? draw.of(...WRAPS_US) - draw.spread(1, 20 * SECOND_US) : SECOND_US,
    outageFromUs,
    outageToUs: hasOutage ? outageFromUs + draw.spread(10_000, 100 * SECOND_US) : 0,
    a,
    b,
    connections,
    lossy,
    mayTimeOut,
  }
}

function mayAbort(plan: Plan): boolean {
  return plan.abortAfterUs >= 0 || plan.abortAfterBytes >= 0
}

/** @param probes the path has to be probed, which takes SACK */
function drawHost(draw: Draw, mtuMin: number, mtu: number, probes: boolean): LabHostOptions {
  const tcp: TcpOptions = {
    timestamps: draw.chance(0.75),
    windowScaling: draw.chance(0.8),
    sack: draw.chance(0.75) || probes,
    rack: draw.chance(0.8),
    tailProbes: draw.chance(0.8),
    frto: draw.chance(0.7),
    hystart: draw.chance(0.7),
    congestion: draw.of('cubic', 'reno'),
    ecn: draw.of(0, 1, 2),
    slowStartAfterIdle: draw.chance(0.7),
    mtuProbing: draw.of('on-black-hole', 'always'),
  }
  if (draw.chance(0.6))
    tcp.initialSequence = new SequenceBefore(
      (draw.of(0, 0x80000000) - draw.spread(1, 100_000)) | 0,
      draw.between(-5000, 0),
    )
  const host: LabHostOptions = { tcp, buffers: draw.chance(0.25) ? draw.between(150, 600) : 2048 }
  if (draw.chance(0.2)) host.mtu = draw.between(mtuMin, mtu)
  return host
}

function drawConnection(draw: Draw, delayUs: number): RandomConnection {
  const client = drawPlan(draw)
  const server = drawPlan(draw)
  // One side at least closes by itself, or both would wait for the other.
  if (!client.closesFirst && !server.closesFirst) client.closesFirst = true
  if (draw.chance(0.15)) {
    const plan = draw.of(client, server)
    if (draw.chance(0.5)) plan.abortAfterUs = draw.spread(1, 2 * SECOND_US)
    else plan.abortAfterBytes = draw.spread(1, plan === client ? server.bytes + 1 : client.bytes + 1)
  }
  return {
    client,
    server,
    clientOptions: drawOptions(draw),
    serverOptions: drawOptions(draw),
    opensAtUs: draw.chance(0.5) ? 0 : draw.spread(1, SECOND_US),
    alsoOpensAfterUs: draw.chance(0.1) ? draw.between(0, delayUs) : -1,
  }
}

function drawPlan(draw: Draw): Plan {
  const slow = draw.chance(0.25)
  const small = draw.chance(0.1)
  const most = small ? 3000 : 300_000
  const bytes = draw.chance(0.1) ? 0 : draw.of(draw.spread(1, most), draw.between(0, most >> 1))
  return {
    from: draw.between(0, PATTERN_BYTES - bytes - 1),
    bytes,
    pieceMax: small ? draw.between(1, 50) : draw.spread(100, 30_000),
    viewMax: small ? draw.between(1, 100) : draw.between(100, BUFFER_BYTES),
    pauseUsMax: draw.chance(0.2) ? draw.spread(10, 100_000) : 0,
    readBytes: slow ? draw.spread(500, 20_000) : 0,
    readEveryUs: slow ? draw.spread(100, 200_000) : 0,
    readAfterUs: draw.chance(0.1) ? draw.spread(1000, 10 * SECOND_US) : 0,
    closesFirst: draw.chance(0.6),
    writesEarly: draw.chance(0.2),
    abortAfterUs: -1,
    abortAfterBytes: -1,
  }
}

function drawOptions(draw: Draw): ConnectionOptions {
  const options: ConnectionOptions = {
    receiveLimitBytes: draw.spread(2000, 500_000),
    sendLimitBytes: draw.spread(2000, 200_000),
    noDelay: draw.chance(0.3),
    keepAlive: true,
    keepAliveIdleMs: draw.spread(1000, 60_000),
    keepAliveIntervalMs: draw.spread(500, 10_000),
  }
  if (draw.chance(0.1)) options.mss = draw.spread(100, 1000)
  if (draw.chance(0.05)) options.userTimeoutMs = draw.spread(2000, 60_000)
  return options
}
