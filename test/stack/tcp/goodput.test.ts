/**
 * Goodput in virtual time over links that lose and reorder: SACK with RACK against NewReno on the same link from the same
 * seeds. What is compared is time and time-outs.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { TcpOptions } from '../../../stack/host-options.ts'
import { chainOf, StreamApplication } from '../../support/stream-application.ts'
import { type Impairment, VirtualNetwork } from '../../support/virtual-link.ts'

const SEED = Number(process.env.PACKRAT_SEED ?? 7)
const BYTES = 1_500_000
const SEEDS = 6

interface Outcome {
  seconds: number
  timeouts: number
  retransmitted: number
  segments: number
}

/** One transfer a seed; sums over all. */
function transfer(impairment: Impairment, tcp: TcpOptions): Outcome {
  const outcome = { seconds: 0, timeouts: 0, retransmitted: 0, segments: 0 }
  for (let seed = SEED; seed < SEED + SEEDS; seed++) {
    const network = new VirtualNetwork({ seed, buffers: 4096, impairment, tcp })
    const server = new StreamApplication(network.poolB)
    network.hostB.tcp.listen(80, server)
    const client = new StreamApplication(network.poolA)
    client.connected = (c) => {
      c.send(chainOf(network.poolA, new Uint8Array(BYTES)))
      c.shutdown()
    }
    const start = network.nowUs
    network.hostA.tcp.connect('10.0.0.2', 80, client)
    assert.ok(
      network.runUntil(() => server.finished, 600_000_000),
      `seed ${seed}: arrived`,
    )
    assert.is(server.receivedBytes, BYTES)
    outcome.seconds += (network.nowUs - start) / 1e6
    const counters = network.hostA.counters.tcp
    outcome.timeouts += counters.timeouts
    outcome.retransmitted += counters.retransmitted
    outcome.segments += counters.sent
  }
  return outcome
}

for (const loss of [0.005, 0.02, 0.05])
  for (const congestion of ['cubic', 'reno'] as const)
    test(`${loss * 100} % loss, 40 ms, ${congestion}: SACK and RACK against NewReno`, () => {
      const link = { delayUs: 20_000, loss }
      const modern = transfer(link, { congestion })
      const newReno = transfer(link, { congestion, sack: false })
      const text = `${modern.seconds.toFixed(2)} s, ${modern.timeouts} time-outs; NewReno ${newReno.seconds.toFixed(2)} s, ${newReno.timeouts}`
      assert.ok(modern.timeouts <= newReno.timeouts, text)
      // Where a window loses one segment at most, both repair it as fast and reduce as often, and chance decides.
      if (loss === 0.05) {
        assert.ok(modern.seconds < newReno.seconds, text)
        assert.ok(2 * modern.timeouts < newReno.timeouts, text)
      }
      console.log(`${loss * 100} % ${congestion}: ${text}`)
    })

test('RACK recovers faster than byte counts where retransmissions are lost, too', () => {
  const link = { delayUs: 20_000, loss: 0.1 }
  const rack = transfer(link, {})
  const counts = transfer(link, { rack: false, tailProbes: false })
  assert.ok(rack.seconds < counts.seconds, `${rack.seconds} s, ${counts.seconds} s`)
  assert.ok(rack.timeouts < counts.timeouts, `${rack.timeouts}, ${counts.timeouts} time-outs`)
})

test('reordering by more than three segments: next to nothing is sent twice once the window has adapted', () => {
  const link = { delayUs: 20_000, jitterUs: 6000 }
  const rack = transfer(link, {})
  const counts = transfer(link, { rack: false })
  const text = `${rack.retransmitted} of ${rack.segments}, RFC 6675 ${counts.retransmitted}`
  console.log(`jitter of 6 ms: ${text}`)
  assert.ok(rack.retransmitted < rack.segments * 0.02, text)
  assert.ok(rack.retransmitted < counts.retransmitted / 4, text)
  assert.is(rack.timeouts, 0)
})

test('a clean link: nothing is sent twice', () => {
  const { retransmitted, timeouts } = transfer({ delayUs: 20_000 }, {})
  assert.is(retransmitted, 0)
  assert.is(timeouts, 0)
})

console.log(`seed ${SEED}`)
test.run()
