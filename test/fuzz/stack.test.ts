/**
 * Mutated frames into two hosts that talk to each other: nothing throws, nothing leaks, no loop spins. Half of the
 * mutants get right checksums again, so that they pass the first checks.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SeededRandom } from '../../stack/random.ts'
import { foldSum, sumBytes } from '../../storage/checksum.ts'
import { chainOf, StreamApplication } from '../support/stream-application.ts'
import { VirtualNetwork } from '../support/virtual-link.ts'

const SEED = Number(process.env.PACKRAT_SEED ?? 99)
const ROUNDS = 60

/** Makes IPv4, TCP and ICMP checksums right again where the lengths allow. */
function repairChecksums(frame: Uint8Array): void {
  if (frame.length < 34 || frame[12] !== 8 || frame[13] !== 0) return
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  const headerLength = (frame[14]! & 15) << 2
  const total = view.getUint16(16)
  if (headerLength < 20 || 14 + total > frame.length || total < headerLength) return
  view.setUint16(24, 0)
  view.setUint16(24, ~sumBytes(view, 14, headerLength) & 0xffff)
  const at = 14 + headerLength
  const length = total - headerLength
  if (frame[23] === 6 && length >= 20) {
    view.setUint16(at + 16, 0)
    const pseudo = sumBytes(view, 26, 8) + 6 + length
    view.setUint16(at + 16, ~foldSum(pseudo + sumBytes(view, at, length)) & 0xffff)
  } else if (frame[23] === 1 && length >= 8) {
    view.setUint16(at + 2, 0)
    view.setUint16(at + 2, ~sumBytes(view, at, length) & 0xffff)
  }
}

/** A changed copy: bytes, length, or protocol fields set to values that matter. */
function mutate(frame: Uint8Array, random: SeededRandom): Uint8Array {
  let copy = frame.slice()
  for (let change = 1 + random.below(3); change > 0; change--) {
    // Mostly headers; the payload changes nothing that a header check sees.
    const at = random.chance(0.9) ? 12 + random.below(Math.min(copy.length - 12, 60)) : random.below(copy.length)
    const edge = [0, 1, 0x7f, 0x80, 0xff]
    copy[at] = random.chance(0.5) ? edge[random.below(edge.length)]! : random.next() & 255
  }
  if (random.chance(0.1)) copy = copy.slice(0, random.below(copy.length + 1))
  if (random.chance(0.5)) repairChecksums(copy)
  return copy
}

test('mutated frames do no harm beyond their connection', () => {
  let mutants = 0
  for (let round = 0; round < ROUNDS; round++) {
    const seed = SEED + round
    const random = new SeededRandom(seed)
    const network: VirtualNetwork = new VirtualNetwork({
      seed,
      buffers: 1024,
      impairment: { delayUs: 200, jitterUs: 400 },
      filter: (frame, fromA) => {
        if (!random.chance(0.2)) return true
        mutants++
        const target = fromA ? network.deviceB : network.deviceA
        target.arrive(mutate(frame, random), network.nowUs + 100)
        return random.chance(0.8)
      },
    })
    const bytes = Uint8Array.from({ length: 40_000 }, (_, index) => index * 31)
    const server = new StreamApplication(network.poolB)
    const clients: StreamApplication[] = []
    network.hostB.tcp.listen(80, server)
    for (let index = 0; index < 3; index++) {
      const client = new StreamApplication(network.poolA)
      client.connected = (c) => {
        c.send(chainOf(network.poolA, bytes))
        c.shutdown()
      }
      clients.push(client)
      network.hostA.tcp.connect('10.0.0.2', 80, client, { userTimeoutMs: 5000 })
    }
    network.runFor(30_000_000)
    network.filter = undefined
    network.hostA.close(network.nowUs)
    network.hostB.close(network.nowUs)
    const label = `round ${round}, seed ${seed}`
    for (const host of [network.hostA, network.hostB]) {
      assert.is(host.tcp.connectionCount, 0, label)
      assert.is(host.tcp.timeWaitCount, 0, label)
      assert.is(host.pool.freeBuffers, host.pool.totalBuffers, `${label}: buffers`)
      assert.is(host.pool.freeMetas, host.pool.totalMetas, `${label}: lines`)
    }
  }
  assert.ok(mutants > 1000, `${mutants} mutants`)
})

console.log(`seed ${SEED}`)
test.run()
