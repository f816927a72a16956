/** Values for the tests of large regions: what extent-writer.ts writes and others expect to read. */

const VALUE_BYTES = 20_000

export const crossingKey = (prefix: string, extent: number): string => `${prefix}/${String(extent).padStart(2, '0')}`

export const crossingValue = (prefix: string, extent: number): Buffer =>
  Buffer.alloc(VALUE_BYTES, `${crossingKey(prefix, extent)} lies here. `)
