/**
 * Properties of TCP over random links, options and behaviour, in virtual time. For every seed:
 *
 *  1. What arrives is a prefix of what the peer wrote: each byte once, in order.
 *  2. A connection ends for a reason that its case allows; an orderly end means that both directions arrived whole.
 *  3. It ends: within bounds of virtual time and of turns of the loop.
 *  4. Nothing is left behind: buffers, lines, timers, connections, TIME-WAITs, ports.
 *  5. The scoreboard's sums are right at random moments (check-scoreboard.ts).
 *
 * PACKRAT_SEED=n replays one case and prints it; PACKRAT_SEEDS=n runs so many from there, 10,000 being the full size.
 *
 * @timeout 240
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../stack/host.ts'
import { SeededRandom } from '../../stack/random.ts'
import { CLOSE_ABORTED, CLOSE_ORDERLY, CLOSE_REFUSED, CLOSE_RESET, CLOSE_TIMEOUT } from '../../stack/tcp/application.ts'
import type { Listener } from '../../stack/tcp/listen.ts'
import { checkScoreboard } from '../support/check-scoreboard.ts'
import { ADDRESSES, ImpairedLab } from '../support/impaired-lab.ts'
import { RandomApplication } from '../support/random-application.ts'
import { drawCase, PATTERN_BYTES, type RandomCase, type RandomConnection } from '../support/random-case.ts'

const REPLAYED = process.env.PACKRAT_SEED
const FIRST = Number(REPLAYED ?? 1)
const SEEDS = Number(process.env.PACKRAT_SEEDS ?? (REPLAYED === undefined ? 2000 : 1))
const SECOND_US = 1_000_000
/** Far beyond the longest recovery: an outage of 100 s doubles the time-out up to 120 s. */
const END_US = 7200 * SECOND_US
/** TIME-WAIT, the last handshake, neighbours; what was learned of a path lives longest. */
const AFTERMATH_US = 1000 * SECOND_US
/** Of a host without connections: neighbours of both kinds, TIME-WAITs, fragments, path MTUs, its addresses. */
const HOST_TIMERS = 6
const CHECK_EVERY_TURNS = 64
const REASONS = ['orderly', 'reset', 'timeout', 'refused', 'aborted', 'unreachable']

/** What must have happened in a thousand cases, or the cases prove less than they seem to. */
const SEEN_PER_THOUSAND = {
  orderly: 2000,
  reset: 40,
  aborted: 60,
  timeout: 3,
  'simultaneous open': 60,
  'over IPv6': 300,
  retransmitted: 5000,
  timeouts: 1000,
  fastRetransmits: 1000,
  tailProbes: 250,
  tailProbeRepairs: 25,
  spuriousRecoveries: 100,
  spuriousTimeouts: 100,
  zeroWindowProbes: 20,
  duplicateSacks: 1000,
  dropChecksum: 300,
  keepAliveProbes: 50,
  runsSent: 3000,
}
const seen = new Map<string, number>()

const pattern = Uint8Array.from({ length: PATTERN_BYTES }, bytesOf(new SeededRandom(77)))

function bytesOf(random: SeededRandom): () => number {
  return () => random.next() & 255
}

class Pair {
  readonly plan: RandomConnection
  readonly client: RandomApplication
  readonly server: RandomApplication
  readonly listener: Listener | undefined
  readonly port: number

  constructor(lab: ImpairedLab, plan: RandomConnection, port: number, { seed, version }: RandomCase) {
    const { client, server } = plan
    const [a, b] = ADDRESSES.map((addresses) => addresses[version === 4 ? 0 : 1])
    this.plan = plan
    this.port = port
    this.client = new RandomApplication(
      lab,
      lab.poolA,
      client,
      pattern,
      server.from,
      new SeededRandom(seed * 16 + port),
    )
    this.server = new RandomApplication(
      lab,
      lab.poolB,
      server,
      pattern,
      client.from,
      new SeededRandom(seed * 16 - port),
    )
    const startUs = lab.nowUs + plan.opensAtUs
    if (plan.alsoOpensAfterUs < 0) {
      this.listener = lab.hostB.tcp.listen(port, this.server, plan.serverOptions)
      lab.at(startUs, () => {
        this.client.opens(lab.hostA.tcp.connect(b!, port, this.client, plan.clientOptions))
      })
      return
    }
    const toB = { ...plan.clientOptions, localPort: port + 1000 }
    const toA = { ...plan.serverOptions, localPort: port }
    lab.at(startUs, () => {
      this.client.opens(lab.hostA.tcp.connect(b!, port, this.client, toB))
    })
    lab.at(startUs + plan.alsoOpensAfterUs, () => {
      this.server.opens(lab.hostB.tcp.connect(a!, port + 1000, this.server, toA))
    })
  }

  /** A server that never heard of its connection cannot end it. */
  get isOver(): boolean {
    return this.client.ended !== 0 && (this.server.ended !== 0 || this.server.connection === undefined)
  }
}

