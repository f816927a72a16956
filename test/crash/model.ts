/**
 * What clients know of the store at one moment: the state that was acknowledged, and the changes whose replies are still
 * due. A crash may keep each of those as a whole or not at all.
 */

/** Key to version and value, as one comparable text. */
export type Model = ReadonlyMap<string, string>

export interface Change {
  readonly key: string
  /** As `entryText` makes it; undefined deletes. */
  readonly entry: string | undefined
}

/** What a client knows of one entry: its version (the ETag) and all its bytes. */
export function entryText(version: number, value: string): string {
  return `${version} ${value}`
}

/** Changes that are done together or not at all, and the batch of the store that does them. */
export interface Unit {
  readonly changes: readonly Change[]
  readonly batch: number
}

export interface Expectation {
  readonly acknowledged: Model
  readonly inFlight: readonly Unit[]
  /** Heads that no durable link may lead to yet: those of the last program, and while one runs its own. */
  readonly unlinkedMax: number
}

export function applyChanges(model: Model, changes: readonly Change[]): Model {
  const after = new Map(model)
  for (const { key, entry } of changes) {
    if (entry === undefined) after.delete(key)
    else after.set(key, entry)
  }
  return after
}

/** Every state that a crash may leave. */
export function possibleModels({ acknowledged, inFlight }: Pick<Expectation, 'acknowledged' | 'inFlight'>): Model[] {
  let models: Model[] = [acknowledged]
  for (const unit of inFlight) models = [...models, ...models.map((model) => applyChanges(model, unit.changes))]
  return models
}

/** The first key in which two models differ, or ''. */
export function difference(a: Model, b: Model): string {
  for (const key of new Set([...a.keys(), ...b.keys()])) if (a.get(key) !== b.get(key)) return key
  return ''
}

/** Tells expectations apart. */
export function expectationText({ acknowledged, inFlight, unlinkedMax }: Expectation): string {
  const entries = [...acknowledged].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, entry]) => `${key}=${entry}`)
  const units = inFlight.map(({ changes }) => changes.map(({ key, entry }) => `${key}=${entry ?? ''}`).join('+'))
  return `${entries.join()}|${units.join()}|${unlinkedMax}`
}
