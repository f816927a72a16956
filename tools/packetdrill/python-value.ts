/** What code in a script computes with, and Python's rules for truth, equality and text. */

export type PythonValue = number | string | boolean | null | readonly PythonValue[]

export function isTrue(value: PythonValue): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value)
}

/** Booleans are numbers; sequences compare item by item. */
export function equals(left: PythonValue, right: PythonValue): boolean {
  if (Array.isArray(left) && Array.isArray(right))
    return left.length === right.length && left.every((item, index) => equals(item, right[index]!))
  if (typeof left === 'boolean' && typeof right === 'number') return Number(left) === right
  if (typeof left === 'number' && typeof right === 'boolean') return left === Number(right)
  return left === right
}

export function showPython(value: PythonValue): string {
  if (value === null) return 'None'
  if (value === true) return 'True'
  if (value === false) return 'False'
  if (Array.isArray(value)) return `(${value.map(showPython).join(', ')})`
  return String(value)
}

/** The `%` operator of texts. */
export function formatText(format: string, value: PythonValue): string {
  const values = Array.isArray(value) ? [...value] : [value]
  return format.replace(/%(%|[-0 +#]*(\d*)(?:\.(\d+))?([dsxXfgiru]))/g, (all, _, width, precision, kind) => {
    if (all === '%%') return '%'
    const next = values.shift() ?? null
    let text = showPython(next as PythonValue)
    if (kind === 'x' || kind === 'X') text = Number(next).toString(16)
    if (kind === 'f') text = Number(next).toFixed(precision === undefined ? 6 : Number(precision))
    if (kind === 'd' || kind === 'i') text = String(Math.trunc(Number(next)))
    return text.padStart(Number(width || 0))
  })
}
