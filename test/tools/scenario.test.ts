/** @timeout 120 The shipped scenarios hold, and a wrong file is refused with the place of the mistake. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { drawDiagram } from '../../tools/scenario/diagram.ts'
import { openTemporaryRegion } from '../../tools/scenario/kv-host.ts'
import { parseScenario } from '../../tools/scenario/parse.ts'
import { formatTable } from '../../tools/scenario/report.ts'
import { runScenario } from '../../tools/scenario/run.ts'
import { scratchDirectory } from '../support/lab.ts'

const SCENARIOS = fileURLToPath(new URL('../../../test/scenarios', import.meta.url))

for (const file of readdirSync(SCENARIOS).sort()) {
  test(`scenario ${file}`, async () => {
    const scenario = parseScenario(readFileSync(join(SCENARIOS, file), 'utf8'), file)
    assert.is(`${scenario.name}.json`, file)
    const { result } = await runScenario(scenario)
    assert.ok(result.passed, formatTable([result]))
  })
}

test('docs/scenarios.md lists what is shipped, in the words of the files', () => {
  const page = readFileSync(fileURLToPath(new URL('../../../docs/scenarios.md', import.meta.url)), 'utf8')
  for (const file of readdirSync(SCENARIOS)) {
    const { name, about } = JSON.parse(readFileSync(join(SCENARIOS, file), 'utf8'))
    assert.ok(page.includes(`| \`${name}\` | ${about} |`), name)
  }
})

/** A scenario with one thing replaced. */
function scenarioWith(changes: object): string {
  return JSON.stringify({ name: 'x', traffic: [{ send: '10K' }], ...changes })
}

