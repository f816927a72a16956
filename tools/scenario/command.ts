/**
 * `packrat scenario FILE...`: runs scenarios and says which hold. docs/scenarios.md.
 *
 * Called by: packrat.ts. Calls: parse.ts, run.ts, report.ts.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { IPV6_MTU_MIN } from '../../stack/limits.ts'
import { PackratError } from '../../storage/errors.ts'
import { choice, EXIT_OK, EXIT_PROBLEM, runCommand, text, toggle, UsageError } from '../arguments.ts'
import { drawDiagram } from './diagram.ts'
import type { Scenario } from './document.ts'
import { ScenarioError } from './json-reader.ts'
import type { Outcome } from './measurement.ts'
import { parseScenario } from './parse.ts'
import { inPrivateNetwork, runInPrivateNetwork } from './private-network.ts'
import { count, formatJson, formatTable } from './report.ts'
import { runScenario } from './run.ts'

const COMMAND = {
  name: 'packrat scenario',
  summary: 'scripted loss, reordering and the like: what TCP makes of it',
  operands: [{ name: 'FILE', help: 'a scenario (docs/scenarios.md)', repeated: true }],
  flags: {
    json: toggle('print one JSON document'),
    svg: text('DIR', 'write a time-sequence diagram of each run into this directory'),
    peer: choice(['file', 'packrat', 'linux'], 'who plays the peer: what the file says, or always the same', {
      default: 'file',
    }),
    ip: choice(['file', '4', '6'], 'the version of IP: what the file says, or always the same', { default: 'file' }),
    link: choice(['tap', 'xdp'], 'the link to a Linux peer: a TAP, or AF_XDP on a veth pair', { default: 'tap' }),
  },
} as const

export const scenario = (argv: string[]): number | Promise<number> =>
  runCommand(COMMAND, argv, async (flags, files) => {
    const scenarios = files.map((file) => withIp(withPeer(readScenario(file), flags.peer), flags.ip))
    if (scenarios.some(({ peerKind }) => peerKind === 'linux') && !inPrivateNetwork()) {
      const status = await runInPrivateNetwork()
      if (status !== undefined) return status
    }
    const results = []
    for (const scenario of scenarios) {
      const { result, outcome } = await runScenario(scenario, flags.link)
      results.push(result)
      if (flags.svg !== undefined && outcome !== undefined) writeDiagram(flags.svg, outcome)
    }
    console.log(flags.json ? formatJson(results) : formatTable(results))
    return count(results).failed > 0 ? EXIT_PROBLEM : EXIT_OK
  })

function withPeer(scenario: Scenario, peer: 'file' | Scenario['peerKind']): Scenario {
  return peer === 'file' ? scenario : { ...scenario, peerKind: peer }
}

/** @throws UsageError if IPv6 cannot be over such a link */
function withIp(scenario: Scenario, ip: 'file' | '4' | '6'): Scenario {
  const chosen: Scenario = ip === 'file' ? scenario : { ...scenario, ip: ip === '6' ? 6 : 4 }
  const mtu = Math.min(scenario.host.mtu, scenario.peer.mtu)
  if (chosen.ip === 6 && mtu < IPV6_MTU_MIN)
    throw new UsageError(`${scenario.file}: an MTU of ${mtu} is too small for IPv6: it needs ${IPV6_MTU_MIN} or more`)
  return chosen
}

function writeDiagram(directory: string, outcome: Outcome): void {
  const path = join(directory, `${outcome.scenario.name.replaceAll(/[^\w.-]+/g, '-')}.svg`)
  try {
    mkdirSync(directory, { recursive: true })
    writeFileSync(path, drawDiagram(outcome))
  } catch (error) {
    throw new PackratError('SCENARIO_FILE', `cannot write ${path}: ${(error as Error).message}`)
  }
}

/** @throws UsageError if the file is no scenario, PackratError if it cannot be read */
export function readScenario(file: string): Scenario {
  let document: string
  try {
    document = readFileSync(file, 'utf8')
  } catch (error) {
    throw new PackratError('SCENARIO_FILE', `cannot read ${file}: ${(error as Error).message}`)
  }
  try {
    return parseScenario(document, file)
  } catch (error) {
    if (!(error instanceof ScenarioError)) throw error
    throw new UsageError(`${file}: ${error.message}`)
  }
}
