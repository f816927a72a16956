/**
 * Sizes as people write them: `64K`, `1G`, `512`. Units are binary (K = 1024 bytes), as for every tool that sizes
 * memory. Called by the flag parser; `formatSize` is its inverse for messages.
 */

/** Size of a region that `serve` creates. */
export const REGION_BYTES_DEFAULT = 1 << 30

const UNITS = ['', 'K', 'M', 'G', 'T']
const UNIT_SHIFT = 10

/** Bytes of a size such as `1536`, `64K`, `1.5G`; undefined if it is not one, or not a whole number of bytes below 2^53. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([KMGT])?(?:i?B)?$/i.exec(text)
  if (!match) return undefined
  const unit = UNITS.indexOf((match[2] ?? '').toUpperCase())
  const bytes = Number(match[1]) * 2 ** (unit * UNIT_SHIFT)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** The shortest exact form: 65536 is `64K`, 65537 is `65537`. `parseSize(formatSize(n)) === n`. */
export function formatSize(bytes: number): string {
  let unit = 0
  while (unit < UNITS.length - 1 && bytes !== 0 && bytes % 2 ** UNIT_SHIFT === 0) {
    bytes /= 2 ** UNIT_SHIFT
    unit++
  }
  return `${bytes}${UNITS[unit]}`
}
