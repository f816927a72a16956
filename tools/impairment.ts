/** The flag `--impair SPEC|@FILE`, and the device that it asks for. Called by: serve, wire. */
import { readFileSync } from 'node:fs'
import type { Device } from '../drivers/device.ts'
import { ImpairDevice } from '../drivers/impair.ts'
import { type Impairment, ImpairmentError, parseImpairment } from '../drivers/impairment-spec.ts'
import { SystemClock } from '../stack/clock.ts'
import { SeededRandom } from '../stack/random.ts'
import { PackratError } from '../storage/errors.ts'
import type { Pool } from '../storage/pool.ts'
import { type Flag, UsageError } from './arguments.ts'

/** Buffers on their way over the impaired link: at most this share of the pool, so that a store keeps the most. */
const HELD_POOL_SHARE = 1 / 4
/**
 * And at most this number. 300 ms of a gigabit link are 25,000 frames of 1500 bytes, of two
 * buffers each where headers stand before stored bytes.
 */
const HELD_BUFFERS_MAX = 1 << 16

/** A flag whose value is a specification, or `@` and the name of a JSON file that holds one. */
export function impairment(help: string): Flag<Impairment | undefined> {
  return {
    placeholder: 'SPEC|@FILE',
    help,
    shownDefault: '',
    absent: undefined,
    read: readImpairment,
    expects: 'a specification of impairments',
  }
}

function readImpairment(value: string): Impairment {
  try {
    return parseImpairment(value.startsWith('@') ? readSpecification(value.slice(1)) : value)
  } catch (error) {
    if (!(error instanceof ImpairmentError)) throw error
    const file = value.startsWith('@') ? ` ${value.slice(1)}` : ''
    throw new UsageError(`--impair${file}: ${error.message}`)
  }
}

function readSpecification(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new PackratError('IMPAIRMENT', `cannot read --impair @${path}: ${(error as Error).message}`)
  }
}

/** The impaired device around another one. */
export function impairDevice(
  device: Device,
  pool: Pool,
  spec: Impairment,
  heldPoolShare = HELD_POOL_SHARE,
): ImpairDevice {
  const clock = new SystemClock()
  return new ImpairDevice({
    device,
    pool,
    impairment: spec,
    createRandom: (seed) => {
      const random = new SeededRandom(seed)
      return () => random.next()
    },
    clockUs: () => clock.nowUs(),
    heldBuffersMax: Math.min(HELD_BUFFERS_MAX, Math.floor(pool.totalBuffers * heldPoolShare)),
  })
}
