/**
 * The events of a scenario file. One event is an object with one of the keys of ACTIONS, and what belongs to it.
 *
 * Called by: parse.ts. Calls: selector.ts.
 */
import type { Event, SegmentEvent, Side, TimedEvent } from './document.ts'
import { type JsonReader, parseTimeUs, ScenarioError } from './json-reader.ts'
import { parseSelector } from './selector.ts'

const SEGMENT_ACTIONS = ['drop', 'duplicate', 'delay', 'corrupt', 'mark', 'swap'] as const
const TIMED_ACTIONS = ['blackout', 'hold', 'stop-reading', 'mtu'] as const
const ACTIONS: readonly string[] = [...SEGMENT_ACTIONS, ...TIMED_ACTIONS]
const SIDES: readonly Side[] = ['host', 'peer']
const COPIES_MAX = 100
const MTU_MIN = 68 // RFC 791
const MTU_MAX = 65535
const PERIOD = 'a period such as "1s-2s", or "1s-" for the rest of the run'

export function parseEvents(reader: JsonReader, connections: number): Event[] {
  return reader.items('events').map((item) => parseEvent(item, connections))
}

function parseEvent(reader: JsonReader, connections: number): Event {
  if (!reader.isObject) throw reader.refuse('an object such as {"drop": "data 3"}')
  const actions = reader.keys.filter((key) => ACTIONS.includes(key))
  if (actions.length !== 1) throw new ScenarioError(`${reader.path}: an event has exactly one of ${ACTIONS.join(', ')}`)
  const segmentAction = SEGMENT_ACTIONS.find((action) => action === actions[0])
  if (segmentAction !== undefined) return parseSegmentEvent(reader, segmentAction, connections)
  return parseTimedEvent(reader, actions[0] as TimedEvent['kind'])
}

function parseSegmentEvent(reader: JsonReader, kind: SegmentEvent['kind'], connections: number): SegmentEvent {
  const extra: Partial<Record<SegmentEvent['kind'], string>> = { delay: 'by', duplicate: 'times' }
  reader.object([kind, ...(extra[kind] === undefined ? [] : [extra[kind]])])
  const selector = parseSelector(reader.key(kind))
  if (selector.connection > connections)
    throw new ScenarioError(
      `${reader.path}.${kind}: there is no connection ${selector.connection}; traffic has ${connections}`,
    )
  const times = reader.key('times')
  return {
    kind,
    selector,
    byUs: kind === 'delay' ? reader.key('by').timeUs() : 0,
    times: times.isAbsent ? 1 : times.integer(1, COPIES_MAX),
    text: `${kind} ${reader.key(kind).value}`,
  }
}

function parseTimedEvent(reader: JsonReader, kind: TimedEvent['kind']): TimedEvent {
  reader.object(kind === 'mtu' ? ['mtu', 'during', 'from'] : [kind, 'from'])
  const period = reader.key(kind === 'mtu' ? 'during' : kind)
  const [begin, end] = period.text(PERIOD).split('-')
  const fromUs = parseTimeUs(begin)
  const toUs = end === '' ? Number.POSITIVE_INFINITY : parseTimeUs(end)
  if (fromUs === undefined || toUs === undefined || toUs <= fromUs) throw period.refuse(PERIOD)
  const from = reader.key('from')
  return {
    kind,
    fromUs,
    toUs,
    mtuBytes: kind === 'mtu' ? reader.key('mtu').integer(MTU_MIN, MTU_MAX) : 0,
    from: from.isAbsent ? undefined : from.word(SIDES),
    text: `${kind} ${kind === 'mtu' ? `${reader.key('mtu').value} ` : ''}${period.value}`,
  }
}
