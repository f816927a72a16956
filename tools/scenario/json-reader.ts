/**
 * Reads a JSON document piece by piece, and knows of each piece where it stands, so that a mistake is reported with its
 * place and with what is allowed there: `link.delay: '20' is refused: it must be a time …`.
 *
 * Called by: parse.ts, selector.ts.
 */
import { PackratError } from '../../storage/errors.ts'
import { parseSize } from '../size.ts'

const TIME_UNITS_US: Readonly<Record<string, number>> = { us: 1, ms: 1000, s: 1_000_000 }

/** The document is no scenario. The message names the place, what is wrong, and what is allowed. */
export class ScenarioError extends PackratError {
  constructor(message: string) {
    super('SCENARIO', message)
    this.name = 'ScenarioError'
  }
}

/** One value of the document and its place: `traffic[0].send`. */
export class JsonReader {
  readonly value: unknown
  readonly path: string

  constructor(value: unknown, path: string) {
    this.value = value
    this.path = path
  }

  refuse(allowed: string): ScenarioError {
    const shown = JSON.stringify(this.value)
    return new ScenarioError(
      `${this.path}: ${shown === undefined ? 'missing' : `${shown} is refused`}: it must be ${allowed}`,
    )
  }

  get isAbsent(): boolean {
    return this.value === undefined
  }

  get isArray(): boolean {
    return Array.isArray(this.value)
  }

  get isObject(): boolean {
    return typeof this.value === 'object' && this.value !== null && !this.isArray
  }

  /** Checks that this is an object with no keys but these. */
  object(keys: readonly string[]): this {
    if (!this.isObject) throw this.refuse(`an object with ${keys.join(', ')}`)
    for (const key of Object.keys(this.value as object)) {
      if (!keys.includes(key))
        throw new ScenarioError(`${this.path}: there is no '${key}' here; allowed are ${keys.join(', ')}`)
    }
    return this
  }

  key(name: string): JsonReader {
    const place = this.path === '' ? name : `${this.path}.${name}`
    return new JsonReader((this.value as Record<string, unknown>)[name], place)
  }

  get keys(): string[] {
    return Object.keys(this.value as object)
  }

  items(what: string): JsonReader[] {
    if (!Array.isArray(this.value)) throw this.refuse(`a list of ${what}`)
    return this.value.map((item, index) => new JsonReader(item, `${this.path}[${index}]`))
  }

  text(allowed: string): string {
    if (typeof this.value !== 'string' || this.value === '') throw this.refuse(allowed)
    return this.value
  }

  word<const W extends string>(words: readonly W[]): W {
    const found = words.find((word) => word === this.value)
    if (found === undefined) throw this.refuse(`one of ${words.join(', ')}`)
    return found
  }

  flag(): boolean {
    if (typeof this.value !== 'boolean') throw this.refuse('true or false')
    return this.value
  }

  integer(minimum: number, maximum: number): number {
    const { value } = this
    if (typeof value !== 'number' || !Number.isInteger(value) || value < minimum || value > maximum)
      throw this.refuse(`a whole number from ${minimum} to ${maximum}`)
    return value
  }

  /** `"20ms"`, in microseconds. */
  timeUs(): number {
    const us = parseTimeUs(this.value)
    if (us === undefined) throw this.refuse('a time with its unit, such as "500us", "20ms" or "1.5s"')
    return us
  }

  /** `"64K"` or a number, in bytes. */
  sizeBytes(minimum: number, maximum: number): number {
    const bytes = typeof this.value === 'string' ? parseSize(this.value) : this.value
    if (typeof bytes !== 'number' || !Number.isInteger(bytes) || bytes < minimum || bytes > maximum)
      throw this.refuse(`a size from ${minimum} to ${maximum} bytes, such as 1000, "64K" or "1M"`)
    return bytes
  }
}

/** Microseconds; undefined if it is no time. */
export function parseTimeUs(text: unknown): number | undefined {
  const [, digits, unit] = (typeof text === 'string' && /^(\d+(?:\.\d+)?)(us|ms|s)$/.exec(text)) || []
  return unit === undefined ? undefined : Math.round(Number(digits) * TIME_UNITS_US[unit]!)
}
