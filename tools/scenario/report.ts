/** Results as people read them, and as programs do. Called by: the command. */
import type { Finding, Result } from './judge.ts'

/** A table: one line a scenario, and under one that failed each expectation that it missed. */
export function formatTable(results: readonly Result[]): string {
  const nameWidth = Math.max(8, ...results.map(({ name }) => name.length))
  const lines = results.flatMap((result) => {
    const mark = result.passed === null ? 'SKIP' : result.passed ? 'ok  ' : 'FAIL'
    const figures = result.passed === null ? result.skipped! : summary(result)
    return [`${mark}  ${result.name.padEnd(nameWidth)}  ${figures}`.trimEnd(), ...failures(result)]
  })
  const { passed, failed, skipped } = count(results)
  return [...lines, '', `${passed} passed, ${failed} failed, ${skipped} skipped`].join('\n')
}

/** The document of `--json`. */
export function formatJson(results: readonly Result[]): string {
  const { passed, failed } = count(results)
  return JSON.stringify({ passed, failed, scenarios: results }, undefined, 2)
}

export function count(results: readonly Result[]): { passed: number; failed: number; skipped: number } {
  return {
    passed: results.filter(({ passed }) => passed === true).length,
    failed: results.filter(({ passed }) => passed === false).length,
    skipped: results.filter(({ passed }) => passed === null).length,
  }
}

/** What is worth knowing of every run. */
function summary({ measured }: Result): string {
  const figure = (name: string): number => Number(measured[name] ?? 0)
  return [
    `${figure('finished').toFixed(1).padStart(9)} ms`,
    `${String(figure('retransmissions')).padStart(5)} sent again`,
    `${String(figure('timeouts')).padStart(3)} time-outs`,
  ].join('  ')
}

function failures({ expectations }: Result): string[] {
  const failed = expectations.filter(({ passed }) => !passed)
  return failed.map(
    ({ what, expected, measured }: Finding) => `      ${what}: expected ${expected}, measured ${measured}`,
  )
}
