/** Runs one scenario where it belongs: in virtual time, or against Linux. Called by: command.ts, tests. */
import type { Scenario } from './document.ts'
import { judge, type Result, skip } from './judge.ts'
import type { LinkKind } from './linux-link.ts'
import { linuxPeerLacks, runAgainstLinux } from './linux-run.ts'
import type { Outcome } from './measurement.ts'
import { simulate } from './simulation.ts'

export interface Run {
  readonly result: Result
  /** Undefined: skipped. */
  readonly outcome: Outcome | undefined
}

export async function runScenario(scenario: Scenario, link: LinkKind = 'tap'): Promise<Run> {
  if (scenario.peerKind === 'packrat') return judged(await simulate(scenario))
  const lack = linuxPeerLacks(link)
  if (lack !== undefined) return { result: skip(scenario, lack), outcome: undefined }
  return judged(await runAgainstLinux(scenario, link))
}

function judged(outcome: Outcome): Run {
  return { result: judge(outcome), outcome }
}
