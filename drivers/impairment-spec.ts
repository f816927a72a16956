/**
 * What a user writes to say how bad a link shall be, and what the impairment device gets of it.
 *
 *   SPEC  = PART *( ";" PART )
 *   PART  = [ ( "rx" | "tx" ) ":" ] ITEM *( "," ITEM )
 *   ITEM  = KEY "=" VALUE
 *
 *   delay, jitter   TIME    `20ms`, `500us`, `1.5s`
 *   rate            RATE    `100mbit`, `56kbit`, `1gbit`: decimal, per second, as in tc(8)
 *   queue           SIZE    bytes that wait in front of the rate: `256K` (binary)
 *   loss dup corrupt  PROBABILITY   `1%` or `0.01`, of each frame
 *   reorder         PROBABILITY [ "/" TIME ]   held back for so much longer
 *   burst           ENTER "/" LEAVE [ "/" BAD [ "/" GOOD ] ]   Gilbert-Elliott: probabilities
 *   mtu             BYTES   longer IP packets vanish
 *   seed            NUMBER  once, for both directions
 *
 * Items before the first `rx:` or `tx:` hold for both directions; an item of a direction replaces the common one of
 * its key. The same keys and values in JSON: `{"delay": "20ms", "seed": 7, "rx": {"loss": "3%"}}`.
 *
 * Called by: the flag --impair. docs/impairment.md explains each item.
 */
import { PackratError } from '../storage/errors.ts'

/** One direction. All zero: a perfect link. Probabilities are fractions. */
export interface PathImpairment {
  readonly delayUs: number
  /** The delay varies uniformly by ± this. */
  readonly jitterUs: number
  /** Bytes per second; 0: no limit. */
  readonly rateBytes: number
  /** Bytes that may wait for the rate. */
  readonly queueBytes: number
  readonly loss: number
  readonly burst: BurstLoss | undefined
  readonly reorder: number
  readonly reorderDelayUs: number
  readonly duplicate: number
  readonly corrupt: number
  /** Longest IP packet that passes; 0: any. */
  readonly mtuBytes: number
}

/** Gilbert (1960), Elliott (1963): a good and a bad state, each with its loss. */
export interface BurstLoss {
  readonly enter: number
  readonly leave: number
  readonly lossBad: number
  readonly lossGood: number
}

export interface Impairment {
  readonly seed: number
  /** Towards the stack; in `packrat wire` from left to right. */
  readonly rx: PathImpairment
  /** From the stack; in `packrat wire` from right to left. */
  readonly tx: PathImpairment
}

/** The text is no specification: what is wrong, and what is right. */
export class ImpairmentError extends PackratError {
  constructor(message: string) {
    super('IMPAIRMENT', message)
    this.name = 'ImpairmentError'
  }
}

const SEED_DEFAULT = 1
const SEED_MAX = 0x3fffffff // both directions draw from seeds of their own: 2 * seed and 2 * seed + 1
const DELAY_US_MAX = 600e6 // far beyond every link; TCP gives up before
const RATE_BYTES_MAX = 125e9 // a terabit per second
const QUEUE_BYTES_MAX = 2 ** 40
const MTU_BYTES_MAX = 65535
/** Queue in front of a rate: what it sends in this time, but never less than QUEUE_BYTES_MIN. */
const QUEUE_SECONDS_DEFAULT = 0.1
const QUEUE_BYTES_MIN = 64 << 10
/** Reordering without a time: a quarter of the delay, which RACK's window just tolerates (RFC 8985 6.2), at least 1 ms. */
const REORDER_DELAY_SHARE = 1 / 4
const REORDER_DELAY_US_MIN = 1000

const TIME_US: Readonly<Record<string, number>> = { us: 1, ms: 1000, s: 1_000_000 }
const RATE_BITS: Readonly<Record<string, number>> = { bit: 1, kbit: 1e3, mbit: 1e6, gbit: 1e9 }
const SIZE_BYTES: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }

