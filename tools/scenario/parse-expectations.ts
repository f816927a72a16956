/**
 * The expectations of a scenario file: a measured figure by its name, and what it has to be: a number, a range
 * `{"min": 1, "max": 3}`, a time `"300ms"` (at most), or the name of an ending.
 *
 * Called by: parse.ts. The names: measurement.ts.
 */
import { ENDINGS, type Expectation } from './document.ts'
import { type JsonReader, ScenarioError } from './json-reader.ts'
import { COUNTER_NAMES, FIGURES } from './measurement.ts'

const UNBOUNDED = Number.POSITIVE_INFINITY
const PEER = 'peer.'

export function parseExpectations(reader: JsonReader): Expectation[] {
  if (!reader.isObject) throw reader.refuse('an object such as {"timeouts": 0, "finished": "300ms"}')
  return reader.keys.map((name) => parseExpectation(name, reader))
}

function parseExpectation(name: string, parent: JsonReader): Expectation {
  const counter = name.startsWith(PEER) ? name.slice(PEER.length) : name
  const isFigure = Object.hasOwn(FIGURES, name)
  if (!isFigure && !COUNTER_NAMES.includes(counter))
    throw new ScenarioError(
      `${parent.path}: nothing called '${name}' is measured; allowed are ${Object.keys(FIGURES).join(', ')}, and the counters ${COUNTER_NAMES.join(', ')}, those of the other side with ${PEER} in front`,
    )
  const [minimum, maximum] = parseRange(parent.key(name), isFigure ? FIGURES[name]!.unit : '')
  return { name, minimum, maximum, text: describe(minimum, maximum, name) }
}

function parseRange(reader: JsonReader, unit: string): [number, number] {
  const { value } = reader
  if (unit === 'ending') {
    const ending = ENDINGS.indexOf(reader.word(ENDINGS))
    return [ending, ending]
  }
  const read = (bound: JsonReader): number => {
    if (unit === 'ms' && typeof bound.value === 'string') return bound.timeUs() / 1000
    if (typeof bound.value !== 'number' || !(bound.value >= 0)) throw bound.refuse(allowed(unit))
    return bound.value
  }
  if (reader.isObject) {
    reader.object(['min', 'max'])
    const minimum = reader.key('min').isAbsent ? 0 : read(reader.key('min'))
    const maximum = reader.key('max').isAbsent ? UNBOUNDED : read(reader.key('max'))
    if (minimum > maximum || reader.keys.length === 0) throw reader.refuse(allowed(unit))
    return [minimum, maximum]
  }
  const bound = read(reader)
  return typeof value === 'string' ? [0, bound] : [bound, bound]
}

function allowed(unit: string): string {
  const range = '{"min": 1, "max": 3} with one or both'
  return unit === 'ms' ? `a time such as "300ms" (at most), or ${range}` : `a number that is not negative, or ${range}`
}

function describe(minimum: number, maximum: number, name: string): string {
  if (FIGURES[name]?.unit === 'ending') return ENDINGS[minimum]!
  if (minimum === maximum) return `${minimum}`
  if (maximum === UNBOUNDED) return `≥ ${minimum}`
  return minimum === 0 ? `≤ ${maximum}` : `${minimum}–${maximum}`
}