function run(each: RandomCase): void {
  let lab: ImpairedLab | undefined
  const filter = () => {
    const sinceStartUs = lab!.nowUs - each.startUs
    return sinceStartUs >= each.outageFromUs && sinceStartUs < each.outageToUs ? 'drop' : 'pass'
  }
  const { segmentsTcp, ...rest } = each
  lab = new ImpairedLab({ ...rest, filter, ...(segmentsTcp !== undefined && { segmentsTcp }) })
  const pairs = each.connections.map((plan, index) => new Pair(lab, plan, 80 + index, each))
  let checkAt = CHECK_EVERY_TURNS
  const over = () => {
    if (lab.turns >= checkAt) {
      checkAt = lab.turns + CHECK_EVERY_TURNS
      for (const { client, server } of pairs) {
        checkAccounts(client, lab.hostB)
        checkAccounts(server, lab.hostA)
      }
    }
    return pairs.every((pair) => pair.isOver)
  }
  assert.ok(lab.runUntil(over, END_US), `not over: ${pairs.map(describePair).join('; ')}`)
  for (const pair of pairs) {
    assert.is(pair.client.fault, '')
    assert.is(pair.server.fault, '')
    checkEnd(each, pair, pair.client, pair.server)
    if (pair.server.established) checkEnd(each, pair, pair.server, pair.client)
  }
  for (const host of [lab.hostA, lab.hostB])
    if (host.tcp.connectionCount === 0) assert.ok(host.armedTimers <= HOST_TIMERS, 'timers of dead connections')
  lab.runFor(AFTERMATH_US)
  countSeen(lab, pairs)
  assertNothingLeft(lab, pairs)
}

function checkAccounts({ connection, ended }: RandomApplication, peer: Host): void {
  if (connection !== undefined && ended === 0) checkScoreboard(connection, peer.counters.tcp.prunedLines > 0)
}

function countSeen(lab: ImpairedLab, pairs: Pair[]): void {
  const add = (what: string, count: number) => seen.set(what, (seen.get(what) ?? 0) + count)
  for (const { client, server, plan } of pairs) {
    for (const { ended, reason } of [client, server]) if (ended !== 0) add(REASONS[reason]!, 1)
    if (client.established && client.connection!.remoteAddress.includes(':')) add('over IPv6', 1)
    if (plan.alsoOpensAfterUs >= 0 && client.established && server.established) add('simultaneous open', 1)
  }
  for (const { counters } of [lab.hostA, lab.hostB])
    for (const [what, count] of Object.entries(counters.tcp)) if (what in SEEN_PER_THOUSAND) add(what, count)
}

function checkEnd(each: RandomCase, pair: Pair, one: RandomApplication, other: RandomApplication): void {
  const text = describePair(pair)
  const whole = one.receivedBytes === other.plan.bytes && one.sawEnd && one.hasShutDown
  const otherWentAway = other.ended !== 0 && other.reason !== CLOSE_ORDERLY
  const alsoOpens = pair.plan.alsoOpensAfterUs >= 0
  switch (one.reason) {
    case CLOSE_ORDERLY:
      assert.ok(whole, `orderly, but not all has arrived: ${text}`)
      assert.ok(other.hasShutDown, `orderly, but the peer has not closed: ${text}`)
      break
    case CLOSE_ABORTED:
      assert.ok(one.aborted, `aborted by nobody: ${text}`)
      break
    case CLOSE_RESET:
      // A peer that was left in LAST-ACK when the other's TIME-WAIT was over has everything, too.
      assert.ok(otherWentAway || !other.established || (each.mayTimeOut && whole), `reset by nobody: ${text}`)
      break
    case CLOSE_REFUSED:
      assert.ok(alsoOpens && !one.established, `refused: ${text}`)
      break
    case CLOSE_TIMEOUT:
      assert.ok(each.mayTimeOut || (each.lossy && other.aborted), `timed out: ${text}`)
      break
    default:
      assert.unreachable(text)
  }
}

function describePair({ client, server }: Pair): string {
  const describe = (one: RandomApplication): string =>
    `${one.ended === 0 ? 'open' : REASONS[one.reason]}, wrote ${one.writtenBytes} of ${one.plan.bytes}${one.hasShutDown ? ' and FIN' : ''}, got ${one.receivedBytes}${one.sawEnd ? ' and FIN' : ''}`
  return `client ${describe(client)}; server ${describe(server)}`
}

function assertNothingLeft(lab: ImpairedLab, pairs: Pair[]): void {
  for (const [name, host] of Object.entries({ a: lab.hostA, b: lab.hostB })) {
    assert.is(host.tcp.connectionCount, 0, `${name}: connections`)
    assert.is(host.tcp.timeWaitCount, 0, `${name}: TIME-WAITs`)
    assert.is(host.pool.freeBuffers + host.device.idleBuffers, host.pool.totalBuffers, `${name}: buffers`)
    assert.is(host.pool.freeMetas, host.pool.totalMetas, `${name}: lines`)
    assert.is(host.armedTimers, 0, `${name}: timers`)
  }
  for (const { listener, client, port } of pairs) {
    if (listener !== undefined) assert.is(listener.halfOpen + listener.accepted, 0, `port ${port}: connections counted`)
    // Throws EADDRINUSE if the port is still taken.
    const { localPort, remoteAddress } = client.connection!
    lab.hostA.tcp
      .connect(
        remoteAddress,
        port,
        new RandomApplication(lab, lab.poolA, client.plan, pattern, 0, new SeededRandom(1)),
        {
          localPort,
        },
      )
      .abort()
  }
  lab.close()
}

test(`${SEEDS} cases from seed ${FIRST}`, () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    const each = drawCase(seed)
    if (REPLAYED !== undefined && SEEDS === 1) console.log(JSON.stringify(each, undefined, 2))
    try {
      run(each)
    } catch (error) {
      console.log(`replay with PACKRAT_SEED=${seed} node dist/test/stack/properties.test.js`)
      throw error
    }
  }
})

test('the cases are as varied as they claim', () => {
  console.log(
    Object.keys(SEEN_PER_THOUSAND)
      .map((what) => `${what} ${seen.get(what) ?? 0}`)
      .join(', '),
  )
  if (SEEDS < 1000) return
  for (const [what, count] of Object.entries(SEEN_PER_THOUSAND))
    assert.ok((seen.get(what) ?? 0) >= (count * SEEDS) / 1000, `${what}: ${seen.get(what) ?? 0} in ${SEEDS} cases`)
})

test.run()
