/** @timeout 120 The shipped scenarios hold over IPv6 as well, but for those that the longer header makes others. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseScenario } from '../../tools/scenario/parse.ts'
import { formatTable } from '../../tools/scenario/report.ts'
import { runScenario } from '../../tools/scenario/run.ts'
import { packrat } from '../support/lab.ts'

const SCENARIOS = fileURLToPath(new URL('../../../test/scenarios', import.meta.url))

/** Files that are about IPv4, and why. */
const NOT_OVER_IPV6: Readonly<Record<string, string>> = {
  'small-mtu.json': 'its packets are smaller than the 1280 bytes of every link of IPv6',
  'mtu-black-hole.json': 'its path is narrower than 1280 bytes',
  'mtu-black-hole-from-start.json': 'its path is narrower than 1280 bytes',
  'acks-of-a-window.json': 'its flight is ten full segments, and would be eleven',
}

for (const file of readdirSync(SCENARIOS).sort()) {
  if (file in NOT_OVER_IPV6) continue
  test(`scenario ${file} over IPv6`, async () => {
    const scenario = parseScenario(readFileSync(join(SCENARIOS, file), 'utf8'), file)
    const { result, outcome } = await runScenario({ ...scenario, ip: 6 })
    assert.ok(result.passed, formatTable([result]))
    assert.ok(outcome!.trace.segments.length > 0, 'its segments were seen')
  })
}

test('--ip 6 plays a file over IPv6; a link that is too narrow for it is refused by name', async () => {
  const file = join(SCENARIOS, 'fast-retransmit.json')
  assert.is((await packrat('scenario', '--ip', '6', file)).status, 0)
  const { status, stderr } = await packrat('scenario', '--ip', '6', join(SCENARIOS, 'small-mtu.json'))
  assert.is(status, 2)
  assert.match(stderr, /small-mtu\.json: an MTU of 576 is too small for IPv6: it needs 1280 or more/)
  assert.is((await packrat('scenario', '--ip', '5', file)).status, 2)
})

test.run()
