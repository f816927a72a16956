/**
 * Mutated frames into two hosts that talk to each other over IPv4 and IPv6: nothing throws, nothing leaks, no loop spins,
 * and few frames do not bring about many. Mutants come from the corpus (test/fuzz/corpus, see record-corpus.ts) and from
 * the frames that are just passing, so that they fit live connections.
 *
 * PACKRAT_FUZZ_FRAMES=n sets the number of mutants, PACKRAT_SEED where they begin.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Address } from '../../stack/address.ts'
import { SeededRandom } from '../../stack/random.ts'
import { CLOSE_ORDERLY } from '../../stack/tcp/application.ts'
import type { Connection } from '../../stack/tcp/connection.ts'
import { type DatagramApplication, datagramAddress, datagramPort } from '../../stack/udp.ts'
import { NO_META } from '../../storage/layout.ts'
import { readCorpus } from '../support/corpus.ts'
import { damage, mutate } from '../support/mutate-frame.ts'
import { announceSeed } from '../support/random.ts'
import { chainOf, StreamApplication } from '../support/stream-application.ts'
import { ADDRESS6_B, VirtualNetwork } from '../support/virtual-link.ts'

const seed = announceSeed('stack fuzz', 99)
const FRAMES = Number(process.env.PACKRAT_FUZZ_FRAMES ?? 200_000)
const FRAMES_A_ROUND = 4000
const BURST_FRAMES = 50
const BURST_US = 5000
const SECOND_US = 1_000_000
/** Fragments, half-open connections, TIME-WAITs, probes of peers that are gone. */
const QUIET_US = 400 * SECOND_US
/** Frames on the link for each mutant: answers, and what the live connections send by themselves. */
const FRAMES_PER_MUTANT_MAX = 10
const LIVE_FRAMES = 64
const UDP_PORT = 7000
/** A silent peer is found out within a minute. */
const OPTIONS = { keepAlive: true, keepAliveIdleMs: 5000, keepAliveIntervalMs: 1000, userTimeoutMs: 20_000 }

const CORPUS = join(import.meta.dirname, '../../../test/fuzz/corpus')
const corpus = readdirSync(CORPUS).flatMap((file) => readCorpus(join(CORPUS, file)).map(({ frame }) => frame))

/** All counters of all hosts: what the mutants got to. */
const counted = new Map<string, number>()

/** A run of so many mutants reaches these. */
const FRAMES_ENOUGH = 100_000
const REACHED = [
  'arp.dropMalformed',
  'ipv4.dropTotalLength',
  'ipv4.dropProtocol',
  'ipv6.dropPayloadLength',
  'ipv6.dropOption',
  'ipv6.dropRouting',
  'ipv6Fragments.received',
  'ipv6Fragments.dropMalformed',
  'ndp.dropMalformed',
  'fragments.dropOverlap',
  'fragments.dropMalformed',
  'icmp.errorsReceived',
  'icmpv6.errorsReceived',
  'udp.dropLength',
  'udp.dropNoPort',
  'tcp.established',
  'tcp.receivedInOrder',
  'tcp.receivedOutOfOrder',
  'tcp.dropPaws',
  'tcp.dropSequence',
  'tcp.dropAck',
  'tcp.dropReset',
  'tcp.dropSyn',
  'tcp.challengeAcks',
  'tcp.resetsReceived',
  'tcp.duplicateSacks',
] as const

/** Sends back what comes, and reads on. */
class Echo extends StreamApplication {
  override onReceive(c: Connection): void {
    c.send(c.takeReceived())
    if (c.receiveFinished !== 0) c.shutdown()
  }
}

function bindEcho({ udp, pool }: VirtualNetwork['hostA']): void {
  const echo: DatagramApplication = {
    onDatagrams(port) {
      for (let meta = udp.take(port); meta !== NO_META; meta = udp.take(port))
        udp.send(port, datagramAddress(pool, meta, new Address()), datagramPort(pool, meta), meta)
    },
    onUnreachable() {},
    onClose() {},
  }
  udp.bind(UDP_PORT, echo)
}

/** A connection that goes on sending, and is opened anew when a mutant has ended it. */
class Chatter extends StreamApplication {
  private readonly network: VirtualNetwork
  private readonly open: (application: Chatter) => Connection
  private live: Connection | undefined

  constructor(network: VirtualNetwork, pool: VirtualNetwork['poolA'], open: (application: Chatter) => Connection) {
    super(pool)
    this.network = network
    this.open = open
  }

  /** Keeps some bytes on their way. */
  tick(random: SeededRandom): void {
    if (this.live === undefined || this.closeReason >= 0) {
      this.closeReason = -1
      this.live = this.open(this)
    }
    if (this.live.sendSpace > 100_000 && this.pool.freeBuffers > 500)
      this.live.send(chainOf(this.network.poolA, new Uint8Array(1 + random.below(4000)), 100 + random.below(1900)))
    if (random.chance(0.02)) this.live.shutdown()
    if (random.chance(0.01)) this.live.abort()
  }

  end(): void {
    if (this.closeReason < 0) this.live?.abort()
  }
}

