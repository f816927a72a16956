/** `packrat packetdrill FILE...`: runs scripts of packetdrill's language against the stack, in virtual time. */
import { readFileSync } from 'node:fs'
import { EXIT_OK, EXIT_PROBLEM, type Flag, lettered, runCommand, text, toggle } from '../arguments.ts'
import { type Outcome, type RunOptions, runScript } from './run-script.ts'
import { SCRIPT_OPTIONS } from './script-options.ts'

interface Entry {
  readonly script: string
  readonly line?: number
  readonly reason?: string
}

type Report = Record<Outcome['verdict'], Entry[]>

/** `-D NAME=VALUE`, as often as is wanted. */
const define: Flag<ReadonlyMap<string, string>> = {
  placeholder: 'NAME=VALUE',
  help: 'replaces a word in the scripts',
  shownDefault: '',
  absent: new Map(),
  read: (definition) => {
    const [, name, value] = /^([A-Za-z_]\w*)=(.*)$/s.exec(definition) ?? []
    return name === undefined ? undefined : new Map([[name, value!]])
  },
  expects: 'a name, an equals sign and a value',
  combine: (before, next) => new Map([...before, ...next]),
}

const scriptOptions: Record<string, Flag<string | undefined>> = Object.fromEntries(
  Object.entries(SCRIPT_OPTIONS).map(([name, help]) => [name, text('VALUE', help)]),
)

const command = {
  name: 'packrat packetdrill',
  summary: 'runs packetdrill scripts against the stack, in virtual time',
  operands: [{ name: 'FILE', help: 'a script in the language of packetdrill', repeated: true }],
  flags: { json: toggle('print one JSON document'), define: lettered('D', define), ...scriptOptions },
}

export const packetdrill = (argv: string[]) =>
  runCommand(command, argv, (flags, files) => {
    const report: Report = { passed: [], failed: [], unsupported: [], error: [] }
    const options = new Map<string, string>()
    for (const name of Object.keys(SCRIPT_OPTIONS)) {
      const value = (flags as Record<string, unknown>)[name]
      if (typeof value === 'string') options.set(name, value)
    }
    const print = flags.json ? () => {} : (text: string) => console.log(`    ${text}`)
    for (const file of files) {
      const outcome = runFile(file, print, { options, defines: flags.define })
      report[outcome.verdict].push(entryOf(file, outcome))
      if (!flags.json) console.log(showOutcome(file, outcome))
    }
    console.log(flags.json ? JSON.stringify(report, null, 2) : showCounts(report))
    return report.failed.length + report.error.length === 0 ? EXIT_OK : EXIT_PROBLEM
  })

function runFile(file: string, print: (text: string) => void, options: RunOptions): Outcome {
  let script: string
  try {
    script = readFileSync(file, 'utf8')
  } catch (error) {
    return { verdict: 'error', line: 0, reason: `cannot be read: ${(error as Error).message}` }
  }
  try {
    return runScript(script, print, options)
  } catch (error) {
    // A fault of the stack's or of this program's: the other scripts still run.
    return { verdict: 'error', line: 0, reason: `internal: ${(error as Error).stack ?? error}` }
  }
}

function entryOf(script: string, outcome: Outcome): Entry {
  if (outcome.verdict === 'passed') return { script }
  const { line, reason } = outcome
  return line > 0 ? { script, line, reason } : { script, reason }
}

function showOutcome(file: string, outcome: Outcome): string {
  if (outcome.verdict === 'passed') return `passed       ${file}`
  const { verdict, line, reason } = outcome
  return `${verdict.padEnd(12)} ${file}${line > 0 ? `:${line}` : ''}: ${reason}`
}

function showCounts(report: Report): string {
  const counts = Object.entries(report).map(([verdict, entries]) => `${entries.length} ${verdict}`)
  return counts.join(', ')
}
