/** The command, from outside: its exit statuses, its document, and a scenario against Linux's TCP in a network of its own. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { packrat, scratchDirectory } from '../support/lab.ts'

const SHIPPED = fileURLToPath(new URL('../../../test/scenarios/fast-retransmit.json', import.meta.url))

function fileWith(document: object): string {
  const path = join(scratchDirectory(), 'scenario.json')
  writeFileSync(path, JSON.stringify(document))
  return path
}

test('exit statuses: 0 held, 1 did not, 2 no scenario, 3 no file', async () => {
  assert.is((await packrat('scenario', SHIPPED)).status, 0)
  const missed = fileWith({ name: 'x', traffic: [{ send: '10K' }], expect: { retransmissions: 5 } })
  const failed = await packrat('scenario', missed, '--json')
  assert.is(failed.status, 1)
  const { passed, failed: count, scenarios } = JSON.parse(failed.stdout.toString())
  assert.equal([passed, count, scenarios[0].name, scenarios[0].passed], [0, 1, 'x', false])
  const wrong = await packrat('scenario', fileWith({ name: 'x' }))
  assert.is(wrong.status, 2)
  assert.match(wrong.stderr, /scenario\.json: traffic: missing: it must be a list of connections\n$/)
  assert.is((await packrat('scenario', '/nonexistent/x.json')).status, 3)
})

for (const [link, ip] of [
  ['tap', 'IPv4'],
  ['tap', 'IPv6'],
  ['xdp', 'IPv4'],
  ['xdp', 'IPv6'],
])
  test(`the same events, against Linux over ${ip} and ${link}`, async () => {
    const file = fileWith({
      name: 'linux',
      ip,
      peer: 'linux',
      link: { delay: '5ms' },
      traffic: [
        { send: '200K', receive: '200K' },
        { put: { count: 3, size: '20K' }, at: '300ms' },
      ],
      events: [{ drop: 'data 4' }, { drop: 'data 9 from peer' }, { drop: 'data 3 of connection 2' }],
      expect: { timeouts: 0, retransmissions: { min: 1 }, fastRetransmits: { min: 1 } },
    })
    const { status, stdout, stderr } = await packrat('scenario', file, '--json', '--link', link!)
    const { passed, scenarios } = JSON.parse(stdout.toString())
    if (scenarios[0].skipped !== undefined) {
      console.error(`SKIPPED scenario-linux: ${scenarios[0].skipped}`)
      return
    }
    assert.is(status, 0, `${stdout}${stderr}`)
    assert.is(passed, 1)
  })

test.run()