function refusal(changes: object): string {
  try {
    parseScenario(scenarioWith(changes), 'x.json')
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('the file was taken')
}

test('a wrong file is refused with the place of the mistake and with what is allowed', () => {
  assert.match(refusal({ trafic: [] }), /there is no 'trafic' here; allowed are name, about/)
  assert.match(refusal({ seed: 0 }), /^seed: 0 is refused: it must be a whole number from 1/)
  assert.match(refusal({ link: { delay: '20' } }), /^link: delay=20 is refused: it must be a time with its unit/)
  assert.match(refusal({ link: { seed: 3 } }), /^link\.seed:/)
  assert.match(refusal({ traffic: [] }), /^traffic: .*a list of 1 to/)
  assert.match(refusal({ traffic: [{ send: '1X' }] }), /^traffic\[0\]\.send: "1X" is refused: it must be a size/)
  assert.match(refusal({ traffic: [{ send: ['1K', 'pause 3'] }] }), /^traffic\[0\]\.send\[1\]: .* a pause such as/)
  assert.match(refusal({ traffic: [{ send: 1, put: {} }] }), /^traffic\[0\]: one of send\/receive, exchange, put, get/)
  assert.match(refusal({ traffic: [{ put: { count: 0, size: 1 } }] }), /^traffic\[0\]\.put\.count: 0 is refused/)
  for (const name of ['write', 'every'])
    assert.match(
      refusal({ traffic: [{ exchange: { count: 1, request: 1, response: 1 }, [name]: name === 'write' ? 1 : '1s' }] }),
      new RegExp(`^traffic\\[0\\]\\.${name}: it belongs to send and receive`),
    )
  assert.match(
    refusal({ traffic: [{ get: { count: 1, size: 1 }, reset: 'peer' }] }),
    /^traffic\[0\]\.reset: put and get/,
  )
  assert.match(refusal({ host: { congestion: 'vegas' } }), /^host\.congestion: "vegas" .* one of cubic, reno/)
  assert.match(refusal({ peer: 'solaris' }), /^peer: "solaris" .* one of packrat, linux/)
  assert.match(refusal({ events: [{ drop: 'datum 3' }] }), /^events\[0\]\.drop: "datum 3" is refused: .*KIND NUMBERS/)
  assert.match(refusal({ events: [{ drop: 'data 3-2' }] }), /^events\[0\]\.drop:/)
  assert.match(refusal({ events: [{ drop: 'data 3 of connection 2' }] }), /there is no connection 2; traffic has 1/)
  assert.match(refusal({ events: [{ drop: 'data 3', by: '1s' }] }), /^events\[0\]: there is no 'by' here/)
  assert.match(refusal({ events: [{ delay: 'data 3' }] }), /^events\[0\]\.by: missing: it must be a time/)
  assert.match(refusal({ events: [{ vanish: 'data 3' }] }), /^events\[0\]: an event has exactly one of drop/)
  assert.match(refusal({ events: [{ blackout: '2s-1s' }] }), /^events\[0\]\.blackout: .*a period such as/)
  assert.match(refusal({ expect: { luck: 1 } }), /^expect: nothing called 'luck' is measured; allowed are finished/)
  assert.match(refusal({ expect: { timeouts: { min: 2, max: 1 } } }), /^expect\.timeouts: /)
  assert.match(refusal({ expect: { ends: 'well' } }), /^expect\.ends: "well" .* one of orderly, reset/)
})

test('an expectation that is missed, and an event that never happens, fail the scenario', async () => {
  const failed = async (changes: object): Promise<string[]> => {
    const { result } = await runScenario(parseScenario(scenarioWith(changes), 'x.json'))
    return result.expectations.filter(({ passed }) => !passed).map(({ what }) => what)
  }
  assert.equal(await failed({}), [])
  assert.equal(await failed({ events: [{ drop: 'data 2' }], expect: { retransmissions: 0 } }), ['retransmissions'])
  assert.equal(await failed({ events: [{ drop: 'data 200' }] }), ['event: drop data 200'])
  assert.equal(await failed({ expect: { finished: '1ms' } }), ['finished'])
  assert.equal(await failed({ link: { loss: '100%' }, limit: '2s' }), ['bytes', 'connections end'])
})

test('of the region of a scenario nothing can be left behind', () => {
  const parent = scratchDirectory()
  const region = openTemporaryRegion(parent, 1 << 20)
  assert.equal(readdirSync(parent), [], 'it has no name while it is in use')
  region.close()
  assert.equal(readdirSync(parent), [])
})

for (const method of ['put', 'get'])
  test(`a host that stops reading leaves the requests of ${method} where they are, too`, async () => {
    const changes = {
      traffic: [{ [method]: { count: 5, size: '100K' } }],
      events: [{ 'stop-reading': '0s-5s', from: 'host' }],
      expect: { finished: { min: 5000, max: 6000 } },
    }
    const { result } = await runScenario(parseScenario(scenarioWith(changes), 'x.json'))
    assert.equal(
      result.expectations.filter(({ passed }) => !passed),
      [],
    )
  })

test('the diagram shows every data segment once, crosses what was lost, and stands alone', async () => {
  const events = [{ drop: 'data 3' }, { drop: 'retransmission 1' }, { delay: 'data 9', by: '1ms' }]
  const text = scenarioWith({ about: 'a < b & c', traffic: [{ send: '100K' }], events })
  const { outcome, result } = await runScenario(parseScenario(text, 'x.json'))
  const svg = drawDiagram(outcome!)
  const count = (pattern: RegExp): number => [...svg.matchAll(pattern)].length
  const { dataSegments, retransmissions } = result.measured
  const inLegend = 1
  assert.is(count(/<path class="(data|probe)"/g), Number(dataSegments) + 2 * inLegend)
  assert.is(count(/<path class="again"/g), Number(retransmissions) + inLegend)
  assert.is(count(/<path class="lost"/g), 2 + inLegend)
  assert.is(count(/<path class="(ack|edge|window|threshold)"/g), 4 + 2 * inLegend)
  assert.match(svg, /<title>data 3, lost: 2896–4344 at \d+\.\d ms<\/title>/)
  assert.match(svg, /a &lt; b &amp; c/)
  assert.not.match(svg, /NaN|Infinity|undefined|href|url\(/)
  const tags = [...svg.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)].filter(([, , , selfClosed]) => selfClosed === '')
  const open: string[] = []
  for (const [, slash, name] of tags) {
    if (slash === '') open.push(name!)
    else assert.is(open.pop(), name, 'tags nest')
  }
  assert.equal(open, [])
})

test('the same file gives the same run, another seed another one', async () => {
  const run = async (seed: number): Promise<string> => {
    const lossy = { link: { delay: '10ms', loss: '5%' }, traffic: [{ send: '200K' }], seed }
    const { outcome } = await runScenario(parseScenario(scenarioWith(lossy), 'x.json'))
    return JSON.stringify(outcome!.trace.segments)
  }
  assert.is(await run(4), await run(4))
  assert.is.not(await run(4), await run(5))
})

test.run()
