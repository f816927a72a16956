/** Figures over rounds, and how they are written. Called by: all of tools/bench. */

/** The sample below which a share of all lies: 0 the least, 0.5 the median, 1 the greatest. @param samples at least one */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)]!
}

/** Rounded to hundredths, for documents. */
export function hundredths(value: number): number {
  return Math.round(value * 100) / 100
}

/** As people say it: 64, 4 K, 1 M for powers of two; 10 k, 10 M for others. */
export function shortNumber(value: number): string {
  for (const [unit, name] of [
    [2 ** 20, 'M'],
    [2 ** 10, 'K'],
  ] as const) {
    if (value >= unit && value % unit === 0) return `${value / unit} ${name}`
  }
  if (value >= 1e6 && value % 1e6 === 0) return `${value / 1e6} M`
  return value >= 1e4 && value % 1e3 === 0 ? `${value / 1e3} k` : String(value)
}
