/** How a script ends other than well: one class for each of the report's lists, with the line that it is about. */
import { PackratError } from '../../storage/errors.ts'

/** The base of the three; `line` is 1 for the first, 0 if no line is meant. */
export class ScriptEnd extends PackratError {
  readonly line: number

  constructor(code: string, line: number, reason: string) {
    super(code, reason)
    this.line = line
  }
}

/** The script ran, and the stack did something else than it expects. */
export class ScriptFailure extends ScriptEnd {
  constructor(line: number, reason: string) {
    super('SCRIPT_FAILED', line, reason)
    this.name = 'ScriptFailure'
  }
}

/** The script is understood, and asks for something that this program does not do. */
export class ScriptUnsupported extends ScriptEnd {
  constructor(line: number, reason: string) {
    super('SCRIPT_UNSUPPORTED', line, reason)
    this.name = 'ScriptUnsupported'
  }
}

/** The script is not understood, or contradicts itself. */
export class ScriptError extends ScriptEnd {
  constructor(line: number, reason: string) {
    super('SCRIPT_ERROR', line, reason)
    this.name = 'ScriptError'
  }
}
