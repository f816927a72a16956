/**
 * Compares what a run left behind with what was expected of it. Some things are expected of every run: all bytes exact,
 * every event came true, connections ended as they should, nothing leaked.
 *
 * Called by: run.ts. Calls: measurement.ts.
 */
import { ENDINGS, type Expectation, type Scenario } from './document.ts'
import { FIGURES, measure, measureAll, type Outcome, rounded } from './measurement.ts'

/** One line of a result. */
export interface Finding {
  readonly what: string
  readonly expected: string
  readonly measured: string
  readonly passed: boolean
}

/** Of one scenario; this is what `--json` prints. */
export interface Result {
  readonly name: string
  readonly file: string
  /** Null: not run, because of `skipped`. */
  readonly passed: boolean | null
  readonly skipped?: string
  readonly expectations: readonly Finding[]
  readonly measured: Readonly<Record<string, number | string>>
}

export function judge(outcome: Outcome): Result {
  const { scenario } = outcome
  const expectations = [
    judgeBytes(outcome),
    ...judgeEvents(outcome),
    ...judgeEndings(outcome),
    ...scenario.expectations.flatMap((expectation) => judgeFigure(outcome, expectation)),
    plain('buffers given back', outcome.leakedBuffers === 0, 'all', `${outcome.leakedBuffers} missing`),
  ]
  return {
    name: scenario.name,
    file: scenario.file,
    passed: expectations.every(({ passed }) => passed),
    expectations,
    measured: measureAll(outcome),
  }
}

export function skip(scenario: Scenario, reason: string): Result {
  return { name: scenario.name, file: scenario.file, passed: null, skipped: reason, expectations: [], measured: {} }
}

function plain(what: string, passed: boolean, expected: string, otherwise: string): Finding {
  return { what, expected, measured: passed ? expected : otherwise, passed }
}

/** After a reset, a part is enough; nothing may be wrong. */
function judgeBytes({ scenario, players, isTimedOut }: Outcome): Finding {
  const isCut = scenario.traffic.some(({ reset }) => reset !== undefined) || endingExpected(scenario) !== 'orderly'
  for (const player of players) {
    if (player === undefined) continue
    const { fault, isComplete, progress } = player.plan.receiver
    if (fault !== undefined) return plain('bytes', false, 'exact', fault)
    if (!isComplete && !isCut)
      return plain('bytes', false, 'exact', `only ${progress} arrived${isTimedOut ? ' in time' : ''}`)
  }
  return plain('bytes', true, isCut ? 'exact, as far as they came' : 'exact', '')
}

/** An event that never came true proves nothing. */
function judgeEvents({ scenario, hits }: Outcome): Finding[] {
  return scenario.events.flatMap((event, index) => {
    const needed = event.kind === 'swap' ? 2 : 1
    return hits[index]! >= needed ? [] : [plain(`event: ${event.text}`, false, 'happens', 'never happened')]
  })
}

function judgeEndings(outcome: Outcome): Finding[] {
  const { scenario, hostEndings } = outcome
  if (scenario.expectations.some(({ name }) => name === 'ends')) return []
  const wanted = scenario.traffic.map(({ reset }) =>
    reset === undefined ? 'orderly' : reset === 'host' ? 'aborted' : 'reset',
  )
  const passed = wanted.every((ending, index) => hostEndings[index] === ending)
  return [
    plain('connections end', passed, [...new Set(wanted)].join(', '), hostEndings.map((e) => e ?? 'open').join(', ')),
  ]
}

function endingExpected(scenario: Scenario): string {
  const expectation = scenario.expectations.find(({ name }) => name === 'ends')
  return expectation === undefined ? 'orderly' : ENDINGS[expectation.minimum]!
}

/** The peer's counters are not expected of a peer that has none. */
function judgeFigure(outcome: Outcome, { name, minimum, maximum, text }: Expectation): Finding[] {
  if (name.startsWith('peer.') && outcome.peer === undefined) return []
  const value = measure(outcome, name)
  const unit = FIGURES[name]?.unit ?? ''
  const withUnit = (shown: string): string => (unit === '' || unit === 'ending' ? shown : `${shown} ${unit}`)
  const shown = unit === 'ending' ? (ENDINGS[value] ?? 'open, or not the same') : `${rounded(value)}`
  return [
    { what: name, expected: withUnit(text), measured: withUnit(shown), passed: value >= minimum && value <= maximum },
  ]
}
