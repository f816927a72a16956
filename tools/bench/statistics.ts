/** Figures over rounds. Called by: table1.ts, figure2.ts. */

/** The sample below which a share of all lies: 0 the least, 0.5 the median, 1 the greatest. @param samples at least one */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)]!
}

/** Rounded to hundredths, for documents. */
export function hundredths(value: number): number {
  return Math.round(value * 100) / 100
}
