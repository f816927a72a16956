/**
 * Command lines from one table a command: the table gives the types, the defaults, the checks and the help text, so
 * that they cannot disagree. On node:util parseArgs; an unknown flag is an error.
 *
 *   const command = {
 *     name: 'packrat inspect',
 *     summary: 'what is in a region',
 *     operands: [{ name: 'FILE', help: 'the region' }],
 *     flags: { json: toggle('print one JSON document'), limit: count('N', 'at most N records', { default: 10 }) },
 *   }
 *   export const inspect = (argv: string[]) =>
 *     runCommand(command, argv, (flags, [file]) => …)      // flags: { json: boolean, limit: number }
 *
 * Wrong usage is one line on standard error (what, why, what to do) and exit status 2.
 */
import { parseArgs } from 'node:util'
import { PackratError } from '../storage/errors.ts'
import { formatSize, parseSize } from './size.ts'

/** Exit statuses of every command. */
export const EXIT_OK = 0
/** The command ran and found a problem. */
export const EXIT_PROBLEM = 1
export const EXIT_USAGE = 2
/** Cannot: no permission, not a region, in use. */
export const EXIT_CANNOT = 3

const HELP_COLUMN = 30

/** The command line is wrong. The message is complete: what, why, what to do. */
export class UsageError extends PackratError {
  constructor(message: string) {
    super('USAGE', message)
    this.name = 'UsageError'
  }
}

/** One flag. `T` is what the command gets. */
export interface Flag<T> {
  /** How the value is written in the help text; '' for a flag without one. */
  readonly placeholder: string
  readonly help: string
  /** The default as the help text shows it; '' if there is none to show. */
  readonly shownDefault: string
  /** Value when the flag is not given. */
  readonly absent: T
  /** Reads the text; undefined if it is not one of the allowed values, which `expects` describes. */
  readonly read: (text: string) => T | undefined
  readonly expects: string
  /** One letter that stands for the flag's name. */
  readonly letter?: string
  /** For a flag that may be given again: what both together mean. Without it the last one counts. */
  combine?(before: T, next: T): T
}

export interface Operand {
  readonly name: string
  readonly help: string
  readonly optional?: boolean
  /** The last operand may be given more than once. */
  readonly repeated?: boolean
}

export type Flags = Readonly<Record<string, Flag<unknown>>>

export type FlagValues<F extends Flags> = { readonly [K in keyof F]: F[K] extends Flag<infer T> ? T : never }

export interface Command<F extends Flags> {
  /** As it is typed: `packrat serve`. */
  readonly name: string
  readonly summary: string
  readonly operands: readonly Operand[]
  readonly flags: F
}

interface Default<T> {
  readonly default: T
}

/* --- kinds of flags --- */

/** On if given. */
export function toggle(help: string): Flag<boolean> {
  return { placeholder: '', help, shownDefault: '', absent: false, read: () => true, expects: 'no value' }
}

/** A flag that can be written with one dash and one letter, too. */
export function lettered<T>(letter: string, flag: Flag<T>): Flag<T> {
  return { ...flag, letter }
}

/** Any text that `accepts` accepts; `expects` completes the sentence "it must be …". */
export function text(placeholder: string, help: string): Flag<string | undefined>
export function text(placeholder: string, help: string, options: Default<string>): Flag<string>
export function text(placeholder: string, help: string, options?: Default<string>): Flag<string | undefined> {
  return {
    placeholder,
    help,
    shownDefault: options?.default ?? '',
    absent: options?.default,
    read: (value) => (value === '' ? undefined : value),
    expects: 'not empty',
  }
}

/** A whole number from `minimum` (0) to `maximum` (2^53 - 1). */
export function count(
  placeholder: string,
  help: string,
  options: Default<number> & { readonly minimum?: number; readonly maximum?: number },
): Flag<number> {
  const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = options
  return {
    placeholder,
    help,
    shownDefault: String(options.default),
    absent: options.default,
    read: (value) => {
      const number = /^\d+$/.test(value) ? Number(value) : -1
      return number >= minimum && number <= maximum ? number : undefined
    },
    expects: `a whole number from ${minimum} to ${maximum}`,
  }
}

/** A number of bytes, written with K, M, G or T. */
export function size(
  help: string,
  options: Default<number> & { readonly minimum?: number; readonly maximum?: number },
): Flag<number> {
  const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = options
  const ends = maximum === Number.MAX_SAFE_INTEGER ? '' : ` and at most ${formatSize(maximum)}`
  return {
    placeholder: 'SIZE',
    help,
    shownDefault: formatSize(options.default),
    absent: options.default,
    read: (value) => {
      const bytes = parseSize(value)
      return bytes !== undefined && bytes >= minimum && bytes <= maximum ? bytes : undefined
    },
    expects: `a size such as 64K, 16M or 1G, at least ${formatSize(minimum)}${ends}`,
  }
}

/** One of a few words. */
export function choice<const W extends string>(
  words: readonly W[],
  help: string,
  options: { readonly default: NoInfer<W> },
): Flag<W> {
  return {
    placeholder: words.join('|'),
    help,
    shownDefault: options.default,
    absent: options.default,
    read: (value) => words.find((word) => word === value),
    expects: `one of ${words.join(', ')}`,
  }
}

