/**
 * What a script needs and is not done here is found before anything runs: a script is not failed for what it could not
 * have passed. What only the arguments of a call can tell is found when the call is made.
 *
 * Called by: run-script.ts.
 */
import { isKnownCall } from './calls.ts'
import { READ_FLAGS, WRITE_FLAGS } from './calls-data.ts'
import { ScriptUnsupported } from './errors.ts'
import { CONSTANTS } from './numbers.ts'
import { isSocketOption } from './options.ts'
import type { CallAction, Script, Value } from './script.ts'

/** Options that have their own form (calls-control.ts). */
const SPECIAL_OPTIONS = new Set(['TCP_CONGESTION', 'SO_LINGER', 'TCP_INFO', 'TCP_FASTOPEN_KEY'])

/** @throws ScriptUnsupported for the first such thing */
export function checkSupported(script: Script): void {
  for (const { action, line } of script.events) {
    if (action.kind === 'call') checkCall(action, line)
    // The link answers what is none of the script's business, and what ICMP the stack sends is not kept (device.ts).
    if (action.kind === 'packet' && !action.inbound && action.body.protocol === 'icmp')
      throw new ScriptUnsupported(line, 'an expected ICMP packet')
  }
}

function checkCall(action: CallAction, line: number): void {
  if (!isKnownCall(action.name)) throw new ScriptUnsupported(line, `the call ${action.name}`)
  const option = action.arguments[2]
  if (/^[gs]etsockopt$/.test(action.name) && option?.kind === 'symbol') {
    if (!isSocketOption(option.name) && !SPECIAL_OPTIONS.has(option.name))
      throw new ScriptUnsupported(line, `the socket option ${option.name}`)
  }
  for (const value of action.arguments)
    for (const name of symbols(value)) {
      const bits = name.startsWith('MSG_') ? CONSTANTS.get(name) : 0
      if (bits === undefined || (bits & ~(READ_FLAGS | WRITE_FLAGS)) !== 0)
        throw new ScriptUnsupported(line, `${name} for ${action.name}`)
    }
}

function symbols(value: Value): string[] {
  if (value.kind === 'or') return value.parts.flatMap(symbols)
  return value.kind === 'symbol' ? [value.name] : []
}