function assertNothingHeld(network: VirtualNetwork, label: string): void {
  for (const host of [network.hostA, network.hostB]) {
    assert.is(host.tcp.connectionCount, 0, `${label}: connections`)
    assert.is(host.tcp.timeWaitCount, 0, `${label}: TIME-WAITs`)
    assert.is(host.pool.freeBuffers, host.pool.totalBuffers, `${label}: buffers`)
    assert.is(host.pool.freeMetas, host.pool.totalMetas, `${label}: lines`)
  }
}

/** @returns frames that were on the link */
function round(roundSeed: number, mutants: number): number {
  const random = new SeededRandom(roundSeed)
  const live: Uint8Array[] = [...corpus.slice(0, LIVE_FRAMES)]
  let carried = 0
  const network = new VirtualNetwork({
    seed: roundSeed,
    buffers: 2048,
    ipv6: true,
    impairment: { delayUs: 200, jitterUs: 300, loss: 0.01 },
    tcp: { timeWaitMs: 5000, ecn: 1 },
    filter: (frame) => {
      live[carried++ % LIVE_FRAMES] = frame
      return true
    },
  })
  const { hostA, hostB } = network
  hostB.tcp.listen(80, new Echo(network.poolB), OPTIONS)
  bindEcho(hostA)
  bindEcho(hostB)
  const chatters = ['10.0.0.2', ADDRESS6_B].map(
    (address) => new Chatter(network, network.poolA, (chatter) => hostA.tcp.connect(address, 80, chatter, OPTIONS)),
  )
  for (let injected = 0; injected < mutants; injected += BURST_FRAMES) {
    for (const chatter of chatters) chatter.tick(random)
    for (let index = 0; index < BURST_FRAMES; index++) {
      const frames = random.chance(0.6) ? live : corpus
      const frame = frames[random.below(frames.length)]!
      const mutant = mutate(frame, corpus[random.below(corpus.length)]!, random)
      const target = frame[5] === 0x0a ? network.deviceA : network.deviceB
      target.arrive(mutant, network.nowUs + random.below(BURST_US))
    }
    network.runFor(BURST_US)
  }
  for (const chatter of chatters) chatter.end()
  network.runFor(QUIET_US)
  assertNothingHeld(network, `round ${roundSeed}`)
  for (const { counters } of [hostA, hostB]) countAll(counters)
  hostA.close(network.nowUs)
  hostB.close(network.nowUs)
  return carried
}

function countAll(counters: object): void {
  for (const [layer, counts] of Object.entries(counters))
    for (const [name, count] of Object.entries(counts as object)) {
      const key = `${layer}.${name}`
      counted.set(key, (counted.get(key) ?? 0) + Number(count))
    }
}

test(`${FRAMES} mutants do no harm beyond their connections`, () => {
  let carried = 0
  for (let done = 0, number = seed; done < FRAMES; done += FRAMES_A_ROUND, number++) {
    try {
      carried += round(number, Math.min(FRAMES_A_ROUND, FRAMES - done))
    } catch (error) {
      console.log(`replay with PACKRAT_SEED=${number} PACKRAT_FUZZ_FRAMES=${FRAMES_A_ROUND}`)
      throw error
    }
  }
  console.log(
    `${FRAMES} mutants of ${corpus.length} frames of the corpus and of live ones, ${carried} frames on the link`,
  )
  assert.ok(carried < FRAMES * FRAMES_PER_MUTANT_MAX, `${carried} frames`)
})

for (const address of ['10.0.0.2', ADDRESS6_B])
  test(`frames that fail their checksum change nothing of a connection to ${address}`, () => {
    const random = new SeededRandom(seed)
    const up = Uint8Array.from({ length: 1_500_000 }, () => random.next())
    let damaged = 0
    const network: VirtualNetwork = new VirtualNetwork({
      seed,
      buffers: 4096,
      ipv6: true,
      impairment: { delayUs: 300, jitterUs: 300, loss: 0.01 },
      filter: (frame, fromA) => {
        const isIp = (frame[12] === 0x08 && frame[13] === 0x00) || frame[12] === 0x86
        for (let copy = 0; isIp && copy < 8; copy++, damaged++)
          (fromA ? network.deviceB : network.deviceA).arrive(damage(frame, random), network.nowUs + random.below(900))
        return true
      },
    })
    const server = new Echo(network.poolB)
    const client = new StreamApplication(network.poolA)
    client.connected = (c) => {
      c.send(chainOf(network.poolA, up))
      c.shutdown()
    }
    network.hostB.tcp.listen(80, server)
    network.hostA.tcp.connect(address, 80, client)
    assert.ok(network.runUntil(() => client.closeReason >= 0, 600 * SECOND_US))
    assert.is(client.closeReason, CLOSE_ORDERLY)
    assert.is(Buffer.compare(client.bytes, up), 0)
    assert.ok(damaged > 20_000, `${damaged} damaged frames`)
    network.filter = undefined
    network.runFor(QUIET_US)
    assertNothingHeld(network, address)
  })

test('the mutants get past the first checks, and to every layer', () => {
  if (FRAMES < FRAMES_ENOUGH) return
  for (const name of REACHED) assert.ok((counted.get(name) ?? 0) > 0, `${name} was not reached`)
})

test('the corpus holds what it says', () => {
  assert.ok(corpus.length >= 90, `${corpus.length} frames`)
  for (const frame of corpus) assert.ok(frame.length >= 42)
  assert.ok(corpus.some((frame) => frame[12] === 0x86) && corpus.some((frame) => frame[13] === 0x06))
})

test.run()
