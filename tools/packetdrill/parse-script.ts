/**
 * From the text of a script to its events; grammar in docs/packetdrill.md.
 *
 * Called by: run-script.ts. Calls: parse-packet.ts, parse-value.ts.
 */
import { Cursor } from './cursor.ts'
import { replaceDefines } from './defines.ts'
import { ScriptUnsupported } from './errors.ts'
import { parseBody, parseIpSpec } from './parse-packet.ts'
import { parseValue, parseValues } from './parse-value.ts'
import type { Action, CallAction, EventTime, PacketAction, Script, ScriptEvent } from './script.ts'

const US_PER_S = 1_000_000
/** What packetdrill is to change in a packet. */
const FUZZ = /\{[ \t]*(?:mutate|truncate|insert)\b/y

const NONE: ReadonlyMap<string, string> = new Map()

/**
 * @param given options that override the script's
 * @param defines words that are replaced in the text
 * @throws ScriptError where the text is no script, ScriptUnsupported where it asks for what is not done
 */
export function parseScript(text: string, given = NONE, defines = NONE): Script {
  const cursor = new Cursor(replaceDefines(text, given, defines))
  const options = new Map<string, string>()
  const setup: { line: number; text: string }[] = []
  const events: ScriptEvent[] = []
  for (;;) {
    cursor.skipBlank()
    if (cursor.atEnd) return { options: new Map([...options, ...given]), setup, events }
    const { line } = cursor
    if (cursor.accept('--')) parseOption(cursor, options)
    else if (cursor.accept('`')) setup.push({ line, text: cursor.until('`', 'the command') })
    else events.push(parseEvent(cursor))
    if (events.length > 0) break
  }
  for (cursor.skipBlank(); !cursor.atEnd; cursor.skipBlank()) {
    // Commands without a time behind the last event clean up: they run when it is over.
    if (cursor.next === '`') {
      const { line } = cursor
      cursor.accept('`')
      const command = cursor.until('`', 'the command')
      events.push({ line, time: { kind: 'relative', us: 0, endUs: 0 }, action: { kind: 'command', text: command } })
    } else events.push(parseEvent(cursor))
  }
  return { options: new Map([...options, ...given]), setup, events }
}

function parseOption(cursor: Cursor, options: Map<string, string>): void {
  const name = cursor.name()
  if (name === undefined) cursor.fail('expected the name of an option')
  options.set(
    name,
    cursor.match(/=/y) === undefined ? '' : (cursor.match(/"[^"\n]*"|[^\s]*/y) ?? '').replaceAll('"', ''),
  )
}

function parseEvent(cursor: Cursor): ScriptEvent {
  const { line } = cursor
  const time = parseTime(cursor)
  return { line, time, action: parseAction(cursor) }
}

/* --- time --- */

function parseTime(cursor: Cursor): EventTime {
  if (cursor.accept('*')) return { kind: 'any' }
  const relative = cursor.accept('+')
  const us = parseSeconds(cursor)
  let endUs = us
  if (cursor.accept('~')) {
    if (relative) cursor.accept('+')
    endUs = parseSeconds(cursor)
    if (endUs < us) cursor.fail('the range ends before it begins')
  }
  return { kind: relative ? 'relative' : 'absolute', us, endUs }
}

function parseSeconds(cursor: Cursor): number {
  cursor.skipBlank()
  // `0...0.2` is 0, then an ellipsis.
  const found = cursor.match(/\d+(?:\.(?!\.)\d*)?|\.\d+/y)
  if (found === undefined) return cursor.fail('expected a time')
  return Math.round(Number(found) * US_PER_S)
}

/* --- actions --- */

function parseAction(cursor: Cursor): Action {
  cursor.skipBlank()
  if (cursor.accept('`')) return { kind: 'command', text: cursor.until('`', 'the command') }
  if (cursor.accept('%{')) return { kind: 'code', text: cursor.until('}%', 'the code') }
  const start = cursor.at
  if (cursor.accept('<')) return parsePacket(cursor, start, true)
  if (cursor.accept('>')) return parsePacket(cursor, start, false)
  const endUs = cursor.accept('...') ? parseSeconds(cursor) : -1
  return parseCall(cursor, endUs)
}

function parsePacket(cursor: Cursor, start: number, inbound: boolean): PacketAction {
  const ip = parseIpSpec(cursor)
  if (cursor.accept('(')) throw new ScriptUnsupported(cursor.line, 'packets for a named socket')
  if (cursor.matchesBlank(FUZZ)) throw new ScriptUnsupported(cursor.line, 'mutated packets')
  const body = parseBody(cursor)
  if (cursor.matchesBlank(FUZZ)) throw new ScriptUnsupported(cursor.line, 'mutated packets')
  return { kind: 'packet', inbound, ip, body, text: cursor.text.slice(start, cursor.at).trim() }
}

function parseCall(cursor: Cursor, endUs: number): CallAction {
  const start = cursor.at
  const name = cursor.name()
  if (name === undefined) return cursor.fail('expected a packet, a system call, a command or code')
  cursor.expect('(')
  const values = parseValues(cursor, ')')
  cursor.expect('=')
  const result = parseValue(cursor)
  cursor.match(/[ \t]*/y)
  const errno = result.kind === 'number' && result.value === -1 ? (cursor.match(/E[A-Z0-9]+/y) ?? '') : ''
  cursor.match(/[ \t]*/y)
  // What the error means, in words.
  if (cursor.next === '(') cursor.until(')', 'the remark')
  return {
    kind: 'call',
    name,
    arguments: values,
    result,
    errno,
    endUs,
    text: cursor.text.slice(start, cursor.at).trim(),
  }
}
