/**
 * Arguments and results of system calls: numbers, names, texts, flags joined by '|', lists, structures.
 *
 *   {sa_family = AF_INET, sin_port = htons(8080), sin_addr = inet_addr("192.0.2.1")}
 *   {msg_name(...)=..., msg_iov(1)=[{..., 1000}], msg_flags=0}        the parentheses say a length; it is not kept
 */
import type { Cursor } from './cursor.ts'
import type { Value } from './script.ts'

const ELLIPSIS: Value = { kind: 'ellipsis' }

export function parseValue(cursor: Cursor): Value {
  const parts = [parseShift(cursor)]
  while (cursor.accept('|')) parts.push(parseShift(cursor))
  return parts.length === 1 ? parts[0]! : { kind: 'or', parts }
}

/** Comma-separated values up to `end`, which is skipped. */
export function parseValues(cursor: Cursor, end: string): Value[] {
  const values: Value[] = []
  if (cursor.accept(end)) return values
  do values.push(parseValue(cursor))
  while (cursor.accept(','))
  cursor.expect(end)
  return values
}

function parseShift(cursor: Cursor): Value {
  const left = parseSimple(cursor)
  if (!cursor.accept('<<')) return left
  const right = parseSimple(cursor)
  if (left.kind !== 'number' || right.kind !== 'number') return cursor.fail('only numbers can be shifted')
  return { kind: 'number', value: left.value * 2 ** right.value }
}

function parseSimple(cursor: Cursor): Value {
  if (cursor.accept('...')) return ELLIPSIS
  if (cursor.accept('"')) return { kind: 'text', value: parseText(cursor) }
  if (cursor.accept('[')) return { kind: 'list', items: parseValues(cursor, ']') }
  if (cursor.accept('{')) return parseStruct(cursor)
  if (cursor.accept('~')) return { kind: 'not', of: parseSimple(cursor) }
  const sign = cursor.accept('-') ? -1 : 1
  const number = parseNumber(cursor)
  if (number !== undefined) return { kind: 'number', value: sign * number }
  const name = cursor.name()
  if (name === undefined || sign < 0) return cursor.fail('expected a value')
  if (cursor.accept('(')) return { kind: 'apply', name, arguments: parseValues(cursor, ')') }
  return { kind: 'symbol', name }
}

/** Texts that stand side by side are one; dots behind it say that there is more, which nobody looks at. */
function parseText(cursor: Cursor): string {
  let text = cursor.quoted()
  while (cursor.accept('"')) text += cursor.quoted()
  cursor.accept('...')
  return text
}

/** Whole, hexadecimal, or with a decimal point; but `0...` is a number and an ellipsis. */
function parseNumber(cursor: Cursor): number | undefined {
  cursor.skipBlank()
  const found = cursor.match(/0[xX][0-9a-fA-F]+|\d+(?:\.(?!\.)\d+)?/y)
  return found === undefined ? undefined : Number(found)
}

function parseStruct(cursor: Cursor): Value {
  const before = cursor.at
  const first = cursor.name()
  const named = first !== undefined && (cursor.accept('(') ? skipLength(cursor) : true) && cursor.accept('=')
  cursor.at = before
  if (!named) return { kind: 'tuple', items: parseValues(cursor, '}') }
  const fields = new Map<string, Value>()
  do {
    const name = cursor.name()
    if (name === undefined) return cursor.fail('expected the name of a field')
    if (cursor.accept('(')) skipLength(cursor)
    cursor.expect('=')
    fields.set(name, parseValue(cursor))
  } while (cursor.accept(','))
  cursor.expect('}')
  return { kind: 'struct', fields }
}

function skipLength(cursor: Cursor): true {
  parseValues(cursor, ')')
  return true
}
