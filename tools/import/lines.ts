/**
 * Importing lines of JSON: the operations of POST /kv/_batch, without conditions, in the order of the file.
 *
 *   {"key":"a","value":"text"}      "valueBase64" for bytes, "keyBase64" for keys that are no text, "op":"put" may stand
 *   {"op":"delete","key":"b"}       "arrival": ns since the epoch, as a string of digits; default: now
 *
 * All lines are checked before the first is written, so a bad one changes nothing. Called by: tools/import/command.ts.
 */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { BatchOperation } from '../../storage/atomic-batch.ts'
import { buffersFor } from '../../storage/copied-entry.ts'
import { ARRIVAL_END_NS } from '../../storage/entry.ts'
import { PackratError } from '../../storage/errors.ts'
import type { Store } from '../../storage/store.ts'
import { parseObject, parseOperation } from '../kv/batch-lines.ts'
import type { Progress } from './progress.ts'

interface Line {
  readonly operation: BatchOperation
  readonly arrival: bigint | undefined
}

export class LinesImport {
  private readonly path: string
  /** The arrival time that the store is to give: `clock` of the store. */
  private arrival = 0n

  constructor(path: string) {
    this.path = path
  }

  readonly clock = (): bigint => this.arrival

  /** Reads every line once. @throws PackratError LINES with the line's number */
  async check(): Promise<void> {
    for await (const line of this.lines()) void line
  }

  /** Writes every line. @throws FullError: what `progress` counts is stored */
  async write(store: Store, progress: Progress): Promise<void> {
    for await (const { operation, arrival } of this.lines()) {
      this.arrival = arrival ?? BigInt(Date.now()) * 1_000_000n
      const bytes = operation.op === 'put' ? operation.value.length : 0
      await progress.makeRoom(buffersFor(operation.key.length, bytes) + 1)
      // What becomes of the batch is told by the end of `finish`.
      const done = operation.op === 'put' ? store.put(operation.key, operation.value) : store.delete(operation.key)
      done.catch(() => {})
      await progress.staged()
    }
    await progress.finish()
  }

  private async *lines(): AsyncGenerator<Line> {
    const input = createReadStream(this.path)
    input.on('error', () => {}) // readline hands it on
    let number = 0
    try {
      for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
        number++
        if (text.trim() === '') continue
        const line = parse(text)
        if (typeof line === 'string') throw new PackratError('LINES', `${this.path}: line ${number}: ${line}`)
        yield line
      }
    } catch (error) {
      if (error instanceof PackratError) throw error
      throw new PackratError('LINES', `cannot read ${this.path}: ${(error as Error).message}`, { cause: error })
    } finally {
      input.destroy()
    }
  }
}

/** The line, or what is wrong with it. */
function parse(text: string): Line | string {
  const members = parseObject(text)
  if (members === undefined) return 'not a JSON object'
  const { arrival, ...rest } = members
  const operation = parseOperation({ op: 'put', ...rest })
  if (typeof operation === 'string') return operation
  if (operation.expect !== undefined) return 'conditions are for POST /kv/_batch'
  if (arrival === undefined) return { operation, arrival }
  if (typeof arrival !== 'string' || !/^\d{1,19}$/.test(arrival) || BigInt(arrival) >= ARRIVAL_END_NS)
    return '"arrival" is no string of nanoseconds'
  return { operation, arrival: BigInt(arrival) }
}
