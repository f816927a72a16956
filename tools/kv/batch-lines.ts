/**
 * The body of POST /kv/_batch: one JSON object a line (docs/http.md, "Atomic batches").
 *
 *   {"op":"put","key":"a","value":"text"}            "valueBase64" for bytes, "keyBase64" for keys that are no text
 *   {"op":"delete","key":"b","ifMatch":"17"}         conditions: "ifMatch": a version or "*", "ifNoneMatch": "*"
 *
 * Nothing is guessed: a member that is unknown, missing, of the wrong type or badly encoded makes the line malformed, so
 * that a misspelt condition is never ignored. Called by: batch.ts, tools/import/lines.ts.
 */
import type { BatchOperation, Condition } from '../../storage/atomic-batch.ts'
import { KEY_LENGTH_MAX } from '../../storage/layout.ts'
import { parseDecimal64 } from './decimal.ts'
import { keyText } from './key-codec.ts'

/** Operations of one batch, so that its persist programs and its reply's delay stay bounded. */
export const BATCH_OPERATIONS_MAX = 65_536

export interface BatchLines {
  readonly operations: BatchOperation[]
  /** Line number of each operation, from 1. */
  readonly lines: number[]
}

/** What is wrong with a line, and which one it is. */
export interface BatchFault {
  readonly error: string
  readonly line: number
}

/** Characters of a name that an error repeats: it may be as long as the body, and replies lie in buffers of the network. */
const SHOWN_NAME_MAX = 64

const LINE_FEED = 0x0a
const MEMBERS = new Set(['op', 'key', 'keyBase64', 'value', 'valueBase64', 'ifMatch', 'ifNoneMatch'])
const NOT_BASE64 = /[^A-Za-z0-9+/]/
const LONE_SURROGATE = /\p{Surrogate}/u

/** Reads the lines of a body; blank ones are skipped. */
export function parseBatchLines(body: Uint8Array): BatchLines | BatchFault {
  const operations: BatchOperation[] = []
  const lines: number[] = []
  let line = 1
  for (let at = 0; at < body.length; line++) {
    const feed = body.indexOf(LINE_FEED, at)
    const end = feed === -1 ? body.length : feed
    const text = keyText(body.subarray(at, end))
    at = end + 1
    if (text === undefined) return { error: 'not UTF-8', line }
    if (text.trim() === '') continue
    if (operations.length === BATCH_OPERATIONS_MAX)
      return { error: `more than ${BATCH_OPERATIONS_MAX} operations`, line }
    const operation = parseLine(text)
    if (typeof operation === 'string') return { error: operation, line }
    operations.push(operation)
    lines.push(line)
  }
  return { operations, lines }
}

/** The operation, or what is wrong with the line. */
function parseLine(text: string): BatchOperation | string {
  const members = parseObject(text)
  return members === undefined ? 'not a JSON object' : parseOperation(members)
}

/** The operation that the members of a line say, or what is wrong with them. */
export function parseOperation(members: Readonly<Record<string, unknown>>): BatchOperation | string {
  for (const name of Object.keys(members))
    if (!MEMBERS.has(name)) return `unknown member ${JSON.stringify(name.slice(0, SHOWN_NAME_MAX))}`
  const { op } = members
  if (op !== 'put' && op !== 'delete') return '"op" is neither "put" nor "delete"'
  const key = bytesOf(members, 'key')
  if (typeof key === 'string') return key
  if (key.length === 0 || key.length > KEY_LENGTH_MAX)
    return `the key has ${key.length} bytes, not 1 to ${KEY_LENGTH_MAX}`
  const condition = parseCondition(members)
  if (typeof condition === 'string') return condition
  if (op === 'delete') {
    return 'value' in members || 'valueBase64' in members ? 'a delete has no value' : { op, key, ...condition }
  }
  const value = bytesOf(members, 'value')
  return typeof value === 'string' ? value : { op, key, value, ...condition }
}

/** The members of a line; undefined if it is no JSON object. */
export function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** The bytes of a member that is given as text or in base 64, or what is wrong with it. */
function bytesOf(members: Readonly<Record<string, unknown>>, name: 'key' | 'value'): Uint8Array | string {
  const encodedName = `${name}Base64`
  if (name in members === encodedName in members) return `exactly one of "${name}" and "${encodedName}" is needed`
  const isText = name in members
  const given = members[isText ? name : encodedName]
  if (typeof given !== 'string') return `"${isText ? name : encodedName}" is not a string`
  if (isText && LONE_SURROGATE.test(given)) return `"${name}" has half a surrogate pair: it has no UTF-8 form`
  if (!isText && !isBase64(given)) return `"${encodedName}" is not base 64 with padding (RFC 4648, 4)`
  return new Uint8Array(Buffer.from(given, isText ? 'utf8' : 'base64'))
}

/**
 * RFC 4648 (4). Not one expression for all of it: what matches groups again and again keeps its way back on a stack, which
 * a value of a few MiB makes overflow.
 */
function isBase64(text: string): boolean {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  return text.length % 4 === 0 && !NOT_BASE64.test(text.slice(0, text.length - padding))
}

/** The condition of a line, or what is wrong with it. */
function parseCondition({ ifMatch, ifNoneMatch }: Readonly<Record<string, unknown>>): { expect?: Condition } | string {
  if (ifNoneMatch !== undefined) {
    if (ifMatch !== undefined) return '"ifMatch" and "ifNoneMatch" exclude each other'
    return ifNoneMatch === '*' ? { expect: 'absent' } : '"ifNoneMatch" is not "*"'
  }
  if (ifMatch === undefined) return {}
  if (ifMatch === '*') return { expect: 'present' }
  if (Number.isSafeInteger(ifMatch)) return { expect: BigInt(ifMatch as number) }
  // As in an ETag field, the version may be quoted.
  const version = typeof ifMatch === 'string' ? parseDecimal64(ifMatch.replace(/^"(.*)"$/, '$1')) : undefined
  return version === undefined ? '"ifMatch" is neither a version nor "*"' : { expect: version }
}