/* --- reading --- */

/**
 * Reads a command line.
 * @throws UsageError for an unknown flag, a missing or refused value, a missing or surplus operand
 */
export function parseCommand<F extends Flags>(
  command: Command<F>,
  argv: readonly string[],
): { flags: FlagValues<F>; operands: string[]; help: boolean } {
  const known: Record<string, { type: 'string' | 'boolean'; short?: string }> = {
    help: { type: 'boolean', short: 'h' },
  }
  for (const [name, flag] of Object.entries(command.flags)) {
    const type = flag.placeholder === '' ? 'boolean' : 'string'
    known[name] = flag.letter === undefined ? { type } : { type, short: flag.letter }
  }
  // Lax, so that the errors below are in this program's own words; every deviation is then found in the tokens.
  const { tokens } = parseArgs({ args: [...argv], options: known, strict: false, allowPositionals: true, tokens: true })
  const values: Record<string, unknown> = {}
  const operands: string[] = []
  let help = false
  for (const [name, flag] of Object.entries(command.flags)) values[name] = flag.absent
  for (const token of tokens) {
    if (token.kind === 'positional') operands.push(token.value)
    if (token.kind !== 'option') continue
    if (token.name === 'help') help = true
    else {
      const value = readFlag(command, token.name, token.rawName, token.value)
      const combine = command.flags[token.name]?.combine
      values[token.name] = combine === undefined ? value : combine(values[token.name], value)
    }
  }
  if (!help) checkOperands(command, operands)
  return { flags: values as FlagValues<F>, operands, help }
}

function readFlag<F extends Flags>(command: Command<F>, name: string, rawName: string, value?: string): unknown {
  const flag = Object.hasOwn(command.flags, name) ? command.flags[name] : undefined
  if (!flag) {
    const hint = nearest(name, Object.keys(command.flags))
    throw new UsageError(
      `unknown flag ${rawName}; ${hint ? `did you mean --${hint}?` : `see ${command.name} --help for the flags it takes`}`,
    )
  }
  if (flag.placeholder === '') {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value; give ${rawName} alone`)
    return true
  }
  if (value === undefined) throw new UsageError(`${rawName} needs a value; write ${rawName} ${flag.placeholder}`)
  const read = flag.read(value)
  if (read === undefined) throw new UsageError(`${rawName} '${value}' is refused: it must be ${flag.expects}`)
  return read
}

function checkOperands<F extends Flags>(command: Command<F>, operands: readonly string[]): void {
  const missing = command.operands.find((operand, index) => !operand.optional && index >= operands.length)
  if (missing) {
    throw new UsageError(`${missing.name} is missing: ${missing.help}; usage: ${usageLine(command)}`)
  }
  if (operands.length > command.operands.length && !command.operands.at(-1)?.repeated) {
    throw new UsageError(`'${operands[command.operands.length]}' is one operand too many; usage: ${usageLine(command)}`)
  }
}

/** The known name at most two edits away, for typing errors. */
function nearest(name: string, names: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = 3
  for (const candidate of names) {
    const distance = editDistance(name, candidate)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[b.length]!
}

/* --- help --- */

function usageLine<F extends Flags>(command: Command<F>): string {
  const operands = command.operands.map(({ name, optional, repeated }) => {
    const shown = repeated ? `${name}...` : name
    return optional ? `[${shown}]` : shown
  })
  return [command.name, ...operands, '[flags]'].join(' ')
}

/** The help text, made from the table. */
export function helpText<F extends Flags>(command: Command<F>): string {
  const lines = [`${command.name}: ${command.summary}`, '', `usage: ${usageLine(command)}`]
  if (command.operands.length) lines.push('')
  for (const operand of command.operands) lines.push(helpLine(operand.name, operand.help))
  lines.push('')
  for (const [name, flag] of Object.entries(command.flags)) {
    const shownDefault = flag.shownDefault === '' ? '' : ` (default ${flag.shownDefault})`
    const letter = flag.letter === undefined ? '' : `-${flag.letter}, `
    lines.push(helpLine(`${letter}--${name} ${flag.placeholder}`.trimEnd(), `${flag.help}${shownDefault}`))
  }
  lines.push(helpLine('--help', 'print this text'))
  return lines.join('\n')
}

function helpLine(term: string, help: string): string {
  const start = `  ${term}`
  const gap = start.length < HELP_COLUMN ? ' '.repeat(HELP_COLUMN - start.length) : `\n${' '.repeat(HELP_COLUMN)}`
  return start + gap + help
}

/**
 * Reads the command line and runs the command: `--help` prints the help text, wrong usage is one line on standard
 * error. Any other error is the caller's.
 * @returns the exit status
 */
export function runCommand<F extends Flags>(
  command: Command<F>,
  argv: readonly string[],
  run: (flags: FlagValues<F>, operands: string[]) => number | Promise<number>,
): number | Promise<number> {
  let parsed: ReturnType<typeof parseCommand<F>>
  try {
    parsed = parseCommand(command, argv)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    console.error(`${command.name}: ${error.message}`)
    return EXIT_USAGE
  }
  if (parsed.help) {
    console.log(helpText(command))
    return EXIT_OK
  }
  return run(parsed.flags, parsed.operands)
}