const KEYS = ['delay', 'jitter', 'rate', 'queue', 'loss', 'burst', 'reorder', 'dup', 'corrupt', 'mtu'] as const
type Key = (typeof KEYS)[number]
type Items = Partial<Record<Key, string>>

/** What was written, before values are read. */
interface Draft {
  seed: string | undefined
  readonly common: Items
  readonly rx: Items
  readonly tx: Items
}

/** Reads a specification, as text or as JSON (which starts with a brace). Throws ImpairmentError. */
export function parseImpairment(text: string): Impairment {
  const draft = text.trimStart().startsWith('{') ? draftFromJson(text) : draftFromText(text)
  return {
    seed: draft.seed === undefined ? SEED_DEFAULT : readInteger('seed', draft.seed, SEED_MAX),
    rx: readPath({ ...draft.common, ...draft.rx }),
    tx: readPath({ ...draft.common, ...draft.tx }),
  }
}

function draftFromText(text: string): Draft {
  const draft: Draft = { seed: undefined, common: {}, rx: {}, tx: {} }
  for (const part of text.split(';')) {
    const [, direction, items = ''] = /^\s*(?:(\w+)\s*:)?(.*)$/s.exec(part) ?? []
    if (direction !== undefined && direction !== 'rx' && direction !== 'tx')
      throw new ImpairmentError(`there is no direction '${direction}'; write rx: or tx:, or neither for both`)
    for (const item of items.split(',')) {
      const [, key, value] = /^\s*(\w+)\s*=\s*(\S+)\s*$/.exec(item) ?? []
      if (key === undefined || value === undefined)
        throw new ImpairmentError(`'${item.trim()}' is no item; write KEY=VALUE, such as delay=20ms,loss=1%`)
      addItem(draft, direction, key, value)
    }
  }
  return draft
}

function draftFromJson(text: string): Draft {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch (error) {
    throw new ImpairmentError(`no valid JSON: ${(error as Error).message}`)
  }
  const draft: Draft = { seed: undefined, common: {}, rx: {}, tx: {} }
  const addAll = (object: unknown, direction: 'rx' | 'tx' | undefined): void => {
    if (typeof object !== 'object' || object === null || Array.isArray(object))
      throw new ImpairmentError(`${direction} is no object; write {"${direction}": {"loss": "3%"}}`)
    for (const [key, value] of Object.entries(object)) {
      if (direction === undefined && (key === 'rx' || key === 'tx')) addAll(value, key)
      else if (typeof value === 'string' || typeof value === 'number') addItem(draft, direction, key, String(value))
      else throw new ImpairmentError(`the value of ${key} is neither a text nor a number; write {"${key}": "..."}`)
    }
  }
  addAll(document, undefined)
  return draft
}

function addItem(draft: Draft, direction: 'rx' | 'tx' | undefined, key: string, value: string): void {
  if (key === 'seed') {
    if (draft.seed !== undefined || direction !== undefined)
      throw new ImpairmentError('seed holds for both directions; give it once, before rx: and tx:')
    draft.seed = value
    return
  }
  if (!isKey(key)) throw new ImpairmentError(`there is no impairment '${key}'; one of ${KEYS.join(', ')}, seed`)
  const items = draft[direction ?? 'common']
  if (items[key] !== undefined) throw new ImpairmentError(`${key} is given twice; give it once for each direction`)
  items[key] = value
}

function isKey(key: string): key is Key {
  return (KEYS as readonly string[]).includes(key)
}

