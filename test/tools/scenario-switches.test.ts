/**
 * A scenario that holds whatever the stack does proves nothing: with its mechanism switched off it has to fail. The page
 * docs/scenarios.md shows the same table.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseScenario } from '../../tools/scenario/parse.ts'
import { runScenario } from '../../tools/scenario/run.ts'

const SCENARIOS = fileURLToPath(new URL('../../../test/scenarios', import.meta.url))
const QUARTER_HOUR_MS = 900_000
/** A mechanism that is missed may take minutes to be replaced by the slow one. */
const LIMIT = '60s'

const SWITCHES: readonly (readonly [object, readonly string[]])[] = [
  [
    { rack: false },
    ['fin-out-of-order', 'lost-retransmission', 'lost-retransmission-twice', 'reorder-mild', 'tail-loss-three'],
  ],
  [{ sack: false }, ['burst-loss', 'dsack-undo', 'sack-recovery', 'tiny-flight', 'two-bursts']],
  [{ tailProbes: false }, ['tail-loss-probe', 'tail-loss-three']],
  [{ frto: false }, ['f-rto']],
  [{ timestamps: false }, ['eifel-time-out']],
  [{ hystart: false }, ['hystart']],
  [{ slowStartAfterIdle: false }, ['idle-restart']],
  [{ congestion: 'reno' }, ['cubic']],
  [{ congestion: 'cubic' }, ['reno']],
  [{ ecn: 0 }, ['ecn']],
  [{ mtuProbing: 'off' }, ['ipv6-black-hole', 'mtu-black-hole', 'mtu-black-hole-from-start']],
  [{ noDelay: true }, ['nagle']],
  [{ keepAlive: false }, ['keep-alive']],
  [{ userTimeoutMs: QUARTER_HOUR_MS }, ['dead-peer']],
]

for (const [host, names] of SWITCHES) {
  test(`${JSON.stringify(host)} fails ${names.join(', ')}`, async () => {
    for (const name of names) {
      const document = JSON.parse(readFileSync(join(SCENARIOS, `${name}.json`), 'utf8'))
      const changed = { ...document, host: { ...document.host, ...host }, limit: LIMIT }
      const { result } = await runScenario(parseScenario(JSON.stringify(changed), name))
      assert.is(result.passed, false, `${name} holds without its mechanism`)
    }
  })
}

test.run()
