/** The flag `--tcp NAME=VALUE`, once for each knob of TCP. Called by: serve. */
import type { TcpOptions } from '../stack/host-options.ts'
import { knobNames, knobValues, setKnob } from '../stack/tcp/knobs.ts'
import { type Flag, UsageError } from './arguments.ts'

/** A flag that may be given again: each one sets a knob under Linux's name for it (stack/tcp/knobs.ts). */
export function tcpKnobs(help: string): Flag<TcpOptions> {
  return {
    placeholder: 'NAME=VALUE',
    help: `${help}: ${knobNames().join(', ')}`,
    shownDefault: '',
    absent: {},
    read: readKnob,
    combine: (before, next) => ({ ...before, ...next }),
    expects: 'NAME=VALUE, such as sack=0',
  }
}

function readKnob(text: string): TcpOptions | undefined {
  const equals = text.indexOf('=')
  if (equals < 1) return undefined
  const name = text.slice(0, equals)
  const options: TcpOptions = {}
  const outcome = setKnob(options, name, text.slice(equals + 1))
  if (outcome === 'unknown') throw new UsageError(`--tcp knows no ${name}; it is one of ${knobNames().join(', ')}`)
  if (outcome === 'refused') throw new UsageError(`--tcp '${text}' is refused: ${name} must be ${knobValues(name)}`)
  return options
}
