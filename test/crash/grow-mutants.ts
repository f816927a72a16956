/**
 * Growing with one write, resize or sync left out, or swapped with the one behind it: each such mutant must be caught by
 * the images that a crash leaves.
 *
 *   region of 4 MiB ─► grown to 6 ─► grown to 9, by the same mutant       each step of both: all crash images
 *
 * The second growth finds what the first one left undone. Called by: programme.ts.
 */
import { RegionError } from '../../storage/errors.ts'
import { growRegion } from '../../storage/grow.ts'
import { planExtents } from '../../storage/header.ts'
import { HEADER_BYTES, HEADER_COPIES } from '../../storage/layout.ts'
import {
  CrashingFile,
  copyOfImage,
  type FileImage,
  type FileOperation,
  headerOf,
  newImage,
} from '../support/crashing-file.ts'
import { crc32cTable } from '../support/crc32c-table.ts'
import { seededRandom } from '../support/random.ts'

const MIB = 1 << 20
const SIZES: readonly number[] = [4 * MIB, 6 * MIB, 9 * MIB]
/** The extent that was there from the start. */
const FIRST = planExtents(SIZES[0]!, 2)[0]!
/** What reading a torn copy ends with, if there is no other. */
const TORN: readonly string[] = ['HEADER', 'NOT_A_REGION']

export interface GrowMutant {
  readonly name: string
  /** Operation of each growth, from 0, that is left out, or done only behind the next. */
  readonly at: number
  readonly change: 'left out' | 'swapped'
}

export function surveyGrowMutants(): GrowMutant[] {
  const kinds: string[] = []
  const file = new CrashingFile(newImage(SIZES[0]!), () => {}, seededRandom(1))
  file.rewrite = (operation) => {
    kinds.push(operation.kind)
    return [operation]
  }
  growRegion(file, SIZES[1]!, crc32cTable)
  const mutants: GrowMutant[] = []
  for (const [at, kind] of kinds.entries()) {
    mutants.push({ name: `${kind} ${at} of growing: left out`, at, change: 'left out' })
    const next = kinds[at + 1]
    if (next !== undefined)
      mutants.push({ name: `${kind} ${at} of growing: behind the ${next}`, at, change: 'swapped' })
  }
  return mutants
}

/** Why a crash while growing is not survived, or ''. Without a mutant: of growing as it is. */
export function huntGrowMutant(mutant: GrowMutant | undefined, seed: number): string {
  let fault = ''
  /** Sizes that a crash may leave now. */
  let sizes: readonly number[] = []
  const file = new CrashingFile(
    newImage(SIZES[0]!),
    (image) => (fault ||= imageFault(image, sizes)),
    seededRandom(seed),
  )
  for (let growth = 1; growth < SIZES.length && fault === ''; growth++) {
    sizes = SIZES.slice(growth - 1, growth + 1)
    if (mutant !== undefined) file.rewrite = mutation(mutant)
    try {
      growRegion(file, SIZES[growth]!, crc32cTable)
    } catch (error) {
      fault ||= String(error)
    }
  }
  return fault || imageFault(file.now, SIZES.slice(-1))
}

function mutation({ at, change }: GrowMutant): (operation: FileOperation) => FileOperation[] {
  let count = 0
  let held: FileOperation[] = []
  return (operation) => {
    if (count++ === at) {
      if (change === 'swapped') held = [operation]
      return []
    }
    const both = [operation, ...held]
    held = []
    return both
  }
}

/** The region is as it was before the growth or behind it, in a file that holds it; and so says either copy of the header. */
function imageFault(image: FileImage, sizes: readonly number[]): string {
  try {
    const { regionBytes, extents } = headerOf(image)
    if (!sizes.includes(regionBytes)) return `the region has ${regionBytes} bytes`
    if (image.bytes < regionBytes) return 'an extent lies behind the end of the file'
    if (extents[0]!.offset !== FIRST.offset || extents[0]!.buffers !== FIRST.buffers) return 'what was there has moved'
    for (let copy = 0; copy < HEADER_COPIES; copy++) {
      const alone = copyOfImage(image)
      alone.header.fill(0, copy * HEADER_BYTES, (copy + 1) * HEADER_BYTES)
      const says = sizeAlone(alone)
      if (says !== undefined && !sizes.includes(says)) return `one copy of the header says ${says} bytes`
    }
    return ''
  } catch (error) {
    return String(error)
  }
}

/** What one copy of the header says; undefined if it is torn. */
function sizeAlone(image: FileImage): number | undefined {
  try {
    return headerOf(image).regionBytes
  } catch (error) {
    if (error instanceof RegionError && TORN.includes(error.code)) return undefined
    throw error
  }
}
