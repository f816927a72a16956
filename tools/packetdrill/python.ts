/**
 * The part of Python that scripts use between %{ and }%: assert, print, assignments, one-line if; comparisons (also
 * chained), and/or/not, in, arithmetic, bits, `%` on texts, tuples, a few functions. Anything else is unsupported.
 *
 *   statement   assert E [, E] | print(E, ...) | name = E | pass | import name | if E: statement {; statement}
 *   E           or ─► and ─► not ─► comparison ─► | ─► ^ ─► & ─► shift ─► sum ─► product ─► sign ─► power ─► atom
 *
 * Called by: run-script.ts, at the time of the event; `variables` has the fields of tcp_info and the kernel's constants.
 */
import { Cursor } from './cursor.ts'
import { ScriptFailure, ScriptUnsupported } from './errors.ts'
import { equals, formatText, isTrue, type PythonValue, showPython } from './python-value.ts'

const SPACE = /(?:[ \t]|\\\n)*/y
const WORD = /[A-Za-z_][A-Za-z0-9_.]*/y
/** Inside brackets a line may end. */
const OPEN_SPACE = /(?:[ \t\r\n]|#[^\n]*)*/y

const FUNCTIONS: Readonly<Record<string, (values: readonly PythonValue[]) => PythonValue>> = {
  abs: ([value]) => Math.abs(Number(value)),
  min: (values) => Math.min(...items(values).map(Number)),
  max: (values) => Math.max(...items(values).map(Number)),
  int: ([value]) => Math.trunc(Number(value)),
  float: ([value]) => Number(value),
  round: ([value]) => Math.round(Number(value)),
  bool: ([value]) => isTrue(value ?? null),
  len: ([value]) => (typeof value === 'string' || Array.isArray(value) ? value.length : 0),
  str: ([value]) => showPython(value ?? null),
  'math.ceil': ([value]) => Math.ceil(Number(value)),
  'math.floor': ([value]) => Math.floor(Number(value)),
}

function items(values: readonly PythonValue[]): readonly PythonValue[] {
  const [first] = values
  return values.length === 1 && Array.isArray(first) ? first : values
}

export type Variables = Map<string, PythonValue>

/**
 * Runs the code. `print` output goes to `print`.
 * @param firstLine line of the script on which the code begins
 * @throws ScriptFailure where an assertion does not hold, ScriptUnsupported for other Python and unknown names
 */
export function runPython(code: string, firstLine: number, variables: Variables, print: (text: string) => void): void {
  new Interpreter(code, firstLine, variables, print).run()
}

class Interpreter {
  private readonly cursor: Cursor
  private readonly variables: Variables
  private readonly print: (text: string) => void
  /** How many brackets are open. */
  private depth = 0

  constructor(code: string, firstLine: number, variables: Variables, print: (text: string) => void) {
    this.cursor = new Cursor(code, firstLine)
    this.variables = variables
    this.print = print
  }

  run(): void {
    const { cursor } = this
    for (;;) {
      cursor.match(/(?:[ \t\r\n;]|\\\n|#[^\n]*)*/y)
      if (cursor.atEnd) return
      this.statement(true)
      this.space()
      cursor.match(/#[^\n]*/y)
      if (!cursor.atEnd && !/[\n\r;]/.test(cursor.next)) this.unsupported('a statement')
    }
  }

  /** @param active false: it is read, and not done */
  private statement(active: boolean): void {
    const { cursor } = this
    const { line } = cursor
    const before = cursor.at
    const word = cursor.match(WORD)
    if (word === 'pass') return
    if (word === 'import') {
      this.space()
      if (cursor.match(WORD) !== 'math') this.unsupported('an import')
    } else if (word === 'assert') this.assertion(line, active)
    else if (word === 'if') {
      const condition = this.expression()
      this.symbol(':')
      // Every statement of the line depends on it.
      do {
        this.space()
        this.statement(active && isTrue(condition))
      } while (this.accept(';') && this.space() && !cursor.atEnd && !/[\r\n#]/.test(cursor.next))
    } else if (word === 'print') {
      const value = this.expression()
      if (active) this.print(Array.isArray(value) ? value.map(showPython).join(' ') : showPython(value))
    } else if (word === undefined || !this.space() || !this.assignment(word, active)) {
      cursor.at = before
      this.unsupported('a statement')
    }
  }

  /** `name = E`, `name += E`. @returns false if it is none */
  private assignment(name: string, active: boolean): boolean {
    const operator = this.cursor.match(/(?:[-+*|&]|\/\/)?=(?!=)/y)
    if (operator === undefined) return false
    let value = this.tuple()
    if (!active) return true
    if (operator !== '=') {
      const before = this.variables.get(name)
      if (before === undefined) throw new ScriptUnsupported(this.cursor.line, `'${name}' is not known`)
      value = operate(operator.slice(0, -1), before, value)
    }
    this.variables.set(name, value)
    return true
  }

  private assertion(line: number, active: boolean): void {
    this.space()
    const { cursor } = this
    const start = cursor.at
    const holds = isTrue(this.expression())
    const text = cursor.text.slice(start, cursor.at).trim()
    let message = ''
    if (this.accept(',')) message = `: ${showPython(this.tuple())}`
    if (active && !holds) throw new ScriptFailure(line, `assert ${text}${message}${this.namesIn(text)}`)
  }

  /** The values of the variables that an assertion speaks of. */
  private namesIn(text: string): string {
    const names = new Set(text.match(/[A-Za-z_]\w*/g) ?? [])
    const known = [...names].filter((name) => name.startsWith('tcpi_') && this.variables.has(name))
    return known.length === 0 ? '' : ` (${known.map((name) => `${name} = ${this.variables.get(name)}`).join(', ')})`
  }

  /* --- expressions, loosest first --- */

  private tuple(): PythonValue {
    const first = this.expression()
    if (!this.accept(',')) return first
    const values = [first]
    do values.push(this.expression())
    while (this.accept(','))
    return values
  }

  private expression(): PythonValue {
    let value = this.conjunction()
    while (this.acceptWord('or')) {
      const right = this.conjunction()
      value = isTrue(value) ? value : right
    }
    return value
  }

  private conjunction(): PythonValue {
    let value = this.negation()
    while (this.acceptWord('and')) {
      const right = this.negation()
      value = isTrue(value) ? right : value
    }
    return value
  }

  private negation(): PythonValue {
    return this.acceptWord('not') ? !isTrue(this.negation()) : this.comparison()
  }

  /** Chained: `a < b < c` is `a < b and b < c`. */
  private comparison(): PythonValue {
    let left = this.binary(0)
    let holds: boolean | undefined
    for (let operator = this.comparisonOperator(); operator !== undefined; operator = this.comparisonOperator()) {
      const right = this.binary(0)
      holds = (holds ?? true) && this.compare(operator, left, right)
      left = right
    }
    return holds ?? left
  }

  private comparisonOperator(): string | undefined {
    this.space()
    if (this.acceptWord('in')) return 'in'
    if (this.acceptWord('is')) return this.acceptWord('not') ? '!=' : '=='
    const before = this.cursor.at
    if (this.acceptWord('not')) {
      if (this.acceptWord('in')) return 'not in'
      this.cursor.at = before
    }
    return this.cursor.match(/==|!=|<=|>=|<(?!<)|>(?!>)/y)
  }

  private compare(operator: string, left: PythonValue, right: PythonValue): boolean {
    switch (operator) {
      case '==':
        return equals(left, right)
      case '!=':
        return !equals(left, right)
      case 'in':
        return contains(right, left)
      case 'not in':
        return !contains(right, left)
      case '<':
        return Number(left) < Number(right)
      case '<=':
        return Number(left) <= Number(right)
      case '>':
        return Number(left) > Number(right)
      default:
        return Number(left) >= Number(right)
    }
  }

  /** Operators that only join, by levels. */
  private binary(level: number): PythonValue {
    if (level === BINARY.length) return this.sign()
    let left = this.binary(level + 1)
    for (;;) {
      this.space()
      const operator = this.cursor.match(BINARY[level]!)
      if (operator === undefined) return left
      left = operate(operator, left, this.binary(level + 1))
    }
  }

  private sign(): PythonValue {
    this.space()
    const operator = this.cursor.match(/[-+~]/y)
    if (operator === undefined) return this.power()
    const value = Number(this.sign())
    return operator === '-' ? -value : operator === '~' ? -value - 1 : value
  }

  private power(): PythonValue {
    const base = this.atom()
    return this.accept('**') ? Number(base) ** Number(this.sign()) : base
  }

  private atom(): PythonValue {
    this.space()
    const { cursor } = this
    const number = cursor.match(/0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?/y)
    if (number !== undefined) return Number(number)
    if (cursor.next === "'" || cursor.next === '"') return this.texts()
    if (cursor.next === '(' || cursor.next === '[') return this.bracket()
    const name = cursor.match(WORD)
    if (name === undefined) return this.unsupported('an expression')
    if (name === 'True' || name === 'False') return name === 'True'
    if (name === 'None') return null
    this.space()
    if (cursor.next === '(') return this.call(name)
    const value = this.variables.get(name)
    if (value === undefined) throw new ScriptUnsupported(cursor.line, `'${name}' in an assertion is not known`)
    return value
  }

  private call(name: string): PythonValue {
    const call = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined
    if (call === undefined) throw new ScriptUnsupported(this.cursor.line, `the Python function '${name}'`)
    this.symbol('(')
    return call(this.list(')'))
  }

  /** Texts side by side are one. */
  private texts(): PythonValue {
    const { cursor } = this
    let text = ''
    for (;;) {
      const part = cursor.match(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/y)
      if (part === undefined) return text
      text += part.slice(1, -1)
      this.space()
    }
  }

  private bracket(): PythonValue {
    const close = this.cursor.next === '(' ? ')' : ']'
    this.symbol(this.cursor.next)
    const before = this.cursor.at
    const values = this.list(close)
    const isTuple =
      close === ']' || values.length !== 1 || /,\s*\)$/.test(this.cursor.text.slice(before, this.cursor.at))
    return isTuple ? values : values[0]!
  }

  private list(close: string): PythonValue[] {
    this.depth++
    const values: PythonValue[] = []
    while (!this.accept(close)) {
      values.push(this.expression())
      if (this.accept(',')) continue
      this.symbol(close)
      break
    }
    this.depth--
    return values
  }

  /* --- characters --- */

  private space(): true {
    this.cursor.match(this.depth > 0 ? OPEN_SPACE : SPACE)
    return true
  }

  private accept(text: string): boolean {
    this.space()
    if (!this.cursor.text.startsWith(text, this.cursor.at)) return false
    this.cursor.at += text.length
    return true
  }

  private acceptWord(word: string): boolean {
    this.space()
    const before = this.cursor.at
    if (this.cursor.match(WORD) === word) return true
    this.cursor.at = before
    return false
  }

  private symbol(text: string): void {
    if (!this.accept(text)) this.unsupported(`'${text}'`)
  }

  private unsupported(what: string): never {
    const { cursor } = this
    const found = cursor.text.slice(cursor.at, cursor.at + 20).split('\n')[0]
    throw new ScriptUnsupported(cursor.line, `Python beyond assertions: expected ${what}, found '${found}'`)
  }
}

const BINARY = [/\|/y, /\^/y, /&/y, /<<|>>/y, /[-+]/y, /\/\/|\*(?!\*)|[/%]/y]

function operate(operator: string, left: PythonValue, right: PythonValue): PythonValue {
  if (operator === '%' && typeof left === 'string') return formatText(left, right)
  if (operator === '+' && typeof left === 'string') return left + showPython(right)
  const a = Number(left)
  const b = Number(right)
  switch (operator) {
    case '|':
      return Number(BigInt(a) | BigInt(b))
    case '^':
      return Number(BigInt(a) ^ BigInt(b))
    case '&':
      return Number(BigInt(a) & BigInt(b))
    case '<<':
      return a * 2 ** b
    case '>>':
      return Math.floor(a / 2 ** b)
    case '-':
      return a - b
    case '+':
      return a + b
    case '*':
      return a * b
    case '/':
      return a / b
    case '//':
      return Math.floor(a / b)
    default:
      return a - b * Math.floor(a / b) // the sign is the divisor's
  }
}

function contains(whole: PythonValue, part: PythonValue): boolean {
  if (typeof whole === 'string') return whole.includes(showPython(part))
  return Array.isArray(whole) && whole.some((item) => equals(item, part))
}
