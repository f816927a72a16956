/**
 * Which segments an event means: `data 3`, `acks 10-20`, `retransmission of data 5`, `data 7- from peer`.
 *
 *   SELECTOR = KIND [ NUMBERS ] [ "of data" NUMBERS ] [ "from" ( "host" | "peer" ) ] [ "of connection" N ]
 *   NUMBERS  = RANGE *( "," RANGE )      RANGE = N | N "-" N | N "-" | "every" N
 *
 * Called by: parse.ts, script.ts.
 */
import type { Side } from './document.ts'
import type { JsonReader } from './json-reader.ts'

/** What a segment can be called; flow.ts decides. A segment may be several of them. */
export const KINDS = [
  'data',
  'retransmission',
  'ack',
  'window-update',
  'syn',
  'syn-ack',
  'fin',
  'last-ack',
  'rst',
] as const
export type Kind = (typeof KINDS)[number]

interface Range {
  readonly first: number
  readonly last: number
  /** 1: each; n: every nth. */
  readonly step: number
}

export interface Selector {
  readonly kind: Kind
  readonly ranges: readonly Range[]
  /** For retransmissions: numbers of the data segments that they repeat. */
  readonly repeated: readonly Range[] | undefined
  /** Undefined: the side that sends such segments on this connection. */
  readonly from: Side | undefined
  /** Counted from 1. */
  readonly connection: number
}

const FORM = `KIND NUMBERS, such as "data 3", "acks 10-20", "retransmission 1 of data 5", "data 4, 7- from peer"; KIND is one of ${KINDS.join(', ')}`

export function parseSelector(reader: JsonReader): Selector {
  const text = reader.text(FORM).trim()
  const pattern =
    /^([a-z][a-z -]*?)(?:\s+(\d[\d\s,-]*|every \d+))?(?:\s+of data\s+([\d\s,-]+?))?(?:\s+from\s+(host|peer))?(?:\s+of connection\s+(\d+))?$/
  const [, word, numbers, repeated, from, connection] = pattern.exec(text) ?? []
  const kind = word === undefined ? undefined : kindOf(word)
  if (kind === undefined || (repeated !== undefined && kind !== 'retransmission')) throw reader.refuse(FORM)
  return {
    kind,
    ranges: parseRanges(reader, numbers ?? '1'),
    repeated: repeated === undefined ? undefined : parseRanges(reader, repeated),
    from: from as Side | undefined,
    connection: connection === undefined ? 1 : Number(connection),
  }
}

/** Takes plurals and spaces: `window updates` is `window-update`. */
function kindOf(word: string): Kind | undefined {
  const name = word.trim().replaceAll(' ', '-')
  return KINDS.find((kind) => kind === name || `${kind}s` === name)
}

function parseRanges(reader: JsonReader, text: string): Range[] {
  const [, step] = /^every (\d+)$/.exec(text) ?? []
  if (step !== undefined) {
    if (Number(step) < 1) throw reader.refuse(FORM)
    return [{ first: Number(step), last: Number.POSITIVE_INFINITY, step: Number(step) }]
  }
  return text.split(',').map((part) => {
    const [, first, dash, last] = /^\s*(\d+)\s*(?:(-)\s*(\d*))?\s*$/.exec(part) ?? []
    const begin = Number(first)
    const end = dash === undefined ? begin : last === '' ? Number.POSITIVE_INFINITY : Number(last)
    if (first === undefined || begin < 1 || end < begin) throw reader.refuse(FORM)
    return { first: begin, last: end, step: 1 }
  })
}

export function inRanges(ranges: readonly Range[], number: number): boolean {
  return ranges.some(({ first, last, step }) => number >= first && number <= last && (number - first) % step === 0)
}
