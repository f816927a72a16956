/**
 * A place in a script's text. What may stand there depends on what came before (flags of a segment are letters that
 * elsewhere begin a name), so the parsers read characters and not tokens.
 *
 * Called by: parse-script.ts, parse-packet.ts, parse-value.ts, python.ts.
 */
import { ScriptError } from './errors.ts'

const BLANK = /(?:[ \t\r\n]|\/\/[^\n]*|#[^\n]*|\/\*[\s\S]*?\*\/)*/y
const NUMBER = /0[xX][0-9a-fA-F]+|\d+/y
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y

export class Cursor {
  readonly text: string
  at = 0
  /** Line of `at` when `lineAt` was computed: lines are counted as the cursor moves, never from the start. */
  private counted = 1
  private countedAt = 0
  private readonly firstLine: number

  constructor(text: string, firstLine = 1) {
    this.text = text
    this.firstLine = firstLine
  }

  /** Line of the current place, 1 for the first. */
  get line(): number {
    if (this.at < this.countedAt) {
      this.counted = 1
      this.countedAt = 0
    }
    for (; this.countedAt < this.at; this.countedAt++) if (this.text[this.countedAt] === '\n') this.counted++
    return this.counted + this.firstLine - 1
  }

  get atEnd(): boolean {
    return this.at >= this.text.length
  }

  /** The next character, '' at the end. */
  get next(): string {
    return this.text[this.at] ?? ''
  }

  /** Skips blanks, line ends and comments. */
  skipBlank(): void {
    this.match(BLANK)
  }

  /** Text that a sticky expression matches here, and moves behind it; undefined (and no move) if it does not. */
  match(expression: RegExp): string | undefined {
    expression.lastIndex = this.at
    const found = expression.exec(this.text)
    if (found === null) return undefined
    this.at += found[0].length
    return found[0]
  }

  /** Whether a sticky expression matches behind the blanks; does not move. */
  matchesBlank(expression: RegExp): boolean {
    const before = this.at
    this.skipBlank()
    const found = this.match(expression) !== undefined
    this.at = before
    return found
  }

  /** Skips blanks, then `text` if it stands here. */
  accept(text: string): boolean {
    this.skipBlank()
    if (!this.text.startsWith(text, this.at)) return false
    this.at += text.length
    return true
  }

  /** Skips blanks, then the word if it stands here whole. */
  acceptWord(word: string): boolean {
    this.skipBlank()
    const before = this.at
    if (this.match(NAME) === word) return true
    this.at = before
    return false
  }

  expect(text: string): void {
    if (!this.accept(text)) this.fail(`expected '${text}'`)
  }

  /** A name; undefined if none stands here. */
  name(): string | undefined {
    this.skipBlank()
    return this.match(NAME)
  }

  /** A whole number without sign, decimal or hexadecimal; undefined if none stands here. */
  number(): number | undefined {
    this.skipBlank()
    const found = this.match(NUMBER)
    return found === undefined ? undefined : Number(found)
  }

  expectNumber(what: string): number {
    const found = this.number()
    return found === undefined ? this.fail(`expected ${what}`) : found
  }

  /** Text up to `end`, which is skipped, too. */
  until(end: string, what: string): string {
    const stop = this.text.indexOf(end, this.at)
    if (stop < 0) this.fail(`${what} has no end: '${end}' is missing`)
    const found = this.text.slice(this.at, stop)
    this.at = stop + end.length
    return found
  }

  /** A text between double quotes whose opening one was skipped; the escapes are C's. */
  quoted(): string {
    const raw = this.match(/(?:[^"\\\n]|\\.)*/y)!
    this.expect('"')
    return raw.replace(/\\(x[0-9a-fA-F]{2}|.)/g, (_, code: string) => {
      if (code.startsWith('x')) return String.fromCharCode(Number.parseInt(code.slice(1), 16))
      return ESCAPES[code] ?? code
    })
  }

  fail(what: string): never {
    const found = this.atEnd ? 'the end of the script' : `'${this.text.slice(this.at, this.at + 24).split('\n')[0]}'`
    throw new ScriptError(this.line, `${what}, found ${found}`)
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '0': '\0' }
