/** Whether two names are of one file: what is about to be emptied must not be the region. Called by: serve, export. */
import { type Stats, statSync } from 'node:fs'
import { resolve } from 'node:path'

/** Also by links to it; a file that does not exist yet has only its name. */
export function isSameFile(one: string, other: string): boolean {
  const a = statOf(one)
  const b = statOf(other)
  if (a === undefined || b === undefined) return resolve(one) === resolve(other)
  return a.dev === b.dev && a.ino === b.ino
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path)
  } catch {
    return undefined // whoever opens it says why
  }
}