function readPath(items: Items): PathImpairment {
  const delayUs = items.delay === undefined ? 0 : readTimeUs('delay', items.delay)
  const jitterUs = items.jitter === undefined ? 0 : readTimeUs('jitter', items.jitter)
  if (jitterUs > delayUs)
    throw new ImpairmentError(
      `a jitter of ${items.jitter} needs a delay at least as long: the delay varies by ± jitter`,
    )
  const rateBytes = items.rate === undefined ? 0 : readRateBytes(items.rate)
  if (items.queue !== undefined && rateBytes === 0)
    throw new ImpairmentError('a queue needs a rate in front of which frames wait; add rate=100mbit')
  const [reorder, reorderDelay] = splitValue('reorder', items.reorder ?? '0', 1, 2, 'PROBABILITY or PROBABILITY/TIME')
  return {
    delayUs,
    jitterUs,
    rateBytes,
    queueBytes:
      items.queue === undefined
        ? Math.max(QUEUE_BYTES_MIN, Math.floor(rateBytes * QUEUE_SECONDS_DEFAULT))
        : readSizeBytes('queue', items.queue),
    loss: readProbability('loss', items.loss ?? '0'),
    burst: items.burst === undefined ? undefined : readBurst(items.burst),
    reorder: readProbability('reorder', reorder!),
    reorderDelayUs:
      reorderDelay === undefined
        ? Math.max(REORDER_DELAY_US_MIN, Math.floor(delayUs * REORDER_DELAY_SHARE))
        : readTimeUs('reorder', reorderDelay),
    duplicate: readProbability('dup', items.dup ?? '0'),
    corrupt: readProbability('corrupt', items.corrupt ?? '0'),
    mtuBytes: items.mtu === undefined ? 0 : readInteger('mtu', items.mtu, MTU_BYTES_MAX),
  }
}

function readBurst(value: string): BurstLoss {
  const parts = splitValue('burst', value, 2, 4, 'ENTER/LEAVE, ENTER/LEAVE/BAD or ENTER/LEAVE/BAD/GOOD')
  const [enter, leave, bad = '1', good = '0'] = parts
  const burst = {
    enter: readProbability('burst', enter!),
    leave: readProbability('burst', leave!),
    lossBad: readProbability('burst', bad),
    lossGood: readProbability('burst', good),
  }
  if (burst.leave === 0)
    throw new ImpairmentError(`burst=${value} never leaves the bad state; give LEAVE a probability above 0`)
  return burst
}

function splitValue(key: Key, value: string, minimum: number, maximum: number, form: string): string[] {
  const parts = value.split('/')
  if (parts.length < minimum || parts.length > maximum) throw refusal(key, value, form)
  return parts
}

function readProbability(key: Key, text: string): number {
  const [, digits, percent] = /^(\d+(?:\.\d+)?)(%?)$/.exec(text) ?? []
  const probability = Number(digits) / (percent === '%' ? 100 : 1)
  if (!(probability <= 1)) throw refusal(key, text, 'a probability: 0% to 100%, or 0 to 1')
  return probability
}

function readTimeUs(key: Key, text: string): number {
  const us = Math.round(readWithUnit(text, TIME_US))
  if (!(us <= DELAY_US_MAX)) throw refusal(key, text, 'a time with its unit, such as 500us, 20ms or 1.5s, up to 600s')
  return us
}

function readRateBytes(text: string): number {
  const bytes = readWithUnit(text, RATE_BITS) / 8
  if (!(bytes >= 1 && bytes <= RATE_BYTES_MAX))
    throw refusal('rate', text, 'bits per second with their unit, such as 56kbit, 100mbit or 2.5gbit')
  return bytes
}

function readSizeBytes(key: Key, text: string): number {
  const bytes = Math.floor(readWithUnit(text, SIZE_BYTES))
  if (!(bytes >= 1 && bytes <= QUEUE_BYTES_MAX)) throw refusal(key, text, 'a size such as 3000, 256K or 4M')
  return bytes
}

/** NaN if it is no number with one of the units. */
function readWithUnit(text: string, units: Readonly<Record<string, number>>): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([A-Za-z]*)$/.exec(text) ?? []
  return Object.hasOwn(units, unit) ? Number(digits) * units[unit]! : Number.NaN
}

function readInteger(key: string, text: string, maximum: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : 0
  if (number < 1 || number > maximum) throw refusal(key, text, `a whole number from 1 to ${maximum}`)
  return number
}

function refusal(key: string, value: string, form: string): ImpairmentError {
  return new ImpairmentError(`${key}=${value} is refused: it must be ${form}`)
}
