/**
 * A system call as its handlers see it: arguments by place, with the checks that a script's notation needs, and what
 * it comes to. Called by: the calls-*.ts files.
 */

import { ScriptError, ScriptFailure, ScriptUnsupported } from './errors.ts'
import { CONSTANTS } from './numbers.ts'
import type { CallAction, Value } from './script.ts'

export interface CallResult {
  /** -1 with an error. */
  readonly value: number
  /** '' or the name of the error. */
  readonly errno: string
}

/** Tries, or tries again; undefined: it would block. */
export type Attempt = () => CallResult | undefined

export function done(value: number): CallResult {
  return { value, errno: '' }
}

export function failed(errno: string): CallResult {
  return { value: -1, errno }
}

export class Call {
  readonly action: CallAction
  readonly line: number

  constructor(action: CallAction, line: number) {
    this.action = action
    this.line = line
  }

  argument(index: number): Value {
    return this.action.arguments[index] ?? this.error(`argument ${index + 1} is missing`)
  }

  /** A number, a constant, or constants joined by '|'. */
  number(index: number): number {
    return this.numberOf(this.argument(index))
  }

  numberOf(value: Value): number {
    switch (value.kind) {
      case 'number':
        return value.value
      case 'symbol': {
        const constant = CONSTANTS.get(value.name)
        if (constant === undefined) throw new ScriptUnsupported(this.line, `the constant ${value.name}`)
        return constant
      }
      case 'or':
        return value.parts.reduce((bits, part) => (bits | this.numberOf(part)) >>> 0, 0)
      case 'not':
        return ~this.numberOf(value.of)
      case 'apply':
        if (value.name === 'htons' || value.name === 'htonl') return this.numberOf(value.arguments[0]!)
        throw new ScriptUnsupported(this.line, `the function ${value.name}`)
      default:
        return this.error('a number is expected')
    }
  }

  /** The name of a constant. */
  symbol(index: number): string {
    const value = this.argument(index)
    if (value.kind === 'symbol') return value.name
    return value.kind === 'number' ? String(value.value) : this.error(`argument ${index + 1} is no constant`)
  }

  /** The only item of `[item]`. */
  boxed(index: number): Value {
    const value = this.argument(index)
    if (value.kind !== 'list' || value.items.length !== 1) return this.error(`argument ${index + 1} is no list of one`)
    return value.items[0]!
  }

  list(index: number): readonly Value[] {
    const value = this.argument(index)
    return value.kind === 'list' ? value.items : this.error(`argument ${index + 1} is no list`)
  }

  structOf(value: Value): ReadonlyMap<string, Value> {
    return value.kind === 'struct' ? value.fields : this.error('a structure is expected')
  }

  /** The sum of the lengths in `[{..., 1000}, {..., 2000}]`. */
  vectorBytes(value: Value): number {
    if (value.kind !== 'list') return this.error('a list of buffers is expected')
    return value.items.reduce((total, item) => {
      const length =
        item.kind === 'tuple' ? item.items[1] : item.kind === 'struct' ? item.fields.get('iov_len') : undefined
      return total + (length === undefined ? this.error('a buffer is expected') : this.numberOf(length))
    }, 0)
  }

  /** Whether the argument is NULL: nothing can be read from or written to there. */
  isNull(index: number): boolean {
    const value = this.action.arguments[index]
    return value?.kind === 'symbol' && value.name === 'NULL'
  }

  /** What a call wrote into an argument is compared with what the script says there. */
  expectOutput(value: Value, actual: number, what: string): void {
    if (value.kind === 'ellipsis') return
    const expected = this.numberOf(value)
    if (expected !== actual) throw new ScriptFailure(this.line, `${what}: expected ${expected}, got ${actual}`)
  }

  /** The flags that a message came back with, if the script says them. @param index the argument that is the message */
  expectMessageFlags(index: number, actual: number): void {
    this.expectOutput(this.structOf(this.argument(index)).get('msg_flags') ?? { kind: 'ellipsis' }, actual, 'msg_flags')
  }

  /** The whole call is something that is not done. */
  unsupported(what: string): never {
    throw new ScriptUnsupported(this.line, what)
  }

  private error(what: string): never {
    throw new ScriptError(this.line, `${this.action.name}: ${what}`)
  }
}
